"""What a record must hold to be one; everything else is named with the reason."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal

from petl_bench.api.options import field_types
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.records.layout import DETAILS, TRIAL, predictions_name
from petl_bench.system.texts import clean, shortened

#: Raised when the meaning of a field changes; readers refuse what they do not know.
SCHEMA = 1

_RECORD_TYPES: dict[str, type] = {
    "schema": int,
    "key": str,
    "status": str,
    "trial": dict,
    "metrics": dict,
    "marks": list,
    "coverage": dict,
    "train_clips": dict,
    "trainable_params": int,
    "backbone_params": int,
    "durations_s": dict,
    "notes": list,
    "attempts": int,
    "created": str,
    "petl_bench": str,
    "environment": dict,
}
_KINDS = tuple(_RECORD_TYPES.values())
_record_values = itemgetter(*_RECORD_TYPES)
_TRIAL_FIELDS = frozenset(field.name for field in dataclasses.fields(Trial))
#: A field that came later has a default, so that older records stay readable.
_REQUIRED = frozenset(
    field.name
    for field in dataclasses.fields(Trial)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
)
_MAPPINGS = ("hyper_parameters", "setting_options", "dataset_options", "training")
_LATER_MAPPINGS = frozenset(("backbone_options",))
#: Fields of a trial that are texts, and may be lacking in records of earlier versions.
_TEXTS = frozenset(name for name, kind in typing.get_type_hints(Trial).items() if kind is str)
_COUNTS = frozenset(("expected", "found", "unreadable", "used"))
_PLAIN = frozenset((str, int, float, bool))
#: No count, and no metric, is as large.
_LARGEST_COUNT, _LARGEST = 2**53, 1e300
_SIZES = {"used", "smallest", "largest"}
_FILE_NAME = re.compile(r"[^/\\\0.][^/\\\0]*")
_EVALUATION = re.compile(r"[^/\\\0]{1,100}")
_MARK = re.compile(r"[\w:.+-]{1,100}")
_SHA256 = re.compile("[0-9a-f]{64}")
_JSON_NAMES = {int: "a whole number", str: "a text", dict: "a mapping", list: "a list"}


def fault_of(values: Any, name: str) -> str | None:
    """Why these values are not the record of the trial in the folder `name`; None where they are."""
    if not isinstance(values, dict) or "schema" not in values:
        return "not a record of petl-bench"
    if values["schema"] != SCHEMA:
        return f"schema {_shown(values['schema'])}, while this version of petl-bench reads schema {SCHEMA}"
    if not values.keys() >= _RECORD_TYPES.keys():
        return f"damaged: lacks {', '.join(sorted(_RECORD_TYPES.keys() - values.keys()))}"
    if tuple(map(type, _record_values(values))) != _KINDS:
        return _type_fault(values)
    if values["key"] != name:
        return (
            f"belongs to trial {clean(values['key'])[:12]}, not to this folder; a copied or renamed folder is not read"
        )
    if values["status"] != "done":
        return f"status {_shown(values['status'])} instead of 'done'"
    return (
        trial_fault(values["trial"])
        or _texts_fault(values)
        or _metrics_fault(values["metrics"])
        or _coverage_fault(values)
        or _test_classes_fault(values)
        or _accuracies_fault(values)
        or _counts_fault(values)
        or _files_fault(values)
    )


def _type_fault(values: Mapping[str, Any]) -> str:
    wrong = next(field for field, kind in _RECORD_TYPES.items() if type(values[field]) is not kind)
    return f"damaged: {wrong} is {_shown(values[wrong])}, expected {_JSON_NAMES[_RECORD_TYPES[wrong]]}"


def _shown(value: Any) -> str:
    """A value of any kind in a few letters."""
    return shortened(repr(value), 80)


def trial_fault(trial: Mapping[str, Any]) -> str | None:
    """Why these values are not a trial as this version stores them; None if they are."""
    if not trial.keys() >= _REQUIRED:
        return f"damaged: its trial lacks {', '.join(sorted(_REQUIRED - trial.keys()))}"
    if not trial.keys() <= _TRIAL_FIELDS:
        return (
            f"its trial has {', '.join(sorted(trial.keys() - _TRIAL_FIELDS))}, which this version of petl-bench lacks"
        )
    return _types_fault(trial) or _values_fault(trial)


def _types_fault(trial: Mapping[str, Any]) -> str | None:
    """Fields of another type than a trial has; most records have the same types, which are looked at once."""
    training = trial["training"] if type(trial["training"]) is dict else {}
    signature = (*trial, *map(type, trial.values()), *training, *map(type, training.values()))
    if signature in _known_signatures:
        return None
    for field in (*_MAPPINGS, *(trial.keys() & _LATER_MAPPINGS)):
        if type(trial[field]) is not dict:
            return f"damaged: {field} is {_shown(trial[field])}, expected a mapping"
    for field in _TEXTS & trial.keys():
        if type(trial[field]) is not str:
            return f"damaged: {field} is {_shown(trial[field])}, expected a text"
    hints = field_types(TrainingOptions)
    for name in training.keys() & hints.keys():  # another version may have others
        if not _fits(training[name], hints[name]):
            return f"damaged: training.{name} is {_shown(training[name])}"
    if len(_known_signatures) < _MOST_SIGNATURES:
        _known_signatures.add(signature)
    return None


#: Names and types of the fields of sound trials.
_known_signatures: set[tuple[str | type, ...]] = set()
_MOST_SIGNATURES = 1_000


def _values_fault(trial: Mapping[str, Any]) -> str | None:
    for field in ("seed", "shots", "engine_version"):
        value = trial.get(field)
        if not _is_count(value) and (field == "seed" or value is not None):
            return f"damaged: {field} is {_shown(value)}, expected a whole number"
    locations = trial.get("locations", {})
    if type(locations) is not dict or any(type(each) is not dict for each in locations.values()):
        return f"damaged: locations are {_shown(locations)}, expected mappings"
    return None


def _fits(value: Any, hint: Any) -> bool:
    """Whether the value of a training option may be of this type: a number, a text, true or false, or none."""
    if typing.get_origin(hint) is Literal:
        return type(value) in set(map(type, typing.get_args(hint)))
    kinds = typing.get_args(hint) or (hint,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def _texts_fault(values: Mapping[str, Any]) -> str | None:
    if any(type(each) is not str for each in values["notes"]):
        return f"damaged: notes are {_shown(values['notes'])}, expected texts"
    if any(type(each) is not str or not _MARK.fullmatch(each) for each in values["marks"]):
        return f"damaged: marks are {_shown(values['marks'])}, expected words"
    if not _PLAIN.issuperset(map(type, values["environment"].values())):
        return f"damaged: environment is {_shown(values['environment'])}, expected texts and numbers"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST_COUNT


def _metrics_fault(metrics: Mapping[str, Any]) -> str | None:
    for metric, value in metrics.items():
        if type(value) not in (float, int) or not -_LARGEST < value < _LARGEST:
            return f"damaged: {metric} is {_shown(value)}, not a finite number"
    return None


def _coverage_fault(values: Mapping[str, Any]) -> str | None:
    train = values["train_clips"]
    if not _is_count(train.get("used")) or not _is_count(train.get("expected")):
        return f"damaged: train_clips is {_shown(train)}, expected the numbers of expected and used clips"
    if train["used"] > train["expected"]:
        return f"damaged: {train['used']} of {train['expected']} training clips used"
    for evaluation, counts in values["coverage"].items():
        if not _EVALUATION.fullmatch(evaluation):
            return f"damaged: {_shown(evaluation)} is no name of an evaluation"
        if type(counts) is not dict or not counts.keys() >= _COUNTS or set(map(type, counts.values())) != {int}:
            return f"damaged: coverage of {evaluation} is {_shown(counts)}, expected {', '.join(sorted(_COUNTS))}"
        in_order = counts["used"] <= counts["found"] <= counts["expected"]
        if not in_order or not all(map(_is_count, counts.values())):
            return f"damaged: coverage of {evaluation} is {_shown(counts)}, which cannot be"
    return None


def _test_classes_fault(values: Mapping[str, Any]) -> str | None:
    """How many clips test classes have stands in records since there is mean-class accuracy."""
    found = values.get("test_classes", {})
    if type(found) is not dict or not all(type(counts) is dict for counts in found.values()):
        return f"damaged: test_classes is {found!r}, expected a mapping for each evaluation"
    for evaluation, counts in found.items():
        if counts.keys() != _SIZES or set(map(type, counts.values())) != {int} or min(counts.values()) < 0:
            return f"damaged: test_classes of {evaluation} is {counts!r}, expected {', '.join(sorted(_SIZES))}"
    return None


def _accuracies_fault(values: Mapping[str, Any]) -> str | None:
    """Metrics named as accuracies of an evaluation are percentages; what else a setting declares may be anything."""
    metrics = values["metrics"]
    for k in ("top1", "top5", MEAN_CLASS):
        for name in (k, *(f"{evaluation}_{k}" for evaluation in values["coverage"])):
            if not 0 <= metrics.get(name, 0) <= 100:
                return f"damaged: {name} is {metrics[name]!r}, not a percentage"
    return None


def _counts_fault(values: Mapping[str, Any]) -> str | None:
    for field in ("trainable_params", "backbone_params", "attempts"):
        if not _is_count(values[field]):
            return f"damaged: {field} is {_shown(values[field])}"
    for stage, seconds in values["durations_s"].items():
        if type(seconds) not in (float, int) or not 0 <= seconds < _LARGEST:
            return f"damaged: the duration of {stage} is {_shown(seconds)} s"
    return None


def _files_fault(values: Mapping[str, Any]) -> str | None:
    """Files are named since they are recorded; those under the numbers must then be among them."""
    files = values.get("files")
    if files is None and "files" not in values:
        return None
    if type(files) is not dict or not all(map(_is_file, files.items())):
        return "damaged: files is not a mapping of file names to their sha256 and bytes"
    needed = {TRIAL, DETAILS, *map(predictions_name, values["coverage"])}
    if not files.keys() >= needed:
        return f"damaged: files lacks {', '.join(sorted(needed - files.keys()))}"
    return None


def _is_file(item: tuple[str, Any]) -> bool:
    name, each = item
    return (
        _FILE_NAME.fullmatch(name) is not None
        and type(each) is dict
        and type(each.get("bytes")) is int
        and type(each.get("sha256")) is str
        and _SHA256.fullmatch(each["sha256"]) is not None
        and type(each.get("kept", True)) is bool
    )
