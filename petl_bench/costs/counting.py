"""Multiply-accumulates of a model as it stands, counted in independent ways that must agree; and parameters, bytes.

Three counts (`petl_bench.costs.counters`): fvcore's on the traced graph, torch's own on the dispatched operators, and
one over the functions that are called, each by the shapes that it saw: extra tokens, longer keys and merged tokens are
in them. Where nothing is attached there is a fourth, the closed form of `petl_bench.costs.formula`.
"""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from petl_bench.api.method import Method
from petl_bench.api.step import MethodTask
from petl_bench.api.trial import Trial
from petl_bench.costs import formula
from petl_bench.costs.counters import ByModule, Call, by_dispatch, by_function, by_graph, running
from petl_bench.costs.inference import Inference, random_frames
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.checkpoint import save_adapter
from petl_bench.training.state import state_of

#: Counts that differ by more than this part of the largest are no count.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates, or None with the `reason`. `uncounted`: operators that no counter counts, with how often
    they ran."""

    macs: int | None
    reason: str = ""
    uncounted: Mapping[str, int] | None = None


def count_video(model: DualEncoder) -> Count:
    """One video through the video tower with everything attached to it.

    Nothing is computed, on a copy without data, unless that cannot be followed: torch traces no convolution of shapes.
    """
    config = model.config
    shape = (1, config.num_frames, 3, config.image_size, config.image_size)
    twin = _without_data(model).eval()
    as_built = model.is_as_built(model.video) and model.is_as_built(model.features)
    expected = formula.video_macs(config) if as_built else None
    found = count(twin, twin.encode_video, torch.empty(shape, device="meta"), expected)
    if found.macs is not None:
        return found
    with evaluating(model):
        return count(model, model.encode_video, random_frames(model, 1, model.temperature.device), expected)


def count_text(model: DualEncoder, tokens: Tensor, video: Tensor | None = None) -> Count:
    """Tokens int64 [N, L], on the model's device, through the text tower with everything attached to it.

    `video`: the feature [1, D] of a clip, if a prompt depends on it.
    """
    as_built = model.is_as_built(model.text) and model.is_as_built(model.features)
    sizes = model.text.pass_sizes(tokens)
    expected = sum(formula.text_macs(model.config, *size) for size in sizes) if as_built else None
    with evaluating(model):
        return count(model, lambda tokens: model.encode_text(tokens, video), tokens, expected)


def count_scores(inference: Inference) -> Count:
    """What the method's `scores` computes for one video, from the features of the video and of the texts on."""
    frames = random_frames(inference.model, 1, inference.device)
    with torch.no_grad(), evaluating(inference.model):
        output = inference.model.video_output(frames, inference.method.reads)
        video = inference.model.finish_video(output)
        texts = inference.texts_of(video)

        def scores(video: Tensor) -> Tensor:
            return inference.method.scores(inference.step(output, video, texts))

        scores(video)  # texts by the frozen model are computed once, for all videos
        return count(inference.model, scores, video)


def total(counts: Sequence[Count]) -> Count:
    """The sum; the first one that is None, if one is."""
    failed = next((each for each in counts if each.macs is None), None)
    if failed is not None:
        return failed
    uncounted = sum((Counter(each.uncounted or {}) for each in counts), Counter[str]())
    return Count(sum(each.macs or 0 for each in counts), uncounted=dict(sorted(uncounted.items())))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def count(
    model: nn.Module, function: Callable[[Tensor], Tensor], argument: Tensor, expected: int | None = None
) -> Count:
    """What `function(argument)` computes with modules of the model, by all counters; `expected`: by the closed form."""
    call = Call(model, function, argument)
    with torch.no_grad(), _without_fast_path(), running(model) as modules:
        try:
            by_functions, by_torch = by_function(call), by_dispatch(call)
            by_fvcore, uncounted = by_graph(call)  # last: its errors name no module
        except Exception as error:  # a plugin's module may compute in a way that one of them cannot follow
            said = next(iter(str(error).strip().splitlines()), "")
            return Count(None, f"{_place(model, modules.innermost)} cannot be counted: {type(error).__name__}: {said}")
    counts = {"fvcore": by_fvcore, "torch": by_torch, "the functions called": by_functions}
    totals = {name: by_module[""] for name, by_module in counts.items()}
    if expected is not None:
        totals["the closed form"] = expected
    if _agree(list(totals.values())):
        return Count(by_fvcore[""], uncounted=uncounted)
    place = _place(model, _where_they_differ(model, list(counts.values())))
    listed = ", ".join(f"{name} {value / 1e9:.6g}" for name, value in totals.items())
    return Count(None, f"counts differ by more than {100 * TOLERANCE:g} % in {place} (G): {listed}", uncounted)


def _agree(values: Sequence[int]) -> bool:
    return max(values) - min(values) <= TOLERANCE * max(values)


def _where_they_differ(model: nn.Module, counts: Sequence[ByModule]) -> str:
    """The innermost module that counts differ in; "" if they differ in none."""
    by_depth = sorted((name for name, _ in model.named_modules()), key=lambda name: -len(name.split(".")))
    return next((name for name in by_depth if not _agree([each.get(name, 0) for each in counts])), "")


def _place(model: nn.Module, name: str) -> str:
    """A module for people, e.g. "video.blocks.0.parallel.0.module (Product)"."""
    return f"{name} ({type(model.get_submodule(name)).__name__})" if name else "what stands in no module"


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Without the single operator that `nn.MultiheadAttention` is in evaluation, which no counter looks into."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def adapter_bytes(trial: Trial, model: DualEncoder, method: Method) -> int:
    """Size of the adapter file, by writing it, without what a file of `petl-bench run` says of its trial besides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_adapter(path, trial, state_of(model, method), MethodTask())
        return path.stat().st_size


def parameter_count(model: nn.Module) -> int:
    """All parameters, each once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, each once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(each): each for each in tensors}.values())


def _without_data(model: DualEncoder) -> DualEncoder:
    """A copy whose tensors have shapes and nothing in them; what modules share, the copies share."""
    shapes: dict[int, Tensor] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        for parameter in model.parameters()
    }
    shapes |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, shapes)
