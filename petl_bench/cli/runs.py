"""`petl-bench runs`: folders of runs as a whole."""

from __future__ import annotations

import click

from petl_bench.cli.choices import NearGroup
from petl_bench.cli.runs_delete import delete
from petl_bench.cli.runs_export import export
from petl_bench.cli.runs_list import list_
from petl_bench.cli.runs_merge import merge
from petl_bench.cli.runs_move import move
from petl_bench.cli.runs_verify import verify


@click.group(name="runs", cls=NearGroup)
def command() -> None:
    """Look after folders of runs."""


for part in (list_, verify, delete, merge, move, export):
    command.add_command(part)
