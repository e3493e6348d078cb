"""Reading records: one by one, or all under some folders as one frame."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.errors import StoreError
from petl_bench.records.files import read_recorded
from petl_bench.records.judge import judge, same_metrics, trial_values
from petl_bench.records.layout import DETAILS, RECORD, predictions_name, trial_folder
from petl_bench.records.predictions import LARGEST_PREDICTIONS, read_arrays
from petl_bench.records.retrieval_outcomes import RETRIEVAL_ARRAYS, is_retrieval
from petl_bench.records.scan import Problem, read_all, trial_names
from petl_bench.records.tunings import Tuning, read_distinct
from petl_bench.system.stored_json import UnusableError, parsed

if TYPE_CHECKING:
    import pandas as pd

_PREDICTIONS = ("clips", "labels", "scores", "classes")
_OPTIONAL = ("similarities",)


class RecordWarning(UserWarning):
    """Some records were left out; the message names them."""


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
        values = parsed(read_recorded(path.parent, DETAILS, record))
    except UnusableError as error:
        raise StoreError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise StoreError(f"{path}: not the details of a trial")
    return values


def read_predictions(folder: str | Path, evaluation: str) -> dict[str, Any]:
    """Per-clip predictions of one evaluation: arrays `clips` [N], `labels` [N], `scores` [N, C], `classes` [C].

    Of retrieval those that `petl_bench.records.retrieval_outcomes` lists; `similarities` only if they were kept.

    Raises StoreError if the file is missing, damaged, or not what the record beside it names.
    """
    path = Path(folder) / predictions_name(evaluation)
    record = read_record(folder)
    try:
        content = read_recorded(path.parent, path.name, record, LARGEST_PREDICTIONS)
        counts = record["coverage"].get(evaluation, {})
        names = RETRIEVAL_ARRAYS if is_retrieval(counts) else _PREDICTIONS
        arrays = read_arrays(content, (*names, *_OPTIONAL), counts)
        return {name: arrays[name] for name in names} | {name: arrays[name] for name in _OPTIONAL if name in arrays}
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
        self.tunings: list[Tuning] = []
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
        """One row per trial and metric; see `load_records`. `tunings` are then those of the folders."""
        from petl_bench.records import frame as record_frame

        self.tunings = read_distinct(self.folders)
        return record_frame.with_tunings(record_frame.frame(record_frame.rows_of(self)), self.tunings)

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


def load_records(runs: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """All records under one or more output folders: one row per trial and metric, ordered by trial key.

    Columns: `trial` (its key, the name of its folder); the trial's fields (`method`, `hyper_parameters`, `backbone`,
    `weights`, `setting`, `dataset`, `split`, `shots`, `seed`, ...), its mappings (`hyper_parameters`, `training`,
    `setting_options`, `dataset_options`, `backbone_options`, `locations`) are canonical JSON text; `metric` and
    `value`; `marks` (words between spaces); `coverage`, `test_classes` and `train_clips` (JSON text); `absent` (JSON
    text: evaluation that the method cannot score -> reason; its metrics have no rows);
    `tuning` (the partition of the training clips that the trial is trained and evaluated on, if it is one of a tuning:
    its metrics are of training clips; "" for every other trial); `tuned_by` (names of the tunings under these folders
    that chose the trial's values; such a trial has the mark `tuned-here`);
    `trainable_params`, `backbone_params`, `prompt_template`, `device`, `processor`, `software`, `attempts`, `created`,
    `petl_bench`.

    Variants of a method have no rows: see `petl_bench.records.optional.variants_of`. Those that the engine makes of
    retrieval do, with names such as "t2v_r1@dual_softmax": see `petl_bench.records.optional.beside`.

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
