"""A folder of Hugging Face PEFT, as `petl-bench export --format peft` wrote it, back as an adapter file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from safetensors import SafetensorError, safe_open

from petl_bench.api.registry import BACKBONES
from petl_bench.api.values.fields import Form, check_of
from petl_bench.errors import StoreError
from petl_bench.models.peft_format import TENSORS, read_peft_folder
from petl_bench.training.checkpoint import adapter_content

_ORIGIN = "petl-bench"
_NEEDED = ("backbone", "weights_sha256")
_name = check_of(Annotated[str, Form(".{1,200}", "a text")])


def adapter_of_peft(folder: Path) -> bytes:
    """The bytes of the adapter file that a folder of PEFT is. It does not say how its trial reads clips.

    Raises StoreError if the folder does not say which backbone and weights it is for, and as `load_peft_adapter`.
    """
    origin = _origin(folder / TENSORS)
    method, state = read_peft_folder(folder, BACKBONES.get(origin["backbone"])().model_config)
    header = {
        "method": method.name,
        "hyper_parameters": dict(method.values()),
        "backbone": origin["backbone"],
        "weights_sha256": origin["weights_sha256"],
        "train_classes": [],
    }
    return adapter_content(header, {"tensors": state, "extra": {}})


def _origin(tensors: Path) -> dict[str, Any]:
    """What `petl-bench export` says in the metadata of the tensors."""
    try:
        with safe_open(tensors, framework="pt") as file:
            origin = json.loads((file.metadata() or {}).get(_ORIGIN, "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise StoreError(f"{tensors}: cannot be read: {error}") from error
    if not isinstance(origin, dict) or any(_name(origin.get(each)) for each in _NEEDED):
        raise StoreError(
            f"{tensors}: does not say which backbone it is for, as petl-bench export --format peft writes it; load it "
            "in Python: pb.load_peft_adapter"
        )
    return origin
