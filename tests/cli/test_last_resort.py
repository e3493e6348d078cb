"""What the system refuses is said in a line; what is a fault of ours keeps its traceback."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from petl_bench import cli
from petl_bench.cli.last_resort import explanation


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "n" * 300),
            "nnn: File name too long: give a shorter",
        ),
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n 4096"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device: make room"),
        (OSError(errno.EROFS, "Read-only file system"), "the system: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied: ask"),
        (MemoryError(), "not enough memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (RuntimeError("Could not determine home directory."), "no user of this machine"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "cannot be written here"),
        (ValueError("embedded null byte"), "a NUL character"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_line(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "cli", fail)
    monkeypatch.delenv("PETL_BENCH_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("petl-bench: ")
    assert says in line
    monkeypatch.setenv("PETL_BENCH_TRACEBACK", "1")
    with pytest.raises(type(error)):
        cli.main()


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), OSError(errno.ENOENT, "No such file", "x")])
def test_a_fault_of_ours_keeps_its_traceback(error: Exception) -> None:
    assert explanation(error) == ""


def test_an_error_for_people_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["petl-bench", "show", "a\x1b]0;title\x07\u202eb"])
    with pytest.raises(SystemExit):
        cli.main()
    assert not {"\x1b", "\x07", "\u202e"} & set(capsys.readouterr().err)
