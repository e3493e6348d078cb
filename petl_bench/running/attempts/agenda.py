"""What is still to do in one run: jobs to start, jobs that another process holds, and how each one ended."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from petl_bench.api.launcher import AttemptResult, Job, Watcher
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.execute import ended, ended_without_start, recorded

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
        self._failed_trackers: set[str] = set()  # that were told

    def next(self) -> Job | None:
        """The next job to start now, or None if there is none (yet)."""
        self._look_at_others()
        for _ in range(len(self.pending)):
            job = self.pending.popleft()
            start = self.outcomes.get(job.trial.start_from)
            if start is None and job.trial.start_from in self._keys:  # which is still to be done
                self.pending.append(job)
            elif start is not None and start.state != "done":
                self.settle(job, ended_without_start(job, self.store, start))
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
        self._tell_trackers(outcome)
        self.watch.finished(job, outcome)

    def _tell_trackers(self, outcome: AttemptResult) -> None:
        """Say once of each tracker that it failed."""
        for name in outcome.failed_trackers.keys() - self._failed_trackers:
            self._failed_trackers.add(name)
            self.watch.note(f"tracker {name} is left out, trials go on without it: {outcome.failed_trackers[name]}")

    def worker_died(self, job: Job, reason: str) -> None:
        """The process that ran the job died: try again, or give the trial up."""
        if self.tries[job.trial.key] < self.attempts:
            self.watch.note(f"{job.trial.title}: {reason}; trying again")
            self.pending.append(job)
            return
        self.settle(job, ended(job, self.store, "failed", reason))

    def results(self) -> list[AttemptResult]:
        """One outcome per job, in the order in which they were given."""
        return [self.outcomes[job.trial.key] for job in self.order]

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
            reason = f"{last.reason} (in another run, on {last.host})"
            self.settle(job, ended(job, self.store, "failed", reason))
        else:
            self.pending.append(job)
