"""`petl-bench check NAME|FILE.py`: what a plugin promises, checked, with the reason of every failure."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from petl_bench.api.registry import load_plugin_file
from petl_bench.system.texts import lines

if TYPE_CHECKING:
    from petl_bench.testing.checks import CheckResult

#: status -> (word, style)
_WORDS = {"pass": ("passed", "green"), "fail": ("failed", "bold red"), "skip": ("skipped", "yellow")}


@click.command(name="check")
@click.argument("plugin", metavar="NAME|FILE.py")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
@click.option(
    "--data-root", type=click.Path(path_type=Path, file_okay=False, exists=True), help="The files of a data set."
)
@click.option(
    "--runs",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Records that a table is built from, in place of made-up ones.",
)
def command(plugin: str, plugins: tuple[Path, ...], data_root: Path | None, runs: tuple[Path, ...]) -> int:
    """Check a registered plugin, or every plugin in a file: methods, settings, data sets, backbones, tables,
    launchers, trackers.

    A name that several kinds share means all of them; write KIND:NAME for one, e.g. tables:few_shot, or KIND for every
    plugin of a kind. Exit status 0 if no check fails, 1 if one does.
    """
    from petl_bench import testing

    for path in plugins:
        load_plugin_file(path)
    console = Console(width=None if sys.stdout.isatty() else 110)
    results = testing.run(testing.checks(plugin, data_root=data_root, runs=runs))
    for (kind, name), some in groupby(results, key=lambda result: (result.kind, result.plugin)):
        console.print(_table(name if kind == "method" else f"{name} ({kind})", list(some)))
    return int(any(result.status == "fail" for result in results))


def _table(name: str, results: list[CheckResult]) -> Table:
    counts = [f"{sum(r.status == status for r in results)} {word}" for status, (word, _) in _WORDS.items()]
    table = Table(title=f"{escape(name)}: {', '.join(counts)}", title_justify="left", title_style="bold")
    for heading in ("check", "result", "what it means, or why"):
        table.add_column(heading, overflow="fold")
    for result in results:
        style = _WORDS[result.status][1]
        why = escape(lines(result.why or result.meaning))
        table.add_row(escape(result.name), f"[{style}]{result.status}[/{style}]", why)
    return table
