"""The parts that adapters are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.errors import UsageError
from petl_bench.models.grid import Grid, PatchPlaces, from_patches_by_place, patches_by_place

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "none": nn.Identity,
}


class Bottleneck(nn.Module):
    """up(dropout(middle(activation(down(x))))): [..., width] -> [..., out], with `dim` channels inside.

    The default is AdaptFormer's adapter (Chen et al., NeurIPS 2022): `down` Kaiming-uniform (a = sqrt 5), biases zero,
    `up` zero, so that it starts at zero. `middle` is any module [..., dim] -> [..., dim], which may be shared between
    adapters; `dropout_at` says whether dropout stands before `middle` or before `up`. Another module may stand for
    `up`; when the adapter is called with a grid, it is called as `up(h, grid)`.

    `gradient_scale` is for an adapter whose site scales it by that small number: every parameter inside gets 1 /
    gradient_scale times its gradient, as if the adapter were not scaled, and x its own gradient (MMA, Yang et al., CVPR
    2024).
    """

    def __init__(
        self,
        width: int,
        dim: int,
        out: int | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        dropout_at: Literal["middle", "up"] = "up",
        middle: nn.Module | None = None,
        up: nn.Module | None = None,
        gradient_scale: float | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UsageError(f"activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
        self.down = nn.Linear(width, dim)
        self.activation = ACTIVATIONS[activation]()
        self.middle = middle
        self.dropout = nn.Dropout(dropout)
        self.dropout_at = dropout_at
        self.gradient_scale = gradient_scale
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        self.up = up if up is not None else _zero_linear(dim, width if out is None else out)

    def forward(self, x: Tensor, grid: Grid | None = None) -> Tensor:
        """[..., width] -> [..., out]; `grid` is handed to `up`, if it is given."""
        if self.gradient_scale is None:
            return self._compute(x, grid)
        return scale_gradient(self._compute(scale_gradient(x, self.gradient_scale), grid), 1 / self.gradient_scale)

    def _compute(self, x: Tensor, grid: Grid | None) -> Tensor:
        h = self.activation(self.down(x))
        if self.middle is not None:
            h = self.middle(self.dropout(h) if self.dropout_at == "middle" else h)
        if self.middle is None or self.dropout_at == "up":
            h = self.dropout(h)
        output: Tensor = self.up(h) if grid is None else self.up(h, grid)
        return output


class TemporalConv(nn.Conv3d):
    """A depth-wise convolution over time on video tokens: [B, N, in_channels] -> [B, N, out_channels].

    The parameters are those of `nn.Conv3d(in_channels, out_channels, (kernel, 1, 1), padding=(kernel // 2, 0, 0),
    groups=in_channels)`; input channel i feeds output channels i*r to (i+1)*r - 1 with r = out_channels / in_channels.
    It is computed on the tokens as they lie, and equals the convolution on the volume [B, C, T, h, w].

    What the class token gets: "zero": nothing; "mean": the mean over its video's patch outputs; "replicate": the
    convolution of the class token itself, which is constant in time (ViCLIP: the mean over time of it) or one per frame
    (CLIP).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, cls: Literal["zero", "mean", "replicate"] = "zero"
    ) -> None:
        if out_channels % in_channels:
            raise UsageError(
                f"a depth-wise convolution from {in_channels} to {out_channels} channels does not exist: "
                f"choose a bottleneck dimension that divides {out_channels}"
            )
        if kernel % 2 == 0:
            raise UsageError(f"temporal kernel {kernel}: expected an odd number of frames")
        super().__init__(in_channels, out_channels, (kernel, 1, 1), padding=(kernel // 2, 0, 0), groups=in_channels)
        self.cls = cls

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        """The convolution's output for every token, and for the class tokens by `cls`."""
        tokens = grid.real(tokens)
        patches = self._over_time(patches_by_place(tokens, grid))
        return from_patches_by_place(patches, grid, self.of_class_token(tokens, PatchPlaces(grid)))

    def of_class_token(self, tokens: Tensor, places: PatchPlaces) -> Tensor:
        """What the class tokens get, by `cls`: [B, 1, out_channels], or [B*T, 1, out_channels] per frame."""
        cls, grid = tokens[:, :1], places.grid
        if self.cls == "zero":
            return cls.new_zeros(*cls.shape[:2], self.out_channels)
        if self.cls == "mean":
            # The mean of a convolution over all places is the convolution of their mean.
            mean = grid.mean_over_frames(self._over_time(places.mean_by_time(tokens).unsqueeze(1)), dim=2)
            return mean.repeat_interleave(1 if grid.joint else grid.frames, dim=0)
        if grid.joint:
            constant = cls.unsqueeze(2).expand(-1, -1, grid.frames, -1)
            return self._over_time(constant).mean(dim=2)
        per_frame = cls.transpose(0, 1).unflatten(1, (-1, grid.frames)).transpose(0, 1)  # [B, 1, T, C]
        return self._over_time(per_frame).flatten(0, 2).unsqueeze(1)

    def _over_time(self, x: Tensor) -> Tensor:
        """[B, P, T, in_channels] -> [B, P, T, out_channels], as a sum of the sequence shifted in time."""
        frames, half = x.shape[2], self.kernel_size[0] // 2
        # Repeated first, so that every product below runs over contiguous output channels.
        padded = F.pad(_repeated(x, self.out_channels), (0, 0, half, half))
        assert self.bias is not None
        y: Tensor = self.bias
        weight = self.weight.flatten(1)
        for shift in range(self.kernel_size[0]):
            y = torch.addcmul(y, padded[:, :, shift : shift + frames], weight[:, shift])
        return y


class SpatioTemporalUp(nn.Module):
    """spatial(h) + temporal_scale * temporal(h): a linear map beside a convolution over time.

    [B, N, dim] -> [B, N, width]. MSTA's up-projection (Chen et al., CVPR 2025). `cls` is what the class token gets from
    the convolution (see `TemporalConv`). `layout` "sequence" reads the patch tokens as (T, h*w) in the order in which
    they lie, whatever they stand for; for ViCLIP, whose tokens lie as (h*w, T), that mixes space and time.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        cls: Literal["zero", "mean", "replicate"] = "mean",
        layout: Literal["grid", "sequence"] = "grid",
        temporal_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.spatial = nn.Linear(dim, width)
        self.temporal = TemporalConv(dim, width, cls=cls)
        self.layout = layout
        self.temporal_scale = temporal_scale

    def zero_(self) -> None:
        """Set every weight and bias to zero: the output is zero until training moves it."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, grid: Grid) -> Tensor:
        """Tokens in and out; `grid` says what they stand for.

        What a token gets from itself, U h + b and the convolution's middle tap, is one matrix product; the taps on the
        other frames are added to its output in place.
        """
        h = grid.real(h)
        conv, places = self.temporal, PatchPlaces(grid, self.layout == "sequence")
        assert conv.bias is not None
        taps = conv.weight.flatten(1) * self.temporal_scale
        middle = taps[:, conv.kernel_size[0] // 2]
        weight = self.spatial.weight + _one_group_per_channel(middle, conv.in_channels)
        bias = self.spatial.bias + conv.bias * self.temporal_scale
        cls = torch.add(self.spatial(h[:, :1]), conv.of_class_token(h, places), alpha=self.temporal_scale)
        return _linear_over_time(h, weight, bias, taps, cls, places)


def _one_group_per_channel(values: Tensor, channels: int) -> Tensor:
    """[out] as the matrix [out, channels] of a convolution with one group per channel: zero outside the groups."""
    return torch.diag_embed(values.unflatten(0, (channels, -1)).T).transpose(0, 1).flatten(0, 1)


def _repeated(x: Tensor, channels: int) -> Tensor:
    """[..., C] -> [..., channels]: every channel as often as it feeds an output."""
    return x.repeat_interleave(channels // x.shape[-1], dim=-1)


def _linear_over_time(
    h: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, cls: Tensor, places: PatchPlaces
) -> Tensor:
    """h weight^T + bias, and the sum over other frames of taps * h there; `cls` in the place of class tokens.

    h [B, N, C]; weight [out, C]; bias [out]; taps [out, kernel]; cls [B, 1, out]; output [B, N, out].
    """
    if not h.is_meta and torch.is_autocast_enabled(h.device.type):  # without data there is no autocast to ask for
        dtype = torch.get_autocast_dtype(h.device.type)
        h, weight, bias, taps, cls = (tensor.to(dtype) for tensor in (h, weight, bias, taps, cls))
    if not torch.is_grad_enabled():
        return _compute_over_time(h, weight, bias, taps, cls, places)
    output: Tensor = _LinearOverTime.apply(h, weight, bias, taps, cls, places)
    return output


def _compute_over_time(
    h: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, cls: Tensor, places: PatchPlaces
) -> Tensor:
    y = F.linear(h, weight, bias)
    # Repeated first, so that every product runs over contiguous output channels.
    repeated = _repeated(h, len(weight))
    for tap, here, there in places.neighbours(y, repeated, taps.shape[1]):
        here.addcmul_(there, taps[:, tap])
    y[:, :1] = cls
    return y


class _LinearOverTime(torch.autograd.Function):
    """`_compute_over_time` with a backward pass that stays on the tokens, and makes no copy of what it adds to."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, cls: Tensor, places: PatchPlaces
    ) -> Tensor:
        ctx.save_for_backward(h, weight, taps)
        ctx.places = places
        return _compute_over_time(h, weight, bias, taps, cls, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, taps = ctx.saved_tensors
        gradient, fan_out = gradients[0].contiguous(), weight.shape[0] // weight.shape[1]
        of_h, of_taps = gradient @ weight, torch.zeros_like(taps)
        of_h[:, :1] = 0  # the class token's output does not come from here
        of_patches = h.clone()
        of_patches[:, :1] = 0
        repeated = _repeated(h, len(weight))
        for tap, here, there in ctx.places.neighbours(gradient, repeated, taps.shape[1]):
            of_taps[:, tap] = (here * there).flatten(0, -2).sum(0)
        for tap, here, there in ctx.places.neighbours(gradient, of_h, taps.shape[1]):
            for output in range(fan_out):
                there.addcmul_(here[..., output::fan_out], taps[output::fan_out, tap])
        of_weight = gradient.flatten(0, 1).T @ of_patches.flatten(0, 1)
        return of_h, of_weight, gradient[:, 1:].sum((0, 1)), of_taps, gradient[:, :1], None


class _ScaleGradient(torch.autograd.Function):
    """The identity; its gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself; on the way back its gradient is multiplied by `factor`."""
    scaled: Tensor = _ScaleGradient.apply(x, factor)
    return scaled


def kaiming_normal_(module: nn.Module) -> None:
    """Kaiming-normal weights (fan-out, ReLU) and zero biases for every linear and convolution inside, as MMA does."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _zero_linear(dim: int, out: int) -> nn.Linear:
    linear = nn.Linear(dim, out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
