"""Which output folder it is, beyond its path: an identity in a file of its own, made when the first run starts in it.

A folder that was moved away, or removed and made anew, must not be taken for the one that a command started with: what
waits, runs or is queued for it would go on in another one, half of its trials here and half of them there. The identity
moves with the folder, to every path and machine.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

from petl_bench.errors import StoreError
from petl_bench.system.files import create

FILE = "folder.json"


def identify(output: Path) -> str:
    """The identity of an output folder, which gets one if it has none. Raises StoreError if it cannot be written."""
    if identity := _read(output):
        return identity
    create(output / FILE, json.dumps({"id": uuid.uuid4().hex}).encode() + b"\n")
    if identity := _read(output):  # another command's, if that was first
        return identity
    raise StoreError(f"{output / FILE}: cannot be read; remove it, records do not need it")


def refuse_another(output: Path, identity: str) -> None:
    """Raise StoreError, with what to do, if the folder at this path is not the one with this identity ("": any)."""
    if not identity or _read(output) == identity:
        return
    if not output.is_dir():
        raise StoreError(
            f"{output}: the output folder is gone; it was moved or removed since it was asked for. Nothing was made "
            "anew. Put it back, or name its new place with --output, and type the command again"
        )
    raise StoreError(
        f"{output}: this is another folder than the one that was asked for, which was moved or removed (or its "
        f"{FILE} was). Nothing was written to it. Put the folder back, or name its new place with --output, and type "
        "the command again"
    )


def _read(output: Path) -> str:
    """The identity in the folder; "" if there is none that can be read."""
    try:
        identity = json.loads((output / FILE).read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return identity if isinstance(identity, str) and re.fullmatch("[0-9a-f]{32}", identity) else ""
