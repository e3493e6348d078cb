"""torch.compile for the video tower, as an option: equal numbers up to rounding."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.system.cache import distrust, make_private

#: Dropout drops what it would drop without compilation, not what the compiler's own generator draws.
EAGER_DRAWS: dict[str, str | int | bool] = {"fallback_random": True}


def compile_video(model: DualEncoder, device: torch.device, cache: Path) -> None:
    """Compile every block of the video tower in place, with what is attached to it.

    Blocks of one shape share their compiled code, which is kept under `cache` for other trials. The text tower stays as
    it is: its passes have many lengths, and each would be compiled. Raises TrialError if nothing can be compiled for
    the device.

    What is compiled depends on the sizes of batches in the order in which they come. So a trial that was stopped and
    goes on may differ in the last bits from one that was not.
    """
    # Code that earlier trials of this process had compiled counts towards a limit, beyond which nothing more is.
    torch.compiler.reset()
    compiled = cache / "compiled"
    with contextlib.suppress(OSError):
        make_private(compiled)
        if not distrust(compiled):
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    _try_out(device)
    for block in model.video.blocks:
        block.compile(options=EAGER_DRAWS)


def _try_out(device: torch.device) -> None:
    """Compile next to nothing, so that what is missing (a C++ compiler, triton) is reported before clips are read."""
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch's compiler raises errors of many kinds
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise TrialError(
            f"training.compile=true: torch.compile does not work for {device.type} here ({reason}). It needs a C++ "
            "compiler (g++), on a GPU triton as well. Install them, or leave --set training.compile=true away"
        ) from error
