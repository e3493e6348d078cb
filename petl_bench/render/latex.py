r"""LaTeX with booktabs, in plain ASCII: a fragment that a paper or a talk takes in by `\input`, or a whole document.

Below the table stands what its readers need. Everything else stands in comments above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from petl_bench.api.marks import symbols
from petl_bench.api.registry import METHODS
from petl_bench.api.table import Cell, Column, Row, Spread, Table, signs
from petl_bench.render.latex_layout import (
    ALONE,
    DOCUMENTS,
    ROW_HEIGHT,
    Layout,
    TextsAround,
    heading_lines,
    lay_out,
    too_wide,
)
from petl_bench.render.latex_text import comments, escape, tight
from petl_bench.render.options import LatexOptions
from petl_bench.render.provenance import trials_of
from petl_bench.tables.text import for_people, notes, provenance, ranks_in_type, shared_by, without_shared_marks

_DOCUMENT = r"""\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
\pagestyle{empty}
"""
#: Between the pages of a table on slides: tables do not float there, so that two of them would share a slide.
_NEXT_SLIDE = r"\ifdefined\framebreak\framebreak\fi"
_KEY_LETTERS = 12
#: Behind which a label of several lines may be broken, besides blanks.
_BREAKABLE, _BREAK = re.compile(r"\\_|[=/]"), r"\g<0>\\allowbreak "
#: Titles of groups, a little narrower than the rows, so that they do not widen them.
_TITLE_PART = 0.96


def render(table: Table, options: LatexOptions | None = None) -> str:
    """The fragment, or the document; best in bold, second underlined, marks as superscripts."""
    options = options or LatexOptions()
    shown, layout = _laid_out(table, options)
    pages = layout.pages()
    lines = list(_comments(for_people(table), layout, options))
    for page, parts in enumerate(pages, start=1):
        lines += [_NEXT_SLIDE] if page > 1 and options.document == "slides" else []
        lines += _environment(shown, layout, parts, (page, len(pages)), options)
    text = "\n".join(lines) + "\n"
    if not options.standalone:
        return text
    return "\n".join([_DOCUMENT + text, *_printed(provenance(for_people(table))), "\\end{document}\n"])


def remarks(table: Table, options: LatexOptions | None = None) -> list[str]:
    """What to know before the table is used: that it is in parts, or has columns that are too wide."""
    return _remarks(_laid_out(table, options or LatexOptions())[1])


def parts(table: Table, options: LatexOptions | None = None) -> tuple[Table, ...]:
    """What is set below each other, without the marks that the notes name for all rows."""
    return _laid_out(table, options or LatexOptions())[1].parts


def _laid_out(table: Table, options: LatexOptions) -> tuple[Table, Layout]:
    """The table as it is shown, and its layout."""
    table = for_people(table) if options.spread else replace(for_people(table), spread="none")
    shown, shared = without_shared_marks(table)
    document = ALONE if options.standalone else DOCUMENTS[options.document]
    caption = table.title if options.caption is None else options.caption
    return shown, lay_out(shown, document, TextsAround(caption, tuple(_notes(shown, shared)), forms_of(shown)))


def _remarks(layout: Layout) -> list[str]:
    cm, pages, found = layout.document.places[-1][1], len(layout.pages()), []
    rows = [row for part in layout.parts for group in part.groups for row in group.rows]
    if len(layout.parts) > 1:
        has_spread = any(cell.std is not None or cell.interval for row in rows for cell in row.cells)
        spread = ", or the spread (--no-spread)" if has_spread and layout.parts[0].spread != "none" else ""
        found.append(
            f"wider than {cm:g} cm at \\scriptsize: set in {len(layout.parts)} parts below each other; for one part, "
            f"leave out columns (--layout){spread}"
        )
    if columns := too_wide(layout):
        found.append(f"wider than {cm:g} cm by themselves, leave them out (--layout): {', '.join(columns)}")
    if pages > 1:
        quoted = ", or the quoted rows (--no-published)" if any("quoted" in row.marks for row in rows) else ""
        page = "slide" if layout.document is DOCUMENTS["slides"] else "page"
        found.append(
            f"longer than a {page}: it is set on {pages} {page}s; for fewer, leave out rows or columns (--layout)"
            f"{quoted}"
        )
    return found


# What stands above and below


def _comments(whole: Table, layout: Layout, options: LatexOptions) -> Iterator[str]:
    behind = provenance(whole)
    lines = [
        f"Table {whole.name} of petl-bench. Needs: \\usepackage{{booktabs}}",
        f"{layout.environment} at {layout.size.command}, for {_place(options)}.",
        f"\\label{{{_label(whole, options)}}}: other files of this table have the same one, unless made with --label.",
        *[f"Note: {remark}." for remark in _remarks(layout)],
        "",
        "Notes",
        *[f"  {note}" for note in notes(whole, ranks=ranks_in_type(whole))],
        *(["Provenance", *[f"  {line}" for line in behind]] if behind else []),
        *_trials(whole),
    ]
    yield from comments(lines)


def _place(options: LatexOptions) -> str:
    if options.standalone:
        return "a page of its own"
    widths = " or ".join(f"{cm:g}" for _, cm in DOCUMENTS[options.document].places)
    return f"{options.document} ({widths} cm wide; another one with --document)"


def _trials(table: Table) -> list[str]:
    """The first letters of the keys of the trials behind each row."""
    lines = []
    for group in table.groups:
        found = [
            f"    {row.label}, {where}: {' '.join(key[:_KEY_LETTERS] for key in keys)}"
            for row in group.rows
            for where, keys in trials_of(row, table.columns)
        ]
        lines += [f"  {group.heading}", *found] if found else []
    return ["Trials behind the numbers (first letters of their keys)", *lines] if lines else []


def _notes(table: Table, shared: Sequence[str]) -> list[str]:
    """What stands below the table, not yet escaped. `shared`: lines on the marks of all rows."""
    texts = [*shared, *notes(table, ranks=ranks_in_type(table))]
    return [text if text.endswith(".") else f"{text}." for text in texts]


def _printed(lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [
        r"\clearpage",
        r"\noindent\textbf{Provenance}\par\smallskip{\scriptsize\raggedright\noindent",
        *[rf"{escape(line)}\par\noindent" for line in lines],
        "}",
    ]


def _label(table: Table, options: LatexOptions) -> str:
    return options.label or "tab:" + re.sub(r"[^a-z0-9]+", "-", table.name.lower()).strip("-")


# The table


def _environment(
    table: Table,
    layout: Layout,
    parts: Sequence[Table],
    page: tuple[int, int],
    options: LatexOptions,
) -> list[str]:
    number, pages = page
    tabulars = [_tabular(part, layout) for part in parts]
    below = [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *(escape(note, layout.texts.forms) for note in layout.notes),
        r"\end{minipage}",
    ]
    return [
        rf"\begin{{{layout.environment}}}[{'tp' if pages == 1 else 'p'}]",
        r"\centering",
        *_caption(layout.texts.caption, number, pages, options, table),
        r"\smallskip",
        rf"{layout.size.command}\setlength{{\tabcolsep}}{{{layout.gap}pt}}\renewcommand{{\arraystretch}}{{{ROW_HEIGHT}}}",
        *[line for place, each in enumerate(tabulars) for line in ([r"\par\medskip"] if place else []) + each],
        *(below if layout.notes and number == pages else []),
        rf"\end{{{layout.environment}}}",
    ]


def _caption(text: str, page: int, pages: int, options: LatexOptions, table: Table) -> list[str]:
    """Caption and label on the first page; further ones name the number of the table, as they are the same table.

    Slides have no numbers.
    """
    if page > 1:
        number = "Table" if options.document == "slides" else r"Table~\thetable{}"
        return [rf"{number}, continued ({page} of {pages})\par"]
    of = f" ({page} of {pages})" if pages > 1 else ""
    return [rf"\caption{{{escape(text)}{of}}}", rf"\label{{{_label(table, options)}}}"]


def _tabular(table: Table, layout: Layout) -> list[str]:
    label = "l" if layout.label is None else f"p{{{layout.label:.0f}pt}}"
    signs = [layout.measure.signs(table, index) for index in range(len(table.columns))]
    kinds = [*[_kind(each, layout.gap) for each in signs[:-1]], *([_kind(signs[-1], 0)] if signs else ["@{}"])]
    return [
        rf"\begin{{tabular}}{{@{{}}{label}{_columns(kinds)}}}",
        r"\toprule",
        *_headers(table),
        *[line for place in range(len(table.groups)) for line in _group(place, table, layout)],
        *(
            []
            if table.groups
            else [r"\midrule", rf"\multicolumn{{{len(table.columns) + 1}}}{{@{{}}l@{{}}}}{{No rows.}} \\"]
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _columns(kinds: Sequence[str]) -> str:
    """The kinds of all columns, those that repeat said once."""
    found = [(kind, len(list(some))) for kind, some in groupby(kinds)]
    return "".join(kind * count if len(kind) == 1 or count == 1 else f"*{{{count}}}{{{kind}}}" for kind, count in found)


def _kind(signs: float, gap: float) -> str:
    """A column, with room for the signs that hang behind its numbers; the last one has no space beside it."""
    if signs > gap:
        return rf"r@{{\hspace{{{signs + gap:.0f}pt}}}}"
    return "r" if gap else "r@{}"


def _headers(table: Table) -> list[str]:
    spans, rules, first = [], [], 2
    for label, count in table.column_groups():
        spans.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(label)}}}")
        if label:
            rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    labels = [escape(table.corner), *[escape(column.label) for column in table.columns]]
    above = [f" & {' & '.join(spans)} \\\\", " ".join(rules)] if rules else []
    return [*above, " & ".join(labels) + r" \\"]


def _group(place: int, table: Table, layout: Layout) -> list[str]:
    """A heading and its rows; marks of all of the rows stand behind the heading."""
    group, texts = table.groups[place], heading_lines(table.groups, place)
    is_first = not place or table.groups[place - 1].title != group.title or not group.section
    shared = shared_by(group.rows)
    marks = ["" for _ in texts[1:]] + [_superscript(symbols(shared))]
    return [
        r"\midrule" if is_first else r"\addlinespace",
        *[_heading(text, raised, table, layout) for text, raised in zip(texts, marks, strict=True)],
        *[_row(row, table, layout, shared) for row in group.rows],
    ]


def _heading(text: str, raised: str, table: Table, layout: Layout) -> str:
    kind, heading = "l", rf"\textit{{{escape(text)}}}{raised}"
    if layout.is_wider(text, table):
        kind, heading = f"p{{{_TITLE_PART * layout.body(table):.0f}pt}}", rf"\raggedright{heading}"
    return rf"\multicolumn{{{len(table.columns) + 1}}}{{@{{}}{kind}@{{}}}}{{{heading}}} \\"


def _row(row: Row, table: Table, layout: Layout, shared: Sequence[str]) -> str:
    cells = [_cell(cell, column, table.spread) for cell, column in zip(row.cells, table.columns, strict=True)]
    raised = _superscript(symbols(word for word in row.marks if word not in shared))
    label = escape(row.label, layout.texts.forms) + raised
    if layout.label is not None:
        label = rf"\raggedright\hangindent=1em {_BREAKABLE.sub(_BREAK, label)}"
    return " & ".join([label, *cells]) + r" \\"


def forms_of(table: Table) -> tuple[tuple[str, str], ...]:
    """Parts of labels, and how LaTeX writes them, as the methods of the rows declare; quoted rows look like them."""
    rows = [row for group in table.groups for row in group.rows]
    methods = {value: None for row in rows for name, value in row.facts if name == "method"}
    return tuple(form for method in methods for form in METHODS.latex(method))


def _cell(cell: Cell, column: Column, spread: Spread) -> str:
    text = escape(tight(cell, column, spread))
    if not text:
        return ""
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[cell.rank]
    raised = _superscript(signs(cell))
    return text + (rf"\rlap{{{raised}}}" if raised else "")


def _superscript(signs: str) -> str:
    text = escape(signs)
    return rf"\textsuperscript{{{text}}}" if text else ""
