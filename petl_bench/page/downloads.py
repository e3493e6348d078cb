"""Texts of tables that readers copy or download from the page: what `petl-bench report --format ...` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from petl_bench.api.table import Table
from petl_bench.page.tables import TableView
from petl_bench.render import FORMATS, render

#: Formats with what they are called.
_KINDS = {"csv": "CSV", "latex": "LaTeX", "markdown": "Markdown"}
#: Cells of all tables together that are rendered, and characters that the page keeps (before compression).
_CELLS, _CHARACTERS = 6_000, 8_000_000


@dataclass(frozen=True)
class Text:
    """One format of one table: its text, or None and the command that writes it.

    `kind`: a format of `petl_bench.render`; `name`: for people; `file`: the name of its file.
    """

    kind: str
    name: str
    file: str
    command: str
    content: str | None = field(repr=False)


def texts_of(tables: Sequence[Table], views: Sequence[TableView]) -> dict[str, tuple[Text, ...]]:
    """The texts by the id of the view; what is too large for the room that is left has none."""
    cells, characters, found = _CELLS, _CHARACTERS, {}
    for table, view in zip(tables, views, strict=True):
        count = len(table.columns) * sum(len(group.rows) for group in table.groups)
        has_room, file = count <= cells, view.id.removeprefix("table-")
        cells -= count if has_room else 0
        texts = []
        for kind, name in _KINDS.items():
            content = render(table, kind) if has_room else None
            if content is not None and len(content) > characters:
                content = None
            characters -= len(content or "")
            texts.append(Text(kind, name, f"{file}{FORMATS[kind][0]}", view.command(kind), content))
        found[view.id] = tuple(texts)
    return found


def downloads_data(texts: dict[str, tuple[Text, ...]]) -> dict[str, dict[str, list[str]]]:
    """What the script reads: the id of a view, then a format, to the name of its file and its text."""
    return {
        view: {text.kind: [text.file, text.content] for text in some if text.content is not None}
        for view, some in texts.items()
    }
