"""Data sets of the Hub as data roots: fetched once, and then what a folder of the same files is."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pytest

from petl_bench.hub.datasets import LARGEST, data_folder, origin_of
from petl_bench.records.layout import RECORD
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from petl_bench.system.stored_json import LARGE, read_json
from tests.commands import petl_bench
from tests.hub.conftest import at_address
from tests.hub.server import FakeHub, Repository


@pytest.fixture
def commit(hub: FakeHub, videos: Path) -> str:
    """The six clips as the data set `me/clips`."""
    files = {file.relative_to(videos).as_posix(): file.read_bytes() for file in videos.rglob("*.mp4")}
    hub.datasets["me/clips"] = Repository()
    return hub.datasets["me/clips"].commit(files)


def run(datasets: str, output: Path, *more: str):
    return petl_bench("run", "--methods", "zero_shot", "--setting", "fully_supervised", "--datasets", datasets,
                      "--seeds", "0", "--workers", "1", "--output", output, *more)  # fmt: skip


def keys(*datasets: str, data_root: str | None = None) -> set[str]:
    spec = Spec(methods=("lora",), setting="fully_supervised", datasets=datasets, seeds=(0,), data_root=data_root)
    return {job.trial.key for job in plan(spec).jobs}


def test_the_same_clips_give_the_same_key(hub: FakeHub, commit: str, videos: Path) -> None:
    assert keys("mine=hf:datasets/me/clips") == keys(f"mine={videos}") == keys(f"mine=hf:datasets/me/clips@{commit}")
    assert keys("folder", data_root="hf:datasets/me/clips") == keys("folder", data_root=str(videos))
    assert sorted(hub.fetched()) == sorted(set(hub.fetched()))


def test_shards_give_the_key_of_the_files(hub: FakeHub, videos: Path, tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(videos, ".")
    hub.datasets["me/shards"] = Repository()
    hub.datasets["me/shards"].commit({"clips-000.tar": shard.read_bytes(), "README.md": b"# Clips"})
    assert keys("mine=hf:datasets/me/shards") == keys(f"mine={videos}")
    done = run("mine=hf:datasets/me/shards", tmp_path / "runs")
    assert done.returncode == 0, done.stderr


def test_it_is_fetched_once_and_its_commit_is_recorded(hub: FakeHub, commit: str, videos: Path, tmp_path: Path) -> None:
    rehearsed = run("mine=hf:datasets/me/clips", tmp_path / "runs", "--dry-run")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert re.search(rf"hf:datasets/me/clips: 6 files, [\d.]+ MB, commit {commit}", rehearsed.stderr)
    fetched = hub.fetched()
    assert len(fetched) == 6
    done = run("mine=hf:datasets/me/clips", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert hub.fetched() == fetched
    (record,) = (tmp_path / "runs" / "trials").glob(f"*/{RECORD}")
    values = read_json(record, LARGE)
    assert f"from hf:datasets/me/clips@{commit}" in values["notes"]
    # The worker gets the folder, and never the address.
    assert Path(values["trial"]["locations"]["mine"]["path"]).name == commit
    shutil.rmtree(tmp_path / "runs")
    again = run(f"mine={videos}", tmp_path / "runs")
    assert again.returncode == 0 and record.exists()


def test_commands_on_data_take_it_too(hub: FakeHub, commit: str) -> None:
    done = petl_bench("data", "status", "mine=hf:datasets/me/clips")
    assert done.returncode == 0, done.stderr
    rooted = petl_bench("data", "status", "folder", "--data-root", "hf:datasets/me/clips")
    assert rooted.returncode == 0, rooted.stderr
    assert len(hub.fetched()) == 6


def test_without_a_connection_the_cache_serves(
    hub: FakeHub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = data_folder("hf:datasets/me/clips")
    assert origin_of(folder / "growing") == f"hf:datasets/me/clips@{commit}" and origin_of(tmp_path) == ""
    at_address("http://127.0.0.1:9", tmp_path / "hub_cache", monkeypatch)
    assert data_folder("hf:datasets/me/clips") == folder
    assert "the data set is the one in its cache" in caplog.text


def test_what_cannot_be_fetched_is_one_line(
    hub: FakeHub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {text: run(f"mine={text}", tmp_path / "runs") for text in ("hf:datasets/me/none", "hf:me/clips")}
    assert "not found" in said["hf:datasets/me/none"].stderr
    assert "expected hf:datasets/USER/NAME" in said["hf:me/clips"].stderr
    name = next(iter(hub.datasets["me/clips"].commits[commit]))
    hub.sizes = {name: LARGEST + 1}
    said["large"] = run("mine=hf:datasets/me/clips", tmp_path / "runs")
    assert "hf download me/clips --repo-type dataset --local-dir DIR" in said["large"].stderr
    hub.datasets["me/clips"].commit({"../../escaped.mp4": b"x"})
    hub.sizes = {}
    said["odd"] = run("mine=hf:datasets/me/clips", tmp_path / "runs")
    assert "leads out of the data set" in said["odd"].stderr
    hub.answers = (200, b"<html>log in</html>")
    said["page"] = run("mine=hf:datasets/me/clips", tmp_path / "runs")
    assert "web page" in said["page"].stderr
    at_address("http://127.0.0.1:9", tmp_path / "empty", monkeypatch)
    said["down"] = run("mine=hf:datasets/me/clips", tmp_path / "runs")
    assert "cannot be reached" in said["down"].stderr
    for case, done in said.items():
        assert done.returncode == 2 and "Traceback" not in done.stderr, case
        assert len([line for line in done.stderr.splitlines() if line.startswith("petl-bench: ")]) == 1, done.stderr
    assert hub.fetched() == []
