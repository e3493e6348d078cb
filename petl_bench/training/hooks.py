"""Calls of a method's hooks. Nothing that a method returns is trusted: each fault is one line that names the hook."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.api.step import Step
from petl_bench.errors import PetlBenchError, PluginError, describe
from petl_bench.models.dual_encoder import DualEncoder


def overrides(method: Method, hook: str) -> bool:
    """Whether the method defines this hook."""
    return getattr(type(method), hook) is not getattr(Method, hook)


@contextmanager
def calling(method: Method, hook: str, step: Step | None = None) -> Iterator[None]:
    """Tell whatever a hook raises in one line that names it, with file and line; what is told already passes."""
    try:
        yield
    except (PetlBenchError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        evaluates = step is not None and not step.training and step.labels is None
        hint = (
            "; in evaluation labels, positive and rows of a step are None" if evaluates and "None" in str(error) else ""
        )
        raise PluginError(f"{_label(method)}.{hook}: {describe(error, within=_file_of(method))}{hint}") from error


def _file_of(method: Method) -> Path | None:
    try:
        return Path(inspect.getfile(type(method)))
    except (OSError, TypeError):  # the class was made without a file
        return None


def variants_of(method: Method, model: DualEncoder) -> Mapping[str, AbstractContextManager[None]]:
    """`method.variants(model)`, by names without @. Raises PluginError otherwise."""
    with calling(method, "variants(model)"):
        given = method.variants(model)
    pairs = list(given.items()) if isinstance(given, Mapping) else [(None, None)]
    if not all(_is_name(name) and isinstance(context, AbstractContextManager) for name, context in pairs):
        raise PluginError(
            f"{_label(method)}.variants(model): expected {{name: context}}, names of 1 to 60 characters "
            f"without @ and /, not {given!r}"
        )
    return given


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= 60 and not set("@/\\\0") & set(name)


def scores_of(method: Method, step: Step) -> Tensor:
    """`method.scores(step)`, floating-point [B, C] on the device of the features. Raises PluginError otherwise."""
    with calling(method, "scores(step)", step):
        given = method.scores(step)
    expected = (len(step.video_features), step.text_features.shape[-2])
    label = f"{_label(method)}.scores(step)"
    _refuse_other(label, given, expected, "[B, C]" if step.positive is None else "[B, M]", step.video_features.device)
    return given


def loss_of(method: Method, step: Step) -> Tensor:
    """`objective(step)`, plus `loss(step)` if there is one: a scalar. Raises PluginError otherwise, and if nothing that
    trains is in it."""
    with calling(method, "objective(step)"):
        loss = method.objective(step)
    with calling(method, "loss(step)"):
        extra = method.loss(step)
    device = step.logits.device
    _refuse_other(f"{_label(method)}.objective(step)", loss, (), "a scalar", device)
    if extra is not None:
        _refuse_other(f"{_label(method)}.loss(step)", extra, (), "a scalar, or None", device)
        loss = loss + extra
    if step.training and not loss.requires_grad:
        raise PluginError(
            f"the loss of {_label(method)} does not depend on anything that trains: something between the trained "
            "parameters and the loss was detached, or computed without gradients"
        )
    return loss


def chosen_texts(method: Method, step: Step, count: int) -> Tensor | None:
    """`method.choose(step)`, int64 [M] below `count`, or None. Raises PluginError otherwise."""
    with calling(method, "choose(step)"):
        given = method.choose(step)
    if given is None:
        return None
    label = f"{_label(method)}.choose(step)"
    if not isinstance(given, Tensor) or given.dtype != torch.int64 or given.ndim != 1 or not len(given):
        raise PluginError(f"{label} gave {_shown(given)}: expected int64 [M], or None")
    if given.min() < 0 or given.max() >= count:
        raise PluginError(f"{label} gave places from {int(given.min())} to {int(given.max())}, of {count} texts")
    return given


def prompts_of(method: Method, classes: Sequence[str]) -> Sequence[Sequence[str]] | None:
    """`method.prompts(classes)`: a list of texts for every class, or None. Raises PluginError otherwise."""
    with calling(method, "prompts(classes)"):
        given = method.prompts(tuple(classes))
    if given is None:
        return None
    label = f"{_label(method)}.prompts(classes)"
    listed = given if isinstance(given, (list, tuple)) else []
    lists = [texts if isinstance(texts, (list, tuple)) else None for texts in listed]
    if len(lists) != len(classes) or not all(texts and all(isinstance(text, str) for text in texts) for texts in lists):
        wrong = [type(texts).__name__ for texts in listed if not isinstance(texts, (list, tuple))]
        gave = f"{wrong[0]} for a class" if wrong else f"{len(lists)} lists" if listed else type(given).__name__
        raise PluginError(
            f"{label} gave {gave}: expected a list of at least one text for each of the {len(classes)} classes"
        )
    return given


def _refuse_other(what: str, given: object, shape: tuple[int, ...], meaning: str, device: torch.device) -> None:
    if not isinstance(given, Tensor) or tuple(given.shape) != shape or not given.is_floating_point():
        raise PluginError(f"{what} gave {_shown(given)}: expected {meaning}, floating-point of shape {shape}")
    if given.device != device:
        raise PluginError(f"{what} gave a tensor on {given.device}: expected one on {device}, where the features are")


def _shown(given: object) -> str:
    if isinstance(given, Tensor):
        return f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
    return type(given).__name__


def _label(method: Method) -> str:
    return method.name or type(method).__name__
