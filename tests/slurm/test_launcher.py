"""Comparisons on a real SLURM: the same numbers as on this machine, whatever happens to jobs, nodes and commands."""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.comparison import Comparison, at_work, attempts, first_seeds, numbers
from tests.slurm.conftest import LocalCluster

pytestmark = [pytest.mark.drill, pytest.mark.ci, pytest.mark.slow]


@pytest.fixture(autouse=True)
def empty_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves work for the next one in the queue that they share."""
    yield
    if "cluster" in request.fixturenames:
        cluster: LocalCluster = request.getfixturevalue("cluster")
        cluster.try_("scancel", "--user", getpass.getuser())
        cluster.wait_until(lambda: not cluster.ask("squeue", "-h", "-o", "%i"), 90)


def test_a_comparison_has_the_numbers_of_the_local_launcher(cluster: LocalCluster, clips: Path, tmp_path: Path) -> None:
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds=first_seeds(12))
    said = comparison.run(
        tmp_path / "slurm", "--launcher", "slurm", "--profile", str(comparison.profile(trials_per_job=2))
    )
    comparison.run(tmp_path / "local", "--workers", "2")
    assert len(numbers(tmp_path / "local")) == 12
    assert numbers(tmp_path / "slurm") == numbers(tmp_path / "local")
    assert "6 tasks" in said
    hosts = {node for line in cluster.ask("sacct", "-X", "-n", "-P", "-o", "NodeList").split() for node in [line]}
    assert {"n1", "n2", "n3"} <= hosts
    again = comparison.run(tmp_path / "slurm", "--launcher", "slurm", "--profile", str(comparison.profile()))
    assert "12 done, 0 to run" in again
    assert "submitted" not in again


@pytest.mark.timeout(600)
def test_near_its_time_limit_a_trial_writes_a_checkpoint_and_goes_on(
    cluster: LocalCluster, clips: Path, tmp_path: Path
) -> None:
    """50 s of training in jobs of a minute, which are warned 10 s before their end, or up to a minute earlier."""
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds="0", epochs="14", pause="0.9")
    profile = comparison.profile(time_min=1, grace_s=10, attempts=1)
    comparison.run(tmp_path / "slurm", "--launcher", "slurm", "--profile", str(profile))
    Comparison(tmp_path / "quick", cluster, clips, seeds="0", epochs="14").run(tmp_path / "local")
    assert numbers(tmp_path / "slurm") == numbers(tmp_path / "local")
    reasons = [each["reason"] for each in attempts(tmp_path / "slurm")]
    assert len(reasons) >= 2, "more starts than `attempts`: each got on"
    assert any("time limit" in reason for reason in reasons)


def test_detached_trials_are_recognised_and_can_be_cancelled(
    cluster: LocalCluster, clips: Path, tmp_path: Path
) -> None:
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds=first_seeds(9), epochs="40", pause="0.5")
    output = tmp_path / "runs"
    flags = ("--launcher", "slurm", "--profile", str(comparison.profile()))
    said = comparison.run(output, *flags, "--detach")
    assert "9 tasks" in said
    other = cluster.submit("sleep 30")
    said = comparison.run(output, *flags, "--detach")
    assert "9 trials are in the queue already" in said
    assert "submitted" not in said
    cluster.wait_until(lambda: len(at_work(output)) >= 2, 60)
    cluster.wait_until(lambda: "running" in comparison.ask("status", "--runs", output).stdout, 60)
    status = comparison.ask("status", "--runs", output).stdout
    assert "queued" in status
    assert "SLURM" in status
    key = next(path.parent.name for path in output.glob("trials/*/log.txt"))
    assert "attempt 1" in comparison.ask("logs", key[:10], "--runs", output).stdout
    cancelled = comparison.ask("cancel", "--runs", output)
    assert cancelled.returncode == 0, cancelled.stderr
    cluster.wait_until(lambda: cluster.ask("squeue", "-h", "-r", "-o", "%i") == other, 60)
    cluster.ask("scancel", other)


def test_what_sbatch_refuses_is_one_line_with_its_words(cluster: LocalCluster, clips: Path, tmp_path: Path) -> None:
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds="0")
    for changes, words in (({"account": "nobody"}, "Invalid account"), ({"time_min": 9999}, "time limit")):
        said = comparison.run(
            tmp_path / "runs", "--launcher", "slurm", "--profile", str(comparison.profile(**changes)), status=2
        )
        last = said.strip().splitlines()[-1]
        assert last.startswith("petl-bench: sbatch refused the job:"), said
        assert words in last
        assert "Traceback" not in said


def test_a_rehearsal_prints_the_script(cluster: LocalCluster, clips: Path, tmp_path: Path) -> None:
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds="0,1")
    profile = comparison.profile(
        partition="low", setup=["module load cuda"], extra={"reservation": "lab", "hold": True}
    )
    said = comparison.run(tmp_path / "runs", "--launcher", "slurm", "--profile", str(profile), "--dry-run")
    for line in ("--array=0-1%2", "--partition=low", "--reservation=lab", "--hold", "--signal=USR2@90", "--requeue"):
        assert f"#SBATCH {line}\n" in said
    assert "\nmodule load cuda\n" in said
    assert not (tmp_path / "runs").exists()


def test_ten_thousand_trials_are_submitted_within_the_limits(
    clips: Path, tmp_path: Path, start_cluster: Callable[..., LocalCluster], capsys: pytest.CaptureFixture[str]
) -> None:
    big = start_cluster("big", "--max-array-size", "1001", "--max-job-count", "20000")
    comparison = Comparison(tmp_path / "c", big, clips, seeds=first_seeds(10_000))
    profile = comparison.profile(extra={"hold": True})
    started = time.monotonic()
    said = comparison.run(tmp_path / "runs", "--launcher", "slurm", "--profile", str(profile), "--detach")
    seconds = time.monotonic() - started
    assert sorted(re.findall(r"submitted \d+: (\d+) tasks", said)) == sorted(["1001"] * 9 + ["991"])
    assert len(big.ask("squeue", "-r", "-h", "-o", "%i").split()) == 10_000
    started = time.monotonic()
    status = json.loads(comparison.ask("status", "--runs", tmp_path / "runs", "--json").stdout)
    assert status["counts"]["queued"] == 10_000
    with capsys.disabled():
        print(f"\n10,000 trials planned and submitted in {seconds:.1f} s; status in {time.monotonic() - started:.1f} s")
    assert comparison.ask("cancel", "--runs", tmp_path / "runs").returncode == 0
    big.wait_until(lambda: not big.ask("squeue", "-h", "-o", "%i"), 60)
