"""Checkpoints for an exact resume, and the adapter file. Written atomically; only trained tensors are kept."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.errors import StoreError, TrialError
from petl_bench.records import write_atomically
from petl_bench.trial import Trial, canonical_json


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its final place and rename it, so that a kill leaves the old or the new one whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(dict(state), temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write checkpoint {path}: {getattr(error, 'strerror', None) or error}") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None where there is none. Raises TrialError for a damaged one."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrialError(f"checkpoint {path} is damaged ({error}); delete it to start this trial anew") from error
    return state


def save_adapter(path: Path, trial: Trial, tensors: Mapping[str, Tensor], train_classes: Sequence[str]) -> None:
    """Write the trained tensors as safetensors; method, hyper-parameters, backbone, trial key and training classes
    stand in its metadata."""
    metadata = {
        "format": "petl-bench adapter 1",
        "trial": trial.key,
        "method": trial.method,
        "hyper_parameters": canonical_json(trial.hyper_parameters),
        "backbone": trial.backbone,
        "weights_sha256": trial.weights_sha256,
        "train_classes": canonical_json(list(train_classes)),
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata))


def load_adapter(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata (hyper-parameters and training classes decoded) and tensors of an adapter file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot read adapter {path}: {error}") from error
    decoded = {name: json.loads(metadata.get(name, "[]")) for name in ("hyper_parameters", "train_classes")}
    return {**metadata, **decoded}, tensors
