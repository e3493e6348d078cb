"""The device that is measured: whether it is there, what it can compute in, what it is, and who else uses it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from petl_bench.errors import TrialError, UsageError
from petl_bench.system.environment import describe_machine, processor_name
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import seat_of

#: The word of the mark that records carry.
BUSY = "busy-device"
#: A GPU is refused if more of its time than this is in use before anything is measured, in percent.
GPU_LIMIT = 10
#: A CPU is marked if others took more of its time than this while it was measured, in percent.
CPU_LIMIT = 10.0


@dataclass(frozen=True)
class Gpu:
    """What NVIDIA's driver says about a GPU. NVML counts GPUs otherwise than CUDA does, so it is found by its UUID.

    Everything is None if the driver, its Python binding or the value is not there.
    """

    nvml: Any
    handle: Any

    @classmethod
    def of(cls, device: torch.device) -> Gpu | None:
        """None if NVML cannot be asked."""
        try:
            import pynvml

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(name))
        except Exception:  # the binding or the driver may be missing, too old, or forbidden here
            return None

    def others(self) -> int | None:
        """Processes besides this one that compute on the GPU."""
        found = self._ask(lambda: self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle))
        return None if found is None else sum(process.pid != os.getpid() for process in found)

    def utilisation(self) -> int | None:
        """Percent of the last moments in which something ran on the GPU."""
        value = self._ask(lambda: self.nvml.nvmlDeviceGetUtilizationRates(self.handle).gpu)
        return None if value is None else int(value)

    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded."""
        value = self._ask(lambda: self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        return None if value is None else int(value)

    def clocks_mhz(self) -> dict[str, int]:
        """Present clocks of the processors and the memory, as far as they can be read."""
        values = {
            "sm_clock_mhz": self._clock(self.nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._clock(self.nvml.NVML_CLOCK_MEM),
        }
        return {name: int(value) for name, value in values.items() if value is not None}

    def _clock(self, kind: int) -> Any:
        return self._ask(lambda: self.nvml.nvmlDeviceGetClockInfo(self.handle, kind))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self.nvml.NVMLError:
            return None


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
