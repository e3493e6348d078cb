"""A stored command for the folder of runs where it lies now, whatever it was called when the command was typed."""

from __future__ import annotations

import shlex
from pathlib import Path

#: The names of `run`'s option for the folder, and the folder that it has without one.
_FLAGS = ("--output", "--runs")
_DEFAULT = Path("runs")


def command_for(command: str, folder: Path) -> str:
    """The `run` command, writing into `folder`. One that cannot be split as a shell splits it is left as it is."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept: list[str] = []
    place: int | None = None
    position = 0
    while position < len(words):
        word = words[position]
        if word in _FLAGS or word.startswith(tuple(f"{flag}=" for flag in _FLAGS)):
            place = len(kept) if place is None else place
            position += 1 if "=" in word else 2
        else:
            kept.append(word)
            position += 1
    if place is None and folder == _DEFAULT:
        return command
    place = len(kept) if place is None else place
    return shlex.join([*kept[:place], _FLAGS[0], str(folder), *kept[place:]])
