"""What SLURM's launcher and slurm/local_cluster say on a machine without SLURM."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.slurm.comparison import Comparison
from tests.slurm.conftest import LocalCluster, local_cluster


def test_without_sbatch_it_says_where_to_go(clips: Path, tmp_path: Path) -> None:
    nowhere = LocalCluster(tmp_path / "nowhere")
    comparison = Comparison(tmp_path / "c", nowhere, clips, seeds="0")
    environment = {**comparison.environment, "PATH": str(tmp_path)}
    done = subprocess.run(
        comparison.command(tmp_path / "runs", "--launcher", "slurm"),
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "sbatch is not on this machine's PATH" in done.stderr.strip().splitlines()[-1]


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    done = local_cluster("start", tmp_path / "cluster", PATH="/nowhere")  # sbatch lies where no daemon does
    assert done.returncode == 2
    missing, _, advice = done.stderr.partition(". Type: ")
    assert "not installed: " in missing and "slurm-wlm" in missing
    assert advice.startswith("apt install") and "slurm-wlm" in advice
    assert not (tmp_path / "cluster").exists()
