"""A `petl-bench run` or `tune` command as one line: put together, and made anew from a file before it is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import pairwise

from petl_bench.system.texts import is_shown

_RUN, _TUNE = ["petl-bench", "run"], ["petl-bench", "tune"]
_FLAG = re.compile("--[a-z]+(-[a-z]+)*")
_LONGEST = 1 << 16


def run_command(arguments: Iterable[str]) -> str:
    """The command with these flags and values, quoted for a shell."""
    return shlex.join([*_RUN, *arguments])


def tune_command(arguments: Iterable[str]) -> str:
    """The same of a tuning."""
    return shlex.join([*_TUNE, *arguments])


def made_anew(text: str) -> str:
    """The command in a text that may come from elsewhere, such as a saved plan, quoted by us.

    It is taken apart, must be a `petl-bench run` or `tune` flag by flag, and is put together again. "" if it is none,
    or has what cannot be seen in it.
    """
    if len(text) > _LONGEST or not is_shown(text):
        return ""
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    arguments = words[len(_RUN) :]
    if words[: len(_RUN)] not in (_RUN, _TUNE):
        return ""
    is_flag = [_FLAG.fullmatch(word) is not None for word in arguments]
    if not all(flag or before for before, flag in pairwise([False, *is_flag])):
        return ""  # a word that is neither a flag nor the value of one
    return shlex.join(words)
