"""The second embedded data set: shape and colour are its classes, and nothing else tells them apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import petl_bench as pb
import petl_bench.benchmarks.datasets.shapes as shapes_module
from petl_bench.analysis.marks import is_demonstration
from petl_bench.api.dataset import Annotations
from petl_bench.api.registry import DATASETS
from petl_bench.benchmarks.backbones.pretrain_tiny import Stage, draw_pool, normalise
from petl_bench.benchmarks.datasets.motion import Motion
from petl_bench.benchmarks.datasets.motion_actions import CLASSES, FRAMES
from petl_bench.benchmarks.datasets.motion_render import COLOURS, MAIN_SLOT, SHAPES, Scene, draw_scene, shifted
from petl_bench.benchmarks.datasets.rendered import DRAWS, SHOTS
from petl_bench.benchmarks.datasets.shapes import LEFT_OUT, SHIFT, Shapes
from petl_bench.data.decoding.clips import read_clip
from petl_bench.models.tokenizer import overflow_count, tokenize

PARTS, LABELS = ("train", "test"), range(16)


@pytest.fixture(scope="module")
def folder() -> Path:
    return Shapes().root(None)


@pytest.fixture(scope="module")
def annotations(folder: Path) -> Annotations:
    return Shapes().annotations(folder)


@pytest.fixture(scope="module")
def scenes() -> dict[tuple[str, int], list[Scene]]:
    return {(part, label): Shapes().scenes(part, label) for part in PARTS for label in LABELS}


def test_a_class_is_a_shape_in_a_colour(scenes: dict[tuple[str, int], list[Scene]]) -> None:
    names = Shapes().class_names()
    assert len(set(names)) == len(names) == 16
    for (_, label), clips in scenes.items():
        looks = {f"{list(COLOURS)[scene.colour]} {SHAPES[scene.shape]}" for scene in clips}
        assert looks == {names[label]}
        for scene in clips:
            main = scene.objects[MAIN_SLOT]
            assert main is not None
            assert main.shape == scene.shape
            assert len(np.unique(main.colours, axis=0)) == 1


def test_every_class_shows_every_action_once_and_the_object_is_alone(
    scenes: dict[tuple[str, int], list[Scene]],
) -> None:
    fitting = [label for label, name in enumerate(CLASSES) if name not in LEFT_OUT]
    assert len(fitting) == 26 == len(CLASSES) - len(LEFT_OUT)
    for clips in scenes.values():
        assert [scene.action for scene in clips] == fitting
        assert all(scene.objects[slot] is None for scene in clips for slot in (MAIN_SLOT - 1, MAIN_SLOT + 1))


def test_the_clips_lie_within_the_range_of_pretraining_and_those_of_motion_beyond() -> None:
    assert SHIFT < 0.55 < Motion().shift


def test_no_clip_is_one_of_motion_or_of_pretraining(scenes: dict[tuple[str, int], list[Scene]]) -> None:
    drawn = [draw_pool(Stage("broad", 1, 1e-3, 0.25, (0, 0.55)), 0)]
    drawn += [Motion().scenes(part, label) for part in PARTS for label in range(len(CLASSES))]
    others = {scene.seed for clips in drawn for scene in clips}
    own = [scene.seed for clips in scenes.values() for scene in clips]
    assert len(set(own)) == len(own) == 2 * 16 * 26
    assert not others & set(own)


def test_the_lists_name_every_file_once_with_its_class(folder: Path, annotations: Annotations) -> None:
    assert annotations.classes == Shapes().class_names()
    listed = [*annotations.train[1], *annotations.test[1]]
    assert Counter(sample.clip for sample in listed) == Counter(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4")
    )
    assert all(sample.clip.split("/")[0].replace("_", " ") == annotations.classes[sample.label] for sample in listed)
    for samples in (annotations.train[1], annotations.test[1]):
        assert Counter(sample.label for sample in samples) == dict.fromkeys(LABELS, 26)


def test_both_halves_have_both_shapes_in_each_of_their_colours(annotations: Annotations) -> None:
    halves = annotations.base_to_novel
    assert halves is not None
    assert sorted((*halves.base, *halves.novel)) == list(LABELS)
    looks = [[annotations.classes[label].split() for label in half] for half in (halves.base, halves.novel)]
    base, novel = ({colour for colour, _ in half} for half in looks)
    assert len(base) == len(novel) == 4 and not base & novel
    assert all(Counter(colour for colour, _ in half) == dict.fromkeys(dict(half), 2) for half in looks)
    assert len(set(halves.draws.values())) == DRAWS
    for draw in halves.draws.values():
        assert Counter(sample.label for sample in draw) == dict.fromkeys(halves.base, SHOTS)
        assert set(draw) <= set(halves.base_train)


def test_captions_say_what_is_drawn_each_of_one_test_clip_alone(
    annotations: Annotations, scenes: dict[tuple[str, int], list[Scene]]
) -> None:
    for (part, label), clips in scenes.items():
        for clip, scene in zip(Shapes().clips(part, label), clips, strict=True):
            texts = annotations.captions[clip]
            assert len(texts) == 3
            assert all(f" {annotations.classes[label]} " in text for text in texts)
            assert texts[0].endswith(CLASSES[scene.action])
    assert len(annotations.captions) == 2 * 16 * 26
    texts = [text for sample in annotations.test[1] for text in annotations.captions[sample.clip]]
    assert len(set(texts)) == len(texts)
    assert overflow_count(texts, 32) == 0


def test_a_record_says_that_it_was_constructed(annotations: Annotations) -> None:
    assert annotations.notes == (
        "shapes is rendered: a constructed demonstration of the harness, not a benchmark of methods",
    )
    assert DATASETS.get("shapes") is Shapes and not Shapes.needs_root
    assert Shapes().descriptions(annotations.classes) is None


def test_its_numbers_are_marked_as_a_demonstration_since_the_weights_were_made_for_motion() -> None:
    assert is_demonstration("viclip-tiny", "packaged", "shapes")
    assert not is_demonstration("viclip-tiny", "packaged", "motion")


def test_neither_colours_nor_sides_are_augmented_away() -> None:
    augmentation = Shapes.augmentation
    assert (augmentation.flip, augmentation.grey, augmentation.jitter_strength[2:]) == (0.0, 0.0, (0.0, 0.0))


def test_another_cache_gets_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = shapes_module._actions()[:2]
    monkeypatch.setattr(shapes_module, "_actions", lambda: few)
    again = Shapes().render(tmp_path)
    files = [file.relative_to(again) for file in again.rglob("*.mp4")]
    assert len(files) == 2 * 16 * 2
    assert [file for file in files if (folder / file).read_bytes() != (again / file).read_bytes()] == []


def test_a_look_that_is_asked_for_changes_nothing_else_that_is_drawn() -> None:
    plain, asked = (
        draw_scene(np.random.default_rng(3), 4, shifted(SHIFT), look) for look in (None, (SHAPES.index("moon"), 5))
    )
    assert (asked.shape, asked.colour) == (SHAPES.index("moon"), 5)
    assert (plain.seed, plain.size, plain.noise) == (asked.seed, asked.size, asked.noise)
    assert np.array_equal(plain.background, asked.background)


@pytest.mark.parametrize(("name", "lowest_r1"), [("viclip-tiny", 60), ("clip-tiny", 20)])
def test_the_packaged_weights_are_well_above_chance_and_below_the_ceiling(
    folder: Path, annotations: Annotations, name: str, lowest_r1: float
) -> None:
    """Chance is 6 % among the classes, and 0.2 % among the test clips."""
    samples = annotations.test[1]
    frames = [np.asarray(read_clip(folder / sample.clip, range).frames) for sample in samples]
    assert {clip.shape[0] for clip in frames} == {FRAMES}
    model = pb.create_model(name).eval()
    prompts = [Shapes.template.format(each) for each in annotations.classes]
    captions = [annotations.captions[sample.clip][0] for sample in samples]
    with torch.no_grad():
        video = F.normalize(model.encode_video(normalise(np.stack(frames))), dim=1)
        classes, texts = (F.normalize(model.encode_text(tokenize(each, 32)), dim=1) for each in (prompts, captions))
    top1 = ((video @ classes.T).argmax(1).numpy() == [sample.label for sample in samples]).mean() * 100
    r1 = ((texts @ video.T).argmax(1) == torch.arange(len(samples))).float().mean().item() * 100
    assert 70 < top1 < 85
    assert lowest_r1 < r1 < 90
