"""A small comparison as a user runs it: four kinds of coloured squares, a slow LoRA, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.slurm.conftest import LocalCluster
from tests.training.conftest import CLASSES, write_video

PLUGIN = Path(__file__).with_name("slow_lora.py")

#: What every profile of the tests says, over which each test puts its own.
PROFILE = {"time_min": 10, "cpus": 1, "memory_gb": 1.5, "poll_s": 0.5, "attempts": 20}


def write_clips(folder: Path) -> Path:
    """A folder data set: four classes, four training and two test clips of each."""
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for label, (name, colour) in enumerate(CLASSES.items()):
        for index in range(6):
            part = "train" if index < 4 else "test"
            clip = f"{name.replace(' ', '_')}/{part}_{index}.mp4"
            write_video(folder / clip, colour, seed=100 * label + index)
            rows[part].append(f"{clip} {label}")
    for part, lines in rows.items():
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    (folder / "labels.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    return folder


def first_seeds(count: int) -> str:
    """The first seeds, as flags name them."""
    return ",".join(map(str, range(count)))


class Comparison:
    """Trials of one method with many seeds, into an output folder of its own."""

    def __init__(self, folder: Path, cluster: LocalCluster, clips: Path, **changes: str) -> None:
        self.folder, self.cluster, self.clips = folder, cluster, clips
        self.settings = {"seeds": "0,1,2", "epochs": "2", "pause": "0", **changes}
        folder.mkdir(parents=True, exist_ok=True)

    def profile(self, **values: Any) -> Path:
        """A profile file with these values over the tests' own."""
        file = self.folder / "profile.toml"
        text = {name: json.dumps(value) for name, value in {**PROFILE, **values}.items() if not isinstance(value, dict)}
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        lines = [f"{name} = {value}" for name, value in text.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{option} = {json.dumps(value)}" for option, value in table.items())]
        file.write_text("\n".join(lines) + "\n")
        return file

    def command(self, output: Path, *flags: str) -> list[str]:
        """`petl-bench run` of this comparison."""
        return [
            sys.executable, "-m", "petl_bench", "run", "--methods", "slow_lora", "--plugin", str(PLUGIN),
            "--setting", "fully_supervised", "--datasets", "folder", "--set", f"folder.path={self.clips}",
            "--set", f"slow_lora.pause_s={self.settings['pause']}", "--set", "training.threads=1",
            "--set", "slow_lora.dropout=0.1", "--device", "cpu", "--batch-size", "4",
            "--seeds", self.settings["seeds"], "--epochs", self.settings["epochs"], "--output", str(output), *flags,
        ]  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """The cluster's, with a cache of the test's own."""
        return {**self.cluster.environment, "PETL_BENCH_CACHE": str(self.folder / "cache"), "NO_COLOR": "1"}

    def start(self, output: Path, *flags: str) -> subprocess.Popen[str]:
        """The command, in a process group of its own."""
        return subprocess.Popen(
            self.command(output, *flags), env=self.environment, cwd=self.folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, output: Path, *flags: str, status: int = 0) -> str:
        """The command to its end; what it said."""
        process = self.start(output, *flags)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == status, said
        return said

    def ask(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Another command of petl-bench."""
        return subprocess.run(
            [sys.executable, "-m", "petl_bench", *map(str, arguments)], env=self.environment, cwd=self.folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def numbers(output: Path) -> dict[str, Any]:
    """Everything that a run measured, by trial: metrics, history without seconds, every score, the adapter."""
    found = {}
    for record in sorted(output.glob("trials/*/record.json")):
        folder = record.parent
        with np.load(folder / "predictions-test.npz") as arrays:
            scores = arrays["scores"].tobytes()
        history = json.loads((folder / "details.json").read_text())["history"]
        plain = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
        metrics = json.loads(record.read_text())["metrics"]
        tensors = {name: array.tobytes() for name, array in load_file(folder / "adapter.safetensors").items()}
        found[folder.name] = (metrics, plain, scores, tensors)
    return found


def attempts(output: Path) -> list[dict[str, Any]]:
    """Every attempt at every trial; one that is being written at this moment is left out."""
    texts = [path.read_text() for path in sorted(output.glob("trials/*/attempts/*.json"))]
    return [json.loads(text) for text in texts if text.endswith("}\n")]


def at_work(output: Path) -> dict[str, int]:
    """The SLURM tasks that are within a trial of this output folder now, and their processes."""
    found = {}
    for attempt in attempts(output):
        if attempt["ended_at"] is not None:
            continue
        try:
            environment = Path(f"/proc/{attempt['pid']}/environ").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        values = dict(part.partition("=")[::2] for part in environment.split("\0"))
        array, task = values.get("SLURM_ARRAY_JOB_ID"), values.get("SLURM_ARRAY_TASK_ID")
        found[f"{array}_{task}" if array else values.get("SLURM_JOB_ID", "")] = int(attempt["pid"])
    return found
