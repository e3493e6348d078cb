"""Adapter files that somebody wrote to do harm, or that were damaged: one line, whatever is in them."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

import petl_bench as pb
from petl_bench.api.trial import key_of
from petl_bench.training import checkpoint
from petl_bench.training.checkpoint import adapter_header
from petl_bench.training.checkpoint import load_adapter as read_adapter
from tests.searching.made_trials import Trained

REFUSED = (pb.StoreError, pb.UsageError, pb.WeightsError, pb.PluginError, pb.TrialError)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["{0.__class__}", "{:>99999999999}", "@/etc/passwd", "../../x", "hf:", "a+b", "peft:", "\x00", ""]
    ),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=10), part, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file of an example is written."""
    return tmp_path_factory.mktemp("hostile") / "adapter.safetensors"


@pytest.fixture(scope="session")
def whole(trained: Trained) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the tensors of a good file."""
    return read_adapter(trained.folder("few_shot", "lora") / "adapter.safetensors")


def outcome(file: Path) -> str:
    """What loading a file ends with: one line, or nothing. Any other error fails the test."""
    try:
        pb.load_adapter(file, device="cpu")
    except REFUSED as error:
        line = str(error)
        assert "\n" not in line and "\x1b" not in line and len(line) < 2000
        return line
    return ""


def written(file: Path, header: Any, tensors: dict[str, torch.Tensor]) -> str:
    """What loading a file with this header ends with."""
    text = header if isinstance(header, str) else json.dumps(header)
    file.write_bytes(save(tensors, {"petl-bench": text}))
    return outcome(file)


def paths_in(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for name, part in parts for path in paths_in(part, (*before, name)))]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_one_line(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    assert f"cannot read adapter {place}" in outcome(place)
    place.write_bytes(struct.pack("<Q", len(content)) + content)
    assert f"cannot read adapter {place}" in outcome(place)


@given(text=st.text() | JSON.map(json.dumps))
def test_any_entry_is_one_line(place: Path, text: str) -> None:
    assert f"cannot read adapter {place}" in written(place, text, {})


@given(values=st.dictionaries(st.sampled_from(["format", "method", "trial", "extra_state", "use", "task"]), JSON))
def test_any_header_of_ours_is_one_line(place: Path, values: dict[str, Any]) -> None:
    assert written(place, {"format": "petl-bench adapter 2", "extra_state": {}, **values}, {})


@given(data=st.data())
def test_a_header_with_one_thing_changed_is_one_line_or_as_good(
    place: Path, whole: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    header, tensors = copy.deepcopy(whole[0]), whole[1]
    *to, last = data.draw(st.sampled_from([path for path in paths_in(header) if path]))
    parent = header
    for name in to:
        parent = parent[name]
    parent[last] = data.draw(JSON)
    with contextlib.suppress(TypeError, ValueError, AttributeError, KeyError):
        header["trial"] = key_of(header["use"]["trial"])  # so that it does not end there
    written(place, header, tensors)


def test_a_header_that_was_changed_is_said(place: Path, whole: tuple[dict[str, Any], dict[str, Any]]) -> None:
    header, tensors = copy.deepcopy(whole[0]), whole[1]
    assert written(place, header, tensors) == ""
    header["use"]["trial"]["seed"] = 7
    assert "its header was changed: it names trial" in written(place, header, tensors)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("use", "prompts", "templates"), ["{0.__class__}"], "expected one {} for the class name"),
        (("use", "prompts", "templates"), ["@/etc/passwd"], "a template does not start with @"),
        (("use", "prompts", "templates"), [], "no template"),
        (("use", "prompts", "cleaned"), "yes", "use.prompts.cleaned=yes: expected true or false"),
        (("use", "evaluations"), {"test": "growing"}, "use.evaluations.test=growing: expected a list"),
        (("use",), [], "use=[]: expected a mapping"),
        (("train_classes",), [1], "train_classes[0]=1: expected a text"),
        (("train_classes",), "growing", "train_classes=growing: expected a list"),
        (("task",), {"kind": "other"}, "task.kind=other: expected one of classification, retrieval"),
        (("task",), {"support_clips": 10**12}, "task.support_clips=1000000000000: must be at most"),
        (("extra_state",), {"\x1b[31m": None}, "lora"),
        (("use", "trial", "hyper_parameters", "rank"), "\x1b[31m", "lora.rank"),
        (("use", "trial", "method"), "\x1b[31mlora", "the method '[31mlora' of the adapter is not installed here"),
        (("use", "trial", "weights"), "../../../../etc/passwd", ""),
        (("use", "trial", "weights_sha256"), "0" * 64, "are not here"),
        (("use", "trial", "locations"), {"lora": {"x": "/etc/passwd"}}, "names files, which no adapter does"),
        (("use", "trial", "backbone_options"), {"num_frames": -1}, "viclip-tiny"),
        (("use", "trial", "training", "views"), 0, "views=0: must be at least 1"),
        (("use", "trial", "hyper_parameters", "rank"), 10**12, "the adapter does not fit: lora"),
    ],
)
def test_hostile_values_are_said(
    place: Path, whole: tuple[dict[str, Any], dict[str, Any]], path: tuple[str, ...], value: Any, says: str
) -> None:
    header, tensors = copy.deepcopy(whole[0]), whole[1]
    parent = header
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    if path[:2] == ("use", "trial"):
        header["trial"] = key_of(header["use"]["trial"])
    assert says in written(place, header, tensors)


@pytest.mark.parametrize("label", ["hf:evil/repo", "hf:evil/repo/model.pth", "hf:../..", "hf:a/b/../../../../dev/zero"])
def test_weights_that_a_file_names_are_never_fetched(
    place: Path, whole: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    asked: list[Any] = []

    def connected(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        raise OSError("no network")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, connected)
    header = copy.deepcopy(whole[0])
    header["use"]["trial"] |= {"weights": label, "weights_sha256": "0" * 64}
    header["trial"] = key_of(header["use"]["trial"])
    says = written(place, header, whole[1])
    assert f"({label}, sha256 {'0' * 12}) are not here" in says
    assert says.endswith(f"or type --weights {label}")
    assert asked == []


def test_depth_and_size_are_bounded(
    place: Path, whole: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    header, tensors = copy.deepcopy(whole[0]), whole[1]
    for depth in (50, 900, 100_000):
        nested = "[" * depth + "]" * depth
        text = json.dumps(header)[:-1] + f', "more": {nested}}}'
        assert "cannot read adapter" in written(place, text, tensors)
    for text in ('{"format": "petl-bench adapter 2", "extra_state": {"x": NaN}}', "1" * 5000, '{"x": "\\ud800"}'):
        assert "cannot read adapter" in written(place, text, tensors)
    assert written(place, header, tensors) == ""
    monkeypatch.setattr(checkpoint, "_LARGEST_ENTRY", 1000)
    assert "its header is larger than 1,000 bytes" in outcome(place)
    monkeypatch.setattr(checkpoint, "_LARGEST_HEADER", 100)
    assert "or one with a header of" in outcome(place)
    monkeypatch.setattr(checkpoint, "_LARGEST", 1000)
    assert "more than an adapter (1,000)" in outcome(place)


def test_files_that_are_none_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "adapter.safetensors"
    os.mkfifo(pipe)
    assert "no such file or folder" in outcome(pipe)
    with pytest.raises(pb.StoreError, match="not a file"):
        adapter_header(pipe)
    pipe.unlink()
    pipe.symlink_to("/dev/zero")
    with pytest.raises(pb.StoreError, match="not a file"):
        read_adapter(pipe)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(4, dtype=torch.int64), torch.zeros(2, dtype=torch.complex64), torch.zeros(8).to(torch.float8_e4m3fn)],
    ids=["whole numbers", "complex", "8 bits"],
)
def test_tensors_of_another_kind_are_one_line(
    place: Path, whole: tuple[dict[str, Any], dict[str, Any]], tensor: torch.Tensor
) -> None:
    header, tensors = whole
    name = next(iter(tensors))
    assert "does not fit" in written(place, header, {**tensors, name: tensor})
    other = torch.zeros(tensors[name].shape).to(tensor.dtype)
    assert written(place, header, {**tensors, name: other}) == "" or tensor.dtype != torch.float8_e4m3fn


def test_tensors_of_the_first_format_without_metadata_are_one_line(place: Path) -> None:
    save_file({"weight": torch.zeros(3)}, place)
    assert "not an adapter of petl-bench, for its header lacks method" in outcome(place)
    save_file({"weight": torch.zeros(3)}, place, {"hyper_parameters": "[]", "method": "lora"})
    assert "hyper_parameters=[]: expected a mapping" in outcome(place)
