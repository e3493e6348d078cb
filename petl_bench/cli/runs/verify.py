"""`petl-bench runs verify`: every record against every file beside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.options import ALL_WELL, SOME_LEFT, plugin_option, runs_option
from petl_bench.system.words import several

if TYPE_CHECKING:
    from petl_bench.records.verify import Verified


@click.command(name="verify", short_help="Compare every record with every file beside it.")
@runs_option
@plugin_option
def verify(runs: Path) -> int:
    """Read every file of every finished trial, and compare it with what was recorded; nothing is written.

    Contents by their sha256, ranks with the scores that they follow from, the metrics with those that the setting makes
    of the predictions. Of tunings, the objectives of proposals with the records of their trials. One line for each
    damaged trial or tuning; exit status 1 if there is one, else 0. Records of earlier versions hold no sha256: of
    theirs, numbers are compared alone.
    """
    from petl_bench.records.judge import how_to_repeat
    from petl_bench.records.verify import verify as verified
    from petl_bench.records.verify import verify_tunings
    from petl_bench.system.texts import clean

    trials, damaged, unknown = 0, [], Counter[str]()
    for found in verified(runs):
        trials += 1
        unknown[found.unknown] += 1
        if found.problems:
            damaged.append(found)
            click.echo(f"damaged: {clean(_line(found))}")
    for reason in filter(None, unknown):
        click.echo(f"{several(unknown[reason])}: {clean(reason)}: accuracies were compared, metrics were not")
    click.echo(
        f"{several(trials, 'finished trial')} under {runs}: {trials - len(damaged)} sound, {len(damaged)} damaged"
    )
    tunings = list(verify_tunings(runs))
    unsound = [found for found in tunings if found.problems]
    for found in unsound:
        click.echo(f"damaged: {clean(_line(found))}")
    if tunings:
        click.echo(f"{several(len(tunings), 'tuning')}: {len(tunings) - len(unsound)} sound, {len(unsound)} damaged")
    if damaged:
        click.echo(clean(how_to_repeat(damaged[0].problems[0].path.parent)))
    return SOME_LEFT if damaged or unsound else ALL_WELL


def _line(found: Verified) -> str:
    first, *others = found.problems
    return "; ".join([str(first), *(f"{each.path.name}: {each.reason}" for each in others)])
