"""Methods of the field that act on text alone, as a plugin's author would write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models import towers

CLASSES = ("pour", "jump", "green square", "a photo of sand")


class Context(nn.Module):
    """Learned vectors [n, W] between the start-of-text token and the class's name."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().clone())

    def put_in(self, vectors: Tensor, embeddings: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        context = vectors.expand(*embeddings.shape[:-2], -1, -1)
        return torch.cat([embeddings[..., :1, :], context, embeddings[..., 1:, :]], -2), ends + vectors.shape[-2]

    def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.put_in(self.vectors, embeddings, ends)


class OfClips(Context):
    """The vectors, moved by a small network of each clip's feature."""

    def __init__(self, vectors: Tensor, channels: int) -> None:
        super().__init__(vectors)
        hidden, width = channels // 16, vectors.shape[1]
        self.meta = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
        assert video is not None
        moved = self.vectors + self.meta(video)[:, None, None]  # [B, 1, n, W]
        return self.put_in(moved, embeddings.expand(len(video), -1, -1, -1), ends)


class Vectors(nn.Module):
    """Learned tokens [n, W] of one block."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self) -> Tensor:
        return self.vectors


class CoOp(pb.Method):
    """tokens(c) = [SOT, v_1, ..., v_n, name of c, EOT]   (Zhou et al., IJCV 2022)."""

    words: str = pb.hyper("a photo of a", "the vectors start as the embeddings of these words")

    def attach(self, model: pb.DualEncoder) -> None:
        model.text.set_prompt(Context(initial(model, self.words)))

    def prompts(self, classes: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[name] for name in classes]

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return len(self.words.split()) * config.text_width


class CoCoOp(CoOp):
    """v_m(x) = v_m + h(f(x)), so that a class's text depends on the clip   (Zhou et al., CVPR 2022)."""

    text_varies = "video"

    def attach(self, model: pb.DualEncoder) -> None:
        model.text.set_prompt(OfClips(initial(model, self.words), model.config.embed_dim))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        hidden, width = config.embed_dim // 16, config.text_width
        meta = config.embed_dim * hidden + hidden + hidden * width + width
        return super().expected_trainable(config) + meta


class MaPLe(CoOp):
    """The text half: before blocks 2 to `depth`, other learned tokens in the places of the context   (CVPR 2023)."""

    depth: int = pb.hyper(3, "blocks that get learned tokens", minimum=1)

    def attach(self, model: pb.DualEncoder) -> None:
        super().attach(model)
        count = len(self.words.split())
        for block in range(2, self.depth + 1):
            model.text.replace_tokens(Vectors(count, model.config.text_width), block, start=1, count=count)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return self.depth * super().expected_trainable(config)


def initial(model: pb.DualEncoder, words: str) -> Tensor:
    """The embeddings [n, W] of some words."""
    embeddings, ends = model.embed([words])
    return embeddings[0, 1 : int(ends[0])]


@pytest.fixture
def model() -> pb.DualEncoder:
    """The embedded ViCLIP."""
    return pb.create_model("viclip-tiny").eval()


@pytest.fixture
def video(model: pb.DualEncoder) -> Tensor:
    clips = torch.randn(3, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.encode_video(clips)


def encoded(model: pb.DualEncoder, method: pb.Method, video: Tensor) -> Tensor:
    """Class features as an engine asks for them: [C, D], or [B, C, D]."""
    given = video if method.text_varies == "video" else None
    return model.encode_text(pb.tokenize(CLASSES), given)


@pytest.mark.parametrize("make", [CoOp, CoCoOp, MaPLe])
def test_it_trains_what_its_formula_says_and_leaves_the_frozen_model_beneath(
    make: Callable[[], pb.Method], model: pb.DualEncoder, video: Tensor
) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        frozen = model.encode_text(pb.tokenize(CLASSES))
        named = model.encode_text(pb.tokenize([f"a photo of a {name}" for name in CLASSES]))
    method = make()
    method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(model.config)
    features = encoded(model, method, video)
    if make is CoOp:
        assert_close(features.detach(), named, atol=1e-6, rtol=1e-6)
    expected = (3, 4, 128) if make is CoCoOp else (4, 128)
    assert features.shape == expected
    step = pb.Step(model, video, features, torch.tensor([0, 1, 2]))
    step.logits = method.scores(step)
    assert step.logits.shape == (3, 4)
    method.objective(step).backward()
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.isfinite().all()) and bool(parameter.grad.any())
        assert moved == parameter.requires_grad, name
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    optimizer.step()
    with torch.no_grad():
        assert not torch.allclose(encoded(model, method, video), features, atol=1e-5)
        with model.adapters_off():
            assert torch.equal(model.encode_text(pb.tokenize(CLASSES)), frozen)
            assert torch.equal(encoded(model, method, video), frozen)
    assert model.untouched(model.video) and not model.untouched(model.text)


@pytest.mark.parametrize("make", [CoOp, CoCoOp, MaPLe])
def test_in_small_passes_it_has_equal_features_and_gradients(
    make: Callable[[], pb.Method], model: pb.DualEncoder, video: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make()
    method.attach(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def both() -> tuple[Tensor, tuple[Tensor, ...]]:
        features = encoded(model, method, video)
        return features.detach(), torch.autograd.grad(features.square().sum(), trained)

    whole = both()
    monkeypatch.setattr(towers, "LARGEST_PASS", 2 * model.config.context_length)
    assert_close(both(), whole, atol=1e-4, rtol=1e-4)


def test_its_adapter_goes_into_another_model(model: pb.DualEncoder, video: Tensor) -> None:
    other = pb.create_model("viclip-tiny").eval()
    method = CoCoOp()
    for each in (model, other):
        CoCoOp().attach(each)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
        assert not torch.equal(encoded(other, method, video), encoded(model, method, video))
        other.load_adapter_state(model.adapter_state())
        assert torch.equal(encoded(other, method, video), encoded(model, method, video))
