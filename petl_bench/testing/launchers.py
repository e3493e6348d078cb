"""What every launcher promises: tried on three short trials of a toy method on example clips, and one that fails."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from petl_bench.api.launcher import AttemptResult, Job, Launcher
from petl_bench.api.trial import Progress
from petl_bench.errors import UsageError
from petl_bench.testing.checks import Skipped, Subject, documented, require

T = TypeVar("T")

_TEMPLATES = [str(Path(__file__).parent / "templates" / f"{kind}.py") for kind in ("method", "dataset", "setting")]
_SEEDS = (0, 1, 2)


@dataclass
class _Watch:
    """Remembers what it was told."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def started(self, job: Job) -> None:
        """Keep the key."""
        self.begun.append(job.trial.key)

    def progress(self, job: Job, progress: Progress) -> None:
        """Nothing is kept."""

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        """Keep the key."""
        self.ended.append(job.trial.key)

    def note(self, message: str) -> None:
        """Nothing is kept."""


class LauncherSubject(Subject):
    """A launcher under check, and what came of the jobs that it ran."""

    watch: _Watch

    @cached_property
    def launcher(self) -> Launcher:
        """The launcher with its options at their defaults."""
        found: Launcher = self.create()
        return found

    @cached_property
    def store(self) -> Path:
        """An output folder, which goes when the check is over; here, since a cluster's machines may see no other."""
        self._folder = tempfile.TemporaryDirectory(prefix=".petl-bench-check-", dir=Path.cwd())
        return Path(self._folder.name) / "runs"

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """One job per seed, 2 epochs each; the second one fails, for its weights are not there."""
        from petl_bench.running.attempts.output import prepare_output
        from petl_bench.running.planning.plan import plan
        from petl_bench.running.planning.spec import Spec

        spec = Spec(
            methods=("template_method",),
            setting="template_setting",
            datasets=("template_dataset",),
            seeds=_SEEDS,
            epochs=2,
            device="cpu",
            launcher=self.name,
            plugin=tuple(_TEMPLATES),
            output=str(self.store),
        )
        prepare_output(self.store)
        first, second, *others = plan(spec).jobs
        lost = replace(second.places, weights=self.store / "no_such_weights.safetensors")
        return (first, replace(second, places=lost), *others)

    @cached_property
    def results(self) -> list[AttemptResult]:
        """What came of them. Raises Skipped if nothing can be launched from this machine."""
        self.watch = _Watch()
        return _launched(lambda: self.launcher.run(self.jobs, self.store, self.watch))

    @property
    def states(self) -> list[tuple[str, str, str]]:
        """Key, state and reason of every result."""
        return [(result.key, result.state, result.reason) for result in self.results]


SUBJECT = LauncherSubject


def gives_one_result_per_job(subject: LauncherSubject) -> None:
    """run(jobs) returns one result for each job, in the order of the jobs, under the trial's own key."""
    require(
        [result.key for result in subject.results] == [job.trial.key for job in subject.jobs],
        f"for the trials {[job.trial.key[:8] for job in subject.jobs]} it returns {subject.states}",
    )


def trials_are_done_and_recorded(subject: LauncherSubject) -> None:
    """What can run is done, and its record lies in the output folder."""
    from petl_bench.records.read import load_records

    wanted = [subject.jobs[0].trial.key, subject.jobs[2].trial.key]
    done = [key for key, state, _ in subject.states if state == "done"]
    require(done == wanted, f"these should be done: {wanted}; it returns {subject.states}")
    require(set(load_records(subject.store)["trial"]) == set(wanted), "a trial that it calls done has no record")


def a_failed_trial_stops_no_other(subject: LauncherSubject) -> None:
    """A trial that fails has its reason in its result, and the trials behind it run."""
    _, state, reason = subject.states[1]
    require(state == "failed" and bool(reason.strip()), f"the trial without weights is {state!r}, reason {reason!r}")
    require(subject.states[-1][1] == "done", "the trial behind the failed one did not run")


def done_trials_are_not_repeated(subject: LauncherSubject) -> None:
    """Run again, what is done stays done: no trial runs twice."""
    first, records = subject.results[0], sorted(subject.store.glob("trials/*/record.json"))
    before = [file.read_bytes() for file in records]
    again = _launched(lambda: subject.launcher.run(subject.jobs[:1], subject.store, _Watch()))
    require([(each.key, each.state) for each in again] == [(first.key, "done")], f"run again it returns {again}")
    require(before == [file.read_bytes() for file in records], "a record was written again")


def tells_its_watcher(subject: LauncherSubject) -> None:
    """The watcher is told of every trial that starts and ends."""
    keys = {result.key for result in subject.results}
    require(set(subject.watch.begun) == keys, "watch.started(job) is not called for every trial")
    require(set(subject.watch.ended) == keys, "watch.finished(job, result) is not called for every trial")


def says_whether_it_can_launch(subject: LauncherSubject) -> None:
    """fitness() says in one line whether trials can be launched from this machine."""
    text = subject.launcher.fitness()
    require(isinstance(text, str) and bool(text.strip()) and "\n" not in text, f"fitness() gives {text!r}")


def _launched(run: Callable[[], T]) -> T:
    try:
        return run()
    except UsageError as error:
        raise Skipped(f"nothing can be launched from this machine: {error}") from error


#: In this order; if jobs and results do not fit, the others say nothing.
CHECKS = (
    gives_one_result_per_job,
    documented,
    trials_are_done_and_recorded,
    a_failed_trial_stops_no_other,
    done_trials_are_not_repeated,
    tells_its_watcher,
    says_whether_it_can_launch,
)
