"""One seed reaches everything random: Python, NumPy, torch, and through the loader every worker."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from petl_bench.api.trial import Trial


def derived_seed(trial: Trial, rank: int = 0) -> int:
    """One seed per (seed, split, shots), the same for every method, so that methods are compared on the same draws.

    With a rank above 0: the seed of what that process of a shared trial draws by itself (dropout).
    """
    process = f"/process {rank}" if rank else ""
    return random.Random(f"{trial.seed}/{trial.split}/{trial.shots}{process}").getrandbits(31)


def seed_everything(seed: int) -> None:
    """Seed all global generators and ask torch for deterministic algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # cuBLAS is deterministic only with a fixed workspace; the variable must be set before the first CUDA call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of all global generators of a trial on `device`, for an exact resume; plain values and tensors."""
    numpy: Any = np.random.get_state()
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": (numpy[0], numpy[1].tolist(), *numpy[2:]),
    }


def restore_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Restore what `random_state` gave, on the same device."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
