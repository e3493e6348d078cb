"""`hf:USER/NAME` as an adapter, with the Hub's real client and a server on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.errors import StoreError, UsageError
from petl_bench.hub.download import LARGEST, adapter_file
from petl_bench.records.layout import ADAPTER
from tests.commands import petl_bench
from tests.hub.conftest import at_address
from tests.hub.server import FakeHub, Repository
from tests.searching.made_trials import Trained


@pytest.fixture
def content(trained: Trained) -> bytes:
    return (trained.folder("few_shot", "lora") / ADAPTER).read_bytes()


def held(hub: FakeHub, files: dict[str, bytes], private: bool = False) -> str:
    """Put files into `me/it`; the commit."""
    hub.models["me/it"] = Repository(private=private)
    return hub.models["me/it"].commit(files)


def search(adapter: str | Path, videos: Path):
    return petl_bench("search", "--adapter", adapter, "--videos", videos, "--query", "growing", "--workers", "1")


def test_a_pushed_adapter_is_used_as_its_trial_is(trained: Trained, hub: FakeHub, videos: Path) -> None:
    pushed = petl_bench("push", trained.keys["few_shot", "lora"], "hf:me/it", "--runs", trained.runs)
    assert pushed.returncode == 0, pushed.stderr
    commit = hub.models["me/it"].branches["main"]
    found, own = search("hf:me/it", videos), search(trained.folder("few_shot", "lora"), videos)
    assert found.returncode == 0, found.stderr
    assert found.stdout == own.stdout
    assert f"the adapter is hf:me/it, commit {commit}" in found.stderr
    assert hub.fetched() == [ADAPTER]


def test_a_revision_is_resolved_to_its_commit(content: bytes, hub: FakeHub) -> None:
    first = held(hub, {ADAPTER: content})
    second = hub.models["me/it"].commit({ADAPTER: content + b" "})
    file, commit = adapter_file("hf:me/it")
    assert (file.read_bytes(), commit) == (content + b" ", second)
    for text, revision in ((f"hf:me/it@{first}", None), ("hf:me/it", first)):
        file, commit = adapter_file(text, revision)
        assert (file.read_bytes(), commit) == (content, first)


def test_the_only_safetensors_file_is_the_adapter(content: bytes, hub: FakeHub) -> None:
    commit = held(hub, {"more/mine.safetensors": content, "code.py": b"raise SystemExit"})
    assert adapter_file("hf:me/it")[1] == commit
    assert hub.fetched() == ["more/mine.safetensors"]


def test_without_a_connection_the_cache_serves(
    content: bytes, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held(hub, {ADAPTER: content})
    known = adapter_file("hf:me/it")
    at_address("http://127.0.0.1:9", tmp_path / "hub_cache", monkeypatch)
    assert adapter_file("hf:me/it") == known
    assert "cannot be reached; the adapter is the one in its cache" in caplog.text
    with pytest.raises(StoreError, match=r"cannot be reached \(what was fetched before"):
        adapter_file("hf:me/other")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": b"x"}, "holds no adapter.safetensors"),
        ({"a.safetensors": b"x", "b.safetensors": b"x"}, "holds 2 files"),
        ({ADAPTER: b"<html>log in</html>"}, "web page in place of the adapter"),
    ],
)
def test_what_is_no_adapter_is_refused(files: dict[str, bytes], expected: str, hub: FakeHub) -> None:
    held(hub, files)
    for _ in range(2):  # nothing of it stays in the cache
        with pytest.raises(StoreError, match=expected):
            adapter_file("hf:me/it")


def test_a_file_that_is_too_large_is_not_fetched(content: bytes, hub: FakeHub) -> None:
    held(hub, {ADAPTER: content})
    hub.sizes = {ADAPTER: LARGEST + 1}
    with pytest.raises(StoreError, match="an adapter has 2,147,483,648 bytes at most"):
        adapter_file("hf:me/it")
    assert hub.fetched() == []


def test_a_wrong_answer_is_one_line(
    content: bytes, hub: FakeHub, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(hub, {ADAPTER: content}, private=True)
    assert adapter_file("hf:me/it")
    said = {}
    for case, text in (("missing", "hf:me/none"), ("revision", "hf:me/it@none"), ("address", "hf:me")):
        said[case] = search(text, videos)
    monkeypatch.delenv("HF_TOKEN")
    said["token"] = search("hf:me/it", videos)
    hub.answers = (200, b"<html>log in</html>")
    said["page"] = search("hf:me/it", videos)
    expected = {"missing": "not found", "revision": "not found", "address": "expected hf:USER/NAME", "token": "(401)",
                "page": "web page"}  # fmt: skip
    for case, done in said.items():
        assert done.returncode == 2 and expected[case] in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_two_revisions_are_refused() -> None:
    with pytest.raises(UsageError, match="named twice"):
        adapter_file("hf:me/it@a", "b")
