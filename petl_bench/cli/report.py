"""`petl-bench report`: records become a table. Never loads torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.report_page import is_page, write_page
from petl_bench.errors import UsageError
from petl_bench.evidence import Evidence
from petl_bench.outcomes import StoredOutcomes
from petl_bench.records import RecordReader, without_garbage_collection, write_atomically
from petl_bench.registry import TABLES, load_plugin_file
from petl_bench.render import FORMATS, format_of, render
from petl_bench.table import Table

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 8


@click.command()
@click.option(
    "--runs",
    "folders",
    multiple=True,
    default=("runs",),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Output folder of `petl-bench run`; may be given several times.",
)
@click.option("--table", "name", help="Which table: petl-bench list tables. Optional for a page (--output FOLDER/).")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(FORMATS)),
    default=None,
    help="Output format; by default as the suffix of --output says, else terminal.",
)
@click.option("--output", "given_output", default=None, help="Write to this file, or one page of all to this folder.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Where the videos are, for the pictures of a page.",
)
@click.option("--published/--no-published", default=True, show_default=True, help="Quote published numbers beside.")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(
    folders: tuple[Path, ...],
    name: str | None,
    output_format: str | None,
    given_output: str | None,
    data_root: Path | None,
    published: bool,
    plugins: tuple[Path, ...],
) -> None:
    """Turn the records of finished trials into a table: mean and spread over seeds, and where each number is from.

    Examples: petl-bench report --runs runs --table base2novel --output table.tex

    petl-bench report --runs runs --output site/     (every table, plot and clip as one page)
    """  # fmt: skip
    for path in plugins:
        load_plugin_file(path)
    output = None if given_output is None else Path(given_output)
    if output is not None and is_page(output_format, given_output):
        records, problems = _records(folders)
        evidence = Evidence(records, outcomes=StoredOutcomes(folders))
        write_page(evidence, folders, output, table=name, published=published, data_root=data_root, problems=problems)
        return
    if name is None:
        raise UsageError("--table NAME is missing: petl-bench list tables. For a page of all: --output FOLDER/")
    source = TABLES.get(name)()
    chosen = output_format or ("terminal" if output is None else format_of(output))
    with without_garbage_collection():
        table = source.build(Evidence(_records(folders)[0], source.published() if published else None))
    _write(table, chosen, output)
    _say_what_is_missing(table, folders)


def _records(folders: tuple[Path, ...]) -> tuple[pd.DataFrame, list[str]]:
    """The records, and what was left out."""
    reader = RecordReader(folders)
    records = reader.frame()
    for problem in reader.problems[:_SHOWN]:
        click.echo(f"left out: {problem}", err=True)
    if len(reader.problems) > _SHOWN:
        click.echo(f"left out: {len(reader.problems) - _SHOWN} more records, for reasons such as these", err=True)
    if records.empty:
        where = ", ".join(map(str, folders))
        raise UsageError(f"no record of a finished trial under {where}. See: petl-bench status --runs {folders[0]}")
    return records, [str(problem) for problem in reader.problems]


def _write(table: Table, output_format: str, output: Path | None) -> None:
    if output is not None:
        write_atomically(output, render(table, output_format).encode())
        click.echo(f"wrote {output} ({output_format})", err=True)
    elif output_format == "terminal":
        from rich.console import Console

        from petl_bench.render.terminal import show

        show(table, Console(highlight=False))
    else:
        click.echo(render(table, output_format), nl=False)


def _say_what_is_missing(table: Table, folders: tuple[Path, ...]) -> None:
    if not table.commands:
        return
    to = "" if folders[0] == Path("runs") else f" --output {shlex.quote(str(folders[0]))}"
    click.echo("To fill what is missing:", err=True)
    for line in table.commands[:_SHOWN]:
        click.echo(f"  {line}{to}", err=True)
    if len(table.commands) > _SHOWN:
        click.echo(f"  ... and {len(table.commands) - _SHOWN} more", err=True)
