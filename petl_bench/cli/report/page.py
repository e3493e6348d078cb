"""`petl-bench report --output site/`: everything as one page. Never loads torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.cli.options import make_folder, tell
from petl_bench.cli.thumbnails import thumbnails
from petl_bench.errors import PluginError, UsageError
from petl_bench.system.files import write_atomically

if TYPE_CHECKING:
    from petl_bench.api.table import Spread, TableSource

_FILE = "index.html"


def is_page(output_format: str | None, output: str | None) -> bool:
    """Whether the output is a folder for the whole page: one that is there, ends with "/", or has no suffix.

    Raises UsageError if it can be nothing but a folder, and the format is for a file.
    """
    if output is None or Path(output).is_file():
        return False
    is_folder = output.endswith(("/", os.sep)) or Path(output).is_dir()
    if output_format in (None, "html"):
        return is_folder or not Path(output).suffix
    if is_folder:
        raise UsageError(f"--output {output}: a folder holds the page of --format html; {output_format} goes to a file")
    return False


def write_page(
    evidence: Evidence,
    folders: Sequence[Path],
    output: Path,
    *,
    table: str | None = None,
    published: bool = True,
    spread: Spread = "std",
    data_root: Path | None = None,
) -> None:
    """Write `output/index.html`: the tables of every plugin that has records, or the one table that is named."""
    from petl_bench.page.build import build_page

    sources = [TABLES.get(table)()] if table else _every_table()
    make_folder(output)
    with thumbnails(data_root) as thumbnail:
        page = build_page(sources, evidence, folders, quote=published, spread=spread, thumbnail=thumbnail)
    write_atomically(output / _FILE, page)
    click.echo(f"wrote {output / _FILE} ({len(page) / 1e6:.1f} MB)", err=True)


def _every_table() -> list[TableSource]:
    """All that are made of records; one that cannot be loaded is named, and the others are shown."""
    sources = []
    for name in TABLES.names():
        try:
            sources.append(TABLES.get(name)())
        except PluginError as error:
            tell(f"left out: {error}")
    return [source for source in sources if source.needs_records]
