"""Training steps at full size (ViCLIP-B/16, 8 frames, fp32), forward and backward without optimiser.

To reach: an msta step at most 0.8 of a full fine-tuning step, in the same run.
"""

from __future__ import annotations

import pytest
import torch

import petl_bench as pb

CLIPS, CLASSES = 1, 26


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    prompts = [f"a video of class number {index}." for index in range(CLASSES)]
    return torch.randn(CLIPS, 8, 3, 224, 224), pb.tokenize(prompts, context_length=32), torch.arange(CLIPS)


@pytest.mark.parametrize(
    ("method", "hyper"),
    [
        ("full_finetune", {}),
        ("msta", {"consistency_weight": 0.0}),
        ("msta", {"consistency_weight": 0.0, "bottleneck_dim": 128, "first_layer": 8}),
        ("lora", {}),
        ("adaptformer", {}),
    ],
    ids=["full_finetune", "msta-256-1-12", "msta-128-8-12", "lora", "adaptformer"],
)
def test_train_step(benchmark, inputs, method: str, hyper: dict[str, object]) -> None:
    frames, tokens, labels = inputs
    model = pb.create_model("viclip-b16", weights=None)
    pb.create_method(method, **hyper).attach(model)
    model.train()

    def step() -> float:
        video = torch.nn.functional.normalize(model.encode_video(frames), dim=-1)
        text = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        loss = torch.nn.functional.cross_entropy(model.logit_scale * video @ text.T, labels)
        loss.backward()
        model.zero_grad(set_to_none=True)
        return loss.item()

    assert benchmark.pedantic(step, rounds=3, warmup_rounds=1) > 0
