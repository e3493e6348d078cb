"""What a saved plan tells of its trials, so that they can be chosen and told apart before they have a record.

Trials that differ only in case and seed share one entry: `{"common": fields, "trials": {key: fields}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from petl_bench.api.trial import Trial, canonical_json

_COMMON = (
    "method",
    "hyper_parameters",
    "setting",
    "setting_options",
    "dataset",
    "dataset_options",
    "backbone",
    "training",
)
_OWN = ("split", "shots", "seed", "part", "start_from")


def grouped(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """The entries of these trials."""
    groups: dict[str, dict[str, Any]] = {}
    for trial in trials:
        common = {name: getattr(trial, name) for name in _COMMON}
        group = groups.setdefault(canonical_json(common), {"common": common, "trials": {}})
        group["trials"][trial.key] = {name: getattr(trial, name) for name in _OWN}
    return list(groups.values())


def fields_of_trials(groups: Any) -> dict[str, Mapping[str, Any]]:
    """Key -> fields of the trial. What does not have the form of such entries, as in older plans, tells nothing."""
    found: dict[str, Mapping[str, Any]] = {}
    for group in groups if isinstance(groups, list) else []:
        common = group.get("common") if isinstance(group, dict) else None
        trials = group.get("trials") if isinstance(group, dict) else None
        if not isinstance(common, dict) or not isinstance(trials, dict):
            continue
        found |= {str(key): {**common, **own} for key, own in trials.items() if isinstance(own, dict)}
    return found
