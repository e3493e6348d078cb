"""A process that is suspended for longer than its heartbeat may be old, and wakes up when its trial is another's."""

from __future__ import annotations

import os
import signal

import pytest

from petl_bench.running.attempts import claims
from tests.drills.conftest import Disturbed

pytestmark = pytest.mark.drill

#: Processes take each other for those of other machines, and heartbeats are soon old.
ELSEWHERE = """
import os
from petl_bench.running.attempts import claims

claims.STALE_AFTER_S, claims.HEARTBEAT_EVERY_S = 3.0, 0.3
claims.this_machine = lambda: os.environ["MACHINE"]
"""


def test_the_sleeper_gives_up_and_there_is_one_record(disturbed: Disturbed) -> None:
    plugin = disturbed.folder / "elsewhere.py"
    plugin.write_text(ELSEWHERE)
    arguments = ("--methods", "waiting", "--seeds", "0", "--workers", "1", "--set", "waiting.steps=100")
    arguments = (*arguments, "--plugin", str(plugin))
    sleeper = disturbed.start_run(*arguments)
    disturbed.wait_until(lambda: any(disturbed.runs.glob("trials/*/checkpoint.pt")))
    os.killpg(sleeper.pid, signal.SIGSTOP)
    disturbed.machine = "another one"
    taker = disturbed.run(*arguments)
    assert taker.returncode == 0, taker.stderr
    (record,) = disturbed.records()
    before = {path.name: path.read_bytes() for path in record.parent.iterdir() if path.is_file()}
    os.killpg(sleeper.pid, signal.SIGCONT)
    woken = disturbed.finish(sleeper)
    assert woken.returncode == 0, woken.stderr
    assert "another process took the trial over, for this one was suspended for long" in woken.stderr
    after = {path.name: path.read_bytes() for path in record.parent.iterdir() if path.is_file()}
    assert {**after, "log.txt": b""} == {**before, "log.txt": b""}
    assert len(disturbed.executions()) == 1
    assert [attempt.outcome for attempt in claims.attempts(record.parent)] == ["interrupted", "done"]
