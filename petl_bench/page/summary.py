"""What the tables say, in a line for each data set of a setting: what is best, by how much, is it real, at what cost.

Everything is taken from the cells of the tables: their numbers, ranks, signs and marks. A difference is called real
only if the table's paired test tells the rows apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from petl_bench.analysis.configurations import FAMILIES
from petl_bench.api.marks import mark_of, symbols
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.render.parts import grouped_columns
from petl_bench.system.texts import clean
from petl_bench.system.words import several, significant
from petl_bench.tables.forgetting import HEADING as FORGETTING
from petl_bench.tables.ranking import may_be_ranked
from petl_bench.tables.text import for_people

_T = TypeVar("_T")

ZERO_SHOT, TRAINING_FREE, EFFICIENT, FULL = FAMILIES
#: A line is about the best row of the first of these families that has a number there.
_FIRST = (EFFICIENT, TRAINING_FREE, FULL, ZERO_SHOT)
#: Names that a verdict or a sentence lists, lines that a page has room for, and sentences before them.
_NAMED, _LINES, _SENTENCES = 4, 120, 2

#: Fields of a line that no line may have.
_OPTIONAL = ("second", "zero_shot", "full", "trained", "cost")

Kind = Literal["apart", "alike", "untested", "alone"]


@dataclass(frozen=True)
class Cost:
    """What was measured of a method, in words, under which conditions, and the words of its marks."""

    numbers: str
    conditions: str = ""
    marks: tuple[str, ...] = ()


class RunFacts(Protocol):
    """What the records behind a cell say beside its number."""

    def seeds(self, trials: Sequence[str]) -> int:
        """The number of seeds of these trials."""
        ...

    def method(self, trials: Sequence[str]) -> str:
        """The method of these trials as readers see it, without values that tell variants apart; "" if unknown."""
        ...

    def cost(self, trials: Sequence[str]) -> Cost | None:
        """What was measured of the method of these trials, with its values; None if nothing was."""
        ...


@dataclass(frozen=True)
class Gain:
    """How much the best number is above (or below) that of other rows, in the unit of the column; their marks.

    `is_named`: a heading does not say which rows these are.
    """

    over: str
    number: str
    signs: str
    is_named: bool = True


@dataclass(frozen=True)
class BestRow:
    """One line. `on`: the data set; `best`: the rows that share the best number; `signs`: those of their marks;
    `methods`: the methods of these rows; `cost_signs`: of the marks of the cost that the number does not carry."""

    on: str
    best: tuple[str, ...]
    methods: frozenset[str]
    signs: str
    number: str
    second: Gain | None
    zero_shot: Gain | None
    full: Gain | None
    kind: Kind
    verdict: str
    trained: str
    cost: Cost | None
    cost_signs: str


@dataclass(frozen=True)
class Findings:
    """The lines of one table and of rows that may be compared: `of` the same backbone, weights and views."""

    table: str
    title: str
    metric: str
    of: str
    family: str
    lines: tuple[BestRow, ...]


@dataclass(frozen=True)
class PageSummary:
    """What a page begins with. `marks`: the meaning of every sign, as (sign, meaning); `left_out`: further lines."""

    sentences: tuple[str, ...]
    findings: tuple[Findings, ...]
    marks: tuple[tuple[str, str], ...]
    left_out: int

    @property
    def shown(self) -> dict[str, bool]:
        """Which of the columns that may be empty have something to show, by their field of `BestRow`."""
        lines = [line for each in self.findings for line in each.lines]
        return {name: any(getattr(line, name) for line in lines) for name in _OPTIONAL}

    @property
    def conditions(self) -> str:
        """Those under which all costs of the lines were measured; "" if they differ."""
        lines = [line for each in self.findings for line in each.lines]
        return _common(line.cost.conditions for line in lines if line.cost is not None) or ""

    @property
    def count(self) -> int:
        """The number of lines."""
        return sum(len(each.lines) for each in self.findings)


def summary_of(tables: Sequence[Table], facts: RunFacts) -> PageSummary:
    """The summary of tables of results (petl_bench.tables.setting_table); parameter-efficient rows come first."""
    found = [findings for table in tables for findings in _of_table(table, facts)]
    found.sort(key=lambda each: (all(line.kind == "alone" for line in each.lines), _FIRST.index(each.family)))
    kept, room = [], _LINES
    for each in found:
        kept += [replace(each, lines=each.lines[:room])] if room > 0 else []
        room -= len(each.lines)
    signs = {sign for each in kept for line in each.lines for sign in _signs(line)}
    words = [line.cost.marks for each in kept for line in each.lines if line.cost is not None]
    known = [*(mark for table in tables for mark in table.marks()), *(mark_of(word) for some in words for word in some)]
    marks = dict.fromkeys(mark for mark in known if mark.symbol in signs)
    return PageSummary(
        sentences=tuple(_sentences(found)),
        findings=tuple(kept),
        marks=tuple((clean(mark.symbol), clean(mark.meaning)) for mark in marks if mark.symbol != mark.meaning),
        left_out=max(0, -room),
    )


def _signs(line: BestRow) -> str:
    gains = (line.second, line.zero_shot, line.full)
    return line.signs + line.cost_signs + "".join(gain.signs for gain in gains if gain is not None)


def _sentences(found: Sequence[Findings]) -> Iterator[str]:
    """How often one method has the best number, of the rows of a backbone and family."""
    by_rows: dict[tuple[str, str], list[BestRow]] = {}
    for each in found:
        by_rows.setdefault((each.of, each.family), []).extend(line for line in each.lines if line.kind != "alone")
    shown = [(of, family, lines) for (of, family), lines in by_rows.items() if len(lines) > 1][:_SENTENCES]
    for of, family, lines in shown:
        counts = Counter(method for line in lines for method in sorted(line.methods))
        most = max(counts.values())
        methods = [method for method, count in counts.items() if count == most]
        where = f"of the {family} rows in {most} of {several(len(lines), 'result')} on {of}"
        if len(methods) > 1:
            yield f"{_named(methods)} are each best {where}."
        else:
            yield f"{methods[0]} is best {where}; {_tested([line for line in lines if methods[0] in line.methods])}."


def _tested(lines: Sequence[BestRow]) -> str:
    """In how many of these lines a test tells the best row from the others."""
    if all(line.kind == "untested" for line in lines):
        return "this is not tested" if len(lines) == 1 else "these are not tested"
    apart = sum(line.kind == "apart" for line in lines)
    return f"a test tells it from all others in {apart or 'none'}"


def _named(rows: Sequence[str]) -> str:
    """The first few of some rows, and how many more there are."""
    more = len(rows) - _NAMED
    return ", ".join(rows[:_NAMED]) + (f" and {more} more" if more > 0 else "")


# One table


@dataclass(frozen=True)
class _Entry:
    """A number of a table, with its row for readers."""

    row: Row
    cell: Cell

    @property
    def value(self) -> float:
        assert isinstance(self.cell.value, (int, float))
        return self.cell.value


def _of_table(table: Table, facts: RunFacts) -> Iterator[Findings]:
    """One part for each set of rows that may be compared; these share the title of their groups."""
    shown = for_people(table)
    columns = main_columns(table)
    labels = {shown.columns[at].label for at in columns}
    metric = labels.pop() if len(labels) == 1 else ""
    comparable: dict[str, dict[str, RowGroup]] = {}
    for group, readable in zip(table.groups, shown.groups, strict=True):
        if group.section in _FIRST:
            comparable.setdefault(readable.title.removeprefix("Run here: "), {})[group.section] = readable
    trained = next((at for at, each in enumerate(table.columns) if (each.group, each.label) == ("Trained", "M")), None)
    for of, families in comparable.items():
        lines: dict[int, tuple[str, BestRow]] = {}
        for at in columns:
            column = shown.columns[at]
            on = column.group if metric and column.group else f"{column.group} {column.label}".strip()
            family = next((each for each in _FIRST if each in families and _best(families[each], at)), None)
            if family is not None:
                lines[at] = family, _finding(on, families, family, at, column, trained, facts)
        for family in _FIRST:
            own = tuple(line for of_line, line in lines.values() if of_line == family)
            if own:
                yield Findings(shown.name, shown.title.partition(":")[0], metric, of, family, own)


def main_columns(table: Table) -> list[int]:
    """For each group of columns with results, the one that a summary shows.

    The harmonic mean if there is one, else the last number of shots, else the first column. What was lost elsewhere is
    no result of a setting.
    """
    chosen = []
    for indices in grouped_columns(table):
        if table.columns[indices[0]].group == FORGETTING:
            continue
        cells = {at: [row.cells[at] for group in table.groups for row in group.rows] for at in indices}
        results = [at for at in indices if any(cell.rank or _is_mean(cell) for cell in cells[at])]
        labels = {table.columns[at].label: at for at in results}
        shots = [at for label, at in labels.items() if label.startswith("K=")]
        if results:
            chosen.append(labels.get("HM", shots[-1] if shots else results[0]))
    return chosen


def _is_mean(cell: Cell) -> bool:
    return isinstance(cell.value, float) and cell.n is not None and cell.origin == "run"


def _run_numbers(group: RowGroup, at: int) -> dict[int, _Entry]:
    """The numbers of a column that were run here, by the place of their rows."""
    return {
        index: _Entry(row, row.cells[at])
        for index, row in enumerate(group.rows)
        if isinstance(row.cells[at].value, (int, float)) and row.cells[at].origin == "run"
    }


def _numbers(group: RowGroup, at: int) -> list[_Entry]:
    """Those that are ranked with each other."""
    places = _run_numbers(group, at)
    return [places[index] for index in may_be_ranked({index: place.cell.marks for index, place in places.items()})]


def _best(group: RowGroup, at: int) -> list[_Entry]:
    """The rows that share the best number; a single one has no rank."""
    numbers = _numbers(group, at)
    return numbers if len(numbers) == 1 else [place for place in numbers if place.cell.rank == "best"]


def _finding(
    on: str,
    families: dict[str, RowGroup],
    family: str,
    at: int,
    column: Column,
    trained: int | None,
    facts: RunFacts,
) -> BestRow:
    best = _best(families[family], at)
    numbers = _numbers(families[family], at)
    first = best[0]
    kind, verdict = _verdict(best, numbers, facts)
    second = [place for place in numbers if place.cell.rank == "second"]
    marks = dict.fromkeys(mark for place in best for mark in (*place.row.marks, *place.cell.marks))
    cost = _common(facts.cost(place.cell.trials) for place in best)
    return BestRow(
        on=on,
        best=tuple(place.row.label for place in best),
        methods=frozenset(facts.method(place.cell.trials) or place.row.label for place in best),
        signs=clean(symbols(marks)),
        number=column.text(first.value) + (_common(_spread(place.cell, column) for place in best) or ""),
        second=_gain(best, second, column),
        zero_shot=_gain(best, _reference(families, ZERO_SHOT, family, at, column), column, "zero_shot"),
        full=_gain(best, _reference(families, FULL, family, at, column), column, "full_finetune"),
        kind=kind,
        verdict=verdict,
        trained=_common(_trained(place.row, trained) for place in best) or "",
        cost=cost,
        cost_signs="" if cost is None else clean(symbols(mark for mark in cost.marks if mark not in marks)),
    )


def _common(values: Iterable[_T]) -> _T | None:
    """What is true of all rows or lines; None if they differ in it."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _spread(cell: Cell, column: Column) -> str:
    return "" if cell.std is None else f" ± {column.text(cell.std)}"


def _verdict(best: Sequence[_Entry], numbers: Sequence[_Entry], facts: RunFacts) -> tuple[Kind, str]:
    """Whether the table's paired test tells the best row from the others of its group."""
    first, others = best[0].cell, len(numbers) - 1
    seeds = several(facts.seeds(first.trials), "seed")
    if not others:
        return "alone", "no other ranked row"
    if any(place.cell.alike for place in best):
        alike = [place.row.label for place in numbers if place.cell.alike and place.row is not best[0].row]
        if seeds == "1 seed":
            return "alike", f"one seed: not told apart from {several(len(alike), 'other')}"
        return "alike", f"not told apart from {_named(alike)} ({seeds})"
    if first.interval is None:
        return "untested", f"not tested ({seeds})"
    return "apart", f"told apart from {'the other row' if others == 1 else f'all {others} others'} ({seeds})"


def _reference(families: dict[str, RowGroup], of: str, family: str, at: int, column: Column) -> list[_Entry]:
    """The best row of another family; one that a mark keeps from being ranked if there is no other."""
    if of == family or of not in families:
        return []
    if ranked := _best(families[of], at):
        return ranked
    numbers = sorted(_run_numbers(families[of], at).values(), key=lambda place: place.value)
    return (numbers if column.lower_is_better else numbers[::-1])[:1]


def _gain(best: Sequence[_Entry], others: Sequence[_Entry], column: Column, method: str = "") -> Gain | None:
    """`method`: the registered name of the one that a heading names; "" if it names none."""
    if not others:
        return None
    difference = best[0].value - others[0].value
    text = column.text(abs(difference))
    sign = "" if float(text) == 0 else "+" if difference > 0 else "−"
    own = {mark for place in best for mark in place.cell.marks}
    signs = clean(symbols(mark for place in others for mark in place.cell.marks if mark not in own))
    is_named = any(dict(place.row.facts).get("method") != method for place in others)
    return Gain(", ".join(place.row.label for place in others), sign + text, signs, is_named)


def _trained(row: Row, at: int | None) -> str:
    value = None if at is None else row.cells[at].value
    return f"{significant(value)} M" if isinstance(value, (int, float)) else ""
