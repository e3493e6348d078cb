"""`petl-bench run`: from flags or a spec file to finished records and a table. Nothing done is done twice."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.run_options import run_options
from petl_bench.errors import PetlBenchError, PluginError
from petl_bench.system.texts import lines
from petl_bench.system.words import several

if TYPE_CHECKING:
    from petl_bench.api.launcher import AttemptResult, Job, Launcher
    from petl_bench.api.trial import Progress
    from petl_bench.running.planning.plan import Plan
    from petl_bench.running.planning.spec import Spec

#: One exit status per ending, as everywhere in petl-bench.
ALL_DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130


@click.command(name="run")
@run_options()
def command(spec: Path | None, dry_run: bool, detach: bool, **flags: Any) -> int:
    """Train and evaluate methods in a setting, and print the table.

    Trials that have a record are not run again; a trial that was stopped goes on from its checkpoint.

    Example: petl-bench run --methods msta,lora --setting base2novel
    """
    from petl_bench.api.launcher import Launcher
    from petl_bench.data.loading.clip_cache import ClipCache
    from petl_bench.running.attempts.output import check_output, refuse_unprintable_output
    from petl_bench.running.planning.plan import plan
    from petl_bench.running.planning.plan_text import plan_lines
    from petl_bench.running.planning.spec import read_spec
    from petl_bench.system.cache import cache_folder

    asked = read_spec(flags, spec)
    refuse_unprintable_output(Path(asked.output))
    with telling_what_takes_time():
        planned = plan(asked, rehearsal=dry_run)
        if not dry_run:
            ClipCache(cache_folder() / "clips").look()
    launcher = launcher_of(planned.spec)
    for line in (*planned.notes, *(f"warning: {warning}" for warning in planned.warnings)):
        tell(line)
    if detach and planned.to_do and type(launcher).submit is Launcher.submit:
        launcher.submit((), planned.output, _Telling())  # which says that it cannot
    if dry_run:
        check_output(planned.output)
        click.echo(lines("\n".join(plan_lines(planned))))
        if script := launcher.script(planned.to_do, planned.output):
            click.echo(f"\n{script}")
        return ALL_DONE
    return run_plan(planned, launcher, detach)


def run_plan(plan: Plan, launcher: Launcher, detach: bool = False) -> int:
    """Run a plan to its end and show the tables of its cases; the exit status."""
    from petl_bench.running.planning.adapters import let_go_after

    plan = begin(plan)
    damaged = len(plan.standing.refused)
    refused = f", {damaged} refused, for what is recorded is damaged" if damaged else ""
    tell(f"{several(len(plan.jobs))}: {len(plan.done)} done, {len(plan.to_do)} to run into {plan.output}{refused}")
    if detach and plan.to_do:
        launcher.submit(plan.to_do, plan.output, _Telling())
        tell(f"where they stand: {shlex.join(['petl-bench', 'status', '--runs', str(plan.output)])}")
        tell(f"table, when they are done: {plan.spec.command()}")
        return ALL_DONE
    try:
        with termination_as_interrupt():
            outcomes = launch(launcher, plan)
    except KeyboardInterrupt:
        tell(f"interrupted; what is done is kept. Go on with: {plan.spec.command()}")
        return INTERRUPTED
    for line in let_go_after(plan):
        tell(line)
    tables = _tables(plan)
    if any(outcome.state == "done" for outcome in outcomes):
        for table in tables:
            _show_table(plan, table)
    return _summary(plan, outcomes, tables)


def begin(plan: Plan, command: str = "") -> Plan:
    """Make the output folder ready and remember the plan, with the command that asks for it if that is not of its spec;
    the plan to launch."""
    from petl_bench.running.attempts.output import move_aside, prepare_output
    from petl_bench.running.planning.saved_plans import save_plan
    from petl_bench.running.planning.standing import Standing

    prepare_output(plan.output)
    if plan.spec.force:
        moved = move_aside(plan.output, plan.jobs)
        plan = replace(plan, standing=Standing())
        tell(f"{moved} records moved aside to {plan.output / 'replaced'}")
    _make_way(plan)
    save_plan(plan, command)
    return _ask_for(plan)


def _tables(plan: Plan) -> list[str]:
    """The tables that show the cases of a plan, of those that are installed."""
    from petl_bench.api.registry import SETTINGS, TABLES

    settings = {job.trial.setting: SETTINGS.get(job.trial.setting)() for job in plan.jobs}
    tables = dict.fromkeys(settings[job.trial.setting].table_of(job.trial.case) for job in plan.jobs)
    return [table for table in tables if table in TABLES.names()]


def _ask_for(plan: Plan) -> Plan:
    """The plan with jobs that later cancellations reach, and that are for this very folder; earlier ones are lifted."""
    from petl_bench.running.attempts.output import identify
    from petl_bench.running.attempts.requests import ask_for

    asked, lifted = ask_for(plan.output, {job.trial.key for job in plan.to_do})
    if lifted:
        newest = max(lifted.values(), key=lambda request: request.number)
        tell(f"{len(lifted)} trials were {newest}; this command asks for them again")
    identity = identify(plan.output)
    return replace(plan, jobs=tuple(replace(job, asked=asked, output_id=identity) for job in plan.jobs))


def _make_way(plan: Plan) -> None:
    """Move aside the folders of trials that adapt again, because others start from an adapter that is lost."""
    from petl_bench.records.judge import adapter_fault
    from petl_bench.records.layout import trial_folder
    from petl_bench.running.attempts.output import move_aside

    lost = [job for job in plan.jobs if job.trial.key in plan.standing.to_adapt]
    # Looked at once more: another command may have made the adapter anew since.
    again = [job for job in lost if adapter_fault(trial_folder(plan.output, job.trial.key))]
    move_aside(plan.output, again)
    for job in again:
        tell(
            f"{job.trial.title} trains again, for others start from its adapter: "
            f"{plan.standing.to_adapt[job.trial.key]}. Its folder was moved aside to {plan.output / 'replaced'}"
        )


def launcher_of(spec: Spec) -> Launcher:
    """The launcher with the fields of its profile: a path, or the name of one that ships."""
    from petl_bench.api.registry import LAUNCHERS
    from petl_bench.api.values.fields import refuse_unknown
    from petl_bench.running.planning.profiles import profile_values

    plugin: type[Launcher] = LAUNCHERS.get(spec.launcher)
    values = profile_values(spec.profile) if spec.profile else {}
    refuse_unknown(values, plugin, f"key in --profile {spec.profile}", f"petl-bench show {spec.launcher}")
    return plugin(**values if spec.workers is None else {**values, "workers": spec.workers})


def launch(launcher: Launcher, plan: Plan) -> list[AttemptResult]:
    """Run what has no record; take the others as they are recorded."""
    from petl_bench.running.attempts.execute import ended, recorded
    from petl_bench.running.local.display import watching

    jobs, reasons = {job.trial.key: job for job in plan.jobs}, plan.standing.refused
    before = [recorded(job, plan.output) for key, job in jobs.items() if key in plan.done]
    before += [ended(job, plan.output, "failed", reasons[key]) for key, job in jobs.items() if key in reasons]
    if not plan.to_do:
        return before
    with watching(len(plan.to_do)) as watch:
        outcomes = launcher.run(plan.to_do, plan.output, watch)
    if len(outcomes) != len(plan.to_do):
        raise PluginError(
            f"{type(launcher).__name__}.run() returned {len(outcomes)} outcomes for {len(plan.to_do)} jobs; it must "
            "return one for each"
        )
    return [*before, *outcomes]


def _summary(plan: Plan, outcomes: list[AttemptResult], tables: list[str]) -> int:
    failed = [outcome for outcome in outcomes if outcome.state != "done"]
    tell(f"records: {plan.output / 'trials'}")
    for table in tables:
        plugins = [word for file in plan.spec.plugin for word in ("--plugin", file)]
        words = ["petl-bench", "report", "--runs", str(plan.output), *plugins, "--table", table]
        tell(f"table:   {shlex.join(words)}")
    if not failed:
        return ALL_DONE
    states = {outcome.state for outcome in failed}
    what = {"failed": "failed", "cancelled": "were cancelled"}.get(" ".join(states), "failed or were stopped")
    tell(f"{len(failed)} of {len(plan.jobs)} trials {what}:")
    for outcome in failed:
        tell(f"  {outcome.title}: {outcome.reason}")
        tell(f"    log: {outcome.log}")
    tell(f"try them again with: {plan.spec.command()}")
    return SOME_FAILED


def _show_table(plan: Plan, table: str) -> None:
    """Print a table as `petl-bench report` does."""
    from petl_bench.cli import report

    try:
        click.get_current_context().invoke(report.command, folders=(plan.output,), name=table)
    except PetlBenchError as error:
        # The trials are what was asked for first: their summary and exit status follow all the same.
        tell(f"no table: {error}")


@contextmanager
def telling_what_takes_time() -> Iterator[None]:
    """Show what planning logs, such as a data set that is rendered first."""
    handler, ours = logging.StreamHandler(sys.stderr), logging.getLogger("petl_bench")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(logging.NOTSET)


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """A polite kill (SIGTERM, from a scheduler or the system) stops a run as cleanly as Ctrl-C."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Telling:
    """A watcher of trials that are only handed over: notes, and nothing else happens."""

    def started(self, job: Job) -> None:
        return

    def progress(self, job: Job, progress: Progress) -> None:
        return

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        return

    def note(self, message: str) -> None:
        tell(message)


def tell(line: str) -> None:
    """One line on standard error, made safe to show."""
    click.echo(lines(line), err=True)
    sys.stderr.flush()
