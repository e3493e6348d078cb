"""Multiply-accumulates of a model as it stands, counted in independent ways that must agree; and parameters, bytes.

Three counts: fvcore's on the traced graph, torch's own on the dispatched operators, and a formula over the modules that
run (their shapes, and how many tokens they saw). Where nothing is attached there is a fourth, the closed form of
`petl_bench.costs.formula`. fvcore and torch both miss operators, so each gets handles for attention and for the
multiply-add of `addcmul`; what is counted and what is not stands in `petl_bench.costs.formula`.
"""

from __future__ import annotations

import copy
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.api.method import Method
from petl_bench.api.step import MethodTask
from petl_bench.api.trial import Trial
from petl_bench.costs import formula
from petl_bench.models.adapters import SpatioTemporalUp
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import TextTower, VideoTower
from petl_bench.models.transformer import Attention
from petl_bench.training.checkpoint import save_adapter
from petl_bench.training.state import state_of

#: Counts that differ by more than this part of the largest are no count.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Count:
    """Multiply-accumulates, or None with the `reason`. `uncounted`: operators that no counter counts, with how often
    they ran."""

    macs: int | None
    reason: str = ""
    uncounted: Mapping[str, int] | None = None


def count_video(model: DualEncoder) -> Count:
    """One video through the video tower with everything attached to it. Nothing is computed: the copy has no data."""
    config = model.config
    shape = (1, config.num_frames, 3, config.image_size, config.image_size)
    twin = _without_data(model).eval()
    expected = None if _is_changed(model) else formula.video_macs(config)
    return _count(twin, twin.encode_video, torch.empty(shape, device="meta"), expected)


def count_text(model: DualEncoder, tokens: Tensor) -> Count:
    """Tokens int64 [N, L], on the model's device, through the text tower with everything attached to it."""
    length = int(tokens.argmax(dim=1).max()) + 1
    expected = None if _is_changed(model) else formula.text_macs(model.config, len(tokens), length)
    training = model.training
    try:
        return _count(model.eval(), model.encode_text, tokens, expected)
    finally:
        model.train(training)


def adapter_bytes(trial: Trial, model: DualEncoder, method: Method) -> int:
    """Size of the adapter file that `petl-bench run` would leave, by writing it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_adapter(path, trial, state_of(model, method), MethodTask())
        return path.stat().st_size


def parameter_count(model: nn.Module) -> int:
    """All parameters, each once."""
    return sum(parameter.numel() for parameter in model.parameters())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, each once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(each): each for each in tensors}.values())


def _without_data(model: DualEncoder) -> DualEncoder:
    """A copy whose tensors have shapes and nothing in them; what modules share, the copies share."""
    shapes: dict[int, Tensor] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        for parameter in model.parameters()
    }
    shapes |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, shapes)


def _is_changed(model: DualEncoder) -> bool:
    """Whether the forward pass has more in it than the backbone of its configuration."""
    return parameter_count(model) != parameter_count(_backbone_of(model))


def _backbone_of(model: DualEncoder) -> DualEncoder:
    with torch.device("meta"):
        return DualEncoder(model.config)


def _count(model: DualEncoder, call: Callable[[Tensor], Tensor], argument: Tensor, expected: int | None) -> Count:
    try:
        with torch.no_grad():
            by_fvcore, uncounted = _by_fvcore(model, call, argument)
            counts = {
                "fvcore": by_fvcore,
                "torch": _by_torch(call, argument),
                "the formula over modules": _by_modules(model, call, argument),
            }
    except Exception as error:  # a plugin's module may compute in a way that one of them cannot follow
        return Count(None, f"cannot be counted: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
    if expected is not None:
        counts["the closed form"] = expected
    if max(counts.values()) - min(counts.values()) <= TOLERANCE * max(counts.values()):
        return Count(by_fvcore, uncounted=uncounted)
    listed = ", ".join(f"{name} {value / 1e9:.6g}" for name, value in counts.items())
    return Count(None, f"counts differ by more than {100 * TOLERANCE:g} % (G): {listed}", uncounted)


# fvcore


class _Calling(nn.Module):
    """A module that makes one call, for a tracer."""

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, argument: Tensor) -> Tensor:
        return self.call(argument)


def _by_fvcore(model: DualEncoder, call: Callable[[Tensor], Tensor], argument: Tensor) -> tuple[int, dict[str, int]]:
    with _quiet():
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(_Calling(model, call), (argument,))
        analysis.set_op_handle("aten::scaled_dot_product_attention", _traced_attention)
        analysis.set_op_handle("aten::addcmul", _traced_elements, "aten::addcmul_", _traced_elements)
        analysis.set_op_handle("aten::layer_norm", _nothing)  # fvcore counts this one of the element-wise operators
        macs, missed = int(analysis.total()), analysis.unsupported_ops()
    return macs, dict(sorted({**missed}.items()))


def _traced_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    from fvcore.nn.jit_handles import get_shape

    return _attention(*(get_shape(value) for value in inputs[:3]))


def _traced_elements(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    from fvcore.nn.jit_handles import get_shape

    return math.prod(get_shape(outputs[0]))


def _nothing(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return 0


def _attention(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> int:
    """q [..., N, d], k [..., M, d], v [..., M, e]: N M (d + e) for every head of every sequence."""
    return math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


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


def _by_torch(call: Callable[[Tensor], Tensor], argument: Tensor) -> int:
    handles = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _dispatched_attention,
        torch.ops.aten.addcmul: _dispatched_elements,
        torch.ops.aten.addcmul_: _dispatched_elements,
    }
    with FlopCounterMode(display=False, custom_mapping=handles) as counter:
        call(argument)
    return int(counter.get_total_flops()) // 2


def _dispatched_attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return 2 * _attention(q, k, v)


def _dispatched_elements(*_: Any, out_shape: Sequence[int] = (), **__: Any) -> int:
    return 2 * math.prod(out_shape)


# A formula over the modules that run


def _by_modules(model: DualEncoder, call: Callable[[Tensor], Tensor], argument: Tensor) -> int:
    macs: list[int] = []
    handles = [
        module.register_forward_hook(lambda ran, inputs, output, rule=rule: macs.append(rule(ran, inputs, output)))
        for module in model.modules()
        for kind, rule in _RULES.items()
        if isinstance(module, kind)
    ]
    try:
        call(argument)
    finally:
        for handle in handles:
            handle.remove()
    return sum(macs)


def _linear(module: nn.Linear, inputs: Sequence[Tensor], output: Tensor) -> int:
    """in x out per token; a low-rank update beside it (loralib's A and B) r x (in + out)."""
    tokens = inputs[0].numel() // module.in_features
    update = sum(int(getattr(module, name).numel()) for name in ("lora_A", "lora_B") if hasattr(module, name))
    return tokens * (module.in_features * module.out_features + update)


def _convolution(module: Convolution, inputs: Sequence[Tensor], output: Tensor) -> int:
    """Every output element sums over the kernel and the channels of its group."""
    return output.numel() * math.prod(module.kernel_size) * (module.in_channels // module.groups)


def _over_time(module: SpatioTemporalUp, inputs: Sequence[Tensor], output: Tensor) -> int:
    """One product for the linear map and the middle tap, and a multiply-add for every other tap."""
    return output.numel() * (module.spatial.in_features + module.temporal.kernel_size[0] - 1)


def _self_attention(module: Attention, inputs: Sequence[Tensor], output: Tensor) -> int:
    sequences, tokens, width = output.shape
    return 2 * sequences * tokens**2 * width


def _video_tower(module: VideoTower, inputs: Sequence[Tensor], output: Tensor) -> int:
    """Patch embedding and projection, which are no modules."""
    config, videos, frames = module.config, *inputs[0].shape[:2]
    patches = videos * frames * (config.image_size // config.patch_size) ** 2
    sequences = videos if config.joint_space_time else videos * frames
    embedding = patches * 3 * config.patch_size**2 * config.vision_width
    return embedding + sequences * config.vision_width * config.embed_dim


def _text_tower(module: TextTower, inputs: Sequence[Tensor], output: Tensor) -> int:
    return len(inputs[0]) * module.config.text_width * module.config.embed_dim


Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d

_RULES: dict[Any, Callable[[Any, Sequence[Tensor], Tensor], int]] = {
    nn.Linear: _linear,
    Convolution: _convolution,
    SpatioTemporalUp: _over_time,
    Attention: _self_attention,
    VideoTower: _video_tower,
    TextTower: _text_tower,
}
