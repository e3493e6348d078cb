"""Weights & Biases, without what it collects by itself."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import petl_bench as pb

#: Longest id of a run.
_ID = 32
#: Machine, user, program, code, console, packages and use of the system: nothing of them is collected. A version that
#: does not know one of these settings raises, and sends nothing.
_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("host", "username", "email", "program", "program_abspath", "program_relpath", "x_executable"), ""),
    **dict.fromkeys(("disable_git", "disable_code", "disable_job_creation", "label_disable"), True),
    **dict.fromkeys(("x_disable_meta", "x_disable_stats", "x_disable_machine_info"), True),
    **dict.fromkeys(("save_code", "x_save_requirements", "symlink"), False),
    "console": "off",
    "x_transaction_log_flush_interval": 1.0,  # seconds: what a process that is killed may lose
}


@pb.register_tracker("wandb")
class WeightsAndBiases(pb.Tracker):
    """Weights & Biases: a run per trial, in the project petl-bench or WANDB_PROJECT.

    Nothing is uploaded unless you have logged in (`wandb login`) or set WANDB_MODE=online; without that, runs are kept
    in OUTPUT/tracking/wandb, and `wandb sync` uploads them. Host, user, code, console and packages are not collected.
    """

    modules = ("wandb",)
    install = "pip install 'petl-bench[wandb]'"

    def start(self, trial: pb.TrackedTrial, folder: Path) -> None:
        """Start the trial's run, or go on with it: its id is the beginning of the key."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode_is_set = "WANDB_MODE" in os.environ
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "petl-bench"),
            dir=str(folder),
            id=trial.key[:_ID],
            name=trial.title,
            config=dict(trial.parameters),
            mode=None if mode_is_set or wandb.login(prompt=False) else "offline",
            resume="allow",
            reinit="create_new",  # a run that the user has in this process goes on
            settings=wandb.Settings(silent=True, **_SETTINGS),
        )
        _close_logs(folder)

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """A point for each value."""
        self._run.log(dict(values), step=step)

    def finish(self, metrics: Mapping[str, float]) -> None:
        """The metrics as the summary of the run."""
        self._run.summary.update(dict(metrics))
        self._close(0)

    def stop(self, ending: str) -> None:
        """Mark the run as failed; a next attempt goes on with it."""
        self._close(1)

    def _close(self, status: int) -> None:
        runs, name = Path(self._run.settings.wandb_dir), f"*-{self._run.id}*"
        self._run.finish(exit_code=status)
        for logs in runs.glob(f"{name}/logs"):  # with paths of this machine; also those of killed attempts
            shutil.rmtree(logs, ignore_errors=True)


def _close_logs(folder: Path) -> None:
    """Have the library keep no log in the folder: on a full disk it prints a traceback for each line of it."""
    logger, place = logging.getLogger("wandb"), folder.resolve()
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).resolve().is_relative_to(place):
            logger.removeHandler(handler)
