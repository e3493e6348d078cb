"""`petl-bench check NAME|FILE.py`: the conformance checks of one method, with the reason of every failure."""

from __future__ import annotations

import sys
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

STYLES = {"pass": "green", "fail": "bold red", "skip": "yellow"}


@click.command(name="check")
@click.argument("method", metavar="NAME|FILE.py")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(method: str, plugins: tuple[Path, ...]) -> int:
    """Run the conformance checks on a registered method, or on every method in a plugin file.

    Exit status 0 where none fails, 1 where one does.
    """
    from petl_bench.testing.checks import methods_in, run_checks

    for path in plugins:
        load_plugin_file(path)
    console = Console(width=None if sys.stdout.isatty() else 110)
    failed = False
    for candidate in methods_in(method):
        results = run_checks(candidate)
        console.print(_table(candidate.name, results))
        failed = failed or any(result.status == "fail" for result in results)
    return int(failed)


def _table(name: str, results: list[CheckResult]) -> Table:
    counts = [f"{sum(r.status == status for r in results)} {word}" for status, word in _WORDS.items()]
    table = Table(title=f"{escape(name)}: {', '.join(counts)}", title_justify="left", title_style="bold")
    for heading in ("check", "result", "what it means, or why"):
        table.add_column(heading, overflow="fold")
    for result in results:
        style = STYLES[result.status]
        why = escape(lines(result.why or result.meaning))
        table.add_row(escape(result.name), f"[{style}]{result.status}[/{style}]", why)
    return table


_WORDS = {"pass": "passed", "fail": "failed", "skip": "skipped"}
