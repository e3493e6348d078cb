"""Where the labels of points go, so that they cover neither each other nor what is drawn. Geometry, no drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Place = tuple[float, float]  #: x, y
Box = tuple[float, float, float, float]  #: left, bottom, right, top

#: Directions from a point to its label, the preferred ones first: right, left, above, below, then between them.
_DIRECTIONS = (
    *((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)),
    *((1.0, 0.5), (1.0, -0.5), (-1.0, 0.5), (-1.0, -0.5), (0.5, 1.0), (0.5, -1.0), (-0.5, 1.0), (-0.5, -1.0)),
)
_RINGS = 6
#: How often each label is placed anew, given the others. Labels that sit well stay after two or three times.
_ROUNDS = 6
#: What an area costs outside the frame, over a label or a point, and over a line.
_OUTSIDE, _COVERED, _CROSSED = 50.0, 10.0, 3.0
#: What it costs that two labels touch at all: more than the farthest place.
_TOUCHED = 200.0
#: What it costs that two labels are so near that they read as lines of one; and how near that is.
_NEAR, _AROUND = 35.0, np.array([-2.0, -3.0, 2.0, 3.0])
#: What it costs that a label touches a line at all.
_STRUCK = 45.0
#: What it costs that the line from a point to its label runs through another label, or another point; and where this is
#: looked at.
_LED_THROUGH, _LED_OVER = 60.0, 30.0
_ALONG = tuple(step / 12 for step in range(1, 13))


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
    choices = np.array([_choices(anchor, size, gap) for anchor, size in zip(anchors, sizes, strict=True)])
    far = gap * np.array([4 * ring + 0.25 * rank for ring in range(_RINGS) for rank in range(len(_DIRECTIONS))])
    areas = (choices[..., 2] - choices[..., 0]) * (choices[..., 3] - choices[..., 1])
    own = far + _OUTSIDE * (areas - _shared(choices, [frame]).sum(-1))
    crossed = _shared(choices, thin)
    own += _COVERED * _shared(choices, solid).sum(-1) + (_CROSSED * crossed + _STRUCK * (crossed > 0)).sum(-1)
    leads = np.stack([_lead(np.array(anchor), boxes) for anchor, boxes in zip(anchors, choices, strict=True)])
    own += _LED_OVER * _within(leads, np.array(solid, dtype=float).reshape(-1, 4)).any(2).sum(-1)
    every = range(len(anchors))
    found = [_settled(order, choices, leads, own) for order in (every, every[::-1], [*every[1::2], *every[::2]])]
    chosen, _ = min(found, key=lambda each: each[1])
    return [tuple(map(float, choices[index, chosen[index]])) for index in every]  # type: ignore[misc]


def _settled(
    order: Sequence[int], choices: np.ndarray, leads: np.ndarray, own: np.ndarray
) -> tuple[dict[int, int], float]:
    """The place of each label, if they are placed in this order, again and again; and what these places cost."""
    chosen: dict[int, int] = {}
    paid: dict[int, float] = {}
    for index in list(order) * _ROUNDS:
        others = [(other, place) for other, place in chosen.items() if other != index]
        boxes = np.array([choices[other, place] for other, place in others]).reshape(-1, 4)
        lines = np.array([leads[other, place] for other, place in others]).reshape(-1, len(_ALONG), 2)
        shared = _shared(choices[index], boxes)
        near = _shared(choices[index] + _AROUND, boxes) > 0
        costs = own[index] + (_COVERED * shared + _TOUCHED * (shared > 0) + _NEAR * near).sum(-1)
        led = _within(leads[index], boxes).any(1).sum(-1) + _within(lines, choices[index]).any(1).sum(0)
        costs += _LED_THROUGH * led
        chosen[index] = int(np.argmin(costs))
        paid[index] = float(costs[chosen[index]])
    return chosen, sum(paid.values())


def are_apart(boxes: Sequence[Box]) -> bool:
    """Whether no two of these boxes touch."""
    shared = _shared(np.array(boxes, dtype=float).reshape(-1, 4), boxes)
    np.fill_diagonal(shared, 0)
    return not shared.any()


def _choices(anchor: Place, size: tuple[float, float], gap: float) -> list[Box]:
    """Boxes around an anchor, ring by ring, in each direction."""
    found = []
    for ring in range(_RINGS):
        for right, up in _DIRECTIONS:
            # On a diagonal, the corner of the label is as far from the point as its edge is elsewhere.
            distance = gap * (1 + 1.5 * ring) / math.hypot(right, up)
            left = anchor[0] + right * distance - size[0] * (1 - right) / 2
            bottom = anchor[1] + up * distance - size[1] * (1 - up) / 2
            found.append((left, bottom, left + size[0], bottom + size[1]))
    return found


def _lead(anchor: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Places [K, P, 2] along the line from an anchor to the nearest place of each box [K, 4]."""
    nearest = np.clip(anchor, boxes[:, :2], boxes[:, 2:])
    along = np.array(_ALONG)[:, None]
    places: np.ndarray = anchor + along * (nearest - anchor)[:, None, :]
    return places


def _within(places: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each place [..., 2] lies in each box [N, 4]: [..., N]."""
    across, up = places[..., None, 0], places[..., None, 1]
    inside: np.ndarray = (boxes[:, 0] < across) & (across < boxes[:, 2]) & (boxes[:, 1] < up) & (up < boxes[:, 3])
    return inside


def _shared(boxes: np.ndarray, others: ArrayLike) -> np.ndarray:
    """The area that each box [..., 4] shares with each of the others [N, 4]: [..., N]."""
    ours, theirs = boxes[..., None, :], np.asarray(others, dtype=float).reshape(-1, 4)
    width = np.minimum(ours[..., 2], theirs[:, 2]) - np.maximum(ours[..., 0], theirs[:, 0])
    height = np.minimum(ours[..., 3], theirs[:, 3]) - np.maximum(ours[..., 1], theirs[:, 1])
    area: np.ndarray = width.clip(0) * height.clip(0)
    return area
