"""Full fine-tuning and zero-shot: what trains, and what does not."""

from __future__ import annotations

import pytest

import petl_bench as pb


@pytest.mark.parametrize(
    ("values", "frozen_prefixes"),
    [
        ({}, ("text.token_embedding",)),
        ({"token_embedding": True}, ("nothing",)),
        ({"towers": "video", "token_embedding": True}, ("text.",)),
        ({"towers": "text", "temperature": False}, ("video.", "temperature", "text.token_embedding")),
    ],
)
def test_only_the_chosen_weights_train(
    small: pb.DualEncoder, values: dict[str, object], frozen_prefixes: tuple[str, ...]
) -> None:
    pb.create_method("full_finetune", **values).attach(small)
    for name, parameter in small.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen_prefixes), name


def test_zero_shot_trains_nothing_in_every_setting(small: pb.DualEncoder) -> None:
    method = pb.create_method("zero_shot")
    method.attach(small)
    assert pb.trainable_parameters(small) == 0
    assert all(recipe.training == {"epochs": 0} for recipe in method.recipes)
