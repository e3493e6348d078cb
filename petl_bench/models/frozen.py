"""What "frozen" means: which parts of a model still compute what its loaded weights compute.

A `LoadedModel` knows a model's modules as they were built, and its weights as they were when a method was attached. A
part that differs from it in anything that can change a number is touched: a weight that trains or was changed in place,
a module at a site, in the place of another one or added anywhere, a patched method, another class, a hook.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

#: Attributes that decide no number: torch's own, and what `Module.compile` sets.
_IGNORED = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class _Weight:
    """The bits of a tensor as they were loaded, and the version of the tensor that was last found equal to them."""

    dtype: torch.dtype
    content: tuple[tuple[int, ...], int]
    equal: tuple[int, int] | None = None

    def is_loaded(self, tensor: Tensor) -> bool:
        """Whether the tensor holds the loaded bits, on whatever device."""
        found = _content(tensor.detach().to(self.dtype)) == self.content
        self.equal = _version(tensor) if found else None
        return found

    def is_known(self, tensor: Tensor) -> bool:
        """Whether it was found equal already, and nothing has written to it since (except through `.data`)."""
        return not tensor.requires_grad and self.equal is not None and self.equal == _version(tensor)


@dataclass
class _LoadedModule:
    """A module without its children's insides: what decides what it computes."""

    kind: type[nn.Module]
    functions: dict[str, Any]
    children: dict[str, nn.Module]
    weights: dict[str, _Weight]

    def is_patched(self, module: nn.Module) -> bool:
        """Whether the module got another class or method, or other modules in the place of its own."""
        return (
            type(module) is not self.kind
            or not _same(_functions(module), self.functions)
            or any(module._modules.get(name) is not child for name, child in self.children.items())
        )


class LoadedModel:
    """A model's modules as they are now, and its weights as they are whenever `weigh` is called."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parts = {
            module: _LoadedModule(type(module), _functions(module), dict(module.named_children()), {})
            for module in model.modules()
        }
        self._weighed = False

    def weigh(self) -> None:
        """Remember the weights and buffers of these modules: they are the loaded ones from now on."""
        for module, part in self._parts.items():
            part.weights = {
                name: _Weight(tensor.dtype, _content(tensor)) for name, tensor in _tensors(module) if tensor is not None
            }
        self._weighed = True

    def untouched(self, module: nn.Module) -> bool:
        """Whether nothing inside trains or was changed, attached, replaced, patched or hooked: what it computes is, and
        stays, what the loaded weights compute.

        Before a method is attached, whatever weights there are count as loaded.
        """
        parts = list(module.modules())
        return all(map(self._is_as_built, parts)) and (not self._weighed or all(map(self._is_as_loaded, parts)))

    def is_patched(self, module: nn.Module) -> bool:
        """Whether this module itself, without its children, has another class or method, other children or hooks."""
        part = self._parts.get(module)
        return part is None or part.is_patched(module) or _hooked(module)

    def difference(self) -> str:
        """What keeps the model with its adapters off from being the loaded one, in words; "" if nothing does.

        A weight that trains is compared each time, another one only if it was written to since the last time.
        """
        for module, part in self._parts.items():
            if part.is_patched(module):
                return f"the module {self._name(module) or type(module).__name__} was replaced or patched"
            for leaf, weight in part.weights.items():
                tensor = getattr(module, leaf, None)
                if tensor is None or not (weight.is_known(tensor) or weight.is_loaded(tensor)):
                    return f"{self._name(module)}.{leaf}".lstrip(".") + " is no longer the loaded one"
        return ""

    def changed_frozen_weight(self) -> str:
        """The name of a weight of the backbone that does not train and is no longer the loaded one; "" if none is."""
        for module, part in self._parts.items():
            for leaf, weight in part.weights.items():
                tensor = getattr(module, leaf, None)
                if tensor is not None and not tensor.requires_grad and not weight.is_loaded(tensor):
                    return f"{self._name(module)}.{leaf}".lstrip(".")
        return ""

    def _name(self, module: nn.Module) -> str:
        return next((path for path, part in self._model.named_modules() if part is module), "")

    def _is_as_built(self, module: nn.Module) -> bool:
        """Whether it is one of the model's own modules, with nothing added, and nothing of its own trains."""
        if self.is_patched(module) or any(tensor.requires_grad for _, tensor in _tensors(module)):
            return False
        return dict(module.named_children()).keys() == self._parts[module].children.keys()

    def _is_as_loaded(self, module: nn.Module) -> bool:
        weights, tensors = self._parts[module].weights, dict(_tensors(module))
        return tensors.keys() == weights.keys() and all(weights[name].is_loaded(tensors[name]) for name in weights)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _functions(module: nn.Module) -> dict[str, Any]:
    """What a module holds itself that can be called, or that stands in the place of a method of its class."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _IGNORED and (callable(value) or callable(getattr(type(module), name, None)))
    }


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(value is other[name] for name, value in one.items())


def _version(tensor: Tensor) -> tuple[int, int]:
    return (0 if tensor.is_inference() else tensor._version), tensor.data_ptr()


def _content(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """Shape, and a sum over the tensor's bits that depends on the order of its rows; equal on every device."""
    shape = tuple(tensor.shape)
    if tensor.is_meta:
        return shape, 0
    rows = tensor.detach().flatten(1) if tensor.ndim > 1 else tensor.detach().reshape(-1, 1)
    rows = rows.clone() if rows.storage_offset() else rows.contiguous()
    # Eight bytes at a time are read ten times as fast as four that are widened.
    wide = rows.shape[1] * rows.element_size() % 8 == 0
    sums = rows.view(torch.int64 if wide else _INTEGERS[rows.element_size()]).sum(1, dtype=torch.int64)
    places = torch.arange(1, len(sums) + 1, device=tensor.device)
    return shape, int((sums * places).sum())
