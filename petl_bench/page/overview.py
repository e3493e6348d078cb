"""What the records are of, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.api.marks import mark_of
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    import pandas as pd

#: Names that one line lists.
_NAMED = 12


@dataclass(frozen=True)
class Fact:
    """One line: what it is about, how many there are, and which."""

    name: str
    count: str
    values: str


def facts_of(records: pd.DataFrame) -> tuple[Fact, ...]:
    """Counts and names of everything that was run."""
    trials = records.drop_duplicates("trial")
    named = (
        ("Methods", "method"),
        ("Settings", "setting"),
        ("Data sets", "dataset"),
        ("Backbones", "backbone"),
        ("Weights", "weights"),
        ("Seeds", "seed"),
        ("Devices", "device"),
    )
    facts = [Fact("Trials", f"{len(trials):,}", _marked(trials))]
    for name, column in named:
        values = sorted(trials[column].dropna().unique())
        facts.append(Fact(name, f"{len(values):,}", _listed(map(str, values), len(values))))
    return tuple(facts)


def _marked(trials: pd.DataFrame) -> str:
    counts = trials["marks"].str.split().explode().dropna().value_counts().sort_index()
    if counts.empty:
        return "none carries a mark"
    marks = "; ".join(f"{clean(mark_of(str(word)).meaning)} ({count:,})" for word, count in counts.items())
    return f"marked: {marks}"


def _listed(values: Iterable[str], count: int) -> str:
    shown = ", ".join(clean(value) for value, _ in zip(values, range(_NAMED), strict=False))
    return shown if count <= _NAMED else f"{shown} and {count - _NAMED} more"
