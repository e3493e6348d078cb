"""The dual encoder against the published implementations' outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder
from tests.models.conftest import SMALL_CLIP, SMALL_VICLIP, golden_json, part

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def test_viclip_video_equals_the_published_model(viclip: DualEncoder, viclip_video: dict[str, Tensor]) -> None:
    features = viclip.encode_video(viclip_video["in.video_bcthw"].transpose(1, 2))
    assert_close(features, viclip_video["out.video_embed"], **CLOSE)


def test_viclip_takes_one_frame(viclip: DualEncoder, viclip_video: dict[str, Tensor]) -> None:
    features = viclip.encode_video(viclip_video["in.image_bc1hw"].transpose(1, 2))
    assert_close(features, viclip_video["out.image_embed"], **CLOSE)


def test_viclip_in_double_precision(viclip: DualEncoder, viclip_video: dict[str, Tensor]) -> None:
    features = viclip.double().encode_video(viclip_video["in.video_bcthw"].transpose(1, 2).double())
    assert_close(features, viclip_video["out.video_embed_f64"].double(), atol=1e-9, rtol=1e-7)


def test_viclip_blocks_see_the_published_tokens_in_the_published_order(
    viclip: DualEncoder, viclip_video: dict[str, Tensor]
) -> None:
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, output: seen.__setitem__(name, output)

    viclip.video.norm_pre.register_forward_hook(keep("act.ln_pre_out"))
    for index, block in enumerate(viclip.video.blocks):
        block.register_forward_hook(keep(f"act.block{index}_out"))
    viclip.encode_video(viclip_video["in.video_bcthw"].transpose(1, 2))
    for name, value in seen.items():
        golden = viclip_video[name]
        assert_close(value, golden if name == "act.ln_pre_out" else golden.transpose(0, 1), **CLOSE)


def test_viclip_gradients(viclip: DualEncoder, viclip_video: dict[str, Tensor]) -> None:
    features = viclip.encode_video(viclip_video["in.video_bcthw"].transpose(1, 2))
    (features * viclip_video["in.probe"]).sum().backward()
    own = {name: parameter.grad for name, parameter in viclip.named_parameters()}
    attention = "video.blocks.1.attention"
    packed = torch.cat([own[f"{attention}.{name}.base.bias"] for name in "qkv"])
    expected = part(viclip_video, "grad.")
    for name, gradient in {
        "class_embedding": own["video.class_embedding"],
        "positional_embedding": own["video.positional_embedding"],
        "temporal_positional_embedding": own["video.temporal_embedding"],
        "proj": own["video.projection"],
        "transformer.resblocks.1.attn.in_proj_bias": packed,
        "transformer.resblocks.1.ln_1.weight": own[f"{attention}.norm.weight"],
        "transformer.resblocks.2.mlp.c_proj.bias": own["video.blocks.2.feedforward.proj.base.bias"],
    }.items():
        assert_close(gradient, expected.pop(name), **CLOSE)
    assert not expected


def test_viclip_text_equals_the_published_model(viclip: DualEncoder, viclip_text: dict[str, Tensor]) -> None:
    assert_close(viclip.encode_text(viclip_text["in.tokens"]), viclip_text["out.text_embed"], **CLOSE)


def test_clip_equals_the_published_model(clip: DualEncoder, clip_golden: dict[str, Tensor]) -> None:
    image = clip.encode_video(clip_golden["in.image"].unsqueeze(1))
    text = clip.encode_text(clip_golden["in.tokens"])
    assert_close(image, clip_golden["out.image"], **CLOSE)
    assert_close(text, clip_golden["out.text"], **CLOSE)
    logits = clip.logit_scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    assert_close(logits, clip_golden["out.logits_per_image"], **CLOSE)


def test_clip_video_is_the_mean_of_its_frames_features(clip: DualEncoder, frames: Tensor) -> None:
    one_by_one = [clip.encode_video(frames[:, t : t + 1]) for t in range(4)]
    assert_close(clip.encode_video(frames), torch.stack(one_by_one).mean(0), **CLOSE)


@pytest.mark.parametrize("which", ["viclip", "clip"])
def test_text_runs_at_the_length_of_its_longest_prompt(
    which: str, request: pytest.FixtureRequest, tokens: Tensor
) -> None:
    model = request.getfixturevalue(which)
    lengths: list[int] = []
    model.text.blocks[0].register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
    together = model.encode_text(tokens)
    alone = torch.cat([model.encode_text(row[None]) for row in tokens])
    assert lengths == [9, 4, 9, 6]
    assert_close(together, alone, **CLOSE)
    assert_close(model.encode_text(tokens[:, :9]), together, atol=0, rtol=0)


def test_padding_after_the_end_of_text_changes_nothing(viclip: DualEncoder, tokens: Tensor) -> None:
    other = tokens.clone()
    other[0, 4:] = 77
    assert_close(viclip.encode_text(other)[0], viclip.encode_text(tokens)[0], atol=0, rtol=0)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_another_number_of_frames_is_refused_with_the_number_wanted(viclip: DualEncoder, count: int) -> None:
    with pytest.raises(pb.UsageError, match=f"{count} frames per clip.*made for 4.*num_frames={count}"):
        viclip.encode_video(torch.zeros(1, count, 3, 32, 32))


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (1, 4, 1, 32, 32), (1, 4, 3, 32, 16)])
def test_frames_of_another_shape_are_refused(viclip: DualEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(pb.UsageError, match=r"expected \[B, T, 3, 32, 32\]"):
        viclip.encode_video(torch.zeros(shape))


def test_tokens_longer_than_the_context_are_refused(viclip: DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match="L from 1 to 32"):
        viclip.encode_text(torch.zeros(1, 33, dtype=torch.int64))


def test_tubelets_equal_a_strided_convolution(frames: Tensor) -> None:
    model = DualEncoder(SMALL_VICLIP.with_(tubelet_size=2))
    patches, grid = model.video._patchify(frames)
    expected = F.conv3d(frames.transpose(1, 2), model.video.patch_weight, stride=(2, 16, 16))  # [B, D, T, h, w]
    assert (grid.frames, grid.height, grid.width) == (2, 2, 2)
    assert_close(
        patches @ model.video.patch_weight.flatten(1).T, expected.permute(0, 3, 4, 2, 1).flatten(1, 3), **CLOSE
    )
    assert model.encode_video(frames).shape == (2, 32)


def test_odd_sizes_drop_what_no_whole_patch_covers() -> None:
    model = DualEncoder(SMALL_VICLIP.with_(image_size=40, patch_size=16))
    assert model.encode_video(torch.zeros(1, 4, 3, 40, 40)).shape == (1, 32)


def test_logit_scale_is_one_hundred_for_a_new_viclip_and_kept_there_in_training() -> None:
    model = DualEncoder(SMALL_VICLIP)
    assert model.logit_scale.shape == ()
    assert model.logit_scale.item() == pytest.approx(100)
    model.temperature.data.fill_(0.001)
    assert model.logit_scale.item() == pytest.approx(100)
    model.logit_scale.backward()
    assert model.temperature.grad is not None


def test_logit_scale_of_a_new_clip() -> None:
    assert DualEncoder(SMALL_CLIP).logit_scale.item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("config", [SMALL_VICLIP, SMALL_CLIP])
def test_random_weights_follow_the_seed_and_are_finite(config: pb.ViCLIPConfig) -> None:
    torch.manual_seed(3)
    first = DualEncoder(config).state_dict()
    torch.manual_seed(3)
    second = DualEncoder(config).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.isfinite(value).all() for value in first.values())
    varied = [name for name in first if name.endswith((".weight", "projection")) and "norm" not in name]
    assert all(first[name].std() > 0 for name in varied)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vision_heads": 5}, "multiple of its number of heads"),
        ({"image_size": 8}, "smaller than patch_size"),
        ({"num_frames": 3, "tubelet_size": 2}, "multiple of tubelet_size"),
        ({"token_ids": (0, 5, 5)}, "token_ids"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(pb.UsageError, match=words):
        DualEncoder(SMALL_VICLIP.with_(**changes))


@pytest.mark.parametrize(
    ("name", "golden", "total"),
    [
        ("viclip-b16", "viclip_b_state_dict.json", 149_603_841),
        ("viclip-l14", "viclip_l_state_dict.json", 427_590_145),
        ("clip-b16", "clip_vitb16_state_dict.json", 149_620_737),
    ],
)
def test_full_size_state_dicts_equal_the_published_ones_key_by_key(name: str, golden: str, total: int) -> None:
    with torch.device("meta"):
        model = pb.create_model(name, weights=None)
    listing = golden_json(golden)["keys"]
    state = model.published_state_dict()
    assert list(state) == list(listing)
    assert {key: list(value.shape) for key, value in state.items()} == {key: x["shape"] for key, x in listing.items()}
    assert {str(value.dtype) for value in state.values()} == {"torch.float32"}
    assert sum(parameter.numel() for parameter in model.parameters()) == total
