"""`petl-bench runs export`: records as one table, or trials as one tar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from petl_bench.cli.options import ALL_WELL, SOME_LEFT, chosen_trials, plugin_option, runs_option, tell, trial_filters
from petl_bench.errors import UsageError
from petl_bench.system.words import human, several


@click.command(name="export", short_help="Records as one CSV or Parquet file, or trials as one tar.")
@click.argument("trials", nargs=-1, metavar="[TRIAL ...]")
@runs_option
@trial_filters
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="FILE.csv, FILE.parquet (needs pyarrow), FILE.tar or FILE.tar.gz.")  # fmt: skip
@plugin_option
def export(trials: tuple[str, ...], runs: Path, output: Path | None, **filters: Any) -> int:
    """Write the finished trials, or those that are named or chosen by filters, into one FILE.

    .csv, .parquet: a row for each trial and metric, with the columns of `petl_bench.load_records`. .tar, .tar.gz: the
    records and the files that they name, each trial verified before; with them the trials whose adapters they start
    from, and the tunings that they are of or have their values from. `runs merge` reads it. Equal trials give equal
    bytes. Exit status 1 if a trial had to be left out.
    """
    from petl_bench.managing.exporting import format_of, with_sources, write_table, write_tar
    from petl_bench.managing.selection import select

    if output is None:
        raise UsageError("say what to write: --output FILE.csv, FILE.parquet, FILE.tar or FILE.tar.gz")
    kind = format_of(output)
    known, chosen = chosen_trials(runs, trials, filters)
    selected = select(known, chosen, runs)
    unfinished = [trial for trial in selected if trial.state not in ("done", "damaged")]
    if trials and unfinished:
        raise UsageError(f"{unfinished[0].name} is {unfinished[0].state}: there is no record of it to export")
    keys = [trial.key for trial in selected if trial.state in ("done", "damaged")]
    if not keys:
        raise UsageError(f"no finished trial to export. See: petl-bench runs list --runs {runs}")
    if kind == "tar":
        keys = with_sources(runs, keys)
        problems = write_tar(runs, keys, output)
        told = ""
    else:
        rows, problems = write_table(runs, keys, output)
        told = f", {several(rows, 'row')}"
    for problem in problems:
        tell(f"left out: {problem}")
    click.echo(
        f"wrote {several(len(keys) - len(problems))}{told} to {output} ({human(output.stat().st_size)})", err=True
    )
    return SOME_LEFT if problems else ALL_WELL
