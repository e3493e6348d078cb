"""The parts of adapters against the published modules."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.adapters import SpatioTemporalUp, kaiming_normal_
from petl_bench.models.grid import Grid, from_volume, to_volume
from tests.models.conftest import GOLDENS, part


def test_bottleneck_equals_adaptformers_adapter() -> None:
    golden = part(load_file(GOLDENS / "adaptformer_adapter.safetensors"), "none.")
    adapter = pb.Bottleneck(64, 16)
    adapter.load_state_dict(
        {f"{own}.{x}": golden[f"sd.{own}_proj.{x}"] for own in ("down", "up") for x in ("weight", "bias")}
    )
    x = golden["in.x"]
    assert_close(0.1 * adapter(x), golden["out.no_residual"], atol=2e-5, rtol=1e-4)
    assert_close(x + 0.1 * adapter(x), golden["out.residual"], atol=2e-5, rtol=1e-4)


def test_bottleneck_starts_at_zero_and_learns() -> None:
    torch.manual_seed(0)
    adapter = pb.Bottleneck(64, 16)
    x = torch.randn(2, 5, 64)
    assert not adapter(x).any()
    assert not adapter.down.bias.any() and adapter.down.weight.std() > 0
    (adapter(x) * torch.randn(2, 5, 64)).sum().backward()
    assert adapter.up.weight.grad is not None and adapter.up.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("where", ["middle", "up"])
def test_dropout_stands_where_it_is_asked_for(where: str) -> None:
    inputs: dict[str, Tensor] = {}
    middle, up = nn.Linear(1000, 1000), nn.Linear(1000, 4)
    middle.register_forward_hook(lambda module, args, output: inputs.__setitem__("middle", args[0]))
    up.register_forward_hook(lambda module, args, output: inputs.__setitem__("up", args[0]))
    adapter = pb.Bottleneck(4, 1000, activation="none", dropout=0.5, dropout_at=where, middle=middle, up=up)
    adapter(torch.randn(1, 4))
    dropped = {name: (value == 0).float().mean().item() for name, value in inputs.items()}
    assert dropped.pop(where) == pytest.approx(0.5, abs=0.1)
    assert set(dropped.values()) == {0.0}


def test_dropout_without_a_middle_stands_before_up_whatever_is_said() -> None:
    adapter = pb.Bottleneck(4, 8, dropout=1.0, dropout_at="middle")
    nn.init.ones_(adapter.up.weight)
    assert not adapter(torch.randn(3, 4)).any()


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(pb.UsageError, match=r"'tanh'.*relu"):
        pb.Bottleneck(4, 2, activation="tanh")


def test_temporal_conv_equals_the_published_grouped_convolution() -> None:
    golden = load_file(GOLDENS / "conv3d_grouped_fanout.safetensors")
    conv = pb.TemporalConv(4, 12)
    conv.load_state_dict({"weight": golden["weight"], "bias": golden["bias"]})
    for joint in (True, False):
        grid = Grid(5, 2, 3, joint)
        tokens = from_volume(golden["in.BCTHW"], grid, torch.zeros(2 if joint else 10, 1, 4))
        assert_close(to_volume(conv(tokens, grid), grid), golden["out.BCTHW"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("kernel", "frames"), [(1, 4), (3, 1), (3, 8), (5, 4)])
def test_temporal_conv_and_its_gradients_equal_conv3d(kernel: int, frames: int) -> None:
    torch.manual_seed(0)
    conv, grid = pb.TemporalConv(4, 8, kernel=kernel).double(), Grid(frames, 3, 2, True)
    tokens = torch.randn(2, 1 + frames * 6, 4, dtype=torch.double, requires_grad=True)
    padding = (kernel // 2, 0, 0)
    expected = F.conv3d(to_volume(tokens, grid), conv.weight, conv.bias, padding=padding, groups=4)
    ours = to_volume(conv(tokens, grid), grid)
    assert_close(ours, expected)
    probe = torch.randn_like(expected)
    inputs = (tokens, conv.weight, conv.bias)
    assert_close(
        torch.autograd.grad((ours * probe).sum(), inputs), torch.autograd.grad((expected * probe).sum(), inputs)
    )


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("kind", ["zero", "mean", "replicate"])
def test_what_the_class_token_gets(kind: str, joint: bool) -> None:
    torch.manual_seed(0)
    conv, grid = pb.TemporalConv(4, 8, cls=kind), Grid(5, 2, 2, joint)
    tokens = torch.randn(2, 21, 4) if joint else torch.randn(10, 5, 4)
    output = conv(tokens, grid)
    volume = to_volume(output, grid)
    if kind == "zero":
        expected = torch.zeros(2, 5, 8)
    elif kind == "mean":
        expected = volume.mean((2, 3, 4))[:, None].expand(2, 5, 8)
    else:
        cls = tokens[:, :1].expand(2, 5, 4) if joint else tokens[:, 0].view(2, 5, 4)
        expected = F.conv3d(cls.mT[..., None, None], conv.weight, conv.bias, padding=(1, 0, 0), groups=4)[..., 0, 0].mT
    expected = expected.mean(1, keepdim=True) if joint else expected.reshape(10, 1, 8)
    assert_close(output[:, :1], expected)
    output[:, 0].square().sum().backward()
    assert (conv.weight.grad is not None and conv.weight.grad.abs().sum() > 0) == (kind != "zero")


@pytest.mark.parametrize(("channels", "out"), [(512, 768), (5, 12)])
def test_a_bottleneck_that_does_not_divide_the_width_is_refused(channels: int, out: int) -> None:
    with pytest.raises(pb.UsageError, match=f"divides {out}"):
        pb.TemporalConv(channels, out)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(pb.UsageError, match="odd"):
        pb.TemporalConv(4, 8, kernel=4)


def test_kaiming_normal_has_the_spread_of_its_fan_out() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Conv3d(256, 512, (3, 1, 1), groups=256))
    kaiming_normal_(module)
    assert module[0].weight.std().item() == pytest.approx((2 / 4096) ** 0.5, rel=0.05)
    assert not module[0].bias.any() and not module[2].bias.any()
    assert module[2].weight.std().item() == pytest.approx((2 / (512 * 3)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("cls", ["mean", "zero", "replicate"])
@pytest.mark.parametrize(("joint", "layout"), [(True, "grid"), (True, "sequence"), (False, "grid")])
def test_the_up_projection_in_one_pass_equals_the_linear_map_beside_conv3d(
    joint: bool, layout: str, cls: str, kernel: int
) -> None:
    """Outputs and every gradient, also with `scaled=spatial` (a factor on the convolution)."""
    torch.manual_seed(0)
    grid, factor = Grid(4, 3, 2, joint), 2.5
    up = SpatioTemporalUp(4, 12, cls=cls, layout=layout, temporal_scale=factor)
    up.temporal = pb.TemporalConv(4, 12, kernel=kernel, cls=cls)
    up.double()
    tokens = torch.randn(2 if joint else 8, 25 if joint else 7, 4, dtype=torch.double, requires_grad=True)

    def reference() -> Tensor:
        conv, cls_token = up.temporal, tokens[:, :1]
        read = Grid(4, 3, 2, joint) if layout == "grid" else None
        volume = to_volume(tokens, read) if read else tokens[:, 1:].mT.reshape(2, 4, 4, 3, 2)
        padding = (kernel // 2, 0, 0)
        output = F.conv3d(volume, conv.weight, conv.bias, padding=padding, groups=4)
        frames = cls_token.expand(-1, 4, -1) if joint else cls_token.view(2, 4, 4)
        if cls == "replicate":
            own = F.conv3d(frames.mT[..., None, None], conv.weight, conv.bias, padding=padding, groups=4)
            own = own[..., 0, 0].mT
        else:
            own = output.mean((2, 3, 4))[:, None].expand(2, 4, 12) * (cls == "mean")
        own = own.mean(1, keepdim=True) if joint else own.reshape(8, 1, 12)
        beside = from_volume(output, read, own) if read else torch.cat([own, output.flatten(2).mT], dim=1)
        return up.spatial(tokens) + factor * beside

    ours, expected = up(tokens, grid), reference()
    assert_close(ours, expected)
    with torch.no_grad():
        assert_close(up(tokens, grid), expected)
    probe, inputs = torch.randn_like(expected), (tokens, *up.parameters())
    assert_close(
        torch.autograd.grad((ours * probe).sum(), inputs, materialize_grads=True),
        torch.autograd.grad((expected * probe).sum(), inputs, materialize_grads=True),
    )


def test_the_up_projection_follows_autocast() -> None:
    torch.manual_seed(0)
    up, grid, tokens = SpatioTemporalUp(4, 12), Grid(4, 3, 2, True), torch.randn(2, 25, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = up(tokens, grid)
    output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16
    assert_close(output.float(), up(tokens, grid), atol=0.05, rtol=0.05)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in up.parameters())


def test_a_single_frame_has_no_neighbours() -> None:
    torch.manual_seed(0)
    up, grid, tokens = SpatioTemporalUp(4, 12), Grid(1, 3, 2, True), torch.randn(2, 7, 4)
    conv = up.temporal
    expected = up.spatial(tokens) + tokens.repeat_interleave(3, 2) * conv.weight[:, 0, 1, 0, 0] + conv.bias
    assert_close(up(tokens, grid)[:, 1:], expected[:, 1:])
