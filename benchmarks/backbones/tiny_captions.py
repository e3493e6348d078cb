"""What the tiny backbones read: captions of rendered clips, when one is true of a clip, and the reduced vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petl_bench.benchmarks.datasets.motion_actions import ACTIONS, CLASSES
from petl_bench.benchmarks.datasets.motion_captions import size_word, with_article
from petl_bench.benchmarks.datasets.motion_render import COLOURS, SHAPES, Scene

CLASS_PROMPT = "a video of {}."
SUBJECT_TEMPLATES = (
    "{subject} {action}",
    "{subject} {action}.",
    "a video of {subject} {action}.",
    "a clip showing {subject} {action}",
    "in this video {subject} is {action}.",
)
PLAIN_TEMPLATES = (CLASS_PROMPT, "a video of {}", "{}", "a video about {}.")
SHAPE_NAMES, COLOUR_NAMES = tuple(SHAPES), tuple(COLOURS)
_SUBJECTS = ("size colour shape", "colour shape", "shape", "object", "colour object", "size shape", "something")
_SUBJECT_ODDS = (0.3, 0.2, 0.15, 0.05, 0.1, 0.15, 0.05)
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Caption:
    """A caption and what it says: an action, and a shape, a colour and a size if it names them."""

    text: str
    action: int
    shape: int | None = None
    colour: int | None = None
    size: str | None = None


def positives(captions: Sequence[Caption], scenes: Sequence[Scene]) -> NDArray[np.bool_]:
    """Whether everything that a caption says holds for a clip, [clips, captions]."""
    true = np.ones((len(scenes), len(captions)), dtype=bool)
    for name in ("action", "shape", "colour"):
        said = np.array([_or(getattr(caption, name), -1) for caption in captions])
        seen = np.array([getattr(scene, name) for scene in scenes])
        true &= (said[None] == seen[:, None]) | (said[None] < 0)
    sizes = np.array([size_word(scene.size) or "" for scene in scenes])
    said_sizes = np.array([caption.size or "" for caption in captions])
    true &= (said_sizes[None] == sizes[:, None]) | (said_sizes[None] == "")
    return true


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def caption_of(rng: np.random.Generator, scene: Scene) -> Caption:
    """A random caption that is true of the clip: its class prompt, a description, or a sentence about the object."""
    name = CLASSES[scene.action]
    kind = rng.random()
    if kind < 0.15:
        sentences = _descriptions()[name]
        return Caption(sentences[int(rng.integers(len(sentences)))], scene.action)
    phrases = (name, *ACTIONS[name][1])
    phrase = name if rng.random() < 0.25 else phrases[int(rng.integers(len(phrases)))]
    if kind < 0.5:
        return Caption(PLAIN_TEMPLATES[int(rng.integers(len(PLAIN_TEMPLATES)))].format(phrase), scene.action)
    return _about_object(rng, scene, phrase)


def _about_object(rng: np.random.Generator, scene: Scene, phrase: str) -> Caption:
    parts = _SUBJECTS[int(rng.choice(len(_SUBJECTS), p=_SUBJECT_ODDS))].split()
    if CLASSES[scene.action] == "changing color" and "colour" in parts:
        parts.remove("colour")  # neither of its two colours would be the right one
    words = {"size": size_word(scene.size), "colour": COLOUR_NAMES[scene.colour], "shape": SHAPE_NAMES[scene.shape]}
    said = [word for part in parts if (word := words.get(part, part)) is not None]
    subject = " ".join(said) if said == ["something"] else with_article(" ".join(said))
    template = SUBJECT_TEMPLATES[int(rng.integers(len(SUBJECT_TEMPLATES)))]
    return Caption(
        template.format(subject=subject, action=phrase),
        scene.action,
        shape=scene.shape if "shape" in parts else None,
        colour=scene.colour if "colour" in parts else None,
        size=words["size"] if "size" in parts else None,
    )


def _load_descriptions() -> dict[str, list[str]]:
    path = _HERE.parent / "datasets" / "motion_descriptions.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: [*kinds["spatial"], *kinds["temporal"]] for name, kinds in content.items()}


_DESCRIPTIONS: dict[str, list[str]] = {}


def _descriptions() -> dict[str, list[str]]:
    if not _DESCRIPTIONS:
        _DESCRIPTIONS.update(_load_descriptions())
    return _DESCRIPTIONS


def texts() -> Iterable[str]:
    """Every text whose words the vocabulary must hold: captions, class names, descriptions, common words."""
    yield from CLASSES
    yield from (phrase for _, phrases in ACTIONS.values() for phrase in phrases)
    yield from (template.format(subject="a small big object something an", action="") for template in SUBJECT_TEMPLATES)
    yield from (template.format("left.") for template in PLAIN_TEMPLATES)
    yield from (*SHAPE_NAMES, *COLOUR_NAMES)
    yield from (sentence for sentences in _descriptions().values() for sentence in sentences)
    yield from json.loads((_HERE / "viclip_tiny_words.json").read_text(encoding="utf-8"))
    yield from ". , ! ? ' - : ; ( ) &"


def token_ids() -> tuple[int, ...]:
    """CLIP ids of the table's rows, ascending after row 0, which stands for every unknown word (its own id is never
    produced).
    """
    from petl_bench.models.tokenizer import tokenize

    ids = {int(i) for i in tokenize(list(texts()), context_length=77).unique()} | {0}
    return (-1, *sorted(ids))
