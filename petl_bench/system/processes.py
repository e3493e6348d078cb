"""How processes that this package starts end: with the one that started them, and never by a Ctrl-C of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

import psutil

_WARNINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


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


@contextlib.contextmanager
def warnings_held_back() -> Iterator[None]:
    """A scheduler's warning before it ends a job may reach every process of a trial, and is for the first one alone.

    A process (or thread) that is started in here never receives such a signal, nor do those below it; SIGKILL ends it.
    To this process a signal is given afterwards, if it came meanwhile.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WARNINGS)
    try:
        # multiprocessing starts this helper beside the first process of its own, and lets signals through again then.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _WARNINGS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def clean_context(module: str) -> Any:
    """How to start processes that share nothing with this one, its threads and CUDA state least of all.

    If the system can fork, they come from a clean server process that has imported `module` once: a new one is there
    at once, not after the seconds that the import takes.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


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
