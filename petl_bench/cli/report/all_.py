"""`petl-bench report --all`: every table and figure that the records allow, in every format, in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.registry import TABLES
from petl_bench.cli.options import make_folder, tell
from petl_bench.cli.report.figure import figure_of
from petl_bench.errors import UsageError
from petl_bench.render import FIGURE_FORMATS, FORMATS, PROVENANCE_SUFFIX, render, render_provenance
from petl_bench.system.files import write_atomically

if TYPE_CHECKING:
    from petl_bench.api.evidence import Evidence
    from petl_bench.api.table import Spread, TableSource


def folder_for_all(table: str | None, output_format: str | None, output: Path | None) -> Path:
    """The folder that --output names. Raises UsageError if it names none, or if other flags ask for less."""
    if table or output_format:
        raise UsageError("--all writes every table in every format: leave out --table and --format")
    if output is None:
        raise UsageError("--all needs a folder to write to: --output DIR")
    return output


def write_all(evidence: Evidence, folder: Path, *, published: bool, spread: Spread) -> None:
    """Write tables/NAME.SUFFIX and figures/NAME.SUFFIX; a table without records is named and left out.

    Raises UsageError if no table has records.
    """
    broken, written = TABLES.broken(), 0
    for name in TABLES.names():
        try:
            if name in broken:
                raise UsageError(broken[name])
            source = TABLES.get(name)()
            if not source.needs_records:
                continue  # it would be the same for any records
            own = replace(evidence, published=source.published() if published else None)
            written += _write(source, own, folder, spread)
        except UsageError as error:
            tell(f"left out {name}: {error}")
    if not written:
        raise UsageError("no table could be made of these records; the reasons stand above")


def _write(source: TableSource, evidence: Evidence, folder: Path, spread: Spread) -> int:
    """Write one table and its figure, and return how many files there are."""
    from petl_bench.render.figures import draw

    table, figure = replace(source.build(evidence), spread=spread), figure_of(source, evidence)
    texts = {suffixes[0]: render(table, kind).encode() for kind, suffixes in FORMATS.items()}
    texts[PROVENANCE_SUFFIX] = render_provenance(table).encode()
    pictures = {suffixes[0]: draw(figure, kind) for kind, suffixes in FIGURE_FORMATS.items()} if figure else {}
    _write_files(folder / "tables", source.name, texts)
    _write_files(folder / "figures", source.name, pictures)
    return len(texts) + len(pictures)


def _write_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> None:
    if contents:
        make_folder(folder)
    for suffix, content in contents.items():
        write_atomically(folder / f"{name}{suffix}", content)
    if contents:
        click.echo(f"wrote {folder / name}{{{','.join(contents)}}}", err=True)
