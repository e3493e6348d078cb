"""Writing a record: what a finished trial leaves on disk, and an adapter that is let go.

One folder per trial, `<runs>/trials/<key>/`:

- `trial.json` everything that decided the numbers (`petl_bench.api.trial.Trial`);
- `train_list.txt` the clips that trained, a `clip label` row each, labels as in the training classes; its sha256 stands
  in the record;
- `predictions-<evaluation>.npz` per clip: `clips`, `labels` [N], `scores` float32 [N, C], and `classes` [C]; `groups`
  [N] if the data set says which clips come from one source video; and what follows from the scores, so that a
  report need not read them: `ranks` of the labels and `predicted` classes [N]; of retrieval see
  `petl_bench.records.retrieval_outcomes`;
- `details.json` the history by epoch, the whole environment, missing and unreadable clips with their reasons;
- `record.json` small: metrics, marks, coverage, parameter counts, durations, and sha256 and size of every file above
  and of the adapter (`files`); what `petl_bench.records.optional` describes, if there is something to say. It is
  written last and in one step, and is the sole proof that the trial is done.

Every file is written under a temporary name in the same folder, synced, and renamed; so a reader sees a whole file or
none, also on a shared network file system. Readers take nothing on trust: a damaged or foreign record is named and left
out, and so is one whose files are not those that were recorded (`petl_bench.records.judge`).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.api.trial import EvaluationResult, KeepAdapters, RetrievalResult, Trial, TrialResult
from petl_bench.errors import StoreError
from petl_bench.records.files import described, described_file
from petl_bench.records.judge import judge
from petl_bench.records.layout import ADAPTER, DETAILS, RECORD, TRAIN_LIST, TRIAL, predictions_name
from petl_bench.records.optional import optional_fields
from petl_bench.records.outcomes import class_sizes
from petl_bench.records.ranks import predicted_of, ranks_of
from petl_bench.records.retrieval_outcomes import retrieval_predictions, tied_queries
from petl_bench.records.schema import SCHEMA, fault_of
from petl_bench.system.environment import package_version
from petl_bench.system.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

#: The largest adapter that `--keep-adapters small` leaves on disk.
SMALL_BYTES = 64 * 2**20


def write_record(
    folder: str | Path,
    trial: Trial,
    result: TrialResult,
    *,
    attempts: int = 1,
    created: str | None = None,
    before_each: Callable[[], None] = lambda: None,
) -> Path:
    """Store a finished trial in its folder (`trial_folder`).

    Args:
        folder: the trial's folder, called by its key.
        trial: what decided the numbers.
        result: the numbers, per-clip predictions and costs.
        attempts: how often the trial was started, this time included.
        created: an ISO 8601 time; by default now.
        before_each: called before every file that is written; it may raise, if the trial is another process's by now.

    Returns:
        The path of `record.json`, which is written last.

    Raises:
        StoreError: the trial is already recorded, a value is not finite, or the folder cannot be written.
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
        "test_classes": {
            name: _test_classes(evaluation)
            for name, evaluation in result.evaluations.items()
            if isinstance(evaluation, EvaluationResult)
        },
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
        **optional_fields(result),
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


def _coverage(evaluation: EvaluationResult | RetrievalResult) -> dict[str, int]:
    clips = {
        "expected": evaluation.expected,
        "found": evaluation.expected - len(evaluation.missing),
        "unreadable": len(evaluation.unreadable),
        "used": len(evaluation.clips),
    }
    if isinstance(evaluation, RetrievalResult):
        texts = {"texts": len(evaluation.texts), "expected_texts": evaluation.expected_texts}
        return {**clips, **texts, **tied_queries(evaluation)}
    return {**clips, "classes": len(evaluation.classes)}


def _test_classes(evaluation: EvaluationResult) -> dict[str, int]:
    """How many classes have scored clips, and how many clips the smallest and the largest of these have."""
    sizes = class_sizes(evaluation.labels)
    return {"used": len(sizes), "smallest": min(sizes, default=0), "largest": max(sizes, default=0)}


def _predictions(name: str, evaluation: EvaluationResult | RetrievalResult) -> bytes:
    import numpy as np

    if isinstance(evaluation, RetrievalResult):
        return _retrieval_predictions(name, evaluation)
    scores = np.asarray(evaluation.scores, dtype=np.float32)
    if scores.shape != (len(evaluation.clips), len(evaluation.classes)) or len(evaluation.labels) != len(
        evaluation.clips
    ):
        raise StoreError(
            f"evaluation {name}: scores {scores.shape} do not fit {len(evaluation.clips)} clips, "
            f"{len(evaluation.labels)} labels and {len(evaluation.classes)} classes"
        )
    _refuse_not_finite(name, evaluation.clips, scores)
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


def _retrieval_predictions(name: str, evaluation: RetrievalResult) -> bytes:
    import numpy as np

    similarities = evaluation.similarities
    shape = (len(evaluation.clips), len(evaluation.texts))
    found = shape if similarities is None else np.shape(similarities)
    if found != shape or len(evaluation.owners) != shape[1] or set(evaluation.owners) != set(range(shape[0])):
        raise StoreError(
            f"evaluation {name}: similarities {found} and {len(evaluation.owners)} owners do not fit "
            f"{shape[0]} clips and {shape[1]} texts"
        )
    if similarities is not None:
        _refuse_not_finite(name, evaluation.clips, similarities)
    return retrieval_predictions(evaluation)


def _refuse_not_finite(name: str, clips: list[str], scores: np.ndarray) -> None:
    """Raise StoreError, naming the first clip, if a score [N, ...] is not finite."""
    import numpy as np

    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        clip = clips[int(np.argmin(finite))]
        raise StoreError(f"evaluation {name}: the scores of {clip} are not finite, so nothing is recorded")


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


# Adapters that are let go


def stays(choice: KeepAdapters, size: int) -> bool:
    """Whether an adapter of `size` bytes, from which no other trial starts, stays on disk."""
    return choice == "all" or (choice == "small" and size <= SMALL_BYTES)


def adapter_bytes(folder: Path) -> int:
    """The size of the adapter in a trial's folder; 0 if there is none."""
    try:
        return (folder / ADAPTER).lstat().st_size
    except FileNotFoundError:
        return 0


def has_excess(folder: Path, choice: KeepAdapters) -> bool:
    """Whether there is an adapter in a trial's folder that does not stay."""
    size = adapter_bytes(folder)
    return size > 0 and not stays(choice, size)


def let_go(folder: Path) -> int:
    """Remove the adapter of the finished trial in `folder`, after its record says so; the bytes that this frees.

    It stays in the record with hash and size, and with `"kept": false` (`petl_bench.records.files.was_let_go`). No
    number comes from it, so the trial is as done as before; a trial that is to start from it later makes its own trial
    train again, as with one that was lost.

    Raises StoreError if the record is damaged, or of an earlier version, which names no files: then nothing changes.
    """
    record, problem = judge(folder)
    if problem is not None:
        raise StoreError(str(problem))
    files = record.get("files", {})
    if ADAPTER not in files:
        raise StoreError(f"{folder / RECORD}: names no adapter that could be let go")
    if files[ADAPTER].get("kept", True):
        files[ADAPTER]["kept"] = False
        write_atomically(folder / RECORD, _json(record))
    size = adapter_bytes(folder)
    try:
        (folder / ADAPTER).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {folder / ADAPTER}: {error.strerror}") from error
    return size
