"""Choosing trials of a folder of runs by the names that `run` uses, or one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from petl_bench.api.options import Options, text_of
from petl_bench.api.registry import DATASETS, METHODS, SETTINGS, Registry
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.values.flag_lists import set_value
from petl_bench.errors import PetlBenchError, UsageError, unknown
from petl_bench.managing.lookup import find_trial
from petl_bench.managing.status import STATES
from petl_bench.managing.trials import KnownTrial

#: Field of a trial that names a plugin -> field with that plugin's values, and the plugins.
_VALUES: tuple[tuple[str, str, Registry], ...] = (
    ("method", "hyper_parameters", METHODS),
    ("setting", "setting_options", SETTINGS),
    ("dataset", "dataset_options", DATASETS),
)


@dataclass(frozen=True)
class Chosen:
    """What the user asks for. Empty: everything. A trial is chosen if every one of the filters lets it through."""

    trials: tuple[str, ...] = ()  #: keys, their beginnings, or parts of titles
    methods: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    values: tuple[str, ...] = ()  #: NAME.FIELD=VALUE, as `run --set` takes them

    def __bool__(self) -> bool:
        return any((self.trials, self.methods, self.settings, self.datasets, self.states, self.seeds, self.values))


def select(known: Sequence[KnownTrial], chosen: Chosen, runs: Path) -> list[KnownTrial]:
    """The chosen ones of the trials of `runs`, in their order.

    Raises UsageError, with near names, for a name, seed or value that no trial of the folder has, and for a TRIAL that
    is none or several.
    """
    see = f"petl-bench runs list --runs {runs}"
    for state in chosen.states:
        if state not in STATES:
            raise unknown("state", state, STATES, "petl-bench status --help")
    named_in = {"method": chosen.methods, "setting": chosen.settings, "dataset": chosen.datasets}
    for field, names in named_in.items():
        _refuse_unknown(field, names, known, see)
    for seed in chosen.seeds:
        if all(trial.fields.get("seed") != seed for trial in known):
            raise UsageError(f"--seeds {seed}: no trial here has this seed. See: {see}")
    wanted = _wanted(chosen.values, known, see)
    titles = {trial.key: f"{trial.title} ({trial.key[:8]})" for trial in known}
    named = {find_trial(titles, text, runs) for text in chosen.trials}
    allowed: Mapping[str, Collection[Any]] = {**named_in, "seed": chosen.seeds}
    return [
        trial
        for trial in known
        if (not named or trial.key in named)
        and (not chosen.states or trial.state in chosen.states)
        and all(not values or trial.fields.get(field) in values for field, values in allowed.items())
        and all(_has(trial, *each) for each in wanted)
    ]


def _refuse_unknown(field: str, names: Iterable[str], known: Sequence[KnownTrial], see: str) -> None:
    there = {str(value) for trial in known if (value := trial.fields.get(field))}
    for name in names:
        if name not in there:
            kind = "data set" if field == "dataset" else field
            raise unknown(f"{kind} (no trial here has it)", name, there, see)


def _wanted(texts: Sequence[str], known: Sequence[KnownTrial], see: str) -> list[tuple[str, str, str]]:
    """Name, field and value of each `--set`."""
    wanted = [set_value(text) for text in texts]  # one by one: both of two values of a field are wanted
    there: dict[str, set[str]] = defaultdict(set)
    for owner, values in (each for trial in known if wanted for each in _values(trial)):
        there[owner] |= values.keys()
    for name, option, _ in wanted:
        if name not in there:
            raise unknown("name in --set (no trial here has it)", name, there, see)
        if option not in there[name]:
            raise unknown(f"field of {name} (no trial here has it)", option, there[name], see)
    return wanted


def _has(trial: KnownTrial, name: str, option: str, text: str) -> bool:
    return any(owner == name and option in values and _is(values[option], text) for owner, values in _values(trial))


def _values(trial: KnownTrial) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The values of the trial's plugins and of its training, by their names in `--set`."""
    for kind, field, registry in _VALUES:
        name, values = trial.fields.get(kind), trial.fields.get(field)
        if isinstance(name, str) and isinstance(values, Mapping):
            plugin = str((trial.fields.get("dataset_plugin") if kind == "dataset" else "") or name)
            yield name, _complete(partial(registry.get, plugin), values)
    training = trial.fields.get("training")
    if isinstance(training, Mapping):
        yield TrainingOptions.name, _complete(lambda: TrainingOptions, training)


def _complete(plugin: Callable[[], type[Options]], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with those that records leave out, because they came later and have their defaults."""
    try:
        return {**plugin()(**values).all_values(), **values}
    except (PetlBenchError, TypeError, ValueError, OverflowError):  # no such plugin, or other values
        return values


def _is(value: Any, text: str) -> bool:
    if text_of(value) == text:
        return True
    try:
        return type(value) in (int, float) and float(text) == value
    except ValueError:
        return False
