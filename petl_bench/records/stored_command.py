"""A command as a plan keeps it, made anew before anybody is told to type it.

Files of plans may come from elsewhere. What is shown is never their text: it is taken apart, must be a run of
petl-bench, flag by flag, and is put together and quoted again.
"""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

from petl_bench.system.texts import is_shown

_BEGINNING = ["petl-bench", "run"]
_FLAG = re.compile("--[a-z]+(-[a-z]+)*")
_LONGEST = 1 << 16


def made_anew(text: str) -> str:
    """The same `petl-bench run` command, quoted by us; "" if the text is none, or has what cannot be seen in it."""
    if len(text) > _LONGEST or not is_shown(text):
        return ""
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    if words[: len(_BEGINNING)] != _BEGINNING:
        return ""
    is_flag = [_FLAG.fullmatch(word) is not None for word in words[len(_BEGINNING) :]]
    if not all(flag or before for before, flag in pairwise([False, *is_flag])):
        return ""  # a word that is neither a flag nor the value of one
    return shlex.join(words)
