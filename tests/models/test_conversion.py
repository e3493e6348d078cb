"""Published weights in and out: bit for bit, converted as published, or refused with a list."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.conversion import inflate, resize_spatial, resize_temporal
from petl_bench.models.dual_encoder import DualEncoder
from tests.models.conftest import GOLDENS, SMALL_CLIP, SMALL_VICLIP, part

TEMPORAL = "vision_encoder.temporal_positional_embedding"


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("wrapper", [None, "model", "module"])
def test_viclip_weights_go_in_and_out_bit_for_bit(viclip_state: dict[str, Tensor], wrapper: str | None) -> None:
    model = DualEncoder(SMALL_VICLIP)
    state = viclip_state if wrapper is None else {wrapper: viclip_state, "optimizer": {}, "epoch": 3}
    assert model.load_published_state_dict(state) == []
    assert_equal(model.published_state_dict(), viclip_state)


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


WRAPPED: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": 1}}}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "params": lambda state: {"params": state},
    "ema alone": lambda state: {"ema": state},
    "a name of one's own": lambda state: {"my_video_text_model": state},
    "twice": lambda state: {"checkpoint": {"model": state}},
    "DataParallel": lambda state: under("module.", state),
    "torch.compile": lambda state: under("_orig_mod.", state),
    "Lightning": lambda state: {"state_dict": under("model.", state), "hyper_parameters": {"lr": 0.1}},
    "several": lambda state: {"model": under("module._orig_mod.clip.", state)},
    "torch's average": lambda state: {"n_averaged": torch.tensor(3), **under("module.", state)},
}


@pytest.mark.parametrize("how", WRAPPED)
@pytest.mark.parametrize("kind", ["viclip", "clip"])
def test_usual_dictionaries_and_prefixes_are_taken_off(
    viclip_state: dict[str, Tensor], clip_golden: dict[str, Tensor], kind: str, how: str
) -> None:
    state = viclip_state if kind == "viclip" else part(clip_golden, "sd.")
    model = DualEncoder(SMALL_VICLIP if kind == "viclip" else SMALL_CLIP)
    assert model.load_published_state_dict(WRAPPED[how](state)) == []
    assert_equal(model.published_state_dict(), state)


@pytest.mark.parametrize(
    ("average", "said"),
    [
        (lambda plain, other: {"state_dict": plain, "ema": other}, r"^state_dict: taken, .*running average .*\(ema\)"),
        (
            lambda plain, other: {"model": under("model.", plain) | under("ema_model.", other)},
            r"^model, names that begin with model\.: taken, .*\(model, names that begin with ema_model\.\)",
        ),
    ],
)
def test_of_weights_and_their_average_the_weights_are_taken_and_that_is_said(
    viclip_state: dict[str, Tensor], average: Callable[..., dict[str, Any]], said: str
) -> None:
    other = {key: value + 1 for key, value in viclip_state.items()}
    model = DualEncoder(SMALL_VICLIP)
    [note] = model.load_published_state_dict(average(viclip_state, other))
    assert re.search(said, note)
    assert_equal(model.published_state_dict(), viclip_state)


@pytest.mark.parametrize("keys", [("student", "teacher"), ("model", "module")])
def test_of_several_sets_of_weights_none_is_guessed(viclip_state: dict[str, Tensor], keys: tuple[str, str]) -> None:
    with pytest.raises(pb.WeightsError, match=rf"holds 2 sets of weights \({keys[0]}; {keys[1]}\): save the one"):
        DualEncoder(SMALL_VICLIP).load_published_state_dict(dict.fromkeys(keys, viclip_state))


def test_what_lies_beside_a_prefix_is_still_too_much(viclip_state: dict[str, Tensor]) -> None:
    state = under("module.", viclip_state) | {"head.weight": torch.zeros(1)}
    del state["module.text_encoder.ln_final.weight"]
    with pytest.raises(pb.WeightsError) as error:
        DualEncoder(SMALL_VICLIP).load_published_state_dict({"state_dict": state})
    assert str(error.value).endswith("1 missing: text_encoder.ln_final.weight; 1 unexpected: head.weight")


def test_one_name_with_and_without_prefix_is_refused(viclip_state: dict[str, Tensor]) -> None:
    state = under("module.", viclip_state) | {"temp": torch.tensor(0.5)}
    with pytest.raises(pb.WeightsError, match=r"holds temp twice, with module\. before it and without"):
        DualEncoder(SMALL_VICLIP).load_published_state_dict(state)


def test_open_clips_names_are_read(clip_golden: dict[str, Tensor]) -> None:
    """Its text tower may be a module of its own, and early files hold the causal mask."""
    state = part(clip_golden, "sd.")
    own = {key if key.startswith("visual.") or key == "logit_scale" else f"text.{key}": state[key] for key in state}
    model = DualEncoder(SMALL_CLIP)
    assert model.load_published_state_dict(own | {"text.attn_mask": torch.zeros(16, 16)}) == []
    assert_equal(model.published_state_dict(), state)
    assert model.load_published_state_dict(state | {"attn_mask": torch.zeros(16, 16)}) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vision_model.encoder.layers.0.self_attn.q_proj.weight", "Hugging Face's names"),
        ("visual.trunk.patch_embed.proj.weight", "timm's names"),
        ("video.patch_weight", r"petl-bench's own names: save model\.published_state_dict\(\)"),
        ("base_model.model.visual.lora_A.weight", "the names of an adapter"),
        (0, "this CLIP model: [0-9]+ missing"),
    ],
)
def test_names_of_other_libraries_are_named(name: str, words: str) -> None:
    with pytest.raises(pb.WeightsError, match=words):
        DualEncoder(SMALL_CLIP).load_published_state_dict({"state_dict": {name: torch.zeros(1)}})


def test_clip_weights_go_in_and_out_bit_for_bit(clip_golden: dict[str, Tensor]) -> None:
    state = part(clip_golden, "sd.")
    model = DualEncoder(SMALL_CLIP)
    extras = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(16), "vocab_size": torch.tensor(512)}
    assert model.load_published_state_dict(state | extras) == []
    assert_equal(model.published_state_dict(), state)


def test_the_written_state_is_a_copy(viclip: DualEncoder, viclip_state: dict[str, Tensor]) -> None:
    for value in viclip.published_state_dict().values():
        value.zero_()
    assert_equal(viclip.published_state_dict(), viclip_state)


def test_half_precision_weights_become_single(viclip_state: dict[str, Tensor]) -> None:
    model = DualEncoder(SMALL_VICLIP)
    model.load_published_state_dict({key: value.half() for key, value in viclip_state.items()})
    assert_equal(model.published_state_dict(), {key: value.half().float() for key, value in viclip_state.items()})


def test_weights_load_under_attached_adapters(viclip_state: dict[str, Tensor], frames: Tensor) -> None:
    model, plain = DualEncoder(SMALL_VICLIP), DualEncoder(SMALL_VICLIP)
    adapter = pb.Bottleneck(64, 8)
    model.blocks("video")[0].add_parallel(adapter)
    model.blocks("video")[1].attention.q.replace(nn.Linear(64, 64))
    before = adapter.down.weight.clone()
    model.load_published_state_dict(viclip_state)
    plain.load_published_state_dict(viclip_state)
    assert torch.equal(adapter.down.weight, before)
    assert_equal(model.published_state_dict(), viclip_state)
    with model.adapters_off():
        assert torch.equal(model.encode_video(frames), plain.encode_video(frames))


def test_what_does_not_fit_is_listed_by_kind_and_nothing_is_loaded(viclip_state: dict[str, Tensor]) -> None:
    model = DualEncoder(SMALL_VICLIP)
    before = model.published_state_dict()
    bad = dict(viclip_state)
    for layer in range(3):
        del bad[f"vision_encoder.transformer.resblocks.{layer}.ln_1.bias"]
    del bad["text_encoder.ln_final.weight"]
    bad["head.weight"] = torch.zeros(1)
    bad["temp"] = torch.zeros(2)
    bad["vision_encoder.proj"] = "a text"
    with pytest.raises(pb.WeightsError) as error:
        model.load_published_state_dict(bad)
    message = str(error.value)
    assert "\n" not in message
    assert "4 missing: vision_encoder.transformer.resblocks.{0-2}.ln_1.bias, text_encoder.ln_final.weight" in message
    assert "1 unexpected: head.weight" in message
    assert "2 of another shape: temp [2] instead of [], vision_encoder.proj (str) instead of [64, 32]" in message
    assert_equal(model.published_state_dict(), before)


def test_a_foreign_checkpoint_gives_a_short_list(viclip_state: dict[str, Tensor]) -> None:
    with pytest.raises(pb.WeightsError) as error:
        DualEncoder(SMALL_CLIP).load_published_state_dict(viclip_state)
    message = str(error.value)
    assert "does not fit this CLIP model" in message
    assert "resblocks.{0-2}.attn.in_proj_weight" in message
    assert "and " in message and len(message) < 4000


@pytest.mark.parametrize("frames", [2, 6, 8])
def test_another_number_of_frames_is_converted_as_published_and_said(
    viclip_state: dict[str, Tensor], caplog: pytest.LogCaptureFixture, frames: int
) -> None:
    golden = load_file(GOLDENS / "viclip_weight_conversion.safetensors")
    way = "truncate" if frames < 4 else "linear"
    table = golden["in.temporal_4"]
    assert_close(resize_temporal(table, frames), golden[f"out.temporal_{frames}_{way}"], atol=1e-6, rtol=1e-6)
    model = DualEncoder(SMALL_VICLIP.with_(num_frames=frames))
    with caplog.at_level(logging.WARNING, logger="petl_bench"):
        notes = model.load_published_state_dict(viclip_state)
    assert len(notes) == 1 and f"4 -> {frames} frames" in notes[0]
    assert notes[0] in caplog.text and model.weights_notes == notes
    assert_close(model.video.temporal_embedding.data, resize_temporal(viclip_state[TEMPORAL], frames))
    assert model.encode_video(torch.zeros(1, frames, 3, 32, 32)).shape == (1, 32)


def test_another_resolution_is_converted_as_published_and_said(viclip_state: dict[str, Tensor]) -> None:
    golden = load_file(GOLDENS / "viclip_weight_conversion.safetensors")
    converted = resize_spatial(golden["in.pos_embed_2x2"], 17)
    assert_close(converted, golden["out.pos_embed_4x4_bicubic"], atol=1e-6, rtol=1e-6)
    model = DualEncoder(SMALL_VICLIP.with_(image_size=64))
    notes = model.load_published_state_dict(viclip_state)
    assert len(notes) == 1 and "5 -> 17 image patches (bicubic)" in notes[0]
    assert model.encode_video(torch.zeros(1, 4, 3, 64, 64)).shape == (1, 32)


def test_a_table_that_is_not_square_is_refused(viclip_state: dict[str, Tensor]) -> None:
    bad = viclip_state | {"vision_encoder.positional_embedding": torch.zeros(6, 64)}
    with pytest.raises(pb.WeightsError, match=r"positional_embedding \[6, 64\] instead of \[5, 64\]"):
        DualEncoder(SMALL_VICLIP).load_published_state_dict(bad)


@pytest.mark.parametrize(("length", "way"), [(16, "the first ones"), (40, "linear interpolation")])
def test_another_text_context_is_converted_and_said(viclip_state: dict[str, Tensor], length: int, way: str) -> None:
    model = DualEncoder(SMALL_VICLIP.with_(context_length=length))
    [note] = model.load_published_state_dict(viclip_state)
    assert f"32 -> {length} text positions ({way})" in note
    table = viclip_state["text_encoder.positional_embedding"]
    if length < 32:
        assert torch.equal(model.text.positional_embedding.data, table[:length])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_inflation_puts_the_weights_into_the_centre(depth: int) -> None:
    golden = load_file(GOLDENS / "viclip_weight_conversion.safetensors")
    assert torch.equal(inflate(golden["in.conv2d"], depth), golden[f"out.center_k{depth}"])
    assert torch.equal(inflate(golden["in.conv1_2d"], 1), golden["out.conv1_3d"])


def test_clip_weights_initialise_a_viclip(clip_golden: dict[str, Tensor], clip: DualEncoder, frames: Tensor) -> None:
    state = part(clip_golden, "sd.")
    config = pb.ViCLIPConfig(**{**vars(SMALL_CLIP), "context_length": 8})
    model = DualEncoder(config)
    notes = model.load_published_state_dict(state)
    assert any("initialised from CLIP" in note for note in notes)
    assert any("16 -> 8 text positions" in note for note in notes)
    assert model.logit_scale.item() == pytest.approx(100)
    assert not model.video.temporal_embedding.any()
    image = clip_golden["in.image"].unsqueeze(1)
    assert_close(model.encode_video(image), clip.encode_video(image), atol=2e-5, rtol=1e-4)
    short = clip_golden["in.tokens"][clip_golden["in.tokens"].argmax(1) < 8]
    assert_close(model.encode_text(short[:, :8]), clip.encode_text(short), atol=2e-5, rtol=1e-4)


def test_clip_weights_without_a_key_do_not_initialise_a_viclip(clip_golden: dict[str, Tensor]) -> None:
    state = part(clip_golden, "sd.")
    del state["visual.ln_pre.bias"]
    with pytest.raises(pb.WeightsError, match=r"1 missing: vision_encoder\.ln_pre\.bias"):
        DualEncoder(pb.ViCLIPConfig(**vars(SMALL_CLIP))).load_published_state_dict(state)
