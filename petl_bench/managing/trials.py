"""Every trial of a folder of runs, with what is known of it: state, fields, size; done or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from petl_bench.managing.folders import TrialSizes, is_trial, runs_folder, sizes_of
from petl_bench.managing.status import TrialState, TrialStatus, survey
from petl_bench.records.files import was_let_go
from petl_bench.records.judge import trial_values
from petl_bench.records.layout import RECORD, is_key, trial_folder
from petl_bench.records.scan import LARGEST_RECORD
from petl_bench.running.attempts import claims
from petl_bench.running.planning.saved_plans import read_plans
from petl_bench.system.stored_json import UnusableError, read_json

_SHORTEST = 8


@dataclass(frozen=True, kw_only=True)
class KnownTrial:
    """A trial of a folder of runs. `fields` are those of `petl_bench.api.trial.Trial`, as far as files tell them."""

    key: str
    short: str  #: the first letters of the key that no other trial of the folder has
    title: str  #: without the key
    state: TrialState
    detail: str
    folder: Path | None  #: None for one that never started, or that is a link to another place
    fields: Mapping[str, Any]
    finished: str  #: when its record was made or its last attempt ended, ISO 8601; "" if neither
    version: str  #: of petl-bench, from its record; "" without one
    let_go: bool  #: whether its adapter was removed on purpose
    sizes: TrialSizes = field(default_factory=TrialSizes)

    @property
    def start_from(self) -> str:
        """The key of the trial whose adapter it starts from; "" for none."""
        return str(self.fields.get("start_from") or "")

    @property
    def name(self) -> str:
        """Key and title, for messages."""
        return f"{self.short} {self.title}"


def known_trials(runs: Path) -> list[KnownTrial]:
    """Every planned or started trial of a folder of runs. Raises StoreError if it is none."""
    found = survey(runs_folder(runs)).trials
    planned = {key: fields for plan in read_plans(runs) for key, fields in plan.fields.items()}
    shorts = short_keys([trial.key for trial in found])
    return [_known(trial, trial_folder(runs, trial.key), shorts[trial.key], planned) for trial in found]


def _known(trial: TrialStatus, folder: Path, short: str, planned: Mapping[str, Mapping[str, Any]]) -> KnownTrial:
    own = is_key(trial.key) and is_trial(folder)
    record = _record(folder) if own else {}
    fields = _fields(trial.state, record, folder) if own else {}
    return KnownTrial(
        key=trial.key,
        short=short,
        title=trial.title.removesuffix(f" ({trial.key[:8]})"),
        state=trial.state,
        detail=trial.detail,
        folder=folder if own else None,
        fields=fields or planned.get(trial.key) or _fields_of_title(trial.title),
        finished=str(record.get("created", "")) or (_ended(folder, trial.state) if own else ""),
        version=str(record.get("petl_bench", "")),
        let_go=trial.state == "done" and was_let_go(record),
        sizes=sizes_of(folder) if own else TrialSizes(),
    )


def short_keys(keys: Collection[str]) -> dict[str, str]:
    """The fewest first letters, eight at least, that tell each key from all others."""
    ordered = sorted(keys)
    lengths: dict[str, int] = dict.fromkeys(ordered, _SHORTEST)
    for one, other in pairwise(ordered):
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        lengths[one], lengths[other] = max(lengths[one], same + 1), max(lengths[other], same + 1)
    return {key: key[:length] for key, length in lengths.items()}


def starters(trials: Sequence[KnownTrial]) -> dict[str, list[KnownTrial]]:
    """Which trials start from the adapter of which one: key of that one -> the trials."""
    found: dict[str, list[KnownTrial]] = defaultdict(list)
    for trial in trials:
        found[trial.start_from].append(trial)
    found.pop("", None)
    return dict(found)


def _record(folder: Path) -> Mapping[str, Any]:
    """The record of a trial as it stands; nothing if it cannot be read, of which the trial's state tells."""
    try:
        values = read_json(folder / RECORD, LARGEST_RECORD)
    except (UnusableError, FileNotFoundError):
        return {}
    return values if isinstance(values, dict) else {}


def _fields(state: TrialState, record: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    trial: Mapping[str, Any] = record["trial"] if record and state == "done" else trial_values(folder) or {}
    return trial


def _fields_of_title(title: str) -> dict[str, Any]:
    """What a title tells (`Trial.title`) of a trial that nothing else tells of."""
    words = title.split()
    if len(words) < 3 or "seed" not in words:
        return {}
    seed = words[words.index("seed") + 1 :][:1]
    return {"method": words[0], "dataset": words[1], "seed": int(seed[0]) if seed and seed[0].isdecimal() else None}


def _ended(folder: Path, state: TrialState) -> str:
    last = claims.newest(folder) if state in ("failed", "interrupted") else None
    if last is None or not last.ended_at:
        return ""
    try:
        return datetime.fromtimestamp(last.ended_at, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # no time that there is
        return ""
