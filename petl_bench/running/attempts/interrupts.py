"""Ctrl-C, or a polite kill (SIGTERM), while trials run on this machine.

The trial that runs is asked to stop, as by a scheduler's warning: it writes down what it has done after its present
step, and the next run goes on from there. A trial that has done nothing yet is not waited for, and none is waited for
longer than `STOP_WITHIN_S`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from petl_bench.api.trial import Notify, Progress

#: The reason that such an attempt ends with.
ON_REQUEST = "stopped on request"
#: How long a trial may take for its present step.
STOP_WITHIN_S = 60.0
STOPPING = "stopping: running trials finish their present step and keep what they have done; Ctrl-C again stops at once"

#: One Ctrl-C may arrive twice: from the terminal, and from a program that passes it on.
_ONE_INTERRUPT_S = 0.5


class StopRequest:
    """Whether the trials of this process are to stop; a trial asks it (`petl_bench.api.trial.Stop`)."""

    def __init__(self) -> None:
        self._asked = False
        self._would_lose = False  #: whether an interrupt would lose what a trial has done

    def __call__(self) -> str:
        return ON_REQUEST if self._asked else ""

    def ask(self) -> None:
        """From the handler of a signal. Raises KeyboardInterrupt if no trial runs, or none has done anything."""
        self._asked = True
        if not self._would_lose:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def while_trial_tells(self, notify: Notify) -> Iterator[Notify]:
        """Around one trial: its progress, which is passed on, says whether it has done anything."""

        def tell(progress: Progress) -> None:
            self._would_lose = self._would_lose or progress.step > 0
            notify(progress)

        try:
            yield tell
        finally:
            self._would_lose = False

    @contextlib.contextmanager
    def while_workers_run(self) -> Iterator[None]:
        """Around a loop that looks by itself whether it is to stop."""
        self._would_lose = True
        try:
            yield
        finally:
            self._would_lose = False


class Interrupts:
    """Takes over the signals that would raise KeyboardInterrupt in this process, which is that of the command.

    The first one is a request to stop. After it a SIGTERM changes nothing, and another Ctrl-C raises KeyboardInterrupt,
    as does the end of the time for a trial that runs here. `tell` is called while that is awaited.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.request = StopRequest()
        self._tell = tell
        self._since = 0.0
        self._over = threading.Event()

    @contextlib.contextmanager
    def taken_over(self) -> Iterator[StopRequest]:
        """The request that signals make; they are given back at the end."""
        here = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
        numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if here and _interrupts(each)]
        for number in numbers:
            signal.signal(number, self._received)
        try:
            yield self.request
        finally:
            self._over.set()
            for number in numbers:
                signal.signal(number, signal.default_int_handler)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if not self.request():
            self._since = time.monotonic()
            self.request.ask()
            threading.Thread(target=self._wait, name="petl-bench interrupt", daemon=True).start()
        elif number == signal.SIGINT and time.monotonic() - self._since > _ONE_INTERRUPT_S:
            raise KeyboardInterrupt

    def _wait(self) -> None:
        """Not in the handler, which may have come in the middle of a line that is being written."""
        self._tell(STOPPING)
        if not self._over.wait(STOP_WITHIN_S):
            os.kill(os.getpid(), signal.SIGINT)


def _interrupts(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.default_int_handler
