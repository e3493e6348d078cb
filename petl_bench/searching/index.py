"""The index of a folder of videos: features on disk, renewed for changed files only.

One file per model and folder in the user's cache, written beside and moved into place: two searches at once each leave
a whole one. Losing it costs time alone. N videos, V views, W values of a view.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from petl_bench.api.trial import canonical_json
from petl_bench.data.decoding.video_stream import DecodeFailure, open_container
from petl_bench.data.found.fingerprints import Fingerprints, FoundFile, stamp_text, stamps_of
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

_AGAIN = "; all videos are encoded again"
_COLUMNS = {"names", "stamps", "fingerprints", "seconds", "unreadable"}

#: Told of videos that are encoded: how many are done, and of how many.
Progress = Callable[[int, int], None]


class Unreadable(NamedTuple):
    """A file that could not be read."""

    stamp: str  #: changes with what is on disk, see `stamp_text`
    fingerprint: str
    reason: str


@dataclass
class Index:
    """The videos of a folder as they were read: `names`, `features` float32 [N, V, W] and the other columns, in no
    order; and the files that could not be read.

    Columns instead of an object for each video: ten thousand of them take longer to make than a query to answer.
    """

    names: list[str] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)  #: change with what is on disk, see `stamp_text`
    fingerprints: list[str] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)  #: lengths, None if the header has none
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    unreadable: dict[str, Unreadable] = field(default_factory=dict)

    def unchanged(self, stamps: Mapping[str, str]) -> set[str]:
        """The files with the stamps that they had."""
        videos = {name for name, stamp in zip(self.names, self.stamps, strict=True) if stamps.get(name) == stamp}
        return videos | {name for name, known in self.unreadable.items() if stamps.get(name) == known.stamp}

    def of_files(self, unchanged: Collection[str], touched: Mapping[str, FoundFile]) -> Index:
        """The part that is of unchanged files, and of touched ones if their fingerprints are the same."""

        def is_same(name: str, fingerprint: str) -> bool:
            return name in unchanged or (name in touched and touched[name].fingerprint == fingerprint)

        def stamp(name: str, before: str) -> str:
            return stamp_text(touched[name].stamp) if name in touched else before

        rows = [row for row, name in enumerate(self.names) if is_same(name, self.fingerprints[row])]
        return Index(
            names=[self.names[row] for row in rows],
            stamps=[stamp(self.names[row], self.stamps[row]) for row in rows],
            fingerprints=[self.fingerprints[row] for row in rows],
            seconds=[self.seconds[row] for row in rows],
            features=self.features[rows],
            unreadable={
                name: known._replace(stamp=stamp(name, known.stamp))
                for name, known in self.unreadable.items()
                if is_same(name, known.fingerprint)
            },
        )

    def with_files(self, outcomes: Mapping[str, np.ndarray | str], files: Mapping[str, FoundFile]) -> Index:
        """This index and more files, each with what is kept of it [V, W], or why it cannot be read."""
        found = {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, str)}
        features = [self.features] if self.names else []
        more = {
            name: Unreadable(stamp_text(files[name].stamp), files[name].fingerprint, outcome)
            for name, outcome in outcomes.items()
            if isinstance(outcome, str)
        }
        return Index(
            names=[*self.names, *found],
            stamps=[*self.stamps, *(stamp_text(files[name].stamp) for name in found)],
            fingerprints=[*self.fingerprints, *(files[name].fingerprint for name in found)],
            seconds=[*self.seconds, *(length_s(files[name].path) for name in found)],
            features=np.concatenate([*features, np.stack(list(found.values()))]) if found else self.features,
            unreadable={**self.unreadable, **more},
        )


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
    stored = _fitting(load(place), model, place)
    unchanged = stored.unchanged(stamps_of(tree.root, tree.files, tree.shards))
    files, refused = _fingerprinted(tree, cache, [name for name in tree.files if name not in unchanged])
    whole = len(unchanged) == len(stored.names) + len(stored.unreadable)
    index = stored if whole else stored.of_files(unchanged, files)
    new = files.keys() - {*index.names} - index.unreadable.keys() if files else set()
    if new:
        new_files = {name: files[name] for name in new}
        index = _extended(index, model, new_files, place, workers=workers, progress=progress)
    elif index is not stored:
        store(place, index)
    reasons = {name: known.reason for name, known in index.unreadable.items()}
    unreadable = dict(sorted({**reasons, **refused, **tree.entries.unreadable, **tree.no_videos}.items()))
    if not index.names:
        name, reason = next(iter(unreadable.items()))
        raise DataError(f"--videos {tree.root}: none of its {len(unreadable)} videos can be read. {name}: {reason}")
    return index, unreadable


def _fingerprinted(tree: Tree, cache: Path, files: Sequence[str]) -> tuple[dict[str, FoundFile], dict[str, str]]:
    """Files as they are now, and the system's reason for those that cannot be read."""
    return Fingerprints(tree.root, cache, tree.shards).of(files) if files else ({}, {})


def _extended(
    index: Index, model: SearchModel, new: Mapping[str, FoundFile], place: Path, *, workers: int, progress: Progress
) -> Index:
    pace, done = Pace(_WRITE_EVERY_S), 0
    waiting: dict[str, np.ndarray | str] = {}
    progress(0, len(new))
    try:
        for batch in model.kept({name: file.path for name, file in new.items()}, workers):
            waiting.update(batch)
            done += len(batch)
            progress(done, len(new))
            if pace.due():
                index, waiting = index.with_files(waiting, new), {}
                with pace.writing():
                    store(place, index)
    finally:
        index = index.with_files(waiting, new)
        store(place, index)
    return index


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
    columns = {name: value for name, value in vars(index).items() if name != "features"}
    text = json.dumps(columns)
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
        MemoryError,  # for a shape that is none
        OverflowError,
        RuntimeError,  # an encrypted or otherwise packed part, brackets a thousand deep
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        _log.warning("index %s cannot be used (%s)%s", place, error, _AGAIN)
        return Index()


def _fitting(index: Index, model: SearchModel, place: Path) -> Index:
    """The index, or an empty one, which is said, if the model keeps no features of this shape."""
    shape = index.features.shape[1:]
    if not index.names or model.keeps(shape):
        return index
    _log.warning("index %s cannot be used (features of the shape %s, not the model's)%s", place, shape, _AGAIN)
    return Index()


def _checked(features: np.ndarray, columns: dict[str, Any]) -> Index:
    """The index of these parts. Raises ValueError, or what the parts of other types raise, if they are none."""
    if columns.keys() != _COLUMNS:
        raise ValueError("its columns are others")
    unreadable = {name: Unreadable._make(known) for name, known in columns.pop("unreadable").items()}
    index = Index(features=features, unreadable=unreadable, **columns)
    texts = [*index.names, *index.stamps, *index.fingerprints, *chain.from_iterable(unreadable.values())]
    counts = {*map(len, columns.values()), len(features), len(set(index.names))}
    if (
        len(counts) > 1
        or features.dtype != np.float32
        or features.ndim != 3
        or not all(isinstance(text, str) for text in texts)
        or not all(length is None or math.isfinite(length) for length in index.seconds)
    ):
        raise ValueError("its parts do not fit together")
    if not np.isfinite(features).all():
        raise ValueError("some features are no numbers")
    return index
