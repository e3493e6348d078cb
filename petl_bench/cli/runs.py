"""`petl-bench runs`: folders of runs as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from petl_bench.record_verify import Verified

ALL_SOUND, SOME_DAMAGED = 0, 1


@click.group(name="runs")
def command() -> None:
    """Look after folders of runs."""


@command.command(name="verify", short_help="Compare every record with every file beside it.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, metavar="DIR",
              help="The folder that `run --output` wrote to.")  # fmt: skip
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def verify(runs: Path, plugins: tuple[Path, ...]) -> int:
    """Read every file of every finished trial, and compare it with what was recorded; nothing is written.

    Contents by their sha256, ranks with the scores that they follow from, the metrics with those that the setting makes
    of the predictions. One line for each damaged trial; exit status 1 if there is one, else 0. Records of earlier
    versions hold no sha256: of theirs, numbers are compared alone.
    """
    from petl_bench.record_judge import how_to_repeat
    from petl_bench.record_verify import verify as verified
    from petl_bench.registry import load_plugin_file
    from petl_bench.render import clean

    for path in plugins:
        load_plugin_file(path)
    trials, damaged, unknown = 0, [], Counter[str]()
    for found in verified(runs):
        trials += 1
        unknown[found.unknown] += 1
        if found.problems:
            damaged.append(found)
            click.echo(f"damaged: {clean(_line(found))}")
    for reason in filter(None, unknown):
        click.echo(f"{unknown[reason]} trials: {clean(reason)}: their accuracies were compared, their metrics were not")
    click.echo(f"{trials} finished trials under {runs}: {trials - len(damaged)} sound, {len(damaged)} damaged")
    if damaged:
        click.echo(clean(how_to_repeat(damaged[0].problems[0].path.parent)))
    return SOME_DAMAGED if damaged else ALL_SOUND


def _line(found: Verified) -> str:
    first, *others = found.problems
    return "; ".join([str(first), *(f"{each.path.name}: {each.reason}" for each in others)])
