"""Adapters that were trained elsewhere: `DIR/imported/NAME/`, with the file and `import.json`. Without torch.

NAME is the key of the trial that the file names, or the sha256 of a file that names none. No report, status or
comparison reads this folder: nothing in it was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.records.judge import adapter_fault
from petl_bench.records.layout import ADAPTER, RECORD, is_key
from petl_bench.records.scan import trial_names
from petl_bench.records.schema import fields_of
from petl_bench.system.stored_json import UnusableError, read_json, tell_unusable

IMPORTED, PROVENANCE = "imported", "import.json"
#: Raised when a field of `import.json` changes its meaning.
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """`import.json`: where an adapter comes from, what its file claims, and what cannot be verified here."""

    schema: int = SCHEMA
    title: str
    file: str  #: its name, without folders
    sha256: str  #: of the file
    bytes: int
    imported: str  #: when, ISO 8601
    petl_bench: str  #: the version that imported it
    merged: bool  #: whether it is a whole model
    claimed: Mapping[str, Any] = field(default_factory=dict)  #: `petl_bench.sharing.claimed`, as the file has it
    unverified: Sequence[str] = ()  #: in words


@dataclass(frozen=True)
class Imported:
    """An imported adapter."""

    key: str  #: NAME
    file: Path
    provenance: Provenance

    @property
    def title(self) -> str:
        """For people."""
        return self.provenance.title


def imported_folder(runs: Path, name: str) -> Path:
    """The folder of an imported adapter."""
    return runs / IMPORTED / name


def adapters_by_key(runs: Path) -> dict[str, Imported]:
    """The imported adapters of a folder of runs by key; those that cannot be used are named on stderr."""
    found = {}
    for name in trial_names(runs / IMPORTED):
        if is_key(name) and (each := read_imported(runs, name)):
            found[name] = each
    return found


def read_imported(runs: Path, name: str) -> Imported | None:
    """The imported adapter of this name; None if there is none, or if it cannot be used, which is told."""
    folder = imported_folder(runs, name)
    path = folder / PROVENANCE
    try:
        provenance = Provenance(**fields_of(read_json(path), Provenance))
    except FileNotFoundError:
        return None
    except UnusableError as error:
        tell_unusable(path, str(error))
        return None
    return Imported(name, folder / ADAPTER, provenance)


def is_usable(folder: Path) -> bool:
    """Whether the folder of a trial is there, finished, and has the adapter that it left."""
    return (folder / RECORD).exists() and not adapter_fault(folder)
