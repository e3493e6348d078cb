"""`petl-bench` as its entry point runs it, in the process of the tests, which has imported everything already.

A process of its own is for what only that shows: what is imported, signals, terminals, several processes at once.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from petl_bench.cli import main


def petl_bench(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """`petl-bench ARGUMENTS` in the folder `cwd`, with more environment variables; what it prints, and its status."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    command = ["petl-bench", *map(str, arguments)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", command)
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        main()
    return CompletedProcess(command, int(ended.value.code or 0), _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    """Everything that was written; bytes that are no text become surrogates."""
    stream.flush()
    content: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return content.decode(errors="surrogateescape")
