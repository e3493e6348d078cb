"""From records to one pandas frame, a row per trial and metric."""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

import petl_bench
from petl_bench import record_index
from petl_bench.record_scan import RECORD, Problem, Stamp, read_all, stamp_of, trial_names
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
    "part",
    "start_from",
    "source_sha256",
    "engine_version",
)
#: What a record of an earlier version lacks.
_DEFAULTS = {"locations": {}, **{each.name: each.default for each in fields(Trial) if each.default is not MISSING}}
#: Mappings become canonical JSON text, so that they can be compared and grouped by.
_MAPPINGS = ("hyper_parameters", "setting_options", "dataset_options", "training", "locations")
_OF_RECORD = ("trainable_params", "backbone_params", "attempts", "created", "petl_bench")
_OF_ENVIRONMENT = ("prompt_template", "device", "processor", "software")
_METRICS, _VALUES = "metrics", "values"
_SEPARATOR = "\x1f"
#: An index is written anew when more than this part of its records is not in it.
_WORTH_SAVING = 0.05
_LAYOUT = [
    "trial",
    *_OF_RECORD,
    *_PLAIN,
    *_MAPPINGS,
    "coverage",
    "train_clips",
    "marks",
    *_OF_ENVIRONMENT,
    _METRICS,
    _VALUES,
]


def rows_of(folder: Path, problems: list[Problem]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name and row of every readable record of an output folder, ordered by name; from its index as far as it holds."""
    trials = folder / "trials"
    names = trial_names(trials)
    index = record_index.load(folder, [petl_bench.__version__, *_LAYOUT])
    known = {
        name for name in names if name in index.stamps and _is_still(f"{trials}/{name}/{RECORD}", index.stamps[name])
    }
    texts = _remembered_texts()
    fresh = 0
    for name, stamp, values in read_all(trials, [name for name in names if name not in known], problems):
        index.stamps[name], index.rows[name] = stamp, _row(values, texts)
        known.add(name)
        fresh += 1
    index.keep(known)
    if fresh > len(known) * _WORTH_SAVING:
        index.save(folder)
    return ((name, index.rows[name]) for name in names if name in known)


def frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows as a frame; see `petl_bench.records.load_records` for its columns."""
    transposed = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in _LAYOUT]
    columns = dict(zip(_LAYOUT, transposed, strict=True))
    metrics, values = columns.pop(_METRICS), columns.pop(_VALUES)
    per_trial = pd.DataFrame(columns)
    per_trial["shots"] = per_trial["shots"].astype("Int64")
    position = [index for index, some in enumerate(values) for _ in some]
    result = per_trial.take(position).reset_index(drop=True)
    names = [name for names, some in zip(metrics, values, strict=True) if some for name in names.split(_SEPARATOR)]
    result["metric"] = pd.Series(names, dtype="str")
    result["value"] = pd.Series(list(chain.from_iterable(values)), dtype="float64")
    return result


def _is_still(path: str, stamp: Stamp) -> bool:
    try:
        return stamp_of(os.stat(path)) == stamp  # noqa: PTH116 - making 100,000 Path objects takes longer than the calls
    except OSError:
        return False


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
        _SEPARATOR.join(record["metrics"]),
        tuple(record["metrics"].values()),
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
