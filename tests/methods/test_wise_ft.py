"""WiSE-FT: the mean of the weights, and its curve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.testing.method_subject import perturb

POINTS = [f"alpha={point / 10}" for point in range(11)]


def finished(model: pb.DualEncoder, **values: Any) -> tuple[pb.Method, dict[str, Tensor]]:
    """The method after `finish`, and the weights before it: theta_1."""
    method = pb.create_method("wise_ft", **values)
    method.attach(model)
    perturb(model)
    tuned = model.adapter_state()
    method.finish(model, None)  # type: ignore[arg-type]
    return method, tuned


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
def test_finish_leaves_the_mean_of_the_weights(small: pb.DualEncoder, alpha: float) -> None:
    loaded = {name: value.clone() for name, value in small.state_dict().items()}
    _, tuned = finished(small, alpha=alpha)
    for name, value in small.adapter_state().items():
        assert_close(value, (1 - alpha) * loaded[name] + alpha * tuned[name], atol=1e-7, rtol=1e-6)
    frozen = small.token_embedding_parameter
    assert torch.equal(frozen, loaded["text.token_embedding.weight"])


def test_the_curve_goes_from_the_loaded_to_the_tuned_weights(small: pb.DualEncoder) -> None:
    loaded = {name: value.clone() for name, value in small.state_dict().items()}
    method, tuned = finished(small)
    curve = method.variants(small)
    assert list(curve) == POINTS
    headline = small.adapter_state()
    for (name, context), weight in zip(curve.items(), torch.linspace(0, 1, 11), strict=True):
        with context:
            for key, value in small.adapter_state().items():
                assert_close(value, (1 - weight) * loaded[key] + weight * tuned[key], atol=1e-6, rtol=1e-5)
                assert name != "alpha=0.0" or torch.equal(value, loaded[key])
                assert name != "alpha=0.5" or torch.equal(value, headline[key])
    after = small.adapter_state()
    assert all(torch.equal(after[key], headline[key]) for key in headline)


def test_weights_are_put_back_after_an_error(small: pb.DualEncoder) -> None:
    method, _ = finished(small)
    headline = small.adapter_state()
    with pytest.raises(KeyboardInterrupt), method.variants(small)["alpha=0.0"]:
        raise KeyboardInterrupt
    after = small.adapter_state()
    assert all(torch.equal(after[key], headline[key]) for key in headline)


def test_the_original_is_zero_shot(small: pb.DualEncoder, frames: Tensor) -> None:
    with torch.no_grad():
        before = small.encode_video(frames)
        method, _ = finished(small)
        assert not torch.allclose(small.encode_video(frames), before, atol=1e-3)
        with method.variants(small)["alpha=0.0"]:
            assert torch.equal(small.encode_video(frames), before)


def test_count_is_that_of_full_fine_tuning() -> None:
    assert pb.create_method("wise_ft").expected_trainable(pb.ViCLIPConfig()) == 124_306_945


def test_its_recipes_are_those_of_full_fine_tuning_and_not_tuned_for_it() -> None:
    mine, theirs = (type(pb.create_method(name)).recipes for name in ("wise_ft", "full_finetune"))
    assert [(each.setting, each.backbone, each.training) for each in mine] == [
        (each.setting, each.backbone, each.training) for each in theirs
    ]
    assert not any(each.tuned for each in mine)
