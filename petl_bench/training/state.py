"""What training leaves: the tensors of the attached method, and its own extra state. Checked when it is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypedDict

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.api.registry import describe
from petl_bench.errors import PetlBenchError, PluginError
from petl_bench.models.dual_encoder import DualEncoder


class State(TypedDict):
    """Copies on the CPU, ready to be saved."""

    tensors: dict[str, Tensor]  #: `DualEncoder.adapter_state`
    extra: dict[str, Any]  #: `Method.extra_state`


def state_of(model: DualEncoder, method: Method) -> State:
    """The state of a model with its method. Raises PluginError for an extra state that cannot be saved."""
    return {"tensors": model.adapter_state(), "extra": extra_state_of(method)}


def load_state(model: DualEncoder, method: Method, state: State) -> None:
    """Put back what `state_of` gave, into a model to which the same method was attached.

    Raises WeightsError for tensors that do not fit, PluginError if the method cannot take its extra state back.
    """
    model.load_adapter_state(state["tensors"])
    load_extra_state(method, state["extra"])


def has_extra_state(method: Method) -> bool:
    """Whether the method keeps anything of its own."""
    return type(method).extra_state is not Method.extra_state


def extra_state_of(method: Method) -> dict[str, Any]:
    """The method's extra state as copies: tensors on the CPU, and plain JSON values.

    Raises PluginError, naming method and key, for anything else.
    """
    given: Any = method.extra_state()
    if not isinstance(given, Mapping):
        raise PluginError(f"{_label(method)}.extra_state() gave {type(given).__name__}, not a dictionary")
    return {_key(method, key): _copy(method, key, value) for key, value in given.items()}


def load_extra_state(method: Method, state: Mapping[str, Any]) -> None:
    """Let the method take its extra state back. Raises PluginError, with file and line, if that fails."""
    try:
        method.load_extra_state(state)
    except PetlBenchError:
        raise
    except Exception as error:
        raise PluginError(f"{_label(method)}.load_extra_state failed: {describe(error)}") from error


def _key(method: Method, key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise PluginError(f"{_label(method)}.extra_state() has the key {key!r}: expected a text")
    return key


def _copy(method: Method, key: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise PluginError(f"{_label(method)}.extra_state()[{key!r}]: expected an ordinary, dense tensor")
        return value.detach().to("cpu", copy=True).contiguous()
    with suppress(TypeError, ValueError, RecursionError):
        plain = json.loads(json.dumps(value, allow_nan=False))
        if plain == value:
            return plain
    raise PluginError(
        f"{_label(method)}.extra_state()[{key!r}] ({type(value).__name__}): expected a tensor, or a finite number, a "
        "text, a list or a dictionary with texts as keys that holds nothing else"
    )


def _label(method: Method) -> str:
    return method.name or type(method).__name__
