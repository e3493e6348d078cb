"""Reading weights files: nothing in them is ever executed."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from petl_bench.errors import WeightsError
from petl_bench.models.weights import SUFFIXES

#: The class of settings that released video checkpoints hold beside their weights. A plain dictionary takes its place.
_SETTINGS = "yacs.config.CfgNode"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a weights file holds: tensors by key, maybe inside dictionaries (see wrapping.py).

    `.safetensors`, or torch's format with `weights_only=True`, memory-mapped if the file allows it. Raises
    WeightsError for a missing, truncated or foreign file, and for a pickle that wants to run code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(f"{path}: expected a weights file ({', '.join(SUFFIXES)})")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: expected a dictionary of tensors, found {type(state).__name__}")
    return state


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error
    return tensors


def _read_torch(path: Path) -> Any:
    archive = zipfile.is_zipfile(path)
    if archive and _is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript archive, which is a program. Save its weights once, where you trust it: "
            f"torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(), '{path.stem}-weights.pth')"
        )
    try:
        return _load(path, mmap=archive)
    except Exception as error:  # torch.load has no common error class for a broken file
        raise WeightsError(f"{path}: {_reason(error, path)}") from error


def _load(path: Path, mmap: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        if _SETTINGS not in str(error):
            raise
    with torch.serialization.safe_globals([(OrderedDict, _SETTINGS)]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _reason(error: Exception, path: Path) -> str:
    text = str(error)
    name = re.search(r"GLOBAL ([\w.]+)", text)
    if "Weights only load failed" in text and name is not None:
        whole = f"torch.load({path.name!r}, map_location='cpu', weights_only=False)"
        return (
            f"refused, because it holds more than weights: it wants to call {name[1]}. If you trust whoever made it, "
            f"take its weights out once, by the key that they have: torch.save({whole}['state_dict'], 'weights.pth') "
            "(if it holds a whole model, write .state_dict() in place of the key)"
        )
    if "Weights only load failed" in text:
        return "not a weights file of torch, or a damaged one; fetch it again"
    return f"cannot be read as torch weights, maybe truncated ({type(error).__name__}); fetch it again"
