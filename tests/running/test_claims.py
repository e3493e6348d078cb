"""Claims: one owner at a time, whoever dies when."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from petl_bench.errors import StoreError
from petl_bench.running.attempts import claims


def rewrite(folder: Path, number: int, **changes: object) -> None:
    """Change what an attempt's file says."""
    path = folder / "attempts" / f"{number:04d}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def age(folder: Path, number: int, seconds: float) -> None:
    """Make a heartbeat that old."""
    then = time.time() - seconds
    os.utime(folder / "attempts" / f"{number:04d}.json", (then, then))


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that is old by the clock need not be watched."""
    monkeypatch.setattr(claims, "WATCH_S", 0.0)


class Clock:
    """The clocks that claims go by, as a test sets them: `time.time`, the file system's, and the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_by = self.passed = 0.0
        true, monotonic = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: true() + self.set_by + self.passed)
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self.passed)
        monkeypatch.setattr(claims, "_clock_of", lambda folder, last: time.time())
        monkeypatch.setattr(psutil, "boot_time", lambda: true() - 1000.0 + self.set_by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def beat(folder: Path) -> None:
    """The owner of the first attempt gives a sign, by the clock as it is."""
    os.utime(folder / "attempts" / "0001.json", (time.time(), time.time()))


@pytest.mark.parametrize("hour", [3600.0, -3600.0])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_an_owner_keeps_its_trial_when_the_clock_is_set(tmp_path: Path, clock: Clock, hour: float, where: str) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    if where == "elsewhere":
        rewrite(tmp_path, 1, machine="another/machine")
    clock.set_by = hour
    for _ in range(20):
        assert claims.take(tmp_path, "a trial") is None
        clock.passed += claims.HEARTBEAT_EVERY_S
        if where == "elsewhere":
            beat(tmp_path)
    claim.end("done")


@pytest.mark.parametrize("hour", [3600.0, -3600.0])
def test_a_dead_owner_is_followed_within_minutes_though_the_clock_was_set(
    tmp_path: Path, clock: Clock, hour: float
) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    rewrite(tmp_path, 1, machine="another/machine")
    beat(tmp_path)
    clock.set_by = hour
    waited = 0.0
    while (second := claims.take(tmp_path, "a trial")) is None:
        clock.passed += 5.0
        waited += 5.0
        assert waited < 180.0
    assert waited >= claims.WATCH_S
    second.end("done")
    claim.end("done")


def test_an_owner_of_an_earlier_version_keeps_its_trial(tmp_path: Path) -> None:
    """It wrote when its process started in seconds since 1970."""
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    rewrite(tmp_path, 1, process_started=psutil.Process().create_time())
    assert claims.take(tmp_path, "a trial") is None
    claim.end("done")


def test_a_trial_has_one_owner_until_it_is_given_up(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    assert claims.take(tmp_path, "a trial") is None
    claim.end("failed", "an accident")
    again = claims.take(tmp_path, "a trial")
    assert again is not None
    again.end("done")
    assert [(a.number, a.outcome, a.reason) for a in claims.attempts(tmp_path)] == [
        (1, "failed", "an accident"),
        (2, "done", ""),
    ]


@pytest.mark.usefixtures("unwatched")
def test_an_owner_that_was_asleep_learns_that_its_trial_was_taken(tmp_path: Path) -> None:
    asleep = claims.take(tmp_path, "a trial")
    assert asleep is not None
    assert not asleep.lost()
    rewrite(tmp_path, 1, machine="another/machine")
    age(tmp_path, 1, claims.STALE_AFTER_S + 5)
    other = claims.take(tmp_path, "a trial")
    assert other is not None
    assert asleep.lost()
    assert not other.lost()
    asleep.end("interrupted")
    other.end("done")


def test_an_owner_whose_process_is_gone_is_followed_at_once(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=claims.take, args=(tmp_path, "a trial"))
    process.start()
    process.join()
    assert process.exitcode == 0
    (left,) = claims.attempts(tmp_path)
    assert left.ended_at is None
    assert not left.alive()
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    assert claim.attempt.number == 2
    claim.end("done")


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize(
    ("seconds", "alive"), [(0, True), (claims.STALE_AFTER_S - 10, True), (claims.STALE_AFTER_S + 5, False)]
)
def test_an_owner_elsewhere_is_judged_by_its_heartbeat(tmp_path: Path, seconds: float, alive: bool) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    rewrite(tmp_path, 1, machine="another/machine", host="another", pid=1)
    age(tmp_path, 1, seconds)
    (other,) = claims.attempts(tmp_path)
    assert other.alive() is alive
    second = claims.take(tmp_path, "a trial")
    assert (second is None) is alive
    if second is not None:
        second.end("done")
    claim.end("done")


def test_a_process_number_that_was_given_to_another_process_is_not_the_owner(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    rewrite(tmp_path, 1, process_started=1.0)
    assert not claims.attempts(tmp_path)[0].alive()
    claim.end("done")


def test_a_slow_process_on_this_machine_keeps_its_trial(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    age(tmp_path, 1, 10 * claims.STALE_AFTER_S)
    assert claims.take(tmp_path, "a trial") is None
    claim.end("done")


@pytest.mark.usefixtures("unwatched")
def test_a_claim_that_was_cut_off_while_it_was_written_counts_until_its_heartbeat_is_old(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "0001.json").write_text("{")
    assert claims.take(tmp_path, "a trial") is None
    age(tmp_path, 1, claims.STALE_AFTER_S + 5)
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    claim.end("done")


def test_the_heartbeat_renews_the_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_EVERY_S", 0.02)
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    age(tmp_path, 1, 1000)
    deadline = time.monotonic() + 20
    while time.time() - claim.path.stat().st_mtime > 100:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    claim.end("done")


def contend(folder: Path, rounds: int, log: Path) -> None:
    """Take the trial again and again, and note when it was held; used in several processes at once."""
    for _ in range(rounds):
        claim = claims.take(folder, "a trial")
        if claim is None:
            continue
        with log.open("a") as file:
            file.write(f"{time.monotonic_ns()} ")
            file.flush()
            time.sleep(0.002)
            file.write(f"{time.monotonic_ns()}\n")
        claim.end("failed")


def test_two_processes_never_hold_a_trial_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    logs = [tmp_path / "first.txt", tmp_path / "second.txt"]
    processes = [context.Process(target=contend, args=(tmp_path / "trial", 150, log)) for log in logs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    held = sorted(
        tuple(map(int, line.split())) for log in logs if log.exists() for line in log.read_text().splitlines()
    )
    assert len(held) > 10
    assert all(end <= start for (_, end), (start, _) in pairwise(held))


def test_attempts_are_numbered_beyond_four_digits(tmp_path: Path) -> None:
    claim = claims.take(tmp_path, "a trial")
    assert claim is not None
    claim.end("failed")
    for number in (9999, 10000):
        claims.finish(tmp_path, dataclasses.replace(claim.attempt, number=number), "failed", "")
    newest = claims.newest(tmp_path)
    assert newest is not None
    assert newest.number == 10000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="trial"):
        claims.take(tmp_path / "trial", "a trial")
