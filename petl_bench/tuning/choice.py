"""What a proposal comes to, and which one is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.launcher import AttemptResult
from petl_bench.api.tuning import VAL, VAL_BASE, VAL_HM, VAL_NOVEL
from petl_bench.errors import TrialError
from petl_bench.records.tunings import Proposal


def judged(proposal: Proposal, results: Mapping[str, AttemptResult], metric: str) -> Proposal:
    """A proposal whose trials have ended, with their mean metrics and its objective; or with a fault.

    The harmonic mean is that of the mean accuracies, not the mean of those of single trials.

    Args:
        proposal: With the keys of its trials.
        results: How every trial ended, by its key.
        metric: Of the trials, the one that is the objective.
    """
    ended = [results[key] for key in proposal.trials]
    if not ended:
        return replace(proposal, fault="no trial has its values")
    failed = next((each for each in ended if each.state != "done"), None)
    if failed is not None:
        return replace(proposal, fault=f"{failed.title}: {failed.reason}")
    found = [each.metrics or {} for each in ended]
    names = [name for name in found[0] if name.startswith(VAL) and all(name in each for each in found)]
    metrics = {name: math.fsum(each[name] for each in found) / len(found) for name in names}
    if VAL_BASE in metrics and VAL_NOVEL in metrics:
        metrics[VAL_HM] = float(harmonic_mean(metrics[VAL_BASE], metrics[VAL_NOVEL]))
    if metric not in metrics:
        return replace(proposal, metrics=metrics, fault=f"its trials have no {metric}")
    return replace(proposal, metrics=metrics, objective=metrics[metric])


def best(proposals: Sequence[Proposal]) -> Proposal | None:
    """The proposal with the best objective, of equal ones the first; None if none has an objective."""
    told = [each for each in proposals if each.objective is not None]
    return max(told, key=lambda each: (each.objective, -each.number), default=None)


def choose(method: str, proposals: Sequence[Proposal]) -> Proposal:
    """The best proposal. Raises TrialError if none has an objective."""
    found = best(proposals)
    if found is None:
        raise TrialError(
            f"{method}: none of its {len(proposals)} proposals has an objective, so that none can be chosen; leave it "
            f"out of --methods. The first one: {proposals[0].fault}"
        )
    return found
