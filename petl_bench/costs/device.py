"""The device that is measured: whether it is there, what it can compute in, and what it is."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from petl_bench.costs.nvml import Gpu
from petl_bench.errors import TrialError
from petl_bench.system.environment import describe_machine, processor_name
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import seat_of


def find_device(name: str) -> torch.device:
    """The device of this name; auto is CUDA if there is a GPU. Raises TrialError for one that is not there."""
    return resolve_device(name, seat_of(1))


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def refuse_precision(device: torch.device, precision: str) -> None:
    """Raise TrialError for a precision that the device has no instructions for, and would only emulate."""
    if precision == "fp32" or _computes_in(device, precision):
        return
    what = "GPU" if device.type == "cuda" else "CPU"
    raise TrialError(f"this {what} ({device_name(device)}) has no {precision} instructions; use --precision fp32")


def _computes_in(device: torch.device, precision: str) -> bool:
    if device.type == "cuda":
        return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.backends.mkldnn.is_available():
        return False
    supported = {"bf16": "_is_mkldnn_bf16_supported", "fp16": "_is_mkldnn_fp16_supported"}
    return bool(getattr(torch.ops.mkldnn, supported[precision])())


def describe_device(device: torch.device, gpu: Gpu | None) -> dict[str, Any]:
    """The machine, and the device with its threads and clocks; versions and commit as plain values, too."""
    machine = describe_machine()
    git = machine["git"] or {}
    frequency = None if device.type == "cuda" else psutil.cpu_freq()
    clocks = gpu.clocks_mhz() if gpu else {}
    if frequency is not None and frequency.current:
        clocks["cpu_clock_mhz"] = round(frequency.current)
    return {
        **machine,
        **{f"git_{name}": value for name, value in git.items()},
        **{name: machine["libraries"][name] for name in ("torch",) if name in machine["libraries"]},
        **({"cuda": torch.version.cuda} if device.type == "cuda" else {}),
        **clocks,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }
