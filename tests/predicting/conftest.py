"""Finished trials of small data to label videos with."""

from __future__ import annotations

from pathlib import Path

import pytest

import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.records.layout import RECORD
from petl_bench.system.stored_json import LARGE, read_json
from tests.commands import petl_bench
from tests.searching.made_trials import Trained

#: One view, several views and crops, random views of several; two batches at least in each evaluation.
RUNS = (
    ("--setting", "base2novel", "--methods", "zero_shot,lora,msta,cocoop,clip_adapter"),
    ("--setting", "few_shot", "--shots", "2", "--methods", "lora,linear_probe,taskres,tip_adapter",
     "--set", "training.views=2", "--set", "training.crops=3", "--set", "training.eval_batch_size=96"),
    ("--setting", "retrieval", "--methods", "lora"),
)  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch of several methods in three settings."""
    runs, cache = tmp_path_factory.mktemp("predict") / "runs", tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 3, "test": 3})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        for asked in RUNS:
            done = petl_bench("run", *asked, "--seeds", "0", "--epochs", "1", "--workers", "0", "--output", runs)
            assert done.returncode == 0, done.stderr
    return Trained(runs, cache, keys_in(runs))


def keys_in(runs: Path) -> dict[tuple[str, str], str]:
    """The keys of trials by setting and method."""
    keys = {}
    for record in (runs / "trials").glob(f"*/{RECORD}"):
        trial = read_json(record, LARGE)["trial"]
        keys[trial["setting"], trial["method"]] = record.parent.name
    return keys


@pytest.fixture
def videos(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six clips in two folders, and a cache of its own."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setenv("PETL_BENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    return trained.six_clips(tmp_path / "videos")
