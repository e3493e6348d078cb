"""What may be tuned, and by what: the values that a method's fields may take, and objectives on training clips alone.

Without torch, so that plugins declare their spaces and light commands read them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from petl_bench.api.options import text_of
from petl_bench.api.retrieval import RETRIEVAL_METRICS
from petl_bench.api.setting import Setting
from petl_bench.api.values.fields import TOO_LARGE
from petl_bench.errors import UsageError

#: What a proposal is judged by: accuracy on held-out training clips of the trained classes (in retrieval T2V R@1); that
#: on a half of the training classes after adapting on the other half; or the harmonic mean of both halves' accuracies.
Objective = Literal["held-out", "pseudo-novel", "pseudo-hm"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
#: How the training clips of a case are taken apart: a part of every class is held out; or half of the classes is.
Partition = Literal["held-out", "pseudo-halves"]
PARTITION_OF: Mapping[Objective, Partition] = {
    "held-out": "held-out",
    "pseudo-novel": "pseudo-halves",
    "pseudo-hm": "pseudo-halves",
}
#: Before the name of every metric of held-out training clips.
VAL = "val_"
#: Metrics of trials on the halves of the training classes, in percent.
VAL_BASE, VAL_NOVEL, VAL_HM = "val_base_top1", "val_novel_top1", "val_harmonic_mean"
#: The learning rate as a space names it.
RATE = "training.learning_rate"
_TRAINING = "training."
#: Training options that decide what a proposal is judged by, so that they are no part of a space.
_FIXED = ("val_fraction", "select", "views", "crops")
#: How far a learning rate is searched around that of the recipe if the method declares nothing else.
RATE_FACTOR = 10.0


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both inclusive; whole numbers if the field is one.

    With `log`, equal ratios are equally likely; else equal differences. Raises UsageError if it is empty or endless.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise UsageError(f"the range {self}: expected finite numbers, the first smaller than the second")
        if self.log and self.low <= 0:
            raise UsageError(f"the range {self}: on a logarithmic scale it must begin above 0")

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (":log" if self.log else "")

    def words(self) -> str:
        """For readers."""
        return f"{self.low:g} to {self.high:g}" + (", on a logarithmic scale" if self.log else "")


@dataclass(frozen=True)
class Choice:
    """One of some values, in no order. Raises UsageError for less than two."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise UsageError(f"the choice {self}: it must have at least two different values")

    def __str__(self) -> str:
        return ",".join(map(text_of, self.values))

    def words(self) -> str:
        """For readers."""
        return f"one of {', '.join(map(text_of, self.values))}"


Space = Range | Choice


def partition_name(partition: Partition, draw: int) -> str:
    """As `Trial.tuning` holds it, e.g. "pseudo-halves/2"."""
    return f"{partition}/{draw}"


def split_partition(tuning: str) -> tuple[Partition, int]:
    """The inverse. Raises UsageError for a text of another form."""
    partition, _, draw = tuning.partition("/")
    if partition not in get_args(Partition) or not draw.isdecimal():
        raise UsageError(f"no partition of training clips: {tuning!r}")
    return partition, int(draw)  # type: ignore[return-value]  # compared with its values


def metric_of(objective: Objective, kind: str) -> str:
    """The metric of trials that an objective is the mean of. `kind`: "classification" or "retrieval".

    Of `pseudo-hm` it is the harmonic mean of a trial; over several trials it is taken of the mean accuracies.
    """
    held_out = f"{VAL}t2v_r1" if kind == "retrieval" else f"{VAL}top1"
    return {"held-out": held_out, "pseudo-novel": VAL_NOVEL, "pseudo-hm": VAL_HM}[objective]


def metrics_of_tuning(tuning: str, setting: type[Setting]) -> tuple[str, ...]:
    """The metrics that a finished trial on a partition has at least; in a setting with tasks of both kinds, none."""
    if split_partition(tuning)[0] == "pseudo-halves":
        return (VAL_BASE, VAL_NOVEL, VAL_HM)
    if setting.has_both_kinds():
        return ()
    return tuple(f"{VAL}{each}" for each in (RETRIEVAL_METRICS if setting.kind == "retrieval" else ("top1", "top5")))


def tuning_metrics(accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The metrics of a trial on a partition from those of its evaluations: each with the evaluation's name in front,
    and of the halves the `val_harmonic_mean`."""
    metrics = {f"{name}_{metric}": value for name, found in accuracies.items() for metric, value in found.items()}
    if VAL_BASE in metrics and VAL_NOVEL in metrics:
        base, novel = metrics[VAL_BASE], metrics[VAL_NOVEL]
        metrics[VAL_HM] = 2 * base * novel / (base + novel) if base + novel else 0.0
    return metrics


def training_field(name: str) -> str:
    """The training option that a name of a space means, e.g. "learning_rate"; "" if it is a field of the method."""
    return name.removeprefix(_TRAINING) if name.startswith(_TRAINING) else ""


def rate_space(rate: float) -> Range:
    """The space of a learning rate around that of a recipe. Raises UsageError for a rate of 0."""
    if rate <= 0:
        raise UsageError(f"no range can be made around a learning rate of {rate:g}")
    return Range(float(f"{rate / RATE_FACTOR:.6g}"), float(f"{rate * RATE_FACTOR:.6g}"), log=True)


def outermost(values: Space, default: Any) -> tuple[Any, ...]:
    """The values of a choice, or both ends of a range: whole numbers if the field's default is one."""
    if isinstance(values, Choice):
        return values.values
    ends = (values.low, values.high)
    return tuple(int(end) if isinstance(default, int) and end == int(end) else end for end in ends)


def refuse_space(space: Mapping[str, Space], method: type, training: type) -> None:
    """Raise UsageError for a name in a space that is no field or is not tuned, for a bound or value that the field
    cannot have, and for a choice of texts that mean one value."""
    label = getattr(method, "name", "") or method.__name__
    for name, values in space.items():
        options: Any = training if training_field(name) else method
        field = training_field(name) or name
        known = {each.name: each for each in dataclasses.fields(options)}
        if field not in known:
            raise UsageError(f"the space of {label}: it has no field {name!r} (petl-bench show {label})")
        if training_field(name) in _FIXED:
            raise UsageError(f"the space of {label}: {name} decides what proposals are judged by, and is not tuned")
        if not isinstance(values, (Range, Choice)):
            raise UsageError(f"the space of {label}: {name}={values!r}: expected Range(LOW, HIGH) or Choice((A, B))")
        found = []
        for value in outermost(values, known[field].default):
            if isinstance(value, int) and abs(value) >= TOO_LARGE:
                raise UsageError(f"the space of {label}, {name}={values}: {value:g} is too large")
            try:
                found.append(options.parse({field: text_of(value)}))
                options(**found[-1])
            except UsageError as error:
                raise UsageError(f"the space of {label}, {name}={values}: {error}") from error
        if all(each == found[0] for each in found):
            raise UsageError(f"the space of {label}, {name}={values}: it must have at least two different values")
