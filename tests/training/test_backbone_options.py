"""Options of a backbone decide numbers: they reach the model, the key, the notes and the record."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.analysis.commands import commands_of
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial
from petl_bench.api.values.resolution import usual_training
from petl_bench.benchmarks.backbones.clip_b16 import CLIPB16
from petl_bench.data.loading.clip_preparation import ClipSpec
from petl_bench.models import transformer
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec
from petl_bench.system.files import sha256_of_file
from petl_bench.training import preparation
from petl_bench.training.distributed import Seat
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.run_trial import run_trial
from tests.training.conftest import MakeTrial

SMALL_CLIP = pb.CLIPConfig(
    image_size=32,
    num_frames=4,
    embed_dim=32,
    vision_width=64,
    vision_layers=2,
    vision_heads=2,
    text_width=32,
    text_layers=2,
    text_heads=2,
)


@pytest.fixture
def small_clip() -> str:
    """The options of clip-b16 with a small model."""
    if "small-clip" not in BACKBONES.names():

        @pb.register_backbone("small-clip")
        class SmallCLIP(CLIPB16):
            config = SMALL_CLIP
            published = (pb.PublishedWeights(file="known.pth", where="here", licence="MIT", sha256="c" * 64),)

        SmallCLIP.__module__ = "petl_bench.testing"
    return "small-clip"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    file = tmp_path / "ViT-open.pth"
    torch.save({"state_dict": DualEncoder(SMALL_CLIP).published_state_dict()}, file)
    return file


def planned(weights: Path, squares: Path, *options: str) -> Plan:
    return plan(
        Spec(
            methods=("zero_shot",),
            datasets=("folder",),
            backbone="small-clip",
            weights=str(weights),
            seeds=(0,),
            set=(f"folder.path={squares}", "folder.base_classes=red square,green square", *options),
            output=str(weights.parent / "runs"),
        )
    )


def test_gelu_is_gelu_in_every_block_of_both_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = DualEncoder(SMALL_CLIP).published_state_dict()
    frames, tokens = torch.randn(1, 4, 3, 32, 32), pb.tokenize(["a video of archery."], 77)

    def features(config: pb.CLIPConfig) -> list[torch.Tensor]:
        model = DualEncoder(config)
        model.load_published_state_dict(state)
        with torch.no_grad():
            return [model.encode_video(frames), model.encode_text(tokens)]

    quick, exact = features(SMALL_CLIP), features(SMALL_CLIP.with_(activation="gelu"))
    assert all((one - two).abs().max() > 1e-4 for one, two in zip(quick, exact, strict=True))
    monkeypatch.setattr(transformer, "quick_gelu", F.gelu)
    assert all(torch.equal(one, two) for one, two in zip(features(SMALL_CLIP), exact, strict=True))


def test_create_model_takes_the_activation() -> None:
    assert pb.create_model(SMALL_CLIP, activation="gelu").config.activation == "gelu"
    with pytest.raises(pb.UsageError, match="activation=relu: expected one of quick_gelu, gelu"):
        pb.create_model(SMALL_CLIP, activation="relu")


def test_the_plan_says_what_is_assumed_and_the_option_has_a_key_of_its_own(
    small_clip: str, weights: Path, squares: Path
) -> None:
    options = ((), (f"{small_clip}.activation=quick_gelu",), (f"{small_clip}.activation=gelu",))
    plain, same, gelu = (planned(weights, squares, *each) for each in options)
    [trial], [spelled], [other] = ([job.trial for job in each.jobs] for each in (plain, same, gelu))
    assert trial == spelled and "backbone_options" not in trial.stored()
    assert other.stored()["backbone_options"] == {"activation": "gelu"} and other.key != trial.key
    assert Trial.from_json(other.stored()) == other
    assert f"{small_clip}.activation=gelu" in shlex.split(*commands_of([asdict(other)]))
    [note] = [note for note in plain.notes if "activation" in note]
    assert note.startswith("small-clip computes with quick_gelu: ViT-open.pth does not say")
    assert note.endswith("--set small-clip.activation=gelu")
    assert any("computes with gelu" in note for note in gelu.notes)
    assert not any("has no effect" in warning for warning in gelu.warnings)


@pytest.mark.parametrize(("label", "sha256", "said"), [("random", "random", 0), ("x.pth", "c" * 64, 0), ("x", "d", 1)])
def test_nothing_is_assumed_of_random_weights_and_known_files(
    small_clip: str, label: str, sha256: str, said: int
) -> None:
    assert len(BACKBONES.get(small_clip)().assumptions(label, sha256)) == said
    assert not BACKBONES.get("viclip-b16")().assumptions(label, sha256)


def test_the_option_reaches_the_model_and_the_record(
    small_clip: str, weights: Path, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    here = replace(places, weights=weights)
    known = {"backbone": small_clip, "weights": weights.name, "weights_sha256": sha256_of_file(weights)}
    quick = replace(make_trial("zero_shot", epochs=0), **known)
    gelu = replace(quick, backbone_options={"activation": "gelu"})
    first, second = (run_trial(trial, here, tmp_path / trial.key[:8], lambda progress: None) for trial in (quick, gelu))
    one, two = (np.asarray(result.evaluations["base"].scores) for result in (first, second))
    assert 0 < np.abs(one - two).max() < 0.5
    assert any("computes with gelu: ViT-open.pth" in note for note in second.notes)


def test_frames_and_context_are_those_of_the_model_the_formula_and_the_loader(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[ClipSpec] = []

    def spec(evaluated: ClipSpec, **fields: Any) -> ClipSpec:
        specs.append(replace(evaluated, **fields))
        return specs[-1]

    monkeypatch.setattr(preparation, "replace", spec)
    options = {"frames": 3}
    trial = replace(
        make_trial("full_finetune", epochs=0), backbone="viclip-tiny", weights="packaged", backbone_options=options
    )
    result = run_trial(trial, places, tmp_path, lambda progress: None)
    config = BACKBONES.get("viclip-tiny").config.with_(num_frames=3)
    assert result.trainable_params == METHODS.get("full_finetune")().expected_trainable(config)
    assert any("temporal_positional_embedding: 8 -> 3 frames" in note for note in result.notes)
    assert [each.num_frames for each in specs] == [3]


def test_a_plan_counts_with_the_changed_configuration(weights: Path, squares: Path, tmp_path: Path) -> None:
    def of(*options: str) -> Plan:
        folder = (f"folder.path={squares}", "folder.base_classes=red square,green square")
        return plan(Spec(methods=("full_finetune",), datasets=("folder",), seeds=(0,), set=(*folder, *options)))

    plain, changed = of(), of("viclip-tiny.frames=3")
    [before], [after] = plain.trainable.values(), changed.trainable.values()
    assert before - after == 5 * BACKBONES.get("viclip-tiny").config.vision_width
    [job] = changed.jobs
    assert job.trial.stored()["backbone_options"] == {"frames": 3}
    assert "viclip-tiny.frames=3" in shlex.split(*commands_of([asdict(job.trial)]))


def test_clips_weights_are_cut_to_fewer_words_and_never_stretched(small_clip: str, weights: Path) -> None:
    backbone = BACKBONES.get(small_clip)
    changes = backbone(context_length=32, frames=12).config_changes()
    model = pb.create_model(small_clip, weights=weights, **changes)
    table = torch.load(weights, weights_only=True)["state_dict"]["positional_embedding"]
    assert torch.equal(model.text.positional_embedding.data, table[:32])
    assert model.weights_notes == ["positional_embedding: 77 -> 32 text positions (the first ones)"]
    assert model.config.num_frames == 12
    with pytest.raises(pb.UsageError, match="context_length"):
        backbone(context_length=78)


def test_normalisation_reaches_what_the_model_reads(small_clip: str, weights: Path, squares: Path) -> None:
    plugin = BACKBONES.get(small_clip)
    assert plugin().normalised_with() == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert plugin(normalisation="clip").normalised_with() == (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    )
    [job] = planned(weights, squares, f"{small_clip}.normalisation=clip").jobs
    prepared = PreparedTrial(job.trial, job.places, weights.parent, lambda progress: None, seat=Seat())
    with prepared.loader as loader:
        assert (loader.spec.mean, loader.spec.std) == plugin(normalisation="clip").normalised_with()


def test_retrieval_takes_frames_as_the_data_set_says(monkeypatch: pytest.MonkeyPatch) -> None:
    method, backbone, dataset = METHODS.get("zero_shot"), BACKBONES.get("clip-tiny"), DATASETS.get("motion")

    def usual(setting: str) -> object:
        return usual_training(method, SETTINGS.get(setting)(), backbone, dataset).get("frames_per_second")

    assert usual("retrieval") is None
    monkeypatch.setattr(dataset, "frames_per_second", 1.0)
    assert usual("retrieval") == 1.0 and usual("few_shot") is None
    assert "frames_per_second" not in TrainingOptions().values(), "keys from before stay"
    with pytest.raises(pb.UsageError, match=r"set training\.views=1, not 4, or training\.frames_per_second=none"):
        TrainingOptions(frames_per_second=1.0, views=4)
