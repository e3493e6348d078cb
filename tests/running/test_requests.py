"""Cancellations and requests to run again: one order for all processes, whatever clocks and torn files say."""

from __future__ import annotations

import json
import multiprocessing
from itertools import pairwise
from pathlib import Path

import pytest

from petl_bench.errors import StoreError
from petl_bench.running.attempts.requests import ask_for, cancel, cancelled_since, standing


def test_a_cancellation_is_for_those_who_asked_before_it(tmp_path: Path) -> None:
    before, _ = ask_for(tmp_path, {"a", "b"})
    cancel(tmp_path, {"a"})
    after, lifted = ask_for(tmp_path, {"a", "b"})
    assert lifted.keys() == {"a"}
    assert cancelled_since(tmp_path, before).keys() == {"a"}, "who waited before does not run it, though it was lifted"
    assert cancelled_since(tmp_path, after) == {}
    assert standing(tmp_path) == {}
    cancel(tmp_path, {"a", "b"})
    assert cancelled_since(tmp_path, after).keys() == standing(tmp_path).keys() == {"a", "b"}


def test_only_what_is_asked_for_is_lifted(tmp_path: Path) -> None:
    cancel(tmp_path, {"a", "b"})
    asked, _ = ask_for(tmp_path, {"b", "c"})
    assert standing(tmp_path).keys() == {"a"}
    again, lifted = ask_for(tmp_path, {"b", "c"})
    assert (again, lifted) == (asked, {})


def race(folder: Path, number: int) -> None:
    """Cancel, or ask, again and again; used in several processes at once."""
    for turn in range(20):
        if number % 2:
            cancel(folder, {"a", f"{number}-{turn}"})
        else:
            ask_for(folder, {"a"})


def test_requests_of_several_processes_are_all_kept_and_in_one_order(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=race, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    paths = sorted((tmp_path / "requests").iterdir())
    assert [path.name for path in paths] == [f"{number:04d}.json" for number in range(1, len(paths) + 1)]
    found = [json.loads(path.read_text()) for path in paths]
    assert {key for each in found for key in each["trials"]} == {"a"} | {
        f"{number}-{turn}" for number in (1, 3) for turn in range(20)
    }
    for before, request in pairwise(found):
        if request["what"] == "run":
            assert before["what"] == "cancel", "a request to run answers the cancellation just before it"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"what": "cancel"}', '{"what": "dance", "trials": ["a"], "user": "u", "host": "h", "at": 1}',
     '{"what": "cancel", "trials": ["a"], "user": "u", "host": "h", "at": NaN}', "[" * 100_000],
)  # fmt: skip
def test_a_file_that_is_no_request_asks_for_nothing_and_keeps_its_number(tmp_path: Path, content: str) -> None:
    cancel(tmp_path, {"a"})
    (tmp_path / "requests" / "0002.json").write_text(content)
    cancel(tmp_path, {"b"})
    assert standing(tmp_path).keys() == {"a", "b"}
    assert {path.name for path in (tmp_path / "requests").iterdir()} == {"0001.json", "0002.json", "0003.json"}


def test_what_a_file_says_reaches_no_terminal_raw(tmp_path: Path) -> None:
    cancel(tmp_path, {"a"})
    path = tmp_path / "requests" / "0001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "user": "\x1b[2Jme", "at": 1e15}))
    assert str(standing(tmp_path)["a"]).startswith("cancelled with petl-bench cancel by [2Jme on ")


def test_a_file_system_without_hard_links_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", link)
    cancel(tmp_path, {"a"})
    cancel(tmp_path, {"b"})
    assert standing(tmp_path).keys() == {"a", "b"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"cannot write .*requests"):
        cancel(tmp_path, {"a"})
