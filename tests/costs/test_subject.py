"""What a method's own path adds to its cost: scores and heads, prompts, texts per video, what is prepared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import petl_bench as pb
from petl_bench.api.registry import METHODS, load_plugin_file
from petl_bench.cli import cost
from petl_bench.costs import formula
from petl_bench.costs.inference import SHOTS, random_frames
from petl_bench.costs.recording import trial_of
from petl_bench.costs.session import trials_of
from petl_bench.costs.subject import NAMES, Item, MeasuredMethod, Passes, Workload, class_names
from petl_bench.models.tokenizer import tokenize

from .conftest import GUESTS

CPU = torch.device("cpu")
VICLIP, CLIP = (pb.create_model(name, weights=None).config for name in ("viclip-tiny", "clip-tiny"))


def measured(
    method: pb.Method, classes: int = 5, backbone: str = "viclip-tiny", merged: bool = False
) -> MeasuredMethod:
    trial = trial_of(
        method, "1", setting_version="1", references={}, backbone=backbone, weights="random", weights_sha256="",
        device="CPU", threads=1, precision="fp32", batch=1, classes=classes, merged=merged,
    )  # fmt: skip
    subject = MeasuredMethod(Item(method, "1", merged), trial, Workload(backbone, None, CPU, classes))
    subject.build()
    return subject


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[dict[str, type[pb.Method]]]:
    path = tmp_path / "guests.py"
    path.write_text(GUESTS)
    load_plugin_file(path)
    yield {name: METHODS.get(name) for name in ("prompt_per_video", "cache")}


class Head(pb.Method):
    """Classes [C, D] in the place of texts, from frames, tokens and pixels or not."""

    novel = "none"
    identity_at_start = False

    def attach(self, model: pb.DualEncoder) -> None:
        model.heads["classes"] = nn.Linear(model.config.embed_dim, len(self.task.classes))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return (config.embed_dim + 1) * len(self.task.classes)

    def scores(self, step: pb.Step) -> torch.Tensor:
        head: Any = step.model.heads["classes"]
        return head(step.video_features.float())


class FramesAndFrozen(Head):
    """Scores of frames, beside those of the frozen model."""

    reads = ("frames", "tokens", "pixels")
    tasks = ("classification",)

    def attach(self, model: pb.DualEncoder) -> None:
        super().attach(model)
        model.blocks("video")[0].attention.q.replace(nn.Linear(model.config.vision_width, model.config.vision_width))

    def scores(self, step: pb.Step) -> torch.Tensor:
        head: Any = step.model.heads["classes"]
        assert step.patch_tokens is not None and step.pixels is not None
        return head(step.frame_features).mean(1) + step.frozen.logits


class OwnPrompts(pb.Method):
    """Two prompts a class."""

    def attach(self, model: pb.DualEncoder) -> None:
        model.temperature.requires_grad_(True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return 1

    def prompts(self, classes: Any) -> Any:
        return [[f"a video of {name}", name] for name in classes]


def run_all(subject: MeasuredMethod, batch: int = 3) -> None:
    passes = Passes(subject, batch, "fp32")
    passes.infer()
    passes.encode_text()
    if subject.trains:
        with passes.training():
            passes.train()


def test_a_head_is_counted_and_the_text_is_not() -> None:
    subject = measured(Head(), classes=7)
    assert subject.sizes.video.macs == formula.video_macs(VICLIP) + VICLIP.embed_dim * 7
    assert subject.sizes.trainable_params == (VICLIP.embed_dim + 1) * 7
    run_all(subject)


def test_scores_that_read_everything_are_counted_with_the_frozen_pass_that_they_take() -> None:
    subject = measured(FramesAndFrozen(), classes=7, backbone="clip-tiny")
    head = CLIP.num_frames * CLIP.embed_dim * 7
    cosine = CLIP.embed_dim * 7
    assert subject.sizes.video.macs == 2 * formula.video_macs(CLIP) + head + cosine
    run_all(subject)


def test_a_method_with_its_own_prompts_is_measured_with_all_of_them() -> None:
    subject = measured(OwnPrompts(), classes=13)
    texts = subject.texts()
    assert (texts.classes, len(texts.each)) == (13, 26)
    expected = tokenize(["a video of archery", "archery", "a video of riding a bike"], VICLIP.context_length)
    assert torch.equal(texts.each[:3], expected)
    expected_macs = sum(formula.text_macs(VICLIP, *size) for size in subject.model.text.pass_sizes(texts.each))
    assert subject.sizes.text.macs == expected_macs
    run_all(subject)


def test_names_of_classes_are_different_ones() -> None:
    assert class_names(2) == NAMES[:2]
    assert len(set(class_names(400))) == 400


def test_text_that_depends_on_the_clip_is_part_of_inference(guests: dict[str, type[pb.Method]]) -> None:
    few, many = (measured(guests["prompt_per_video"](), classes=classes) for classes in (5, 20))
    for subject, classes in ((few, 5), (many, 20)):
        sizes = subject.sizes
        assert sizes.video.macs is not None and sizes.text.macs is not None
        assert sizes.video.macs == formula.video_macs(VICLIP) + sizes.text.macs
        assert sizes.text.macs >= formula.text_macs(VICLIP, classes, 4 + 6)
        run_all(subject)
    assert many.sizes.text.macs > 3 * few.sizes.text.macs


def test_what_needs_training_clips_gets_made_up_ones(guests: dict[str, type[pb.Method]]) -> None:
    subject = measured(guests["cache"](), classes=4)
    clips = SHOTS * 4
    head: Any = subject.model.heads["cache"]
    assert head.keys.shape == (clips, VICLIP.embed_dim) and head.keys.abs().sum(1).gt(0).all()
    assert torch.equal(head.values.sum(1), torch.full((4,), float(SHOTS)))
    cosine = 4 * VICLIP.embed_dim
    assert subject.sizes.video.macs == formula.video_macs(VICLIP) + cosine + clips * VICLIP.embed_dim + 4 * clips
    assert subject.sizes.adapter_bytes > 4 * clips * VICLIP.embed_dim
    assert not subject.trains
    run_all(subject)


def test_subjects_of_one_method_do_not_share_it() -> None:
    method = pb.create_method("lora")
    plain, merged = measured(method), measured(method, merged=True)
    assert plain.method is not merged.method and plain.method == method
    assert merged.sizes.video.macs == formula.video_macs(VICLIP) < (plain.sizes.video.macs or 0)


def test_options_of_the_backbone_reach_the_measured_model_and_the_record() -> None:
    request = cost._request(("lora",), {**cost._DEFAULTS, "overrides": ("viclip-tiny.frames=2",)}, "cpu")
    for (item, _), trial in trials_of(request, CPU).items():
        assert trial.backbone_options == {"frames": 2}, item.title
    workload = Workload(request.backbone.name, None, CPU, 3, request.backbone.config_changes())
    subject = MeasuredMethod(request.items[0], trial, workload)
    subject.build()
    assert subject.model.config.num_frames == 2
    assert random_frames(subject.model, 1, CPU).shape[1] == 2
