"""`run --track`: what trackers are told, that one which fails or hangs changes nothing, and what the bundled ones
write."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.api.registry import TRACKERS
from petl_bench.api.tracker import Tracker
from petl_bench.api.trial import Progress
from petl_bench.errors import TrialStopped
from petl_bench.running.attempts import execute as execute_module
from petl_bench.running.attempts import tracking
from petl_bench.running.attempts.execute import execute
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec, read_spec
from petl_bench.running.planning.trackers import missing_modules
from petl_bench.running.slurm.task import read_jobs, write_jobs
from tests.running.conftest import ToyWorld
from tests.running.test_plan import spec_of

PLUGIN = Path(__file__).parent / "toy_trackers.py"
BUNDLED = ("tensorboard", "wandb", "mlflow")
MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(toy_here: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """A trial of four steps, each of them an epoch, that these trackers follow."""
    monkeypatch.setattr(tracking, "_hanging", set())
    monkeypatch.setattr(tracking, "_kill_what_hangs", lambda: None)  # at the end of the tests' own process

    def make(*trackers: str, mishap: str = "", **changes: Any) -> Job:
        values = ("waiting.steps=4", *((f"waiting.mishap={mishap}",) if mishap else ()))
        plugins = (str(toy_here.plugin), str(PLUGIN))
        return plan(spec_of(toy_here, set=values, plugin=plugins, track=trackers, **changes)).jobs[0]

    return make


def attempt(toy: ToyWorld, job: Job) -> AttemptResult:
    return execute(job, toy.runs, lambda progress: None)


def told(toy: ToyWorld, job: Job) -> list[list[Any]]:
    file = toy.runs / "tracking" / "notebook" / f"{job.trial.key}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def steps(calls: list[list[Any]]) -> list[int]:
    return [call[1] for call in calls if call[0] == "progress"]


# ---------------------------------------------------------------- what they are told


def test_a_tracker_is_told_of_the_start_every_epoch_and_the_recorded_metrics(
    toy_here: ToyWorld, make_job: MakeJob
) -> None:
    job = make_job("notebook")
    assert attempt(toy_here, job).state == "done"
    start, *between, finish = told(toy_here, job)
    assert start[:2] == ["start", job.trial.title]
    assert {"method": "waiting", "dataset": "toys", "seed": 0, "method.steps": 4}.items() <= start[2].items()
    assert start[2]["training.learning_rate"] == job.trial.training["learning_rate"]
    assert between == [["progress", n, {"epoch": float(n), "train_loss": 1 / n}] for n in (1, 2, 3, 4)]
    assert finish == ["finish", {"top1": 50.0}]


def test_within_an_epoch_it_is_told_at_most_once_per_second(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(number * 0.3 for number in range(100))
    monkeypatch.setattr(tracking.time, "monotonic", lambda: next(clock, 30.0))
    following = tracking.Tracking(make_job("notebook"), tmp_path)
    sent: list[int] = []
    monkeypatch.setattr(tracking._Follower, "progress", lambda self, step, values: sent.append(step))
    with following.following(lambda progress: None) as tell:
        for step in range(1, 21):
            epoch = 1 if step <= 10 else 2
            tell(Progress(stage="training", epoch=epoch, epochs=2, step=step, steps=20, loss=1.0))
            tell(Progress(stage="evaluating"))
        following.finish({})
    assert sent == [4, 8, 10, 14, 18, 20]


def test_a_tracker_that_is_named_twice_follows_once(toy_here: ToyWorld, make_job: MakeJob) -> None:
    job = make_job("notebook", "notebook")
    assert attempt(toy_here, job).state == "done"
    assert steps(told(toy_here, job)) == [1, 2, 3, 4]


def test_no_path_is_told(make_job: MakeJob, toy_here: ToyWorld) -> None:
    values = make_job().trial.stored()
    values |= {"hyper_parameters": {"steps": 4, "list": "/home/me/list.txt", "other": "C:\\me", "layers": [1, 2]}}
    values |= {"locations": {"waiting": {"file": "secret.txt"}}, "weights": "my_own.pth"}
    parameters = tracking.tracked(type(make_job().trial).from_json(values)).parameters
    assert parameters["method.layers"] == "1,2" and parameters["weights"] == "file"
    assert not {"method.list", "method.other"} & parameters.keys()
    assert "secret" not in json.dumps(dict(parameters)) and "my_own" not in json.dumps(dict(parameters))


def test_a_failed_and_an_interrupted_attempt_are_told_without_the_reason(toy_here: ToyWorld, make_job: MakeJob) -> None:
    job = make_job("notebook", mishap="fail")
    assert attempt(toy_here, job).state == "failed"
    assert told(toy_here, job)[-1] == ["stop", "failed"]


def test_a_resumed_trial_repeats_no_step(toy_here: ToyWorld, make_job: MakeJob) -> None:
    job = make_job("notebook", mishap="stop once")
    assert attempt(toy_here, job).state == "interrupted"
    assert told(toy_here, job)[-1] == ["stop", "interrupted"]
    checkpoint = toy_here.runs / "trials" / job.trial.key / "checkpoint.pt"
    checkpoint.write_text("1")  # as of a process that was killed before it wrote a later one
    assert attempt(toy_here, job).state == "done"
    calls = told(toy_here, job)
    assert [call[0] for call in calls].count("start") == 2
    assert steps(calls) == [1, 2, 3, 4]


def test_a_trial_that_was_interrupted_after_its_last_step_has_its_metrics_there(
    toy_here: ToyWorld, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    job = make_job("tensorboard", "mlflow")
    with mock.patch.object(execute_module, "write_record", side_effect=TrialStopped("the job's time is up")):
        assert attempt(toy_here, job).state == "interrupted"
    assert attempt(toy_here, job).failed_trackers == {}
    (run,) = (toy_here.runs / "tracking/tensorboard").iterdir()
    assert event_points(run)["metrics/top1"] == [(4, 50.0)]
    (file,) = (toy_here.runs / "tracking/mlflow").rglob("metrics/top1")
    assert file.read_text().split()[2] == "4"


# ---------------------------------------------------------------- what goes wrong in them


@pytest.mark.parametrize("call", ["create", "start", "progress", "finish"])
@pytest.mark.parametrize("how", ["raise", "leave"])
def test_a_tracker_that_fails_does_not_fail_the_trial(
    toy_here: ToyWorld, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, call: str, how: str
) -> None:
    monkeypatch.setenv("TOY_MISHAP", f"{call} {how}")
    job = make_job("broken", "notebook")
    outcome = attempt(toy_here, job)
    assert (outcome.state, outcome.metrics) == ("done", {"top1": 50.0})
    assert outcome.failed_trackers.keys() == {"broken"}
    reason = outcome.failed_trackers["broken"]
    assert ("no space left" if how == "raise" else "SystemExit") in reason and "\n" not in reason
    assert steps(told(toy_here, job)) == [1, 2, 3, 4], "the other one goes on"
    log = (toy_here.runs / "trials" / job.trial.key / "log.txt").read_text()
    assert "tracker broken: " in log and "Traceback" not in log


@pytest.mark.parametrize("call", ["create", "start", "progress", "finish"])
def test_a_tracker_that_hangs_is_waited_for_once(
    toy_here: ToyWorld, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setenv("TOY_MISHAP", f"{call} hang")
    monkeypatch.setattr(tracking, "FINISH_WITHIN_S", 0.2)
    outcome = attempt(toy_here, make_job("broken"))
    assert outcome.state == "done" and outcome.failed_trackers == {"broken": "it does not answer"}
    another = attempt(toy_here, make_job("broken", seeds=(1,)))
    assert another.state == "done" and another.failed_trackers == {}, "not started again in this process"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_process_ends_though_the_library_of_a_tracker_waits(
    toy: ToyWorld, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setenv("TOY_MISHAP", "start hold")
    arguments = ("--methods", "waiting", "--seeds", "0,1", "--plugin", str(PLUGIN), "--workers", workers)
    began = time.monotonic()
    done = toy.run(*arguments, "--track", "broken")
    assert done.returncode == 0 and time.monotonic() - began < 20
    assert len(toy.records()) == 2 and "does not answer" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_fails_the_tracker_alone(toy_here: ToyWorld, make_job: MakeJob) -> None:
    toy_here.runs.mkdir()
    (toy_here.runs / "tracking").write_text("a file")
    outcome = attempt(toy_here, make_job("notebook"))
    assert outcome.state == "done" and "tracking" in outcome.failed_trackers["notebook"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_says_once_that_a_tracker_failed(toy: ToyWorld, monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("TOY_MISHAP", "start raise")
    arguments = ("--methods", "waiting", "--seeds", "0-2", "--plugin", str(PLUGIN), "--workers", workers)
    done = toy.run(*arguments, "--track", "broken,notebook")
    assert done.returncode == 0, done.stderr
    assert len(toy.records()) == 3
    (line,) = [line for line in done.stderr.splitlines() if "left out" in line]
    assert "tracker broken is left out, trials go on without it: OSError: no space left" in line
    assert len(list((toy.runs / "tracking" / "notebook").glob("*.jsonl"))) == 3


def test_a_killed_worker_leaves_a_run_that_goes_on(toy: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ("--methods", "waiting", "--seeds", "0,1", "--plugin", str(PLUGIN), "--workers", "2")
    mishap = ("--set", "waiting.mishap=die once", "--set", "waiting.steps=20")
    done = toy.run(*arguments, *mishap, "--track", ",".join(("notebook", *BUNDLED)))
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    (key,) = [file.parent.parent.name for file in toy.runs.glob("trials/*/attempts/0002.json")]
    calls = [json.loads(line) for line in (toy.runs / f"tracking/notebook/{key}.jsonl").read_text().splitlines()]
    assert calls[-1][0] == "finish"
    assert steps(calls) == sorted(set(steps(calls))) and steps(calls)[-1] == 20
    run = event_points(next(folder for folder in (toy.runs / "tracking/tensorboard").glob(f"*{key[:8]}*")))
    assert [step for step, _ in run["train/loss"]] == sorted({step for step, _ in run["train/loss"]})
    assert run["metrics/top1"][-1] == (20, 50.0)


# ---------------------------------------------------------------- asking for them


def test_an_unknown_tracker_is_refused_with_near_names(toy_here: ToyWorld) -> None:
    done = toy_here.here("run", *toy_here.flags, "--methods", "waiting", "--track", "tensorbord")
    assert done.returncode == 2 and not toy_here.runs.exists()
    assert "tensorbord" in done.stderr and "tensorboard" in done.stderr and "petl-bench list trackers" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tracker_that_is_not_installed_is_refused_before_any_trial(toy_here: ToyWorld) -> None:
    flags = (*toy_here.flags, "--methods", "waiting", "--plugin", str(PLUGIN), "--track", "absent")
    for dry in ((), ("--dry-run",)):
        done = toy_here.here("run", *flags, *dry)
        assert done.returncode == 2 and not toy_here.runs.exists()
        (line,) = done.stderr.strip().splitlines()
        assert "--track absent: not installed: no_such_module_anywhere" in line
        assert "pip install 'toys[absent]'" in line


def test_a_module_of_a_package_that_is_not_installed_is_missing() -> None:
    class Needing(Tracker):
        modules = ("json.decoder", "no_such_package.part", "json.no_such_part", "json.decoder.part")

    assert missing_modules(Needing) == ["no_such_package.part", "json.no_such_part", "json.decoder.part"]


@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_tracker_says_which_extra_it_needs(
    name: str, toy_here: ToyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    done = toy_here.here("run", *toy_here.flags, "--methods", "waiting", "--track", name)
    assert done.returncode == 2 and f"pip install 'petl-bench[{name}]'" in done.stderr


def test_trackers_are_not_in_keys_nor_in_the_identity_of_the_plan(make_job: MakeJob, toy_here: ToyWorld) -> None:
    assert make_job("notebook").trial == make_job().trial
    plain, followed = (spec_of(toy_here, track=track) for track in ((), ("notebook", "wandb")))
    assert plain.identity == followed.identity
    assert "--track notebook,wandb" in followed.command() and "--track" not in plain.command()


def test_a_spec_file_names_them(tmp_path: Path) -> None:
    for text in ('track = ["wandb", "mlflow"]', 'track = "wandb,mlflow"'):
        (tmp_path / "spec.toml").write_text(f'methods = ["lora"]\n{text}\n')
        assert read_spec({}, tmp_path / "spec.toml").track == ("wandb", "mlflow")
    assert read_spec({"track": ("tensorboard",)}, tmp_path / "spec.toml").track == ("tensorboard",)
    assert Spec(methods=("lora",)).track == ()


def test_a_task_of_a_scheduler_has_them(make_job: MakeJob, tmp_path: Path) -> None:
    write_jobs(tmp_path / "jobs.json", [make_job("notebook")])
    (job,) = read_jobs(tmp_path / "jobs.json", 0, 1)
    assert list(job.trackers) == ["notebook"]


def test_commands_on_folders_of_runs_leave_what_trackers_wrote(toy_here: ToyWorld, make_job: MakeJob) -> None:
    job = make_job("notebook", "tensorboard", "mlflow")
    assert attempt(toy_here, job).failed_trackers == {}
    runs, copy = toy_here.runs, toy_here.folder / "copy"
    for command in ("list", "verify"):
        done = toy_here.here("runs", command, "--runs", str(runs))
        assert done.returncode == 0 and "tracking" not in done.stderr, done.stderr
    assert toy_here.here("runs", "merge", str(runs), "--into", str(copy)).returncode == 0
    assert toy_here.here("runs", "verify", "--runs", str(copy)).returncode == 0
    assert (runs / "tracking" / "notebook").is_dir()
    moved = toy_here.folder / "moved"
    assert toy_here.here("runs", "move", str(runs), str(moved)).returncode == 0
    assert toy_here.here("runs", "delete", job.trial.key, "--yes", "--runs", str(moved)).returncode == 0
    assert (moved / "tracking" / "notebook").is_dir()


# ---------------------------------------------------------------- the bundled ones


def event_points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points in TensorBoard's files of a run, as its own reader sees them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    reader = EventAccumulator(str(run))
    reader.Reload()
    tags = [tag for tag in reader.Tags()["tensors"] if "/" in tag and not tag.startswith("_")]
    points = {
        tag: [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in reader.Tensors(tag)] for tag in tags
    }
    scalars = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    return points | scalars


def wandb_records(file: Path) -> list[Any]:
    """The records of an offline run: a header, and in each block of 32 KiB a checksum, a length and a type each."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, found = file.read_bytes(), 7, []
    while at + 7 <= len(content):
        _, length, kind = struct.unpack_from("<IHB", content, at)
        assert kind == 1, "a record that fills more than a block"
        found.append(Record.FromString(content[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


@pytest.fixture
def private(toy_here: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine, a user and a home folder with names that can be searched for; and what must be written nowhere."""
    home = toy_here.folder / "home-of-somebody"
    home.mkdir()
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-machine")
    for name, value in {"HOME": str(home), "USER": "somebody", "LOGNAME": "somebody", "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SECRET_TOKEN", "hidden-token-1234")
    names = ["secret-machine", "somebody", "hidden-token-1234", str(toy_here.folder), "clip_4.mp4", "toy_plugin.py"]
    return names


def test_the_bundled_trackers_show_the_trial_and_nothing_private(
    toy_here: ToyWorld, make_job: MakeJob, private: list[str]
) -> None:
    job = make_job(*BUNDLED, mishap="stop once")
    assert attempt(toy_here, job).state == "interrupted"
    outcome = attempt(toy_here, job)
    assert (outcome.state, outcome.failed_trackers) == ("done", {})
    place = toy_here.runs / "tracking"

    (run,) = (place / "tensorboard").iterdir()
    assert run.name == f"waiting-toys-split-1-seed-0-{job.trial.key[:8]}"
    points = event_points(run)
    assert points["train/loss"] == [(n, pytest.approx(1 / n)) for n in (1, 2, 3, 4)]
    assert points["metrics/top1"] == [(4, 50.0)]

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(place / "mlflow").as_uri())
    (experiment,) = client.search_experiments()
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == job.trial.title and found.info.status == "FINISHED"
    assert found.data.params["method.steps"] == "4" and found.data.metrics["top1"] == 50.0
    history = client.get_metric_history(found.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(n, 1 / n) for n in (1, 2, 3, 4)]

    files = sorted((place / "wandb").rglob("*.wandb"))
    assert len(files) == 2 and {file.name for file in files} == {f"run-{job.trial.key[:32]}.wandb"}
    records = [record for file in files for record in wandb_records(file)]
    rows = [{item.nested_key[0] or item.key: item.value_json for item in record.history.item}
            for record in records if record.WhichOneof("record_type") == "history"]  # fmt: skip
    assert [(int(row["_step"]), float(row["train_loss"])) for row in rows] == [(n, 1 / n) for n in (1, 2, 3, 4)]

    written = [path for path in place.rglob("*") if path.is_file()]
    assert len(written) > 10
    for file in written:
        content = file.read_bytes() + str(file.relative_to(place)).encode()
        assert [text for text in private if text.encode() in content] == [], file


def test_wandb_uploads_nothing_for_a_user_who_has_not_logged_in(
    toy_here: ToyWorld, make_job: MakeJob, private: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    outcome = attempt(toy_here, make_job("wandb"))
    assert outcome.failed_trackers == {}
    assert [path.name[:11] for path in (toy_here.runs / "tracking/wandb/wandb").iterdir()] == ["offline-run"]


def test_wandb_keeps_no_log_file_open_in_its_folder(make_job: MakeJob, private: list[str], tmp_path: Path) -> None:
    tracker = TRACKERS.get("wandb")()
    tracker.start(tracking.tracked(make_job().trial), tmp_path)
    handlers = logging.getLogger("wandb").handlers
    tracker.stop("failed")
    assert not [each for each in handlers if str(tmp_path) in getattr(each, "baseFilename", "")]


def test_mlflow_goes_where_the_user_said(
    toy_here: ToyWorld, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = toy_here.folder / "elsewhere"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere.as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert attempt(toy_here, make_job("mlflow")).failed_trackers == {}
    assert list(elsewhere.rglob("top1"))
    assert not list((toy_here.runs / "tracking/mlflow").rglob("top1"))


def test_without_trackers_nothing_is_written_or_started(toy_here: ToyWorld, make_job: MakeJob) -> None:
    tell = lambda progress: None  # noqa: E731
    with tracking.Tracking(make_job(), toy_here.runs).following(tell) as given:
        assert given is tell
    assert attempt(toy_here, make_job()).state == "done"
    assert not (toy_here.runs / "tracking").exists()
    shutil.rmtree(toy_here.runs)
