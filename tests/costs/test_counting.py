"""FLOPs: equal by independent counts, as published where known, and absent where the counts differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import petl_bench as pb
from petl_bench.api.config import CLIPConfig, ViCLIPConfig
from petl_bench.api.registry import load_plugin_file
from petl_bench.costs import counters, counting, formula
from petl_bench.models import towers

from .conftest import PLUGIN

SMALL = ViCLIPConfig(
    image_size=32, num_frames=4, embed_dim=32, vision_width=64, vision_layers=2, vision_heads=4, context_length=16,
    vocab_size=64, text_width=48, text_layers=2, text_heads=4,
)  # fmt: skip


def without_data(config: ViCLIPConfig, method: str, **values: object) -> pb.DualEncoder:
    """A model that has shapes only, with a method attached."""
    with torch.device("meta"):
        model = pb.DualEncoder(config)
        pb.create_method(method, **values).attach(model)
    return model


def test_the_video_tower_of_viclip_b16_takes_179_6_gmacs() -> None:
    count = counting.count_video(without_data(ViCLIPConfig(), "zero_shot"))
    assert count.macs is not None and count.macs / 1e9 == pytest.approx(179.6, abs=0.05)
    assert count.macs == formula.video_macs(ViCLIPConfig())


def test_fvcore_alone_misses_attention() -> None:
    from fvcore.nn import FlopCountAnalysis

    model = without_data(ViCLIPConfig(), "zero_shot")
    frames = torch.empty(1, 8, 3, 224, 224, device="meta")
    with torch.no_grad(), counters._quiet():
        missing = FlopCountAnalysis(counters.Call(model, model.encode_video, frames), (frames,)).total()
    assert missing / 1e9 == pytest.approx(134.3, abs=0.3)


@pytest.mark.parametrize(
    ("method", "values", "added"),
    [
        ("lora", {"rank": 4, "towers": "video", "targets": ("q", "v")}, 2 * 2 * 4 * (64 + 64) * 17),
        ("adaptformer", {"bottleneck_dim": 8, "towers": "video"}, 2 * 2 * 64 * 8 * 17),
        ("full_finetune", {}, 0),
    ],
)
def test_a_method_adds_what_its_layers_compute(method: str, values: dict[str, object], added: int) -> None:
    count = counting.count_video(without_data(SMALL, method, **values))  # 17 tokens: a class token, 4 frames of 2 x 2
    assert count.macs == formula.video_macs(SMALL) + added


def test_the_temporal_convolution_of_msta_is_counted() -> None:
    model = without_data(SMALL, "msta", bottleneck_dim=16, towers="video")
    count = counting.count_video(model)
    linear = 2 * 17 * (2 * 64 * 16 + 16 * 16)
    convolution = 2 * 16 * 64 * 3
    assert count.macs == pytest.approx(formula.video_macs(SMALL) + linear + convolution, rel=counting.TOLERANCE)


def test_clip_is_counted_frame_by_frame() -> None:
    config = CLIPConfig(**{**vars(SMALL), "num_frames": 4})
    assert counting.count_video(without_data(config, "zero_shot")).macs == formula.video_macs(config)


def test_the_text_tower_is_counted_at_the_length_of_its_longest_text() -> None:
    torch.manual_seed(0)
    model = pb.DualEncoder(SMALL)
    pb.create_method("zero_shot").attach(model)
    tokens = torch.tensor([[1, 2, 63, 0, 0, 0], [1, 2, 3, 4, 63, 0]])
    assert counting.count_text(model, tokens).macs == formula.text_macs(SMALL, 2, 5)


def test_texts_of_unlike_lengths_are_counted_in_the_passes_that_they_go_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(towers, "PASS_FLOPS_CPU", 0)  # as on a large backbone, whose passes pay off sooner
    model = pb.DualEncoder(SMALL)
    pb.create_method("zero_shot").attach(model)
    tokens = torch.tensor([[1, 2, 63, 0, 0, 0], [1, 2, 3, 4, 63, 0], [1, 63, 0, 0, 0, 0]])
    count = counting.count_text(model, tokens)
    assert (count.macs, count.reason) == (sum(formula.text_macs(SMALL, 1, length) for length in (2, 3, 5)), "")


def test_a_count_that_is_disputed_is_absent_with_the_counts(tmp_path: Path) -> None:
    path = tmp_path / "odd_methods.py"
    path.write_text(PLUGIN)
    load_plugin_file(path)
    count = counting.count_video(without_data(SMALL, "unseen"))
    assert count.macs is None
    assert "counts differ by more than 0.1 %" in count.reason
    assert "fvcore" in count.reason and "functions called" in count.reason
    assert "in video.blocks.0.parallel.0.module (Product)" in count.reason


class Extra(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(tokens, width))

    def forward(self) -> torch.Tensor:
        return self.values


class MoreKeys(nn.Module):
    """Three more keys and values, without parameters."""

    def forward(self, q: Any, k: Any, v: Any, grid: Any) -> Any:
        return q, torch.cat([k, k[:, :, :3]], 2), torch.cat([v, v[:, :, :3]], 2), None


class Fewer(nn.Module):
    """The class token and every second patch, without parameters."""

    def forward(self, x: Any, grid: Any) -> Any:
        return torch.cat([x[:, :1], x[:, 1::2]], 1), grid


def _extra_tokens(model: pb.DualEncoder) -> None:
    model.video.add_tokens(Extra(5, 64), block=1)


def _messages(model: pb.DualEncoder) -> None:
    model.video.add_tokens(Extra(5, 64), block=2, scope="attention")


def _more_keys(model: pb.DualEncoder) -> None:
    model.blocks("video")[0].attention.mix(MoreKeys())


def _fewer_tokens(model: pb.DualEncoder) -> None:
    model.blocks("video")[0].reduce(Fewer())


def of_blocks(first: int, second: int) -> int:
    """The video tower of SMALL with so many tokens in its two blocks."""
    return formula.video_macs(SMALL) + sum(
        formula.block_macs(tokens, 64) - formula.block_macs(17, 64) for tokens in (first, second)
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_extra_tokens, of_blocks(22, 22)),
        (_messages, of_blocks(17, 17) + 2 * 5 * 64 * 64 + 2 * 17 * 5 * 64),  # k and v of 5 tokens; 17 x 5 more scores
        (_more_keys, of_blocks(17, 17) + 2 * 17 * 3 * 64),
        (_fewer_tokens, of_blocks(17, 9)),
    ],
)
def test_attention_is_counted_by_the_tokens_that_it_saw(change: Any, expected: int) -> None:
    model = pb.DualEncoder(SMALL)
    change(model)
    count = counting.count_video(model)
    assert (count.macs, count.reason) == (expected, "")


def test_weights_that_are_shared_count_once() -> None:
    shared = nn.Linear(4, 4)
    assert counting.weight_bytes(nn.Sequential(shared, shared)) == 4 * (16 + 4)
    assert counting.parameter_count(nn.Sequential(shared, shared)) == 20


def test_operators_that_are_not_counted_are_listed() -> None:
    count = counting.count_video(without_data(SMALL, "adaptformer"))
    assert count.uncounted is not None and "aten::silu_" in count.uncounted
