"""What "frozen" means: which parts of a model are known to compute what its loaded weights compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.transformer import Block
from tests.models.conftest import SMALL_VICLIP


class Doing(pb.Method):
    """A method whose attach is given."""

    def __init__(self, what: Callable[[DualEncoder], Any]) -> None:
        self._what = what

    def attach(self, model: DualEncoder) -> None:
        self._what(model)


class Keeping(Doing):
    """One that reads the original model."""

    reads_original = True

    def __init__(self, what: Callable[[DualEncoder], Any]) -> None:
        super().__init__(what)


class Random(nn.Module):
    """Changes what it reads at random, without a parameter."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class OtherBlock(Block):
    """A block that computes something else."""

    def compute(self, x: Tensor, grid: Any, normed: Tensor | None) -> Tensor:
        return 2 * x


def patch_compute(model: DualEncoder) -> None:
    block = model.text.blocks[1]
    block.compute = MethodType(lambda self, x, grid, normed: 2 * x, block)


def patch_forward(model: DualEncoder) -> None:
    model.text.blocks[1].attention.forward = lambda x, grid=None, normed=None: x


def write_through_data(model: DualEncoder) -> None:
    model.text.blocks[1].attention.q.base.weight.data[0, 0] += 1e-6


@torch.no_grad()
def write_in_place(model: DualEncoder) -> None:
    model.text.blocks[1].feedforward.norm.bias.add_(1.0)


@torch.no_grad()
def swap_rows(model: DualEncoder) -> None:
    weight = model.text.blocks[1].feedforward.fc.base.weight
    weight.copy_(weight.flip(0))


def another_class(model: DualEncoder) -> None:
    model.text.blocks[1].__class__ = OtherBlock


def another_module(model: DualEncoder) -> None:
    model.text.blocks[1].attention.norm = nn.LayerNorm(48)


def bare_module(model: DualEncoder) -> None:
    model.text.blocks[1].parallel = nn.ModuleList([Random()])


#: Does something to the second text block: how, and whether adapters_off() can still give the frozen model.
TOUCHES: dict[str, tuple[Callable[[DualEncoder], Any], bool]] = {
    "a site without parameters": (lambda model: model.text.blocks[1].add_after(Random()), True),
    "a bare module in the list of a site": (bare_module, True),
    "a module of another kind added": (lambda model: model.text.blocks[1].add_module("more", Random()), True),
    "a replaced linear": (lambda model: model.text.blocks[1].attention.q.replace(nn.Linear(48, 48)), True),
    "a hook": (lambda model: model.text.blocks[1].register_forward_hook(lambda *_: None), True),
    "a weight that trains": (lambda model: model.text.blocks[1].requires_grad_(True), True),
    "a patched compute": (patch_compute, False),
    "a patched forward": (patch_forward, False),
    "a weight written through data": (write_through_data, False),
    "a weight written in place": (write_in_place, False),
    "rows of a weight in another order": (swap_rows, False),
    "another class": (another_class, False),
    "another module in the place of one": (another_module, False),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_what_a_method_does_to_a_block_touches_it_and_its_tower_alone(
    viclip: DualEncoder, tokens: Tensor, touch: str
) -> None:
    do, can_be_switched_off = TOUCHES[touch]
    frozen = viclip.eval().encode_text(tokens)
    Doing(do).attach(viclip)
    assert not viclip.untouched(viclip.text) and not viclip.untouched(viclip.text.blocks[1])
    assert viclip.untouched(viclip.video) and viclip.untouched(viclip.text.blocks[0])
    prepared = viclip.prepare_text(tokens)
    assert not isinstance(prepared, Tensor) and prepared.blocks == 1
    if can_be_switched_off:
        with viclip.adapters_off():
            assert torch.equal(viclip.encode_text(tokens), frozen)
    else:
        with (
            pytest.raises(pb.UsageError, match=r"text\.blocks\.1.*reads_original = True.*model\.original"),
            viclip.adapters_off(),
        ):
            pass


def test_a_patched_tower_is_touched_and_its_texts_are_not_prepared(viclip: DualEncoder, tokens: Tensor) -> None:
    def attach(model: DualEncoder) -> None:
        model.text.forward = lambda tokens: torch.zeros(len(tokens), 32)

    Doing(attach).attach(viclip)
    assert not viclip.untouched(viclip.text)
    assert viclip.prepare_text(tokens) is tokens


def test_what_changes_no_number_leaves_a_tower_untouched(viclip: DualEncoder, frames: Tensor) -> None:
    Doing(lambda model: model.blocks("video")[0].add_parallel(nn.Linear(64, 64))).attach(viclip)
    viclip.load_adapter_state(viclip.adapter_state())
    viclip.train().eval().to("cpu").double().float()
    for block in viclip.blocks("text"):
        block.compile()
    viclip.encode_video(frames).sum().backward()
    assert viclip.untouched(viclip.text) and not viclip.untouched(viclip.video)
    assert copy.deepcopy(viclip).untouched(viclip.text) is False, "parts of another model are not known"
    twin = copy.deepcopy(viclip)
    assert twin.untouched(twin.text) and not twin.untouched(twin.video)


def test_before_a_method_is_attached_frozen_weights_are_untouched_whatever_they_are(
    viclip: DualEncoder, viclip_state: dict[str, Tensor]
) -> None:
    assert not viclip.untouched(viclip.text), "a new model's weights train"
    viclip.requires_grad_(False)
    write_in_place(viclip)
    assert viclip.untouched(viclip.text)
    viclip.text.blocks[1].add_after(Random())
    assert not viclip.untouched(viclip.text)


def test_weights_that_are_loaded_under_a_method_are_the_frozen_ones(
    viclip: DualEncoder, viclip_state: dict[str, Tensor], tokens: Tensor
) -> None:
    model = DualEncoder(SMALL_VICLIP)
    Keeping(lambda model: model.text.blocks[1].add_after(Random())).attach(model)
    model.load_published_state_dict(viclip_state)
    wanted = viclip.encode_text(tokens)
    with model.adapters_off():
        assert torch.equal(model.encode_text(tokens), wanted)
    assert torch.equal(model.original.encode_text(tokens), wanted)
    assert model.untouched(model.video)


def test_a_replacement_that_is_taken_out_leaves_the_tower_untouched(viclip: DualEncoder) -> None:
    Doing(lambda model: model.text.blocks[1].attention.q.replace(nn.Linear(48, 48))).attach(viclip)
    viclip.text.blocks[1].attention.q.restore()
    assert viclip.untouched(viclip.text)


def test_tuned_weights_are_not_given_as_the_frozen_model(viclip: DualEncoder, tokens: Tensor) -> None:
    frozen = viclip.encode_text(tokens)
    Doing(lambda model: model.text.requires_grad_(True)).attach(viclip)
    strings = ["a video"]
    with viclip.adapters_off():
        assert torch.equal(viclip.encode_text(tokens), frozen), "before the first step it is the frozen model"
    optimizer = torch.optim.SGD(viclip.text.parameters(), lr=0.1)
    viclip.encode_text(tokens).sum().backward()
    optimizer.step()
    for read in (viclip.adapters_off().__enter__, lambda: viclip.frozen_text(strings)):
        with pytest.raises(pb.UsageError, match="no longer the loaded one; declare reads_original = True"):
            read()


def test_a_frozen_weight_that_is_written_to_later_is_found(viclip: DualEncoder) -> None:
    Doing(lambda model: None).attach(viclip)
    with viclip.adapters_off():
        pass
    write_in_place(viclip)
    with pytest.raises(pb.UsageError, match=r"text\.blocks\.1\.feedforward\.norm\.bias is no longer"):
        viclip.adapters_off().__enter__()


def test_the_original_is_kept_beside_the_model_and_is_no_part_of_it(viclip: DualEncoder, tokens: Tensor) -> None:
    frozen, names = viclip.encode_text(tokens), list(viclip.state_dict())
    parameters = pb.trainable_parameters(viclip)
    Keeping(lambda model: model.requires_grad_(True)).attach(viclip)
    original = viclip.original
    assert pb.trainable_parameters(viclip) == parameters and list(viclip.state_dict()) == names
    assert original not in list(viclip.modules()) and not any("original" in name for name in viclip.adapter_state())
    viclip.train()
    assert not original.training and not any(parameter.requires_grad for parameter in original.parameters())
    with torch.no_grad():
        for parameter in viclip.parameters():
            parameter.mul_(1.5)
    assert torch.equal(viclip.original.encode_text(tokens), frozen)
    assert not torch.allclose(viclip.encode_text(tokens), frozen)
    with viclip.frozen() as model:
        assert model is original
    assert original.untouched(original.text)
    viclip.double()
    assert viclip.original.temperature.dtype == torch.float64
    viclip.to("meta")
    assert viclip.original.temperature.is_meta


def test_the_original_is_kept_only_for_a_method_that_reads_it(viclip: DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match="reads_original = True"):
        _ = viclip.original
    Doing(lambda model: None).attach(viclip)
    with pytest.raises(pb.UsageError, match="not kept for the method Doing; declare reads_original = True"):
        _ = viclip.original


class Bag(nn.Module):
    """A batch norm that several sites share, with a frozen weight and a buffer that lies in a parameter's memory."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.frozen = nn.Parameter(torch.ones(width), requires_grad=False)
        self.register_buffer("alias", self.norm.weight.detach())
        self.register_buffer("mean_again", self.norm.running_mean)
        self.register_buffer("same_memory", self.norm.running_var.view(-1))
        self.register_buffer("table", torch.ones(width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return normed * self.frozen * self.table


def test_the_state_is_what_trains_and_buffers_of_what_is_attached_each_once(frames: Tensor) -> None:
    def attach(model: DualEncoder) -> None:
        shared = Bag(64)
        for block in model.blocks("video"):
            block.add_parallel(shared)
        model.text.norm_final.requires_grad_(True)

    models = [DualEncoder(SMALL_VICLIP) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        Doing(attach).attach(model)
    models[0].train().encode_video(frames)
    state = models[0].adapter_state()
    bag = "video.blocks.0.parallel.0.module"
    assert set(state) == {
        *(f"{bag}.norm.{name}" for name in ("weight", "bias", "num_batches_tracked")),
        f"{bag}.mean_again",  # the first names of the running statistics
        f"{bag}.same_memory",
        "text.norm_final.weight",
        "text.norm_final.bias",
    }
    assert state[f"{bag}.norm.num_batches_tracked"] == 3
    models[1].load_adapter_state(state)
    one, other = (model.eval().encode_video(frames) for model in models)
    assert torch.equal(one, other)


def test_the_base_that_a_replacement_holds_is_not_saved(viclip: DualEncoder) -> None:
    pb.create_method("lora", rank=8).attach(viclip)
    own = {name: tensor.numel() for name, tensor in viclip.adapter_state().items()}
    assert all("lora_" in name for name in own)
    linears = 2 * 3  # q and v of three blocks in each tower
    assert sum(own.values()) == linears * 8 * 2 * 64 + linears * 8 * 2 * 48 == pb.trainable_parameters(viclip)
