"""What methods cost beside the backbone and beside full fine-tuning, each as a ratio from one interleaved run.

    OMP_NUM_THREADS=1 python -m pytest benchmarks/perf/test_bench_ratios.py --benchmark-only -s

ViCLIP-B/16 with random weights, 8 frames, fp32, one clip, 26 prompts, steps without optimiser. What is to be reached
stands in README.md; nothing is asserted about time, because a machine may be busy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

import petl_bench as pb
from benchmarks.perf.interleaved import measure
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.compilation import compile_video
from petl_bench.training.text import TextFeatures

PROMPTS = [f"a video of class number {index}." for index in range(26)]
#: How many of the 400 prompts "a video of {class}." of Kinetics-400 have how many tokens.
KINETICS_LENGTHS = {7: 34, 8: 245, 9: 96, 10: 12, 11: 6, 12: 4, 13: 3}
MSTA_256 = {"consistency_weight": 0.0, "bottleneck_dim": 256}
MSTA = {
    "msta 256, 1-12": MSTA_256,
    "msta 128, 8-12": {"consistency_weight": 0.0, "bottleneck_dim": 128, "first_layer": 8},
}

#: torch's counter knows attention's operators on a GPU alone.
ATTENTION_ON_CPU: dict[Any, Callable[..., Any]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def carrying(method: str, **hyper: Any) -> DualEncoder:
    model = pb.create_model("viclip-b16", weights=None)
    pb.create_method(method, **hyper).attach(model)
    return model


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(1, 8, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.timeout(1800)
def test_inference(benchmark: Any, frames: Tensor) -> None:
    models = {"frozen": carrying("zero_shot"), **{name: carrying("msta", **hyper) for name, hyper in MSTA.items()}}
    models["lora 256"] = carrying("lora", rank=256, alpha=256.0, towers="video")
    models["lora 256, merged"] = carrying("lora", rank=256, alpha=256.0, towers="video")
    merged = models["lora 256, merged"]
    method: Any = merged.method
    method.merge(merged)

    def encode(model: DualEncoder) -> Tensor:
        with torch.inference_mode():
            return model.eval().encode_video(frames)

    measure(benchmark, {name: partial(encode, model) for name, model in models.items()}, rounds=7)


@pytest.mark.timeout(1800)
def test_train_step(benchmark: Any, frames: Tensor) -> None:
    models = {
        "full fine-tuning": carrying("full_finetune"),
        **{name: carrying("msta", **hyper) for name, hyper in MSTA.items()},
        "lora 8": carrying("lora"),
        "adaptformer 64": carrying("adaptformer"),
        "full fine-tuning, every block checkpointed": _checkpointed(carrying("full_finetune")),
    }
    steps = {
        name: partial(_step, model.train(), _text(model), lambda model: model.encode_video(frames))
        for name, model in models.items()
    }
    measure(benchmark, steps, rounds=4)


@pytest.mark.timeout(1800)
def test_flops_of_a_train_step(benchmark: Any, frames: Tensor) -> None:
    """What the ratios of the steps would be if only FLOPs took time; in `extra_info`, and printed."""
    models = {
        "full fine-tuning": carrying("full_finetune"),
        **{name: carrying("msta", **hyper) for name, hyper in MSTA.items()},
        "lora 8": carrying("lora"),
        "adaptformer 64": carrying("adaptformer"),
    }
    flops = {}
    for name, model in models.items():
        text = _text(model.train())
        text()  # what is computed once is no part of a step
        with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
            _step(model, text, lambda model: model.encode_video(frames))
        flops[name] = counter.get_total_flops()
        ratio = flops[name] / flops["full fine-tuning"]
        benchmark.extra_info[f"{name} / full fine-tuning, FLOPs"] = ratio
        print(f"\n{name} / full fine-tuning, FLOPs alone: {ratio:.3f}", end="")
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("what", ["inference of the frozen model", "step of msta"])
def test_compiled_blocks(benchmark: Any, frames: Tensor, tmp_path: Path, what: str) -> None:
    """training.compile, once everything is compiled."""
    trains = what == "step of msta"
    models = [carrying("msta", **MSTA_256) if trains else carrying("zero_shot") for _ in range(2)]
    compile_video(models[1], torch.device("cpu"), tmp_path)

    def infer(model: DualEncoder) -> None:
        with torch.inference_mode():
            model.eval().encode_video(frames)

    def step(model: DualEncoder) -> None:
        _step(model.train(), _text(model), lambda model: model.encode_video(frames))

    variants = {
        name: partial(step if trains else infer, model) for name, model in zip((what, "compiled"), models, strict=True)
    }
    measure(benchmark, variants, rounds=4)


@pytest.mark.timeout(1800)
def test_text_of_kinetics(benchmark: Any) -> None:
    model = pb.create_model("viclip-b16", weights=None, context_length=77).requires_grad_(False).eval()
    texts = [
        "a video of" + " word" * (length - 6) + "." for length, count in KINETICS_LENGTHS.items() for _ in range(count)
    ]
    tokens = pb.tokenize(texts, context_length=77)[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    assert (tokens.argmax(dim=1) + 1).sum() == sum(length * count for length, count in KINETICS_LENGTHS.items())

    @torch.inference_mode()
    def padded(length: int) -> Tensor:
        tower = model.text
        x = tower.token_embedding(tokens[:, :length]) + tower.positional_embedding[:length]
        for block in tower.blocks:
            x = block(x)
        last: Tensor = tower.norm_final(x[torch.arange(400), tokens.argmax(dim=1)])
        return last @ tower.projection

    @torch.inference_mode()
    def ours() -> Tensor:
        return model.encode_text(tokens)

    torch.testing.assert_close(ours(), padded(32), atol=1e-4, rtol=1e-3)
    variants: dict[str, Any] = {
        "ours": ours,
        **{f"padded to {length}": partial(padded, length) for length in (13, 32, 77)},
    }
    measure(benchmark, variants, rounds=3)


@pytest.mark.timeout(1800)
def test_text_adapter_on_fixed_views(benchmark: Any, frames: Tensor) -> None:
    """A step with four clips; in an epoch every step is one of these."""
    model = carrying("text_adapter", consistency_weight=0.0).train()
    clips = frames.expand(4, -1, -1, -1, -1)
    text, known = _text(model), model.encode_video(clips)
    assert not known.requires_grad
    variants = {
        "features": partial(_step, model, text, lambda model: known),
        "frames": partial(_step, model, text, lambda model: model.encode_video(clips)),
    }
    measure(benchmark, variants, rounds=2)


def _text(model: DualEncoder) -> TextFeatures:
    return TextFeatures(model, pb.tokenize(PROMPTS, context_length=32))


def _step(model: DualEncoder, text: TextFeatures, video: Callable[[DualEncoder], Tensor]) -> None:
    features = functional.normalize(video(model), dim=-1)
    logits = model.logit_scale * features @ functional.normalize(text(), dim=-1).T
    functional.cross_entropy(logits, torch.arange(len(features))).backward()
    model.zero_grad(set_to_none=True)


def _checkpointed(model: DualEncoder) -> DualEncoder:
    """ViCLIP's published default: re-entrant checkpointing of every block."""
    for block in model.blocks():
        block.forward = partial(checkpoint, block.forward, use_reentrant=True)  # type: ignore[method-assign]
    return model
