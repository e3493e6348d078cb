"""How processes that this package starts end: with the one that started them, and never by a Ctrl-C of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait

import psutil


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ctrl-C on a terminal reaches every process of the run. One that is started in here ignores it from its first
    moment on, since it inherits that, and is stopped by the process that started it instead."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def watch_parent() -> None:
    """From now on, die with the process that started this one, as by `kill -9`, and take along all processes below."""
    threading.Thread(target=_leave_with_parent, name="petl-bench parent", daemon=True).start()


def kill_below(process: psutil.Process) -> None:
    """Kill every process that this one started, and those below them."""
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    kill_below(psutil.Process())
    os._exit(1)
