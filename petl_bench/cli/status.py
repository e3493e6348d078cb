"""`petl-bench status`: the state of every trial, and the command that runs the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.options import runs_option
from petl_bench.system import texts
from petl_bench.system.words import several

if TYPE_CHECKING:
    from rich.text import Text

    from petl_bench.managing.status import Survey, TrialStatus

STYLES = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "failed": "bold red",
    "interrupted": "yellow",
    "cancelled": "magenta",
    "missing": "dim",
    "damaged": "bold red",
}


@click.command(name="status")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Everything, one JSON document.")
def command(runs: Path, as_json: bool) -> None:
    """Tell the state of every trial of a folder of runs, from its files; nothing is written.

    running: a living process works on it. queued: a scheduler still knows its job, and says so. failed: its last
    attempt ended with a reason. interrupted: stopped, or its process is gone. cancelled: by petl-bench cancel; it runs
    again only for a new run command. missing: planned by a command, and not started. damaged: its record, or a
    file under its numbers, is not what was recorded; what to type stands beside it. Contents are not read here:
    petl-bench runs verify reads everything.
    """
    from petl_bench.managing.status import survey

    found = survey(runs)
    if as_json:
        click.echo(json.dumps(_values(found), indent=1))
    else:
        _print(found)


def _values(found: Survey) -> dict[str, Any]:
    trials = [{**asdict(trial), "log": None if trial.log is None else str(trial.log)} for trial in found.trials]
    told = {"trials": trials, "commands": found.commands, "tunings": found.tunings}
    return {"runs": str(found.runs), "counts": found.counts, **told}


def _print(found: Survey) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width of its own
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count or state == "done")
    console.print(Text(f"{texts.clean(str(found.runs))}: {several(len(found.trials))}: {counts}"))
    rest = [trial for trial in found.trials if trial.state != "done" or trial.detail]
    if rest:
        console.print(_table(rest), end="")
    logs = [f"log of {trial.title}: {trial.log}" for trial in rest if trial.log and trial.state != "running"]
    if logs:
        console.print(Text("\n".join(map(texts.clean, logs))))
    for line in found.tunings:
        console.print(Text(line))
    for line in found.commands:
        console.print(Text(f"fill the rest with: {line}"))


def _table(trials: list[TrialStatus]) -> Text:
    """Lines of columns. rich's own table takes seconds for thousands of rows."""
    from rich.text import Text

    titles = max(len("trial"), *(len(trial.title) for trial in trials))
    states = max(map(len, STYLES))
    lines: list[tuple[str, str]] = [(f"{'trial':<{titles}}  {'state':<{states}}  why\n", "bold")]
    for trial in trials:
        lines.append((f"{trial.title:<{titles}}  ", ""))
        lines.append((f"{trial.state:<{states}}", STYLES[trial.state]))
        lines.append((f"  {trial.detail}\n", ""))
    return Text.assemble(*lines)
