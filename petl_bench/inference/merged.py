"""Merged files: a whole model under its published keys, with the adapter folded into its weights.

Safetensors. Beside the weights there is `class_embeddings`, float32 [C, D], if its trial has classes: what a normalised
video feature is multiplied with for its cosine with each class. The header names these classes, and the sizes of the
model ("config": the fields of `ViCLIPConfig` but its token ids).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from petl_bench.api.plugins.identity import code_version
from petl_bench.api.registry import BACKBONES
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import canonical_json
from petl_bench.errors import StoreError
from petl_bench.inference.header import checked_use
from petl_bench.inference.subject import FrozenBackbone, Subject, refuse_changed
from petl_bench.models.conversion import CLASS_EMBEDDINGS
from petl_bench.models.finite import not_finite
from petl_bench.models.weights import ResolvedWeights
from petl_bench.system.files import sha256_of_file
from petl_bench.training.seeding import derived_seed

FORMAT = "petl-bench merged 1"
_ENTRY = "petl-bench"


class Merged(FrozenBackbone):
    """Nothing is attached: the adapter is in the weights."""

    name = "merged"


def merged_content(
    header: Mapping[str, Any], weights: Mapping[str, Tensor], embeddings: Tensor | None, classes: Sequence[str]
) -> bytes:
    """The bytes of a merged file. Equal models give equal bytes.

    Args:
        header: As that of an adapter file (`petl_bench.training.checkpoint`), with "use" and "config".
        weights: Of the whole model, under its published keys.
        embeddings: [C, D] of the classes; None if there are none.
        classes: C names.

    Raises StoreError if a weight is not finite.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    if embeddings is not None:
        tensors[CLASS_EMBEDDINGS] = embeddings.float().contiguous()
    if fault := not_finite(tensors):
        raise StoreError(f"no merged file is written: {fault}")
    text = canonical_json({**header, "format": FORMAT, "classes": list(classes)})
    # One entry: safetensors writes a map of several in an order that differs from file to file.
    return save(tensors, {_ENTRY: text})


def merged_header(file: Path) -> dict[str, Any] | None:
    """The header of a merged file, not yet checked; None if the file is none, or cannot be read."""
    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get(_ENTRY, "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) and header.get("format") == FORMAT else None


def is_merged(file: Path) -> bool:
    """Whether a file says that it is a merged one."""
    return merged_header(file) is not None


def merged_subject(file: Path) -> Subject:
    """The model of a merged file: its method is in its weights, and need not be installed.

    Raises:
        StoreError: Its header cannot be used.
        TrialError: The code of its backbone changed.
    """
    header = merged_header(file)
    if header is None:
        raise StoreError(f"{file}: not a merged file of petl-bench")
    use = checked_use(file, header)
    trial, backbone = use.trial, BACKBONES.get(use.trial.backbone)
    refuse_changed(backbone, code_version(backbone), trial.backbone_version)
    method = Merged()
    method.bind(MethodTask(classes=tuple(header["train_classes"])))
    return Subject(
        title=f"{trial.title} on {trial.backbone}, merged",
        method=method,
        backbone=backbone(**trial.backbone_options),
        weights=ResolvedWeights(trial.weights, file, sha256_of_file(file)),
        options=TrainingOptions(**trial.training),
        decoder=trial.decoder,
        seed=derived_seed(trial),
        trial_seed=trial.seed,
        trial=trial,
        prompts=use.prompts,
        evaluations=use.evaluations,
    )
