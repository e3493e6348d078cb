"""Per-clip predictions of an evaluation: worked out from its scores, kept beside them, and read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.api.evidence import ClipOutcomes
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.records.files import read_recorded
from petl_bench.records.judge import close, judge, metrics_fault
from petl_bench.records.layout import DETAILS, RECORD, predictions_name
from petl_bench.records.predictions import LARGEST_PREDICTIONS, read_arrays
from petl_bench.records.scan import Problem
from petl_bench.system.stored_json import LARGE, UnusableError, read_json

if TYPE_CHECKING:
    import numpy as np

#: The rank of a label whose own score is NaN; fits int32, in which ranks are stored.
NO_PLACE = 2**31 - 1
#: Outcomes that are kept in memory; a table reads the same ones again and again.
_KEPT = 4_000


def ranks_of(labels: Sequence[int] | np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The place of each clip's label among its scores [N, C], int64 [N]; 1 is the highest.

    Ties count against the label: a constant score is never right by luck of the order. So does NaN: of another class it
    stands before the label, and a label whose own score is NaN has NO_PLACE, which is in no top-k.
    """
    import numpy as np

    of_label = scores[np.arange(len(labels)), np.asarray(labels, dtype=np.int64)]
    # What is not below the label, instead of what is above or equal: every comparison with NaN is false.
    places: np.ndarray = (~(scores < of_label[:, None])).sum(axis=1)
    return np.where(np.isnan(of_label), NO_PLACE, places)


def predicted_of(labels: Sequence[int] | np.ndarray, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The class that each clip was taken for, int64 [N]: its label if that ranks first, else the best other one.

    NaN counts as the highest score, as in `ranks_of`.
    """
    import numpy as np

    labels = np.asarray(labels, dtype=np.int64)
    # The label's own score alone is -inf below, so that another class is found whatever the others hold.
    others = np.nan_to_num(scores.astype(np.float64), nan=np.inf, neginf=np.finfo(np.float64).min)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.where(ranks == 1, labels, others.argmax(axis=1) if len(labels) else labels)


def mean_class_top1(labels: Sequence[int] | np.ndarray, ranks: np.ndarray) -> float:
    """Mean over the classes of their top-1, in percent; classes without a clip are left out."""
    import numpy as np

    return 100.0 * float((np.asarray(ranks) == 1) @ class_weights(labels))


def class_weights(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """What each clip weighs if every class that has clips weighs the same, float [N]; 1 in all."""
    import numpy as np

    # Not `bincount` of the labels themselves, which may be any numbers in a file that was tampered with.
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1 / len(sizes) / sizes[codes]
    return weights


def class_sizes(labels: Sequence[int] | np.ndarray) -> list[int]:
    """How many clips each class has, of those that have some."""
    import numpy as np

    sizes: list[int] = np.unique(labels, return_counts=True)[1].tolist()
    return sizes


class StoredOutcomes:
    """The outcomes of the trials under some output folders; the first one with a whole record counts.

    Nothing is taken on trust: predictions that are not those recorded give no outcome, and a reason (`fault`).
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._records: dict[str, tuple[Path, dict[str, Any], Problem | None]] = {}
        self._known: dict[tuple[str, str], ClipOutcomes | Problem] = {}

    def of(self, trial: str, evaluation: str) -> ClipOutcomes | None:
        """The outcome of one evaluation; None if its predictions cannot be used, for which `fault` has the reason."""
        found = self._look(trial, evaluation)
        return None if isinstance(found, Problem) else found

    def fault(self, trial: str, evaluation: str) -> str:
        """Why there is no outcome of one evaluation, with the file; "" if there is one."""
        found = self._look(trial, evaluation)
        return f"{found.path.name}: {found.reason}" if isinstance(found, Problem) else ""

    def problem(self, trial: str) -> Problem | None:
        """What is wrong with a trial, all its predictions read and its metrics worked out anew; None if nothing is."""
        folder, record, problem = self._record(trial)
        if problem is not None:
            return problem
        accuracies = {}
        for evaluation in record["coverage"]:
            found = self._look(trial, evaluation)
            if isinstance(found, Problem):
                return found
            accuracies[evaluation] = accuracies_of(found)
        fault = metrics_fault(record, accuracies)
        return Problem(folder / RECORD, fault) if fault else None

    def problems(self, trials: Iterable[str]) -> list[Problem]:
        """Those of these trials with which something is wrong."""
        return [found for trial in trials if (found := self.problem(trial)) is not None]

    def _look(self, trial: str, evaluation: str) -> ClipOutcomes | Problem:
        place = (trial, evaluation)
        if place not in self._known:
            folder, record, problem = self._record(trial)
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[place] = problem or checked_outcome(folder, evaluation, record)
        return self._known[place]

    def _record(self, trial: str) -> tuple[Path, dict[str, Any], Problem | None]:
        """Folder and record of a trial, and what is wrong with them: of the first folder in which nothing is."""
        if trial not in self._records:
            found = [(folder, *judge(folder)) for folder in (each / "trials" / trial for each in self._folders)]
            self._records[trial] = next((each for each in found if each[2] is None), found[0])
        return self._records[trial]


def accuracies_of(outcome: ClipOutcomes) -> dict[str, float]:
    """top1, top5 and mean_class_top1 in percent, as the engine works them out when a trial is evaluated."""
    accuracies = {f"top{k}": 100.0 * float((outcome.ranks <= k).mean()) for k in (1, 5)}
    return {**accuracies, MEAN_CLASS: mean_class_top1(outcome.labels, outcome.ranks)}


def checked_outcome(folder: Path, evaluation: str, record: Mapping[str, Any]) -> ClipOutcomes | Problem:
    """The outcome in a trial's folder, or why it cannot be used: its file is not what the record or the details say."""
    path = folder / predictions_name(evaluation)
    try:
        content = read_recorded(folder, path.name, record, LARGEST_PREDICTIONS)
        outcome = outcome_of(content, record["coverage"].get(evaluation, {}))
    except UnusableError as error:
        return Problem(path, str(error))
    if "files" not in record and (fault := details_fault(folder, evaluation, outcome)):
        return Problem(path, fault)
    return outcome


def details_fault(folder: Path, evaluation: str, outcome: ClipOutcomes) -> str:
    """How the accuracies in `details.json` differ from those of the predictions; "" if they are the same.

    Records of earlier versions name no contents: this is then what binds the predictions. Earlier ones have no
    mean-class accuracy.
    """
    try:
        values = read_json(folder / DETAILS, LARGE)["evaluations"][evaluation]
        stored = {name: float(values[name]) for name in ("top1", "top5")}
        if values.get(MEAN_CLASS) is not None:
            stored[MEAN_CLASS] = float(values[MEAN_CLASS])
    except (FileNotFoundError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return f"{DETAILS} does not tell the accuracies of {evaluation}"
    own = accuracies_of(outcome)
    for name, value in stored.items():
        if not close(value, own[name]):
            return f"the {name} of {evaluation} is {own[name]:.6g} by the predictions, and {value:.6g} by {DETAILS}"
    return ""


def outcome_of(content: bytes, counts: Mapping[str, int]) -> ClipOutcomes:
    """What a file of predictions with this content says of each clip, without its scores.

    Files of earlier versions hold scores alone, from which the rest follows. `counts` as in `read_arrays`. Raises
    UnusableError if it cannot be such a file.
    """
    import numpy as np

    arrays = read_arrays(content, ("clips", "labels", "classes", "ranks", "predicted", "groups"), counts)
    try:
        clips, labels, classes = arrays["clips"], arrays["labels"].astype(np.int64), arrays["classes"]
        if "ranks" in arrays:
            ranks, predicted = arrays["ranks"].astype(np.int64), arrays["predicted"].astype(np.int64)
        else:
            counts = {"used": len(clips), "classes": len(classes)}
            scores = read_arrays(content, ("scores",), counts)["scores"]
            ranks = ranks_of(labels, scores)
            predicted = predicted_of(labels, scores, ranks)
    except KeyError as error:
        raise UnusableError(f"lacks {error.args[0]}") from error
    except IndexError as error:
        raise UnusableError(f"its labels are no classes: {error}") from error
    for name, numbers in (("labels", labels), ("predicted", predicted)):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
            raise UnusableError(f"its {name} are from {numbers.min()} to {numbers.max()}, of {len(classes)} classes")
    return ClipOutcomes(clips, labels, predicted, ranks, classes, arrays.get("groups"))
