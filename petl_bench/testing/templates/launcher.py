"""Template launcher: where trials run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import petl_bench as pb


@pb.register_launcher("template_launcher")
class TemplateLauncher(pb.Launcher):
    """Trials in this process, one after the other."""

    # Options: a line such as `pause_s = 60.0` in a file for --profile FILE.toml.
    pause_s: float = pb.hyper(0.0, "pause before each trial", minimum=0.0, unit="s")

    def run(self, jobs: Sequence[pb.Job], store: Path, watch: pb.Watcher) -> list[pb.AttemptResult]:
        """Run every job and return one result for each, in their order.

        pb.execute(job, store, notify) makes one attempt, wherever it is called: a worker process, another machine that
        sees the same files, a task of a scheduler. It takes a trial only if nobody else works on it, and writes its
        record; what goes wrong in a trial is its result. Trials that start from another's adapter stand behind it.
        """
        results = []
        for job in jobs:
            time.sleep(self.pause_s)
            watch.started(job)
            result = pb.execute(job, store, partial(watch.progress, job))
            watch.finished(job, result)
            results.append(result)
        return results

    def fitness(self) -> str:
        """Whether trials can be launched from this machine, for petl-bench doctor."""
        return "on this machine, one at a time"
