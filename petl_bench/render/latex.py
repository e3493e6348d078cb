r"""LaTeX with booktabs: a whole document that compiles as it is, in plain ASCII.

The `table` environment between the two comment lines can be pasted into a paper that loads booktabs and graphicx.
"""

from __future__ import annotations

import re
import unicodedata

from petl_bench.render import clean, notes, number
from petl_bench.table import Cell, Column, Row, RowGroup, Spread, Table, signs, symbols

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


def render(table: Table) -> str:
    """The document; best in bold, second underlined, marks as superscripts, the notes below."""
    return _DOCUMENT.format(table="\n".join(_environment(table)))


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


def _environment(table: Table) -> list[str]:
    return [
        r"\begin{table}[ht]",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        rf"\label{{tab:{''.join(c for c in table.name if c.isalnum() and c.isascii())}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *_headers(table),
        *[line for group in table.groups for line in _group(group, table)],
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *[rf"{escape(note)}\par" for note in notes(table)],
        r"\end{minipage}",
        r"\end{table}",
    ]


def _headers(table: Table) -> list[str]:
    spans, rules, first = [], [], 2
    for label, count in table.column_groups():
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(label)}}}")
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
