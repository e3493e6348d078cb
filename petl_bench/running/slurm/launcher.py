"""The SLURM launcher: trials as tasks of job arrays, within the site's limits, watched through their own files.

Whether a trial is done, failed or lost is read from its folder. SLURM is asked only which tasks it still knows, so that
they are waited for and not submitted again; a controller or accounting that is away, slow or wrong does no harm.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from petl_bench.api.launcher import AttemptResult, Job, Launcher, State, Watcher
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_launcher
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.layout import ADAPTER, LOG, RECORD, UNFINISHED, trial_folder
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.execute import recorded
from petl_bench.running.attempts.folder_identity import refuse_another
from petl_bench.running.slurm import queue as slurm_queue
from petl_bench.running.slurm.submissions import Submission, read_submissions

#: How long a command that only wants to explain waits for the queue.
_EXPLAIN_WITHIN_S = 3.0
#: A task that SLURM no longer knows counts as lost once it was missed this many times in a row.
_MISSED = 2


@register_launcher("slurm")
class SlurmLauncher(Launcher):
    """Trials on a SLURM cluster, as job arrays sent with submitit. Fields come from a profile (`--profile FILE.toml`).

    The command waits and shows a table; with `--detach` it comes back at once. Either way the same command, typed
    again, recognises what is queued, and picks up what was preempted, timed out, killed or lost. Ctrl-C leaves the jobs
    in the queue; `petl-bench cancel` takes them back.

    A trial on several GPUs is one task: `gpus` in the profile and `--set training.processes=N`.
    """

    partition: str | None = hyper(None, "partition; none: the site's default")
    account: str | None = hyper(None, "account that is charged")
    qos: str | None = hyper(None, "quality of service")
    time_min: int = hyper(
        240, "time limit of a task; a trial that needs longer goes on in the next one", minimum=1, unit="minutes"
    )
    gpus: int = hyper(0, "GPUs of a task", minimum=0)
    cpus: int = hyper(4, "CPUs of a task", minimum=1)
    memory_gb: float | None = hyper(None, "memory of a task; none: the site's default", minimum=0.1, unit="GiB")
    constraint: str | None = hyper(None, "node features, as in sbatch --constraint")
    exclude: str | None = hyper(None, "nodes that are left out")
    setup: tuple[str, ...] = hyper((), "shell lines before the trials start (module load, ...)")
    extra: tuple[str, ...] = hyper((), "further options of sbatch, NAME=VALUE; in a profile the table [extra]")
    array_parallelism: int = hyper(64, "tasks of one array that run at the same time", minimum=1)
    trials_per_job: int = hyper(1, "trials in one task", minimum=1)
    grace_s: int = hyper(90, "warning before the time limit, to write a checkpoint", minimum=10, unit="seconds")
    attempts: int = hyper(5, "starts of a trial without getting on until it is given up", minimum=1)
    max_submitted: int | None = hyper(None, "tasks in the queue at once; none: what the site takes", minimum=1)
    poll_s: float = hyper(10.0, "seconds between looks at files and queue", minimum=0.1, unit="seconds")

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
            return f"SLURM answers, arrays of up to {slurm_batch.look_at_site().largest_array} tasks"
        except UsageError as error:
            return f"not from here ({error})"

    def cancel(self, tasks: Sequence[str]) -> list[str]:
        """scancel those in the queue; see `Launcher.cancel`."""
        known = self.explain(tasks)
        slurm_queue.cancel(list(known))
        return list(known)

    def sbatch_options(self) -> Mapping[str, str | bool]:
        """The fields of `extra` by name; one without a value is a switch."""
        pairs = (text.partition("=") for text in self.extra)
        return {name: (value if equals and value.lower() != "true" else True) for name, equals, value in pairs}


@dataclass
class _Open:
    """A trial that has no outcome yet."""

    job: Job
    folder: Path
    task: str = ""  #: its task in the queue; "" where it waits to be submitted
    tries: int = 0  #: submissions in a row that left nothing
    missed: int = 0  #: looks in a row at which SLURM did not know the task
    seen: int = 0  #: the newest attempt before its submission
    #: when the files that it goes on from were written before its submission, 0 for those that were not there
    kept: tuple[int, ...] = (0,) * len(UNFINISHED)
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
        self._site = slurm_batch.look_at_site()
        plugins = jobs[0].places.plugins  # the same for all trials of a command
        snapshot = take_snapshot(store, plugins)
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
        places = self._places_of(known)
        for key, trial in self._open.items():
            self._note_before(trial)
            if key in places:
                trial.task = places[key]
                last = claims.newest(trial.folder)
                trial.seen -= 1 if last is not None and last.ended_at is None else 0
        adopted = sum(bool(trial.task) for trial in self._open.values())
        if adopted:
            self._watch.note(f"{adopted} trials are in the queue already; they are waited for")

    def _places_of(self, known: Container[str]) -> dict[str, str]:
        """The task of each trial that is in the queue, unless it was cancelled there: such a task ends without it."""
        cancelled = requests.cancelled_since(self._store, 0)
        return {
            key: task
            for submission in read_submissions(self._store)
            if submission.launcher == self._launcher.name
            for task, keys in submission.tasks.items()
            if task in known
            for key in keys
            if key not in cancelled or cancelled[key].number <= submission.asked
        }

    def submit_ready(self, together: bool) -> int:
        """Submit what waits and may start, as far as limits allow; returns how many trials still wait.

        `together`: trials that start from another one's adapter go into its task, behind it, since nobody will be there
        to submit them later.
        """
        refuse_another(self._store, self._output_id)
        groups = deque(self._groups(together))
        while groups and (room := self._room()) > 0:
            size = min(room, self._site.largest_array, len(groups))
            if not self._submit(groups, size):
                break
        return sum(not trial.task for trial in self._open.values())

    def _submit(self, groups: deque[list[_Open]], size: int) -> bool:
        """Submit the first `size` groups, or fewer where the site takes no more; False where it takes none."""
        while size:
            part = [groups[index] for index in range(size)]
            try:
                handed = self._batch.submit(
                    self._launcher, [[trial.job for trial in group] for group in part], self._store, self._source
                )
            except self._batch.QueueFull as full:
                size //= 2
                if not size and not self._silent:
                    self._silent = True
                    self._watch.note(f"the site takes no more tasks now ({full}); the rest follows as tasks end")
                continue
            self._take_in(part, handed)
            for _ in part:
                groups.popleft()
            return True
        return False

    def _take_in(self, groups: Sequence[Sequence[_Open]], handed: Submission) -> None:
        for group, task in zip(groups, handed.tasks, strict=True):
            for trial in group:
                trial.task, trial.missed = task, 0
                trial.tries += 1
                self._note_before(trial)
        self._watch.note(f"submitted {handed.job}: {len(groups)} tasks")

    def _groups(self, together: bool) -> list[list[_Open]]:
        """Trials that wait, in groups for one task each."""
        waiting = [trial for trial in self._open.values() if not trial.task]
        if together:
            return self._chains(waiting)
        ready = [trial for trial in waiting if self._may_start(trial)]
        size = self._launcher.trials_per_job
        return [ready[start : start + size] for start in range(0, len(ready), size)]

    def _chains(self, waiting: Sequence[_Open]) -> list[list[_Open]]:
        chains: dict[str, list[_Open]] = {}
        for trial in waiting:
            start = trial.job.trial.start_from
            if start in chains:
                chains[start].append(trial)
            elif self._may_start(trial):
                chains[trial.job.trial.key] = [trial]
        size = self._launcher.trials_per_job
        groups: list[list[_Open]] = []
        for chain in chains.values():
            if groups and len(groups[-1]) + len(chain) <= size:
                groups[-1].extend(chain)
            else:
                groups.append(list(chain))
        return groups

    def _may_start(self, trial: _Open) -> bool:
        start = trial.job.trial.start_from
        return not start or (start not in self._open and (trial_folder(self._store, start) / ADAPTER).exists())

    def _room(self) -> int:
        """How many tasks may still be put into the queue."""
        if self._launcher.max_submitted is None:
            return self._site.largest_array
        return self._launcher.max_submitted - len({trial.task for trial in self._open.values() if trial.task})

    # ---------------------------------------------------------------- what became of them

    def _settle(self) -> None:
        """Take in every trial whose folder says how it ended, and those that were cancelled."""
        refuse_another(self._store, self._output_id)
        cancelled = self._cancelled()
        for key, trial in list(self._open.items()):
            if (trial.folder / RECORD).exists():
                self._end(key, recorded(trial.job, self._store))
                continue
            last = claims.newest(trial.folder)
            if key in cancelled:
                self._fail(key, str(cancelled[key]), "cancelled")
            elif last is None or last.number <= trial.seen:
                self._go_with_start(key, trial)
            elif last.ended_at is None and not trial.shown:
                trial.shown = True
                self._watch.started(trial.job)
            elif last.outcome == "failed":
                self._fail(key, f"{last.reason} (on {last.host})")

    def _cancelled(self) -> dict[str, requests.ControlRequest]:
        return requests.cancelled_since(self._store, self._asked)

    def _go_with_start(self, key: str, trial: _Open) -> None:
        """End a trial with the one that it starts from, if that left no adapter."""
        start = self._outcomes.get(trial.job.trial.start_from)
        if start is None or start.state == "done":
            return
        how = "was cancelled" if start.state == "cancelled" else "failed"
        reason = f"the trial whose adapter it starts from {how}: {start.title}: {start.reason}"
        self._fail(key, reason, "failed" if how == "failed" else "interrupted")

    def _miss_lost_tasks(self) -> None:
        """Find tasks that left the queue without a word in their trials' folders."""
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
            cancelled = self._cancelled()  # once more: what was cancelled just now is not submitted again
            for trial, last in lost:
                self._lose(trial, last, words.get(trial.task, ""), cancelled.get(trial.job.trial.key))

    def _lose(
        self, trial: _Open, last: claims.Attempt | None, words: str, cancellation: requests.ControlRequest | None
    ) -> None:
        """A task ended before its trial: submit it again, or give it up where it gets nowhere."""
        key, reason = trial.job.trial.key, f"SLURM {trial.task} ended{f' ({words})' if words else ''}"
        if cancellation:
            reason = str(cancellation)
        if last is not None and last.ended_at is None:
            claims.finish(trial.folder, last, "interrupted", reason)
        if self._got_on(trial, last):
            trial.tries = 0
        if cancellation:
            self._fail(key, reason, "cancelled")
        elif trial.tries >= self._launcher.attempts:
            self._fail(key, f"{reason} before it was done; given up after {trial.tries} starts that got nowhere")
        else:
            trial.task, trial.missed, trial.shown = "", 0, False
            self._watch.note(f"{trial.job.trial.title}: {reason} before it was done; submitted again")

    def _note_before(self, trial: _Open) -> None:
        """Remember what there is of a trial before its task works on it."""
        last = claims.newest(trial.folder)
        trial.seen = 0 if last is None else last.number
        trial.kept = _kept(trial.folder)

    def _got_on(self, trial: _Open, last: claims.Attempt | None) -> bool:
        """Whether the lost task left more to go on from."""
        if last is None or last.number <= trial.seen:
            return False
        return any(now and now != before for now, before in zip(_kept(trial.folder), trial.kept, strict=True))

    def _fail(self, key: str, reason: str, state: State = "failed") -> None:
        trial = self._open[key]
        title = trial.job.trial.title
        self._end(key, AttemptResult(key=key, title=title, state=state, reason=reason, log=trial.folder / LOG))

    def _end(self, key: str, outcome: AttemptResult) -> None:
        trial = self._open.pop(key)
        self._outcomes[key] = outcome
        self._silent = False
        self._watch.finished(trial.job, outcome)

    def _queued(self) -> dict[str, slurm_queue.QueueState] | None:
        """The queue, or None where SLURM does not answer: then nothing is concluded."""
        try:
            return slurm_queue.queued()
        except slurm_queue.NoAnswer as error:
            self._watch.note(f"SLURM does not answer ({error}); waiting for the trials' own files")
            return None


def _kept(folder: Path) -> tuple[int, ...]:
    """When each file that an unfinished trial goes on from was written, see `_written_at`."""
    return tuple(_written_at(folder / name) for name in UNFINISHED)


def _written_at(path: Path) -> int:
    """A stamp that changes when the file is written again; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
