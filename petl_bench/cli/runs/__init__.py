"""`petl-bench runs`: folders of runs as a whole."""

from __future__ import annotations

import click

from petl_bench.cli.choices import NearGroup
from petl_bench.cli.runs.delete import delete
from petl_bench.cli.runs.export import export
from petl_bench.cli.runs.list_ import list_
from petl_bench.cli.runs.merge import merge
from petl_bench.cli.runs.move import move
from petl_bench.cli.runs.verify import verify


@click.group(name="runs", cls=NearGroup)
def command() -> None:
    """Look after folders of runs."""


for part in (list_, verify, delete, merge, move, export):
    command.add_command(part)
