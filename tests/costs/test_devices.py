"""Memory is exact, a busy GPU is refused, and what a device cannot do is told in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from petl_bench.api.config import ViCLIPConfig
from petl_bench.costs import device, memory
from petl_bench.costs.device import Gpu
from petl_bench.errors import TrialError, UsageError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_peak_on_a_cpu_is_what_was_held_at_once() -> None:
    kept = torch.zeros(2**18)  # what is there before does not count

    def work() -> None:
        first = torch.zeros(2**20)
        del first
        second = torch.zeros(2**19)
        third = second + 1
        del second, third
        kept.add_(1)

    peak = memory.peak_bytes(CPU, work)
    assert peak == pytest.approx(4 * 2**20, rel=1e-3)


def test_a_batch_that_cannot_fit_is_refused_before_the_machine_suffers() -> None:
    memory.refuse_too_much(CPU, ViCLIPConfig(), 1, training=False)
    with pytest.raises(TrialError, match=r"a batch of 1000000 does not fit: it takes about [\d.]+ GiB"):
        memory.refuse_too_much(CPU, ViCLIPConfig(), 1_000_000, training=True)


def test_running_out_of_memory_is_one_line() -> None:
    with pytest.raises(TrialError, match="a batch of 7 does not fit"), memory.memory_told(CPU, 7):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="something else"), memory.memory_told(CPU, 7):
        raise RuntimeError("something else")


def fake_nvml(processes: int | None = 0, used: int = 0) -> Any:
    """NVML as far as it is asked; None: it does not tell who computes."""

    def running(handle: Any) -> list[Any]:
        if processes is None:
            raise RuntimeError("not supported")
        return [SimpleNamespace(pid=-number) for number in range(1, processes + 1)]

    return SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlDeviceGetComputeRunningProcesses=running,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=used),
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1500,
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1410, 2: 1593}[kind],
    )


@pytest.fixture
def _named_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")


@pytest.mark.usefixtures("_named_gpu")
@pytest.mark.parametrize(
    ("nvml", "says"), [(fake_nvml(2), "2 other processes"), (fake_nvml(0, 45), "45 % of its time")]
)
def test_a_busy_gpu_is_refused(nvml: Any, says: str) -> None:
    with pytest.raises(UsageError, match=f"A100 is busy.*{says}.*CUDA_VISIBLE_DEVICES"):
        device.refuse_busy_gpu(CUDA, Gpu(nvml, None))


def test_a_gpu_that_does_not_tell_is_measured_with_a_note() -> None:
    assert device.refuse_busy_gpu(CUDA, Gpu(fake_nvml(), None)) == ""
    assert "could not be found out" in device.refuse_busy_gpu(CUDA, Gpu(fake_nvml(None), None))
    assert "could not be found out" in device.refuse_busy_gpu(CUDA, None)


def test_clocks_and_energy_are_as_the_driver_tells_them() -> None:
    gpu = Gpu(fake_nvml(), None)
    assert gpu.clocks_mhz() == {"sm_clock_mhz": 1410, "memory_clock_mhz": 1593}
    assert gpu.energy_mj() == 1500


def test_own_work_on_the_cpu_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([(100.0, 5.0), (101.0, 6.0)])  # one second of work, all of it our own

    def now() -> tuple[float, float]:
        return next(seconds)

    values: dict[str, float] = {}

    def busy_seconds() -> float:
        values["busy"], values["own"] = now()
        return values["busy"]

    monkeypatch.setattr(device, "_busy_seconds", busy_seconds)
    monkeypatch.setattr(device, "_own_seconds", lambda: values["own"])
    assert device.OthersOnCpu().percent() == 0.0


def test_a_cpu_without_bf16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_computes_in", lambda device, precision: False)
    device.refuse_precision(CPU, "fp32")
    with pytest.raises(TrialError, match="has no bf16 instructions; use --precision fp32"):
        device.refuse_precision(CPU, "bf16")
