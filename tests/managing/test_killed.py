"""What is killed while it deletes or merges: every trial is whole or not there, and a repetition ends it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from tests.managing.conftest import is_sound
from tests.reports.synthetic_records import make_result, make_trial

TRIALS = 30


def fill(runs: Path) -> set[str]:
    keys = set()
    for seed in range(TRIALS):
        trial = make_trial("lora", seed)
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        (folder / "adapter.safetensors").write_bytes(random.Random(seed).randbytes(200_000))
        write_record(folder, trial, make_result(75.0, 50.0, trainable=50_000))
        keys.add(trial.key)
    return keys


def petl_bench(*arguments: object, kill_after: float | None = None) -> int:
    command = [sys.executable, "-m", "petl_bench", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process.pid, signal.SIGKILL)
    return process.wait(timeout=120)


def sound(runs: Path) -> set[str]:
    """The trials of a folder; each of them is whole."""
    folders = list((runs / "trials").iterdir()) if (runs / "trials").is_dir() else []
    assert all(map(is_sound, folders))
    return {folder.name for folder in folders}


@pytest.mark.drill
def test_what_is_killed_leaves_whole_trials(tmp_path: Path) -> None:
    keys = fill(tmp_path / "runs")
    chance: Any = random.Random(7)
    began = time.monotonic()
    petl_bench("runs", "merge", tmp_path / "runs", "--into", tmp_path / "probe")
    longest = time.monotonic() - began
    for turn in range(5):
        into, source = tmp_path / f"into{turn}", tmp_path / f"source{turn}"
        shutil.copytree(tmp_path / "runs", source)
        for _ in range(2):
            petl_bench("runs", "merge", source, "--into", into, kill_after=chance.uniform(0.2, 1) * longest)
            assert sound(into) <= keys and sound(source) == keys
        assert petl_bench("runs", "merge", source, "--into", into) == 0
        assert sound(into) == keys and not list(into.glob(".*"))
        for _ in range(2):
            delete = ("runs", "delete", "--methods", "lora", "--yes", "--runs", source)
            petl_bench(*delete, kill_after=chance.uniform(0.2, 1) * longest)
            assert sound(source) <= keys
        if sound(source):
            assert petl_bench(*delete) == 0
        assert sound(source) == set()
        shutil.rmtree(into)
        shutil.rmtree(source)
