"""One self-contained HTML page: nothing is loaded from elsewhere, and every text is escaped."""

from __future__ import annotations

import jinja2

from petl_bench.api.marks import symbols
from petl_bench.api.table import Table, signs
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import clean
from petl_bench.tables.text import for_people, notes, number, provenance


def render(table: Table) -> str:
    """The page; a tooltip on every number says where it comes from."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("petl_bench.render", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["clean"] = clean
    template = environment.get_template("table.html.jinja")
    shown = for_people(table)
    parts = parts_of(shown)
    return template.render(
        table=shown,
        parts=parts,
        number=number,
        symbols=symbols,
        signs=signs,
        notes=notes(shown),
        provenance=provenance(shown),
    )
