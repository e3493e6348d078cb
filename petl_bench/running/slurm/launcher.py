"""The SLURM launcher: trials as tasks of job arrays, within the site's limits, watched through their own files.

Whether a trial is done, failed or lost is read from its folder. SLURM is asked only which tasks it still knows, so that
they are waited for and not submitted again; a controller or accounting that is away, slow or wrong does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from petl_bench.api.launcher import AttemptResult, Job, State, Watcher
from petl_bench.api.registry import register_launcher
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.layout import ADAPTER, RECORD, trial_folder
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.execute import ended, ended_without_start, recorded, written
from petl_bench.running.attempts.output import refuse_another
from petl_bench.running.attempts.submissions import submitted_tasks
from petl_bench.running.slurm import queue as slurm_queue
from petl_bench.running.slurm.options import SlurmOptions

#: How long a command that only wants to explain waits for the queue.
_EXPLAIN_WITHIN_S = 3.0
#: A task that SLURM no longer knows counts as lost once it was missed this many times in a row.
_MISSED = 2


@register_launcher("slurm")
class SlurmLauncher(SlurmOptions):
    """Trials on a SLURM cluster, as job arrays sent with submitit. Fields come from a profile (`--profile FILE.toml`).

    The command waits and shows a table; with `--detach` it comes back at once. Either way the same command, typed
    again, recognises what is queued, and picks up what was preempted, timed out, killed or lost. Ctrl-C leaves the jobs
    in the queue; `petl-bench cancel` takes them back.

    A trial on several GPUs is one task: `gpus` in the profile and `--set training.processes=N`.
    """

    def run(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> list[AttemptResult]:
        """Submit what is not queued yet and wait for all of it; see `Launcher.run`."""
        fleet = _Fleet(self, jobs, store, watch)
        try:
            fleet.run()
        except KeyboardInterrupt:
            watch.note(f"the trials stay in SLURM's queue; to take them back: petl-bench cancel --runs {store}")
            raise
        except StoreError:
            watch.note("the trials stay in SLURM's queue, if they are there; without their folder they end at once")
            raise
        return fleet.results()

    def submit(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> None:
        """Submit what is not queued yet, as far as the site takes it; see `Launcher.submit`."""
        fleet = _Fleet(self, jobs, store, watch)
        fleet.adopt()
        left = fleet.submit_ready(together=True)
        if left:
            watch.note(
                f"{left} trials have to wait, for room in the queue or for another trial's adapter; type the same "
                "command again later"
            )

    def script(self, jobs: Sequence[Job], store: Path) -> str:
        """The sbatch script of the first array; see `Launcher.script`."""
        from petl_bench.running.slurm import batch as slurm_batch

        slurm_batch.refuse_unfit_output(store)
        return slurm_batch.script(self, -(-len(jobs) // self.trials_per_job), store)

    def explain(self, tasks: Sequence[str]) -> dict[str, str]:
        """The queue's words; see `Launcher.explain`."""
        try:
            known = slurm_queue.queued(_EXPLAIN_WITHIN_S)
        except slurm_queue.NoAnswer:
            return {}
        return {task: f"SLURM {task}: {known[task]}" for task in tasks if task in known}

    def fitness(self) -> str:
        """Whether SLURM's commands are here and answer; see `Launcher.fitness`."""
        from petl_bench.running.slurm import batch as slurm_batch

        try:
            return f"SLURM answers, arrays of up to {slurm_batch.largest_array()} tasks"
        except UsageError as error:
            return f"not from here ({error})"

    def cancel(self, tasks: Sequence[str]) -> list[str]:
        """scancel those in the queue; see `Launcher.cancel`."""
        known = self.explain(tasks)
        slurm_queue.cancel(list(known))
        return list(known)


@dataclass
class _Open:
    """A trial that has no outcome yet."""

    job: Job
    folder: Path
    task: str = ""  #: its task in the queue; "" if it waits to be submitted
    tries: int = 0  #: submissions in a row that left nothing
    missed: int = 0  #: looks in a row at which SLURM did not know the task
    seen: int = 0  #: the newest attempt before its submission
    kept: Mapping[Path, int] = field(default_factory=dict)  #: what it had `written` before its submission
    shown: bool = False


class _Fleet:
    """The trials of one command on their way through the queue."""

    def __init__(self, launcher: SlurmLauncher, jobs: Sequence[Job], store: Path, watch: Watcher) -> None:
        from petl_bench.running.attempts.snapshot import take_snapshot
        from petl_bench.running.slurm import batch as slurm_batch

        self._batch, self._launcher, self._store, self._watch = slurm_batch, launcher, store, watch
        slurm_batch.refuse_unfit_output(store)
        self._order = list(jobs)
        self._outcomes: dict[str, AttemptResult] = {}
        self._largest_array = slurm_batch.largest_array()
        snapshot = take_snapshot(store, jobs[0].places.plugins)  # the same for all trials of a command
        self._source = snapshot.path
        placed = [replace(job, places=replace(job.places, plugins=tuple(snapshot.plugins))) for job in jobs]
        self._open = {job.trial.key: _Open(job, trial_folder(store, job.trial.key)) for job in placed}
        self._asked, self._output_id = jobs[0].asked, jobs[0].output_id  # the same as well
        self._silent = False

    def run(self) -> None:
        """Until every trial has an outcome."""
        self.adopt()
        self._settle()
        while self._open:
            self.submit_ready(together=False)
            time.sleep(self._launcher.poll_s)
            self._settle()
            self._miss_lost_tasks()

    def results(self) -> list[AttemptResult]:
        """One outcome per job, in the order in which they were given."""
        return [self._outcomes[job.trial.key] for job in self._order]

    def adopt(self) -> None:
        """Recognise trials that an earlier command submitted and that are still in the queue."""
        known = self._queued() or {}
        tasks = self._tasks_of(known)
        for key, trial in self._open.items():
            self._note_before(trial)
            if key in tasks:
                trial.task = tasks[key]
                last = claims.newest(trial.folder)
                trial.seen -= 1 if last is not None and last.ended_at is None else 0
        adopted = sum(bool(trial.task) for trial in self._open.values())
        if adopted:
            self._watch.note(f"{adopted} trials are in the queue already; they are waited for")

    def _tasks_of(self, known: Container[str]) -> dict[str, str]:
        """The task of each trial that is in the queue, unless it was cancelled there: such a task ends without it."""
        cancelled = requests.cancelled_since(self._store, 0)
        return {
            key: task.name
            for task in submitted_tasks(self._store)
            if task.submission.launcher == self._launcher.name and task.name in known
            for key in task.keys
            if key not in cancelled or cancelled[key].number <= task.submission.asked
        }

    def submit_ready(self, together: bool) -> int:
        """Submit what waits and may start, as far as limits allow; returns how many trials still wait.

        `together`: trials that start from another one's adapter go into its task, behind it, since no command will be
        there to submit them later.
        """
        refuse_another(self._store, self._output_id)
        groups = self._groups(together)
        while groups and (room := self._room()) > 0:
            submitted = self._submit(groups[: min(room, self._largest_array)])
            if not submitted:
                break
            groups = groups[submitted:]
        return sum(not trial.task for trial in self._open.values())

    def _submit(self, groups: Sequence[Sequence[_Open]]) -> int:
        """Submit the groups, or the first of them if the site takes no more; how many it took."""
        while groups:
            try:
                jobs = [[trial.job for trial in group] for group in groups]
                handed = self._batch.submit(self._launcher, jobs, self._store, self._source)
            except self._batch.QueueFull as full:
                groups = groups[: len(groups) // 2]
                if not groups and not self._silent:
                    self._silent = True
                    self._watch.note(f"the site takes no more tasks now ({full}); the rest follows as tasks end")
                continue
            for group, task in zip(groups, handed.tasks, strict=True):
                for trial in group:
                    trial.task, trial.missed = task, 0
                    trial.tries += 1
                    self._note_before(trial)
            self._watch.note(f"submitted {handed.job}: {len(groups)} tasks")
            return len(groups)
        return 0

    def _groups(self, together: bool) -> list[list[_Open]]:
        """Trials that wait and may start, in groups for one task each; see `submit_ready`."""
        chains: dict[str, list[_Open]] = {}
        for key, trial in self._open.items():
            start = trial.job.trial.start_from
            if trial.task:
                continue
            if together and start in chains:
                chains[start].append(trial)
            elif not start or (start not in self._open and (trial_folder(self._store, start) / ADAPTER).exists()):
                chains[key] = [trial]
        groups: list[list[_Open]] = []
        for chain in chains.values():
            if groups and len(groups[-1]) + len(chain) <= self._launcher.trials_per_job:
                groups[-1].extend(chain)
            else:
                groups.append(chain)
        return groups

    def _room(self) -> int:
        """How many tasks may still be put into the queue."""
        if self._launcher.max_submitted is None:
            return self._largest_array
        return self._launcher.max_submitted - len({trial.task for trial in self._open.values() if trial.task})

    def _settle(self) -> None:
        """Take in every trial whose folder says how it ended, and those that were cancelled."""
        refuse_another(self._store, self._output_id)
        cancelled = requests.cancelled_since(self._store, self._asked)
        for key, trial in list(self._open.items()):
            last, start = claims.newest(trial.folder), self._outcomes.get(trial.job.trial.start_from)
            if (trial.folder / RECORD).exists():
                self._end(trial, recorded(trial.job, self._store))
            elif key in cancelled:
                self._fail(trial, str(cancelled[key]), "cancelled")
            elif last is None or last.number <= trial.seen:
                if start is not None and start.state != "done":
                    self._end(trial, ended_without_start(trial.job, self._store, start))
            elif last.ended_at is None and not trial.shown:
                trial.shown = True
                self._watch.started(trial.job)
            elif last.outcome == "failed":
                self._fail(trial, f"{last.reason} (on {last.host})")

    def _miss_lost_tasks(self) -> None:
        """Find tasks that left the queue and of which their trials' folders say nothing."""
        known = self._queued()
        if known is None:
            return
        lost = []
        for trial in self._open.values():
            trial.missed = 0 if not trial.task or trial.task in known else trial.missed + 1
            if trial.missed >= _MISSED and not (trial.folder / RECORD).exists():
                last = claims.newest(trial.folder)
                if last is None or not last.alive():
                    lost.append((trial, last))
        if lost:
            words = slurm_queue.last_words(sorted({trial.task for trial, _ in lost}))
            cancelled = requests.cancelled_since(self._store, self._asked)  # what was cancelled since `_settle` too
            for trial, last in lost:
                self._lose(trial, last, words.get(trial.task, ""), cancelled.get(trial.job.trial.key))

    def _lose(
        self, trial: _Open, last: claims.Attempt | None, words: str, cancellation: requests.ControlRequest | None
    ) -> None:
        """A task ended before its trial: submit it again, or give it up if it gets nowhere."""
        reason = str(cancellation or f"SLURM {trial.task} ended{f' ({words})' if words else ''}")
        if last is not None and last.ended_at is None:
            claims.finish(trial.folder, last, "interrupted", reason)
        if last is not None and last.number > trial.seen and self._written(trial).items() - trial.kept.items():
            trial.tries = 0
        if cancellation:
            self._fail(trial, reason, "cancelled")
        elif trial.tries >= self._launcher.attempts:
            self._fail(trial, f"{reason} before it was done; given up after {trial.tries} starts that got nowhere")
        else:
            trial.task, trial.missed, trial.shown = "", 0, False
            self._watch.note(f"{trial.job.trial.title}: {reason} before it was done; submitted again")

    def _note_before(self, trial: _Open) -> None:
        """Remember what there is of a trial before its task works on it."""
        last = claims.newest(trial.folder)
        trial.seen = 0 if last is None else last.number
        trial.kept = self._written(trial)

    def _written(self, trial: _Open) -> dict[Path, int]:
        return written([trial.job], self._store)

    def _fail(self, trial: _Open, reason: str, state: State = "failed") -> None:
        self._end(trial, ended(trial.job, self._store, state, reason))

    def _end(self, trial: _Open, outcome: AttemptResult) -> None:
        self._outcomes[outcome.key] = outcome
        del self._open[outcome.key]
        self._silent = False
        self._watch.finished(trial.job, outcome)

    def _queued(self) -> dict[str, slurm_queue.QueueState] | None:
        """The queue, or None if SLURM does not answer: then nothing is concluded."""
        try:
            return slurm_queue.queued()
        except slurm_queue.NoAnswer as error:
            self._watch.note(f"SLURM does not answer ({error}); waiting for the trials' own files")
            return None
