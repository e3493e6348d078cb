"""`petl-bench new-method NAME`: short for `petl-bench new method NAME`."""

from __future__ import annotations

import click

from petl_bench.cli.new import write


@click.command(name="new-method")
@click.argument("name")
def command(name: str) -> None:
    """Write NAME.py into this folder: a working method to change into your own."""
    write("method", name)
