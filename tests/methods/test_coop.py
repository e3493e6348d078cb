"""CoOp and CoCoOp against a frozen model in whose token table the context vectors stand as words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models import towers
from petl_bench.testing.method_subject import perturb

B16 = pb.ViCLIPConfig()
CONTEXT = 4  # of `tokens`, six long, in a text tower that reads sixteen


@pytest.mark.parametrize(
    ("name", "values", "count"),
    [
        ("coop", {}, 8_192),
        ("coop", {"words": "a video of a"}, 4 * 512),
        ("cocoop", {}, 35_360),
        ("cocoop", {"words": "a video of a"}, 35_360),
        ("cocoop", {"context": 16, "reduction": 8}, 16 * 512 + 513 * 64 + 65 * 512),
    ],
)
def test_counts(name: str, values: dict[str, Any], count: int) -> None:
    method = pb.create_method(name, **values)
    assert method.expected_trainable(B16) == count
    if "words" in values:
        return  # their embeddings need data
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    assert pb.trainable_parameters(model) == count


def with_words(tokens: Tensor, vectors: Tensor) -> Tensor:
    """Features [C, D] of texts with these vectors behind their start, by a frozen model that knows them as words."""
    torch.manual_seed(0)
    model = pb.DualEncoder(pb.ViCLIPConfig(**SHAPE)).eval()
    ids = torch.arange(70, 70 + len(vectors))
    with torch.no_grad():
        wide = torch.cat([model.token_embedding_parameter[:63], torch.zeros(37, 48), vectors.new_zeros(1, 48)])
        wide[100], wide[ids] = model.token_embedding_parameter[63], vectors
    other = pb.DualEncoder(pb.ViCLIPConfig(**{**SHAPE, "vocab_size": 101})).eval()
    own = {name: value for name, value in model.state_dict().items() if "token_embedding" not in name}
    other.load_state_dict({**own, "text.token_embedding.weight": wide})
    texts = torch.where(tokens == 63, 100, tokens)
    texts = torch.cat([texts[:, :1], ids.expand(len(tokens), -1), texts[:, 1:]], dim=1)
    with torch.no_grad():
        return other.encode_text(texts)


SHAPE: dict[str, Any] = {
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


def test_coop_is_a_text_with_the_vectors_as_words(small: pb.DualEncoder, tokens: Tensor) -> None:
    pb.create_method("coop", context=CONTEXT).attach(small)
    perturb(small)
    with torch.no_grad():
        found = small.encode_text(tokens)
    assert_close(found, with_words(tokens, small.text.prompt.vectors.detach()), atol=1e-5, rtol=1e-4)


def test_cocoop_has_vectors_of_each_clip(small: pb.DualEncoder, tokens: Tensor) -> None:
    pb.create_method("cocoop").attach(small)
    first, _, second = small.text.prompt.meta
    torch.nn.init.normal_(second.weight)  # so that clips differ
    video = torch.randn(5, 32)
    with torch.no_grad():
        found = small.encode_text(tokens, video)
        unit = video / video.norm(dim=1, keepdim=True)
        hidden = (unit @ first.weight.T + first.bias).clamp(min=0)
        shift = hidden @ second.weight.T + second.bias
        expected = [with_words(tokens, small.text.prompt.vectors + of_clip) for of_clip in shift]
    assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_cocoop_in_parts_gives_equal_features_and_gradients(
    small: pb.DualEncoder, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pb.create_method("cocoop").attach(small)
    video = torch.randn(5, 32)
    whole = features_and_gradients(small, tokens, video)
    monkeypatch.setattr(towers, "LARGEST_PASS", 2 * 16)  # two texts at a time
    for one, other in zip(whole, features_and_gradients(small, tokens, video), strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-3)


def features_and_gradients(model: pb.DualEncoder, tokens: Tensor, video: Tensor) -> list[Tensor]:
    model.zero_grad()
    features = model.encode_text(tokens, video)
    features.sin().sum().backward()
    trained = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    return [features.detach(), *(gradient.clone() for gradient in trained if gradient is not None)]


@pytest.mark.parametrize("name", ["coop", "cocoop"])
def test_the_name_and_a_full_stop_follow_the_context(name: str) -> None:
    method = pb.create_method(name)
    assert method.prompts(["running", "high jump"]) == [["running."], ["high jump."]]


def test_it_starts_at_the_prompt_that_its_words_make() -> None:
    classes = ["jumping", "playing tennis"]
    frozen, model = pb.create_model("viclip-tiny"), pb.create_model("viclip-tiny")
    method = pb.create_method("coop", words="a video of")
    method.attach(model)
    own = pb.tokenize([text for texts in method.prompts(classes) for text in texts], 32)
    prompts = pb.tokenize([f"a video of {name}." for name in classes], 32)
    with torch.no_grad():
        assert_close(model.encode_text(own), frozen.encode_text(prompts), atol=1e-5, rtol=1e-4)
    assert functional.normalize(model.text.prompt.vectors).shape == (3, 128)


def test_random_vectors_are_small(small: pb.DualEncoder) -> None:
    pb.create_method("coop", context=13).attach(small)
    assert 0.015 < small.text.prompt.vectors.std().item() < 0.025


def test_a_context_without_room_for_a_name_is_refused(small: pb.DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match=r"coop: 14 context vectors, but the text tower reads 16 .*at most 13"):
        pb.create_method("coop", context=14).attach(small)


def test_a_name_that_is_too_long_beside_the_context_is_told(small: pb.DualEncoder, tokens: Tensor) -> None:
    pb.create_method("coop", context=12).attach(small)
    with pytest.raises(pb.UsageError, match=r"18 long, but the text tower reads 16: use at least 2 fewer context"):
        small.encode_text(tokens)


@pytest.mark.parametrize("name", ["coop", "cocoop"])
def test_no_words_are_refused(name: str) -> None:
    with pytest.raises(pb.UsageError, match=rf"{name}\.words: no words in ' '"):
        pb.create_method(name, words=" ")


def test_a_reduction_to_nothing_is_refused(small: pb.DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match=r"cocoop\.reduction=64: the features have 32 channels"):
        pb.create_method("cocoop", reduction=64).attach(small)
