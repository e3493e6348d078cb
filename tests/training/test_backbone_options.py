"""Options of a backbone decide numbers: they reach the model, the key, the notes and the record."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.analysis.commands import commands_of
from petl_bench.api.registry import BACKBONES
from petl_bench.api.trial import Places, Trial
from petl_bench.benchmarks.backbones.clip_b16 import CLIPB16
from petl_bench.models import transformer
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec
from petl_bench.system.files import sha256_of_file
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
