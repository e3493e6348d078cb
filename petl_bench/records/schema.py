"""What a record must hold to be one, as a typed description; everything else is named with the reason.

Types are compared by `petl_bench.api.values.fields`; what follows from several fields together is asked here.
"""

from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from petl_bench.api.setting import MEAN_CLASS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.api.tuning import metric_of
from petl_bench.api.values.fields import TOO_LARGE, Count, Form, Limits, check_of, field_types, required_fields
from petl_bench.records.layout import DETAILS, TRIAL, predictions_name
from petl_bench.records.optional import optional_fault
from petl_bench.system.stored_json import UnusableError
from petl_bench.system.texts import clean, shortened

#: Raised when the meaning of a field changes; readers refuse what they do not know.
SCHEMA = 1

_COUNTS = frozenset(("expected", "found", "unreadable", "used"))
_SIZES = frozenset(("used", "smallest", "largest"))
#: Accuracy of the selected epoch on training clips that were held out, by kind of task.
_OF_SELECTION = (metric_of("held-out", "classification"), metric_of("held-out", "retrieval"))
_Evaluation = Annotated[str, Form(r"[^/\\\0]{1,100}", "the name of an evaluation")]
_Variant = Annotated[str, Form(r"[^/\\\0@]{1,60}", "the name of a variant")]
_FileName = Annotated[str, Form(r"[^/\\\0.][^/\\\0]*", "the name of a file")]
_Mark = Annotated[str, Form(r"[\w:.+-]{1,100}", "a word")]
_Sha256 = Annotated[str, Form("[0-9a-f]{64}", "64 hexadecimal digits")]


@dataclass(frozen=True)
class StoredFile:
    """What a record says of a file beside it. `kept` is false for an adapter that was let go to save space."""

    sha256: _Sha256
    bytes: Annotated[int, Limits()]
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class Record:
    """`record.json`, except for its `trial`, which `trial_fault` looks at. Later fields have a default.

    `files` and `test_classes` are lacking in records of earlier versions.
    """

    schema: int
    key: str
    status: str
    trial: Mapping[str, Any]
    metrics: Mapping[str, Annotated[float, Limits(-1e300, 1e300)]]
    marks: Sequence[_Mark]
    coverage: Mapping[_Evaluation, Mapping[str, Count]]
    train_clips: Mapping[str, Count]
    trainable_params: Count
    backbone_params: Count
    durations_s: Mapping[str, Annotated[float, Limits(0, 1e300)]]
    notes: Sequence[str]
    attempts: Count
    created: str
    petl_bench: str
    environment: Mapping[str, str | int | float | bool]
    files: Mapping[_FileName, StoredFile] = field(default_factory=dict)
    test_classes: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)
    # Written only if there is something to say, see `petl_bench.records.optional`
    absent: Mapping[_Evaluation, str] = field(default_factory=dict)
    variants: Mapping[_Variant, Mapping[str, Annotated[float, Limits(-1e300, 1e300)]]] = field(default_factory=dict)
    best_epochs: Mapping[_Variant, Count] = field(default_factory=dict)
    method_hooks: Sequence[_Mark] = ()


def fault_of(values: Any, name: str) -> str | None:
    """Why these values are not the record of the trial in the folder `name`; None if they are."""
    if not isinstance(values, dict) or "schema" not in values:
        return "not a record of petl-bench"
    if values["schema"] != SCHEMA:
        return f"schema {_shown(values['schema'])}, while this version of petl-bench reads schema {SCHEMA}"
    if fault := _RECORD(values):
        return _damaged(fault)
    if values["key"] != name:
        return (
            f"belongs to trial {clean(values['key'])[:12]}, not to this folder; a copied or renamed folder is not read"
        )
    if values["status"] != "done":
        return f"status {_shown(values['status'])} instead of 'done'"
    return trial_fault(values["trial"]) or _counts_fault(values) or _accuracies_fault(values) or _files_fault(values)


def trial_fault(trial: Mapping[str, Any]) -> str | None:
    """Why these values are not a trial as this version stores them; None if they are."""
    if fault := _TRIAL(trial):
        return _damaged(f".trial{fault}")
    if not trial.keys() <= field_types(Trial).keys():
        strange = sorted(trial.keys() - field_types(Trial).keys())
        return f"its trial has {', '.join(strange)}, which this version of petl-bench lacks"
    for name, value in trial["training"].items():
        if name in _TRAINING and (fault := _TRAINING[name](value)):  # another version may have others
            return _damaged(f".training.{name}{fault}")
    return None


def fields_of(values: Any, kind: type, without: Collection[str] = ()) -> dict[str, Any]:
    """Those of the values that are fields of a dataclass, each of its declared type; fields named `without` are not.

    What the dataclass does not know is left out: a later version may have written it. Raises UnusableError if the
    values are no mapping, a value has another type, or a field without a default is missing.
    """
    if not isinstance(values, dict):
        raise UnusableError("damaged: expected a mapping")
    known = field_types(kind).keys() - set(without)
    if missing := required_fields(kind) & known - values.keys():
        raise UnusableError(f"damaged: lacks {', '.join(sorted(missing))}")
    for name in known & values.keys():
        if fault := check_of(field_types(kind)[name], _OF_FILES)(values[name]):
            raise UnusableError(_damaged(f".{name}{fault}"))
    return {name: value for name, value in values.items() if name in known}


_OF_FILES = Limits(1 - TOO_LARGE, TOO_LARGE - 1)


def _type_alone(kind: Any) -> Any:
    """The type of the values that a Literal allows: another version may allow others."""
    if typing.get_origin(kind) is Literal:
        return functools.reduce(operator.or_, map(type, typing.get_args(kind)))
    return kind


_RECORD, _TRIAL = check_of(Record), check_of(Trial)
_TRAINING = {name: check_of(_type_alone(kind)) for name, kind in field_types(TrainingOptions).items()}


def _damaged(fault: str) -> str:
    return f"damaged: {shortened(clean(fault.removeprefix('.')), 300)}"


def _shown(value: Any) -> str:
    """A value of any kind in a few letters."""
    return shortened(repr(value), 80)


def _counts_fault(values: Mapping[str, Any]) -> str | None:
    train = values["train_clips"]
    if not train.keys() >= {"expected", "used"}:
        return f"damaged: train_clips is {_shown(train)}, expected the numbers of expected and used clips"
    if train["used"] > train["expected"]:
        return f"damaged: {train['used']} of {train['expected']} training clips used"
    for evaluation, counts in values["coverage"].items():
        if not counts.keys() >= _COUNTS:
            return f"damaged: coverage.{evaluation} is {_shown(counts)}, expected {', '.join(sorted(_COUNTS))}"
        if not counts["used"] <= counts["found"] <= counts["expected"]:
            return f"damaged: coverage.{evaluation} is {_shown(counts)}, which cannot be"
    if fault := optional_fault(values):
        return _damaged(fault)
    for evaluation, counts in values.get("test_classes", {}).items():
        if counts.keys() != _SIZES:
            return f"damaged: test_classes.{evaluation} is {_shown(counts)}, expected {', '.join(sorted(_SIZES))}"
    return None


def _accuracies_fault(values: Mapping[str, Any]) -> str | None:
    """Metrics named as accuracies of an evaluation are percentages; what else a setting declares may be anything."""
    for metrics in (values["metrics"], *values.get("variants", {}).values()):
        for k in ("top1", "top5", MEAN_CLASS):
            for name in (k, *(f"{evaluation}_{k}" for evaluation in values["coverage"])):
                if not 0 <= metrics.get(name, 0) <= 100:
                    return f"damaged: {name} is {metrics[name]!r}, not a percentage"
        for name in _OF_SELECTION:
            if not 0 <= metrics.get(name, 0) <= 100:
                return f"damaged: {name} is {metrics[name]!r}, not a percentage"
    return None


def _files_fault(values: Mapping[str, Any]) -> str | None:
    """If files are named, those under the numbers must be among them."""
    if "files" not in values:
        return None
    needed = {TRIAL, DETAILS, *map(predictions_name, values["coverage"])}
    if not values["files"].keys() >= needed:
        return f"damaged: files lacks {', '.join(sorted(needed - values['files'].keys()))}"
    return None
