"""Where modules act, what they read, and that the frozen model is always there underneath."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.grid import Grid, from_volume, to_volume
from tests.models.conftest import SMALL_CLIP, SMALL_VICLIP


class Recorder(nn.Module):
    """A module that keeps what it was given, and returns a linear map of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.seen: list[tuple[Tensor, Grid | None]] = []

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        self.seen.append((x, grid))
        output: Tensor = self.linear(x)
        return output


class Doing(pb.Method):
    """A method whose attach is given."""

    def __init__(self, what: Callable[[DualEncoder], None]) -> None:
        self._what = what

    def attach(self, model: DualEncoder) -> None:
        self._what(model)


GRID = Grid(4, 2, 2, True)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 17, 64, generator=torch.Generator().manual_seed(1))


SITES = {
    "block": lambda block: block,
    "attention": lambda block: block.attention,
    "feedforward": lambda block: block.feedforward,
}


@pytest.mark.parametrize("which", SITES)
def test_parallel_reads_the_input_and_is_scaled(viclip: DualEncoder, x: Tensor, which: str) -> None:
    site, module = SITES[which](viclip.blocks("video")[0]), Recorder(64)
    frozen = site(x, GRID)
    site.add_parallel(module, scale=0.5)
    assert_close(site(x, GRID), frozen + 0.5 * module.linear(x))


@pytest.mark.parametrize("which", SITES)
def test_a_normed_parallel_module_reads_the_sites_first_norm(viclip: DualEncoder, x: Tensor, which: str) -> None:
    block = viclip.blocks("video")[0]
    site, module = SITES[which](block), Recorder(64)
    norm = block.feedforward.norm if which == "feedforward" else block.attention.norm
    frozen = site(x, GRID)
    site.add_parallel(module, scale=2.0, normed=True)
    assert_close(site(x, GRID), frozen + 2.0 * module.linear(norm(x)))


@pytest.mark.parametrize("which", SITES)
def test_the_norm_is_computed_once_for_the_branch_and_its_normed_modules(
    viclip: DualEncoder, x: Tensor, which: str
) -> None:
    block = viclip.blocks("video")[0]
    norm = block.feedforward.norm if which == "feedforward" else block.attention.norm
    calls: list[int] = []
    norm.register_forward_hook(lambda *_: calls.append(1))
    site = SITES[which](block)
    site.add_parallel(Recorder(64), normed=True)
    site.add_parallel(Recorder(64), normed=True)
    site(x, GRID)
    assert len(calls) == 1


@pytest.mark.parametrize("which", SITES)
def test_before_changes_what_the_site_reads(viclip: DualEncoder, x: Tensor, which: str) -> None:
    site, module = SITES[which](viclip.blocks("video")[0]), Recorder(64)
    expected = site(module.linear(x), GRID)
    site.add_before(module)
    assert_close(site(x, GRID), expected)


def test_before_and_normed_parallel_together(viclip: DualEncoder, x: Tensor) -> None:
    site, before, parallel = viclip.blocks("video")[0].attention, Recorder(64), Recorder(64)
    expected = site(before.linear(x), GRID) + parallel.linear(site.norm(x))
    site.add_before(before)
    site.add_parallel(parallel, normed=True)
    assert_close(site(x, GRID), expected)


@pytest.mark.parametrize("which", SITES)
def test_after_reads_the_output(viclip: DualEncoder, x: Tensor, which: str) -> None:
    site, module = SITES[which](viclip.blocks("video")[0]), Recorder(64)
    y = site(x, GRID)
    site.add_after(module, scale=0.1)
    assert_close(site(x, GRID), y + 0.1 * module.linear(y))


def test_several_modules_at_one_site_add_up_in_order(viclip: DualEncoder, x: Tensor) -> None:
    site = viclip.blocks("video")[0].feedforward
    first, second, after = Recorder(64), Recorder(64), Recorder(64)
    y = site(x, GRID) + first.linear(x) + 0.5 * second.linear(x)
    site.add_parallel(first)
    site.add_after(after)
    site.add_parallel(second, scale=0.5)
    assert_close(site(x, GRID), y + after.linear(y))


def test_a_learned_scale_gets_a_gradient(viclip: DualEncoder, x: Tensor) -> None:
    scale = nn.Parameter(torch.tensor(0.1))
    viclip.blocks("video")[0].add_parallel(Recorder(64), scale=scale)
    viclip.blocks("video")[0](x, GRID).square().sum().backward()
    assert scale.grad is not None and scale.grad.abs() > 0
    assert any(parameter is scale for parameter in viclip.parameters())


@pytest.mark.parametrize(("tower", "frames_seen"), [("video", 4), ("text", None)])
def test_with_grid_passes_the_grid_of_the_video(
    viclip: DualEncoder, frames: Tensor, tokens: Tensor, tower: str, frames_seen: int | None
) -> None:
    block = viclip.blocks(tower)[0]
    at_block, at_branch = Recorder(block.width), Recorder(block.width)
    block.add_parallel(at_block, with_grid=True)
    block.feedforward.add_after(at_branch, with_grid=True)
    viclip.encode_video(frames)
    viclip.encode_text(tokens)
    for module in (at_block, at_branch):
        [(_, grid)] = module.seen
        assert grid == (None if frames_seen is None else Grid(4, 2, 2, True))


@pytest.mark.parametrize("linear", ["q", "k", "v", "out", "fc", "proj"])
def test_every_linear_can_be_replaced_and_restored(viclip: DualEncoder, frames: Tensor, linear: str) -> None:
    block = viclip.blocks("video")[1]
    site = getattr(block.feedforward if linear in ("fc", "proj") else block.attention, linear)
    frozen = viclip.encode_video(frames)
    site.replace(nn.Linear(site.base.in_features, site.base.out_features))
    assert not torch.allclose(viclip.encode_video(frames), frozen, atol=1e-3)
    with pytest.raises(pb.UsageError, match="already has a replacement"):
        site.replace(nn.Identity())
    site.restore()
    assert torch.equal(viclip.encode_video(frames), frozen)


def attach_everywhere(model: DualEncoder) -> None:
    for block in model.blocks():
        block.add_parallel(Recorder(block.width), scale=0.3, normed=True)
        block.attention.add_before(Recorder(block.width))
        block.feedforward.add_after(Recorder(block.width))
        block.attention.q.replace(nn.Linear(block.width, block.width))


@pytest.mark.parametrize("which", ["viclip", "clip"])
def test_adapters_off_gives_the_frozen_model_bit_for_bit(
    which: str, request: pytest.FixtureRequest, frames: Tensor, tokens: Tensor
) -> None:
    model = request.getfixturevalue(which)
    video, text = model.encode_video(frames), model.encode_text(tokens)
    Doing(attach_everywhere).attach(model)
    adapted = model.encode_video(frames)
    assert not torch.allclose(adapted, video, atol=1e-3)
    with model.adapters_off():
        with model.adapters_off():
            assert torch.equal(model.encode_video(frames), video)
        assert torch.equal(model.encode_text(tokens), text)
    assert torch.equal(model.encode_video(frames), adapted)


def test_adapters_come_back_after_an_error_inside(viclip: DualEncoder, frames: Tensor) -> None:
    Doing(attach_everywhere).attach(viclip)
    adapted = viclip.encode_video(frames)
    with pytest.raises(RuntimeError), viclip.adapters_off():
        raise RuntimeError
    assert torch.equal(viclip.encode_video(frames), adapted)


def test_attach_freezes_everything_else_and_shared_modules_count_once(viclip: DualEncoder) -> None:
    shared = nn.Linear(8, 8)

    def attach(model: DualEncoder) -> None:
        for block in model.blocks("both"):
            block.add_parallel(pb.Bottleneck(block.width, 8, middle=shared))

    Doing(attach).attach(viclip)
    one = {width: (width * 8 + 8) + (8 * width + width) for width in (64, 48)}
    assert pb.trainable_parameters(viclip) == 3 * (one[64] + one[48]) + 8 * 8 + 8
    assert not any(parameter.requires_grad for name, parameter in viclip.named_parameters() if "parallel" not in name)


def test_nothing_before_the_first_adapter_is_stored_for_backward(viclip: DualEncoder, frames: Tensor) -> None:
    Doing(lambda model: model.blocks("video")[2].add_parallel(Recorder(64))).attach(viclip)
    needs: list[bool] = []
    for block in viclip.blocks("video"):
        block.register_forward_hook(lambda module, args, output: needs.append(output.requires_grad))
    viclip.encode_video(frames)
    assert needs == [False, False, True]


def test_a_second_method_is_refused_and_super_attach_is_not(viclip: DualEncoder) -> None:
    class Base(pb.Method):
        def attach(self, model: DualEncoder) -> None:
            model.blocks("video")[0].add_parallel(Recorder(64))

    class Derived(Base):
        def attach(self, model: DualEncoder) -> None:
            super().attach(model)
            model.blocks("video")[1].add_parallel(Recorder(64))

    method = Derived()
    method.attach(viclip)
    assert viclip.method is method
    assert pb.trainable_parameters(viclip) == 2 * (64 * 64 + 64)
    with pytest.raises(pb.UsageError, match="already carries the method Derived"):
        Base().attach(viclip)


def test_adapter_state_round_trip(frames: Tensor) -> None:
    def trained() -> DualEncoder:
        torch.manual_seed(0)
        model = DualEncoder(SMALL_VICLIP)
        Doing(attach_everywhere).attach(model)
        return model

    first, second = trained(), trained()
    with torch.no_grad():
        for parameter in first.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    state = first.adapter_state()
    assert all("base" not in name and "norm" not in name for name in state)
    second.load_adapter_state(state)
    assert torch.equal(first.encode_video(frames), second.encode_video(frames))
    next(iter(state.values())).zero_()
    assert torch.equal(first.encode_video(frames), second.encode_video(frames)), "the state must be a copy"


def test_an_adapter_state_that_does_not_fit_lists_what_and_changes_nothing(viclip: DualEncoder) -> None:
    Doing(lambda model: model.blocks("video")[0].add_parallel(Recorder(64))).attach(viclip)
    state = viclip.adapter_state()
    name = "video.blocks.0.parallel.0.module.linear"
    bad = {f"{name}.weight": torch.zeros(2, 2), "video.blocks.7.extra": torch.zeros(1)}
    with pytest.raises(pb.WeightsError) as error:
        viclip.load_adapter_state(bad)
    assert f"1 missing: {name}.bias" in str(error.value)
    assert "1 unexpected: video.blocks.7.extra" in str(error.value)
    assert f"{name}.weight [2, 2] instead of [64, 64]" in str(error.value)
    assert all(torch.equal(value, viclip.adapter_state()[key]) for key, value in state.items())


def test_blocks_know_their_tower_width_and_index() -> None:
    model = DualEncoder(SMALL_VICLIP)
    listed = [(block.tower, block.width, block.index) for block in model.blocks()]
    assert listed == [("video", 64, i) for i in (1, 2, 3)] + [("text", 48, i) for i in (1, 2, 3)]
    assert [block.width for block in model.blocks()] == SMALL_VICLIP.block_widths()
    assert [block.tower for block in model.blocks("text")] == ["text"] * 3


@pytest.mark.parametrize("config", [SMALL_VICLIP, SMALL_CLIP])
def test_volumes_hold_every_patch_at_its_frame_row_and_column(config: pb.ViCLIPConfig) -> None:
    grid = Grid(4, 2, 3, config.joint_space_time)
    batch = 2
    wanted = torch.arange(batch * 4 * 2 * 3).view(batch, 1, 4, 2, 3).float()  # the volume [B, C, T, h, w]
    cls = torch.full((batch if grid.joint else batch * 4, 1, 1), -1.0)
    tokens = from_volume(wanted, grid, cls)
    assert torch.equal(to_volume(tokens, grid), wanted)
    for t, row, column in [(0, 0, 0), (3, 1, 2), (1, 0, 2)]:
        n = row * 3 + column
        token = tokens[1, 1 + n * 4 + t, 0] if grid.joint else tokens[4 + t, 1 + n, 0]
        assert token == wanted[1, 0, t, row, column]
    assert torch.equal(tokens[:, :1], cls)


def test_the_models_own_tokens_lie_in_that_order(frames: Tensor) -> None:
    """Frames that are constant per frame and quadrant give patches that are constant at that place of the volume."""
    for config in (SMALL_VICLIP, SMALL_CLIP):
        model = DualEncoder(config)
        marked = torch.zeros(1, 4, 3, 32, 32)
        marked[0, 2, :, 16:, :16] = 1.0  # frame 2, row 1, column 0
        patches, grid = model.video._patchify(marked)
        tokens = torch.cat([patches.new_zeros(len(patches), 1, patches.shape[2]), patches], dim=1)
        bright = to_volume(tokens, grid).sum(1)[0].nonzero()
        assert bright.tolist() == [[2, 1, 0]]
