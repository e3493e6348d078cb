"""Where the labels of points go, so that they cover neither each other nor what is drawn. Geometry, no drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

Place = tuple[float, float]  #: x, y
Box = tuple[float, float, float, float]  #: left, bottom, right, top

#: Directions from a point to its label, the preferred ones first: right, left, above, below, then between them.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_ROUNDS = 4
_OUTSIDE, _COVERED = 50.0, 10.0  #: what an area costs outside the frame, and over a label or a point
_BEHIND = 1.0  #: ... and over a line


def place(
    anchors: Sequence[Place],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    *,
    solid: Sequence[Box] = (),
    thin: Sequence[Box] = (),
    gap: float = 6.0,
) -> list[Box]:
    """A box of its size for each anchor, in one unit throughout.

    `solid` must stay free (points), `thin` should (lines, error bars); `gap` is the least distance from an anchor.
    Every label takes the cheapest of some places around its anchor, given those of the others; the same input gives the
    same places.
    """
    choices = [_choices(anchor, size, gap) for anchor, size in zip(anchors, sizes, strict=True)]
    own = [[_cost(box, frame, solid, thin) + near for box, near in boxes] for boxes in choices]
    chosen: dict[int, Box] = {}
    for index in list(range(len(anchors))) * _ROUNDS:
        others = [box for other, box in chosen.items() if other != index]
        costs = [
            cost + _COVERED * sum(_shared(box, other) for other in others)
            for cost, (box, _) in zip(own[index], choices[index], strict=True)
        ]
        chosen[index] = choices[index][costs.index(min(costs))][0]
    return [chosen[index] for index in range(len(anchors))]


def _choices(anchor: Place, size: tuple[float, float], gap: float) -> list[tuple[Box, float]]:
    """Boxes around an anchor, near ones first, each with what its distance and direction cost."""
    found = []
    for ring in range(6):
        away = gap * (1 + 1.5 * ring)
        for rank, (right, up) in enumerate(_DIRECTIONS):
            # On a diagonal, the corner of the label is as far from the point as its edge is elsewhere.
            distance = away / math.hypot(right, up)
            left = anchor[0] + right * distance - size[0] * (1 - right) / 2
            bottom = anchor[1] + up * distance - size[1] * (1 - up) / 2
            found.append(((left, bottom, left + size[0], bottom + size[1]), gap * (4 * ring + 0.5 * rank)))
    return found


def _cost(box: Box, frame: Box, solid: Sequence[Box], thin: Sequence[Box]) -> float:
    outside = _area(box) - _shared(box, frame)
    covered = sum(_shared(box, other) for other in solid)
    behind = sum(_shared(box, other) for other in thin)
    return _OUTSIDE * outside + _COVERED * covered + _BEHIND * behind


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
