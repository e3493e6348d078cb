"""A folder of runs with finished and unfinished trials of the toy world, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from petl_bench.api.launcher import Job
from petl_bench.cli import cli
from petl_bench.records.judge import judge
from petl_bench.running.attempts import claims
from petl_bench.running.planning.plan import Plan
from tests.running.conftest import toy, toy_here
from tests.running.test_damaged_records import finish, planned

__all__ = ["toy", "toy_here"]


class Folder:
    """A planned folder of runs and the commands on it. Trials: `waiting` and `other`, seeds 0 and 1."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.runs = plan, plan.output

    @property
    def jobs(self) -> dict[str, Job]:
        """Jobs by method and seed, e.g. `waiting 0`; in transfer by part as well, e.g. `waiting source 0`."""
        words = {job.trial.key: [job.trial.method, job.trial.part, job.trial.split] for job in self.plan.jobs}
        return {
            " ".join(
                [*filter(None, words[job.trial.key][: 3 if job.trial.part == "target" else 2]), str(job.trial.seed)]
            ): job
            for job in self.plan.jobs
        }

    def at(self, name: str) -> Path:
        """The folder of a trial."""
        return self.runs / "trials" / self.jobs[name].trial.key

    def finish(self, *names: str) -> list[Path]:
        """Record these trials."""
        return [finish(self.runs, self.jobs[name]) for name in names]

    def fail(self, name: str, how: str = "failed") -> Path:
        """Leave an attempt that failed or was interrupted, with a checkpoint."""
        claim = claims.take(self.at(name), self.jobs[name].trial.title)
        assert claim is not None
        claim.end(how, "non-finite loss")
        (self.at(name) / "checkpoint.pt").write_bytes(b"0" * 1000)
        return self.at(name)

    def start(self, name: str) -> claims.Claim:
        """Take a trial as a running process does; the caller ends it."""
        claim = claims.take(self.at(name), self.jobs[name].trial.title)
        assert claim is not None
        return claim

    def call(self, *arguments: Any) -> Result:
        """`petl-bench runs ARGUMENTS --runs` this folder."""
        return call("runs", *arguments, "--runs", self.runs)


def call(*arguments: Any) -> Result:
    """`petl-bench ARGUMENTS` in this process; errors for people are raised."""
    return CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)


def is_sound(folder: Path) -> bool:
    """Whether the folder of a trial holds a whole record with its files."""
    return judge(folder)[1] is None


@pytest.fixture
def folder(toy_here: Any) -> Folder:
    """A saved plan of four trials, none of them started."""
    return Folder(planned(toy_here, methods=("waiting", "other"), seeds=(0, 1)))


@pytest.fixture
def transfer(toy_here: Any) -> Folder:
    """A saved plan of one trial that adapts, and two that start from its adapter."""
    return Folder(planned(toy_here, setting="toy_transfer", seeds=(0,)))
