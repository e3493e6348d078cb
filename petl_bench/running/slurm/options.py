"""What a profile settles: the fields of the SLURM launcher."""

from __future__ import annotations

from collections.abc import Mapping

from petl_bench.api.launcher import Launcher
from petl_bench.api.options import hyper


class SlurmOptions(Launcher):
    """The values of a profile (`--profile FILE.toml`), for sbatch and for the command that waits."""

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

    def sbatch_options(self) -> Mapping[str, str | bool]:
        """The fields of `extra` by name; one without a value is a switch."""
        pairs = (text.partition("=") for text in self.extra)
        return {name: (value if equals and value.lower() != "true" else True) for name, equals, value in pairs}
