"""The device of a process, and the precision of its forward and backward passes: fp32, or autocast to bf16 or fp16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from petl_bench.errors import TrialError
from petl_bench.training.distributed import Seat

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast for `precision`; nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Loss scaling for fp16, whose gradients underflow; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def resolve_device(name: str, seat: Seat) -> torch.device:
    """The device of this process: `auto`, `cpu`, `cuda` or `cuda:N`.

    `auto` is CUDA if every process of the trial on this machine can have a GPU of its own.

    Raises:
        TrialError: The device is not there, or there are fewer GPUs than processes.
    """
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if devices >= seat.local_count else "cpu"
    if not name.startswith("cuda"):
        return torch.device(name)
    if devices == 0:
        raise TrialError("--device cuda: no CUDA device is visible here; use --device cpu, or see petl-bench doctor")
    if devices < seat.local_count:
        raise TrialError(
            f"--device cuda: {seat.local_count} processes share this trial, {devices} CUDA devices are visible here; "
            f"use --set training.processes={devices}"
        )
    return torch.device(name) if seat.count == 1 else torch.device("cuda", seat.local_rank)
