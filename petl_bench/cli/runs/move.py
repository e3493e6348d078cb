"""`petl-bench runs move`: a folder of runs gets another place or name."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from petl_bench.system.words import several


@click.command(name="move", short_help="Give a folder of runs another place or name.")
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.argument("target", metavar="TO", type=click.Path(path_type=Path))
def move(source: Path, target: Path) -> None:
    """Move the folder of runs FROM so that it is called TO, a name that is not there yet.

    Refused while a trial runs or waits in a queue. To another file system everything is copied and compared before FROM
    is removed. Commands that are printed afterwards name TO; so they do after `mv`.
    """
    from petl_bench.managing.moving import move as moved

    count = moved(source, target)
    click.echo(f"moved {several(count)} from {source} to {target}")
    click.echo(f"where they stand: {shlex.join(['petl-bench', 'status', '--runs', str(target)])}")
