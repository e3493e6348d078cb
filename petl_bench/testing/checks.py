"""Conformance: what every method promises, as one small function per check.

Each check gets a `Subject` (the method, and small random models to try it on), says what it means in its docstring,
raises `Failed` with the reason where the promise is broken and `Skipped` where it does not apply. `run_checks` runs
them all; `petl_bench.testing.check_method` makes them part of a plugin author's own test suite.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method
from petl_bench.api.registry import METHODS, describe, load_plugin_file
from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.models.dual_encoder import trainable_parameters
from petl_bench.models.finite import tensors_in
from petl_bench.testing.resume import other_python_state, trained_with_a_stop, trained_without_a_stop
from petl_bench.testing.subject import (
    CLASSES,
    CLIPS,
    SMALL,
    Failed,
    Skipped,
    Subject,
    batch_for,
    features,
    frozen_tensors,
    needs_parameters,
    parameter_shapes,
    random_model,
    supported_configs,
    train_steps,
    trainable,
    trained_or_none,
    training_loss,
)
from petl_bench.training.checkpoint import adapter_content, load_adapter
from petl_bench.training.state import load_state, state_of


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Outcome of one check. `why` is the reason of a failure or a skip, empty for a pass."""

    name: str
    meaning: str
    status: Literal["pass", "fail", "skip"]
    why: str = ""


def require(condition: bool, why: str) -> None:
    """Raise Failed with the reason unless the condition holds."""
    if not condition:
        raise Failed(why)


def require_equal(one: Tensor, other: Tensor, why: str, atol: float = 0.0) -> None:
    """Raise Failed with the reason and the largest difference unless the tensors agree."""
    difference = (one - other).abs().max().item()
    require(difference <= atol, f"{why}: largest difference {difference:.2g}, allowed {atol:.2g}")


CHECKS: list[Callable[[Subject], None]] = []


def check(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Enrol a check; its name is the function's, its meaning the docstring's."""
    CHECKS.append(function)
    return function


@check
def fits_a_small_model(subject: Subject) -> None:
    """The defaults, or else the values of some recipe, fit a model of widths 64 and 48; the other checks use them."""
    assert subject.values is not None


@check
def documented(subject: Subject) -> None:
    """A docstring; a meaning for every hyper-parameter; values that JSON can hold."""
    require(bool((subject.method.__doc__ or "").strip()), "the class has no docstring")
    for field in dataclasses.fields(subject.method):
        require(
            bool(field.metadata.get("meaning")), f"{field.name}: no meaning; declare it with pb.hyper(default, meaning)"
        )
    values = subject.create().values()
    require(json.loads(json.dumps(values)) == values, f"hyper-parameters are not plain JSON values: {values}")


@check
def paper(subject: Subject) -> None:
    """Title, venue, link, BibTeX entry and licence of the paper."""
    found = subject.method.paper
    if found is None:
        raise Failed("no paper; set paper = pb.Paper(title=..., venue=..., url=..., bibtex=..., licence=...)")
    for field in ("title", "venue", "licence"):
        require(bool(getattr(found, field).strip()), f"paper.{field} is empty")
    require(found.url.startswith("http"), f"paper.url is not a link: {found.url!r}")
    require(found.bibtex.strip().startswith("@"), "paper.bibtex is not a BibTeX entry (@inproceedings{...})")


@check
def identity_at_start(subject: Subject) -> None:
    """Before training, the adapted model equals the frozen one."""
    if not subject.method.identity_at_start:
        raise Skipped("the method declares identity_at_start = False")
    model, _ = subject.attached()
    require_equal(features(model), features(random_model(SMALL)), "features differ from the frozen model's", atol=1e-5)


@check
def formula_equals_count(subject: Subject) -> None:
    """expected_trainable(config) equals the count in the model: every shape, every switch and choice."""
    tried: list[tuple[str, ViCLIPConfig, dict[str, Any]]]
    tried = [(name, config, {}) for name, config in supported_configs(subject).items()]
    tried += [("ViCLIP, 4 frames", SMALL, changes) for changes in subject.variants()]
    for name, config, changes in tried:
        model, method = subject.attached(config, **changes)
        expected, counted = method.expected_trainable(config), trainable_parameters(model)
        with_changes = f" with {changes}" if changes else ""
        require(expected == counted, f"{name}{with_changes}: formula {expected:,}, in the model {counted:,}")


@check
def only_declared_parameters_train(subject: Subject) -> None:
    """Frozen weights get no gradient and stay as they are, to the bit, through training steps."""
    model, method = subject.attached()
    before = {name: value.clone() for name, value in frozen_tensors(model).items()}
    train_steps(model, method, 2)
    buffers = dict(model.named_buffers())
    for name, value in frozen_tensors(model).items():
        require(value.grad is None, f"frozen {name} received a gradient")
        why = (
            f"{name} changed in training and is not saved; register this buffer with persistent=True"
            if name in buffers
            else f"frozen {name} changed in training"
        )
        require(name in before and torch.equal(value, before[name]), why)


@check
def gradients_reach_every_parameter(subject: Subject) -> None:
    """Every trainable parameter gets a finite gradient that is not zero."""
    model, method = subject.trained()
    needs_parameters(model)
    model.train()
    training_loss(model, method).backward()
    for name, parameter in trainable(model).items():
        if parameter.grad is None or not parameter.grad.any():
            raise Failed(f"{name} gets no gradient; it can never learn")
        require(bool(parameter.grad.isfinite().all()), f"{name} gets a gradient that is not finite")


@check
def learns(subject: Subject) -> None:
    """A few steps on one batch lower the loss."""
    model, method = subject.attached()
    needs_parameters(model)
    first = training_loss(model, method).item()
    train_steps(model, method, 8)
    last = training_loss(model.eval(), method).item()
    require(last < first, f"the loss went from {first:.4f} to {last:.4f} in 8 steps")


@check
def saved_adapter_equals_trained(subject: Subject) -> None:
    """The adapter file holds what was trained, buffers and extra state, nothing else that is frozen; loaded into a new
    model it gives equal features."""
    model, method = subject.trained()
    train_steps(model, method, 2)
    buffers = dict(model.named_buffers())
    for name in model.adapter_state():
        require(name in trainable(model) or name in buffers, f"adapter_state() holds the frozen {name}")
    missing = sorted(set(trainable(model)) - set(model.adapter_state()))
    require(not missing, f"adapter_state() lacks {', '.join(missing[:4])}")
    # Another seed: what attach() draws, and does not save, is another one in a trial that starts from this adapter.
    other, of_other = subject.attached(seed=7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        path.write_bytes(adapter_content({}, state_of(model, method)))
        header, tensors = load_adapter(path)
    load_state(other, of_other, {"tensors": tensors, "extra": header["extra_state"]})
    require_equal(
        features(other),
        features(model.eval()),
        "features differ after saving and loading; what they depend on must be a parameter that trains, a persistent "
        "buffer, or in extra_state()",
    )


@check
def goes_on_after_a_stop(subject: Subject) -> None:
    """Stopped after a checkpoint, and gone on with in a new model: bit for bit what an uninterrupted run leaves."""
    needs_parameters(subject.attached()[0])
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        whole, stopped = trained_without_a_stop(subject, Path(first)), trained_with_a_stop(subject, Path(second))
    keep = "return it from extra_state() and take it back in load_extra_state(), or make it a persistent buffer"
    different = other_python_state(whole, stopped)
    require(not different, f"{different}; {keep}")
    require(whole.losses == stopped.losses, f"the loss of an epoch differs: something is lost at a stop; {keep}")
    ours, theirs = (dict(tensors_in(left.state)) for left in (whole, stopped))
    for name, tensor in ours.items():
        require(name in theirs and torch.equal(tensor, theirs[name]), f"{name} differs after a stop; {keep}")


@check
def merged_equals_unmerged(subject: Subject) -> None:
    """merge() gives the same features and the backbone's own structure back."""
    if not subject.method.mergeable:
        raise Skipped("the method declares mergeable = False")
    model, method = subject.trained()
    unmerged = features(model)
    method.merge(model)
    require_equal(features(model), unmerged, "features differ after merge()", atol=1e-4)
    names, own = (
        [name for name, _ in model.named_parameters()],
        [name for name, _ in random_model(SMALL).named_parameters()],
    )
    require(names == own, f"parameters left behind by merge(): {sorted(set(names) ^ set(own))[:4]}")


@check
def distinct_from_every_other(subject: Subject) -> None:
    """No other registered method trains the same parameters to the same features."""
    model, _ = subject.trained()
    mine, signature = features(model), parameter_shapes(model)
    for name in METHODS.names():
        other = None if name == subject.method.name else trained_or_none(name)
        if other is not None and parameter_shapes(other) == signature:
            require(
                not torch.equal(features(other), mine), f"cannot be told from {name}: same parameters, same features"
            )


@check
def finite_in_bf16(subject: Subject) -> None:
    """Features, loss and gradients are finite under autocast to bfloat16."""
    model, method = subject.trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        require(bool(features(model).isfinite().all()), "features are not finite")
        loss = training_loss(model.train(), method)
    require(bool(loss.isfinite()), f"the loss is {loss.item()}")
    if loss.requires_grad:
        loss.backward()
    for name, parameter in trainable(model).items():
        require(
            parameter.grad is None or bool(parameter.grad.isfinite().all()),
            f"{name} gets a gradient that is not finite",
        )


@check
def batch_changes_nothing(subject: Subject) -> None:
    """A clip's and a prompt's features do not depend on what else is in the batch."""
    model, _ = subject.trained()
    batch = batch_for(SMALL)
    with torch.no_grad():
        one_by_one = [model.encode_video(batch.frames[i : i + 1]) for i in range(CLIPS)]
        one_by_one += [model.encode_text(batch.tokens[i : i + 1]) for i in range(CLASSES)]
    require_equal(torch.cat(one_by_one), features(model), "features depend on the batch", atol=1e-4)


@check
def same_seed_same_numbers(subject: Subject) -> None:
    """Two runs with one seed have the same initial adapter and, dropout included, the same trained one."""
    states = []
    for _ in range(2):
        model, method = subject.attached()
        initial = {name: value.clone() for name, value in model.adapter_state().items()}
        train_steps(model, method, 2)
        states.append((initial, model.adapter_state()))
    for when, first, second in zip(("initial", "trained"), *states, strict=True):
        for name in first:
            require(
                torch.equal(first[name], second[name]), f"{when} {name} differs between two runs with the same seed"
            )


@check
def adapters_off_is_the_frozen_model(subject: Subject) -> None:
    """With adapters off the model is the frozen one, to the bit; with them on again it is the adapted one."""
    model, _ = subject.trained()
    if set(trainable(model)) & {name for name, _ in random_model(SMALL).named_parameters()}:
        raise Skipped("the method trains the backbone's own parameters")
    adapted = features(model)
    with model.adapters_off():
        require_equal(features(model), features(random_model(SMALL)), "features differ from the frozen model's")
    require_equal(features(model), adapted, "features differ after adapters_off() ended")


@check
def switching_modes_changes_nothing(subject: Subject) -> None:
    """eval() and train() round trips leave every weight and the features as they were."""
    model, _ = subject.trained()
    weights, before = {name: value.clone() for name, value in model.state_dict().items()}, features(model)
    for _ in range(2):
        model.train()
        model.eval()
    for name, value in model.state_dict().items():
        require(torch.equal(value, weights[name]), f"{name} changed when switching between train() and eval()")
    require_equal(features(model), before, "features differ after switching between train() and eval()")


@check
def works_on_every_backbone(subject: Subject) -> None:
    """Forward, loss and backward on ViCLIP and CLIP shapes, one frame to six, towers of unequal depth."""
    for name, config in supported_configs(subject).items():
        try:
            model, method = subject.trained(config)
            loss = training_loss(model.train(), method, config)
            shape = tuple(features(model.eval(), config).shape)
        except Exception as error:
            where = Path(inspect.getfile(subject.method))
            raise Failed(f"{name}: {describe(error, within=where)}") from error
        require(shape == (CLIPS + CLASSES, config.embed_dim), f"{name}: features of shape {shape}")
        require(bool(loss.isfinite()), f"{name}: the loss is {loss.item()}")


def methods_in(given: str | Path | type[Method]) -> list[type[Method]]:
    """The method classes that a name, a plugin file (a path, or a text that ends in .py) or a class stands for.

    Raises UsageError for an unknown name or a file without methods, PluginError for a file that cannot be loaded.
    """
    if isinstance(given, type):
        return [given]
    if isinstance(given, str) and not given.endswith(".py"):
        return [METHODS.get(given)]
    found: list[type[Method]] = [
        registry.get(name) for registry, name in load_plugin_file(given) if registry is METHODS
    ]
    if not found:
        raise UsageError(f'{given} registers no method; put @pb.register_method("name") above its class')
    return found


def run_checks(method: type[Method], hyper_parameters: dict[str, Any] | None = None) -> list[CheckResult]:
    """Every check on one method class, in order; only the first where no small model can be made.

    The random state and the number of threads are left as they were.
    """
    subject, threads = Subject(method, hyper_parameters), torch.get_num_threads()
    with torch.random.fork_rng():
        torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other
        try:
            first = _outcome(CHECKS[0], subject)
            rest = CHECKS[1:] if first.status == "pass" else []
            return [first, *(_outcome(function, subject) for function in rest)]
        finally:
            torch.set_num_threads(threads)


def _outcome(function: Callable[[Subject], None], subject: Subject) -> CheckResult:
    name, meaning = function.__name__.replace("_", " "), inspect.getdoc(function) or ""
    try:
        function(subject)
    except Skipped as reason:
        return CheckResult(name, meaning, "skip", str(reason))
    except (Failed, PetlBenchError) as reason:
        return CheckResult(name, meaning, "fail", str(reason))
    except Exception as error:
        # Whatever a method raises is the finding of the check, told with its file and line.
        return CheckResult(name, meaning, "fail", describe(error, within=Path(inspect.getfile(subject.method))))
    return CheckResult(name, meaning, "pass")
