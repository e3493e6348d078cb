"""`petl-bench compare`: is the difference between two methods real? Never loads torch."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.api.registry import TABLES
from petl_bench.cli.gather import gather
from petl_bench.cli.options import folders_option, plugin_option
from petl_bench.system.texts import lines as clean_lines
from petl_bench.tables.compare_pair import absent_numbers, findings, in_words


@click.command()
@click.argument("a")
@click.argument("b")
@folders_option
@click.option("--table", "names", multiple=True, help="Only the columns of this table; may be given several times.")
@plugin_option
def command(a: str, b: str, folders: tuple[Path, ...], names: tuple[str, ...]) -> None:
    """Say in plain words whether A is better than B: paired tests on the same clips and seeds.

    A and B are methods, or rows as a table shows them, such as "msta (scale=0.01)".

    Example: petl-bench compare msta lora --runs runs
    """  # fmt: skip
    sources = [TABLES.get(name)() for name in names or TABLES.names()]
    evidence = gather(folders, statistics=True)
    found = findings(sources, evidence, a, b)
    for line in in_words(found, a, b, absent_numbers(sources, evidence, a, b)):
        click.echo(clean_lines(line))
