"""`petl-bench runs merge`: the finished trials of several people in one folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from petl_bench.cli.options import ALL_WELL, SOME_LEFT, plugin_option, tell
from petl_bench.errors import UsageError
from petl_bench.system.words import several


@click.command(name="merge", short_help="Bring finished trials of other folders or tars into one folder.")
@click.argument("sources", nargs=-1, metavar="FROM ...", type=click.Path(path_type=Path, exists=True))
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="The folder of runs that they go to.")
@plugin_option
def merge(sources: tuple[Path, ...], into: Path | None) -> int:
    """Copy the finished trials of FROM, folders of runs or tars made by `runs export`, into the folder DIR.

    Only the record and the files that it names come along, and each trial is verified before it gets its place. A trial
    that DIR has with the same numbers is skipped. One that it has with other numbers is named, and both stay where they
    are; so is one that is damaged. Then the exit status is 1. Tunings come along too: one that DIR has already is
    replaced by a copy that goes on from it. May be repeated.
    """
    from petl_bench.managing.merging import merge as merged
    from petl_bench.managing.merging import prepare
    from petl_bench.managing.tunings import merge_tunings

    if into is None or not sources:
        raise UsageError("say what to merge and where to: petl-bench runs merge FROM ... --into DIR")
    prepare(into)
    counts: Counter[str] = Counter()
    tunings: Counter[str] = Counter()
    for source in sources:
        before = counts.total()
        for found in merged(source, into):
            counts[found.result] += 1
            if found.why:
                tell(f"{found.result}: {source}: {found.title}: {found.why}")
        if counts.total() == before:
            tell(f"{source}: no finished trial in it")
        for result, title, why in merge_tunings(source, into):
            tunings[result] += 1
            if why:
                tell(f"{result}: {source}: {title}: {why}")
    left, tunings_left = map(_left, (counts, tunings))
    click.echo(
        f"{several(counts['brought'])} brought into {into}, {counts['equal']} were there already"
        f"{f'; {left} not brought' if left else ''}"
    )
    if tunings:
        click.echo(
            f"{several(tunings['brought'], 'tuning')} brought, {tunings['equal']} were there already"
            f"{f'; {tunings_left} not brought' if tunings_left else ''}"
        )
    return SOME_LEFT if left or tunings_left else ALL_WELL


def _left(counts: Counter[str]) -> int:
    return counts["unequal"] + counts["damaged"] + counts["held"]
