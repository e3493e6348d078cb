"""ST-Adapter against the public implementation's numbers, on CLIP's order of tokens and on ViCLIP's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import petl_bench as pb
from petl_bench.api.registry import SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.methods._convolutions import SpatioTemporalAdapter
from petl_bench.models import transformer
from petl_bench.models.grid import Grid, from_volume, to_volume
from petl_bench.models.sites import AdapterSwitch
from petl_bench.testing.method_subject import perturb

Golden = Callable[[str], dict[str, Tensor]]
#: The golden's clips: four frames of 3 x 3 patches, a sequence for each frame.
GRID = Grid(4, 3, 3, joint=False)
BLOCK_NAMES = {
    "attention.norm": "ln_1",
    "attention.out.base": "attn.out_proj",
    "feedforward.norm": "ln_2",
    "feedforward.fc.base": "mlp.c_fc",
    "feedforward.proj.base": "mlp.c_proj",
}


def adapter_with(tensors: dict[str, Tensor], prefix: str) -> SpatioTemporalAdapter:
    adapter = SpatioTemporalAdapter(64, 16)
    adapter.load_state_dict({name: tensors[f"{prefix}{name}"] for name in adapter.state_dict()})
    return adapter


def block_with(tensors: dict[str, Tensor]) -> transformer.Block:
    block = transformer.Block("video", 1, 64, 4, AdapterSwitch()).eval()
    state = {f"{mine}.{kind}": tensors[f"{theirs}.{kind}"] for mine, theirs in BLOCK_NAMES.items() for kind in KINDS}
    for kind in KINDS:
        parts = tensors[f"attn.in_proj_{kind}"].chunk(3)
        state.update({f"attention.{name}.base.{kind}": part for name, part in zip("qkv", parts, strict=True)})
    block.load_state_dict(state)
    return block


KINDS = ("weight", "bias")


def test_adapter(golden: Golden) -> None:
    numbers = golden("st_adapter")
    output = adapter_with(numbers, "sd.")(numbers["in.x_BT_L_C"], GRID)
    torch.testing.assert_close(output, numbers["out.y"], atol=2e-5, rtol=1e-4)


def test_block_with_an_adapter_before_attention_and_one_before_the_feed_forward(golden: Golden) -> None:
    numbers = golden("st_adapter")
    block = block_with({k.removeprefix("block.sd."): v for k, v in numbers.items() if k.startswith("block.sd.")})
    block.add_before(adapter_with(numbers, "block.sd.adapter_pre_attn."), with_grid=True)
    block.middle.add_before(adapter_with(numbers, "block.sd.adapter_pre_mlp."), with_grid=True)
    output = block(numbers["block.in.x"], GRID)
    torch.testing.assert_close(output, numbers["block.out.y"], atol=2e-5, rtol=1e-4)


def test_patches_are_adapted_alike_in_either_order_of_tokens(golden: Golden) -> None:
    numbers = golden("st_adapter")
    adapter, x = adapter_with(numbers, "sd."), numbers["in.x_BT_L_C"]
    joint = Grid(4, 3, 3, joint=True)
    output = adapter(from_volume(to_volume(x, GRID), joint, torch.ones(2, 1, 64)), joint)
    torch.testing.assert_close(to_volume(output, joint), to_volume(numbers["out.y"], GRID), atol=2e-5, rtol=1e-4)
    assert torch.equal(output[:, 0], torch.ones(2, 64))


@pytest.mark.parametrize(("places", "on_block", "on_middle"), [("block", 1, 0), ("feedforward", 0, 1), ("both", 1, 1)])
def test_places(small: pb.DualEncoder, places: str, on_block: int, on_middle: int) -> None:
    pb.create_method("st_adapter", places=places, bottleneck_dim=8).attach(small)
    for block in small.blocks("video"):
        assert (len(block.before or ()), len(block.middle.before or ())) == (on_block, on_middle)
    assert small.text_is_untouched


def test_only_the_class_token_s_way_ends_behind_the_last_feed_forward(small: pb.DualEncoder, frames: Tensor) -> None:
    """Which adapter never learns, as the option's meaning says."""
    pb.create_method("st_adapter", places="feedforward", bottleneck_dim=8).attach(small)
    perturb(small)
    torch.autograd.backward(small.encode_video(frames).square().sum())
    moved = [block.middle.before[0].module.fc1.weight.grad is not None for block in small.blocks("video")]
    assert moved[:2] == [True, True]
    last = small.blocks("video")[-1].middle.before[0].module.fc1.weight.grad
    assert last is None or not last.any()


def test_learning_rates_are_those_of_the_authors_in_proportion_to_the_batch() -> None:
    recipes = {each.setting: each for each in type(pb.create_method("st_adapter")).recipes if each.backbone is None}
    for name, recipe in recipes.items():
        batch = TrainingOptions(**SETTINGS.get(name).training).batch_size
        assert recipe.training["learning_rate"] == 1e-3 * batch / 256
