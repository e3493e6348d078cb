"""The embedded data set: deterministic files, consistent lists, clips that no part shares."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import petl_bench.benchmarks.datasets.motion as motion_module
from petl_bench.api.registry import DATASETS
from petl_bench.benchmarks.backbones.pretrain_tiny import Stage, draw_pool, validation_clips
from petl_bench.benchmarks.datasets import rendered
from petl_bench.benchmarks.datasets.motion import CLIPS, Motion
from petl_bench.benchmarks.datasets.motion_actions import ACTIONS, CLASSES, FRAMES
from petl_bench.benchmarks.datasets.motion_render import (
    CLEAN,
    MAIN_SLOT,
    SIDE,
    STREAMS,
    draw_scene,
    generator,
    render,
    shifted,
)
from petl_bench.benchmarks.datasets.rendered import DRAWS, SHOTS, RenderedDataset, encode
from petl_bench.benchmarks.datasets.shapes import Shapes
from petl_bench.data.decoding.clips import read_clip
from petl_bench.errors import DataError, UsageError
from petl_bench.models.tokenizer import overflow_count


@pytest.fixture(scope="module")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a small rendering of the data set: 16 training clips and 2 test clips per class."""
    patch = pytest.MonkeyPatch()
    patch.setattr(motion_module, "CLIPS", {"train": SHOTS, "test": 2})
    cache = tmp_path_factory.mktemp("cache")
    Motion().render(cache)
    patch.undo()
    return cache


@pytest.fixture(scope="module")
def folder(small_cache: Path) -> Path:
    return Motion().render(small_cache)


def track(name: str, seed: int = 0):
    """Where the main object of a clean clip of that class is."""
    scene = draw_scene(np.random.default_rng(seed), CLASSES.index(name), CLEAN)
    main = scene.objects[MAIN_SLOT]
    assert main is not None
    return main.track


def test_scenes_and_frames_repeat_exactly():
    scenes = [[draw_scene(generator("test", label, 3), label, shifted(0.7, 0.9)) for label in range(32)] for _ in "ab"]
    first, second = render(scenes[0]), render(scenes[1], chunk=5)
    assert first.shape == (32, FRAMES, SIDE, SIDE, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_an_action_does_what_its_name_says():
    assert np.all(np.diff(track("moving left").x) < 0)
    assert np.all(np.diff(track("moving up").y) < 0)
    diagonal = track("moving diagonally down and right")
    assert np.all(np.diff(diagonal.x) > 0)
    assert np.all(np.diff(diagonal.y) > 0)
    assert np.all(np.diff(track("growing").size) > 0)
    assert np.all(np.diff(track("shrinking").size) < 0)
    assert np.all(np.diff(track("rotating clockwise").angle) > 0)
    assert track("appearing").alpha[0] == 0 < track("appearing").alpha[-1]
    assert set(track("blinking").alpha) == {0.0, 1.0}


@pytest.mark.parametrize("turn", [("circling clockwise", 1), ("circling counterclockwise", -1)])
def test_circling_turns_the_way_it_says_on_a_screen_with_y_down(turn):
    name, sense = turn
    path = track(name)
    dx, dy = np.diff(path.x), np.diff(path.y)
    assert np.all(sense * (dx[:-1] * dy[1:] - dy[:-1] * dx[1:]) > 0)


def test_a_clip_shows_its_object_in_its_colour():
    scene = draw_scene(np.random.default_rng(1), CLASSES.index("growing"), CLEAN)
    frames = render([scene])[0]
    main = scene.objects[MAIN_SLOT]
    assert main is not None
    row, column = int(main.track.y[-1] * SIDE), int(main.track.x[-1] * SIDE)
    changed = np.abs(frames[-1].astype(int) - frames[0].astype(int)).sum(-1)
    assert changed.sum() > 0
    assert np.abs(frames[-1, row, column].astype(int) - frames[-1, 0, 0].astype(int)).sum() > 60


def test_rendering_nothing_gives_no_clips():
    assert render([]).shape == (0, FRAMES, SIDE, SIDE, 3)


def test_the_lists_name_every_file_once_with_its_class(folder, small_cache):
    annotations = Motion().annotations(folder)
    assert annotations.classes == CLASSES
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4")}
    listed = [sample.clip for sample in (*annotations.train[1], *annotations.test[1])]
    assert Counter(listed) == Counter(files)
    for sample in (*annotations.train[1], *annotations.test[1]):
        assert sample.clip.split("/")[0].replace("_", " ") == CLASSES[sample.label]
    assert Counter(sample.label for sample in annotations.test[1]) == dict.fromkeys(range(32), 2)


def test_half_of_the_classes_is_base_and_each_draw_has_16_training_clips_of_each(folder):
    annotations = Motion().annotations(folder)
    halves = annotations.base_to_novel
    assert halves is not None
    assert sorted((*halves.base, *halves.novel)) == list(range(32))
    assert len(halves.base) == 16
    assert sorted(halves.draws) == list(range(DRAWS))
    for draw in halves.draws.values():
        assert Counter(sample.label for sample in draw) == dict.fromkeys(halves.base, SHOTS)
        assert set(draw) <= set(annotations.train[1])
    assert {sample.label for sample in halves.novel_test} == set(halves.novel)


def test_the_full_lists_have_the_documented_size():
    lists = Motion().lists()
    assert len(lists["trainlist01.txt"]) == 32 * CLIPS["train"]
    assert len(lists["testlist01.txt"]) == 32 * CLIPS["test"]
    draws = [lists[f"base_s{draw}_16shots.txt"] for draw in (1, 2, 3)]
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_files_decode_to_what_was_rendered(folder, decoder):
    scene = Motion().scenes("train", CLASSES.index("bouncing"))[1]
    clip = read_clip(folder / "bouncing" / "train_001.mp4", lambda count: list(range(count)), decoder)
    assert clip.frames.shape == (FRAMES, SIDE, SIDE, 3)
    luma = np.array([0.299, 0.587, 0.114])
    difference = np.asarray(clip.frames) @ luma - render([scene])[0] @ luma
    assert np.abs(difference).mean() < 3
    assert abs(difference.mean()) < 2


def test_no_clip_of_training_testing_pretraining_or_validation_is_another_ones():
    def prints(clips):
        return {hashlib.sha256(clip.tobytes()).hexdigest() for clip in clips}

    parts = {
        part: prints(render([scene for label in range(0, 32, 4) for scene in Motion().scenes(part, label)[:20]]))
        for part in CLIPS
    }
    parts["validation"] = prints(validation_clips(shifted(0.7, 0.9), 5, 0)[0])
    parts["pretraining"] = prints(render(draw_pool(Stage("broad", 1, 1e-3, 0.25, (0, 0.55)), 0)[:1024]))
    assert [len(found) for found in parts.values()] == [160, 160, 160, 1024]
    assert len(set.union(*parts.values())) == 160 + 160 + 160 + 1024


def test_streams_never_share_random_numbers_even_for_equal_keys():
    first = {stream: generator(stream, 0, 0).integers(2**63, size=4).tolist() for stream in STREAMS}
    assert len({number for numbers in first.values() for number in numbers}) == 4 * len(STREAMS)
    assert Motion().scenes("train", 5)[0].seed != Motion().scenes("test", 5)[0].seed


def test_a_second_rendering_finds_the_first_one_and_leaves_nothing_behind(folder, small_cache):
    before = (folder / "classInd.txt").stat().st_mtime_ns
    assert Motion().render(small_cache) == folder
    assert (folder / "classInd.txt").stat().st_mtime_ns == before
    assert [path.name for path in small_cache.iterdir()] == [folder.name]


def test_another_shift_is_another_folder(folder, small_cache, monkeypatch):
    monkeypatch.setattr(motion_module, "CLIPS", {"train": SHOTS, "test": 1})
    other = Motion(shift=0.5, context=0.95).render(small_cache.parent / "other")
    assert other.name != folder.name
    clips = [next((place / "growing").glob("train_000.mp4")).read_bytes() for place in (folder, other)]
    assert clips[0] != clips[1]
    with pytest.raises(UsageError, match="shift"):
        Motion(shift=1.5)


def test_the_process_that_comes_second_takes_the_files_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_module, "CLIPS", {"train": SHOTS, "test": 1})
    first = {}

    class Slow(Motion):
        def _write(self, folder: Path) -> None:
            if not first:  # another process finishes while this one is at work
                first["folder"] = None
                first["folder"] = Motion().render(tmp_path)
                first["marker"] = (first["folder"] / "marker").write_text("first")
            super()._write(folder)

    folder = Slow().render(tmp_path)
    assert folder == first["folder"]
    assert (folder / "marker").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(("dataset", "size"), [(Motion, 30), (Shapes, 9)])
def test_a_failed_rendering_leaves_no_folder(tmp_path, monkeypatch, dataset: type[RenderedDataset], size: int):
    def full(frames, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rendered, "encode", full)
    expected = rf"the {dataset.name} data set .*No space left on device.* about {size} MB; set PETL_BENCH_CACHE"
    with pytest.raises(DataError, match=expected):
        dataset().render(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="PETL_BENCH_CACHE"):
        Motion().render(tmp_path / "cache")


def test_left_and_right_are_classes_so_nothing_is_flipped():
    assert Motion.augmentation.flip == 0
    assert not Motion.needs_root
    assert DATASETS.get("motion") is Motion


def test_descriptions_are_there_for_every_class_and_fit_the_text_context():
    descriptions = Motion().descriptions(CLASSES)
    assert descriptions is not None
    sentences = [text for kinds in descriptions.values() for texts in kinds.values() for text in texts]
    assert list(descriptions) == list(CLASSES)
    assert all(len(kinds[kind]) == 4 for kinds in descriptions.values() for kind in ("spatial", "temporal"))
    assert len(set(sentences)) == 32 * 8
    assert overflow_count(sentences, 32) == 0


def test_other_names_of_an_action_belong_to_it_alone():
    names = [*CLASSES, *(phrase for _, phrases in ACTIONS.values() for phrase in phrases)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["motion", "shapes"])
def test_the_plugin_file_needs_neither_torch_nor_numpy(name):
    code = (
        f"import sys, json, petl_bench.benchmarks.datasets.{name};"
        "print(json.dumps([name in sys.modules for name in ('torch', 'numpy', 'av')]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == [False, False, False]


def test_encoding_writes_h264_in_the_usual_pixel_format(tmp_path):
    import av

    encode(np.full((FRAMES, SIDE, SIDE, 3), 90, dtype=np.uint8), tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == FRAMES


def test_another_cache_gets_the_same_bytes(folder, small_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(motion_module, "CLIPS", {"train": SHOTS, "test": 2})
    again = Motion().render(tmp_path)
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*.*")) if file.is_file()]
    assert len(files) > 32 * (SHOTS + 2)
    assert [file for file in files if (folder / file).read_bytes() != (again / file).read_bytes()] == []
