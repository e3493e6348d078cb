"""Three independent counters of multiply-accumulates, each of them by module.

fvcore counts on the traced graph, torch on the dispatched operators, and the third by the shapes of the functions that
are called. The first two miss operators, which they get handles for.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.costs import products

#: Multiply-accumulates by the name of a module in the model, with those of the modules inside; "" is the whole call.
ByModule = Mapping[str, int]
_ROOT = "model"


class Call(nn.Module):
    """One call of a function with a tensor, for counters; `model` holds the modules that it runs."""

    def __init__(self, model: nn.Module, function: Callable[[Tensor], Tensor], argument: Tensor) -> None:
        super().__init__()
        self.model, self.function, self.argument = model, function, argument

    def forward(self, argument: Tensor) -> Tensor:
        """The function's output."""
        return self.function(argument)

    def named(self, counts: Mapping[str, int], prefix: str) -> Counter[str]:
        """Counts by the names of modules in the model, from those by `prefix` and the name in this module."""
        of_model = f"{prefix}{_ROOT}."
        found = {name.removeprefix(of_model): int(count) for name, count in counts.items() if name.startswith(of_model)}
        return Counter(found)


@dataclass
class Running:
    """The names of the modules that run, from the outermost to the innermost."""

    names: list[str] = field(default_factory=list)

    @property
    def innermost(self) -> str:
        """ "" if none runs."""
        return self.names[-1] if self.names else ""


@contextmanager
def running(model: nn.Module) -> Iterator[Running]:
    """Inside, which modules of the model run is known; after an error, which ones ran."""
    names, found = {module: name for name, module in model.named_modules()}, Running()

    def enter(module: nn.Module, inputs: Any) -> None:
        if module in names:
            found.names.append(names[module])

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        while module in names and found.names.pop() != names[module]:
            """Those that raised an error which the module has caught."""

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


# fvcore


def by_graph(call: Call) -> tuple[ByModule, dict[str, int]]:
    """fvcore's count, and the operators without one, with how often they ran."""
    with _quiet(), _forward_passes_alone():
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(call, (call.argument,)).set_op_handle(**_TRACED)
        by_module, missed = analysis.by_module(), analysis.unsupported_ops()
    found = call.named(by_module, "")
    found[""] = int(by_module[""])
    return found, dict(sorted({**missed}.items()))


def _shapes(values: Sequence[Any]) -> list[list[int]]:
    from fvcore.nn.jit_handles import get_shape

    return [get_shape(value) for value in values]


def _traced_einsum(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return products.einsum(inputs[0].toIValue(), _shapes(list(inputs[1].node().inputs())))


def _traced(rule: Callable[..., int], first: int, last: int) -> Callable[[Sequence[Any], Sequence[Any]], int]:
    """A handle that applies a rule to the shapes of some inputs."""
    return lambda inputs, outputs: rule(*_shapes(inputs[first:last]))


def _traced_elements(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return math.prod(_shapes(outputs)[0])


def _nothing(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return 0


_TRACED: dict[str, Callable[[Sequence[Any], Sequence[Any]], int]] = {
    "aten::scaled_dot_product_attention": _traced(products.attention, 0, 3),
    "aten::einsum": _traced_einsum,
    **{f"aten::{name}": _traced(products.matmul, 0, 2) for name in ("matmul", "mm", "bmm", "mv", "dot")},
    **{f"aten::{name}": _traced(products.matmul, 1, 3) for name in ("addmm", "baddbmm", "addmv")},
    **dict.fromkeys(("aten::addcmul", "aten::addcmul_"), _traced_elements),
    # Of these element-wise operators fvcore has a count.
    **{f"aten::{name}_norm": _nothing for name in ("layer", "batch", "group", "instance")},
    **{f"aten::{name}": _nothing for name in ("adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d")},
}


@contextmanager
def _forward_passes_alone() -> Iterator[None]:
    """With what the forward passes of autograd's functions compute, which a graph else holds as one unknown operator
    each."""
    kind: Any = torch.autograd.Function
    before = vars(kind)["apply"]
    kind.apply = classmethod(_forward_of)
    try:
        yield
    finally:
        kind.apply = before


def _forward_of(function: Any, *given: Any) -> Any:
    """A function's forward pass, without a gradient; its context takes what is kept, and keeps nothing."""
    if function.setup_context is not torch.autograd.Function.setup_context:
        return function.forward(*given)
    return function.forward(_NoBackward(len(given)), *given)


class _NoBackward:
    """In the place of the context of one of autograd's functions."""

    def __init__(self, inputs: int) -> None:
        self.needs_input_grad = (False,) * inputs

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what fvcore and the tracer say while they work; what fvcore missed is asked for."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# torch


def by_dispatch(call: Call) -> ByModule:
    """torch's own count of the operators that are dispatched."""
    with FlopCounterMode(display=False, custom_mapping=_DISPATCHED) as counter:
        call(call.argument)
    totals = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}
    found = call.named(totals, f"{type(call).__name__}.")
    found[""] = int(counter.get_total_flops()) // 2
    return found


def _dispatched_attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return 2 * products.attention(q, k, v)


def _dispatched_elements(*_: Any, out_shape: Sequence[int] = (), **__: Any) -> int:
    return 2 * math.prod(out_shape)


def _dispatched_product(left: Any, right: Any, *_: Any, **__: Any) -> int:
    return 2 * products.matmul(left, right)


_DISPATCHED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _dispatched_attention,
    torch.ops.aten.addcmul: _dispatched_elements,
    torch.ops.aten.addcmul_: _dispatched_elements,
    torch.ops.aten.mv: _dispatched_product,
    torch.ops.aten.dot: _dispatched_product,
    torch.ops.aten.addmv: lambda bias, left, right, **_: _dispatched_product(left, right),
}


# Functions


def by_function(call: Call) -> ByModule:
    """The products that are called, by the shapes of what they are called with."""
    with running(call.model) as modules, _Calls(modules) as calls:
        call(call.argument)
    macs: ByModule = calls.macs
    return macs


class _Calls(TorchFunctionMode):
    """Adds up what is called, for every module that runs."""

    def __init__(self, modules: Running) -> None:
        super().__init__()
        self.macs: Counter[str] = Counter({"": 0})
        self._modules = modules

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if name in _OPAQUE:
            raise NotImplementedError(f"{name} computes products that no counter looks into")
        if (rule := _CALLED.get(name)) is not None:
            macs = rule([*args, *(kwargs or {}).values()], output)
            for module in {"", *self._modules.names}:
                self.macs[module] += macs
        return output


def _called_product(given: Sequence[Any], output: Any) -> int:
    return products.matmul(given[0].shape, given[1].shape)


def _called_sum(given: Sequence[Any], output: Any) -> int:
    return products.matmul(given[1].shape, given[2].shape)


def _called_einsum(given: Sequence[Any], output: Any) -> int:
    operands = given[1] if isinstance(given[1], (list, tuple)) else given[1:]
    return products.einsum(given[0], [operand.shape for operand in operands])


def _called_attention(given: Sequence[Any], output: Any) -> int:
    return products.attention(*(tensor.shape for tensor in given[:3]))


def _called_heads(given: Sequence[Any], output: Any) -> int:
    return products.multi_head_attention(*(tensor.shape for tensor in given[:3]))


def _called_convolution(given: Sequence[Any], output: Any) -> int:
    return products.convolution(given[1].shape, output.shape)


_CALLED: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "linear": lambda given, output: given[0].numel() * len(given[1]),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _called_product),
    "rmatmul": lambda given, output: products.matmul(given[1].shape, given[0].shape),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _called_sum),
    "einsum": _called_einsum,
    "scaled_dot_product_attention": _called_attention,
    "multi_head_attention_forward": _called_heads,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _called_convolution),
    "addcmul": lambda given, output: output.numel(),
}
#: What computes products inside that nothing counts; all counts would agree on nothing.
_OPAQUE = ("addbmm", "bilinear", "gru", "lstm", "rnn_relu", "rnn_tanh", "tensordot")
