"""Stored measurements: read from a folder of records or from an exported file, and compared with new ones. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.api.trial import canonical_json
from petl_bench.costs.recording import SETTING
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.read import RecordReader

#: Ratios within one run, which alone can be compared between runs; and whether more is better.
RATIOS = {"throughput_vs_frozen": True, "train_step_vs_full": False}
_IDENTITY = ("method", "hyper_parameters", "backbone", "setting_options")


@dataclass(frozen=True)
class Stored:
    """One measurement: the trial as its record holds it, and its metrics."""

    trial: Mapping[str, Any]
    metrics: Mapping[str, float]

    @property
    def identity(self) -> str:
        """What must be equal for two measurements to be of the same thing; versions of code are not part of it."""
        return canonical_json({name: self.trial[name] for name in _IDENTITY})

    @property
    def title(self) -> str:
        """For people, e.g. `lora merged (viclip-tiny, batch 1, fp32)`."""
        options = self.trial["setting_options"]
        merged = " merged" if options["merged"] else ""
        batch = f"batch {options['batch_size']}"
        return f"{self.trial['method']}{merged} ({self.trial['backbone']}, {batch}, {options['precision']})"


def read_stored(path: Path) -> list[Stored]:
    """The cost measurements of a folder of runs, or of a file that `--format pytest-benchmark` wrote.

    Raises UsageError if there are none, StoreError if it cannot be read.
    """
    found = list(_of_folder(path) if path.is_dir() else _of_file(path))
    if not found:
        raise UsageError(f"--compare {path}: holds no cost measurement. Make some: petl-bench cost --output {path}")
    return found


def _of_folder(path: Path) -> Iterable[Stored]:
    for record in RecordReader(path):
        if record["trial"]["setting"] == SETTING:
            yield Stored(record["trial"], record["metrics"])


def _of_file(path: Path) -> Iterable[Stored]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        notes = [benchmark["extra_info"] for benchmark in values["benchmarks"]]
        unique = {canonical_json(note["trial"]): note for note in notes}
        return [Stored(note["trial"], note["metrics"]) for note in unique.values()]
    except OSError as error:
        raise StoreError(f"--compare {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"--compare {path}: not a file of `petl-bench cost --format pytest-benchmark` ({type(error).__name__})"
        ) from error


@dataclass(frozen=True)
class StoredComparison:
    """One line per ratio that worsened; how many ratios were compared; what had nothing to be compared with."""

    worsened: list[str]
    compared: int
    alone: list[str]


def compare(before: Iterable[Stored], now: Iterable[Stored], tolerance: float) -> StoredComparison:
    """The ratios that are worse by more than `tolerance` percent of what they were."""
    new = {each.identity: each for each in now}
    worsened, compared, alone = [], 0, []
    for old in before:
        match = new.get(old.identity)
        if match is None:
            alone.append(old.title)
            continue
        for ratio, more_is_better in RATIOS.items():
            if ratio not in old.metrics or ratio not in match.metrics:
                continue
            compared += 1
            then, today = old.metrics[ratio], match.metrics[ratio]
            loss = 100 * (then - today if more_is_better else today - then) / then
            if loss > tolerance:
                worsened.append(f"{old.title}: {ratio} {then:.3f} -> {today:.3f}, {loss:.1f} % worse")
    return StoredComparison(worsened, compared, alone)
