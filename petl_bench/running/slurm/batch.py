"""Handing trials to SLURM through submitit: job arrays within the site's limits, remembered in the output folder."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from petl_bench.api.launcher import Job
from petl_bench.errors import StoreError, UsageError
from petl_bench.running.attempts.snapshot import command_in
from petl_bench.running.attempts.submissions import FOLDER, Submission, save_submission
from petl_bench.running.slurm import queue as slurm_queue
from petl_bench.running.slurm import task as slurm_task
from petl_bench.running.slurm.options import SlurmOptions

#: SLURM's words if a user may have no more tasks in the queue.
_FULL = (
    "submit limit",
    "SubmitLimit",
    "SubmitJob",
    "MaxJobCount",
    "job limit",
    "Slurm temporarily unable to accept job",
)


class QueueFull(Exception):  # noqa: N818 - it passes
    """The site takes no more tasks now; the text is SLURM's."""


def largest_array() -> int:
    """The most tasks that the site lets into one array. Raises UsageError with SLURM's words if it does not answer."""
    missing = [name for name in ("sbatch", "squeue", "scontrol", "srun") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"--launcher slurm: {missing[0]} is not on this machine's PATH; type this on a login node of the cluster, "
            "or use --launcher local"
        )
    try:
        return slurm_queue.limits().get("MaxArraySize", 1001)
    except slurm_queue.NoAnswer as error:
        raise UsageError(f"--launcher slurm: SLURM does not answer: {error}") from error


def submit(options: SlurmOptions, groups: Sequence[Sequence[Job]], store: Path, source: Path) -> Submission:
    """Submit one array with a task for each group of jobs, which runs the package from the snapshot `source`.

    Raises:
        QueueFull: if the site takes no more tasks now.
        UsageError: with SLURM's words, for any other refusal.
        StoreError: if nothing can be written to the output folder `store`.
    """
    folder = (store / FOLDER / f"slurm-{uuid.uuid4().hex[:12]}").resolve()
    try:
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    jobs = folder / "jobs.json"
    slurm_task.write_jobs(jobs, [job for group in groups for job in group])
    shared = (str(store.resolve()), options.workers or 1, options.attempts, float(options.grace_s))
    starts = accumulate(map(len, groups), initial=0)
    arguments = [(str(jobs), first, len(group), *shared) for first, group in zip(starts, groups, strict=False)]
    try:
        # submitit prints what sbatch says; the errors below say it.
        with _clean_environment(), contextlib.redirect_stderr(io.StringIO()):
            handed = executor(options, folder, source).map_array(slurm_task.run_task, *zip(*arguments, strict=True))
    except FailedJobError as error:
        shutil.rmtree(folder, ignore_errors=True)
        words = _words(error)
        if any(text.lower() in words.lower() for text in _FULL):
            raise QueueFull(words) from error
        raise UsageError(f"sbatch refused the job: {words}. Change the profile (--profile FILE.toml)") from error
    tasks = {str(task.job_id): [job.trial.key for job in group] for task, group in zip(handed, groups, strict=True)}
    number = str(handed[0].job_id).partition("_")[0]
    return save_submission(store, options.name, number, tasks, folder, asked=groups[0][0].asked)


def refuse_unfit_output(store: Path) -> None:
    """Raise UsageError if SLURM would take the folder's path for another one: in the names of its own log files it
    replaces `%` and the letter after it, and leaves out a backslash."""
    path = str(store.resolve())
    found = next((letter for letter in "%\\" if letter in path), None)
    if found:
        raise UsageError(f"--output {store}: SLURM cannot write below a path with {found} ({path}); choose another one")


def script(options: SlurmOptions, count: int, store: Path) -> str:
    """The sbatch script of an array of `count` tasks, as it would be sent; the source is that of now."""
    folder = store.resolve() / FOLDER / "slurm-ID"
    made = executor(options, folder, store.resolve() / "sources" / "HASH")
    if count > 1:
        made.parameters["map_count"] = count
    return str(made._make_submission_file_text(made._submitit_command_str, "ID"))


def executor(options: SlurmOptions, folder: Path, source: Path) -> submitit.SlurmExecutor:
    """submitit's executor with the values of a profile. Raises UsageError for an option that sbatch cannot have."""
    values: dict[str, Any] = {
        "job_name": slurm_queue.JOB_NAME,
        "time": options.time_min,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        "mem": None if options.memory_gb is None else f"{round(options.memory_gb * 1024)}M",
        "constraint": options.constraint,
        "exclude": options.exclude,
        "setup": [*options.setup, "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}"],
        "signal_delay_s": options.grace_s,
        "array_parallelism": options.array_parallelism,
        "ntasks_per_node": 1,
        "additional_parameters": {"requeue": True, **options.sbatch_options()},
    }
    made = _Executor(folder, source)
    made.update_parameters(**{name: value for name, value in values.items() if value is not None})
    return made


class _Executor(submitit.SlurmExecutor):
    """submitit's executor, whose jobs take the package from a snapshot.

    It can also be made if srun is not installed: a script can be shown anywhere.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        super().__init__(folder=folder)
        self._source = source

    @property
    def _submitit_command_str(self) -> str:
        return shlex.join([*command_in(self._source), "submitit.core._submit", str(self.folder)])

    @classmethod
    def affinity(cls) -> int:
        return 2


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Without what a job leaves in the environment of commands inside it; which cluster is meant stays."""
    kept = {name: os.environ[name] for name in ("SLURM_CONF", "SLURM_CLUSTERS") if name in os.environ}
    with submitit.helpers.clean_env():
        os.environ.update(kept)
        try:
            yield
        finally:
            for name in kept:
                os.environ.pop(name, None)


def _words(error: Exception) -> str:
    """The lines of sbatch's stderr in submitit's error."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.removeprefix("sbatch: error: ") for line in lines if line.startswith("sbatch:")]
    return " ".join(said or lines[-1:] or [type(error).__name__])
