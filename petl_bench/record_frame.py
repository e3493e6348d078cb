"""From records to one pandas frame, a row per trial and metric."""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from itertools import chain
from operator import itemgetter
from typing import Any

import pandas as pd

from petl_bench.trial import Trial

_PLAIN = (
    "method",
    "method_version",
    "backbone",
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
    "engine_version",
)
#: What a record of an earlier version lacks.
_DEFAULTS = {field.name: field.default for field in fields(Trial) if field.default is not MISSING}
#: Mappings become canonical JSON text, so that they can be compared and grouped by.
_MAPPINGS = ("hyper_parameters", "setting_options", "dataset_options", "training")
_OF_RECORD = ("trainable_params", "backbone_params", "attempts", "created", "petl_bench")
_OF_ENVIRONMENT = ("prompt_template", "device")
_COLUMNS = ["trial", *_OF_RECORD, *_PLAIN, *_MAPPINGS, "coverage", "train_clips", "marks", *_OF_ENVIRONMENT]


def frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The records as a frame; see `petl_bench.records.load_records` for its columns."""
    texts = _remembered_texts()
    rows, metrics = [], []
    for record in records:
        rows.append(_row(record, texts))
        metrics.append(record["metrics"])
    columns = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in _COLUMNS]
    per_trial = pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))
    per_trial["shots"] = per_trial["shots"].astype("Int64")
    position = [index for index, values in enumerate(metrics) for _ in values]
    result = per_trial.take(position).reset_index(drop=True)
    result["metric"] = pd.Series(list(chain.from_iterable(metrics)), dtype="str")
    result["value"] = pd.Series(list(chain.from_iterable(values.values() for values in metrics)), dtype="float64")
    return result


_plain_fields = itemgetter(*_PLAIN)
_record_fields = itemgetter(*_OF_RECORD)
_mappings = itemgetter(*_MAPPINGS)


def _row(record: Mapping[str, Any], texts: Callable[[Any], tuple[str, ...]]) -> tuple[Any, ...]:
    trial, environment = {**_DEFAULTS, **record["trial"]}, record["environment"]
    return (
        record["key"],
        *_record_fields(record),
        *_plain_fields(trial),
        *texts((*_mappings(trial), record["coverage"], record["train_clips"])),
        " ".join(record["marks"]),
        *[environment.get(name) for name in _OF_ENVIRONMENT],
    )


def _remembered_texts() -> Callable[[Any], tuple[str, ...]]:
    """Canonical JSON of mappings, worked out once for each combination; `marshal` tells 1, 1.0 and True apart."""
    known: dict[bytes, tuple[str, ...]] = {}

    def texts(mappings: tuple[Any, ...]) -> tuple[str, ...]:
        written = marshal.dumps(mappings, 2)
        if written not in known:
            known[written] = tuple(
                json.dumps(mapping, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for mapping in mappings
            )
        return known[written]

    return texts
