"""MaPLe and PromptSRC against their equations, written by hand; counts, losses, averages and bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.methods.promptsrc import TEMPLATES
from petl_bench.testing.method_subject import perturb

SIZES: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 4,
    "embed_dim": 32,
    "vision_width": 64,
    "vision_layers": 3,
    "vision_heads": 4,
    "context_length": 16,
    "vocab_size": 64,
    "text_width": 48,
    "text_layers": 3,
    "text_heads": 4,
}
CONFIGS = {"joint": pb.ViCLIPConfig(**SIZES), "frame-wise": pb.CLIPConfig(**SIZES)}
METHODS = ("maple", "promptsrc")
RANDOM: dict[str, Any] = {"words": None}  # the small models have no words


def attached(layout: str, name: str, **values: Any) -> pb.DualEncoder:
    torch.manual_seed(0)
    model = pb.DualEncoder(CONFIGS[layout]).eval()
    pb.create_method(name, **RANDOM, **values).attach(model)
    perturb(model)
    return model


def text_tokens(model: pb.DualEncoder) -> list[Tensor]:
    """P_1 to P_J."""
    return [model.text.prompt.vectors, *(replaced.module.values for replaced in model.text.replaced_tokens)]


def video_tokens(model: pb.DualEncoder, name: str, depth: int) -> list[Tensor]:
    """Q_1 to Q_J; in MaPLe of P_1 to P_J."""
    modules = [tokens.module for tokens in model.video.tokens]
    modules += [block.tokens[0].module for block in model.blocks("video")[1:depth]]
    if name == "promptsrc":
        return [module.values for module in modules]
    pairs = zip(text_tokens(model), modules, strict=True)
    return [text @ module.linear.weight.T + module.linear.bias for text, module in pairs]


def text_by_hand(model: pb.DualEncoder, tokens: Tensor) -> Tensor:
    """[C, D]: the tokens are put in by slices, and the frozen blocks know of none."""
    text, prompts = model.text, text_tokens(model)
    count = len(prompts[0])
    embeddings = text.token_embedding(tokens)
    x = torch.cat([embeddings[:, :1], prompts[0].expand(len(tokens), -1, -1), embeddings[:, 1:]], 1)
    x = x + text.positional_embedding[: x.shape[1]]
    for index, block in enumerate(model.blocks("text")):
        if 0 < index < len(prompts):
            x = torch.cat([x[:, :1], prompts[index].expand(len(tokens), -1, -1), x[:, 1 + count :]], 1)
        x = block(x)
    return text.norm_final(x[:, -1]) @ text.projection


def video_by_hand(model: pb.DualEncoder, layout: str, prompts: list[Tensor], frames: Tensor) -> Tensor:
    """[B, D]."""
    video = model.video
    embedded, grid = video._embed(frames)
    own = embedded.shape[1]
    x = video.norm_pre(torch.cat([embedded, prompts[0].expand(len(embedded), -1, -1)], 1))
    for index, block in enumerate(model.blocks("video")):
        if 0 < index < len(prompts):
            x = torch.cat([x[:, :own], prompts[index].expand(len(x), -1, -1)], 1)
        x = x + block.attention(x)
        x = x + block.feedforward(x)
    features: Tensor = video.norm_post(x[:, 0]) @ video.projection
    return features if layout == "joint" else features.unflatten(0, (-1, grid.frames)).mean(1)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("layout", CONFIGS)
@pytest.mark.parametrize("name", METHODS)
def test_tokens_of_both_towers(name: str, layout: str, depth: int, frames: Tensor, tokens: Tensor) -> None:
    model = attached(layout, name, depth=depth)
    with torch.no_grad():
        found = model.encode_video(frames), model.encode_text(tokens)
        with model.adapters_off():
            frozen = model.encode_video(frames), model.encode_text(tokens)
            prompts = video_tokens(model, name, depth)
            expected = video_by_hand(model, layout, prompts, frames), text_by_hand(model, tokens)
    assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert all(not torch.allclose(*pair, atol=1e-3) for pair in zip(found, frozen, strict=True))
    assert len(text_tokens(model)) == len(prompts) == depth


@pytest.mark.parametrize("name", METHODS)
def test_as_many_blocks_as_published_or_as_there_are(name: str) -> None:
    method = pb.create_method(name)
    assert method.blocks(pb.ViCLIPConfig()) == 9
    assert method.blocks(CONFIGS["joint"]) == 3
    assert method.blocks(CONFIGS["joint"].with_(text_layers=2)) == 2


def test_a_text_token_trains_through_both_towers(frames: Tensor, tokens: Tensor) -> None:
    model = attached("joint", "maple")
    gradients = []
    for features in (model.encode_video(frames), model.encode_text(tokens)):
        gradients.append(torch.autograd.grad(features.square().sum(), text_tokens(model)))
    assert all(bool(each.abs().sum() > 0) for of_tower in gradients for each in of_tower)


@pytest.mark.parametrize("name", METHODS)
def test_the_first_words_become_vectors_and_the_others_stay(name: str) -> None:
    method = pb.create_method(name, context=2)
    classes = ["jumping", "playing tennis"]
    assert method.prompts(classes) == [["of a jumping."], ["of a playing tennis."]]
    assert pb.create_method(name, context=4).prompts(classes) == [["jumping."], ["playing tennis."]]
    assert pb.create_method(name, context=2, words=None).prompts(classes) == [["jumping."], ["playing tennis."]]
    assert pb.create_method(name, context=1, words="a video of").prompts(["x"]) == [["video of x."]]

    frozen, model = pb.create_model("viclip-tiny"), pb.create_model("viclip-tiny")
    pb.create_method(name, context=2, depth=1).attach(model)
    own = pb.tokenize([text for texts in method.prompts(classes) for text in texts], 32)
    prompts = pb.tokenize([f"a video of a {each}." for each in classes], 32)
    with torch.no_grad():
        assert_close(model.encode_text(own), frozen.encode_text(prompts), atol=1e-5, rtol=1e-4)


def test_initial_values(small: pb.DualEncoder) -> None:
    torch.manual_seed(1)
    pb.create_method("promptsrc", context=13, video_tokens=50, words=None).attach(small)
    for tokens in (*text_tokens(small), *video_tokens(small, "promptsrc", 3)):
        assert 0.017 < tokens.std().item() < 0.023


# PromptSRC's loss and average


def promptsrc_step(**values: Any) -> tuple[pb.Method, pb.Step]:
    """A training step on ViCLIP's small backbone, whose frozen features are those of the frozen model."""
    torch.manual_seed(0)
    model = pb.create_model("viclip-tiny").eval()
    method = pb.create_method("promptsrc", **values)
    classes = ("jumping", "running", "pouring")
    method.bind(pb.MethodTask("classification", classes, 4))
    method.attach(model)
    clips = torch.randn(2, 8, 3, 32, 32)
    texts = [text for of_class in method.prompts(classes) for text in of_class]
    step = pb.Step(model, model.encode_video(clips), model.encode_text(pb.tokenize(texts)), torch.tensor([0, 2]))
    step.classes = classes
    with torch.no_grad(), model.adapters_off():
        frozen = model.encode_video(clips)
    step.frozen = pb.Frozen(lambda: frozen, lambda: torch.empty(0), lambda video, text: torch.empty(0))
    step.logits = method.scores(step)
    return method, step


@pytest.mark.parametrize("weights", [(25.0, 10.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_the_loss_is_that_of_the_equation(weights: tuple[float, float, float]) -> None:
    names = ("text_weight", "video_weight", "logits_weight")
    method, step = promptsrc_step(**dict(zip(names, weights, strict=True)))
    loss = method.loss(step)
    assert loss is not None
    frozen = pb.create_model("viclip-tiny").eval()
    with torch.no_grad():
        each = [frozen.encode_text(pb.tokenize([t.format(name) for t in TEMPLATES])).mean(0) for name in step.classes]
        w_frozen = F.normalize(torch.stack(each), dim=-1)
        f_frozen = F.normalize(step.frozen.video_features, dim=-1)
        w, f = F.normalize(step.text_features, dim=-1), F.normalize(step.video_features, dim=-1)
        scale = frozen.logit_scale
        p, p_frozen = (scale * f @ w.T).softmax(1), (scale * f_frozen @ w_frozen.T).softmax(1)
        parts = (
            (w - w_frozen).abs().mean(),
            (f - f_frozen).abs().mean(),
            (p_frozen * (p_frozen / p).log()).sum() / p.numel(),
        )
        expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    assert_close(loss.detach(), expected, atol=1e-4, rtol=1e-3)
    loss.backward()
    trained = [parameter.grad for parameter in step.model.parameters() if parameter.grad is not None]
    assert trained and all(bool(gradient.isfinite().all()) for gradient in trained)


def test_frozen_classes_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    method, step = promptsrc_step()
    calls: list[int] = []
    frozen_text = pb.DualEncoder.frozen_text

    def counted(model: pb.DualEncoder, texts: list[str]) -> Tensor:
        calls.append(len(texts))
        return frozen_text(model, texts)

    monkeypatch.setattr(pb.DualEncoder, "frozen_text", counted)
    first, second = method.loss(step), method.loss(step)
    assert calls == [3 * 60]
    assert first is not None and second is not None and torch.equal(first, second)


def test_sixty_different_templates() -> None:
    assert len(set(TEMPLATES)) == 60
    assert all(template.count("{}") == 1 for template in TEMPLATES)


def test_templates_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "templates.txt"
    file.write_text("a video of {}.\n\na clip with {}.\n")
    method, step = promptsrc_step(templates=f"@{file}")
    assert method.values()["templates"] == "a video of {}.|a clip with {}."  # what the file holds is part of the key
    assert method._frozen_text(step).shape == (3, 128)
    texts = [f"a {kind} {name}." for name in step.classes for kind in ("video of", "clip with")]
    expected = step.model.frozen_text(texts).unflatten(0, (3, 2)).mean(1)
    assert_close(method._frozen_text(step), expected)


def test_weights_of_epochs_are_the_published_gaussian() -> None:
    method = pb.create_method("promptsrc")
    weights = torch.tensor([method.averaging(epoch, 20) for epoch in range(20)], dtype=torch.float64)
    epochs = torch.arange(1, 21, dtype=torch.float64)
    gaussian = torch.exp(-0.5 * (epochs - 15) ** 2) / math.sqrt(2 * math.pi)
    assert_close(weights / weights.sum(), gaussian / gaussian.sum())


@pytest.mark.parametrize("epochs", [1, 2, 10, 50])
@pytest.mark.parametrize("mean", [0.0, 0.75, 1.0])
def test_some_epoch_always_counts(mean: float, epochs: int) -> None:
    method = pb.create_method("promptsrc", average_mean=mean, average_deviation=1e-3)
    weights = [method.averaging(epoch, epochs) for epoch in range(epochs)]
    assert max(weights) == 1.0
    assert min(weights) >= 0.0


# Bad input


@pytest.mark.parametrize("name", METHODS)
def test_bad_input_is_one_line(name: str, small: pb.DualEncoder) -> None:
    joint = CONFIGS["joint"]
    with pytest.raises(pb.UsageError, match=rf"{name}\.depth=4: this backbone has 3 blocks of video and 2 of text; g"):
        pb.create_method(name, depth=4).expected_trainable(joint.with_(text_layers=2))
    with pytest.raises(pb.UsageError, match=rf"{name}: 14 tokens of context and words, but .* at most 13 leave"):
        pb.create_method(name, context=14, words=None).expected_trainable(joint)
    with pytest.raises(pb.UsageError, match=rf"{name}: 14 tokens of context and words"):
        pb.create_method(name, context=14, words=None).attach(small)
    with pytest.raises(pb.UsageError, match=rf"{name}\.words: 2 words in 'a video' for {name}\.context=5 vectors"):
        pb.create_method(name, context=5, words="a video")
    with pytest.raises(pb.UsageError, match=r"words: 'skateboarders' is 3 tokens for 1 vectors; take words of one tok"):
        pb.create_method(name, context=1, words="skateboarders of").attach(pb.create_model("viclip-tiny"))
    with pytest.raises(pb.UsageError, match=rf"{name} is not for retrieval, but for classification"):
        pb.create_method(name).bind(pb.MethodTask("retrieval"))


def test_bad_templates_are_one_line() -> None:
    with pytest.raises(pb.UsageError, match=r"promptsrc\.templates='a video': expected one \{\} for the class name"):
        pb.create_method("promptsrc", templates="a video")
