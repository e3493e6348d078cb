"""What the records are of, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petl_bench.analysis.labels import dataset_display
from petl_bench.api.marks import mark_of
from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
from petl_bench.records.tunings import Tuning
from petl_bench.system.texts import clean
from petl_bench.tables.tuned import budget_text

if TYPE_CHECKING:
    import pandas as pd

#: Names that one line lists.
_NAMED = 12
#: The setting of what `petl-bench cost` records (`petl_bench.costs.recording.SETTING`).
_COST = "cost"
#: Facts that stand as the records have them: name, column.
_AS_RECORDED = (("Weights", "weights"), ("Seeds", "seed"), ("Devices", "device"))


@dataclass(frozen=True)
class Fact:
    """One line: what it is about, how many there are, and which."""

    name: str
    count: str
    values: str


def facts_of(records: pd.DataFrame) -> tuple[Fact, ...]:
    """Counts and names of everything that was run; measurements of costs are counted apart."""
    trials = records.drop_duplicates("trial")
    is_cost = trials["setting"] == _COST
    return (*_facts(trials[~is_cost]), *_of_costs(trials[is_cost]))


def facts_of_tunings(tunings: Sequence[Tuning], trials: int) -> tuple[Fact, ...]:
    """How many methods were tuned, and by how many trials, which are not among the others of the page."""
    if not tunings and not trials:
        return ()
    said = f"{trials:,} trials on training clips alone, in no table of results"
    return (Fact("Tunings", f"{len(tunings):,}", "; ".join([*dict.fromkeys(_tuned(each) for each in tunings), said])),)


def _tuned(tuning: Tuning) -> str:
    return clean(f"{METHODS.display(tuning.method)}: {budget_text(tuning)}")


def _facts(trials: pd.DataFrame) -> tuple[Fact, ...]:
    if trials.empty:
        return ()
    datasets = set(zip(map(str, trials["dataset"]), map(str, trials["dataset_plugin"]), strict=True))
    return (
        Fact("Trials", f"{len(trials):,}", _marked(trials)),
        _fact("Methods", map(METHODS.display, _values(trials, "method"))),
        _fact("Settings", map(SETTINGS.display, _values(trials, "setting"))),
        _fact("Data sets", sorted(dataset_display(*each) for each in datasets if each[0])),
        _fact("Backbones", map(BACKBONES.display, _values(trials, "backbone"))),
        *(_fact(name, map(str, _values(trials, column))) for name, column in _AS_RECORDED),
    )


def _of_costs(trials: pd.DataFrame) -> tuple[Fact, ...]:
    if trials.empty:
        return ()
    weights, devices = (_listed(list(map(str, _values(trials, column)))) for column in ("weights", "device"))
    return (Fact("Measurements of costs", f"{len(trials):,}", f"weights: {weights}; on {devices}; {_marked(trials)}"),)


def _values(trials: pd.DataFrame, column: str) -> list[Any]:
    return sorted(trials[column].dropna().unique())


def _fact(name: str, values: Iterable[str]) -> Fact:
    listed = list(values)
    return Fact(name, f"{len(listed):,}", _listed(listed))


def _marked(trials: pd.DataFrame) -> str:
    counts = trials["marks"].str.split().explode().dropna().value_counts().sort_index()
    if counts.empty:
        return "none carries a mark"
    marks = "; ".join(f"{clean(mark_of(str(word)).meaning)} ({count:,})" for word, count in counts.items())
    return f"marked: {marks}"


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(map(clean, values[:_NAMED]))
    return shown if len(values) <= _NAMED else f"{shown} and {len(values) - _NAMED} more"
