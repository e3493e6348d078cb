"""The clip cache gives back what was put in, stays within its bounds, and never breaks a run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.data.clip_cache import CachedClip, ClipCache


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
