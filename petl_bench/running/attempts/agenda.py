"""What is still to do in one run: jobs to start, jobs that another process holds, and how each one ended."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from petl_bench.api.launcher import AttemptResult, Job, State, Watcher
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.execute import LOG, recorded

#: How often to look whether another process has finished a trial that this run waits for.
LOOK_EVERY_S = 1.0


class Agenda:
    """The jobs of one run. A trial that another process holds is waited for and its record used: nothing runs twice.

    A trial that starts from another one's adapter waits for that one, and fails or is put off with it. One that was
    stopped on request is not taken up again.
    """

    def __init__(self, jobs: Sequence[Job], store: Path, watch: Watcher, attempts: int) -> None:
        self.store, self.watch, self.attempts = store, watch, attempts
        self.order = list(jobs)
        self.pending = deque(jobs)
        self.waiting: list[Job] = []
        self.outcomes: dict[str, AttemptResult] = {}
        self.tries: Counter[str] = Counter()
        self._keys = {job.trial.key for job in jobs}
        self._looked_at = 0.0

    def next(self) -> Job | None:
        """The next job to start now, or None where there is none (yet)."""
        self._look_at_others()
        for _ in range(len(self.pending)):
            job = self.pending.popleft()
            if self._must_wait(job):
                self.pending.append(job)
            elif self._start_failed(job):
                self._go_without(job, self.outcomes[job.trial.start_from])
            else:
                self.tries[job.trial.key] += 1
                return job
        return None

    def settle(self, job: Job, outcome: AttemptResult) -> None:
        """Take in how an attempt ended."""
        if outcome.state == "elsewhere":
            self.waiting.append(job)
        else:
            self.outcomes[outcome.key] = outcome
        self.watch.finished(job, outcome)

    def worker_died(self, job: Job, reason: str) -> None:
        """The process that ran the job died: try again, or give the trial up."""
        if self.tries[job.trial.key] < self.attempts:
            self.watch.note(f"{job.trial.title}: {reason}; trying again")
            self.pending.append(job)
            return
        self._end(job, "failed", reason)

    def results(self) -> list[AttemptResult]:
        """One outcome per job, in the order in which they were given."""
        return [self.outcomes[job.trial.key] for job in self.order]

    def _must_wait(self, job: Job) -> bool:
        """Whether the trial that it starts from has still to be done in this run."""
        start = job.trial.start_from
        return start in self._keys and start not in self.outcomes

    def _start_failed(self, job: Job) -> bool:
        start = self.outcomes.get(job.trial.start_from)
        return start is not None and start.state != "done"

    def _go_without(self, job: Job, start: AttemptResult) -> None:
        """The trial that it starts from has no adapter for it."""
        how = {"interrupted": "was stopped", "cancelled": "was cancelled"}.get(start.state, "failed")
        state: State = "failed" if how == "failed" else "interrupted"
        self._end(job, state, f"the trial whose adapter it starts from {how}: {start.title}: {start.reason}")

    def _end(self, job: Job, state: State, reason: str) -> None:
        log = trial_folder(self.store, job.trial.key) / LOG
        self.settle(job, AttemptResult(key=job.trial.key, title=job.trial.title, state=state, reason=reason, log=log))

    def _look_at_others(self) -> None:
        if not self.waiting or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        waiting, self.waiting = self.waiting, []
        for job in waiting:
            self._look_at(job)

    def _look_at(self, job: Job) -> None:
        folder = trial_folder(self.store, job.trial.key)
        if (folder / RECORD).exists():
            self.settle(job, recorded(job, self.store))
            return
        last = claims.newest(folder)
        if last is not None and claims.may_be_alive(folder, last):
            self.waiting.append(job)
        elif last is not None and last.outcome == "failed":
            self._end(job, "failed", f"{last.reason} (in another run, on {last.host})")
        else:
            self.pending.append(job)
