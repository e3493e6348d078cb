"""Start-up of the light commands, as whole processes. To reach: 0.4 s each."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "methods"], ["show", "msta"], ["show", "viclip-b16"]], ids=" ".join
)
def test_light_command(benchmark: Any, arguments: list[str]) -> None:
    done = benchmark.pedantic(
        subprocess.run,
        args=([sys.executable, "-m", "petl_bench", *arguments],),
        kwargs={"capture_output": True, "check": True},
        rounds=7,
        warmup_rounds=1,
    )
    assert done.stdout
