"""Finished trials of small data, and folders of videos to search."""

from __future__ import annotations

from pathlib import Path

import pytest

import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.records.layout import RECORD
from petl_bench.system.stored_json import LARGE, read_json
from tests.commands import petl_bench
from tests.searching.made_trials import Trained


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch of a few methods."""
    runs, cache = tmp_path_factory.mktemp("search") / "runs", tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    few = ("--setting", "few_shot", "--shots", "2", "--methods", "zero_shot,lora,cocoop,linear_probe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        for asked in (few, ("--setting", "retrieval", "--methods", "lora")):
            done = petl_bench("run", *asked, "--seeds", "0", "--epochs", "1", "--workers", "1", "--output", runs)
            assert done.returncode == 0, done.stderr
    keys = {}
    for record in (runs / "trials").glob(f"*/{RECORD}"):
        trial = read_json(record, LARGE)["trial"]
        keys[trial["setting"], trial["method"]] = record.parent.name
    return Trained(runs, cache, keys)


@pytest.fixture
def videos(tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six clips in two folders, and a cache with no index."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setenv("PETL_BENCH_CACHE", str(cache))
    return trained.six_clips(tmp_path / "videos")
