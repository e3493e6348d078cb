"""Captions of the embedded data set: true of what is drawn, each of one test clip, cheap to read."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from petl_bench.api.dataset import Annotations
from petl_bench.benchmarks.datasets import motion_render
from petl_bench.benchmarks.datasets.motion import CLIPS, Motion
from petl_bench.benchmarks.datasets.motion_actions import ACTIONS, CLASSES
from petl_bench.benchmarks.datasets.motion_captions import captions_of
from petl_bench.benchmarks.datasets.motion_render import COLOURS, SHAPES, Scene
from petl_bench.data.found.manifest import _content
from petl_bench.models.tokenizer import overflow_count


@pytest.fixture(scope="module")
def annotations() -> Annotations:
    dataset = Motion()
    return dataset.annotations(dataset.root(None))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    dataset, labels = Motion(), range(len(CLASSES))
    return {
        clip: scene
        for part in CLIPS
        for label in labels
        for clip, scene in zip(dataset.clips(part, label), dataset.scenes(part, label), strict=True)
    }


def test_captions_say_what_is_drawn(annotations: Annotations, scenes: dict[str, Scene]) -> None:
    for clip, captions in annotations.captions.items():
        scene, name = scenes[clip], CLASSES[scenes[clip].action]
        assert len(captions) == len(set(captions)) == 3
        assert all(f" {list(COLOURS)[scene.colour]} " in caption for caption in captions)
        assert f" {SHAPES[scene.shape]} {name}" in captions[0]
        assert all(phrase in caption for phrase, caption in zip(ACTIONS[name][1], captions[1:], strict=False))


def test_a_caption_is_that_of_one_test_clip_alone(annotations: Annotations, scenes: dict[str, Scene]) -> None:
    clips = [sample.clip for sample in annotations.test[1] if sample.clip in annotations.captions]
    assert len(clips) == 200
    assert max(Counter(text for clip in clips for text in annotations.captions[clip]).values()) == 1
    assert len({(scenes[clip].action, scenes[clip].colour) for clip in clips}) == len(clips)


def test_training_clips_differ_in_action_colour_or_shape(annotations: Annotations, scenes: dict[str, Scene]) -> None:
    clips = [sample.clip for sample in annotations.train[1] if sample.clip in annotations.captions]
    looks = {(scenes[clip].action, scenes[clip].colour, scenes[clip].shape) for clip in clips}
    assert len(looks) == len(clips) == 461
    shared = defaultdict(set)
    for clip in clips:
        shared[annotations.captions[clip][1:]].add((scenes[clip].action, scenes[clip].colour))
    assert all(len(same) == 1 for same in shared.values())  # an equal caption is true of all of its clips


def test_the_small_backbones_read_them_whole(annotations: Annotations) -> None:
    assert overflow_count([text for texts in annotations.captions.values() for text in texts], 32) == 0


def test_only_clearly_small_or_big_clips_are_called_so() -> None:
    scene = Motion().scenes("test", 0)[0]
    said = [captions_of("test", ["clip"], [replace(scene, size=size)])["clip"][0] for size in (0.12, 0.16, 0.2)]
    assert ["small" in text for text in said] == [True, False, False]
    assert ["big" in text for text in said] == [False, False, True]


def test_they_are_read_from_a_file_and_no_part_of_the_hash_of_classification(
    annotations: Annotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _content(annotations, {}) == _content(replace(annotations, captions={}), {})
    dataset = Motion()
    root: Path = dataset.root(None)
    written = json.loads((root / "captions.json").read_text(encoding="utf-8"))
    assert {clip: tuple(texts) for clip, texts in written.items()} == annotations.captions
    monkeypatch.setattr(motion_render, "draw_scene", None)
    assert dataset.annotations(root).captions == annotations.captions
