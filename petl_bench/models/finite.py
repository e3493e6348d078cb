"""Whether tensors are finite: asked of everything that is loaded, of what training leaves, and before it is saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

#: Types whose smallest and largest value torch finds directly; others (8 bits and fewer) are widened first.
_DIRECT = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The first floating-point tensor that holds NaN or infinity, in words; "" if all are finite.

    A value beyond float32, in which weights are kept, counts as infinite. Tensors of other types are left out. Each
    tensor is read once (twice the speed of a copy), and the device is waited for once.
    """
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floating:
        return ""
    device = next(iter(floating.values())).device
    extremes = torch.stack([_extremes(tensor).to(device) for tensor in floating.values()])
    finite = extremes.isfinite().all(dim=1).tolist()
    first = next((name for name, fine in zip(floating, finite, strict=True) if not fine), None)
    if first is None:
        return ""
    tensor = floating[first].detach()
    count = int((~tensor.float().isfinite()).sum())
    return f"{first} is not finite: {count} of its {tensor.numel()} values are NaN or infinite"


def not_floating(tensors: Mapping[str, Tensor]) -> str:
    """The first tensor that holds no floating-point numbers, in words; "" if all do."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            return f"{name} is of type {_type_name(tensor)}, not of a floating-point type"
    return ""


def of_another_kind(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first tensor that cannot become the one of the same name without being rounded or cut; "" if all can."""
    for name, tensor in wanted.items():
        both_floating = tensor.is_floating_point() and given[name].is_floating_point()
        if not both_floating and tensor.dtype != given[name].dtype:
            return f"{name} is of type {_type_name(given[name])} instead of {_type_name(tensor)}"
    return ""


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor within dictionaries, lists and tuples, with the way to it (`optimizer.state.0.exp_avg`)."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_in(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from tensors_in(part, f"{name}.{index}" if name else str(index))


def _extremes(tensor: Tensor) -> Tensor:
    """Smallest and largest value, float32 [2]; NaN if any value is NaN."""
    tensor = tensor.detach()
    return torch.stack(torch.aminmax(tensor if tensor.dtype in _DIRECT else tensor.float())).float()


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
