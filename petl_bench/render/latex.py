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


#: Lines of a page: rows, titles, and notes, which are set smaller.
_LINES, _FEWEST, _NOTE_LINE, _NOTE_CHARACTERS = 48, 16, 0.65, 130


def render(table: Table) -> str:
    """The document; best in bold, second underlined, marks as superscripts, the notes below.

    A table that is longer than a page becomes several, with the notes below the last one.
    """
    table = for_people(table)
    pages = _pages(table)
    parts = [_environment(table, groups, number, len(pages)) for number, groups in enumerate(pages, start=1)]
    return _DOCUMENT.format(table="\n".join(line for part in parts for line in part))


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


def _pages(table: Table) -> list[list[RowGroup]]:
    """The groups page by page; a group that does not fit goes on on the next page under its title.

    Any page has room for the notes, which stand on the last one.
    """
    below = sum(1 + len(note) // _NOTE_CHARACTERS for note in notes(table))
    lines = max(_FEWEST, _LINES - math.ceil(_NOTE_LINE * below))
    pages: list[list[RowGroup]] = [[]]
    left = lines
    for group in table.groups:
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


def _environment(table: Table, groups: Sequence[RowGroup], page: int, pages: int) -> list[str]:
    label = rf"\label{{tab:{''.join(c for c in table.name if c.isalnum() and c.isascii())}}}"
    below = [
        r"\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *[rf"{escape(note)}\par" for note in notes(table)],
        r"\end{minipage}",
    ]
    return [
        rf"\begin{{table}}[{'ht' if pages == 1 else 'p'}]",
        r"\centering",
        rf"\caption{{{escape(table.title)}{f' ({page} of {pages})' if pages > 1 else ''}}}",
        *([label] if page == 1 else []),
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *_headers(table),
        *[line for group in groups for line in _group(group, table)],
        r"\bottomrule",
        r"\end{tabular}}",
        *(below if page == pages else []),
        r"\end{table}",
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
