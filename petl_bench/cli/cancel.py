"""`petl-bench cancel`: take the trials of a folder of runs back, wherever they wait or run."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.options import runs_option
from petl_bench.system import texts
from petl_bench.system.words import several

if TYPE_CHECKING:
    from collections.abc import Iterable

    from petl_bench.running.attempts.submissions import SubmittedTask


@click.command(name="cancel")
@click.argument("trials", nargs=-1, metavar="[TRIAL ...]")
@runs_option
@click.option("--whole-tasks", is_flag=True, help="Also the other trials that share a job's task with those named.")
def command(trials: tuple[str, ...], runs: Path, whole_tasks: bool) -> None:
    """Cancel this folder's unfinished trials, or the TRIALs named (a key, its beginning, or a title).

    Their jobs are taken back from the scheduler; trials that run without one stop within seconds; commands that wait
    for them do not submit them again. Records and checkpoints stay. A cancelled trial runs again only if a `run`
    command that asks for it is started after that. Jobs of other users and of other folders are left alone.
    """
    from petl_bench.managing.cancelling import cancel
    from petl_bench.managing.lookup import find_trial, titles
    from petl_bench.running.attempts.claims import HEARTBEAT_EVERY_S

    known = {key: texts.name(title) for key, title in titles(runs).items()}
    wanted = {find_trial(known, trial, runs) for trial in trials} if trials else set(known)
    done = cancel(runs, known, wanted, whole_tasks or not trials)
    for line in _lines(done.tasks):
        click.echo(f"cancelled {line}")
    for line in _lines(done.too_late):
        click.echo(f"ended before it could be cancelled: {line}")
    for line in _lines(done.of_others):
        click.echo(f"left alone: {line}: submitted by another user, who can cancel it")
    for key, attempt in done.processes.items():
        click.echo(
            f"cancelled {known[key]}: it runs on {attempt.host}, process {attempt.pid}, and stops within about "
            f"{HEARTBEAT_EVERY_S:.0f} s"
        )
    if done.elsewhere:
        click.echo(f"cancelled {several(len(done.elsewhere))} that no scheduler and no process had")
    if done.trials:
        again = shlex.join(["petl-bench", "status", "--runs", str(runs)])
        click.echo(f"they run again only if that is asked for; the command: {again}")
    else:
        click.echo(f"nothing was cancelled: {'these trials have' if trials else 'every trial has'} a record")


def _lines(tasks: Iterable[SubmittedTask]) -> list[str]:
    """One line for each job: its name, and how many tasks and trials it stands for."""
    counted: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for task in tasks:
        job = f"{task.submission.launcher} {task.submission.job}"
        counted[job] += 1
        held[job] += len(task.keys)
    return [f"{job}: {several(count, 'task')}, {several(held[job], 'trial')}" for job, count in counted.items()]
