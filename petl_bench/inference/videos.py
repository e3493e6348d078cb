"""The videos and the class names that a command is given: files, folders of videos, folders of frames, lists."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from petl_bench.api.values.flag_lists import split_list
from petl_bench.data.decoding.shards import SHARD_SUFFIX
from petl_bench.data.found.entries import folder_notes
from petl_bench.data.found.fingerprints import Fingerprints
from petl_bench.data.found.listing import list_folder
from petl_bench.data.found.tree import Tree, canonical, is_folder, refuse_unread_archives, walk
from petl_bench.errors import DataError, UsageError
from petl_bench.system.stored_json import UnusableError, read_bytes
from petl_bench.system.texts import clean, shortened

#: Bytes of a file of class names, and letters of a name in a message.
_LARGEST, _SHOWN = 4_000_000, 60
#: How alike two names are for the one to be a likely slip for the other, from 0 to 1.
_ALIKE = 0.85


@dataclass
class Videos:
    """The videos that were asked for, in their order.

    Attributes:
        paths: Where each one lies, by the name that it is shown with.
        unreadable: What cannot be read, as the walk of the folders found, with the reason.
        notes: What is said of each folder (see `folder_notes`).
    """

    paths: dict[str, Path] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def videos_in(folder: Path) -> Tree:
    """The videos below a folder. Raises DataError if there is no such folder, or no video in it."""
    if not is_folder(folder.expanduser()):
        raise DataError(f"--videos {folder}: no such folder")
    tree = walk(folder.expanduser().resolve())
    refuse_unread_archives(tree)
    if not tree.files:
        raise DataError(f"--videos {folder}: no video in it, and no folder of numbered images")
    return tree


def videos_of(places: Sequence[Path], cache: Path) -> Videos:
    """The videos of files and folders, in the order of the places; those of a folder by name.

    A file is called as it was typed. So is a folder of frames. A video below a folder is called by its path in it, and
    by the typed name of the folder in front if there are several places. What is named twice is there once.

    Args:
        places: Video files, folders of videos, folders of numbered images.
        cache: The user's cache, for fingerprints.

    Raises:
        DataError: There is nothing at a place, or no video in it.
    """
    videos, several = Videos(), len(places) > 1
    known: set[Path] = set()
    for place in places:
        named = _of_folder(place, several, cache, videos) if _holds_videos(place) else {str(place): _clip(place)}
        new = {name: path for name, path in named.items() if path not in known}
        known |= set(new.values())
        videos.paths |= new
    return videos


def _holds_videos(place: Path) -> bool:
    """Whether a place is a folder of videos, and not a folder of frames, or a file."""
    folder = place.expanduser()
    if not is_folder(folder):
        return False
    listing = list_folder(str(folder), "")
    return not listing.has_frames or bool(listing.videos or listing.folders or listing.linked)


def _of_folder(place: Path, several: bool, cache: Path, videos: Videos) -> dict[str, Path]:
    """The videos below a folder; what cannot be read, and notes on it, are added to `videos`."""
    tree = videos_in(place)
    prefix = f"{place}/" if several else ""
    found, refused = Fingerprints(tree.root, cache, tree.shards).of(tree.files)
    unreadable = {**refused, **tree.entries.unreadable, **tree.no_videos}
    videos.unreadable |= {prefix + name: reason for name, reason in sorted(unreadable.items())}
    videos.notes += folder_notes(tree.entries)
    return {prefix + name: found[name].path for name in tree.files if name in found}


def _clip(place: Path) -> Path:
    """The absolute path of a file or a folder of frames; a link keeps its own name, for that says what it is."""
    path = place.expanduser()
    if path.suffix == SHARD_SUFFIX:
        raise DataError(f"--videos {shortened(str(place), 200)}: a tar shard; name the folder that it lies in")
    try:
        if path.is_file() or path.is_dir():
            return path.parent.resolve() / path.name if path.name else path.resolve()
        exists = path.exists()
    except (OSError, ValueError):  # too long, or with a NUL
        exists = False
    what = "neither a file nor a folder" if exists else "no such file or folder"
    raise DataError(f"--videos {shortened(str(place), 200)}: {what}")


# Class names


def classes_of(text: str) -> tuple[str, ...]:
    """The class names in the value of `--classes`: of a file, one a line; else of a list with commas between them.

    Raises UsageError for a file that cannot be read, a name that comes twice or cannot be shown, and for less than two.
    """
    file = named_file(text)
    names = lines_of(file, "--classes", _LARGEST) if file else [(0, name) for name in split_list(text, "--classes")]
    lines: dict[str, int] = {}
    for line, name in names:
        where = f"--classes {file}, line {line}" if file else "--classes"
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UsageError(
                f"{where}: {shortened(clean(name), _SHOWN)!r}: control characters or broken text in a name"
            )
        if name in lines:
            first = f", as in line {lines[name]}" if file else ", twice"
            raise UsageError(f"{where}: the class {shortened(name, _SHOWN)!r}{first}; every class once")
        lines[name] = line
    if len(lines) < 2:
        given = f"the only class in {file}" if file else "no file, and the only class"
        one = f"{shortened(next(iter(lines)), _SHOWN)!r} is {given}" if lines else "no class in it"
        raise UsageError(f"--classes: {one}; name two or more, for their probabilities add up to 1")
    return tuple(lines)


def named_file(text: str) -> Path | None:
    """The file that the value of an option names; None if it is a list."""
    try:
        file = Path(text).expanduser()
        return file if file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long for a path, or no user behind ~
        return None


def lines_of(file: Path, option: str, largest: int) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers. Raises UsageError if it cannot be read.

    Args:
        file: In UTF-8.
        option: That named it.
        largest: Bytes that it may have.
    """
    try:
        text = read_bytes(file, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {file}: not a text in UTF-8 (byte {error.start + 1:,})") from error
    except (OSError, UnusableError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{option} {file}: {reason}; expected a text in every line") from error
    stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in stripped if line]


def near_misses(classes: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The names that are no class of the trial, and look like one of them, with that one."""
    by_canonical = {canonical(name): name for name in reversed(known)}
    found = {}
    for name in set(classes) - set(known):
        near = difflib.get_close_matches(canonical(name), by_canonical, n=1, cutoff=_ALIKE)
        if near and by_canonical[near[0]] not in classes:
            found[name] = by_canonical[near[0]]
    return {name: found[name] for name in classes if name in found}


# Videos that cannot be read


def none_readable(count: int, name: str, reason: str) -> DataError:
    """That not one of the videos can be read, with one of them and the reason."""
    return DataError(f"--videos: no video can be read, of {count:,}. {name}: {reason}")
