"""Whether other processes use the device: a busy GPU is refused, a busy CPU is marked."""

from __future__ import annotations

import os
import time

import psutil
import torch

from petl_bench.costs.nvml import Gpu
from petl_bench.errors import UsageError

#: The word of the mark that records carry.
BUSY = "busy-device"
#: A GPU is refused if more of its time than this is in use before anything is measured, in percent.
GPU_LIMIT = 10
#: A CPU is marked if others took more of its time than this while it was measured, in percent.
CPU_LIMIT = 10.0


def refuse_busy_gpu(device: torch.device, gpu: Gpu | None) -> str:
    """Raise UsageError if others compute on the GPU; returns a note if that could not be found out, else ""."""
    if device.type != "cuda":
        return ""
    others, used = (gpu.others(), gpu.utilisation()) if gpu else (None, None)
    if others or (used or 0) > GPU_LIMIT:
        busy = [f"{others} other processes"] if others else []
        busy += [f"{used} % of its time in use"] if (used or 0) > GPU_LIMIT else []
        raise UsageError(
            f"{torch.cuda.get_device_name(device)} is busy ({', '.join(busy)}), so nothing is measured on it. Wait, or "
            "choose another one with CUDA_VISIBLE_DEVICES"
        )
    if others is None or used is None:
        return "whether others used the GPU could not be found out: NVML does not answer"
    return ""


class OthersOnCpu:
    """How much of the time of this process's processors others take, from its making on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy, self._own = _busy_seconds(), _own_seconds()

    def percent(self) -> float:
        """Percent of the time of all processors that this process may use."""
        capacity = (time.monotonic() - self._started) * len(_processors())
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, min(100.0, 100.0 * others / max(capacity, 1e-9)))


def _processors() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _busy_seconds() -> float:
    every = psutil.cpu_times(percpu=True)
    return sum(_busy(every[number]) for number in _processors() if number < len(every))


def _busy(times: object) -> float:
    """Everything but idling; on Linux `guest` is a part of `user` already."""
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _own_seconds() -> float:
    own = psutil.Process().cpu_times()
    return float(own.user + own.system)
