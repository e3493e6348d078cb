"""Per-clip predictions of an evaluation: worked out from its scores, kept beside them, and read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.api.evidence import ClipOutcomes
from petl_bench.api.retrieval import DIRECTIONS, split_queries
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.records.files import read_recorded
from petl_bench.records.judge import close, judge, metrics_fault
from petl_bench.records.layout import DETAILS, RECORD, predictions_name
from petl_bench.records.predictions import LARGEST_PREDICTIONS, read_arrays
from petl_bench.records.ranks import predicted_of, ranks_of
from petl_bench.records.retrieval_outcomes import RetrievalOutcomes, is_retrieval, retrieval_outcomes_of
from petl_bench.records.scan import Problem
from petl_bench.system.stored_json import LARGE, UnusableError, read_json

if TYPE_CHECKING:
    import numpy as np

#: What is known of an evaluation: one outcome, or that of both directions.
Outcomes = ClipOutcomes | RetrievalOutcomes
#: Outcomes that are kept in memory; a table reads the same ones again and again.
_KEPT = 4_000


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
        self._known: dict[tuple[str, str], Outcomes | Problem] = {}

    def of(self, trial: str, evaluation: str) -> ClipOutcomes | None:
        """The outcome of one evaluation; None if its predictions cannot be used, for which `fault` has the reason.

        Of an evaluation of retrieval, the queries of one direction have an outcome, e.g. "test/t2v"
        (`petl_bench.api.retrieval.queries_of`).
        """
        found = self._queries(trial, evaluation)
        return None if isinstance(found, Problem) else found

    def fault(self, trial: str, evaluation: str) -> str:
        """Why there is no outcome of one evaluation, with the file; "" if there is one."""
        found = self._queries(trial, evaluation)
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

    def _queries(self, trial: str, name: str) -> ClipOutcomes | Problem:
        """The outcome of an evaluation, or of the queries of one direction."""
        evaluation, direction = split_queries(name)
        found = self._look(trial, evaluation)
        if isinstance(found, Problem) or (isinstance(found, ClipOutcomes) and not direction):
            return found
        if isinstance(found, ClipOutcomes) or direction not in DIRECTIONS:
            path = self._record(trial)[0] / predictions_name(evaluation)
            return Problem(path, f"it has no outcome {name!r}: one of retrieval has {' and '.join(DIRECTIONS)}")
        return found.of(direction)

    def _look(self, trial: str, evaluation: str) -> Outcomes | Problem:
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


def accuracies_of(outcome: Outcomes) -> dict[str, float]:
    """top1, top5 and mean_class_top1 in percent, or the metrics of retrieval, as the engine works them out when a trial
    is evaluated."""
    if isinstance(outcome, RetrievalOutcomes):
        return outcome.accuracies
    accuracies = {f"top{k}": 100.0 * float((outcome.ranks <= k).mean()) for k in (1, 5)}
    return {**accuracies, MEAN_CLASS: mean_class_top1(outcome.labels, outcome.ranks)}


def checked_outcome(folder: Path, evaluation: str, record: Mapping[str, Any]) -> Outcomes | Problem:
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


def details_fault(folder: Path, evaluation: str, outcome: Outcomes) -> str:
    """How the accuracies in `details.json` differ from those of the predictions; "" if they are the same.

    Records of earlier versions name no contents: this is then what binds the predictions. Earlier ones have no
    mean-class accuracy.
    """
    own = accuracies_of(outcome)
    try:
        values = read_json(folder / DETAILS, LARGE)["evaluations"][evaluation]
        stored = {name: float(values[name]) for name in own if name != MEAN_CLASS}
        if values.get(MEAN_CLASS) is not None:
            stored[MEAN_CLASS] = float(values[MEAN_CLASS])
    except (FileNotFoundError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return f"{DETAILS} does not tell the accuracies of {evaluation}"
    for name, value in stored.items():
        if not close(value, own[name]):
            return f"the {name} of {evaluation} is {own[name]:.6g} by the predictions, and {value:.6g} by {DETAILS}"
    return ""


def outcome_of(content: bytes, counts: Mapping[str, int]) -> Outcomes:
    """What a file of predictions with this content says of each clip, without its scores; of retrieval, of each query.

    Files of earlier versions hold scores alone, from which the rest follows. `counts` as in `read_arrays`. Raises
    UnusableError if it cannot be such a file.
    """
    import numpy as np

    if is_retrieval(counts):
        return retrieval_outcomes_of(content, counts)
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
