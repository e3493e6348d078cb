"""The clip cache gives back what was put in, stays within its bounds, and never breaks a run."""

from __future__ import annotations

import getpass
import json
import math
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from petl_bench.data.loading import clip_cache
from petl_bench.data.loading.clip_cache import CachedClip, ClipCache
from petl_bench.system import cache as cache_module


def entry(seed: int = 0, frames: int = 2) -> CachedClip:
    picture = np.random.default_rng(seed).integers(0, 256, (frames, 20, 30, 3), dtype=np.uint8)
    return CachedClip(picture, f"remark {seed}")


def on_disk(folder: Path, **bounds: int) -> ClipCache:
    """A cache without memory, so that every answer comes from the disk."""
    return ClipCache(folder, memory_bytes=0, **bounds)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if path.is_file()]


def same(one: CachedClip | None, two: CachedClip) -> bool:
    return one is not None and np.array_equal(one.frames, two.frames) and one.remark == two.remark


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_an_entry_comes_back_whole_in_another_process_s_cache(tmp_path: Path, memory_bytes: int) -> None:
    cache = ClipCache(tmp_path, memory_bytes=memory_bytes)
    cache.put("ab1", entry())
    assert same(cache.get("ab1"), entry())
    assert same(on_disk(tmp_path).get("ab1"), entry())
    assert cache.get("ab2") is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "replaced", "emptied"])
def test_a_damaged_entry_counts_as_absent_and_can_be_written_again(tmp_path: Path, damage: str) -> None:
    cache = on_disk(tmp_path)
    cache.put("ab1", entry())
    (file,) = files(tmp_path)
    data = file.read_bytes()
    broken = {"cut": data[:-7], "flipped": data[:-7] + b"\x00" + data[-6:], "replaced": b"x" * 99, "emptied": b""}
    file.write_bytes(broken[damage])
    assert cache.get("ab1") is None
    cache.put("ab1", entry())
    assert same(cache.get("ab1"), entry())


@given(at=st.integers(0, 10_000), value=st.binary(min_size=1, max_size=12))
def test_overwritten_bytes_are_noticed_wherever_they_are(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = on_disk(folder)
    cache.put("ab1", entry())
    (file,) = files(folder)
    data = file.read_bytes()
    at %= len(data)
    file.write_bytes(data[:at] + value + data[at + len(value) :])
    found = cache.get("ab1")
    assert found is None or np.array_equal(found.frames, entry().frames)


def test_the_key_changes_with_the_file_and_with_how_it_is_decoded(tmp_path: Path) -> None:
    cache, path = ClipCache(tmp_path / "cache"), tmp_path / "clip.mp4"
    path.write_bytes(b"one")
    keys = [
        cache.key(path, "auto", 256, "whole"),
        cache.key(path, "pyav", 256, "whole"),
        cache.key(path, "auto", 224, "whole"),
        cache.key(path, "auto", 256, "views-8x1"),
        cache.key(tmp_path / "other.mp4", "auto", 256, "whole"),
    ]
    assert keys[0] == cache.key(path, "auto", 256, "whole")
    os.utime(path, ns=(1, 1))
    keys.append(cache.key(path, "auto", 256, "whole"))
    path.write_bytes(b"longer")
    os.utime(path, ns=(1, 1))
    keys.append(cache.key(path, "auto", 256, "whole"))
    assert len(set(keys)) == len(keys)


def test_the_entries_not_used_for_longest_are_removed_first(tmp_path: Path) -> None:
    size = entry().frames.nbytes
    cache = on_disk(tmp_path, max_bytes=5 * size)
    for number in range(4):
        cache.put(f"{number:02d}x", entry(number))
        os.utime(next(tmp_path.glob(f"*/{number:02d}x*")), ns=(number + 1, number + 1))
    assert cache.get("00x") is not None
    for number in range(4, 7):
        cache.put(f"{number:02d}x", entry(number))
    assert cache.get("00x") is not None
    assert cache.get("01x") is None
    assert cache.get("06x") is not None
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 5 * size


def test_memory_is_bounded_and_serves_what_was_used_last(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, memory_bytes=2 * entry().frames.nbytes)
    for number in range(3):
        cache.put(f"{number:02d}x", entry(number))
    for file in files(tmp_path):
        file.unlink()
    assert cache.get("00x") is None
    assert same(cache.get("01x"), entry(1))
    assert same(cache.get("02x"), entry(2))


def test_a_disk_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = ClipCache(tmp_path / "cache")
    cache.put("ab1", entry())
    assert same(cache.get("ab1"), entry())


def test_the_cache_travels_to_workers_without_its_memory(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path)
    cache.put("ab1", entry(frames=64))
    sent = pickle.dumps(cache)
    assert len(sent) < 2000
    assert same(pickle.loads(sent).get("ab1"), entry(frames=64))


def forge(file: Path, shape: list[int], size: int) -> None:
    """An entry whose header promises frames of that shape, in a file of that many bytes (most of them holes)."""
    header = json.dumps({"frames": {"dtype": "U8", "shape": shape, "data_offsets": [0, math.prod(shape)]},
                         "__metadata__": {"xxh3": "0", "remark": ""}}).encode()  # fmt: skip
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(size or stream.tell() + math.prod(shape))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ([2**20, 2**10, 2**8, 3], 4096),  # far more than the file has
        ([2**20, 2**10, 2**8, 3], 0),  # as much as the file seems to have
        ([2**62, 2, 2, 3], 4096),
        ([-1, -20, 30, 3], 4096),
        ([1800], 0),
        ([2, 20, 30, 1], 0),
        ([], 0),
    ],
)
def test_an_entry_s_size_is_checked_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[int], size: int
) -> None:
    cache = on_disk(tmp_path)
    cache.put("ab1", entry())
    (file,) = files(tmp_path)
    forge(file, shape, size)
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory was taken"))
    assert cache.get("ab1") is None


# ---------------------------------------------------------------- what others can write


@pytest.mark.parametrize("open_to_others", [".", "ab", "ab/ab1.safetensors"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_nothing_is_taken_from_what_others_can_write(tmp_path: Path, open_to_others: str, mode: int) -> None:
    folder = tmp_path / "cache"
    on_disk(folder).put("ab1", entry())
    place = folder / open_to_others
    place.chmod(place.stat().st_mode | mode)
    assert on_disk(folder).get("ab1") is None
    place.chmod(place.stat().st_mode & ~mode)
    assert same(on_disk(folder).get("ab1"), entry())


def test_an_open_folder_is_not_written_to_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    cache = ClipCache(folder)
    for number in range(3):
        cache.put(f"{number:02d}x", entry(number))
        assert same(cache.get(f"{number:02d}x"), entry(number))  # from memory
    assert files(folder) == []
    (told,) = caplog.messages
    assert "others can write to it (mode 777)" in told
    assert f"chmod -R go-w {folder}" in told


def test_another_s_cache_is_read_if_the_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk(tmp_path / "cache").put("ab1", entry())
    monkeypatch.setattr(cache_module.os, "geteuid", lambda: 4242)
    owner = "root" if os.getuid() == 0 else getpass.getuser()
    monkeypatch.setattr(cache_module, "_ROOT", -1)
    assert on_disk(tmp_path / "cache").get("ab1") is None
    assert f"it belongs to {owner}" in cache_module.distrust(tmp_path / "cache")
    for trusted in (owner, f"alice, {os.getuid()}"):
        monkeypatch.setenv("PETL_BENCH_CACHE_OWNERS", trusted)
        assert same(on_disk(tmp_path / "cache").get("ab1"), entry())


def test_what_is_made_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        on_disk(tmp_path / "new" / "cache" / "clips").put("ab1", entry())
    finally:
        os.umask(before)
    made = [*(tmp_path / "new").rglob("*"), tmp_path / "new"]
    assert len(made) == 5
    assert all(place.stat().st_mode & 0o077 == 0 for place in made)


# ---------------------------------------------------------------- full disks


def test_a_full_disk_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(clip_cache, "save_file", full)
    cache = ClipCache(tmp_path)
    for number in range(3):
        cache.put(f"{number:02d}x", entry(number))
    assert same(cache.get("00x"), entry(0))
    (told,) = caplog.messages
    assert "decoded clips are not kept there" in told
    assert "No space left on device" in told
    assert files(tmp_path) == []


def test_what_workers_meet_is_told_by_the_process_that_made_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = ClipCache(tmp_path / "cache")
    worker_s: ClipCache = pickle.loads(pickle.dumps(cache))
    worker_s.put("ab1", entry())
    assert caplog.messages == []
    cache.look()
    cache.look()
    assert len(caplog.messages) == 1


@pytest.mark.drill
def test_a_run_with_its_cache_on_a_full_disk(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    """The same numbers as with room, one line on the terminal and in the log."""
    for label, codec in (("Run", "libx264"), ("Walk", "mpeg4")):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(6):
            write_video(tmp_path / "mine" / label / f"{number}.mp4", 40 + number, codec=codec)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        (disk / "filling").write_bytes(bytes(2**21 - 2**17))
        full = _run(tmp_path / "full", disk / "cache", tmp_path / "mine")
    finally:
        subprocess.run(["umount", disk], check=True)
    roomy = _run(tmp_path / "roomy", tmp_path / "cache", tmp_path / "mine")
    assert full["metrics"] == roomy["metrics"]
    for told in ("log", "told"):
        assert full[told].count("decoded clips are not kept there") == 1
        assert "decoded clips are not kept there" not in roomy[told]


def _run(output: Path, cache: Path, videos: Path) -> dict[str, Any]:
    line = [sys.executable, "-m", "petl_bench", "run", "--methods", "lora", "--setting", "few_shot", "--shots", "2"]
    line += ["--datasets", "folder", "--set", f"folder.path={videos}", "--seeds", "0", "--epochs", "1"]
    environment = {**os.environ, "PETL_BENCH_CACHE": str(cache), "NO_COLOR": "1"}
    done = subprocess.run(
        [*line, "--output", str(output)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (trial,) = (output / "trials").iterdir()
    record = json.loads((trial / "record.json").read_text())
    return {"metrics": record["metrics"], "log": (trial / "log.txt").read_text(), "told": done.stderr}


def _write_many(folder: Path, worker: int) -> None:
    cache = on_disk(folder, max_bytes=40 * entry().frames.nbytes)
    for number in range(60):
        cache.put(f"{number:02d}shared", entry(number))
        found = cache.get(f"{(number * 7 + worker) % 60:02d}shared")
        assert found is None or same(found, entry((number * 7 + worker) % 60))


def test_several_processes_write_and_read_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, worker)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert all(file.suffix == ".safetensors" for file in files(tmp_path))
