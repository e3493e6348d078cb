r"""LaTeX with booktabs: a whole document that compiles as it is, in plain ASCII.

The `table` environment between the two comment lines can be pasted into a paper that loads booktabs and graphicx.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from petl_bench.api.marks import symbols
from petl_bench.api.table import Cell, Column, Row, RowGroup, Spread, Table, signs
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import clean
from petl_bench.tables.text import for_people, notes, number

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": r"{\char96}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "’": "'",
    "…": r"\ldots{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "λ": r"$\lambda$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "→": r"$\rightarrow$",
}
#: Neighbours that would melt into a dash or a quotation mark.
_LIGATURE = re.compile(r"([-'])(?=\1)")
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}

_DOCUMENT = r"""\documentclass{{article}}
\usepackage[margin=2cm]{{geometry}}
\usepackage{{booktabs}} %% \toprule, \midrule, \cmidrule, \bottomrule
\usepackage{{graphicx}} %% \resizebox: a table that is too wide is scaled down to the line
\begin{{document}}
\pagestyle{{empty}}
%% The table: from here ...
{table}
%% ... to here.
\end{{document}}
""".replace("%%", "%")


#: What stands for ranks.
_RANKS = "Bold: best; underlined: second."
#: Space between columns of a table in several parts, which have much to show side by side.
_NARROW = r"\setlength{\tabcolsep}{4pt}"
#: Lines of a page: rows, titles, and notes, which are set smaller; and what a part takes above its rows.
_LINES, _FEWEST, _NOTE_LINE, _NOTE_CHARACTERS, _HEADER = 48, 16, 0.65, 130, 5


def render(table: Table) -> str:
    """The document; best in bold, second underlined, marks as superscripts, the notes below.

    A table that is wider than a page becomes several tabulars below each other. If they are longer than a page, they
    go on on further pages, with the notes below the last one.
    """
    table = for_people(table)
    parts = parts_of(table)
    pages = _pages(table, parts)
    space = [_NARROW] if len(parts) > 1 else []
    lines = [_environment(table, page, number, len(pages), space) for number, page in enumerate(pages, start=1)]
    return _DOCUMENT.format(table="\n".join(line for page in lines for line in page))


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; a letter that its standard fonts lack appears as its code point."""
    return _LIGATURE.sub(r"\1{}", "".join(map(_character, clean(text))))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii():
        return character
    base, *accents = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        letter = {"i": r"\i", "j": r"\j"}.get(base, base) if accents[0] != "\u0327" else base
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"


def _pages(table: Table, parts: Sequence[Table]) -> list[list[Table]]:
    """The parts page by page; what does not fit goes on on the next page, a group of rows under its title.

    Every page with rows of the last part has room for the notes, which stand on the last page.
    """
    below = sum(1 + len(note) // _NOTE_CHARACTERS for note in notes(table, ranks=_RANKS))
    beside_notes = max(_FEWEST, _LINES - math.ceil(_NOTE_LINE * below))
    pages: list[list[Table]] = [[]]
    for part in parts:
        lines = beside_notes if part is parts[-1] else _LINES
        if pages[-1] and _height(pages[-1]) + _HEADER + _height([part]) > lines:
            pages.append([])
        left = lines - (_height(pages[-1]) + _HEADER if pages[-1] else 0)
        first, *further = _slices(part.groups, left, lines)
        pages[-1].append(replace(part, groups=tuple(first)))
        pages += [[replace(part, groups=tuple(groups))] for groups in further]
    return pages


def _height(parts: Sequence[Table]) -> int:
    """Lines of parts below each other, but for what is above the rows of the first."""
    return sum(1 + len(group.rows) for part in parts for group in part.groups) + _HEADER * (len(parts) - 1)


def _slices(groups: Sequence[RowGroup], left: int, lines: int) -> list[list[RowGroup]]:
    """Groups of rows, cut where a page ends. `left`: lines of the first page; `lines`: of each further one."""
    pages: list[list[RowGroup]] = [[]]
    for group in groups:
        rows = group.rows
        while rows:
            # A title needs a line, and at least two rows below it.
            if left < min(len(rows), 2) + 1:
                pages.append([])
                left = lines
            pages[-1].append(replace(group, rows=rows[: left - 1]))
            left -= len(pages[-1][-1].rows) + 1
            rows = rows[len(pages[-1][-1].rows) :]
    return pages


def _environment(table: Table, parts: Sequence[Table], page: int, pages: int, space: Sequence[str]) -> list[str]:
    below = [
        r"\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *[rf"{escape(note)}\par" for note in notes(table, ranks=_RANKS)],
        r"\end{minipage}",
    ]
    first, *others = [_tabular(part) for part in parts]
    return [
        rf"\begin{{table}}[{'ht' if pages == 1 else 'p'}]",
        r"\centering",
        *_caption(table, page, pages),
        *space,
        *first,
        *[line for other in others for line in (r"\par\bigskip", *other)],
        *(below if page == pages else []),
        r"\end{table}",
    ]


def _caption(table: Table, page: int, pages: int) -> list[str]:
    """Caption and label on the first page; further ones name the number of the table, as they are the same table."""
    if page > 1:
        return [rf"Table~\thetable{{}}, continued ({page} of {pages})\par\medskip"]
    of = f" ({page} of {pages})" if pages > 1 else ""
    label = "".join(c for c in table.name if c.isalnum() and c.isascii())
    return [rf"\caption{{{escape(table.title)}{of}}}", rf"\label{{tab:{label}}}"]


def _tabular(table: Table) -> list[str]:
    return [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *_headers(table),
        *[line for group in table.groups for line in _group(group, table)],
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _headers(table: Table) -> list[str]:
    spans, rules, first = [], [], 2
    for label, count in table.column_groups():
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(label)}}}")
        if label:
            rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    labels = [escape(table.corner), *[escape(column.label) for column in table.columns]]
    return [f" & {' & '.join(spans)} \\\\", " ".join(rules), " & ".join(labels) + r" \\"]


def _group(group: RowGroup, table: Table) -> list[str]:
    title = rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textit{{{escape(group.heading)}}}}} \\"
    return [r"\midrule", title, *[_row(row, table) for row in group.rows]]


def _row(row: Row, table: Table) -> str:
    cells = [_cell(cell, column, table.spread) for cell, column in zip(row.cells, table.columns, strict=True)]
    return " & ".join([escape(row.label) + _superscript(symbols(row.marks)), *cells]) + r" \\"


def _cell(cell: Cell, column: Column, spread: Spread) -> str:
    text = escape(number(cell, column, spread))
    if not text:
        return ""
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[cell.rank]
    return text + _superscript(signs(cell))


def _superscript(signs: str) -> str:
    text = escape(signs)
    return rf"\textsuperscript{{{text}}}" if text else ""
