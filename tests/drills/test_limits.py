"""Too few descriptors, too little address space, and a store that becomes read-only: a line that says so, no traceback,
and what was done is kept."""

from __future__ import annotations

import pytest

from tests.drills.conftest import Disturbed, Real

pytestmark = pytest.mark.drill

LIMIT = "import resource; resource.setrlimit(resource.{name}, ({value}, {value}))"
#: Once the file stands there, nothing under `runs` can be opened for writing.
READ_ONLY = """
import builtins, errno, io, os
from pathlib import Path

def refusing(real, writes):
    def opened(file, *arguments, **more):
        if "{runs}" in str(file) and writes(*arguments, **more) and os.path.exists("{switch}"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
        return real(file, *arguments, **more)
    return opened

io.open = refusing(io.open, lambda mode="r", *rest, **more: set(mode) & set("wax+"))
os.open = refusing(os.open, lambda flags, *rest, **more: flags & (os.O_WRONLY | os.O_RDWR))
"""


@pytest.mark.parametrize(
    ("workers", "status", "words"),
    [
        ("1", 1, "the processes that decode clips cannot be started. Often the limit of open files"),
        ("2", 2, "Too many open files. Try fewer: --workers 1"),
    ],
)
def test_too_few_descriptors(real: Real, workers: str, status: int, words: str) -> None:
    real.disturbance = LIMIT.format(name="RLIMIT_NOFILE", value=12)
    ended = real.run("--methods", "zero_shot", "--seeds", "0,1", "--shots", "6", "--workers", workers)
    assert ended.returncode == status and words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_too_little_address_space_of_workers(real: Real) -> None:
    real.disturbance = LIMIT.format(name="RLIMIT_AS", value=1200 * 2**20)
    arguments = ("--methods", "zero_shot", "--seeds", "0,1", "--shots", "6", "--workers", "2")
    ended = real.run(*arguments)
    assert ended.returncode == 1 and "2 of 2 trials failed" in ended.stderr
    assert "Traceback" not in ended.stderr
    real.disturbance = ""
    assert real.run(*arguments).returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_becomes_read_only_ends_the_run_and_keeps_what_is_done(disturbed: Disturbed, workers: str) -> None:
    switch = disturbed.folder / "read-only"
    disturbed.disturbance = READ_ONLY.format(runs=disturbed.runs, switch=switch)
    arguments = ("--methods", "waiting", "--seeds", "0,1,2,3,4,5", "--workers", workers, "--set", "waiting.steps=10")
    process = disturbed.start_run(*arguments)
    disturbed.wait_until(lambda: len(disturbed.records()) > 0)
    switch.touch()
    ended = disturbed.finish(process)
    assert ended.returncode == 2, ended.stderr
    assert "cannot write" in ended.stderr.splitlines()[-1] and "Read-only file system" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    done = len(disturbed.records())
    assert 1 <= done < 6
    switch.unlink()
    assert disturbed.run(*arguments).returncode == 0
    assert len(disturbed.records()) == 6
    # What another worker had in hand could not be recorded, and was done again.
    assert 6 <= len(disturbed.executions()) < 6 + int(workers)
