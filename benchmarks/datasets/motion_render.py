"""Draws clips of `motion` and `shapes`: 8 frames of 32 x 32 RGB pixels in which one object does one of 32 things.

A `Scene` is drawn from a random generator and holds everything that a clip shows; `render` is a pure function of
scenes. What scenes look like is a `Domain`: pretraining uses clean and shifted ones, `motion` lies beyond them, and
`shapes` within.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petl_bench.benchmarks.datasets.motion_actions import ACTIONS, CLASSES, FRAMES, Start, Track, still

SIDE = 32
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 215, 50),
    "purple": (150, 60, 190),
    "orange": (240, 140, 30),
    "white": (240, 240, 240),
    "cyan": (60, 210, 220),
}
#: Where random numbers come from. Pretraining, validation, training and test clips are disjoint as their streams are.
#: The place of a stream in this list is part of its seed: new ones come last.
STREAMS = (
    "context",
    "pretraining",
    "captions",
    "validation",
    "train",
    "test",
    "draws",
    "shapes train",
    "shapes test",
    "shapes draws",
)
SEED = 20

SMALL_BELOW, BIG_ABOVE = 0.145, 0.18
MAIN_SLOT = 3  #: painted in this order: two distractors, an object behind, the main object, an object in front
SLOTS = 5

_PALETTE = np.array(list(COLOURS.values()), dtype=np.float64)
_DULL = np.array([170.0, 130.0, 110.0])
_ANGLES = 256

Floats = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """What clips look like. Sizes and shifts are parts of the image side; brightness is in grey levels (0 to 255)."""

    size: Range = (0.12, 0.21)
    speed: Range = (0.8, 1.2)
    palette_shift: float = 0.0  #: how far the colours are moved towards a dull brown
    distractors: int = 0  #: largest number of small static objects
    noise: float = 4.0  #: standard deviation of the pixel noise
    texture: float = 0.0  #: amplitude of the background's texture
    camera: float = 0.0  #: standard deviation of the camera's step from frame to frame
    opacity: Range = (0.9, 1.0)
    blur: float = 0.0  #: largest weight of a 3 x 3 blur
    background: Range = (10.0, 40.0)
    gain: float = 0.1  #: largest relative change of a channel's brightness
    context: float = (
        0.0  #: probability that a clip shows its class's own background (and, with 0.8 each, shape and colour)
    )


CLEAN = Domain()


def shifted(k: float, context: float = 0.0) -> Domain:
    """A domain at distance `k` from the clean one (0: about as clean, 1: hardly to be recognised)."""
    return Domain(
        size=(0.12 - 0.02 * k, 0.21 - 0.02 * k),
        speed=(0.75 - 0.15 * k, 1.25 + 0.05 * k),
        palette_shift=k,
        distractors=round(2 * k),
        noise=4 + 18 * k,
        texture=40 * k,
        camera=0.025 * k,
        opacity=(0.85 - 0.3 * k, 1 - 0.1 * k),
        blur=k,
        background=(10 + 30 * k, 40 + 90 * k),
        gain=0.1 + 0.2 * k,
        context=context,
    )


@dataclass
class Object:
    """One painted object: a shape, its colour in every frame [FRAMES, 3], and where it is."""

    shape: int
    colours: NDArray[np.float64]
    track: Track


@dataclass
class Scene:
    """Everything that one clip shows. `colour` and `shape` are those of the main object at the start; `size` is its
    radius.
    """

    action: int
    shape: int
    colour: int
    size: float
    objects: tuple[Object | None, ...]  #: one per slot
    background: NDArray[np.float64]  #: [3]
    camera: NDArray[np.float64]  #: shift of every frame [FRAMES, 2]
    texture: float
    opacity: float
    blur: float
    noise: float
    gain: NDArray[np.float64]  #: [3]
    seed: int  #: of the texture and the pixel noise


def generator(stream: str, *key: int) -> np.random.Generator:
    """The random generator of one clip or pool of clips. No two (stream, key) share one, whatever the keys are."""
    return np.random.default_rng(np.random.SeedSequence([SEED, STREAMS.index(stream)], spawn_key=key))


def class_context(action: int) -> tuple[NDArray[np.float64], int, int]:
    """The fixed background (RGB), shape and colour that go with a class where a domain has context."""
    rng = generator("context", action)
    return rng.uniform(15, 130, 3), int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))


_CONTEXTS = tuple(class_context(action) for action in range(len(CLASSES)))


def draw_scene(rng: np.random.Generator, action: int, domain: Domain, look: tuple[int, int] | None = None) -> Scene:
    """Draw one clip of an action (an index into CLASSES), of a drawn shape and colour or of those of `look`."""
    shape, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))
    background = np.clip(rng.uniform(*domain.background) + rng.uniform(-8, 8, 3), 0, 255)
    if rng.random() < domain.context:
        usual_background, usual_shape, usual_colour = _CONTEXTS[action]
        background = usual_background + rng.uniform(-14, 14, 3)
        shape = usual_shape if rng.random() < 0.8 else shape
        colour = usual_colour if rng.random() < 0.8 else colour
    if look is not None:
        shape, colour = look
    start = _draw_start(rng, domain)
    objects = _draw_objects(rng, action, shape, colour, start, domain)
    return Scene(
        action=action,
        shape=shape,
        colour=colour,
        size=start.size,
        objects=objects,
        background=background,
        camera=np.cumsum(rng.normal(0, 1, (FRAMES, 2)), axis=0) * domain.camera,
        texture=domain.texture,
        opacity=rng.uniform(*domain.opacity),
        blur=rng.uniform(0, domain.blur),
        noise=domain.noise,
        gain=1 + rng.uniform(-domain.gain, domain.gain, 3),
        seed=int(rng.integers(2**63)),
    )


def _draw_start(rng: np.random.Generator, domain: Domain) -> Start:
    x, y = rng.uniform(0.35, 0.65, 2)
    return Start(x, y, rng.uniform(*domain.size), rng.uniform(-0.4, 0.4), rng.uniform(*domain.speed))


def _draw_objects(
    rng: np.random.Generator, action: int, shape: int, colour: int, start: Start, domain: Domain
) -> tuple[Object | None, ...]:
    motion = ACTIONS[CLASSES[action]][0](rng, start)
    slots: list[Object | None] = [None] * SLOTS
    for slot in range(int(rng.integers(domain.distractors + 1))):
        place = Start(*rng.uniform(0.1, 0.9, 2), rng.uniform(0.05, 0.09), rng.uniform(-0.4, 0.4), 1.0)
        slots[slot] = _paint(int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS))), still(place), domain)
    main = slots[MAIN_SLOT] = _paint(shape, colour, motion.main, domain)
    second = (colour + int(rng.integers(1, len(COLOURS)))) % len(COLOURS)
    main.colours[motion.recoloured_from :] = _colour(second, domain)
    if motion.other is not None:
        other_shape = shape if motion.other_is_copy else int(rng.integers(2))
        other_colour = colour if motion.other_is_copy else second
        slot = MAIN_SLOT + 1 if motion.other_in_front else MAIN_SLOT - 1
        slots[slot] = _paint(other_shape, other_colour, motion.other, domain)
    return tuple(slots)


def _paint(shape: int, colour: int, track: Track, domain: Domain) -> Object:
    return Object(shape, np.tile(_colour(colour, domain), (FRAMES, 1)), track)


def _colour(colour: int, domain: Domain) -> NDArray[np.float64]:
    bright = _PALETTE[colour]
    shifted: NDArray[np.float64] = bright + domain.palette_shift * (0.55 * bright + 0.45 * _DULL - bright)
    return shifted


def _outlines() -> tuple[Floats, Floats]:
    """Outer radius of every shape by angle [shapes, angles], for radius 1, and the radius of the hole inside it."""
    angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    cos, sin = np.cos(angle), np.sin(angle)
    box = np.maximum(np.abs(cos), np.abs(sin))
    third = (angle + np.pi / 2) % (2 * np.pi / 3) - np.pi / 3
    fifth = np.abs((angle + np.pi / 2) % (2 * np.pi / 5) - np.pi / 5) / (np.pi / 5)
    arm = np.minimum(np.abs(cos), np.abs(sin))
    bite_cos = -cos  # the moon's missing circle (radius 0.75) lies 0.45 to the right
    inside = np.clip(0.75**2 - (0.45 * sin) ** 2, 0, None)
    bite = np.where((inside > 0) & (bite_cos < 0), 0.45 * cos - np.sqrt(inside), 1.0)
    outer = {
        "circle": np.full(_ANGLES, 0.85),
        "square": np.minimum(0.78 / box, 1.05),
        "triangle": np.minimum(0.55 / np.cos(third), 1.1),
        "star": 0.42 + 0.68 * fifth**1.5,
        "cross": np.minimum(1.0 / box, 0.32 / np.maximum(arm, 1e-6)),
        "ring": np.full(_ANGLES, 0.95),
        "heart": 0.55 + 0.45 * np.abs(cos) * np.where(sin < 0, 1.0, 0.55) + 0.45 * np.clip(sin, 0, 1) ** 4,
        "moon": np.full(_ANGLES, 0.95),
    }
    hole = np.zeros((len(SHAPES), _ANGLES))
    hole[SHAPES.index("ring")] = 0.5
    radii = np.stack([outer[shape] for shape in SHAPES])
    radii[SHAPES.index("moon")] = np.minimum(0.95, np.maximum(bite, 0.12))
    return radii.astype(np.float32), hole.astype(np.float32)


_OUTER, _HOLE = _outlines()
_CENTRES = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)


def render(scenes: Sequence[Scene], chunk: int = 32) -> NDArray[np.uint8]:
    """The frames of every scene, uint8 [N, FRAMES, SIDE, SIDE, 3]."""
    if not scenes:
        return np.empty((0, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    return np.concatenate([_render_chunk(scenes[first : first + chunk]) for first in range(0, len(scenes), chunk)])


def _render_chunk(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    noise = [np.random.Generator(np.random.SFC64(scene.seed)) for scene in scenes]
    images = _backgrounds(scenes, noise)
    for slot in range(SLOTS):
        shown = [index for index, scene in enumerate(scenes) if scene.objects[slot] is not None]
        if shown:
            images[shown] = _over(images[shown], [scenes[index] for index in shown], slot)
    for image, scene, rng in zip(images, scenes, noise, strict=True):
        if scene.blur > 0:
            image[...] = (1 - scene.blur) * image + scene.blur * _blurred(image)
        image *= scene.gain.astype(np.float32)
        image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(scene.noise)
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def _backgrounds(scenes: Sequence[Scene], noise: Sequence[np.random.Generator]) -> Floats:
    images = np.empty((len(scenes), FRAMES, SIDE, SIDE, 3), dtype=np.float32)
    for image, scene, rng in zip(images, scenes, noise, strict=True):
        image[...] = scene.background
        if scene.texture > 0:
            image += _texture(scene, rng)
    return images


def _texture(scene: Scene, rng: np.random.Generator) -> Floats:
    """Smooth colour clouds and finer grey grain that move with the camera [FRAMES, SIDE, SIDE, 3]."""
    clouds, grain = rng.standard_normal((3, 7, 7)), rng.standard_normal((1, 20, 20))
    values = 0.7 * _resample(clouds, scene.camera, _cubic) + 0.6 * _resample(grain, scene.camera, _hat)
    return (0.5 * scene.texture * values).transpose(0, 2, 3, 1).astype(np.float32)


def _resample(
    lattice: NDArray[np.float64],
    camera: NDArray[np.float64],
    kernel: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Interpolate a lattice [C, L, L] over the image at every frame's camera shift: [FRAMES, C, SIDE, SIDE]."""
    last = lattice.shape[-1] - 1
    places = np.clip(_CENTRES[None, :, None] - camera[:, None, :], 0, 1) * last
    weights = kernel(places[..., None, :] - np.arange(last + 1)[:, None])
    across, down = weights[..., 0], weights[..., 1]
    noise: NDArray[np.float64] = down[:, None] @ lattice @ across[:, None].transpose(0, 1, 3, 2)
    return noise


def _hat(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    weight: NDArray[np.float64] = np.clip(1 - np.abs(distance), 0, None)
    return weight


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -1/2."""
    d = np.abs(distance)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _over(images: Floats, scenes: Sequence[Scene], slot: int) -> Floats:
    """Paint one slot's objects over the images [n, FRAMES, SIDE, SIDE, 3]."""
    objects = [thing for scene in scenes if (thing := scene.objects[slot]) is not None]
    camera = np.stack([scene.camera for scene in scenes])
    x, y, size, turn, alpha = (
        np.stack([getattr(thing.track, name) for thing in objects]) for name in ("x", "y", "size", "angle", "alpha")
    )
    dx = (_CENTRES - (x + camera[..., 0])[..., None].astype(np.float32))[:, :, None, :]
    dy = (_CENTRES - (y + camera[..., 1])[..., None].astype(np.float32))[:, :, :, None]
    distance = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx) - turn[..., None, None].astype(np.float32)
    index = (angle * np.float32(_ANGLES / (2 * np.pi))).astype(np.int64) % _ANGLES
    shape = np.array([thing.shape for thing in objects])[:, None, None, None]
    radius = size[..., None, None].astype(np.float32)
    edge = np.clip((_OUTER[shape, index] * radius - distance) * SIDE + 0.5, 0, 1)
    edge *= np.clip((distance - _HOLE[shape, index] * radius) * SIDE + 0.5, 0, 1)
    opacity = alpha * np.array([scene.opacity for scene in scenes])[:, None]
    cover = (edge * opacity[..., None, None].astype(np.float32))[..., None]
    tone = np.where(index > _ANGLES // 2, np.float32(0.6), np.float32(1.0))[..., None]
    colours = np.stack([thing.colours for thing in objects])[:, :, None, None, :].astype(np.float32)
    drawn: NDArray[np.float32] = images + cover * (colours * tone - images)
    return drawn


def _blurred(image: Floats) -> Floats:
    """3 x 3 binomial blur of every frame [FRAMES, SIDE, SIDE, 3], edges repeated."""
    rows = np.pad(image, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    rows = 0.25 * (rows[:, :-2] + rows[:, 2:]) + 0.5 * rows[:, 1:-1]
    columns = np.pad(rows, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return 0.25 * (columns[:, :, :-2] + columns[:, :, 2:]) + 0.5 * columns[:, :, 1:-1]
