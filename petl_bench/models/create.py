"""Make a model by the name of its backbone, or from a configuration."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.registry import BACKBONES
from petl_bench.errors import UsageError, WeightsError, unknown
from petl_bench.models.checkpoints import read_checkpoint
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.weights import download, resolve_weights


def create_model(
    name: str | ViCLIPConfig, weights: str | os.PathLike[str] | None = "auto", **config_changes: Any
) -> DualEncoder:
    """A dual encoder by the name of its backbone, or from a configuration.

    Args:
        name: As in `petl-bench list backbones`, or a configuration.
        weights: "auto" (packaged or configured; random for a bare configuration), a path, "hf:REPO/FILE", or None (or
            "random") for random weights drawn from torch's generator.
        config_changes: Fields of the configuration to change, e.g. `num_frames=16`.

    Raises:
        UsageError: The name or a field is unknown, or a value does not fit.
        WeightsError: The weights are missing, or do not fit the configuration.
    """
    if isinstance(name, ViCLIPConfig):
        config, path = name, _path_for_config(weights)
    else:
        backbone = BACKBONES.get(name)
        config, path = backbone.config, resolve_weights(backbone, weights).path
    config = _changed(config, config_changes)
    return DualEncoder(config) if path is None else _from_file(config, path)


def _from_file(config: ViCLIPConfig, path: Path) -> DualEncoder:
    state = read_checkpoint(path)  # first: a bad file is told at once
    model = DualEncoder(config, initialise=False)
    try:
        model.load_published_state_dict(state)
    except WeightsError as error:
        raise error if str(path) in str(error) else WeightsError(f"{path}: {error}") from error
    return model


def _path_for_config(weights: str | os.PathLike[str] | None) -> Path | None:
    text = None if weights is None else os.fspath(weights)
    if text in (None, "auto", "random"):
        return None
    assert text is not None
    return download(text.removeprefix("hf:"), []) if text.startswith("hf:") else Path(text)


def _changed(config: ViCLIPConfig, changes: dict[str, Any]) -> ViCLIPConfig:
    known = [field.name for field in fields(config)]
    for field in changes:
        if field not in known:
            raise unknown("field of the configuration", field, known, "help(petl_bench.ViCLIPConfig)")
        is_size = field not in ("token_ids", "activation", "pooling")
        if is_size and (not isinstance(changes[field], int) or changes[field] < 1):
            raise UsageError(f"{field}={changes[field]}: expected a whole number above 0")
    return config.with_(**changes)
