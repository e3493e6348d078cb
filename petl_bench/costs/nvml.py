"""What NVIDIA's driver says about a GPU: who else uses it, its clocks, and the energy it has used.

Everything is None if the driver, its Python binding or the value is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML knows it; NVML counts GPUs otherwise than CUDA does, so it is found by its UUID."""

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
