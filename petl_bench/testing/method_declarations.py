"""Checks of methods: declarations that others rely on, held against what the model does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from petl_bench.costs import formula
from petl_bench.costs.counting import count_text, count_video
from petl_bench.errors import UsageError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.testing.checks import Failed, require
from petl_bench.testing.harness import CONFIGS, batch_for, learner_for, outputs, take_step
from petl_bench.testing.method_subject import MethodSubject, refusal, trainable


def keeps_a_graph_as_declared(subject: MethodSubject) -> None:
    """In a training step blocks of the backbone keep a graph if needs_graph says so, and none if it does not."""
    model, method = subject.trained()
    if not trainable(model):
        require(not method.needs_graph, "nothing trains, so that no block keeps a graph: declare needs_graph = False")
        return
    with _blocks_with_a_graph(model) as found:
        take_step(learner_for(model.train(), method))
    if not method.needs_graph:
        require(not found, f"needs_graph = False, and gradients go through {', '.join(sorted(found)[:4])}")
    require(
        bool(found) or not method.needs_graph,
        "no block of the backbone keeps a graph in training: declare needs_graph = False, so that users know that "
        "training takes little memory",
    )


@contextmanager
def _blocks_with_a_graph(model: DualEncoder) -> Iterator[set[str]]:
    """Collects the names of blocks, of both towers, whose output requires gradients."""
    found: set[str] = set()

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if output.requires_grad:
                found.add(name)

        return hook

    handles = [
        block.register_forward_hook(look(f"{tower}.blocks.{number}"))
        for tower in ("video", "text")
        for number, block in enumerate(getattr(model, tower).blocks)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def require_refused_as_declared(subject: MethodSubject) -> None:
    """Raise Failed if a method computes something on a shape that its own `hosted_by` refuses.

    A list of names in `backbones` refuses more than shapes, and is not tried.
    """
    if subject.plugin.backbones is not None:
        return
    for name, config in CONFIGS.items():
        reason = refusal(subject.plugin, config)
        if not reason:
            continue
        try:
            outputs(*subject.attached(config))
        except UsageError:
            continue
        raise Failed(
            f"{name}: hosted_by refuses it ({reason}), and attach() puts the method on it all the same: raise "
            "pb.UsageError there, or host it"
        )


def require_no_cost(model: DualEncoder) -> None:
    """Raise Failed if a merged model computes more than the frozen one does by the closed form."""
    tokens = batch_for(model.config).tokens
    text = sum(formula.text_macs(model.config, *size) for size in model.text.pass_sizes(tokens))
    for tower, merged, own in (
        ("video", count_video(model), formula.video_macs(model.config)),
        ("text", count_text(model, tokens), text),
    ):
        require(merged.macs is not None, f"after merge() the {tower} tower cannot be counted: {merged.reason}")
        require(
            merged.macs == own,
            f"after merge() the {tower} tower takes {merged.macs:,} multiply-accumulates, the frozen one {own:,}: "
            "something is left at a site",
        )
