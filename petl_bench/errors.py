"""Errors that are for people: one clear message, no traceback on the command line.

Raise one of these if the user can do something about it; let everything else be a real traceback.
A message says what is wrong, which file, clip or trial, and what to type next.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class PetlBenchError(Exception):
    """Base of every error that the command line prints as one message, with exit status 2."""


class UsageError(PetlBenchError):
    """An unknown name, field or value, or options that do not fit together."""


class PluginError(PetlBenchError):
    """A plugin could not be loaded, or clashes with another one."""


class DataError(PetlBenchError):
    """A missing data root, an annotation file or a clip that cannot be used."""


class WeightsError(PetlBenchError):
    """A checkpoint that is missing, truncated, unsafe, or does not fit the backbone."""


class TrialError(PetlBenchError):
    """A trial that cannot go on: non-finite loss, too many unreadable clips."""


class TrialStopped(PetlBenchError):  # noqa: N818 - it is no fault of the trial
    """A trial that was asked to stop, with the reason. Its checkpoint stays, and the next attempt goes on from it."""


class StoreError(PetlBenchError):
    """The output directory cannot be written or read."""


def unknown(kind: str, name: str, known: Iterable[str], see: str, meant: Iterable[str] = ()) -> UsageError:
    """An error for an unknown name, with near names and the command that lists them all; names that are `meant` more
    likely come first, that which differs in case alone before them."""
    known = sorted(known)
    same = [each for each in known if each.casefold() == name.casefold()]
    near = same or [*meant] or near_names(name, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known) or 'none'}."
    return UsageError(f"unknown {kind} {name!r}{hint} See: {see}")


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three of the known names that a name may have been meant for; the one that differs in case only."""
    by_folded = {each.casefold(): each for each in known}
    if same := by_folded.get(name.casefold()):
        return [same]
    return [by_folded[each] for each in get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)]


def describe(error: BaseException, within: Path | None = None) -> str:
    """An error in one line with the file and line it came from (the deepest one inside `within`, if given)."""
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    inside = [f for f in frames if within is None or Path(f.filename) == within] or frames
    where = f" ({inside[-1].filename}, line {inside[-1].lineno})" if inside else ""
    return f"{type(error).__name__}: {error}{where}"
