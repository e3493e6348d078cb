"""What MMA and MSTA, its child, have in common: which blocks are adapted, and the projection that ties the towers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb

if TYPE_CHECKING:
    from torch import nn


def adapted_layers(
    name: str, first: int, last: int | None, config: pb.ViCLIPConfig, towers: pb.Towers = "both"
) -> dict[str, range]:
    """Indices of the adapted blocks per tower, counted from 1.

    Args:
        name: of the method, for errors.
        first: the first adapted block.
        last: the last one, included; None: the last of each tower. A tower with fewer blocks is adapted to its end.
        config: the backbone's shape.
        towers: those that are adapted; the others have an empty range.

    Raises:
        UsageError: no adapted tower has these blocks.
    """
    depths = {"video": config.vision_layers, "text": config.text_layers}
    depths = {tower: depth if towers in ("both", tower) else 0 for tower, depth in depths.items()}
    deepest = max(depths.values())
    end = deepest if last is None else last
    if not first <= end <= deepest:
        raise pb.UsageError(
            f"{name}.first_layer={first}, last_layer={last or 'none'}: this backbone's blocks are 1 to {deepest}"
        )
    return {tower: range(first, min(end, depth) + 1) for tower, depth in depths.items()}


def shared_projection(dim: int, activation: str = "relu") -> nn.Module:
    """S with its activation, [..., dim] -> [..., dim]; Kaiming normal by fan-out, biases zero."""
    from torch import nn

    from petl_bench.models.adapters import ACTIVATIONS, kaiming_normal_

    projection = nn.Sequential(nn.Linear(dim, dim), ACTIVATIONS[activation]())
    kaiming_normal_(projection)
    return projection
