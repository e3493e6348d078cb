"""From records to one pandas frame, a row per trial and metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from operator import itemgetter
from typing import Any

import pandas as pd

from petl_bench.api.marks import TUNED_HERE, UNTUNED_RATE
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Setting
from petl_bench.api.trial import Trial, canonical_json
from petl_bench.api.tuning import metrics_of_tuning
from petl_bench.errors import PetlBenchError
from petl_bench.records.optional import absences_of, beside, of_variant
from petl_bench.records.tunings import Tuning, chosen_values, place_of

_PLAIN = (
    "method",
    "method_version",
    "backbone",
    "backbone_version",
    "weights",
    "weights_sha256",
    "setting",
    "setting_version",
    "dataset",
    "dataset_version",
    "manifest_sha256",
    "split",
    "shots",
    "seed",
    "decoder",
    "descriptions_sha256",
    "part",
    "start_from",
    "source_sha256",
    "engine_version",
    "dataset_plugin",
    "captions_sha256",
    "tuning",
)
#: What a record of an earlier version lacks.
_DEFAULTS = {
    "locations": {},
    "backbone_options": {},
    **{each.name: each.default for each in fields(Trial) if each.default is not MISSING},
}
#: Mappings become canonical JSON text, so that they can be compared and grouped by.
_MAPPINGS = ("hyper_parameters", "setting_options", "dataset_options", "training", "locations", "backbone_options")
_OF_RECORD = ("trainable_params", "backbone_params", "attempts", "created", "petl_bench")
_OF_ENVIRONMENT = ("prompt_template", "device", "processor", "software")
_OF_PLACE = (
    "method",
    "setting",
    "backbone",
    "weights_sha256",
    "backbone_options",
    "dataset",
    "hyper_parameters",
    "training",
)
_METRICS, _VALUES = "metrics", "values"
_SEPARATOR = "\x1f"
_LAYOUT = [
    "trial",
    *_OF_RECORD,
    *_PLAIN,
    *_MAPPINGS,
    "coverage",
    "test_classes",
    "train_clips",
    "absent",
    "marks",
    "tuned_by",
    *_OF_ENVIRONMENT,
    _METRICS,
    _VALUES,
]


def rows_of(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """A row for each record, in their order."""
    return map(_row, records)


def frame(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows as a frame; see `petl_bench.records.read.load_records` for its columns."""
    transposed: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [
        pd.Series(dtype=object) for _ in _LAYOUT
    ]
    columns = dict(zip(_LAYOUT, transposed, strict=True))
    metrics, values = columns.pop(_METRICS), columns.pop(_VALUES)
    names = [name for names, some in zip(metrics, values, strict=True) if some for name in names.split(_SEPARATOR)]
    # pandas keeps texts in pyarrow if that is installed, which refuses those that are not UTF-8: names of files may be.
    with pd.option_context("mode.string_storage", "python"):
        per_trial = pd.DataFrame(columns)
        per_trial["shots"] = per_trial["shots"].astype("Int64")
        position = [index for index, some in enumerate(values) for _ in some]
        result = per_trial.take(position).reset_index(drop=True)
        result["metric"] = pd.Series(names, dtype="str")
        result["value"] = pd.Series(list(chain.from_iterable(values)), dtype="float64")
    return result


def with_tunings(records: pd.DataFrame, tunings: Sequence[Tuning]) -> pd.DataFrame:
    """The records with the names of the tunings that chose a trial's values in `tuned_by`, and TUNED_HERE in `marks`,
    instead of UNTUNED_RATE.

    Trials of the tunings themselves have neither.
    """
    found = chosen_values(tunings)
    if not found:
        return records
    names = [
        "" if partition else " ".join(found.get(place_of(*values), ()))
        for partition, *values in zip(records["tuning"], *(records[name] for name in _OF_PLACE), strict=True)
    ]
    marks = [
        " ".join(sorted({*own.split(), TUNED_HERE} - {UNTUNED_RATE})) if name else own
        for own, name in zip(records["marks"], names, strict=True)
    ]
    return records.assign(tuned_by=names, marks=marks)


def damaged(trials: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of trials (key -> what is known of the trial) without usable records: NaN for each metric of its setting.

    What only a record tells is empty, or nothing.
    """
    return frame(rows_of(_without_numbers(key, trial) for key, trial in trials.items()))


def _without_numbers(key: str, trial: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "trial": trial,
        "metrics": dict.fromkeys(_metrics_of(trial), math.nan),
        "coverage": {},
        "train_clips": {"expected": 0, "used": 0},
        "marks": [],
        "environment": {},
        **dict.fromkeys(_OF_RECORD),
        "trainable_params": 0,
        "backbone_params": 0,
    }


def _metrics_of(trial: Mapping[str, Any]) -> Sequence[str]:
    try:
        setting: type[Setting] = SETTINGS.get(trial["setting"])
        tuning = trial.get("tuning", "")
        return metrics_of_tuning(tuning, setting) if tuning else setting.metrics
    except PetlBenchError:
        return ()


_plain_fields = itemgetter(*_PLAIN)
_record_fields = itemgetter(*_OF_RECORD)
_mappings = itemgetter(*_MAPPINGS)


def _row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    trial, environment = {**_DEFAULTS, **record["trial"]}, record["environment"]
    metrics = record["metrics"] | beside(record)
    return (
        record["key"],
        *_record_fields(record),
        *_plain_fields(trial),
        *map(canonical_json, _mappings(trial)),
        *[canonical_json(of_variant(record.get(name, {}), record)) for name in ("coverage", "test_classes")],
        canonical_json(record["train_clips"]),
        canonical_json(absences_of(record)),
        " ".join(record["marks"]),
        "",
        *[environment.get(name) for name in _OF_ENVIRONMENT],
        _SEPARATOR.join(metrics),
        tuple(metrics.values()),
    )
