"""`petl-bench compare`: is the difference between two methods real? Never loads torch."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.api.registry import TABLES, load_plugin_file
from petl_bench.cli.gather import gather
from petl_bench.system.texts import lines as clean_lines
from petl_bench.tables.compare_pair import findings, in_words


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--runs",
    "folders",
    multiple=True,
    default=("runs",),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Output folder of `petl-bench run`; may be given several times.",
)
@click.option("--table", "names", multiple=True, help="Only the columns of this table; may be given several times.")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(a: str, b: str, folders: tuple[Path, ...], names: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Say in plain words whether A is better than B: paired tests on the same clips and seeds.

    A and B are methods, or rows as a table shows them, such as "msta (scale=0.01)".

    Example: petl-bench compare msta lora --runs runs
    """  # fmt: skip
    for path in plugins:
        load_plugin_file(path)
    sources = [TABLES.get(name)() for name in names or TABLES.names()]
    evidence = gather(folders, statistics=True)
    for line in in_words(findings(sources, evidence, a, b), a, b):
        click.echo(clean_lines(line))
