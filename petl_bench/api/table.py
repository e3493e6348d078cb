"""A table of results whose cells know their origin. Renderers print it; they know no particular table.

A table plugin subclasses `TableSource` and is registered with `@register_table("name")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from petl_bench.api.marks import MARKS, Mark, mark_of, symbols
from petl_bench.api.plugins.contracts import check_returns, instance_of, member
from petl_bench.errors import PluginError

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence
    from petl_bench.api.figure import Figure

#: `run`: from records; `quoted`: a published number, with its source; `absent`: not there, with the reason.
Origin = Literal["run", "quoted", "absent"]
Rank = Literal["", "best", "second"]
#: What stands behind a number: its standard deviation, its 95 % interval, or nothing.
Spread = Literal["std", "interval", "none"]
#: What LaTeX is made for: it decides the widths and the text sizes that a table may take.
DocumentKind = Literal["two-column", "one-column", "slides"]


#: Columns of files of published numbers.
PUBLISHED_COLUMNS = {"source", "table", "group", "method", "dataset", "shots", "frames", "metric", "value", "std"}
#: Stands in the place of a number that a row cannot have, though it was run.
NO_NUMBER = "–"
#: How the titles of groups of rows from records begin.
RUN_HERE = "Run here"
#: Stands at the best number of a column and group, and at those that a test does not tell from it.
ALIKE = "="
#: Its meaning below a table, and in full.
ALIKE_SHORT = "not told apart from the best of its column and group by a paired test (5 %, corrected)"
ALIKE_MEANING = (
    "no paired test on the same clips and seeds tells it from the best of its column and group (5 %, corrected for all "
    "pairs and columns of the table; one seed tells no methods apart)"
)


@dataclass(frozen=True)
class Cell:
    """One entry. `value` is a number in the column's unit, a text, or None if it is absent.

    `std` is the sample standard deviation over `n` runs (or splits, if the table says so); `interval` a 95 %
    interval, `delta` the difference from the baseline row, both in the unit of the value; `alike`: a paired test does
    not tell it from the best of its column and group. `source`: the publication of a quoted number, or why there is no
    number; `trials`: the keys of the records behind the number, or of those that cannot have it.
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

    @property
    def is_blank(self) -> bool:
        """Whether nothing stands there; a row that was run, but cannot have the number, has a dash (NO_NUMBER)."""
        return self.value is None and not self.trials

    @property
    def std_range(self) -> tuple[float, float] | None:
        """One standard deviation below and above its number; None without one."""
        if not isinstance(self.value, float) or self.std is None:
            return None
        return self.value - self.std, self.value + self.std


@dataclass(frozen=True)
class Column:
    """`group` is the header above neighbouring columns; `format` a format specification for its numbers.

    `label` and `group` are what a user types to name the column, with registered names; `display` and `group_display`
    are what readers see in their place, if that is something else.
    """

    label: str
    group: str = ""
    format: str = ".1f"
    lower_is_better: bool = False
    display: str = ""
    group_display: str = ""

    @property
    def full(self) -> str:
        """The header above it and its label."""
        return f"{self.group} {self.label}".strip()

    @property
    def full_display(self) -> str:
        """The same, as readers see it."""
        return f"{self.group_display or self.group} {self.display or self.label}".strip()

    def text(self, number: float) -> str:
        """A number as the column shows it; a large one in full digits, not in powers of ten ("11930", not "1.193e+04"),
        unless its format asks for these."""
        text = format(number, self.format)
        return f"{float(text):.0f}" if "e+" in text and self.format.endswith("g") else text


@dataclass(frozen=True)
class Row:
    """One line: a label, its marks, and one cell per column.

    `label` is what a user types to name the row, with registered names; `display` is what readers see in its place, if
    that is something else. `facts`: what a row that was run here is, as (name, value) with registered names: method,
    backbone, weights, setting, and every value in which it differs from others of its method, such as `lora.rank`.
    Formats with one row per configuration have a column for each of them.
    """

    label: str
    cells: tuple[Cell, ...]
    marks: tuple[str, ...] = ()
    display: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together (and are ranked together, if at all), under a common title.

    `section` tells groups of one title apart, such as the families of methods.
    """

    title: str
    rows: tuple[Row, ...]
    section: str = ""

    @property
    def is_quoted(self) -> bool:
        """Whether all of its rows were quoted."""
        return all("quoted" in row.marks for row in self.rows)

    @property
    def heading(self) -> str:
        """Title and section in one line."""
        return f"{self.title}, {self.section}" if self.section else self.title


@dataclass(frozen=True)
class Table:
    """Everything a renderer prints. `commands` are those that would fill its missing cells.

    `footers`: notes that a reader needs, such as seeds, shots and what names mean; `provenance`: the others, such as
    hashes, budgets, devices and versions. `spread`: what stands behind a number; `interval_over`: what the intervals
    are over, in words.
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
    provenance: tuple[str, ...] = ()

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
    #: Of a table that needs no records: it reads those that there are.
    reads_records: ClassVar[bool] = False
    #: Whether `--x`, `--y` and `--conditions` choose what it shows (`Evidence.axes`, `Evidence.conditions`).
    has_axes: ClassVar[bool] = False
    #: Whether `--over` chooses the option along which its curves run (`Evidence.over`).
    has_option: ClassVar[bool] = False
    #: Files of published numbers: CSV, one number per line, with PUBLISHED_COLUMNS; `source` is shown as it stands,
    #: `group` is a heading for rows; group, shots, frames and std may be empty. A TOML file of the same name beside it
    #: states how they were obtained (docs/published_numbers.md).
    published_csv: ClassVar[tuple[Path, ...]] = ()
    #: Whether `build` shows the rows of the user's own file of published numbers, `evidence.ledger`.
    shows_own_ledger: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_returns(cls)

    def published(self) -> pd.DataFrame | None:
        """The published numbers that this table may quote, one per row; None if there are none."""
        if not self.published_csv:
            return None
        import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

        kinds: Any = {"table": str, "group": str, "frames": str, "shots": "Int64", "std": float}
        parts = []
        for file in self.published_csv:
            try:
                parts.append(pd.read_csv(file, dtype=kinds))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise PluginError(f"published_csv of the table {self.name}: {file}: {reason}") from error
            if missing := PUBLISHED_COLUMNS - set(parts[-1]):
                raise PluginError(
                    f"published_csv of the table {self.name}: {file} lacks the column {', '.join(sorted(missing))}"
                )
        return pd.concat(parts, ignore_index=True)

    @member(instance_of(Table, "pb.Table"), required=True)
    def build(self, evidence: Evidence) -> Table:
        """The table of these records, with published numbers beside them if the evidence holds some.

        Raises UsageError if no record fits the table.
        """
        raise NotImplementedError

    def figure(self, evidence: Evidence) -> Figure | None:
        """The picture of these records; None if this table has none. Raises UsageError as `build` does."""
        return None


def signs(cell: Cell) -> str:
    """What stands behind a cell's number: ALIKE if a test does not tell it from the best, and its marks' symbols."""
    return (ALIKE if cell.alike else "") + symbols(cell.marks)
