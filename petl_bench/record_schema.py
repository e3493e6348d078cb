"""What a record must hold to be one; everything else is named with the reason."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from petl_bench.record_files import DETAILS, TRIAL, predictions_name
from petl_bench.setting import MEAN_CLASS
from petl_bench.trial import Trial

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
_COUNTS = frozenset(("expected", "found", "unreadable", "used"))
_SIZES = {"used", "smallest", "largest"}
_FILE_NAME = re.compile(r"[^/\\\0.][^/\\\0]*")
_SHA256 = re.compile("[0-9a-f]{64}")
_JSON_NAMES = {int: "a whole number", str: "a text", dict: "a mapping", list: "a list"}


def fault_of(values: Any, name: str) -> str | None:
    """Why these values are not the record of the trial in the folder `name`; None where they are."""
    if not isinstance(values, dict) or "schema" not in values:
        return "not a record of petl-bench"
    if values["schema"] != SCHEMA:
        return f"schema {values['schema']!r}, while this version of petl-bench reads schema {SCHEMA}"
    if not values.keys() >= _RECORD_TYPES.keys():
        return f"damaged: lacks {', '.join(sorted(_RECORD_TYPES.keys() - values.keys()))}"
    if tuple(map(type, _record_values(values))) != _KINDS:
        return _type_fault(values)
    if values["key"] != name:
        return f"belongs to trial {values['key'][:12]}, not to this folder; a copied or renamed folder is not read"
    if values["status"] != "done":
        return f"status {values['status']!r} instead of 'done'"
    return (
        trial_fault(values["trial"])
        or _metrics_fault(values["metrics"])
        or _coverage_fault(values)
        or _test_classes_fault(values)
        or _accuracies_fault(values)
        or _counts_fault(values)
        or _files_fault(values)
    )


def _type_fault(values: Mapping[str, Any]) -> str:
    wrong = next(field for field, kind in _RECORD_TYPES.items() if type(values[field]) is not kind)
    return f"damaged: {wrong} is {values[wrong]!r}, expected {_JSON_NAMES[_RECORD_TYPES[wrong]]}"


def trial_fault(trial: Mapping[str, Any]) -> str | None:
    """Why these values are not a trial as this version stores them; None if they are."""
    if not trial.keys() >= _REQUIRED:
        return f"damaged: its trial lacks {', '.join(sorted(_REQUIRED - trial.keys()))}"
    if not trial.keys() <= _TRIAL_FIELDS:
        return (
            f"its trial has {', '.join(sorted(trial.keys() - _TRIAL_FIELDS))}, which this version of petl-bench lacks"
        )
    for field in _MAPPINGS:
        if type(trial[field]) is not dict:
            return f"damaged: {field} is {trial[field]!r}, expected a mapping"
    if type(trial["seed"]) is not int or (trial["shots"] is not None and type(trial["shots"]) is not int):
        return f"damaged: seed {trial['seed']!r}, shots {trial['shots']!r}: expected whole numbers"
    return None


def _metrics_fault(metrics: Mapping[str, Any]) -> str | None:
    for metric, value in metrics.items():
        if type(value) not in (float, int) or not math.isfinite(value):
            return f"damaged: {metric} is {value!r}, not a finite number"
    return None


def _coverage_fault(values: Mapping[str, Any]) -> str | None:
    train = values["train_clips"]
    if type(train.get("used")) is not int or type(train.get("expected")) is not int:
        return f"damaged: train_clips is {train!r}, expected the numbers of expected and used clips"
    if not 0 <= train["used"] <= train["expected"]:
        return f"damaged: {train['used']} of {train['expected']} training clips used"
    for evaluation, counts in values["coverage"].items():
        if type(counts) is not dict or not counts.keys() >= _COUNTS or set(map(type, counts.values())) != {int}:
            return f"damaged: coverage of {evaluation} is {counts!r}, expected {', '.join(sorted(_COUNTS))}"
        if not 0 <= counts["used"] <= counts["found"] <= counts["expected"] or counts["unreadable"] < 0:
            return f"damaged: coverage of {evaluation} is {counts!r}, which cannot be"
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
        if values[field] < 0:
            return f"damaged: {field} is {values[field]!r}"
    for stage, seconds in values["durations_s"].items():
        if type(seconds) not in (float, int) or not 0 <= seconds < math.inf:
            return f"damaged: the duration of {stage} is {seconds!r} s"
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
    )
