"""From records to one pandas frame, a row per trial and metric."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any

import pandas as pd


_PLAIN = (
    "method method_version backbone weights weights_sha256 setting setting_version dataset dataset_version manifest_sha256 split shots "
    "seed decoder engine_version"
).split()
#: Mappings become canonical JSON text, so that they can be compared and grouped by.
_MAPPINGS = ("hyper_parameters", "setting_options", "dataset_options", "training")
_OF_RECORD = "trainable_params backbone_params attempts created petl_bench".split()
_OF_ENVIRONMENT = ("prompt_template", "device")
_COLUMNS = ["trial", *_OF_RECORD, *_PLAIN, *_MAPPINGS, "coverage", "train_clips", "marks", *_OF_ENVIRONMENT]


def frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The records as a frame; see `petl_bench.records.load_records` for its columns."""
    text = _remembered_text()
    rows, metrics = [], []
    for record in records:
        rows.append(_row(record, text))
        metrics.append(record["metrics"])
    columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True)) if rows else {name: () for name in _COLUMNS}
    per_trial = pd.DataFrame({name: list(values) for name, values in columns.items()}, columns=_COLUMNS)
    per_trial["shots"] = per_trial["shots"].astype("Int64")
    position = [index for index, values in enumerate(metrics) for _ in values]
    result = per_trial.take(position).reset_index(drop=True)
    result["metric"] = pd.Series(list(chain.from_iterable(metrics)), dtype="str")
    result["value"] = pd.Series(list(chain.from_iterable(values.values() for values in metrics)), dtype="float64")
    return result


_plain_fields = itemgetter(*_PLAIN)
_record_fields = itemgetter(*_OF_RECORD)


def _row(record: Mapping[str, Any], text: Callable[[Any], str]) -> tuple[Any, ...]:
    trial, environment = record["trial"], record["environment"]
    return (
        record["key"],
        *_record_fields(record),
        *_plain_fields(trial),
        *[text(trial[name]) for name in _MAPPINGS],
        text(record["coverage"]),
        text(record["train_clips"]),
        " ".join(record["marks"]),
        *[environment.get(name) for name in _OF_ENVIRONMENT],
    )


def _remembered_text() -> Callable[[Any], str]:
    """Canonical JSON, worked out once for each distinct value; `repr` tells values apart exactly (1, 1.0 and True too)."""
    texts: dict[str, str] = {}

    def text(value: Any) -> str:
        written = repr(value)
        if written not in texts:
            texts[written] = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return texts[written]

    return text
