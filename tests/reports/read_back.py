"""What a reader finds in a rendered table: every heading, label, number, rank and sign, in its place."""

from __future__ import annotations

import csv
import html.parser
import io
import re
from collections.abc import Sequence
from itertools import groupby, pairwise

from rich.console import Console

from petl_bench.api.marks import symbols
from petl_bench.api.prompts import short_text
from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
from petl_bench.api.table import Cell, Column, Spread, Table, signs
from petl_bench.render import latex, render, terminal
from petl_bench.render.flat import flat_rows
from petl_bench.render.latex_text import SPECIAL
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import name
from petl_bench.tables.text import alone, for_people, marked, number, shared_by, without_shared_marks

#: Rank, number and signs of a cell.
Shown = tuple[str, str, str]
#: A heading, which has no cells, or the label of a row with its marks.
Line = tuple[str, list[Shown]]


def shown_in(table: Table) -> list[Line]:
    """What a renderer for people has to show, part by part if the table is wide."""
    return _shown(parts_of(for_people(table)))


def shown_in_latex(table: Table) -> list[Line]:
    """The same for LaTeX, whose parts are others, and which says a mark that all rows have in its notes.

    Of neighbouring groups with one title, LaTeX says it once; it has no space around ±.
    """
    lines: list[Line] = []
    for part in latex.parts(table):
        headings: dict[str, list[str]] = {}
        for above, group in pairwise(part.groups):
            if group.section and group.title == above.title:
                if above.section:
                    headings.setdefault(above.heading, [above.title, alone(above)])
                headings[group.heading] = [alone(group)]
        for label, cells in _shown([part]):
            *titles, last = headings.get(label, [label])
            lines += [(title, []) for title in titles]
            lines.append((last, [(rank, text.replace(" ± ", "±"), raised) for rank, text, raised in cells]))
    return lines


def _shown(parts: Sequence[Table]) -> list[Line]:
    lines: list[Line] = []
    for part in parts:
        for group in part.groups:
            lines.append((group.heading, []))
            for row in group.rows:
                cells = [
                    (cell.rank, number(cell, column, part.spread), signs(cell) if cell.value is not None else "")
                    for cell, column in zip(row.cells, part.columns, strict=True)
                ]
                lines.append((marked(row.label, symbols(row.marks)), [*cells]))
    return lines


def check_markdown(table: Table, shown: Table | None = None) -> None:
    """One row per configuration, each with everything that it is, there or above the table.

    `shown`: what is rendered, if it is not the table.
    """
    text = render(shown or table, "markdown")
    above = _without_backslashes(text.partition("\n|")[0])
    people = for_people(table)
    lines = in_markdown(text, [column.full for column in people.columns])
    assert len(lines) == len(flat_rows(table))
    for (words, cells), (group, row), (_, own) in zip(lines, flat_rows(people), flat_rows(table), strict=True):
        assert cells == [
            (cell.rank, number(cell, column, table.spread), signs(cell) if number(cell, column, table.spread) else "")
            for cell, column in zip(row.cells, people.columns, strict=True)
        ]
        facts = {name: for_readers(name, value) for name, value in own.facts}
        wanted = [alone(group), group.title, row.label]
        if facts:
            wanted = [alone(group), group.title.partition(":")[0], *facts.values()]
        assert all(name(text) in f"{above} {words}" for text in wanted), (wanted, above, words)
        assert symbols(row.marks) in words


def for_readers(fact: str, value: str) -> str:
    """A value of `Row.facts` as readers see it."""
    displays = {"method": METHODS.display, "backbone": BACKBONES.display, "setting": SETTINGS.display}
    return displays[fact](value) if fact in displays else short_text(value)


def in_markdown(text: str, columns: Sequence[str]) -> list[tuple[str, list[Shown]]]:
    """The words and the cells of every row; `columns`: the headers of the cells, which stand side by side."""
    lines = re.findall(r"^\|.*$", text, re.M)
    split = [[_without_backslashes(each) for each in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    headers, _, *rows = split
    assert {len(row) for row in rows} <= {len(headers)}
    first = headers.index(columns[0])
    last = first + len(columns)
    assert headers[first:last] == [*columns]
    return [(" | ".join([*row[:first], *row[last:]]), [_marked_up(cell) for cell in row[first:last]]) for row in rows]


def _without_backslashes(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.replace("\u00a0", " ")).strip()


def _marked_up(text: str) -> Shown:
    rank = "best" if text.startswith("**") else "second" if text.startswith("<ins>") else ""
    found = re.fullmatch(r"(?:\*\*|<ins>)?(.*?)(?: \[([^\]]*)\])?(?:\*\*|</ins>)?", text)
    assert found is not None
    return rank, found[1], found[2] or ""


class _Rows(html.parser.HTMLParser):
    """The body of a table: lists of (tag, class, text, superscript)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[list[str]]] = []
        self._in_body = self._raised = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_body = self._in_body or tag == "tbody"
        self._raised = tag == "sup"
        if self._in_body and tag == "tr":
            self.rows.append([])
        elif self._in_body and tag in ("th", "td"):
            self.rows[-1].append([tag, dict(attributes).get("class") or "", "", ""])

    def handle_endtag(self, tag: str) -> None:
        self._in_body = self._in_body and tag != "table"
        self._raised = False

    def handle_data(self, data: str) -> None:
        if self._in_body and self.rows and self.rows[-1]:
            self.rows[-1][-1][3 if self._raised else 2] += data.strip("\n")


def in_html(table: Table) -> list[Line]:
    parser = _Rows()
    parser.feed(render(table, "html"))
    lines: list[Line] = []
    for (_, _, label, marks), *cells in parser.rows:
        shown = [
            (kind.split()[-1] if kind.endswith(("best", "second")) else "", text, sup) for _, kind, text, sup in cells
        ]
        lines.append((marked(label, marks), shown))
    return lines


#: Longest first; a curly apostrophe cannot be told from a straight one.
_LATEX = sorted((pair for pair in SPECIAL.items() if len(pair[1]) > 1), key=lambda pair: -len(pair[1]))


def _without_escapes(text: str) -> str:
    for character, escaped in _LATEX:
        text = text.replace(escaped, character)
    return re.sub(r"([-'])\{\}", r"\1", text)


def in_latex(table: Table) -> list[Line]:
    """A group that goes on on a further page has its heading there too, which counts once.

    Signs behind a heading are those of all rows below it.
    """
    lines: list[Line] = []
    heading, above, of_all = None, "", ""
    titles = {group.heading: group.title for part in latex.parts(table) for group in part.groups}
    body = "\n".join(re.findall(r"\\toprule\n(?:.*\n)*?(?=\\midrule)((?:.*\n)*?)\\bottomrule", render(table, "latex")))
    for text in re.findall(r"(.*) \\\\$", body, re.MULTILINE):
        title = re.fullmatch(
            r"\\multicolumn\{\d+\}\{.*?@\{\}\}\{(?:\\raggedright)?\\textit\{(.*?)\}(\\textsuperscript.*)?\}", text
        )
        if title is None:
            label, *cells = re.split(
                r"(?<!\\) & ", text.removeprefix(r"\raggedright\hangindent=1em ").replace(r"\allowbreak ", "")
            )
            for part, form in latex.forms_of(table):
                label = label.replace(form, latex.escape(part))
            _, name, own = _raised(label)
            lines.append((marked(name, own + of_all), [_raised(each) for each in cells]))
            continue
        of_all = _raised(title[2] or "")[2]
        shown = _without_escapes(title[1])
        if shown not in (heading, f"{above}, {heading}"):
            heading, above = shown, titles.get(shown, above)
            lines.append((heading, []))
    return lines


def _raised(text: str) -> Shown:
    found = re.fullmatch(
        r"(?:\\(textbf|underline)\{)?(.*?)(?(1)\})(?:(?:\\rlap\{)?\\textsuperscript\{([^}]*)\}\}?)?", text
    )
    assert found is not None
    rank = {"textbf": "best", "underline": "second", None: ""}[found[1]]
    return rank, _without_escapes(found[2]), _without_escapes(found[3] or "")


def check_terminal(table: Table, shown: Table | None = None) -> None:
    """On a wide terminal, the table in one part; labels and headings may be broken into several lines.

    `shown`: what is rendered, if it is not the table.
    """
    buffer = io.StringIO()
    terminal.show(shown or table, Console(file=buffer, width=10_000, color_system=None, force_terminal=False))
    lines = iter(buffer.getvalue().partition("─\n")[2].splitlines())
    shown, _ = without_shared_marks(for_people(table))
    for title, some in groupby(shown.groups, key=lambda group: group.title):
        block = list(some)
        of_all = shared_by([row for group in block for row in group.rows])
        above = [marked(block[0].heading if len(block) == 1 else title, symbols(of_all))]
        for group in block:
            if all(cell.origin == "absent" for row in group.rows for cell in row.cells):
                continue  # there is nothing to show
            above += [alone(group)] * (len(block) > 1)
            for row in group.rows:
                own = symbols(word for word in row.marks if word not in of_all)
                wanted = _squeezed("".join([*above, marked(row.label, own)]))
                numbers = [
                    _in_terminal(cell, column, table.spread)
                    for cell, column in zip(row.cells, table.columns, strict=True)
                ]
                pattern = re.compile(r"\s\s+".join(filter(None, numbers)) + "$")
                seen = ""
                while _squeezed(seen) != wanted:
                    line = next(lines, None)
                    assert line is not None, f"no line shows {row.label} with {numbers}"
                    found = pattern.search(line)
                    seen += line[: found.start()] if found else line
                above = []


def _in_terminal(cell: Cell, column: Column, spread: Spread) -> str:
    """A pattern; spreads and signs of a column stand below each other, with blanks before them."""
    rank = {"best": "*", "second": "+", "": ""}[cell.rank]
    text = rank + ("=" if cell.alike else "") + marked(number(cell, column, spread), symbols(cell.marks))
    return r"\s+".join(map(re.escape, text.split()))


def _squeezed(text: str) -> str:
    return "".join(text.split())


def check_csv(table: Table, shown: Table | None = None) -> None:
    """One line per configuration, with every number at full precision. `shown`: what is rendered, if not the table."""
    lines = list(csv.DictReader(io.StringIO(render(shown or table, "csv"))))
    headers = {header for line in lines for header in line}
    assert len(lines) == len(flat_rows(table))
    for line, (group, row) in zip(lines, flat_rows(table), strict=True):
        of_row = {"row": row.label, "heading": group.title, "group": group.section, **dict(row.facts)}
        of_row |= {"name": row.display or row.label, "marks": " ".join(row.marks)}
        assert {header: line.pop(header) for header in of_row} == of_row
        origin = line.pop("origin")
        for cell, column in zip(row.cells, table.columns, strict=True):
            low, high = cell.interval or (None, None)
            assert line.pop(f"{column.full} origin", "") in ("", cell.origin)
            assert cell.origin in ("absent", origin) or f"{column.full} origin" in headers
            for what, value in {
                "": cell.value,
                " std": cell.std,
                " runs": cell.n,
                " interval low": low,
                " interval high": high,
                " delta": cell.delta,
                " rank": cell.rank,
                " like the best": "yes" if cell.alike else "",
                " marks": " ".join(cell.marks),
                " reason": cell.source if cell.value is None and cell.trials else "",
            }.items():
                assert line.pop(f"{column.full}{what}", "") == ("" if value is None else str(value))
        assert set(line) <= {"source", "method", *{name for _, each in flat_rows(table) for name, _ in each.facts}}


def check_tidy(table: Table, shown: Table | None = None) -> None:
    """Every cell at full precision. `shown`: what is rendered, if it is not the table."""
    lines = iter(csv.DictReader(io.StringIO(render(shown or table, "tidy"))))
    for group in table.groups:
        for row in group.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                low, high = cell.interval or (None, None)
                texts = {
                    "table": table.name,
                    "row_group": group.heading,
                    "row": row.label,
                    "column_group": column.group,
                    "column": column.label,
                    "value": cell.value,
                    "standard_deviation": cell.std,
                    "interval_low": low,
                    "interval_high": high,
                    "delta": cell.delta,
                    "runs": cell.n,
                    "origin": cell.origin,
                    "source": cell.source,
                    "rank": cell.rank,
                    "like_the_best": "yes" if cell.alike else "",
                    "marks": " ".join(cell.marks),
                    "trials": " ".join(cell.trials),
                }
                assert next(lines, None) == {name: "" if value is None else str(value) for name, value in texts.items()}
    assert not list(lines)
