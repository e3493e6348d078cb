"""Peak memory that torch's allocator hands out, on a GPU and on the CPU by the same definition.

On a GPU the allocator keeps the peak itself. On the CPU torch's profiler reports every allocation and release; the
largest sum of them is exact, and the same on a busy machine. Neither sees what libraries allocate outside of torch's
allocator (workspaces of oneDNN, the CUDA context), nor memory that is kept but not handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from petl_bench.api.config import ViCLIPConfig
from petl_bench.errors import TrialError

#: Part of the free memory that a pass may take on the CPU: asking for too much kills the process there.
HEADROOM = 0.8

_MEMORY_EVENT = "[memory]"


def peak_bytes(device: torch.device, call: Callable[[], Any]) -> int:
    """The most that is allocated at once during `call`, over what was allocated before it."""
    if device.type == "cuda":
        return _cuda_peak(device, call)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == _MEMORY_EVENT]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _cuda_peak(device: torch.device, call: Callable[[], Any]) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def wanted_bytes(config: ViCLIPConfig, batch: int, training: bool) -> int:
    """About what a pass over a batch holds in fp32, besides the weights: a rule of thumb, to refuse what cannot be.

    Training keeps some 20 values per token and channel of every block for the backward pass; without it, some 12 live
    at any time.
    """
    places = (config.image_size // config.patch_size) ** 2
    values = places * config.num_frames * config.vision_width * (20 * config.vision_layers if training else 12)
    frames = 3 * config.num_frames * config.image_size**2
    return 4 * batch * (values + frames)


def refuse_too_much(device: torch.device, config: ViCLIPConfig, batch: int, training: bool) -> None:
    """Raise TrialError if a batch cannot fit in the free memory of a CPU; a GPU says so by itself."""
    wanted, free = wanted_bytes(config, batch, training), free_bytes(device)
    if device.type == "cpu" and wanted > HEADROOM * free:
        raise TrialError(
            f"a batch of {batch} does not fit: it takes about {wanted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of "
            "memory are free"
        )


@contextmanager
def memory_told(device: torch.device, batch: int) -> Iterator[None]:
    """Turn running out of memory into one line."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(error):
            raise
        raise TrialError(f"a batch of {batch} does not fit in the memory of {device}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
