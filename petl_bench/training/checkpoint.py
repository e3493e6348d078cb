"""Checkpoints for an exact resume, and the adapter file. Written atomically; only trained tensors are kept."""

from __future__ import annotations

import json
import logging
import pickle
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.api.step import Kind, MethodTask
from petl_bench.api.trial import Stop, Trial, canonical_json
from petl_bench.api.values.fields import Limits, check_of
from petl_bench.errors import StoreError, TrialError, WeightsError
from petl_bench.models.finite import not_finite, tensors_in
from petl_bench.system.files import replacing, write_atomically
from petl_bench.system.texts import clean, shortened
from petl_bench.training import CHECKPOINT_FORMAT as FORMAT
from petl_bench.training.distributed import Team, Then
from petl_bench.training.state import State

_ADAPTER_FORMAT = "petl-bench adapter 2"
#: The entry of an adapter file's metadata that holds everything, as canonical JSON.
_ENTRY = "petl-bench"
#: Where the method's extra state stands, in that JSON and before the names of its tensors.
_EXTRA = "extra_state"
#: Most bytes of an adapter file, of its safetensors header, and of our entry in that: a file may come from anywhere.
_LARGEST, _LARGEST_HEADER, _LARGEST_ENTRY = 16 << 30, 64 << 20, 16 << 20
#: Lists and mappings within each other in that entry.
_DEEPEST = 32

#: Writing checkpoints may take this part of a trial's time.
WRITING_PART = 0.05

_log = logging.getLogger(__name__)


class Pace:
    """When the next checkpoint is due: after `every_s` seconds, or later if writing one takes long."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._took_s = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= max(self._every_s, self._took_s * (1 / WRITING_PART - 1))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure the writing inside."""
        started = time.monotonic()
        yield
        self._last = time.monotonic()
        self._took_s = self._last - started


def decide(team: Team, stop: Stop, pace: Pace) -> tuple[Then, str]:
    """What all processes do after the step or batch under way, as the first one decides, and why if they stop."""
    if not team.first:
        return Then.GO_ON, ""
    if reason := stop():
        return Then.STOP, reason
    return (Then.SAVE if pace.due() else Then.GO_ON), ""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a kill leaves the old or the new one whole. Raises StoreError if it cannot be written."""
    try:
        with replacing(path) as file:
            torch.save({"format": FORMAT, **state}, file)
    except RuntimeError as error:  # torch.save turns a full disk into one
        raise StoreError(f"cannot write checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, and remove what a process left that was killed while it wrote one; the caller holds the trial.

    Returns:
        Its content, or None if there is none, or if it has another format, which is logged.

    Raises:
        TrialError: It is damaged, or a tensor in it is not finite.
    """
    remove_parts(path)
    if not path.is_file():
        return None
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrialError(f"checkpoint {path} is damaged ({error}); delete it to start this trial anew") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        _log.warning("checkpoint %s was written by another version of petl-bench; the trial starts anew", path)
        return None
    if fault := not_finite(dict(tensors_in(state))):
        raise TrialError(f"checkpoint {path}: {fault}; delete it to start this trial anew")
    return dict(state)


def remove_parts(path: Path) -> None:
    """Remove what a process left that was killed while it wrote this file; the caller holds the trial."""
    for part in path.parent.glob(f".{path.name}.*"):
        part.unlink(missing_ok=True)


def save_adapter(
    path: Path,
    trial: Trial,
    state: State,
    task: MethodTask,
    whole_task: bool = False,
    described: Mapping[str, Any] | None = None,
) -> None:
    """Write what training left as safetensors. Equal trials give equal bytes.

    Args:
        path: The file.
        trial: Whose key, method, hyper-parameters and backbone stand in its metadata.
        state: The tensors, and the method's extra state.
        task: Whose training classes stand there too.
        whole_task: Whether whatever the method knows of its task does.
        described: What else a reader of the file alone must know to use it (`petl_bench.training.use`).
    """
    header: dict[str, Any] = {
        "trial": trial.key,
        "method": trial.method,
        "hyper_parameters": trial.hyper_parameters,
        "backbone": trial.backbone,
        "weights_sha256": trial.weights_sha256,
        "train_classes": list(task.classes),
    }
    if whole_task:
        header["task"] = {"kind": task.kind, "support_clips": task.support_clips}
    if described is not None:
        header["use"] = dict(described)
    write_atomically(path, adapter_content(header, state))


def task_of(header: Mapping[str, Any]) -> MethodTask:
    """What an adapter was adapted to, from the header of its file; files of earlier versions know the classes alone."""
    task = {name: value for name, value in header.get("task", {}).items() if name in ("kind", "support_clips")}
    return MethodTask(classes=tuple(header["train_classes"]), **task)


def adapter_content(header: Mapping[str, Any], state: State) -> bytes:
    """The bytes of an adapter file. Raises TrialError, naming the tensor, if one is not finite."""
    extra = {name: value for name, value in state["extra"].items() if isinstance(value, Tensor)}
    tensors = {**state["tensors"], **{f"{_EXTRA}.{name}": value for name, value in extra.items()}}
    if fault := not_finite(tensors):
        raise TrialError(f"no adapter is written: {fault}")
    plain = {name: value for name, value in state["extra"].items() if name not in extra}
    text = canonical_json({"format": _ADAPTER_FORMAT, **header, _EXTRA: plain})
    # One entry: safetensors writes a map of several in an order that differs from file to file.
    return save(tensors, {_ENTRY: text})


@dataclass(frozen=True)
class _Task:
    kind: Kind = "classification"
    support_clips: Annotated[int, Limits(0, 10_000_000)] = 0


@dataclass(frozen=True)
class _Header:
    """The types of what a header may say; which of it must be there is for the reader to ask."""

    trial: str = ""
    method: str = ""
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = ""
    weights_sha256: str = ""
    train_classes: Sequence[str] = ()
    task: _Task = _Task()
    use: Mapping[str, Any] = field(default_factory=dict)
    extra_state: Mapping[str, Any] = field(default_factory=dict)


def adapter_header(path: Path) -> dict[str, Any]:
    """The header of an adapter file: format, trial, method, hyper_parameters, backbone, weights_sha256, train_classes,
    and the method's extra_state without its tensors. What is there has its type; no tensor is read.

    Raises:
        StoreError: It cannot be read, or is no adapter file.
    """
    with _opened(path) as file:
        return _header(dict(file.metadata() or {}))


def load_adapter(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an adapter file.

    Returns:
        Its header (`adapter_header`, with the tensors of the method's extra_state), and the tensors for
        `DualEncoder.load_adapter_state`.

    Raises:
        StoreError: It cannot be read.
        WeightsError: A tensor, which is named, is not finite.
    """
    with _opened(path) as file:
        header = _header(dict(file.metadata() or {}))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        fault = not_finite(tensors)
    if fault:
        raise WeightsError(f"adapter {path}: {fault}; delete its trial's folder and run the command again")
    extra = {name: tensors.pop(name) for name in list(tensors) if name.startswith(f"{_EXTRA}.")}
    of_method = {name.removeprefix(f"{_EXTRA}."): tensor for name, tensor in extra.items()}
    return {**header, _EXTRA: {**header[_EXTRA], **of_method}}, tensors


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An adapter file; whatever is wrong with it is a StoreError."""
    try:
        _refuse_oversized(path)
        with safe_open(path, framework="pt") as file:
            yield file
    # torch has RuntimeErrors for types and sizes that it cannot hold
    except (OSError, SafetensorError, ValueError, RecursionError, OverflowError, RuntimeError) as error:
        raise StoreError(f"cannot read adapter {path}: {shortened(clean(str(error)), 300)}") from error


def _refuse_oversized(path: Path) -> None:
    """Raise ValueError for what is no regular file, or larger than any adapter; nothing is waited for."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a file")
    if found.st_size > _LARGEST:
        raise ValueError(f"it has {found.st_size:,} bytes, more than an adapter ({_LARGEST:,})")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _LARGEST_HEADER:
        raise ValueError(f"not a safetensors file, or one with a header of {length:,} bytes")


def _header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The header in a file's metadata. Raises ValueError for anything else."""
    if len(metadata.get(_ENTRY, "")) > _LARGEST_ENTRY:
        raise ValueError(f"its header is larger than {_LARGEST_ENTRY:,} bytes")
    if _ENTRY in metadata:
        header = json.loads(metadata[_ENTRY])
        ours = isinstance(header, dict) and header.get("format") == _ADAPTER_FORMAT
        if not ours or not isinstance(header.get(_EXTRA), dict):
            raise ValueError("it was written by another version of petl-bench")
    else:  # files of the first format have an entry for every part
        of_json = {"hyper_parameters": "{}", "train_classes": "[]"}
        decoded = {name: json.loads(metadata.get(name, empty)) for name, empty in of_json.items()}
        header = {**metadata, **decoded, _EXTRA: {}}
    if _is_deeper(header, _DEEPEST):
        raise ValueError(f"its header nests more than {_DEEPEST} lists and mappings")
    canonical_json(header).encode()  # refuses NaN, infinity and broken text
    if fault := check_of(_Header)(header):
        raise ValueError(f"its header{fault}")
    return dict(header)


def _is_deeper(value: Any, most: int) -> bool:
    """Whether more than so many lists and mappings are within each other."""
    level = [value]
    for _ in range(most):
        level = [part for each in level if isinstance(each, list | dict) for part in _parts(each)]
    return any(isinstance(each, list | dict) for each in level)


def _parts(value: list[Any] | dict[str, Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
