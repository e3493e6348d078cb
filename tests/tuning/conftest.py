"""Tunings of methods on a small random backbone and a folder of coloured squares; and trials that are only made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.records.tunings import Tuning
from petl_bench.running.planning.plan import Plan
from petl_bench.running.planning.spec import Spec
from petl_bench.tuning.options import TuningOptions
from petl_bench.tuning.rounds import Search, prepare, tune
from tests.training.conftest import small_backbone, small_plugin, squares

__all__ = ["small_backbone", "small_plugin", "squares"]


class MadeUp:
    """Launches nothing: the metrics of a trial follow from its values and seed, as in a real one."""

    def __init__(self) -> None:
        self.rounds: list[list[Job]] = []
        self.failing: Callable[[Job], str] = lambda job: ""
        self.state = "failed"

    @property
    def jobs(self) -> list[Job]:
        """All that were run."""
        return [job for jobs in self.rounds for job in jobs]

    def __call__(self, plan: Plan) -> list[AttemptResult]:
        self.rounds.append(list(plan.jobs))
        found = []
        for job in plan.jobs:
            rate = job.trial.training["learning_rate"]
            base = 60.0 / (1 + 100 * abs(rate - 0.004)) + job.trial.seed
            metrics = {"val_top1": base, "val_top5": 100.0}
            if job.trial.tuning.startswith("pseudo"):
                metrics = {
                    "val_base_top1": base,
                    "val_novel_top1": 20.0 * job.trial.seed + 10,
                    "val_harmonic_mean": 1.0,
                }
            result = AttemptResult(key=job.trial.key, title=job.trial.title, state="done", metrics=metrics)
            if reason := self.failing(job):
                result = replace(result, state=self.state, reason=reason, metrics=None)  # type: ignore[arg-type]
            found.append(result)
        return found[::-1]  # the order in which they end does not matter


class World:
    """A tuning as the command has it, into a folder of the test's own."""

    def __init__(self, folder: Path, squares: Path) -> None:
        self.runs = folder / "runs"
        self.squares = squares
        self.launch = MadeUp()
        self.told: list[str] = []

    @property
    def flags(self) -> list[str]:
        """For the command line."""
        return [
            *("--setting", "fully_supervised", "--datasets", f"squares={self.squares}", "--backbone", "small"),
            *("--weights", "random", "--seeds", "0,1", "--output", str(self.runs)),
        ]

    def spec(self, *methods: str, **changes: object) -> Spec:
        """What those flags say."""
        values = {
            **{"setting": "fully_supervised", "datasets": (f"squares={self.squares}",), "backbone": "small"},
            **{"weights": "random", "seeds": (0, 1), "output": str(self.runs), **changes},
        }
        return Spec(methods=methods, **values)  # type: ignore[arg-type]

    def prepare(self, *methods: str, options: TuningOptions | None = None, **changes: object) -> Search:
        """What there is to tune."""
        return prepare(self.spec(*methods, **changes), options or TuningOptions(trials=6))

    def tune(self, *methods: str, options: TuningOptions | None = None, **changes: object) -> list[Tuning]:
        """Tune with made-up trials."""
        return tune(self.prepare(*methods, options=options, **changes), self.launch, self.told.append)

    def files(self) -> dict[str, bytes]:
        """What the tunings left."""
        return {path.name: path.read_bytes() for path in (self.runs / "tunings").iterdir()}


@pytest.fixture
def world(tmp_path: Path, squares: Path, small_backbone: object) -> World:
    """A tuning of this test's own."""
    return World(tmp_path, squares)
