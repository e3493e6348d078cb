"""Rows of one backbone and one protocol, on the data sets that all of them have: what one panel of a picture shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.labels import case_displays, host_display
from petl_bench.tables.notes import listed


@dataclass(frozen=True)
class SharedCases:
    """Rows that may be compared: in `comparison` all rows have all cases.

    `title`: their backbone; `data`: shots and data sets; `notes`: which rows and cases are left out, and why.
    """

    title: str
    data: str
    comparison: Comparison
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        """Backbone and data."""
        return f"{self.title}, {self.data}"


def shared_cases(comparison: Comparison) -> list[SharedCases]:
    """The rows of a comparison by backbone and protocol (shots, part, version, where the epoch was selected)."""
    protocols: dict[tuple[object, ...], list[ComparedCase]] = defaultdict(list)
    for case in comparison.cases:
        protocols[case.setting_version, case.setting_options, case.shots, case.part, case.selected].append(case)
    return [
        _shared(comparison, rows, cases)
        for rows in comparison.groups().values()
        for cases in protocols.values()
        if any(comparison.of(row, case) for row in rows for case in cases)
    ]


def _shared(comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[ComparedCase]) -> SharedCases:
    displays, names = comparison.row_displays, case_displays(comparison.cases, besides="shots")
    having, common = _common(comparison, rows, cases)
    shown = [row for row in having if comparison.common_seeds([row], common)]
    title = host_display(rows[0].backbone, rows[0].weights)
    data = _data(common, [names[case] for case in common])
    lacking = [displays[row] for row in rows if row not in shown and any(comparison.of(row, case) for case in cases)]
    unused = [names[case] for case in cases if case not in common and any(comparison.of(row, case) for row in shown)]
    notes = [
        (lacking, "left out, for want of a data set or of a seed that all data sets have"),
        (unused, "not counted, as some rows lack it"),
    ]
    return SharedCases(
        title=title,
        data=data,
        comparison=replace(
            comparison, runs={(row, case): comparison.of(row, case) for row in shown for case in common}
        ),
        notes=tuple(f"{title}, {data}: {meaning}: {listed(them, 6)}." for them, meaning in notes if them),
    )


def _common(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[ComparedCase]
) -> tuple[list[Configuration], list[ComparedCase]]:
    """The rows that have the case that most rows have (nearly always: all), and the cases that all of them have."""
    having = {case: [row for row in rows if comparison.of(row, case)] for case in cases}
    fitting = max(having.values(), key=len)
    return fitting, [case for case, found in having.items() if set(fitting) <= set(found)]


def _data(cases: Sequence[ComparedCase], names: Sequence[str]) -> str:
    shots = f"{cases[0].shots} shots, " if cases[0].shots else ""
    return f"{shots}{listed(names)}"
