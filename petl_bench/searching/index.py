"""The index of a folder of videos: features on disk, renewed for changed files only.

One file per model and folder in the user's cache, written beside and moved into place: two searches at once each leave
a whole one. Losing it costs time alone. N videos, V views, W values of a view.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petl_bench.api.trial import canonical_json
from petl_bench.data.decoding.video_stream import DecodeFailure, open_container
from petl_bench.data.found.fingerprints import Fingerprints, FoundFile, stamps_of
from petl_bench.data.found.tree import Tree
from petl_bench.errors import DataError, StoreError
from petl_bench.searching.model import SearchModel
from petl_bench.system.cache import make_private, read_trusted
from petl_bench.system.files import write_atomically
from petl_bench.training.checkpoint import Pace

_log = logging.getLogger("petl_bench")

_FORMAT = 1
#: Seconds between two writings while videos are encoded; more if writing takes long.
_WRITE_EVERY_S = 10.0

#: Told of videos that are encoded: how many are done, and of how many.
Progress = Callable[[int, int], None]


class Entry(NamedTuple):
    """A file as it was read."""

    stamp: list[int]  #: changes with what is on disk, see `FoundFile`
    fingerprint: str
    seconds: float | None = None  #: its length, if its header has it
    unreadable: str = ""  #: why it cannot be read


@dataclass
class Index:
    """The videos of a folder that could be read, in the order of `features` float32 [N, V, W], and the others."""

    names: list[str] = field(default_factory=list)
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    entries: dict[str, Entry] = field(default_factory=dict)  #: of all of them

    @property
    def unreadable(self) -> dict[str, str]:
        """Those that could not be read, each with the reason."""
        return {name: entry.unreadable for name, entry in self.entries.items() if entry.unreadable}

    def of_files(self, files: Mapping[str, Entry]) -> Index:
        """The part of this index that is of these files; their stamps and fingerprints may be newer ones."""
        rows = [row for row, name in enumerate(self.names) if name in files]
        return Index([self.names[row] for row in rows], self.features[rows], dict(files))

    def with_videos(self, found: Mapping[str, np.ndarray], entries: Mapping[str, Entry]) -> Index:
        """This index and more: what is kept of videos [V, W], and the entries of these and of unreadable ones."""
        features = self.features
        if found:
            new = np.stack(list(found.values()))
            features = new if not self.names else np.concatenate([features, new])
        return Index([*self.names, *found], features, {**self.entries, **entries})


def index_file(identity: Mapping[str, Any], root: Path, cache: Path) -> Path:
    """Where the index of a folder lies for a model of this identity."""
    text = canonical_json({"format": _FORMAT, "root": str(root), **identity})
    return cache / "search" / f"{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}.npz"


def updated_index(
    model: SearchModel, tree: Tree, cache: Path, *, workers: int, progress: Progress
) -> tuple[Index, dict[str, str]]:
    """The index of a folder as it is now: files that are new or changed are encoded, those that are gone forgotten.

    What was encoded is kept if this is interrupted.

    Args:
        model: Encodes.
        tree: The walked folder.
        cache: The user's cache.
        workers: Processes that decode.
        progress: Told how many new or changed videos are encoded.

    Returns:
        The index, and the files and folders that cannot be read, each with the reason.

    Raises:
        DataError: No video can be read.
    """
    place = index_file(model.identity, tree.root, cache)
    stored = load(place)
    stamps = stamps_of(tree.root, tree.files)
    same = {name: entry for name, entry in stored.entries.items() if stamps.get(name) == entry.stamp}
    others, refused = _fingerprinted(tree, cache, [name for name in tree.files if name not in same])
    touched = {
        name: stored.entries[name]._replace(stamp=list(file.stamp))
        for name, file in others.items()
        if name in stored.entries and stored.entries[name].fingerprint == file.fingerprint
    }
    new = {name: file for name, file in others.items() if name not in touched}
    index = stored if len(same) == len(stored.entries) else stored.of_files({**same, **touched})
    if new:
        index = _extended(index, model, new, place, workers=workers, progress=progress)
    elif index is not stored:
        store(place, index)
    unreadable = dict(sorted({**index.unreadable, **refused, **tree.entries.unreadable}.items()))
    if not index.names:
        name, reason = next(iter(unreadable.items()))
        raise DataError(f"--videos {tree.root}: none of its {len(unreadable)} videos can be read. {name}: {reason}")
    return index, unreadable


def _fingerprinted(tree: Tree, cache: Path, files: Sequence[str]) -> tuple[dict[str, FoundFile], dict[str, str]]:
    """Files as they are now, and the system's reason for those that cannot be read."""
    return Fingerprints(tree.root, cache).of(files) if files else ({}, {})


def _extended(
    index: Index, model: SearchModel, new: Mapping[str, FoundFile], place: Path, *, workers: int, progress: Progress
) -> Index:
    pace, done = Pace(_WRITE_EVERY_S), 0
    waiting: dict[str, np.ndarray | str] = {}
    progress(0, len(new))
    try:
        for batch in model.encoded({name: file.path for name, file in new.items()}, workers):
            waiting.update(batch)
            done += len(batch)
            progress(done, len(new))
            if pace.due():
                index, waiting = _merged(index, waiting, new), {}
                with pace.writing():
                    store(place, index)
    finally:
        index = _merged(index, waiting, new)
        store(place, index)
    return index


def _merged(index: Index, outcomes: Mapping[str, np.ndarray | str], files: Mapping[str, FoundFile]) -> Index:
    found = {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, str)}
    entries = {name: _entry(files[name], outcome) for name, outcome in outcomes.items()}
    return index.with_videos(found, entries)


def _entry(file: FoundFile, outcome: np.ndarray | str) -> Entry:
    stamp = list(file.stamp)
    if isinstance(outcome, str):
        return Entry(stamp, file.fingerprint, unreadable=outcome)
    return Entry(stamp, file.fingerprint, length_s(file.path))


def length_s(video: Path) -> float | None:
    """The length of a video file in seconds, as its header has it; None if it has none, or for a folder of frames."""
    if video.is_dir():
        return None
    try:
        with open_container(video) as container:
            return None if container.duration is None else round(container.duration / 1e6, 3)
    except DecodeFailure:
        return None


def store(place: Path, index: Index) -> None:
    """Write an index for the user alone; if that cannot be, it is said, and the search goes on."""
    text = json.dumps({"format": _FORMAT, "names": index.names, "entries": index.entries})
    content = io.BytesIO()
    np.savez(content, features=index.features, text=np.frombuffer(text.encode(), np.uint8))
    try:
        make_private(place.parent)
        write_atomically(place, content.getvalue(), mode=0o600)
    except (OSError, StoreError) as error:
        _log.warning("%s; the index is not kept", error)


def load(place: Path) -> Index:
    """Read an index; an empty one if there is none, or if it is damaged, which is said."""
    try:
        with np.load(io.BytesIO(read_trusted(place)), allow_pickle=False) as stored:
            features, text = stored["features"], bytes(stored["text"])
        return _checked(features, json.loads(text))
    except FileNotFoundError:
        return Index()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        RecursionError,
    ) as error:
        _log.warning("index %s cannot be used (%s); all videos are encoded again", place, error)
        return Index()


def _checked(features: np.ndarray, values: Any) -> Index:
    names, entries = values["names"], {name: Entry._make(values) for name, values in values["entries"].items()}
    readable = {name for name, entry in entries.items() if not entry.unreadable}
    if features.dtype != np.float32 or features.ndim != 3 or len(features) != len(names) or readable != {*names}:
        raise ValueError("its parts do not fit together")
    return Index(names, features, entries)
