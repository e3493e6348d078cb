"""Which space every method of a tuning has: what it declares, its learning rate, and what `--space` says."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from petl_bench.api.method import Method
from petl_bench.api.options import text_of
from petl_bench.api.registry import METHODS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.api.tuning import RATE, Choice, Range, Space, rate_space, refuse_space, training_field
from petl_bench.api.values.flag_lists import TRAINING, join_list, set_value, split_list
from petl_bench.errors import UsageError

_SCALES = {"log": True, "linear": False}


def declared_space(trial: Trial, trains: bool) -> dict[str, Space]:
    """What a method has in its space by itself, in the setting and on the backbone of a trial by its recipe; {} if it
    has nothing to tune."""
    space = dict(METHODS.get(trial.method).space)
    if not trains:
        return {name: values for name, values in space.items() if not training_field(name)}
    rate = trial.training["learning_rate"]
    return space if RATE in space or rate <= 0 else {RATE: rate_space(rate), **space}


def parse_spaces(texts: Iterable[str], methods: Collection[str]) -> dict[str, dict[str, Space]]:
    """`--space NAME.FIELD=VALUES` by method; `training.FIELD` is for all of them, and what names one method wins.

    Raises UsageError for a text of another form, a method that is not tuned, a field that there is not, and for a
    bound or value that a field cannot have.
    """
    for_all: dict[str, Space] = {}
    of_one: dict[str, dict[str, Space]] = {}
    for text in texts:
        name, field, values = _apart(text)
        if name == TRAINING:
            for_all[f"{TRAINING}.{field}"] = _space(text, values, field == "learning_rate")
        elif name not in methods:
            raise UsageError(f"--space {text}: {name} is not tuned here; name one of {', '.join([*methods, TRAINING])}")
        else:
            of_one.setdefault(name, {})[field] = _space(text, values, field == RATE)
    found = {name: {**for_all, **of_one.get(name, {})} for name in methods}
    for name, space in found.items():
        refuse_space(space, METHODS.get(name), TrainingOptions)
    return found


def space_text(space: Space) -> str:
    """A range or choice as `--space` takes it."""
    if isinstance(space, Choice):
        return join_list(map(text_of, space.values))
    return f"{space.low:.12g}..{space.high:.12g}:{'log' if space.log else 'linear'}"


def plain_value(method: type[Method], name: str, value: Any) -> Any:
    """A value of a field of the method, or "training.FIELD", as the plain JSON of a record."""
    field, owner = _owner(method, name)
    parsed = owner.parse({field: text_of(value)})[field]
    return list(parsed) if isinstance(parsed, tuple) else parsed


def value_in(trial: Trial, name: str) -> Any:
    """The value that a trial has of a field of its method, or "training.FIELD"."""
    field, owner = _owner(METHODS.get(trial.method), name)
    values: Mapping[str, Any] = trial.training if training_field(name) else trial.hyper_parameters
    if field in values:
        return values[field]
    default = next(each.default for each in dataclasses.fields(owner) if each.name == field)  # of a later field
    return list(default) if isinstance(default, tuple) else default


def is_whole(method: type[Method], name: str) -> bool:
    """Whether a field of the method, or "training.FIELD", is a whole number."""
    field, owner = _owner(method, name)
    default = next(each.default for each in dataclasses.fields(owner) if each.name == field)
    return isinstance(default, int) and not isinstance(default, bool)


def _owner(method: type[Method], name: str) -> tuple[str, Any]:
    return (training_field(name), TrainingOptions) if training_field(name) else (name, method)


def _apart(text: str) -> tuple[str, str, str]:
    try:
        return set_value(text)
    except UsageError:
        raise UsageError(
            f"--space {text}: expected NAME.FIELD=LOW..HIGH[:log|:linear] or NAME.FIELD=a,b,c, e.g. "
            "--space lora.training.learning_rate=1e-4..1e-2:log"
        ) from None


def _space(text: str, values: str, is_rate: bool) -> Space:
    """A range or a choice; a range of learning rates is logarithmic if nothing else is said."""
    if ".." not in values:
        return Choice(tuple(split_list(values, f"--space {text}:")))
    bounds, _, scale = values.partition(":")
    low, _, high = bounds.partition("..")
    if scale not in ("", *_SCALES):
        raise UsageError(f"--space {text}: a scale is log or linear, not {scale!r}")
    try:
        return Range(float(low), float(high), log=_SCALES.get(scale, is_rate))
    except ValueError:
        raise UsageError(f"--space {text}: expected two numbers, LOW..HIGH") from None
    except UsageError as error:
        raise UsageError(f"--space {text}: {error}") from None
