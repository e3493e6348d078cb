"""`petl-bench report --format pdf|svg|png`: the figure of a table. matplotlib is loaded when one is drawn."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.registry import TABLES
from petl_bench.api.table import TableSource
from petl_bench.cli.options import tell
from petl_bench.errors import UsageError
from petl_bench.system.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence
    from petl_bench.api.figure import Figure

#: The only one that a terminal can show.
_TEXT = "svg"


def has_figure(source: type[TableSource]) -> bool:
    """Whether a table has a picture too."""
    return source.figure is not TableSource.figure


def refuse_without_figure(source: TableSource, output_format: str, output: Path | None) -> None:
    """Raise UsageError if there is no figure, or no place for it; before any record is read."""
    if not has_figure(type(source)):
        known = [name for name in TABLES.names() if name not in TABLES.broken() and has_figure(TABLES.get(name))]
        raise UsageError(
            f"--format {output_format}: the table {source.name} has no figure. These have one: {', '.join(known)}"
        )
    if output is None and output_format != _TEXT and sys.stdout.isatty():
        raise UsageError(
            f"--format {output_format} is no text: say where it goes, --output {source.name}.{output_format}"
        )


def figure_of(source: TableSource, evidence: Evidence) -> Figure | None:
    """The figure of a table, in which a method looks as in the other figures of these records; None if it has none."""
    figure = source.figure(evidence)
    return replace(figure, methods=_methods(evidence.records)) if figure else None


def _methods(records: pd.DataFrame) -> tuple[str, ...]:
    """The methods of the records. Those of most settings come first: there are few colours."""
    settings = {str(method): count for method, count in records.groupby("method")["setting"].nunique().items()}
    return tuple(sorted(settings, key=lambda method: (-settings[method], method)))


def write_figure(source: TableSource, evidence: Evidence, output_format: str, output: Path | None) -> None:
    """Draw the figure into a file, or to stdout; its notes go to stderr, for the caption."""
    from petl_bench.render.figures import draw

    figure = figure_of(source, evidence)
    if figure is None:
        raise UsageError(f"these records give no figure of the table {source.name}")
    content = draw(figure, output_format)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        write_atomically(output, content)
        click.echo(f"wrote {output} ({output_format})", err=True)
    for note in figure.notes:
        tell(note)
