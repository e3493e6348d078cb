"""Other tensors in the place of a model's parameters, for a while; and computing again, on the way back, as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from petl_bench.errors import UsageError
from petl_bench.models.sites import AdapterSwitch

T = TypeVar("T")


@contextmanager
def substituted(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the model computes with these tensors in the place of its parameters of those names, at every site that
    shares one. Raises UsageError for a name that it lacks, and another shape."""
    places = _places(model, weights)
    before = [(module, name, module._parameters[name]) for module, name, _ in places]
    try:
        for module, name, tensor in places:
            module._parameters[name] = tensor  # type: ignore[assignment]
        yield
    finally:
        for module, name, parameter in before:
            module._parameters[name] = parameter


def recomputed(switch: AdapterSwitch, module: nn.Module, function: Callable[..., T], *inputs: Any, **named: Any) -> T:
    """function(*inputs, **named) of a module, whose activations are not kept: it is computed again on the way back,
    with adapters on or off, weights substituted, draws (dropout) and the module's buffers as they are now.

    Buffers, such as a batch norm's statistics, move once: the second pass leaves them as they are by then.
    """
    contexts = partial(_contexts, switch, module)
    output: T = checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts, **named)
    return output


def _contexts(
    switch: AdapterSwitch, module: nn.Module
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the first pass, which is about to begin, and the second."""
    buffers = [
        (each._buffers, name, buffer.clone())
        for each in module.modules()
        for name, buffer in each._buffers.items()
        if buffer is not None
    ]
    return nullcontext(), _again(switch, switch.on, switch.substitutions, buffers)


@contextmanager
def _again(
    switch: AdapterSwitch,
    on: bool,
    substitutions: tuple[Callable[[], AbstractContextManager[None]], ...],
    buffers: Sequence[tuple[dict[str, Tensor | None], str, Tensor]],
) -> Iterator[None]:
    before, now = switch.on, [(owner, name, owner[name]) for owner, name, _ in buffers]
    switch.on = on
    try:
        with ExitStack() as stack:
            for substitution in substitutions:
                stack.enter_context(substitution())
            for owner, name, buffer in buffers:
                owner[name] = buffer
            yield
    finally:
        switch.on = before
        for owner, name, present in now:
            owner[name] = present


def _places(model: nn.Module, weights: Mapping[str, Tensor]) -> list[tuple[nn.Module, str, Tensor]]:
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in weights.items():
        if name not in own:
            raise UsageError(f"with_weights: the model has no parameter {name}; see model.named_parameters()")
        if tensor.shape != own[name].shape:
            raise UsageError(f"with_weights: {name} {list(tensor.shape)} instead of {list(own[name].shape)}")
    wanted = {id(own[name]): tensor for name, tensor in weights.items()}
    return [
        (module, name, wanted[id(parameter)])
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if id(parameter) in wanted
    ]
