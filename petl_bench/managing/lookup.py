"""Finding the trial that a user means: by the beginning of its key, or by words of its title."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from petl_bench.api.trial import Trial
from petl_bench.errors import UsageError
from petl_bench.managing.folders import TRIALS, refuse_absent
from petl_bench.records.judge import trial_values
from petl_bench.records.layout import is_key, trial_folder
from petl_bench.records.scan import trial_names
from petl_bench.running.attempts import claims
from petl_bench.running.planning.saved_plans import read_plans
from petl_bench.system import texts

#: Trials that an error names one by one.
_LISTED = 10
#: The parts of a title: words, and `split` and `seed` with their number.
_PARTS = re.compile(r"(?:split|seed) \S+|\S+")
_SHORTEST_KEY = 4
#: In the title of a trial of a tuning (`Trial.title`).
_OF_A_TUNING = re.compile(r" tuning [\w-]+/\d+ ")


def titles(runs: Path) -> dict[str, str]:
    """Every trial of a folder of runs, planned or started: key -> title. Raises StoreError if there is no folder."""
    refuse_absent(runs)
    known = {key: title for plan in read_plans(runs) for key, title in plan.trials.items()}
    others = {key: trial_folder(runs, key) for key in started(runs) if key not in known}
    return known | {key: title_of(folder, claims.attempts(folder)) for key, folder in others.items()}


def started(runs: Path) -> list[str]:
    """The keys of the trials that have a folder. Raises StoreError if they cannot be listed."""
    return [name for name in trial_names(runs / TRIALS) if is_key(name)]


def find_trial(known: Mapping[str, str], text: str, runs: Path) -> str:
    """The key of the one trial in `known` (key -> title) that `text` means: a key, its beginning, or words of a title.

    Words that follow each other in the title count first, so that `seed 1` is not `seed 10`; then parts of words; then
    words with others between, so that `lora seed 0` will do. Trials of tunings are meant only by a text that says so,
    or if nothing else fits. Raises UsageError, with the candidates or with near titles, if `text` means several trials
    or none.
    """
    found = _matches(known, text.strip().lower())
    if "tuning" not in text.lower():
        found = [key for key in found if not _OF_A_TUNING.search(known[key])] or found
    if len(found) == 1:
        return found[0]
    if not known:
        below = next((f", such as {texts.clean(str(place.parent))}" for place in sorted(runs.glob(f"*/{TRIALS}"))), "")
        raise UsageError(f"{runs}: there is no trial in it. Say which folder of runs with --runs DIR{below}")
    see = f"petl-bench status --runs {runs}"
    if not found:
        near = _corrected(known, text)
        raise UsageError(f"unknown trial {text!r}{f'; did you mean {near!r}?' if near else '.'} See: {see}")
    listed = "".join(f"\n  {line}" for line in _told_apart(known, found[:_LISTED], runs))
    more = f"\n  and {len(found) - _LISTED} more; see {see}" if len(found) > _LISTED else ""
    raise UsageError(f"{text!r} means {len(found)} trials; say more, or give the beginning of a key:{listed}{more}")


def _told_apart(known: Mapping[str, str], keys: Sequence[str], runs: Path) -> list[str]:
    """The titles of trials, each with the values in which it differs from the others, as far as they are known."""
    from petl_bench.analysis.labels import differences_in, with_values  # here, because only this error needs it

    planned = {key: values for plan in read_plans(runs) for key, values in plan.fields.items()}
    trials = {key: trial_values(trial_folder(runs, key)) or planned.get(key) for key in keys}
    apart = differences_in({key: _settable(trial) for key, trial in trials.items() if trial}, lambda key: "")
    return [texts.clean(with_values(known[key], apart.get(key, {}))) for key in keys]


def _settable(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone, the setting, and the values of a trial by the names that `--set` takes."""
    return {
        **{name: trial[name] for name in ("backbone", "setting") if name in trial},
        **{f"{trial.get('method')}.{name}": value for name, value in trial.get("hyper_parameters", {}).items()},
        **{f"training.{name}": value for name, value in trial.get("training", {}).items()},
    }


def _matches(known: Mapping[str, str], text: str) -> list[str]:
    tests: list[Callable[[str, str], bool]] = [
        lambda key, title: f" {text} " in f" {title} ",
        lambda key, title: text in title,
        lambda key, title: set(_PARTS.findall(text)) <= set(_PARTS.findall(title)),
    ]
    if re.fullmatch(f"[0-9a-f]{{{_SHORTEST_KEY},}}", text):
        tests.insert(0, lambda key, title: key.startswith(text))
    lowered = {key: title.lower() for key, title in known.items()}
    found = ([key for key, title in lowered.items() if test(key, title)] for test in tests if text)
    return next((keys for keys in found if keys), [])


def _corrected(known: Mapping[str, str], text: str) -> str:
    """The text with every unknown word replaced by a near one of the titles, if that means some trial; else ""."""
    words = {word for title in known.values() for word in title.lower().split() if not word.startswith("(")}
    nearest = [[word] if word in words else get_close_matches(word, words, n=1) for word in text.lower().split()]
    corrected = " ".join(word for near in nearest for word in near)
    return corrected if all(nearest) and _matches(known, corrected) else ""


def title_of(folder: Path, tried: Sequence[claims.Attempt]) -> str:
    """The title of the trial in `folder`, from its attempts, else from its record."""
    known = next((attempt.title for attempt in tried if attempt.title), "")
    if known:
        return known
    values = trial_values(folder)
    return folder.name[:8] if values is None else texts.name(Trial.from_json(values).title)
