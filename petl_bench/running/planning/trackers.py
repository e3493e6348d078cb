"""Whether the trackers of `run --track` can be used here, before any trial runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from petl_bench.api.registry import TRACKERS
from petl_bench.api.tracker import Tracker
from petl_bench.errors import UsageError


def refuse_missing_trackers(names: Iterable[str]) -> None:
    """Raise UsageError for a tracker that is unknown, or lacks a module; the message says what to type."""
    for name in names:
        tracker: type[Tracker] = TRACKERS.get(name)
        if missing := missing_modules(tracker):
            how = f": {tracker.install}" if tracker.install else ""
            raise UsageError(f"--track {name}: not installed: {', '.join(missing)}. Install it{how}, or leave it out")


def missing_modules(tracker: type[Tracker]) -> list[str]:
    """The modules of a tracker that are not installed; none is imported, only packages around them."""
    return [module for module in tracker.modules if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False
