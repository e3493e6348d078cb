"""Parts of the training loop: what is optimised, what is computed once, how accuracy counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.values.fields import field_types
from petl_bench.models.towers import like_lengths
from petl_bench.testing.method_subject import bound
from petl_bench.training.evaluate import Scored, evaluation_result, top_k_accuracy
from petl_bench.training.step import make_optimizer
from petl_bench.training.text import TextFeatures, description_features

CONFIG = pb.ViCLIPConfig(
    image_size=32, num_frames=4, embed_dim=32, vision_width=64, vision_layers=2, vision_heads=2, text_width=32,
    text_layers=2, text_heads=2,
)  # fmt: skip
#: Of those methods that have such a field.
SMALL = {"rank": 2, "bottleneck_dim": 8, "first_layer": 1}
#: Those that ViCLIP hosts.
ATTACHED = [name for name in METHODS.names() if not METHODS.get(name).hosted_by(BACKBONES.get("viclip-tiny"))]


def attached(name: str) -> pb.DualEncoder:
    model = pb.create_model(CONFIG)
    takes = field_types(METHODS.get(name))
    bound(pb.create_method(name, **{field: value for field, value in SMALL.items() if field in takes})).attach(model)
    return model


@pytest.mark.parametrize("weight_decay", [1e-3, 0.0])
@pytest.mark.parametrize("name", [name for name in ATTACHED if name not in ("zero_shot", "tip_adapter")])
def test_the_optimiser_has_the_trained_matrices_with_decay_and_then_the_rest_without(
    name: str, weight_decay: float
) -> None:
    model = attached(name)
    optimizer = make_optimizer(model, TrainingOptions(weight_decay=weight_decay))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The order of checkpoints and of the gradient's norm: another one could not go on from earlier checkpoints.
    expected = [
        ([p for p in trained if p.ndim >= 2], weight_decay),
        ([p for p in trained if p.ndim < 2], 0.0),
    ]
    expected = [(parameters, decay) for parameters, decay in expected if parameters]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [decay for _, decay in expected]
    for group, (parameters, _) in zip(optimizer.param_groups, expected, strict=True):
        assert list(map(id, group["params"])) == list(map(id, parameters))


@pytest.mark.parametrize(("name", "calls"), [("vision_adapter", 1), ("text_adapter", 3)])
def test_text_features_of_frozen_text_are_computed_once(name: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = attached(name)
    count = 0
    encode = model.encode_text

    def counted(tokens: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return encode(tokens)

    monkeypatch.setattr(model, "encode_text", counted)
    features = TextFeatures(model, pb.tokenize(["a video of pour.", "a video of jump."]))
    for _ in range(3):
        features()
    assert count == calls


class RandomText(pb.Method):
    """Text that is another one every time, without a parameter."""

    def attach(self, model: pb.DualEncoder) -> None:
        model.blocks("text")[-1].add_after(torch.nn.Dropout(0.5))


def test_text_features_behind_a_site_are_computed_anew_also_if_nothing_in_it_trains() -> None:
    model = pb.create_model(CONFIG)
    RandomText().attach(model)
    features = TextFeatures(model.train(), pb.tokenize(["a video of pour.", "a video of jump."]))
    assert not torch.equal(features(), features())


@pytest.mark.parametrize("keeps", [False, True])
def test_description_features_are_those_of_the_loaded_weights(keeps: bool) -> None:
    class Tuning(pb.Method):
        reads_original = keeps

        def attach(self, model: pb.DualEncoder) -> None:
            model.text.requires_grad_(True)

    model = pb.create_model(CONFIG).eval()
    Tuning().attach(model)
    sentences = {"spatial": {"jump": ["a person jumps over sand", "sand"], "pour": ["water falls"]}}

    def described() -> torch.Tensor:
        return description_features(model, sentences, ["jump", "pour"], torch.device("cpu"))["spatial"]

    before = described()
    assert before.shape == (2, CONFIG.embed_dim) and not before.requires_grad
    with torch.no_grad():
        model.text.projection.mul_(2)
    if keeps:
        assert torch.equal(described(), before)
    else:
        with pytest.raises(pb.UsageError, match=r"text\.projection is no longer the loaded one"):
            described()


@pytest.mark.parametrize(
    ("method", "hyper", "kept"),
    [
        ("full_finetune", {}, None),
        ("text_adapter", {"bottleneck_dim": 8, "first_layer": 2}, 1),
        ("lora", {"rank": 2}, 0),
    ],
)
def test_text_behind_the_first_block_that_trains_has_the_same_features_and_gradients(
    method: str, hyper: dict[str, int], kept: int | None
) -> None:
    torch.manual_seed(0)
    model = pb.create_model(CONFIG)
    pb.create_method(method, **hyper).attach(model.eval())
    tokens = pb.tokenize(["a video of pour.", "a video of a long jump over sand.", "jump", "a video of pour."])
    prepared = model.prepare_text(tokens)
    assert (None if isinstance(prepared, torch.Tensor) else prepared.blocks) == kept
    trained = [parameter for name, parameter in model.named_parameters() if parameter.requires_grad and "text" in name]
    left, right = model.encode_text(prepared), model.encode_text(tokens)
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(
        *(torch.autograd.grad(features.square().sum(), trained, allow_unused=True) for features in (left, right))
    )


def test_text_goes_in_passes_of_like_length_that_cost_least() -> None:
    lengths = [7] * 30 + [8] * 200 + [9] + [13]
    assert like_lengths(lengths, 16) == [(0, 30), (30, 230), (230, 232)]
    assert like_lengths(lengths, 10**6) == [(0, 232)]
    assert like_lengths([32] * 600, 16) == [(0, 256), (256, 512), (512, 600)]


def test_top_k_counts_ties_against_the_label() -> None:
    scores = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], dtype=np.float32)
    assert top_k_accuracy([0, 1, 1], scores, 1) == pytest.approx(100 / 3)
    assert top_k_accuracy([0, 1, 1], scores, 2) == 100.0


def test_an_evaluation_has_its_mean_class_accuracy() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    samples = tuple(pb.Sample(f"{row}.mp4", label) for row, label in enumerate([0, 0, 0, 1]))
    scored = Scored([0, 1, 2, 3], [sample.clip for sample in samples], [0, 0, 0, 1], scores)
    result = evaluation_result(pb.Evaluation("test", ("a", "b"), samples), scored, [], [], {})
    assert result.accuracies == {"top1": 50.0, "top5": 100.0, "mean_class_top1": pytest.approx(100 * (2 / 3 + 0) / 2)}


@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 10**6))
def test_top_1_equals_argmax_where_nothing_ties(clips: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(clips * classes).reshape(clips, classes).astype(np.float32)
    labels = rng.integers(0, classes, clips)
    assert top_k_accuracy(list(labels), scores, 1) == pytest.approx(100 * float((scores.argmax(1) == labels).mean()))
    assert top_k_accuracy(list(labels), scores, classes) == 100.0
