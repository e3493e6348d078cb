"""`petl-bench data`: what of a data set lies on this machine, and whether it can be read."""

from __future__ import annotations

import click

from petl_bench.cli.choices import NearGroup
from petl_bench.cli.data.index import index
from petl_bench.cli.data.scan import scan
from petl_bench.cli.data.status import status


@click.group(name="data", cls=NearGroup)
def command() -> None:
    """Find, verify and count the clips of a data set."""


for part in (index, scan, status):
    command.add_command(part)
