"""Folders of one's own, each with a name: `kitchen=DIR` in the place of a data set's name.

Such a data set is read by the plugin `folder`, and is called `kitchen` wherever it is mentioned. The name is part of a
trial's key, so that two folders are never taken for one; where the folder lies is not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from petl_bench.api.dataset import Dataset

#: The data set plugin that reads a named folder, and its field for DIR.
PLUGIN, PATH = "folder", "path"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def name_of(text: str) -> str:
    """The name of a data set in `ucf101` or `kitchen=DIR`."""
    return text.partition("=")[0].strip()


def folders_of(texts: Iterable[str], flag: str = "--datasets") -> dict[str, str]:
    """Name -> DIR of those data sets that are folders with a name.

    Raises UsageError for a name that is given twice or cannot be one, or for a name without a folder.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, folder = name_of(text), *text.partition("=")[1:]
        if not equals:
            continue
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{flag} {text}: {name!r} cannot name a folder: use lower-case letters, digits and underscores, "
                "e.g. kitchen=DIR"
            )
        if not folder.strip():
            raise UsageError(f"{flag} {text}: which folder? Say {name}=DIR")
        if name in found:
            raise UsageError(f"{flag}: the name {name!r} is given twice, to {found[name]} and to {folder.strip()}")
        found[name] = folder.strip()
    return found


def refuse_taken(folders: Iterable[str], kinds: Mapping[str, str]) -> None:
    """Raise UsageError for a name that `--set NAME.FIELD` would take for something else; `kinds`: name -> its kind."""
    for name in folders:
        if name in kinds:
            raise UsageError(f"{name}=DIR: {name!r} is a {kinds[name]} already; give the folder another name")


def status_command(dataset: Dataset, where: Path) -> str:
    """The command that tells which clips of a data set are here, with `where` they are looked for."""
    is_named = type(dataset).name != dataset.name
    return f"petl-bench data status {dataset.name}{'=' if is_named else ' --data-root '}{shlex.quote(str(where))}"
