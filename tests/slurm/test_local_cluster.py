"""slurm/local_cluster: a SLURM that queues, requeues, preempts, refuses and loses nodes, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import submitit

from tests.slurm.conftest import SCRIPT, LocalCluster, local_cluster

pytestmark = [pytest.mark.drill, pytest.mark.ci, pytest.mark.slow]
Start = Callable[..., LocalCluster]
SYSTEM_FOLDERS = [
    Path(parent, name)
    for parent in ("/etc", "/run", "/var/lib", "/var/log", "/var/spool")
    for name in ("munge", "slurm")
]


def changed_when() -> list[int]:
    """When the folders that the packages' own services use were changed; 0 where there is none."""
    return [folder.stat().st_mtime_ns if folder.exists() else 0 for folder in SYSTEM_FOLDERS]


def living(cluster: LocalCluster) -> list[str]:
    """The names of processes that this cluster's folder is in the environment of, or the command line."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline", "name", "status"]):
        known = [*(process.info["environ"] or {}).values(), *(process.info["cmdline"] or [])]
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(cluster.folder) in text for text in known):
            found.append(process.info["name"])
    return found


def runs(pid_file: Path) -> bool:
    """Whether the process whose number a file holds is alive."""
    pid = int(pid_file.read_text())
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# ---- jobs ----------------------------------------------------------------------------------------------------------


def test_an_array_runs_on_every_node_and_accounting_tells(cluster: LocalCluster, tmp_path: Path) -> None:
    script = f"sleep 2; echo $SLURMD_NODENAME > {tmp_path}/$SLURM_ARRAY_TASK_ID"
    job = cluster.submit(script, "--array=0-5", "--cpus-per-task=1")
    cluster.wait_until(lambda: cluster.states(job) == ["COMPLETED"] * 6)
    nodes = [(tmp_path / str(index)).read_text().strip() for index in range(6)]
    assert sorted(nodes) == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_submitit_maps_an_array(cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    executor.update_parameters(time=5, array_parallelism=4)
    jobs = executor.map_array(pow, [2, 3, 4], [5, 5, 5])
    assert [job.result() for job in jobs] == [32, 243, 1024]
    cluster.wait_until(lambda: cluster.states(jobs[0].job_id.split("_")[0]) == ["COMPLETED"] * 3)
    assert {job.watcher.get_state(job.job_id, mode="force") for job in jobs} == {"COMPLETED"}


def test_a_requeued_job_runs_again_and_knows_it(cluster: LocalCluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = cluster.submit(f"echo ${{SLURM_RESTART_COUNT:-first}} >> {log}; [ $SLURM_RESTART_COUNT ] || sleep 100")
    cluster.wait_until(log.exists)
    cluster.ask("scontrol", "requeue", job)
    cluster.wait_until(lambda: cluster.states(job, "-D") == ["REQUEUED", "COMPLETED"])
    assert log.read_text().split() == ["first", "1"]


def test_the_high_partition_preempts_and_the_job_comes_back(cluster: LocalCluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, signal, time\n"
        f"log = pathlib.Path({str(log)!r}).open('a', buffering=1)\n"
        "signal.signal(signal.SIGTERM, lambda *_: log.write('SIGTERM\\n'))\n"
        "again = os.environ.get('SLURM_RESTART_COUNT')\n"
        "log.write(f'begin {again}\\n')\n"
        "end = time.monotonic() + (0 if again else 100)\n"
        "while time.monotonic() < end: time.sleep(0.1)\n"
    )
    low = cluster.submit(f"srun {sys.executable} {program}", "--nodelist=n3", "--cpus-per-task=2")
    cluster.wait_until(log.exists)
    high = cluster.submit("true", "--nodelist=n3", "--cpus-per-task=2", "--partition=high")
    cluster.wait_until(lambda: cluster.states(high) == ["COMPLETED"])
    cluster.wait_until(lambda: cluster.states(low, "-D") == ["PREEMPTED", "COMPLETED"])
    lines = log.read_text().splitlines()
    assert lines[0] == "begin None" and lines[-1] == "begin 1"
    assert "SIGTERM" in lines


def test_a_node_is_lost_with_its_jobs_and_comes_back(cluster: LocalCluster, tmp_path: Path) -> None:
    pid, log = tmp_path / "pid", tmp_path / "log"
    script = f"echo $SLURMD_NODENAME >> {log}; [ $SLURM_RESTART_COUNT ] || {{ sleep 100 & echo $! > {pid}; wait; }}"
    job = cluster.submit(script, "--nodelist=n2")
    other = cluster.submit("sleep 20", "--nodelist=n1")
    cluster.wait_until(lambda: pid.exists() and bool(pid.read_text()))
    cluster.local("kill-node", "n2")
    try:
        assert not runs(pid)
        assert "n2         not running" in local_cluster("status", cluster.folder).stdout
        cluster.wait_until(lambda: cluster.node_state("n2") == "DOWN+NOT_RESPONDING")
        cluster.wait_until(lambda: cluster.states(job, "-D") == ["NODE_FAIL", "PENDING"])
    finally:
        cluster.local("start-node", "n2")
    assert "n2 runs already" in local_cluster("start-node", cluster.folder, "n2").stderr
    cluster.wait_until(lambda: cluster.states(job, "-D") == ["NODE_FAIL", "COMPLETED"])
    assert log.read_text().split() == ["n2", "n2"]
    cluster.wait_until(lambda: cluster.states(other, "-D") == ["COMPLETED"])


def test_limits_and_wrong_words_are_refused(cluster: LocalCluster) -> None:
    def refusal(*flags: str) -> str:
        done = cluster.try_("sbatch", "--hold", *flags, "--wrap", "true")
        assert done.returncode == 1
        return done.stderr

    assert "Invalid job array specification" in refusal("--array=0-21")
    assert "Invalid account" in refusal("--account=nobody")
    assert "Invalid partition name" in refusal("--partition=gpu")
    assert "Requested time limit is invalid" in refusal("--time=61")
    first = cluster.submit("true", "--hold", "--array=0-20")
    try:
        assert "AssocMaxSubmitJobLimit" in refusal("--array=0-20")
    finally:
        cluster.ask("scancel", first)


# ---- starting and stopping -----------------------------------------------------------------------------------------


def test_stop_ends_every_process_and_leaves_nothing_outside(start_cluster: Start, tmp_path: Path) -> None:
    before = changed_when()
    cluster = start_cluster("so/long/a/path/that/sockets/do/not/fit/" + 6 * "sixteen_letters_", "--no-accounting")
    [short] = {line.split("=")[2] for line in cluster.config.read_text().splitlines() if "=socket=" in line}
    sockets = Path(short.split(",")[0]).parent
    assert sockets.parent == Path("/tmp") and stat.S_ISSOCK((sockets / "munge").stat().st_mode)
    wild = f"setsid sleep 300 & echo $! > {tmp_path}/wild"
    bare = f"env -i sleep 300 & echo $! > {tmp_path}/bare"
    cluster.submit(f"{wild}; {bare}; touch {tmp_path}/begun; wait")
    cluster.wait_until((tmp_path / "begun").exists)
    assert runs(tmp_path / "wild") and runs(tmp_path / "bare")

    cluster.local("stop")
    assert not runs(tmp_path / "wild") and not runs(tmp_path / "bare")
    assert living(cluster) == []
    assert not sockets.exists()
    assert changed_when() == before
    cluster.local("stop")
    assert local_cluster("status", cluster.folder).returncode == 1


def test_two_clusters_do_not_know_of_each_other(cluster: LocalCluster, start_cluster: Start) -> None:
    other = start_cluster("other", "--no-accounting", "--nodes", "2", "--cpus", "5")
    assert other.ask("sinfo", "--noheader", "--partition=low", "--format=%D %c") == "2 5"
    assert cluster.ask("sinfo", "--noheader", "--partition=low", "--format=%D %c") == "3 2"
    other.local("stop")
    cluster.local("status")
    assert living(other) == []


def test_a_cluster_that_crashed_is_stopped_and_started_again(start_cluster: Start) -> None:
    cluster = start_cluster("crash", "--no-accounting")
    assert "a cluster runs in" in local_cluster("start", cluster.folder).stderr
    for line in cluster.local("status").stdout.splitlines():
        if "process" in line:
            os.kill(int(line.split()[-1]), signal.SIGKILL)
    cluster.wait_until(lambda: "process" not in local_cluster("status", cluster.folder).stdout)
    cluster.local("stop")
    again = start_cluster("crash", "--no-accounting")
    assert again.ask("squeue", "--noheader") == ""
    assert "no node 'n9'; there are n1, n2, n3" in local_cluster("kill-node", cluster.folder, "n9").stderr


def test_env_is_for_the_shell(start_cluster: Start) -> None:
    cluster = start_cluster("shell", "--no-accounting", "--nodes", "1")
    script = f'eval "$({SCRIPT} env {cluster.folder})"; sinfo --noheader --format=%P'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["low*", "high"]


@pytest.mark.usefixtures("cluster")  # skipped without its packages
def test_a_daemon_that_fails_says_why_and_takes_the_others_along(tmp_path: Path) -> None:
    false = tmp_path / "bin" / "slurmd"
    false.parent.mkdir()
    false.write_text("#!/bin/sh\necho the disk is upside down\nexit 7\n")
    false.chmod(0o755)
    broken = LocalCluster(tmp_path / "broken")
    done = local_cluster("start", broken.folder, "--no-accounting", PATH=f"{false.parent}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "n1 ended with status 7" in done.stderr and "the disk is upside down" in done.stderr
    assert "Traceback" not in done.stderr
    assert living(broken) == []


@pytest.mark.parametrize("part", ["munged", "mariadbd", "slurmdbd"])
@pytest.mark.usefixtures("cluster")  # skipped without its packages
def test_a_start_that_is_ended_cleans_up(tmp_path: Path, part: str) -> None:
    broken = LocalCluster(tmp_path / "broken")
    process = subprocess.Popen([sys.executable, str(SCRIPT), "start", str(broken.folder)], start_new_session=True)
    try:
        broken.wait_until((broken.folder / "log" / f"{part}.out").exists)
        process.terminate()
        assert process.wait(timeout=30) == 143
        assert living(broken) == []
    finally:
        process.kill()
        local_cluster("stop", broken.folder)


# ---- wrong use -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cluster")  # skipped without its packages
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("Once")
    done = local_cluster("start", tmp_path / "thesis")
    assert done.returncode == 2 and "is not empty" in done.stderr
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    for command in ("stop", "status", "env"):
        assert "no cluster was started in" in local_cluster(command, tmp_path / "thesis").stderr
    done = local_cluster("start", tmp_path / "my cluster")
    assert done.returncode == 2 and "spaces" in done.stderr
    assert not (tmp_path / "my cluster").exists()
    done = local_cluster("start", tmp_path / "new", "--no-accounting", "--max-submit-jobs", "5")
    assert done.returncode == 2 and "--max-submit-jobs" in done.stderr
