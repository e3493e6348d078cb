"""What one folder holds, sorted into kinds; an entry that cannot be looked at never takes its neighbours with it."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

from petl_bench.data.decoding.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, hold_a_series
from petl_bench.data.decoding.shards import SHARD_SUFFIX

_TEXT_SUFFIXES = frozenset({".csv", ".json", ".txt"})
_LINK_ERRORS: dict[int | None, str] = {
    errno.ENOENT: "broken_links",
    errno.ENOTDIR: "broken_links",
    errno.ELOOP: "link_loops",
}


@dataclass
class Listing:
    """The `total` entries of a folder, as paths below the root, each in one of the lists; `rest` by kind (`KINDS`).

    `shards` are tar archives, which are not opened here.

    `identity` is the same by whatever path the folder was reached. `linked` are links to folders, `outside` those links
    that lead out of the root (and stand in the other lists too). `refused` says why an entry cannot be read, `reason`
    why the folder cannot be listed, or not to its end.
    """

    identity: tuple[int, int] = (0, 0)
    total: int = 0
    videos: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    rest: dict[str, list[str]] = field(default_factory=dict)
    has_frames: bool = False
    outside: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def list_folder(root: str, folder: str) -> Listing:
    """The entries of a folder below the root."""
    place = f"{root}/{folder}" if folder else root
    prefix = f"{folder}/" if folder else ""
    listing, entries = Listing(), []
    try:
        status = os.stat(place)  # noqa: PTH116 - here and below: hundreds of thousands of paths, and Path is slow
        listing.identity = (status.st_dev, status.st_ino)
        with os.scandir(place) as found:
            for entry in found:
                entries.append(entry)  # one by one: what was read before an error stays
    except OSError as error:
        listing.reason = error.strerror or str(error)
    listing.total = len(entries)
    for entry in sorted(entries, key=lambda entry: entry.name):
        path = prefix + entry.name
        try:
            _sort_in(root, entry, path, listing)
        except OSError as error:
            _refuse(path, error.strerror or str(error), listing)
    listing.has_frames = hold_a_series(image[len(prefix) :] for image in listing.images)
    if listing.has_frames and len(listing.videos) == 1 and listing.videos[0].lower().endswith(".gif"):
        listing.images.append(listing.videos.pop())  # a preview of the frames
    return listing


def _sort_in(root: str, entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    name = entry.name
    if name.startswith("."):
        listing.rest.setdefault("hidden", []).append(path)
    elif not _is_utf8(name):
        _refuse(path.encode(errors="backslashreplace").decode(), "the name is not UTF-8; rename it", listing)
    elif entry.is_symlink():
        _sort_in_link(root, entry, path, listing)
    elif entry.is_dir(follow_symlinks=False):
        listing.folders.append(path)
    elif entry.is_file(follow_symlinks=False):
        _sort_in_file(name, path, listing)
    else:
        listing.rest.setdefault("special", []).append(path)


def _sort_in_link(root: str, entry: os.DirEntry[str], path: str, listing: Listing) -> None:
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if error.errno not in _LINK_ERRORS:
            raise
        listing.rest.setdefault(_LINK_ERRORS[error.errno], []).append(path)
        return
    target = os.path.normpath(os.path.join(os.path.dirname(entry.path), os.readlink(entry.path)))  # noqa: PTH115,PTH118,PTH120
    if not f"{target}/".startswith(f"{root.rstrip('/')}/"):
        listing.outside.append(path)
    if stat.S_ISDIR(mode):
        listing.linked.append(path)
    elif stat.S_ISREG(mode):
        _sort_in_file(entry.name, path, listing)
    else:
        listing.rest.setdefault("special", []).append(path)


def _sort_in_file(name: str, path: str, listing: Listing) -> None:
    _, dot, suffix = name.rpartition(".")
    suffix = f"{dot}{suffix.lower()}"
    if suffix in IMAGE_SUFFIXES:
        listing.images.append(path)
    elif suffix in VIDEO_SUFFIXES:
        listing.videos.append(path)
    elif suffix in _TEXT_SUFFIXES:
        listing.texts.append(path)
    elif suffix == SHARD_SUFFIX:
        listing.shards.append(path)
    else:
        listing.rest.setdefault("other_files", []).append(path)


def _refuse(path: str, reason: str, listing: Listing) -> None:
    listing.rest.setdefault("unreadable", []).append(path)
    listing.refused[path] = reason


def _is_utf8(name: str) -> bool:
    """Whether the name can be written down; Python shows other bytes of a name as lone surrogates."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
