"""What a finished trial leaves on disk, and how it is read back.

One folder per trial, `<runs>/trials/<key>/`:

- `trial.json` everything that decided the numbers (`petl_bench.api.trial.Trial`);
- `train_list.txt` the clips that trained, a `clip label` row each, labels as in the training classes; its sha256 stands
  in the record;
- `predictions-<evaluation>.npz` per clip: `clips`, `labels` [N], `scores` float32 [N, C], and `classes` [C]; `groups`
  [N] where the data set says which clips come from one source video; and what follows from the scores, so that a
  report need not read them: `ranks` of the labels and `predicted` classes [N];
- `details.json` the history by epoch, the whole environment, missing and unreadable clips with their reasons;
- `record.json` small: metrics, marks, coverage, parameter counts, durations, and sha256 and size of every file above
  and of the adapter (`files`). It is written last and in one step, and is the sole proof that the trial is done.

Every file is written under a temporary name in the same folder, synced, and renamed; so a reader sees a whole file or
none, also on a shared network file system. Readers take nothing on trust: a damaged or foreign record is named and left
out, and so is one whose files are not those that were recorded (`petl_bench.records.judge`).
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.api.trial import EvaluationResult, Trial, TrialResult
from petl_bench.errors import StoreError
from petl_bench.records.files import content_fault, described, described_file
from petl_bench.records.judge import judge, same_metrics, trial_values
from petl_bench.records.layout import ADAPTER, DETAILS, RECORD, TRAIN_LIST, TRIAL, predictions_name, trial_folder
from petl_bench.records.outcomes import class_sizes, predicted_of, ranks_of
from petl_bench.records.prediction_arrays import LARGEST_PREDICTIONS, read_arrays
from petl_bench.records.scan import Problem, read_all, trial_names
from petl_bench.records.schema import SCHEMA, fault_of
from petl_bench.system.environment import package_version
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, parsed, read_bytes

if TYPE_CHECKING:
    import pandas as pd


_PREDICTIONS = ("clips", "labels", "scores", "classes")


class RecordWarning(UserWarning):
    """Some records were left out; the message names them."""


# Writing


def write_record(
    folder: str | Path,
    trial: Trial,
    result: TrialResult,
    *,
    attempts: int = 1,
    created: str | None = None,
    before_each: Callable[[], None] = lambda: None,
) -> Path:
    """Store a finished trial in its folder (`trial_folder`); returns the path of `record.json`, which is written last.

    `attempts` counts the starts of this trial, this one included; `created` is an ISO 8601 time, by default now.
    `before_each` is called before every file that is written, and may raise where the trial is another process's.
    Raises StoreError where the trial is already recorded, or where the folder cannot be written.
    """
    folder = Path(folder)
    path = folder / RECORD
    if folder.name != trial.key:
        raise StoreError(f"{folder}: the folder of this trial must be called {trial.key}")
    if path.exists():
        raise StoreError(f"{path}: this trial is already done; its record is not replaced")
    files = _write_files(folder, trial, result, before_each)
    values = {
        "schema": SCHEMA,
        "key": trial.key,
        "status": "done",
        "trial": trial.stored(),
        "metrics": result.metrics,
        "marks": result.marks,
        "coverage": {name: _coverage(evaluation) for name, evaluation in result.evaluations.items()},
        "test_classes": {name: _test_classes(evaluation) for name, evaluation in result.evaluations.items()},
        "train_clips": result.train_clips,
        "train_list_sha256": hashlib.sha256(result.train_list.encode()).hexdigest() if result.train_list else "",
        "trainable_params": result.trainable_params,
        "backbone_params": result.backbone_params,
        "durations_s": result.durations_s,
        "notes": result.notes,
        "attempts": attempts,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "petl_bench": package_version(),
        "environment": {
            name: value for name, value in result.environment.items() if isinstance(value, (str, int, float))
        },
        "files": files,
    }
    fault = fault_of(values, folder.name)
    if fault:
        raise StoreError(f"trial {trial.title} cannot be recorded: {fault}")
    before_each()
    write_atomically(path, _json(values))
    return path


def _write_files(
    folder: Path, trial: Trial, result: TrialResult, before_each: Callable[[], None]
) -> dict[str, dict[str, Any]]:
    """Write everything but the record; what it says of each file, the adapter included, which is there already."""
    contents = {predictions_name(name): _predictions(name, each) for name, each in result.evaluations.items()}
    if result.train_list:
        contents[TRAIN_LIST] = result.train_list.encode()
    contents[TRIAL] = _json(trial.stored(), indent=1)
    contents[DETAILS] = _json(_details(trial, result), indent=1)
    for name, content in contents.items():
        before_each()
        write_atomically(folder / name, content)
    files = {name: described(content) for name, content in contents.items()}
    adapter = folder / ADAPTER
    try:
        return {**files, ADAPTER: described_file(adapter)} if adapter.exists() else files
    except OSError as error:
        raise StoreError(f"{adapter}: cannot be read: {error.strerror}") from error


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
                **evaluation.accuracies,
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


def _test_classes(evaluation: EvaluationResult) -> dict[str, int]:
    """How many classes have scored clips, and how many clips the smallest and the largest of these have."""
    sizes = class_sizes(evaluation.labels)
    return {"used": len(sizes), "smallest": min(sizes, default=0), "largest": max(sizes, default=0)}


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
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        clip = evaluation.clips[int(np.argmin(finite))]
        raise StoreError(f"evaluation {name}: the scores of {clip} are not finite, so nothing is recorded")
    ranks = ranks_of(evaluation.labels, scores)
    groups: dict[str, Any] = {"groups": np.array(evaluation.groups, dtype=np.str_)} if evaluation.groups else {}
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
    """The record of one trial, from its `record.json` or its folder; its key is computed again.

    Raises StoreError, naming the file, if there is none, if it is damaged or belongs to another trial, or if a file
    beside it is gone or has another size than was recorded.
    """
    path = Path(path)
    values, problem = judge(path.parent if path.name == RECORD else path)
    if problem is not None:
        raise StoreError(str(problem))
    return values


def read_details(folder: str | Path, record: dict[str, Any]) -> dict[str, Any]:
    """What `details.json` beside a record holds. Raises StoreError if it is not what was recorded."""
    path = Path(folder) / DETAILS
    try:
        raw = read_bytes(path, LARGE)
        fault = content_fault(DETAILS, raw, record)
        values = {} if fault else parsed(raw)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: is gone") from error
    except UnusableError as error:
        raise StoreError(f"{path}: {error}") from error
    if fault or not isinstance(values, dict):
        raise StoreError(f"{path}: {fault or 'not the details of a trial'}")
    return values


def read_predictions(folder: str | Path, evaluation: str) -> dict[str, Any]:
    """Per-clip predictions of one evaluation: arrays `clips` [N], `labels` [N], `scores` [N, C], `classes` [C].

    Raises StoreError if the file is missing, damaged, or not what the record beside it names.
    """
    path = Path(folder) / predictions_name(evaluation)
    try:
        content, record = read_bytes(path, LARGEST_PREDICTIONS), read_record(folder)
        if fault := content_fault(path.name, content, record):
            raise UnusableError(fault)
        arrays = read_arrays(content, _PREDICTIONS, record["coverage"].get(evaluation, {}))
        return {name: arrays[name] for name in _PREDICTIONS}
    except FileNotFoundError as error:
        raise StoreError(f"{path}: is gone") from error
    except KeyError as error:
        raise StoreError(f"{path}: lacks {error.args[0]}") from error
    except UnusableError as error:
        raise StoreError(f"{path}: {error}") from error


# Reading all


class RecordReader:
    """Reads the records of one or more output folders; `problems` lists what was left out, and why, after each reading.

    A trial found in several folders with the same numbers counts once: the folder named first wins, and the others are
    listed as problems. With different numbers, none of them counts. Raises StoreError if a folder does not exist.
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
        if len(self.folders) == 1:
            yield from (values for _, values in self._read(self.folders[0]))
            return
        found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
        for folder in self.folders:
            for name, values in self._read(folder):
                found.setdefault(name, []).append((trial_folder(folder, name) / RECORD, values))
        for copies in found.values():
            if self._agree(copies):
                yield copies[0][1]

    def frame(self) -> pd.DataFrame:
        """One row per trial and metric; see `load_records`."""
        from petl_bench.records import frame as record_frame

        with without_garbage_collection():
            return record_frame.frame(record_frame.rows_of(self))

    def _read(self, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        trials = folder / "trials"
        return read_all(trials, trial_names(trials), self.problems)

    def _agree(self, copies: Sequence[tuple[Path, dict[str, Any]]]) -> bool:
        """Whether all copies of a trial have the same numbers; lists those that are left out."""
        (first, values), *others = copies
        unequal = [(path, each) for path, each in others if not same_metrics(values["metrics"], each["metrics"])]
        if not unequal:
            reason = f"the same trial is already read from {first.parent}, with equal numbers"
            self.problems += [Problem(path, reason) for path, _ in others]
            return True
        stated = "; ".join(f"{path.parent} has {_numbers(each)}" for path, each in [copies[0], *unequal])
        reason = f"the same trial with different numbers, none of which is used: {stated}. Report without the wrong one"
        self.problems += [Problem(path, reason) for path, _ in copies]
        return False


def _numbers(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in record["metrics"].items())


def iter_records(runs: str | Path | Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """Every readable record under one or more output folders; RecordReader also tells which were left out."""
    return iter(RecordReader(runs))


def load_records(runs: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """All records under one or more output folders: one row per trial and metric, ordered by trial key.

    Columns: `trial` (its key, the name of its folder); the trial's fields (`method`, `hyper_parameters`, `backbone`,
    `weights`, `setting`, `dataset`, `split`, `shots`, `seed`, ...), where the mappings (`hyper_parameters`, `training`,
    `setting_options`, `dataset_options`, `backbone_options`, `locations`) are canonical JSON text; `metric` and
    `value`; `marks` (words between spaces); `coverage`, `test_classes` and `train_clips` (JSON text);
    `trainable_params`, `backbone_params`, `prompt_template`, `device`, `processor`, `software`, `attempts`, `created`,
    `petl_bench`.

    The files beside a record are compared with it by their sizes; `petl-bench runs verify` compares everything.

    Warns (RecordWarning) of records left out because they are damaged, foreign, or one of several of the same trial.
    Raises StoreError if a folder does not exist.
    """
    reader = RecordReader(runs)
    records = reader.frame()
    if reader.problems:
        listed = "\n".join(f"  {problem}" for problem in reader.problems)
        warnings.warn(f"{len(reader.problems)} records left out:\n{listed}", RecordWarning, stacklevel=2)
    return records


def damaged_trials(problems: Sequence[Problem], records: pd.DataFrame) -> pd.DataFrame:
    """The trials that were left out of `records` though they were finished: a row per trial and metric, values NaN.

    What they were is read from what is left of their folders; a trial of which that does not tell is not among them.
    """
    from petl_bench.records import frame as record_frame

    known = set(records["trial"])
    folders = {problem.trial: problem.path.parent for problem in problems if problem.trial not in known}
    trials = {key: trial for key, folder in folders.items() if (trial := trial_values(folder)) is not None}
    return record_frame.damaged(trials)


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
