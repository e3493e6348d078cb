"""MLflow, through its client, which adds no tag of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import petl_bench as pb

_KEY = "petl_bench.key"
#: Where artifacts of the local store would lie, if there were any: MLflow writes an absolute path by default.
_NO_ARTIFACTS = "mlflow-artifacts:/petl-bench"
_LONGEST_VALUE = 500


@pb.register_tracker("mlflow")
class MLflow(pb.Tracker):
    """MLflow: a run per trial, in the experiment petl-bench or MLFLOW_EXPERIMENT_NAME.

    Runs go to the server or folder of MLFLOW_TRACKING_URI if you have set it, else to files in OUTPUT/tracking/mlflow.
    To look at those: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri OUTPUT/tracking/mlflow
    """

    modules = ("mlflow",)
    install = "pip install 'petl-bench[mlflow]'"

    def start(self, trial: pb.TrackedTrial, folder: Path) -> None:
        """Start the trial's run, or go on with it: a tag of the run has the key."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer versions refuse files without it
        from mlflow import MlflowClient
        from mlflow.entities import Param

        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._client = MlflowClient(tracking_uri=server or folder.absolute().as_uri())
        self._step = trial.last_step
        with _alone(folder):
            experiment = self._experiment("" if server else _NO_ARTIFACTS)
            found = self._client.search_runs([experiment], f"tags.`{_KEY}` = '{trial.key}'", max_results=1)
            if found:
                self._run = found[0].info.run_id
                self._client.update_run(self._run, status="RUNNING")
                return
            run = self._client.create_run(experiment, run_name=trial.title, tags={_KEY: trial.key})
            self._run = run.info.run_id
        parameters = [Param(_name(name), str(value)[:_LONGEST_VALUE]) for name, value in trial.parameters.items()]
        self._client.log_batch(self._run, params=parameters)

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """A point for each value."""
        self._step = step
        self._log(values)

    def finish(self, metrics: Mapping[str, float]) -> None:
        """A point for each metric, at the last step."""
        self._log(metrics)
        self._client.set_terminated(self._run, "FINISHED")

    def stop(self, ending: str) -> None:
        """Mark the run; a next attempt goes on with it."""
        self._client.set_terminated(self._run, "FAILED" if ending == "failed" else "KILLED")

    def _experiment(self, artifacts: str) -> str:
        """The id of the experiment, which is made if it is not there."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "petl-bench")
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self._client.create_experiment(name, artifacts or None))

    def _log(self, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, metrics=[Metric(_name(name), value, now, self._step) for name, value in values.items()]
        )


def _name(text: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w .:-]", "_", text)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that start at once would both make the experiment."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
