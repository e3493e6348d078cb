"""What the system refuses (names, permissions, room, memory, open files), in words: no traceback helps with these.

Commands say it better if they know what they were doing; this is for what none of them expected. Everything else is
a fault of petl-bench or of a plugin, and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from itertools import pairwise
from pathlib import Path

_TRACEBACK = "PETL_BENCH_TRACEBACK"
_MEMORY = "not enough memory: close other programs, raise the limit (ulimit -v unlimited), or use --workers 1"
_FILES = "too many open files: raise the limit (ulimit -n 4096)"
_ADVICE = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOSPC: "make room, or write elsewhere",
    errno.EDQUOT: "make room, or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "ask for the permission, or use another place",
    errno.EPERM: "ask for the permission, or use another place",
    errno.EIO: "the disk or the file server has a fault",
    errno.ESTALE: "the file server has lost it; try again",
    errno.ELOOP: "its links lead to each other",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
}
#: What the loader and the interpreter say when there is no memory, or no room for one more thread.
_LOADER = ("cannot allocate memory", "failed to map segment", "can't start new thread", "cannot allocate")


def explanation(error: Exception) -> str:
    """The error in one line; "" for an error that is none of the system's."""
    words = _words(error)
    return f"{words}. ({_TRACEBACK}=1 shows where)" if words else ""


def wants_traceback() -> bool:
    """Whether the user asks for the traceback in place of the explanation."""
    return bool(os.environ.get(_TRACEBACK))


def _words(error: Exception) -> str:
    if isinstance(error, MemoryError) or any(part in str(error).lower() for part in _LOADER):
        return _MEMORY
    if isinstance(error, UnicodeError):
        return f"a name or a text cannot be written here: {error}"
    if isinstance(error, ValueError):
        return "a name has a NUL character in it, which no file can" if "null byte" in str(error) else ""
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "a path begins with ~ and a name that is no user of this machine"
    if not isinstance(error, OSError):
        return ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _FILES
    if error.errno == errno.ENOMEM:
        return _MEMORY
    if error.errno not in _ADVICE:
        return ""
    named = str(error.filename or "the system")
    return f"{_option_with(named)}{named}: {error.strerror}: {_ADVICE[error.errno]}"


def _option_with(path: str) -> str:
    """The option of the command line that gave the longest part of a path, with a blank behind it; "" for none."""
    part = max(Path(path).parts, key=len, default=path)
    return next((f"{option} " for option, value in pairwise(sys.argv) if option.startswith("-") and part in value), "")
