"""The packaged backbones: their files belong together, and they know the actions as far as they should."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.benchmarks.backbones import pretrain_tiny, tiny_captions
from petl_bench.benchmarks.backbones.clip_tiny import CLIPTiny
from petl_bench.benchmarks.backbones.viclip_tiny import ViCLIPTiny, read_record
from petl_bench.benchmarks.datasets.motion import Motion
from petl_bench.benchmarks.datasets.motion_actions import CLASSES
from petl_bench.benchmarks.datasets.motion_render import CLEAN, MAIN_SLOT, draw_scene, render, shifted
from petl_bench.data.loading.transforms import test_views as views_of
from petl_bench.data.loading.transforms import to_input

BACKBONES: dict[str, type[pb.Backbone]] = {"viclip_tiny": ViCLIPTiny, "clip_tiny": CLIPTiny}


@pytest.fixture(scope="module", params=BACKBONES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of the files."""
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> pb.DualEncoder:
    return pb.create_model(name.replace("_", "-")).eval()


@pytest.fixture(scope="module")
def weights(name: str) -> Path:
    return weights_of(BACKBONES[name])


def weights_of(backbone: type[pb.Backbone]) -> Path:
    path = backbone.packaged_weights()
    assert path is not None
    return path


def scene_of(name: str, seed: int = 0):
    return draw_scene(np.random.default_rng(seed), CLASSES.index(name), CLEAN)


def test_the_weights_are_those_of_the_record(weights, name):
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == read_record(name)["sha256"]


def test_the_weights_are_small():
    assert sum(weights_of(backbone).stat().st_size for backbone in BACKBONES.values()) < 8_000_000


def test_weights_are_half_precision_under_the_published_keys(weights, model):
    with safe_open(weights, framework="pt") as file:
        stored = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 (not a mapping)
    assert set(stored) == set(model.published_state_dict())
    assert set(stored.values()) == {"F16"}


def test_the_record_tells_how_the_weights_were_made(name):
    record = read_record(name)["pretraining"]
    assert {"made_on", "options", "stages", "minutes", "torch", "machine", "zero_shot_percent", "history"} <= set(
        record
    )
    assert [stage["name"] for stage in record["stages"]] == list(record["history"])
    assert max(stage["shift"][1] for stage in record["stages"]) < Motion().shift


def test_zero_shot_lies_well_above_chance_and_below_the_ceiling(model, name):
    accuracy = pretrain_tiny.zero_shot(model, clips_per_class=3)
    lowest = {"viclip_tiny": (80, 30), "clip_tiny": (40, 15)}[name]  # chance is 3
    assert accuracy["clean"] > lowest[0]
    assert lowest[1] < accuracy["shift_0.7"] < 90
    recorded = read_record(name)["pretraining"]["zero_shot_percent"]
    assert accuracy["clean"] == pytest.approx(recorded["clean"], abs=12)


def test_a_frame_wise_model_does_not_see_the_order_of_frames():
    clip = pretrain_tiny.normalise(render([scene_of("moving left")]))
    with torch.no_grad():
        there = {name: pb.create_model(name).eval().encode_video(clip) for name in ("viclip-tiny", "clip-tiny")}
        back = {name: pb.create_model(name).eval().encode_video(clip.flip(1)) for name in there}
    assert torch.allclose(there["clip-tiny"], back["clip-tiny"], atol=1e-5)
    assert not torch.allclose(there["viclip-tiny"], back["viclip-tiny"], atol=1e-1)


def test_pretraining_normalises_as_the_data_path_does(name):
    clip = render([draw_scene(np.random.default_rng(0), 3, shifted(0.7))])
    backbone = BACKBONES[name]
    path = to_input(views_of(clip[0], 32, 1), backbone.mean, backbone.std)
    assert torch.allclose(path, pretrain_tiny.normalise(clip), atol=1e-5)


def test_every_description_and_prompt_is_within_the_vocabulary(model, caplog):
    descriptions = Motion().descriptions(CLASSES)
    assert descriptions is not None
    sentences = [text for kinds in descriptions.values() for texts in kinds.values() for text in texts]
    prompts = [Motion.template.format(name) for name in CLASSES]
    with caplog.at_level(logging.WARNING), torch.no_grad():
        model.encode_text(pb.tokenize(sentences + prompts + ["a video of archery.", "a photo of a dog riding a bike"]))
    assert caplog.records == []


def test_a_word_outside_the_vocabulary_warns_and_still_gives_a_feature(model, caplog):
    with caplog.at_level(logging.WARNING), torch.no_grad():
        feature = model.encode_text(pb.tokenize(["a video of the zygomorphic quokka."]))
    assert "unknown" in caplog.text
    assert torch.isfinite(feature).all()


def test_every_id_of_the_vocabulary_comes_from_its_texts(name):
    assert tuple(read_record(name)["token_ids"]) == tiny_captions.token_ids()


def test_descriptions_say_what_their_own_class_looks_like(model, name):
    """For the consistency constraint: a class's descriptions are nearest to its own prompt, mostly; `clip-tiny` learned
    to tell fewer classes apart."""
    descriptions = Motion().descriptions(CLASSES)
    assert descriptions is not None
    with torch.no_grad():
        prompts = model.encode_text(pb.tokenize([Motion.template.format(name) for name in CLASSES]))
        tokens = pb.tokenize([text for name in CLASSES for text in descriptions[name]["temporal"]])
        means = model.encode_text(tokens).unflatten(0, (len(CLASSES), -1)).mean(1)
    nearest = (F.normalize(means, dim=1) @ F.normalize(prompts, dim=1).T).argmax(1)
    assert (nearest == torch.arange(len(CLASSES))).float().mean() > {"viclip_tiny": 0.75, "clip_tiny": 0.6}[name]


@pytest.mark.parametrize(
    ("caption", "true"),
    [
        (tiny_captions.Caption("x", 10), True),
        (tiny_captions.Caption("x", 11), False),
        (tiny_captions.Caption("x", 10, shape=2, colour=5), True),
        (tiny_captions.Caption("x", 10, shape=2, colour=4), False),
        (tiny_captions.Caption("x", 10, shape=1), False),
        (tiny_captions.Caption("x", 10, size="big"), True),
        (tiny_captions.Caption("x", 10, size="small"), False),
    ],
)
def test_a_caption_is_true_of_a_clip_where_everything_it_says_holds(caption, true):
    scene = scene_of("growing")
    scene.shape, scene.colour, scene.size = 2, 5, 0.2
    assert tiny_captions.positives([caption], [scene]).tolist() == [[true]]


def test_captions_are_true_of_their_own_clip():
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, index % len(CLASSES), CLEAN) for index in range(320)]
    captions = [tiny_captions.caption_of(rng, scene) for scene in scenes]
    assert tiny_captions.positives(captions, scenes).diagonal().all()
    named = [caption for caption in captions if caption.colour is not None]
    assert named
    assert all(tiny_captions.COLOUR_NAMES[caption.colour] in caption.text for caption in named)
    assert all(caption.colour is None for caption in captions if caption.action == CLASSES.index("changing color"))


def test_contrastive_loss_is_lowest_where_all_positives_are_nearest():
    positive = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]])
    good = pretrain_tiny.contrastive(positive * 20, positive)
    wrong = pretrain_tiny.contrastive((1 - positive) * 20, positive)
    assert good == pytest.approx((2 / 3) * np.log(2), abs=1e-3)
    assert wrong > 10 * good


def test_the_track_target_follows_the_object():
    scene = scene_of("moving right")
    target = pretrain_tiny.track_of(scene)
    main = scene.objects[MAIN_SLOT]
    assert main is not None
    assert target.shape == (8, 9)
    assert np.allclose(target[:, 0], (main.track.x - 0.5) * 4, atol=1e-5)
    assert np.all(np.diff(target[:, 0]) > 0)


def test_the_track_head_reads_the_patches_of_every_frame():
    """The token of frame t and patch n is 10 t + n: ViCLIP has one class token per clip, CLIP one per frame."""
    values = torch.arange(pretrain_tiny.FRAMES)[:, None] * 10.0 + torch.arange(4)
    joint = torch.cat([torch.tensor([99.0]), values.T.flatten()])[None, :, None]
    per_frame = torch.cat([torch.full((pretrain_tiny.FRAMES, 1), 99.0), values], dim=1)[..., None]
    for backbone, tokens in (("viclip-tiny", joint), ("clip-tiny", per_frame)):
        means = pretrain_tiny.mean_patches(pretrain_tiny.tiny_config(backbone), tokens)
        assert torch.equal(means, values.mean(1)[None, :, None]), backbone


def test_a_few_steps_of_pretraining_write_weights_that_load(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pretrain_tiny, "POOL", 64)
    monkeypatch.setattr(pretrain_tiny, "BLOCK", 32)
    backbone = name.replace("_", "-")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        for folder in "ab":
            steps = [
                "--backbone",
                backbone,
                "--clean-steps",
                "2",
                "--broad-steps",
                "1",
                "--batch-size",
                "8",
                "--validation-clips",
                "1",
            ]
            pretrain_tiny.main([*steps, "--output", str(tmp_path / folder)])
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    first, second = ((tmp_path / folder / f"{name}.safetensors").read_bytes() for folder in "ab")
    assert first == second
    record = json.loads((tmp_path / "a" / f"{name}.json").read_text())
    assert record["sha256"] == hashlib.sha256(first).hexdigest()
    config = type(BACKBONES[name].config)(**record["config"], token_ids=tuple(record["token_ids"]))
    model = pb.create_model(config, weights=tmp_path / "a" / f"{name}.safetensors")
    assert model.config == pretrain_tiny.tiny_config(backbone)
