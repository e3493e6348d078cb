"""`petl-bench runs verify`: everything that is recorded of a trial, against everything that lies in its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.api.tuning import VAL_BASE, VAL_NOVEL, Objective, metric_of
from petl_bench.errors import StoreError
from petl_bench.records.files import file_fault, read_recorded
from petl_bench.records.judge import judge, metrics_fault, unverifiable
from petl_bench.records.layout import DETAILS, RECORD, predictions_name
from petl_bench.records.outcomes import Outcomes, accuracies_of, checked_outcome, details_fault
from petl_bench.records.predictions import LARGEST_PREDICTIONS
from petl_bench.records.ranks import predicted_of, ranks_of
from petl_bench.records.read import read_predictions
from petl_bench.records.retrieval_outcomes import RetrievalOutcomes, similarities_fault
from petl_bench.records.scan import Problem, trial_names
from petl_bench.records.tunings import TUNINGS, Proposal, Tuning, read_tuning
from petl_bench.system.stored_json import UnusableError


@dataclass(frozen=True)
class Verified:
    """What was found of one trial: all that is wrong with it; `unknown`: why its metrics were taken as they stand."""

    trial: str
    problems: tuple[Problem, ...]
    unknown: str = ""


def verify(runs: Path) -> Iterator[Verified]:
    """Every recorded trial under `runs`, in the order of the keys; folders without a record are not done yet.

    Raises StoreError if there is no such folder.
    """
    if not runs.is_dir():
        raise StoreError(f"{runs}: no such folder of runs. Say which one with --runs DIR")
    trials = runs / "trials"
    for name in trial_names(trials):
        if (trials / name / RECORD).exists():
            yield verify_trial(trials / name)


def verify_trial(folder: Path) -> Verified:
    """Compare sizes, contents, ranks with scores, accuracies with details, and metrics with accuracies."""
    record, problem = judge(folder)
    if not record:
        return Verified(folder.name, (problem,) if problem else ())
    problems = list(_files(folder, record))
    accuracies = {}
    for evaluation in record["coverage"]:
        outcome = checked_outcome(folder, evaluation, record)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            continue
        problems += _scores(folder, evaluation, record, outcome)
        if "files" in record and (fault := details_fault(folder, evaluation, outcome)):
            problems.append(Problem(folder / DETAILS, fault))
        accuracies[evaluation] = accuracies_of(outcome)
    if len(accuracies) == len(record["coverage"]) and (fault := metrics_fault(record, accuracies)):
        problems.append(Problem(folder / RECORD, fault))
    return Verified(folder.name, tuple(dict.fromkeys(problems)), unverifiable(record) if accuracies else "")


def verify_tunings(runs: Path) -> Iterator[Verified]:
    """Every file of a tuning under `runs`: whether it can be read, and whether its objectives follow from the records
    of its trials, as far as these are there."""
    for path in sorted((runs / TUNINGS).glob("[!.]*.json")):
        try:
            tuning = read_tuning(path)
        except (UnusableError, FileNotFoundError) as error:
            yield Verified(path.name, (Problem(path, str(error)),))
            continue
        faults = (proposal_fault(runs, tuning, each) for each in tuning.proposals)
        yield Verified(path.name, tuple(Problem(path, fault) for fault in faults if fault))


def proposal_fault(runs: Path, tuning: Tuning, proposal: Proposal) -> str:
    """How a proposal contradicts the records of its trials; "" if it does not, or if some are not there."""
    found = [judge(runs / "trials" / key) for key in proposal.trials]
    if not found or any(problem is not None for _, problem in found):
        return ""
    if strange := [record["key"][:8] for record, _ in found if not record["trial"].get("tuning")]:
        return f"proposal {proposal.number} names {strange[0]}, which is no trial on training clips alone"
    objective = objective_of(tuning.objective, [record["metrics"] for record, _ in found])
    if proposal.objective is None or objective is None or math.isclose(proposal.objective, objective, abs_tol=1e-2):
        return ""
    return f"proposal {proposal.number} has the objective {proposal.objective:.6g}, its trials give {objective:.6g}"


def objective_of(objective: Objective, metrics: Sequence[Mapping[str, float]]) -> float | None:
    """The objective of a proposal from the metrics of all of its trials; None if one of them lacks it."""
    if objective == "pseudo-hm":
        base, novel = (_mean(metrics, name) for name in (VAL_BASE, VAL_NOVEL))
        if base is None or novel is None:
            return None
        return 2 * base * novel / (base + novel) if base + novel else 0.0
    kinds = ("classification", "retrieval")
    return next((mean for kind in kinds if (mean := _mean(metrics, metric_of(objective, kind))) is not None), None)


def _mean(metrics: Sequence[Mapping[str, float]], name: str) -> float | None:
    return math.fsum(each[name] for each in metrics) / len(metrics) if all(name in each for each in metrics) else None


def _files(folder: Path, record: Mapping[str, Any]) -> Iterator[Problem]:
    """Files that are gone or changed, save the predictions, which are read by their own."""
    read_later = set(map(predictions_name, record["coverage"]))
    for name in record.get("files", {}):
        if name not in read_later and (fault := file_fault(folder, name, record)):
            yield Problem(folder / name, fault)


def _scores(folder: Path, evaluation: str, record: Mapping[str, Any], outcome: Outcomes) -> Iterator[Problem]:
    """Ranks and predicted classes that do not follow from the scores beside them."""
    path = folder / predictions_name(evaluation)
    if isinstance(outcome, RetrievalOutcomes):
        yield from _similarities(path, evaluation, record, outcome)
        return
    try:
        scores = read_predictions(folder, evaluation)["scores"]
        ranks = ranks_of(outcome.labels, scores)
        predicted = predicted_of(outcome.labels, scores, ranks)
    except (StoreError, IndexError, ValueError) as error:
        yield Problem(path, f"its scores cannot be used: {error}")
        return
    if ranks.tolist() != outcome.ranks.tolist() or predicted.tolist() != outcome.predicted.tolist():
        yield Problem(path, "its ranks or predicted classes do not follow from its scores")


def _similarities(
    path: Path, evaluation: str, record: Mapping[str, Any], outcome: RetrievalOutcomes
) -> Iterator[Problem]:
    """Ranks of retrieval that do not follow from the similarities beside them."""
    try:
        content = read_recorded(path.parent, path.name, record, LARGEST_PREDICTIONS)
        fault = similarities_fault(content, record["coverage"][evaluation], outcome)
    except (UnusableError, ValueError) as error:
        fault = f"its similarities cannot be used: {error}"
    if fault:
        yield Problem(path, fault)
