"""`hf:USER/NAME[@REVISION]` and `hf:datasets/USER/NAME[@REVISION]`: repositories of the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from petl_bench.errors import UsageError
from petl_bench.system.texts import clean, shortened

PREFIX, DATA_PREFIX = "hf:", "hf:datasets/"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]{0,199}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A repository, and which revision of it; None: its main branch."""

    repository: str  #: USER/NAME
    revision: str | None = None


def is_address(text: str) -> bool:
    """Whether a text names a repository of the Hub, and no file or folder here."""
    return text.startswith(PREFIX)


def model_address(text: str, revision: str | None = None) -> Address:
    """The repository of `hf:USER/NAME[@REVISION]`; `revision`: another way to say which. Raises UsageError."""
    return _address(text, PREFIX, revision)


def data_address(text: str) -> Address:
    """The repository of `hf:datasets/USER/NAME[@REVISION]`. Raises UsageError."""
    return _address(text, DATA_PREFIX, None)


def _address(text: str, prefix: str, revision: str | None) -> Address:
    repository, at, named = text.removeprefix(prefix).partition("@")
    expected = f"{shortened(clean(text), 200)}: expected {prefix}USER/NAME, or {prefix}USER/NAME@REVISION"
    if not text.startswith(prefix) or not _REPOSITORY.fullmatch(repository):
        raise UsageError(expected)
    if at and revision is not None and named != revision:
        raise UsageError(f"{text}: the revision is named twice, as {named} and as {clean(revision)}")
    wanted = named if at else revision
    if wanted is not None and not _REVISION.fullmatch(wanted):
        raise UsageError(f"{expected}; a revision is a branch, a tag or a commit")
    return Address(repository, wanted)
