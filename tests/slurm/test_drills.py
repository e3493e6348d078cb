"""Long drills on a real SLURM: many faults, preemption, no accounting, cancellation; `make drills` runs them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petl_bench.running.attempts import requests
from petl_bench.running.planning.profiles import profiles
from tests.slurm.comparison import Comparison, at_work, attempts, first_seeds, numbers
from tests.slurm.conftest import LocalCluster
from tests.slurm.faults import Faults, stop

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1500)]
Start = Callable[..., LocalCluster]


@pytest.fixture
def nodes(start_cluster: Start) -> Iterator[LocalCluster]:
    """Three nodes of this test's own, with room for 40 tasks."""
    yield start_cluster("cluster", "--max-submit-jobs", "40")


def local(comparison: Comparison, output: Path, seeds: str) -> dict[str, object]:
    """What the same trials give on this machine, undisturbed and without pauses."""
    epochs = comparison.settings["epochs"]
    quick = Comparison(output.parent / "quick", comparison.cluster, comparison.clips, seeds=seeds, epochs=epochs)
    quick.run(output, "--workers", "2")
    return numbers(output)


def in_training(output: Path) -> list[Path]:
    """The folders of the trials that have begun to train."""
    return [log.parent for log in output.glob("trials/*/log.txt") if "a step" in log.read_text()]


SEEDS = os.environ.get("PETL_BENCH_DRILL_SEEDS", "1,2").split(",")
TWELVE = first_seeds(12)
TRIALS = 24  #: of the drill with one fault of each kind


@pytest.mark.parametrize("seed", SEEDS)
def test_forty_faults_lose_nothing_and_change_no_number(
    nodes: LocalCluster, clips: Path, tmp_path: Path, seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds=TWELVE, epochs="10", pause="0.8")
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile(attempts=100)))
    output, began = tmp_path / "drill", time.monotonic()
    faults = Faults(comparison, output, flags, trials=12, seed=int(seed))
    try:
        faults.cause(40)
        faults.finish()
    finally:
        stop(faults.command)
        with capsys.disabled():
            print(
                f"\nseed {seed}, {time.monotonic() - began:.0f} s, {len(faults.done)} faults: {'; '.join(faults.done)}"
            )
    tried = attempts(output)
    ends = Counter(each["outcome"] or "died" for each in tried)
    with capsys.disabled():
        print(f"  {len(tried)} attempts: {', '.join(f'{count} {end}' for end, count in sorted(ends.items()))}")
    assert len(faults.done) == 40
    assert ends["done"] == 12, "every trial has exactly one attempt that finished it"
    assert "failed" not in ends
    assert numbers(output) == local(comparison, tmp_path / "local", TWELVE)
    assert len(numbers(output)) == 12


def test_preempted_trials_come_back_by_themselves(nodes: LocalCluster, clips: Path, tmp_path: Path) -> None:
    """The profile that ships, on a cluster without GPUs; the preempting jobs have room beside ours in the limit."""
    seeds = first_seeds(6)
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds=seeds, epochs="12", pause="0.5")
    shipped = tomllib.loads(profiles()["preemptible"].read_text())
    profile = comparison.profile(**{**shipped, "partition": "low", "gpus": 0, "cpus": 1, "memory_gb": 1.5})
    output = tmp_path / "runs"
    command = comparison.start(output, "--launcher", "slurm", "--profile", str(profile))
    try:
        nodes.wait_until(lambda: len(in_training(output)) == 6, 240)
        running = sorted(at_work(output))
        high = nodes.submit("sleep 3", "--partition", "high", "--array", "0-5", "--exclusive", "--mem", "1500")
        nodes.wait_until(lambda: not nodes.ask("squeue", "-h", "-j", high, "-o", "%i"), 180)
        said, _ = command.communicate(timeout=600)
    finally:
        stop(command)
    assert command.returncode == 0, said
    states = {task: nodes.states(task, "-D") for task in running}
    preempted = [task for task, each in states.items() if "PREEMPTED" in each]
    assert preempted, states
    # SLURM repeats what it preempted. It may also warn a task and then leave it alone: that one stops, has ended for
    # SLURM, and is handed over again.
    again = said.count("before it was done; submitted again")
    assert again <= len(states) - len(preempted), (said, states)
    assert any("preempted" in each["reason"] for each in attempts(output))
    assert numbers(output) == local(comparison, tmp_path / "local", seeds)


def test_without_accounting_everything_follows_from_the_queue_and_the_trials(
    start_cluster: Start, clips: Path, tmp_path: Path
) -> None:
    plain = start_cluster("plain", "--no-accounting")
    assert plain.try_("sacct").returncode != 0
    seeds = first_seeds(4)
    comparison = Comparison(tmp_path / "c", plain, clips, seeds=seeds, epochs="8", pause="0.6")
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile()))
    output = tmp_path / "runs"
    comparison.run(output, *flags, "--detach")
    plain.wait_until(lambda: len(at_work(output)) == 4, 180)
    status = comparison.ask("status", "--runs", output).stdout
    assert "4 running" in status
    command = comparison.start(output, *flags)
    try:
        tasks = sorted(at_work(output).items())
        os.kill(tasks[0][1], signal.SIGKILL)
        plain.ask("scontrol", "requeue", tasks[1][0])
        plain.ask("scancel", tasks[2][0])
        time.sleep(8)
        cancelled = comparison.ask("cancel", "--runs", output)
        assert cancelled.returncode == 0, cancelled.stderr
        said, _ = command.communicate(timeout=120)
        assert command.returncode == 1 and "4 trials are in the queue already" in said, said
        assert "of 4 trials were cancelled" in said, said
    finally:
        stop(command)
    plain.wait_until(lambda: not plain.ask("squeue", "-h", "-o", "%i"), 120)
    status = comparison.ask("status", "--runs", output).stdout
    assert "4 cancelled" in status and "fill the rest with: petl-bench run" in status
    assert "asks for them again" in comparison.run(output, *flags)
    assert numbers(output) == local(comparison, tmp_path / "local", seeds)


def test_a_requeue_that_slurm_granted_before_the_cancellation_ends_without_a_trial(
    nodes: LocalCluster, clips: Path, tmp_path: Path
) -> None:
    """The cancellation is on disk, and scancel does not reach the job: it starts once more, and runs nothing."""
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds="0", epochs="40", pause="0.5")
    output = tmp_path / "runs"
    command = comparison.start(output, "--launcher", "slurm", "--profile", str(comparison.profile()))
    try:
        nodes.wait_until(lambda: bool(in_training(output)), 120)
        [(task, pid)] = at_work(output).items()
        os.kill(pid, signal.SIGUSR2)
        nodes.wait_until(lambda: nodes.ask("squeue", "-h", "-r", "-o", "%T") == "PENDING", 60)
        requests.cancel(output, {path.name for path in output.glob("trials/*")})
        said, _ = command.communicate(timeout=60)
        assert command.returncode == 1 and "cancelled with petl-bench cancel" in said, said
        nodes.wait_until(lambda: not nodes.ask("squeue", "-h", "-o", "%i"), 120)
    finally:
        stop(command)
    assert nodes.states(task, "-D") == ["REQUEUED", "COMPLETED"]
    assert [each["outcome"] for each in attempts(output)] == ["interrupted"]
    assert list(output.glob("trials/*/record.json")) == []


def test_scancel_after_the_warning_is_not_undone(nodes: LocalCluster, clips: Path, tmp_path: Path) -> None:
    """SIGUSR2 as near the time limit, and scancel while the trial still computes its step."""
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds="0", epochs="40", pause="3")
    output = tmp_path / "runs"
    comparison.run(output, "--launcher", "slurm", "--profile", str(comparison.profile()), "--detach")
    nodes.wait_until(lambda: bool(in_training(output)), 120)
    [(task, pid)] = at_work(output).items()
    os.kill(pid, signal.SIGUSR2)
    nodes.ask("scancel", task)
    nodes.wait_until(lambda: not nodes.ask("squeue", "-h", "-o", "%i"), 120)
    time.sleep(8)
    assert not nodes.ask("squeue", "-h", "-o", "%i")
    assert [state.split()[0] for state in nodes.states(task, "-D")] == ["CANCELLED"]


@pytest.mark.parametrize("name", ["a:b", "it's 5 o'clock; $HOME"])
def test_output_folders_of_any_name_run_the_source_as_submitted(
    nodes: LocalCluster, clips: Path, tmp_path: Path, name: str
) -> None:
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds="0,1", epochs="1")
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile(trials_per_job=2, workers=2, memory_gb=3)))
    comparison.run(tmp_path / name, *flags)
    assert numbers(tmp_path / name) == local(comparison, tmp_path / "local", "0,1")
    records = [path.read_text() for path in (tmp_path / name).glob("trials/*/record.json")]
    assert len(records) == 2


def test_a_folder_that_is_moved_away_stops_everything_and_goes_on_when_it_is_back(
    nodes: LocalCluster, clips: Path, tmp_path: Path
) -> None:
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds="0,1", epochs="8", pause="0.5")
    output, aside = tmp_path / "runs", tmp_path / "aside"
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile()))
    command = comparison.start(output, *flags)
    try:
        nodes.wait_until(lambda: len(at_work(output)) == 2, 120)
        output.rename(aside)
        said, _ = command.communicate(timeout=60)
    finally:
        stop(command)
    assert command.returncode == 2, said
    assert "the output folder is gone" in said.splitlines()[-1] and "Traceback" not in said
    nodes.wait_until(lambda: not nodes.ask("squeue", "-h", "-o", "%i"), 120)
    assert not output.exists()
    aside.rename(output)
    comparison.run(output, *flags)
    assert numbers(output) == local(comparison, tmp_path / "local", "0,1")


def test_one_of_each_fault_in_one_comparison(
    nodes: LocalCluster, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requeue, preemption, cancellation, a dead node, kill -9 and a killed command, in one comparison."""
    comparison = Comparison(tmp_path / "c", nodes, clips, seeds=first_seeds(TRIALS), epochs="6", pause="0.4")
    output, undisturbed = tmp_path / "drill", tmp_path / "undisturbed"
    quick = Comparison(tmp_path / "quick", nodes, clips, seeds=first_seeds(TRIALS), epochs="6")
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile()))
    done: list[str] = []
    dice = random.Random(0)

    def records() -> int:
        return len(list(output.glob("trials/*/record.json")))

    def within_trials() -> dict[str, int]:
        nodes.wait_until(lambda: len(at_work(output)) >= 2 or records() == TRIALS, 120)
        tasks = at_work(output)
        assert tasks, "nothing is left to disturb"
        return tasks

    def disturb(what: str, act: Callable[[str, int], bool]) -> None:
        """Do it to a task that is within a trial; one that ends at this very moment does not count."""
        for _ in range(20):
            task, pid = dice.choice(sorted(within_trials().items()))
            if act(task, pid):
                done.append(f"{what} {task}")
                return
        raise AssertionError(f"{what}: no task stayed long enough")

    def kill(task: str, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    process = comparison.start(output, *flags)
    disturb("requeued", lambda task, pid: nodes.try_("scontrol", "requeue", task).returncode == 0)
    nodes.wait_until(lambda: records() >= 2, 120)
    disturb("cancelled", lambda task, pid: nodes.try_("scancel", task).returncode == 0)
    disturb("kill -9 of", kill)

    within_trials()
    high = nodes.submit("sleep 3", "--partition", "high", "--array", "0-5", "--exclusive", "--mem", "1500")
    done.append("preempted by an array in the partition high")
    nodes.wait_until(lambda: not nodes.ask("squeue", "-h", "-j", high, "-o", "%i"), 120)

    within_trials()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done.append("kill -9 of the submitting command")

    within_trials()
    nodes.local("kill-node", "n2")
    done.append("killed the daemon and the steps of n2")
    process = comparison.start(output, *flags)
    done.append("the same command again")
    time.sleep(5)
    nodes.local("start-node", "n2")
    done.append("n2 is back")

    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    quick.run(undisturbed, "--workers", "2")
    assert len(numbers(output)) == TRIALS
    assert numbers(output) == numbers(undisturbed)
    tried = attempts(output)
    ends = Counter(each["outcome"] or "died" for each in tried)
    assert ends["done"] == TRIALS, "every trial has exactly one attempt that finished it"
    assert len(tried) >= TRIALS + 3, "what was disturbed was tried again"
    with capsys.disabled():
        print(f"\nfault drill over {TRIALS} trials: {'; '.join(done)}")
        print(f"  {len(tried)} attempts: {', '.join(f'{count} {end}' for end, count in sorted(ends.items()))}")
        for reason, count in Counter(re.sub(r"\d+(_\d+)?", "N", each["reason"]) for each in tried).items():
            print(f"  {count} x {reason or '(finished)'}")


def test_a_full_queue_is_topped_up(start_cluster: Start, clips: Path, tmp_path: Path) -> None:
    small = start_cluster("small", "--max-submit-jobs", "3", "--max-array-size", "3")
    comparison = Comparison(tmp_path / "c", small, clips, seeds=first_seeds(7), epochs="1")
    said = comparison.run(tmp_path / "runs", "--launcher", "slurm", "--profile", str(comparison.profile()))
    assert "the site takes no more tasks now" in said
    assert len(numbers(tmp_path / "runs")) == 7


def test_no_accounting_does_not_matter(start_cluster: Start, clips: Path, tmp_path: Path) -> None:
    plain = start_cluster("plain", "--no-accounting")
    comparison = Comparison(tmp_path / "c", plain, clips, seeds="0,1", epochs="4", pause="0.4")
    process = comparison.start(tmp_path / "runs", "--launcher", "slurm", "--profile", str(comparison.profile()))
    plain.wait_until(lambda: bool(at_work(tmp_path / "runs")), 60)
    os.kill(next(iter(at_work(tmp_path / "runs").values())), signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert len(numbers(tmp_path / "runs")) == 2


def test_trackers_follow_the_trials_of_a_job(
    nodes: LocalCluster, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    comparison, output = Comparison(tmp_path / "c", nodes, clips, seeds="0,1"), tmp_path / "slurm"
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile()), "--track", "tensorboard,wandb,mlflow")
    assert "left out" not in comparison.run(output, *flags)
    recorded = {folder: values[0] for folder, values in numbers(output).items()}

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(output / "tracking/mlflow").as_uri())
    (experiment,) = client.search_experiments()
    runs = {run.data.tags["petl_bench.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(recorded) == 2 and {key: run.info.status for key, run in runs.items()} == dict.fromkeys(
        recorded, "FINISHED"
    )
    for key, metrics in recorded.items():
        assert metrics.items() <= runs[key].data.metrics.items()
    assert len(list((output / "tracking/tensorboard").glob("*/events.out.tfevents.000000"))) == 2
    assert len(list((output / "tracking/wandb").rglob("*.wandb"))) == 2
