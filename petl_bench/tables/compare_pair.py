"""Two methods side by side: is one better, is the difference real, and what would settle it? In plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.analysis.cells import Measure
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.significance import LEVEL, Difference, RunsNeeded, needed
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import TUNED_HERE, mark_of
from petl_bench.api.registry import METHODS
from petl_bench.api.retrieval import split_queries
from petl_bench.api.table import TableSource
from petl_bench.errors import UsageError, unknown
from petl_bench.system.texts import clean
from petl_bench.tables.columns import MeasuredComparison
from petl_bench.tables.ranking import cells_of
from petl_bench.tables.setting_table import SettingTable
from petl_bench.tables.tuned import budgets_of

if TYPE_CHECKING:
    import pandas as pd

#: More clips than this many times those at hand are not worth naming.
_MOST_CLIPS = 100


@dataclass(frozen=True)
class Finding:
    """A against B in one column of one table. `names`: of the two rows, as readers see them.

    `p_value`: corrected for all `tests` of the table, every pair of rows in every column, as its signs are; with one
    seed it is of these two runs alone, and not corrected.
    """

    table: str
    column: str
    names: tuple[str, str]
    a: float
    b: float
    difference: Difference
    p_value: float
    tests: int
    reservations: tuple[str, ...]
    counted: str = "test clips"  #: what the numbers are shares of
    unit: str = "points"  #: of the numbers
    lower_is_better: bool = False

    @property
    def is_told_apart(self) -> bool:
        """Whether chance is an unlikely explanation, with all rows and columns looked at."""
        return self.p_value < LEVEL

    @property
    def is_real(self) -> bool:
        """Whether that is a difference of the methods, which one seed never shows."""
        return self.is_told_apart and self.difference.is_of_methods

    @property
    def is_for_a(self) -> bool:
        """Whether the difference, if there is one, speaks for A."""
        return (self.difference.value < 0) == self.lower_is_better


def findings(sources: Sequence[TableSource], evidence: Evidence, a: str, b: str) -> list[Finding]:
    """Every column of these tables in which both rows have numbers on the same clips and seeds.

    A row is named by its method, or as a table shows it if a method was run in several ways; either by registered
    names or as readers see it. Raises UsageError for an unknown row, a method with several rows, or if nothing can be
    compared.
    """
    found: list[Finding] = []
    known: set[str] = set()
    for source in sources:
        compared = compared_by(source, evidence.records)
        if compared is None:
            continue
        known |= {*compared.comparison.row_labels.values(), *compared.comparison.row_displays.values()}
        assert evidence.outcomes is not None
        measures = [column.measure if column.tested else None for column in compared.columns]
        tests = PairwiseTests(compared.comparison, measures, evidence.outcomes, evidence.damaged)
        for one, other in pairs(compared, a, b):
            budgets = budgets_of(compared.comparison, evidence.tunings, [one, other])
            found += _of_pair(source.name, compared, tests, (one, other), (budgets,) if budgets else ())
    if not known:
        raise UsageError("there are no rows to compare: no trial here has numbers of test clips")
    if not found:
        for name in (a, b):
            if name.casefold() not in map(str.casefold, known):
                raise unknown("row", name, known, "petl-bench report --table TABLE")
        if lacking := absent_numbers(sources, evidence, a, b):
            raise UsageError(f"{a} and {b} have no number in common here: {'; '.join(lacking)}")
        raise UsageError(f"{a} and {b} have no clips and seeds in common here; run both with the same seeds")
    return found


def absent_numbers(sources: Sequence[TableSource], evidence: Evidence, a: str, b: str) -> list[str]:
    """A line for each number that one of the two rows cannot have: where, and why."""
    if (evidence.records["absent"] == "{}").all():
        return []
    lines: dict[str, None] = {}
    for source in sources:
        compared = compared_by(source, evidence.records)
        if compared is not None:
            for row in dict.fromkeys(row for pair in pairs(compared, a, b) for row in pair):
                lines |= dict.fromkeys(_without_number(source.name, compared, row))
    return list(lines)


def _without_number(table: str, compared: MeasuredComparison, row: Configuration) -> Iterator[str]:
    for column in compared.columns:
        cell = column.cell(row)
        if cell.value is None and not cell.is_blank:
            name = compared.comparison.row_displays[row]
            yield clean(f"{table}, {column.column.full_display}: {name} has no number: {cell.source}")


def compared_by(source: TableSource, records: pd.DataFrame) -> MeasuredComparison | None:
    """What a table compares on clips; None if it does no such thing, or has no record to do it with."""
    try:
        return source.compared(records) if isinstance(source, SettingTable) else None
    except UsageError:
        return None


def pairs(compared: MeasuredComparison, a: str, b: str) -> Iterator[tuple[Configuration, Configuration]]:
    """The rows that the two names mean, in every group of rows that may be compared."""
    comparison = compared.comparison
    for rows in comparison.groups().values():
        one, other = _row(comparison, rows, a), _row(comparison, rows, b)
        if one is not None and other is not None and one is not other:
            yield one, other


def _row(comparison: Comparison, rows: Sequence[Configuration], name: str) -> Configuration | None:
    """The row of a group that a name means: its label, its method, or either as readers see it, in that order.

    Raises UsageError if it means several.
    """
    labels, displays, wanted = comparison.row_labels, comparison.row_displays, name.casefold()
    for found in (
        [row for row in rows if labels[row] == name],
        [row for row in rows if row.method == name],
        [row for row in rows if displays[row].casefold() == wanted],
        [row for row in rows if METHODS.display(row.method).casefold() == wanted],
    ):
        if len(found) > 1:
            listed = ", ".join(repr(labels[row]) for row in found[:10])
            raise UsageError(f"{name} was run in several ways; say which: {listed}")
        if found:
            return found[0]
    return None


def _of_pair(
    table: str,
    compared: MeasuredComparison,
    tests: PairwiseTests,
    rows: tuple[Configuration, Configuration],
    reserved: tuple[str, ...],
) -> Iterator[Finding]:
    """`reserved`: reservations about the two rows, besides those of their numbers."""
    one, other = rows
    cells = [cells_of(compared.comparison, compared.columns, row, tests.outcomes) for row in (one, other)]
    names = compared.comparison.row_displays[one], compared.comparison.row_displays[other]
    for index, (column, of_one, of_other) in enumerate(zip(compared.columns, *cells, strict=True)):
        found = tests.difference(index, one, other)
        a, b = of_one.value, of_other.value
        if found is None or not isinstance(a, float) or not isinstance(b, float):
            continue
        p_value = tests.p_value(index, one, other) if found.is_of_methods else found.p_value
        words = {*of_one.marks, *of_other.marks}
        meanings = tuple(mark_of(word).meaning for word in sorted(words - {TUNED_HERE} if reserved else words))
        assert column.measure is not None  # else there is no difference
        yield Finding(
            table=table,
            column=column.column.full_display,
            names=names,
            a=a,
            b=b,
            difference=found,
            p_value=p_value,
            tests=tests.count,
            reservations=(*reserved, *meanings),
            counted=_counted(column.measure),
            unit="ranks" if column.measure.of_ranks == "mean" else "points",
            lower_is_better=column.column.lower_is_better,
        )


def _counted(measure: Measure) -> str:
    """What a mean is over: clips, or queries of retrieval."""
    places = [place for term in measure.terms for place in term]
    return "queries" if any(split_queries(place.evaluation)[1] for place in places) else "test clips"


# Words


def in_words(found: Sequence[Finding], absent: Sequence[str] = ()) -> Iterator[str]:
    """The findings, at least one, line by line, with an answer at the end; `absent`: what `absent_numbers` gives."""
    for table in dict.fromkeys(finding.table for finding in found):
        of_table = [each for each in found if each.table == table]
        a, b = map(clean, of_table[0].names)
        yield f"{a} against {b}, {table}"
        for finding in of_table:
            yield from _about(finding)
        yield from _reservations(of_table)
        yield from _wide_intervals(of_table)
    yield from (f"not compared: {line}" for line in absent)
    yield ""
    yield from _answer(found)


def _about(finding: Finding) -> Iterator[str]:
    found = finding.difference
    low, high = found.interval
    yield (
        f"  {clean(finding.column)}: {found.value:+.1f} {finding.unit} ({finding.a:.1f} against {finding.b:.1f}), "
        f"95 % interval {low:+.1f} to {high:+.1f}: {_verdict(finding)} (p = {_p(finding.p_value)}{_by_itself(finding)})"
    )
    if not finding.is_real:
        yield f"    {_to_settle(finding, needed(found))}"


def _reservations(found: Sequence[Finding]) -> Iterator[str]:
    """What the marks of a table's numbers mean, each once, with its columns if others have it not."""
    for reservation in dict.fromkeys(each for finding in found for each in finding.reservations):
        of = _columns_of([each for each in found if reservation in each.reservations], found)
        yield f"  with a reservation: {reservation}{of}"


def _wide_intervals(found: Sequence[Finding]) -> Iterator[str]:
    """Why an interval holds 0 although the test by itself rules it out."""
    wide = [each for each in found if each.difference.p_value < LEVEL and _holds_zero(each.difference.interval)]
    for some, why in (
        ([each for each in wide if each.difference.seeds == 2], "two seeds show little of how runs vary"),
        ([each for each in wide if each.difference.seeds != 2], "it is as if one clip more differed"),
    ):
        if some:
            yield f"  interval wider than the test by itself: {why} (docs/statistics.md){_columns_of(some, found)}"


def _holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]


def _columns_of(some: Sequence[Finding], found: Sequence[Finding]) -> str:
    """The columns that a line is about, if not all."""
    return "" if len(some) == len(found) else f" [{', '.join(clean(each.column) for each in some)}]"


def _by_itself(finding: Finding) -> str:
    """The p-value without correction, if that makes a difference: the interval is of this difference by itself."""
    if finding.p_value == finding.difference.p_value:
        return ""
    return f"; by itself {_p(finding.difference.p_value)}"


def _verdict(finding: Finding) -> str:
    if finding.difference.is_of_methods:
        return "a real difference" if finding.is_real else "may be chance"
    return "these two runs differ on such clips" if finding.is_told_apart else "chance may explain these two runs"


def _to_settle(finding: Finding, more: RunsNeeded) -> str:
    """What would settle a difference of the size seen; never what is there already."""
    found = finding.difference
    if abs(found.value) < 0.005:
        return "there is no difference to settle: the numbers are equal"
    if found.seeds == 1:
        return "to learn of the methods: the same with three seeds or more"
    if found.p_value < LEVEL:
        return (
            f"below 5 % by itself, not after correction for {finding.tests} tests: more seeds (here {found.seeds}) "
            "would help, or a table of fewer rows, chosen beforehand"
        )
    if ways := _ways(found, more, finding.counted):
        return f"to settle a difference of this size by itself (4 times of 5): {', or '.join(ways)}"
    if _is_enough(found, more):
        return f"as large as so many clips and seeds show 4 times of 5: more seeds (here {found.seeds}) would settle it"
    return "a difference as small as this is beyond what more clips and seeds would settle"


def _ways(found: Difference, more: RunsNeeded, counted: str) -> list[str]:
    """More clips, more seeds, or more of both; none if it is too much, or here already."""
    ways = []
    if more.clips_factor is not None and 1 < more.clips_factor <= _MOST_CLIPS:
        ways.append(f"about {math.ceil(found.clips * more.clips_factor):,} {counted} (here {found.clips:,})")
    if more.seeds is not None and more.seeds > found.seeds:
        ways.append(f"about {more.seeds} seeds (here {found.seeds})")
    if not ways and not _is_enough(found, more) and more.both_factor <= _MOST_CLIPS:
        ways.append(f"about {math.ceil(more.both_factor)} times both the {counted.removeprefix('test ')} and the seeds")
    return ways


def _is_enough(found: Difference, more: RunsNeeded) -> bool:
    """Whether a difference of this size is to be expected to show with as many clips and seeds as here."""
    return (more.clips_factor is not None and more.clips_factor <= 1) or (
        more.seeds is not None and more.seeds <= found.seeds
    )


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "below 0.001"


def _answer(found: Sequence[Finding]) -> Iterator[str]:
    a, b = map(clean, found[0].names)
    better = [clean(each.column) for each in found if each.is_real and each.is_for_a]
    worse = [clean(each.column) for each in found if each.is_real and not each.is_for_a]
    if better:
        yield f"{a} is better than {b} on: {', '.join(better)}."
    if worse:
        yield f"{a} is worse than {b} on: {', '.join(worse)}."
    if not better and not worse:
        yield f"These runs do not tell the methods {a} and {b} apart."
    yield _of_seeds(found[0].difference.seeds)
    tests = sum({each.table: each.tests for each in found}.values())
    corrected = f"corrected (Holm) for {tests} tests, all pairs of rows in all columns" if tests else "not corrected"
    yield f"Paired on the same clips and seeds; level 5 %, {corrected}."


def _of_seeds(seeds: int) -> str:
    """What so many seeds can tell."""
    if seeds == 1:
        return "One seed: this is about these two runs, and says nothing of the methods; run three seeds or more."
    if seeds == 2:
        return (
            "Two seeds tell little: most real differences are missed, and up to one verdict in seven is a false alarm "
            "if seeds matter much; run three seeds or more."
        )
    return f"{seeds} seeds."
