"""The 32 actions of the `motion` data set: their names, other ways to say them, and how an object moves in each.

Coordinates are in [0, 1], x to the right and y down, so that a growing angle turns clockwise on the screen. Time
runs from 0 to 1 over the frames of a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES = 8
TIME = np.linspace(0.0, 1.0, FRAMES)

Curve = NDArray[np.float64]


@dataclass
class Track:
    """Where one object is in every frame: centre, radius, angle in radians, opacity; each [FRAMES]."""

    x: Curve
    y: Curve
    size: Curve
    angle: Curve
    alpha: Curve


@dataclass
class MotionState:
    """What happens in a clip. `other` is a second object: a copy of the main one, or a different one, in front or
    behind.
    """

    main: Track
    other: Track | None = None
    other_is_copy: bool = False
    other_in_front: bool = True
    recoloured_from: int = FRAMES  #: first frame in which the main object has its second colour


@dataclass(frozen=True)
class Start:
    """The drawn starting values of the main object; `speed` multiplies every movement."""

    x: float
    y: float
    size: float
    angle: float
    speed: float


Action = Callable[[np.random.Generator, Start], MotionState]


def still(start: Start) -> Track:
    """An object that does nothing."""
    return Track(*(np.full(FRAMES, value) for value in (start.x, start.y, start.size, start.angle, 1.0)))


def _sign(rng: np.random.Generator) -> int:
    return int(rng.integers(2)) * 2 - 1


def _moving(dx: int, dy: int) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        way = 0.5 * start.speed * (TIME - 0.5)
        track.x = np.clip(start.x, 0.4, 0.6) + dx * way
        track.y = np.clip(start.y, 0.4, 0.6) + dy * way
        return MotionState(track)

    return action


def _rotating(turn: int) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        track.angle = start.angle + turn * 1.5 * np.pi * start.speed * TIME
        return MotionState(track)

    return action


def _resizing(backwards: bool) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        grown = start.size * (0.55 + 0.95 * start.speed * TIME)
        track.size = grown[::-1] if backwards else grown
        return MotionState(track)

    return action


def _pulsing(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    track.size = start.size * (1 + 0.4 * np.sin(2 * np.pi * (2 * TIME + rng.random())))
    return MotionState(track)


def _blinking(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    period, phase = rng.integers(1, 3), rng.integers(2)
    track.alpha = ((np.arange(FRAMES) // period + phase) % 2).astype(float)
    return MotionState(track)


def _zigzagging(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    along = 0.5 + _sign(rng) * 0.55 * start.speed * (TIME - 0.5)
    across = 0.5 + 0.16 * (2 / np.pi) * np.arcsin(np.sin(2 * np.pi * (1.75 * TIME + rng.random())))
    track.x, track.y = (along, across) if rng.integers(2) else (across, along)
    return MotionState(track)


def _circling(turn: int) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        radius = rng.uniform(0.18, 0.26)
        angle = 2 * np.pi * (rng.random() + turn * 0.85 * start.speed * TIME)
        track.x, track.y = 0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)
        return MotionState(track)

    return action


def _bouncing(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    height = 0.5 * rng.uniform(0.7, 1.0)
    track.x = start.x + rng.uniform(-0.2, 0.2) * (TIME - 0.5)
    track.y = 0.8 - height * np.abs(np.sin(np.pi * (2 * start.speed * TIME + rng.random())))
    return MotionState(track)


def _falling(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    track.y = 0.12 + 0.75 * np.minimum(start.speed * TIME, 1.05) ** 2
    return MotionState(track)


def _shaking(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    sides = np.where(np.arange(FRAMES) % 2, 1.0, -1.0) * _sign(rng)
    track.x = start.x + 0.06 * start.speed * sides + rng.normal(0, 0.012, FRAMES)
    track.y = start.y + rng.normal(0, 0.012, FRAMES)
    return MotionState(track)


def _parting(backwards: bool) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        apart = 0.27 * start.speed * np.clip((TIME - 0.15) * 1.25, 0, 1)
        apart = apart[::-1] if backwards else apart
        tracks = [still(start), still(start)]
        sideways = rng.integers(2)
        for track, way in zip(tracks, (-1, 1), strict=True):
            track.size = track.size * 0.85
            track.x = np.clip(start.x, 0.4, 0.6) + way * apart * sideways
            track.y = np.clip(start.y, 0.4, 0.6) + way * apart * (1 - sideways)
        return MotionState(tracks[0], other=tracks[1], other_is_copy=True)

    return action


def _orbiting(rng: np.random.Generator, start: Start) -> MotionState:
    centre = still(start)
    centre.x, centre.y = np.clip(centre.x, 0.45, 0.55), np.clip(centre.y, 0.45, 0.55)
    track = still(start)
    angle = 2 * np.pi * (rng.random() + _sign(rng) * 0.85 * start.speed * TIME)
    track.size = track.size * 0.75
    track.x, track.y = centre.x + 0.3 * np.cos(angle), centre.y + 0.3 * np.sin(angle)
    return MotionState(track, other=centre, other_in_front=False)


def _fading(backwards: bool) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        alpha = np.clip((TIME - 0.1) * 1.4 * start.speed, 0, 1)
        track.alpha = alpha[::-1] if backwards else alpha
        return MotionState(track)

    return action


def _changing_speed(faster: bool) -> Action:
    def action(rng: np.random.Generator, start: Start) -> MotionState:
        track = still(start)
        way = TIME**2.4 if faster else 1 - (1 - TIME) ** 2.4
        track.x = 0.5 + _sign(rng) * 0.7 * start.speed * (way - 0.5)
        return MotionState(track)

    return action


def _changing_colour(rng: np.random.Generator, start: Start) -> MotionState:
    return MotionState(still(start), recoloured_from=int(np.searchsorted(TIME, rng.uniform(0.3, 0.7))))


def _colliding(rng: np.random.Generator, start: Start) -> MotionState:
    main, other = still(start), still(start)
    gap = (0.8 * start.size + 0.72 * start.speed * np.abs(TIME - 0.5)) * _sign(rng)
    if rng.random() < 0.3:
        main.y, other.y = 0.5 - gap / 2, 0.5 + gap / 2
    else:
        main.x, other.x = 0.5 - gap / 2, 0.5 + gap / 2
    return MotionState(main, other=other)


def _passing_behind(rng: np.random.Generator, start: Start) -> MotionState:
    main, other = still(start), still(start)
    main.x = 0.5 + _sign(rng) * 0.8 * start.speed * (TIME - 0.5)
    other.x, other.size = np.clip(other.x, 0.45, 0.55), other.size * 1.35
    return MotionState(main, other=other)


def _swinging(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    angle = 0.9 * np.cos(2 * np.pi * (1.1 * start.speed * TIME + rng.random()))
    track.x, track.y = 0.5 + 0.48 * np.sin(angle), 0.2 + 0.5 * np.cos(angle)
    return MotionState(track)


def _turning_back(rng: np.random.Generator, start: Start) -> MotionState:
    track = still(start)
    way = _sign(rng) * 0.42 * start.speed * (0.75 - 2 * np.abs(TIME - 0.5))
    if rng.integers(2):
        track.x = np.clip(start.x, 0.4, 0.6) + way
    else:
        track.y = np.clip(start.y, 0.4, 0.6) + way
    return MotionState(track)


#: Class name -> (how it moves, other ways to say it). The order is the order of the labels.
ACTIONS: dict[str, tuple[Action, tuple[str, ...]]] = {
    "moving left": (_moving(-1, 0), ("drifting to the left", "going left", "sliding left")),
    "moving right": (_moving(1, 0), ("drifting to the right", "going right", "sliding right")),
    "moving up": (_moving(0, -1), ("rising", "going upward", "drifting up")),
    "moving down": (_moving(0, 1), ("sinking", "going downward", "drifting down")),
    "moving diagonally up and left": (_moving(-1, -1), ("going up and to the left", "drifting toward the upper left")),
    "moving diagonally up and right": (
        _moving(1, -1),
        ("going up and to the right", "drifting toward the upper right"),
    ),
    "moving diagonally down and left": (
        _moving(-1, 1),
        ("going down and to the left", "drifting toward the lower left"),
    ),
    "moving diagonally down and right": (
        _moving(1, 1),
        ("going down and to the right", "drifting toward the lower right"),
    ),
    "rotating clockwise": (_rotating(1), ("spinning clockwise", "turning clockwise in place")),
    "rotating counterclockwise": (_rotating(-1), ("spinning counterclockwise", "turning counterclockwise in place")),
    "growing": (_resizing(False), ("getting bigger", "becoming larger", "expanding")),
    "shrinking": (_resizing(True), ("getting smaller", "becoming tiny", "contracting")),
    "pulsing": (_pulsing, ("beating like a heart", "growing and shrinking again and again")),
    "blinking": (_blinking, ("flashing on and off", "flickering")),
    "zigzagging": (_zigzagging, ("moving in a zigzag", "weaving from side to side")),
    "circling clockwise": (_circling(1), ("moving in a clockwise circle", "going around clockwise")),
    "circling counterclockwise": (
        _circling(-1),
        ("moving in a counterclockwise circle", "going around counterclockwise"),
    ),
    "bouncing": (_bouncing, ("hopping on the ground", "jumping up and down")),
    "falling": (_falling, ("dropping down", "falling faster and faster")),
    "shaking": (_shaking, ("trembling", "vibrating quickly")),
    "splitting in two": (_parting(False), ("dividing into two parts", "breaking apart into two")),
    "merging into one": (_parting(True), ("two parts joining together", "coming together as one")),
    "orbiting another object": (_orbiting, ("revolving around another object", "traveling around a second shape")),
    "appearing": (_fading(False), ("fading in", "becoming visible")),
    "vanishing": (_fading(True), ("fading out", "disappearing")),
    "speeding up": (_changing_speed(True), ("accelerating", "moving faster and faster")),
    "slowing down": (_changing_speed(False), ("decelerating", "moving slower and slower")),
    "changing color": (_changing_colour, ("turning into another color", "switching its color")),
    "colliding with another object": (
        _colliding,
        ("bumping into another object", "hitting another shape and rebounding"),
    ),
    "passing behind another object": (_passing_behind, ("moving behind another shape", "hiding behind another object")),
    "swinging": (_swinging, ("swaying like a pendulum", "swinging back and forth")),
    "turning back": (_turning_back, ("going out and coming back", "reversing its direction")),
}

CLASSES: tuple[str, ...] = tuple(ACTIONS)
