"""The linear maps of a block by name, for methods that put something in their places. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import petl_bench as pb

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder
    from petl_bench.models.transformer import Block

Target = Literal["q", "k", "v", "out", "fc", "proj"]


def refuse_targets(label: str, targets: Sequence[Target]) -> None:
    """Raise UsageError for no target, or one that is named twice; `label` is the option's name."""
    if not targets or len(set(targets)) < len(targets):
        raise pb.UsageError(f"{label}={','.join(targets)}: expected at least one name, each once")


def sites_of(model: DualEncoder, towers: pb.Towers, targets: Sequence[Target]) -> list[Any]:
    """The sites (`LinearSite`) of these linear maps in every block of the chosen towers, video first."""
    return [site_in(block, target) for block in model.blocks(towers) for target in targets]


def shapes_of(config: pb.ViCLIPConfig, towers: pb.Towers, targets: Sequence[Target]) -> list[tuple[int, int]]:
    """(in, out) of the linear maps of `sites_of`, in the same order."""
    return [shape_in(width, target) for width in config.block_widths(towers) for target in targets]


def site_in(block: Block, target: Target) -> Any:
    """The site (`LinearSite`) of that name in a block."""
    return getattr(block.feedforward if target in ("fc", "proj") else block.attention, target)


def shape_in(width: int, target: Target) -> tuple[int, int]:
    """(in, out) of the linear map of that name in a block of that width."""
    return {"fc": (width, 4 * width), "proj": (4 * width, width)}.get(target, (width, width))
