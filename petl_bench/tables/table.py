"""A table of results whose cells know where they come from. Renderers print it; they know no particular table.

A table plugin subclasses `TableSource` and is registered with `@register_table("name")`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from petl_bench.api.contracts import check_returns, instance_of
from petl_bench.errors import PluginError

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.table import Evidence
    from petl_bench.tables.figure import Figure
    from petl_bench.tables.table_parts import Compared

#: `run`: from records; `quoted`: somebody else's number, with its source; `absent`: not there, with the reason.
Origin = Literal["run", "quoted", "absent"]
Rank = Literal["", "best", "second"]
Spread = Literal["std", "interval"]


@dataclass(frozen=True)
class Mark:
    """A reservation that a number carries: its word in records, its one-letter symbol in a table, its meaning.

    `ranked`: numbers that carry it are still ranked with those that do not, because what it says is true of every row
    of a column, or speaks against the very number that carries it.
    """

    word: str
    symbol: str
    meaning: str
    ranked: bool = False


#: Stands behind the best number of a column and group, and behind those that a test does not tell from it.
ALIKE = "="
ALIKE_MEANING = (
    "no paired test on the same clips and seeds tells it from the best of its column and group (5 %, corrected for all "
    "pairs and columns of the table; one seed tells no methods apart)"
)

#: The mark of numbers that no run gave, which are compared among themselves alone.
SYNTHETIC = "synthetic"

MARKS = {
    mark.word: mark
    for mark in (
        Mark(
            "random-weights",
            "R",
            "random weights of the backbone: says nothing about the method",
        ),
        Mark("best-on-test", "T", "the epoch was selected on the test clips; only to compare with papers that did so"),
        Mark("incomplete-coverage", "C", "some clips are missing or unreadable"),
        Mark("partial-seeds", "S", "fewer seeds than the complete rows of the column"),
        Mark("other-seeds", "O", "as many seeds as the complete rows of the column, but other ones"),
        Mark("partial-splits", "P", "not the splits that the complete rows of the column have"),
        Mark("other-budget", "E", "trained on fewer clips (epochs x clips) than the complete rows ranked with it"),
        Mark("at-chance", "A", "at chance: its clips do not tell it from guessing among the classes (95 %)"),
        Mark("busy-device", "B", "others used the device while it was measured: measure again when it is idle"),
        Mark(
            "mixed-environment",
            "V",
            "its seeds were run on different devices, or with different versions of petl-bench or of libraries",
            ranked=True,
        ),
        Mark(
            "demonstration",
            "D",
            "a demonstration: the backbone's packaged weights were made for another data set, and not for this one",
            ranked=True,
        ),
        Mark("fewer-shots", "F", "some classes have fewer training clips than the number of shots", ranked=True),
        Mark(
            "shared-recordings",
            "G",
            "training and test clips were cut from the same recordings, which makes the test easier than it looks",
            ranked=True,
        ),
        Mark(
            "template-descriptions",
            "N",
            "trained with sentences made from the class names, in place of descriptions of the classes",
            ranked=True,
        ),
        Mark(
            "untuned-rate",
            "U",
            "the learning rate is not one that was tuned for this method in this setting, on this backbone",
            ranked=True,
        ),
        Mark(SYNTHETIC, "Y", "made by a script, not measured"),
        Mark("quoted", "Q", "quoted, not run here"),
    )
}


@dataclass(frozen=True)
class Cell:
    """One entry. `value` is a number in the column's unit, a text, or None where it is absent.

    `std` is the sample standard deviation over `n` runs (or splits, where the table says so); `interval` a 95 %
    interval, `delta` the difference from the baseline row, both in the unit of the value; `alike`: a paired test does
    not tell it from the best of its column and group. `source`: where a quoted number stands, or why there is none;
    `trials`: the keys of the records behind the number.
    """

    value: float | str | None = None
    std: float | None = None
    n: int | None = None
    origin: Origin = "run"
    source: str = ""
    rank: Rank = ""
    marks: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    delta: float | None = None
    alike: bool = False
    trials: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """`group` is the header above neighbouring columns; `format` a format specification for its numbers."""

    label: str
    group: str = ""
    format: str = ".1f"
    lower_is_better: bool = False

    def text(self, number: float) -> str:
        """A number as the column shows it."""
        return format(number, self.format)


@dataclass(frozen=True)
class Row:
    """One line: a label, its marks, and one cell per column."""

    label: str
    cells: tuple[Cell, ...]
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together (and are ranked together, if at all), under a common title.

    `section` tells groups of one title apart, such as the families of methods.
    """

    title: str
    rows: tuple[Row, ...]
    section: str = ""

    @property
    def heading(self) -> str:
        """Title and section in one line."""
        return f"{self.title}, {self.section}" if self.section else self.title


@dataclass(frozen=True)
class Table:
    """Everything a renderer prints. `commands` are those that would fill its missing cells.

    `spread`: what stands behind a number, its standard deviation or its 95 % interval; `interval_over`: what the
    intervals are over, in words.
    """

    name: str
    title: str
    corner: str
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    footers: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    spread: Spread = "std"
    interval_over: str = "over the choice of clips and of seeds (one seed: of clips alone)"

    def marks(self) -> list[Mark]:
        """The marks that occur, in a fixed order; a word that is not known here stands for itself."""
        used = {word for group in self.groups for row in group.rows for word in row.marks}
        used |= {word for group in self.groups for row in group.rows for cell in row.cells for word in cell.marks}
        return [MARKS[word] for word in MARKS if word in used] + [mark_of(word) for word in sorted(used - MARKS.keys())]

    def column_groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: (its header, number of columns)."""
        groups: list[tuple[str, int]] = []
        for column in self.columns:
            if groups and groups[-1][0] == column.group:
                groups[-1] = (column.group, groups[-1][1] + 1)
            else:
                groups.append((column.group, 1))
        return groups


class TableSource:
    """Base of every table plugin: a pure function from records, and published numbers, to a table."""

    name: ClassVar[str] = ""
    #: Whether there is nothing to show without records; else `build` may get none.
    needs_records: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_returns(cls, build=instance_of(Table, "petl_bench.tables.table.Table"))

    def published(self) -> pd.DataFrame | None:
        """The published numbers that this table may quote; None where there are none."""
        return None

    def build(self, evidence: Evidence) -> Table:
        """The table of these records, with published numbers beside them where the evidence holds some.

        Raises UsageError where no record fits the table.
        """
        raise PluginError(f"{type(self).__name__} must define build(self, evidence)")

    def compared(self, records: pd.DataFrame) -> Compared | None:
        """The comparison behind the table, for `petl-bench compare`; None where it is not one of runs on clips.

        Raises UsageError as `build` does.
        """
        return None

    def figure(self, evidence: Evidence) -> Figure | None:
        """The picture of these records; None where this table has none. Raises UsageError as `build` does."""
        return None


def mark_of(word: str) -> Mark:
    """The mark for a word of a record."""
    return MARKS.get(word, Mark(word, word, word))


def symbols(marks: Iterable[str]) -> str:
    """The symbols of marks as one text, e.g. "RC"; unknown ones follow with their words."""
    words = set(marks)
    known = "".join(mark.symbol for word, mark in MARKS.items() if word in words)
    return ",".join([*([known] if known else []), *sorted(words - MARKS.keys())])


def signs(cell: Cell) -> str:
    """What stands behind a cell's number: ALIKE where a test does not tell it from the best, and its marks' symbols."""
    return (ALIKE if cell.alike else "") + symbols(cell.marks)


def barring(marks: Iterable[str]) -> tuple[str, ...]:
    """Those of the marks that keep a number from being ranked with numbers that lack them; unknown ones do."""
    return tuple(word for word in marks if not mark_of(word).ranked)


def ranked(cells: Sequence[Cell], column: Column) -> list[Cell]:
    """The cells of one column with the best and the second marked.

    Only numbers that were run here and carry no mark that bars them are ranked, and only where there are two to
    compare; of numbers that are all made by a script, those without another such mark. Numbers that the column shows
    alike are equal, and share their rank.
    """
    numbers = {
        index: (cell.value, barring(cell.marks))
        for index, cell in enumerate(cells)
        if isinstance(cell.value, (int, float)) and cell.origin == "run"
    }
    usual = (SYNTHETIC,) if all(SYNTHETIC in marks for _, marks in numbers.values()) else ()
    shown = {index: float(column.text(value)) for index, (value, marks) in numbers.items() if marks == usual}
    if len(shown) < 2:
        return list(cells)
    ladder = sorted(set(shown.values()), reverse=not column.lower_is_better)
    ranks: dict[float, Rank] = {ladder[0]: "best"}
    if len(ladder) > 1:
        ranks[ladder[1]] = "second"
    return [
        replace(cell, rank=ranks[shown[index]]) if shown.get(index) in ranks else cell
        for index, cell in enumerate(cells)
    ]
