"""What a finished trial leaves on disk, and how it is read back.

One folder per trial, `<runs>/trials/<key>/`:

- `trial.json` everything that decided the numbers (`petl_bench.trial.Trial`);
- `train_list.txt` the clips that trained, a `clip label` row each, labels as in the training classes; its sha256 stands
  in the record;
- `predictions-<evaluation>.npz` per clip: `clips`, `labels` [N], `scores` float32 [N, C], and `classes` [C]; `groups`
  [N] where the data set says which clips come from one source video; and what follows from the scores, so that a
  report need not read them: `ranks` of the labels and `predicted` classes [N];
- `details.json` the history by epoch, the whole environment, missing and unreadable clips with their reasons;
- `record.json` small: metrics, marks, coverage, parameter counts, durations. It is written last and in one step, and is
  the sole proof that the trial is done.

Every file is written under a temporary name in the same folder, synced, and renamed; so a reader sees a whole file or
none, also on a shared network file system. Readers take nothing on trust: a damaged or foreign record is named and left
out.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import petl_bench
from petl_bench.errors import StoreError
from petl_bench.files import write_atomically
from petl_bench.outcomes import predicted_of, ranks_of
from petl_bench.record_scan import RECORD, Problem, parse, read_all, trial_names
from petl_bench.record_schema import SCHEMA, fault_of
from petl_bench.trial import EvaluationResult, Trial, TrialResult, canonical_json

if TYPE_CHECKING:
    import pandas as pd


#: The trained tensors in the folder of a trial (`petl_bench.training.checkpoint.save_adapter`).
ADAPTER = "adapter.safetensors"
#: What the attempts at a trial printed, with the tracebacks of what went wrong.
LOG = "log.txt"


class RecordWarning(UserWarning):
    """Some records were left out; the message names them."""


def trial_folder(runs: str | Path, key: str) -> Path:
    """The folder of the trial with this key."""
    return Path(runs) / "trials" / key


# Writing


def write_record(
    folder: str | Path, trial: Trial, result: TrialResult, *, attempts: int = 1, created: str | None = None
) -> Path:
    """Store a finished trial in its folder (`trial_folder`); returns the path of `record.json`, which is written last.

    `attempts` counts the starts of this trial, this one included; `created` is an ISO 8601 time, by default now.
    Raises StoreError where the trial is already recorded, or where the folder cannot be written.
    """
    folder = Path(folder)
    path = folder / RECORD
    if folder.name != trial.key:
        raise StoreError(f"{folder}: the folder of this trial must be called {trial.key}")
    if path.exists():
        raise StoreError(f"{path}: this trial is already done; its record is not replaced")
    for name, evaluation in result.evaluations.items():
        write_atomically(folder / f"predictions-{name}.npz", _predictions(name, evaluation))
    if result.train_list:
        write_atomically(folder / "train_list.txt", result.train_list.encode())
    write_atomically(folder / "trial.json", _json(asdict(trial), indent=1))
    write_atomically(folder / "details.json", _json(_details(trial, result), indent=1))
    values = {
        "schema": SCHEMA,
        "key": trial.key,
        "status": "done",
        "trial": asdict(trial),
        "metrics": result.metrics,
        "marks": result.marks,
        "coverage": {name: _coverage(evaluation) for name, evaluation in result.evaluations.items()},
        "train_clips": result.train_clips,
        "train_list_sha256": hashlib.sha256(result.train_list.encode()).hexdigest() if result.train_list else "",
        "trainable_params": result.trainable_params,
        "backbone_params": result.backbone_params,
        "durations_s": result.durations_s,
        "notes": result.notes,
        "attempts": attempts,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "petl_bench": petl_bench.__version__,
        "environment": {
            name: value for name, value in result.environment.items() if isinstance(value, (str, int, float))
        },
    }
    fault = fault_of(values, folder.name)
    if fault:
        raise StoreError(f"trial {trial.title} cannot be recorded: {fault}")
    write_atomically(path, _json(values))
    return path


def _details(trial: Trial, result: TrialResult) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "key": trial.key,
        "history": result.history,
        "environment": result.environment,
        "train_unreadable": result.train_unreadable,
        "evaluations": {
            name: {
                "missing": evaluation.missing,
                "unreadable": evaluation.unreadable,
                "top1": evaluation.top1,
                "top5": evaluation.top5,
            }
            for name, evaluation in result.evaluations.items()
        },
    }


def _coverage(evaluation: EvaluationResult) -> dict[str, int]:
    return {
        "expected": evaluation.expected,
        "found": evaluation.expected - len(evaluation.missing),
        "unreadable": len(evaluation.unreadable),
        "used": len(evaluation.clips),
        "classes": len(evaluation.classes),
    }


def _predictions(name: str, evaluation: EvaluationResult) -> bytes:
    import numpy as np

    scores = np.asarray(evaluation.scores, dtype=np.float32)
    if scores.shape != (len(evaluation.clips), len(evaluation.classes)) or len(evaluation.labels) != len(
        evaluation.clips
    ):
        raise StoreError(
            f"evaluation {name}: scores {scores.shape} do not fit {len(evaluation.clips)} clips, "
            f"{len(evaluation.labels)} labels and {len(evaluation.classes)} classes"
        )
    ranks = ranks_of(evaluation.labels, scores)
    groups = {"groups": np.array(evaluation.groups, dtype=np.str_)} if evaluation.groups else {}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        clips=np.array(evaluation.clips, dtype=np.str_),
        labels=np.array(evaluation.labels, dtype=np.int64),
        scores=scores,
        classes=np.array(evaluation.classes, dtype=np.str_),
        ranks=ranks.astype(np.int32),
        predicted=predicted_of(evaluation.labels, scores, ranks).astype(np.int32),
        **groups,
    )
    return buffer.getvalue()


def _json(value: Any, indent: int | None = None) -> bytes:
    """JSON in ASCII, so that any file name can be stored; numbers of numpy become plain ones; NaN is refused."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False, default=_plain).encode() + b"\n"
    except ValueError as error:
        raise StoreError(f"a value cannot be recorded: {error}") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be stored in a record")


# Reading one


def read_record(path: str | Path) -> dict[str, Any]:
    """The record of one trial, from its `record.json` or its folder, wholly verified (the key is computed again).

    Raises StoreError, naming the file, where there is none, or where it is damaged or belongs to another trial.
    """
    path = Path(path)
    path = path if path.name == RECORD else path / RECORD
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    values, fault = parse(raw, path.absolute().parent.name)
    if fault:
        raise StoreError(f"{path}: {fault}")
    if _key(values["trial"]) != values["key"]:
        raise StoreError(f"{path}: damaged: its trial does not give its key; it was changed after it was written")
    return values


def _key(trial: dict[str, Any]) -> str | None:
    """The key of a trial as it was stored, with the fields that it had then; None where it can have none."""
    try:
        values = {name: value for name, value in trial.items() if name != "locations"}
        return hashlib.sha256(canonical_json(values).encode()).hexdigest()
    except ValueError:
        return None


def read_predictions(folder: str | Path, evaluation: str) -> dict[str, Any]:
    """Per-clip predictions of one evaluation: arrays `clips` [N], `labels` [N], `scores` [N, C], `classes` [C].

    Raises StoreError where the file is missing or damaged.
    """
    import zipfile

    import numpy as np

    path = Path(folder) / f"predictions-{evaluation}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("clips", "labels", "scores", "classes")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


# Reading all


class RecordReader:
    """Reads the records of one or more output folders; `problems` lists what was left out, and why, after each reading.

    A trial found in several folders counts once: the folder named first wins, and the others are listed as problems.
    Raises StoreError where a folder does not exist.
    """

    def __init__(self, runs: str | Path | Sequence[str | Path]) -> None:
        self.folders = [Path(runs)] if isinstance(runs, (str, Path)) else [Path(folder) for folder in runs]
        self.problems: list[Problem] = []
        for folder in self.folders:
            if not folder.is_dir():
                raise StoreError(f"{folder}: no such folder of runs. Make one: petl-bench run --output {folder}")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every record, in the order of the folders and then of the keys."""
        self.problems = []
        seen: dict[str, Path] = {}
        for folder in self.folders:
            trials = folder / "trials"
            for name, _, values in read_all(trials, trial_names(trials), self.problems):
                if self._is_first(name, folder, seen):
                    yield values

    def frame(self) -> pd.DataFrame:
        """One row per trial and metric; see `load_records`."""
        from petl_bench import record_frame

        self.problems = []
        seen: dict[str, Path] = {}
        with without_garbage_collection():
            rows = [
                row
                for folder in self.folders
                for name, row in record_frame.rows_of(folder, self.problems)
                if self._is_first(name, folder, seen)
            ]
            return record_frame.frame(rows)

    def _is_first(self, name: str, folder: Path, seen: dict[str, Path]) -> bool:
        first = seen.setdefault(name, folder)
        if first is not folder:
            reason = f"the same trial is already read from {trial_folder(first, name)}"
            self.problems.append(Problem(trial_folder(folder, name) / RECORD, reason))
        return first is folder


def iter_records(runs: str | Path | Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """Every readable record under one or more output folders; RecordReader also tells which were left out."""
    return iter(RecordReader(runs))


def load_records(runs: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """All records under one or more output folders: one row per trial and metric, ordered by trial key.

    Columns: `trial` (its key, the name of its folder); the trial's fields (`method`, `hyper_parameters`, `backbone`,
    `weights`, `setting`, `dataset`, `split`, `shots`, `seed`, ...), where the mappings (`hyper_parameters`, `training`,
    `setting_options`, `dataset_options`, `locations`) are canonical JSON text; `metric` and `value`; `marks` (words
    between spaces); `coverage` and `train_clips` (JSON text); `trainable_params`, `backbone_params`, `prompt_template`,
    `device`, `processor`, `software`, `attempts`, `created`, `petl_bench`.

    A large folder gets an index beside its trials, which makes the next call faster; it is derived and may be deleted.

    Warns (RecordWarning) of records left out because they are damaged, foreign, or the second of the same trial.
    Raises StoreError where a folder does not exist.
    """
    reader = RecordReader(runs)
    records = reader.frame()
    if reader.problems:
        listed = "\n".join(f"  {problem}" for problem in reader.problems)
        warnings.warn(f"{len(reader.problems)} records left out:\n{listed}", RecordWarning, stacklevel=2)
    return records


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Many small containers that are kept make the collector walk all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
