"""Faults for a comparison on a real SLURM, drawn from a seed: what schedulers, machines and people do to jobs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.slurm.comparison import Comparison, at_work

#: How long the cluster may take to have no job of a comparison any more.
_EMPTY_WITHIN_S = 300.0


class Faults:
    """Disturbs one comparison, and keeps a command waiting for it; `done` says what happened."""

    def __init__(self, comparison: Comparison, output: Path, flags: tuple[str, ...], trials: int, seed: int) -> None:
        self.comparison, self.cluster = comparison, comparison.cluster
        self.output, self.flags, self.trials = output, flags, trials
        self.dice = random.Random(seed)
        self.done: list[str] = []
        self.command = comparison.start(output, *flags)
        #: Each returns what it did, or "" if there was nothing to do it to.
        self.kinds: list[Callable[[], str]] = [
            self.scancel, self.requeue, self.node_is_lost, self.daemon_is_killed, self.controller_is_killed,
            self.command_is_killed, self.cancelled_and_asked_for_again, self.checkpoint_is_removed, self.frozen,
            *(self._signal(number) for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2)),
        ]  # fmt: skip

    def records(self) -> int:
        """How many trials are done."""
        return len(list(self.output.glob("trials/*/record.json")))

    def cause(self, count: int) -> None:
        """That many faults, as long as something is left to disturb."""
        while len(self.done) < count and self.records() < self.trials:
            if said := self.dice.choice(self.kinds)():
                self.done.append(said)
            self._sleep(0.5, 7.0)

    def finish(self) -> str:
        """The command to its end; what it said. It is started again if it was killed."""
        said, _ = self.command.communicate(timeout=900)
        assert self.command.returncode == 0, said
        return said

    def scancel(self) -> str:
        task, _ = self._one_at_work()
        return f"scancel {task}" if task and self.cluster.try_("scancel", task).returncode == 0 else ""

    def requeue(self) -> str:
        task, _ = self._one_at_work()
        return f"requeue {task}" if task and self.cluster.try_("scontrol", "requeue", task).returncode == 0 else ""

    def _signal(self, number: signal.Signals) -> Callable[[], str]:
        def send() -> str:
            task, pid = self._one_at_work()
            with contextlib.suppress(ProcessLookupError):
                if task:
                    os.kill(pid, number)
                    return f"{number.name} to {task}"
            return ""

        return send

    def frozen(self) -> str:
        """A process that stands still for a while, as on a machine without memory."""
        task, pid = self._one_at_work()
        with contextlib.suppress(ProcessLookupError):
            if task:
                os.kill(pid, signal.SIGSTOP)
                self._sleep(1.0, 3.0)
                os.kill(pid, signal.SIGCONT)
                return f"SIGSTOP to {task}, SIGCONT"
        return ""

    def node_is_lost(self) -> str:
        node = self.dice.choice(["n1", "n2", "n3"])
        self.cluster.local("kill-node", node)
        self._sleep(0.5, 5.0)
        self.cluster.local("start-node", node)
        return f"{node} dies and comes back"

    def daemon_is_killed(self) -> str:
        """slurmd alone: its steps go on, and the next slurmd finds them."""
        node = self.dice.choice(["n1", "n2", "n3"])
        self.cluster.local("kill-daemon", node)
        self._sleep(0.5, 3.0)
        self.cluster.local("start-node", node)
        return f"the daemon of {node} dies and comes back"

    def controller_is_killed(self) -> str:
        self.cluster.local("kill-controller")
        self._sleep(0.0, 2.0)
        self.cluster.local("start-controller")
        return "the controller dies and comes back"

    def command_is_killed(self) -> str:
        os.killpg(self.command.pid, signal.SIGKILL)
        self.command.communicate()
        self.command = self.comparison.start(self.output, *self.flags)
        return "the waiting command is killed and typed again"

    def cancelled_and_asked_for_again(self) -> str:
        """`petl-bench cancel`: the waiting command ends, nothing runs any more, and the same command goes on."""
        cancelled = self.comparison.ask("cancel", "--runs", self.output)
        assert cancelled.returncode == 0, cancelled.stderr
        said, _ = self.command.communicate(timeout=_EMPTY_WITHIN_S)
        left = self.trials - self.records()
        if left:
            assert self.command.returncode == 1 and "cancelled with petl-bench cancel" in said, said
        self.cluster.wait_until(lambda: not self.cluster.try_("squeue", "-h", "-o", "%i").stdout, _EMPTY_WITHIN_S)
        assert at_work(self.output) == {}
        before = sorted(self.output.glob("trials/*/attempts/*.json"))
        time.sleep(2.0)
        assert sorted(self.output.glob("trials/*/attempts/*.json")) == before, "what is cancelled does not start"
        self.command = self.comparison.start(self.output, *self.flags)
        return f"petl-bench cancel of {left} trials, and run"

    def checkpoint_is_removed(self) -> str:
        found = sorted(self.output.glob("trials/*/checkpoint.pt"))
        if not found:
            return ""
        self.dice.choice(found).unlink(missing_ok=True)
        return "a checkpoint is removed"

    def _one_at_work(self) -> tuple[str, int]:
        """A task that is within a trial, and its process; "" if none comes to one within minutes."""
        deadline = time.monotonic() + 180
        while self.records() < self.trials and time.monotonic() < deadline:
            if tasks := at_work(self.output):
                return self.dice.choice(sorted(tasks.items()))
            time.sleep(0.2)
        return "", 0

    def _sleep(self, least: float, most: float) -> None:
        time.sleep(self.dice.uniform(least, most))


def stop(command: subprocess.Popen[str]) -> None:
    """End a command that a failed test left."""
    if command.poll() is None:
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate()
