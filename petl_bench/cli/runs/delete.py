"""`petl-bench runs delete`: what would go, and with --yes, the deed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.options import ALL_WELL, SOME_LEFT, chosen_trials, runs_option, show, tell, trial_filters
from petl_bench.errors import UsageError
from petl_bench.system.words import human, several

if TYPE_CHECKING:
    from petl_bench.managing.deleting import Deletion, What


@click.command(name="delete", short_help="Delete trials, checkpoints or adapters; first shows what would go.")
@click.argument("trials", nargs=-1, metavar="[TRIAL ...]")
@runs_option
@trial_filters
@click.option("--checkpoints", is_flag=True, help="Only checkpoints: trials that were stopped start anew.")
@click.option("--adapters", is_flag=True, help="Only adapters of finished trials; their records and numbers stay.")
@click.option("--yes", is_flag=True, help="Do it. Without it, what would go is shown, and nothing is deleted.")
def delete(trials: tuple[str, ...], runs: Path, checkpoints: bool, adapters: bool, yes: bool, **filters: Any) -> int:
    """Delete the TRIALs named (a key, its beginning, or a title), or those that the filters choose.

    Never deleted: a trial that runs or waits in a queue, and one whose adapter others start from, unless these are
    deleted with it. An adapter goes if all that start from it are done; its record then says that it was not kept.
    Links are not followed. The file of a tuning stays when its trials go. Exit status 1 if something that was chosen
    stays.

    \b
    petl-bench runs delete --methods lora --set lora.rank=4 --state failed
    petl-bench runs delete --methods full_finetune --adapters --yes
    """
    from petl_bench.managing.deleting import deletion
    from petl_bench.managing.selection import select

    if checkpoints and adapters:
        raise UsageError("--checkpoints --adapters: delete one, then the other")
    what: What = "checkpoints" if checkpoints else "adapters" if adapters else "trials"
    known, chosen = chosen_trials(runs, trials, filters)
    if what == "trials" and not chosen:
        raise UsageError(
            "say which trials: by TRIAL, or by filters such as --methods and --state. "
            f"See: petl-bench runs list --runs {runs}"
        )
    found = deletion(runs, known, select(known, chosen, runs), what)
    for trial, why in found.stays:
        tell(f"stays: {trial.name}: {why}")
    if what == "trials":
        _tell_of_tunings(runs, {trial.key for trial in found.goes})
    left = _delete(found) if yes else _show(found)
    return SOME_LEFT if found.stays or left else ALL_WELL


def _tell_of_tunings(runs: Path, keys: set[str]) -> None:
    """Name the tunings whose trials go: the files of tunings stay."""
    from petl_bench.managing.tunings import naming, words
    from petl_bench.records.tunings import read_tunings

    for tuning, count in naming(read_tunings(runs), keys):
        of = f"{several(count)} of the {words(tuning)}"
        tell(f"{of}: its file stays, as the record of what was tried and chosen")


def _show(found: Deletion) -> int:
    show([f"would go: {trial.name}, {trial.state}: {human(found.size(trial))}" for trial in found.goes])
    click.echo(f"{_words(found, len(found.goes))}: {human(found.bytes)} under {found.runs}")
    if found.goes:
        click.echo("nothing was deleted; to do it, add --yes")
    return 0


def _delete(found: Deletion) -> int:
    from petl_bench.managing.deleting import delete

    left = []
    freed = delete(found, lambda trial, why: left.append(f"stays: {trial.name}: {why}"))
    for line in left:
        tell(line)
    click.echo(f"deleted {_words(found, len(found.goes) - len(left))}: {human(freed)} under {found.runs}")
    return len(left)


def _words(found: Deletion, count: int) -> str:
    return several(count) if found.what == "trials" else several(count, found.what.removesuffix("s"))
