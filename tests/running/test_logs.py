"""`petl-bench logs`: finding a trial, and showing what there is to read about it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing import trial_log
from petl_bench.managing.lookup import find_trial
from petl_bench.managing.trial_log import tail
from petl_bench.running.attempts import claims
from tests.running.fake_scheduler import Folder, Scheduler, petl_bench, start_scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return start_scheduler()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs", 12)


def begun(folder: Folder, number: int, text: str, outcome: str = "failed") -> None:
    claim = claims.take(folder.trial(number), "a trial")
    assert claim is not None
    with (folder.trial(number) / "log.txt").open("a") as log:
        log.write(text)
    claim.end(outcome, "non-finite loss")


@pytest.mark.parametrize("text", ["key", "beginning", "msta toys seed 1", "SEED 1", "title"])
def test_a_trial_is_found_by_key_or_words(folder: Folder, text: str) -> None:
    key = folder.keys[1]
    texts = {"key": key, "beginning": key[:6], "title": folder.titles[key]}
    assert find_trial(folder.titles, texts.get(text, text), folder.runs) == key


def test_an_ambiguous_trial_lists_the_candidates(folder: Folder) -> None:
    with pytest.raises(UsageError, match="'msta' means 12 trials") as caught:
        find_trial(folder.titles, "msta", folder.runs)
    assert folder.titles[folder.keys[0]] in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_words_of_a_title_may_have_others_between(folder: Folder) -> None:
    title = "lora toys split 1 2-shot seed 0"
    known = {"a" * 64: title, "b" * 64: title.replace("seed 0", "seed 10"), "c" * 64: title.replace("lora", "dora")}
    for text in ("lora seed 0", "lora toys seed 0", "seed 0 lora", "Lora 2-shot seed 0"):
        assert find_trial(known, text, folder.runs) == "a" * 64
    for text in ("lora split 0", "lora seed 1", "lora 0", "lor seed 0"):
        with pytest.raises(UsageError, match="unknown trial"):
            find_trial(known, text, folder.runs)


def test_a_folder_without_trials_says_so(folder: Folder) -> None:
    with pytest.raises(UsageError, match=r"there is no trial in it\. Say which folder of runs with --runs DIR$"):
        find_trial({}, "lora", folder.runs)
    (folder.runs / "trials").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=f"with --runs DIR, such as {folder.runs}$"):
        find_trial({}, "lora", folder.runs.parent)


@pytest.mark.parametrize(
    ("text", "says"),
    [("mtsa toys seed 1", "did you mean 'msta toys seed 1'"), ("ffffffff", "unknown trial"), ("", "unknown trial")],
)
def test_an_unknown_trial_gets_a_near_name(folder: Folder, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find_trial(folder.titles, text, folder.runs)


def test_the_log_is_printed_with_its_attempts_beside_it(folder: Folder) -> None:
    begun(folder, 3, "first try\n", "interrupted")
    begun(folder, 3, "second try\n")
    shown = petl_bench("logs", "seed 3", "--runs", str(folder.runs))
    assert shown.stdout == "first try\nsecond try\n"
    assert "attempt 1 on" in shown.stderr
    assert "failed after 0 s: non-finite loss" in shown.stderr
    assert petl_bench("logs", "seed 3", "--runs", str(folder.runs), "--tail", "1").stdout == "second try\n"


def test_a_trial_outside_every_plan_is_found(folder: Folder) -> None:
    (folder.runs / "plans" / "plan.json").unlink()
    begun(folder, 3, "hello\n")
    assert petl_bench("logs", folder.keys[3][:8], "--runs", str(folder.runs)).stdout == "hello\n"


def test_a_trial_that_never_began_shows_what_its_job_printed(folder: Folder, scheduler: Scheduler) -> None:
    out = Path(folder.submit("7", *[[number] for number in range(12)]).folder)
    (out / "7_1_0_log.err").write_text("module: command not found\n")
    (out / "7_1_0_log.out").write_text("hello from n1\n")
    (out / "7_10_0_log.out").write_text("of another task\n")
    (out / "7_7_1_log.out").write_text("of the second process of another task\n")
    (out / "7_1_submitted.pkl").write_text("no text")
    scheduler.known["7_1"] = "running on n1"
    shown = petl_bench("logs", "seed 1", "--runs", str(folder.runs))
    assert shown.stdout == "module: command not found\nhello from n1\n"
    assert "FAKE 7_1: running on n1" in shown.stderr
    scheduler.known.clear()
    assert "does not know it any more" in petl_bench("logs", "seed 1", "--runs", str(folder.runs)).stderr
    assert "its job wrote nothing" in petl_bench("logs", "seed 2", "--runs", str(folder.runs)).stderr


def test_a_trial_that_was_never_submitted_says_so(folder: Folder) -> None:
    shown = petl_bench("logs", "seed 1", "--runs", str(folder.runs))
    assert shown.stdout == ""
    assert "not submitted" in shown.stderr


def test_following_prints_until_the_trial_ends(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "_LOOK_EVERY_S", 0.01)
    claim = claims.take(folder.trial(1), "a trial")
    assert claim is not None
    log = folder.trial(1) / "log.txt"
    log.write_text("before\nat the start\n")

    def go_on() -> None:
        for step in range(5):
            time.sleep(0.03)
            with log.open("a") as file:
                file.write(f"step {step}\n")
        folder.record(1)
        claim.end("done")

    worker = threading.Thread(target=go_on)
    worker.start()
    shown = petl_bench("logs", "seed 1", "--runs", str(folder.runs), "--follow", "--tail", "1")
    worker.join()
    assert shown.stdout == "at the start\n" + "".join(f"step {step}\n" for step in range(5))


def test_following_waits_for_a_queued_trial(
    folder: Folder, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_log, "_LOOK_EVERY_S", 0.01)
    folder.submit("7", [1])
    scheduler.known["7_0"] = "pending"

    def begin() -> None:
        time.sleep(0.1)
        begun(folder, 1, "it began\n")

    worker = threading.Thread(target=begin)
    worker.start()
    shown = petl_bench("logs", "seed 1", "--runs", str(folder.runs), "--follow")
    worker.join()
    assert shown.stdout == "it began\n"
    assert len(scheduler.asked) <= 3  # not at every look


@pytest.mark.parametrize("lines", [0, 1, 3, 50_000, 1_000_000])
def test_the_tail_of_a_long_file(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "log"
    rows = [f"line {number}\n" for number in range(60_000)]
    path.write_text("".join(rows) + "unended")
    expected = "".join([*rows, "unended"][-lines:]) if lines else ""
    assert path.read_text()[tail(path, lines) :] == expected


def test_no_folder_of_runs_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder of runs"):
        petl_bench("logs", "seed 1", "--runs", str(tmp_path / "nothing"))
