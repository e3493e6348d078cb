"""Checkpoints for an exact resume, and the adapter file. Written atomically; only trained tensors are kept."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.api.step import MethodTask
from petl_bench.api.trial import Stop, Trial, canonical_json
from petl_bench.errors import StoreError, TrialError, WeightsError
from petl_bench.models.finite import not_finite, tensors_in
from petl_bench.system.files import replacing, write_atomically
from petl_bench.training import CHECKPOINT_FORMAT as FORMAT
from petl_bench.training.distributed import Team, Then
from petl_bench.training.state import State

_ADAPTER_FORMAT = "petl-bench adapter 2"
#: The entry of an adapter file's metadata that holds everything, as canonical JSON.
_ENTRY = "petl-bench"
#: Where the method's extra state stands, in that JSON and before the names of its tensors.
_EXTRA = "extra_state"

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
    return MethodTask(classes=tuple(header["train_classes"]), **header.get("task", {}))


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


def load_adapter(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an adapter file.

    Returns:
        Its header (format, trial, method, hyper_parameters, backbone, weights_sha256, train_classes, and the method's
        extra_state), and the tensors for `DualEncoder.load_adapter_state`.

    Raises:
        StoreError: It cannot be read.
        WeightsError: A tensor, which is named, is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        header = _header(metadata)
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise StoreError(f"cannot read adapter {path}: {error}") from error
    if fault := not_finite(tensors):
        raise WeightsError(f"adapter {path}: {fault}; delete its trial's folder and run the command again")
    extra = {name: tensors.pop(name) for name in list(tensors) if name.startswith(f"{_EXTRA}.")}
    of_method = {name.removeprefix(f"{_EXTRA}."): tensor for name, tensor in extra.items()}
    return {**header, _EXTRA: {**header[_EXTRA], **of_method}}, tensors


def _header(metadata: Mapping[str, str]) -> dict[str, Any]:
    if _ENTRY not in metadata:  # files of the first format have an entry for every part
        decoded = {name: json.loads(metadata.get(name, "[]")) for name in ("hyper_parameters", "train_classes")}
        return {**metadata, **decoded, _EXTRA: {}}
    header: dict[str, Any] = json.loads(metadata[_ENTRY])
    ours = isinstance(header, dict) and header.get("format") == _ADAPTER_FORMAT
    if not ours or not isinstance(header.get(_EXTRA), dict):
        raise ValueError("it was written by another version of petl-bench")
    return header
