"""The manifest of a data set on this machine: what its lists name, which files those are, and one hash over all of it.

The hash covers classes, every list, and the content of every clip found, but no absolute path and no time stamp: the
same data elsewhere gives the same hash. It enters the key of every trial.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from petl_bench.data.layout import ClipIndex, scan
from petl_bench.dataset import Annotations, Dataset, HalfSplit, Sample
from petl_bench.errors import DataError
from petl_bench.trial import canonical_json

_log = logging.getLogger(__name__)

#: Bytes read at each end of a clip for its fingerprint.
_END_BYTES = 64 * 1024
_CACHE_VERSION = 1


@dataclass(frozen=True)
class FoundFile:
    """A clip's file: where it lies, its size in bytes, and a hash of its size and its first and last 64 KiB."""

    path: Path
    bytes: int
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """A data set as it lies on this machine. Every clip of its lists is in exactly one of found, missing, ambiguous.

    `ambiguous` maps a clip to the files that fit it equally well; `notes` are the annotations' known defects and notes,
    and what was seen on disk.
    """

    dataset: str
    root: Path
    annotations: Annotations
    found: Mapping[str, FoundFile]
    missing: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    sha256: str

    @property
    def expected(self) -> int:
        """Number of distinct clips that the lists name."""
        return len(self.found) + len(self.missing) + len(self.ambiguous)


@dataclass(frozen=True)
class Coverage:
    """How many clips of a list are there to be read."""

    expected: int
    found: int
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]


def coverage(samples: Iterable[Sample], manifest: Manifest) -> Coverage:
    """Count the clips of `samples` in the manifest, each clip once."""
    clips = dict.fromkeys(sample.clip for sample in samples)
    return Coverage(
        expected=len(clips),
        found=sum(clip in manifest.found for clip in clips),
        missing=tuple(clip for clip in clips if clip not in manifest.found and clip not in manifest.ambiguous),
        ambiguous=tuple(clip for clip in clips if clip in manifest.ambiguous),
    )


def named_lists(annotations: Annotations) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """Every list of a data set with its name, e.g. ("test 1", ...), ("base_test", ...)."""
    for split, samples in sorted(annotations.train.items()):
        yield f"train {split}", samples
    for split, samples in sorted(annotations.test.items()):
        yield f"test {split}", samples
    for (split, shots), samples in sorted(annotations.few_shot.items()):
        yield f"few_shot {split} {shots}-shot", samples
    if annotations.base_to_novel is not None:
        yield from _half_lists(annotations.base_to_novel)


def build_manifest(dataset: Dataset, root: Path, cache_dir: Path) -> Manifest:
    """Read the annotations under `root`, find and fingerprint every clip. Fingerprints are cached under `cache_dir`.

    Raises DataError where annotations cannot be used, or where one file trains and is tested in the same split.
    """
    root = root.resolve()
    annotations = replace(dataset.annotations(root), dataset=dataset.name)
    tree = scan(root)
    labels = _labels(annotations)
    candidates, missing, ambiguous = _resolve(labels, ClipIndex(tree, annotations.classes, dataset.identity))
    files = [path for paths in candidates.values() for path in paths]
    fingerprints, refused = _Fingerprints(root, cache_dir).of(files)
    found, unclear = _settle(candidates, fingerprints)
    ambiguous |= unclear
    missing += [clip for clip in candidates if clip not in found and clip not in ambiguous]
    _refuse_shared_files(annotations, found)
    refused |= dict.fromkeys(tree.unreadable, "the folder cannot be listed")
    notes = (
        *map(str, annotations.defects),
        *annotations.notes,
        *_refused_notes(refused),
        *_disk_notes(annotations, found),
    )
    digest = hashlib.sha256(canonical_json(_content(annotations, found)).encode()).hexdigest()
    return Manifest(
        dataset=dataset.name,
        root=root,
        annotations=annotations,
        found=dict(sorted(found.items())),
        missing=tuple(sorted(missing)),
        ambiguous=dict(sorted(ambiguous.items())),
        notes=notes,
        sha256=digest,
    )


# ---------------------------------------------------------------- from clips to files


def _half_lists(half: HalfSplit) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    yield "base_train", half.base_train
    for draw, samples in sorted(half.draws.items()):
        yield f"base_train draw {draw}", samples
    yield "base_test", half.base_test
    yield "novel_test", half.novel_test


def _labels(annotations: Annotations) -> dict[str, set[int]]:
    labels: dict[str, set[int]] = {}
    for _, samples in named_lists(annotations):
        for sample in samples:
            labels.setdefault(sample.clip, set()).add(sample.label)
    return labels


def _resolve(
    labels: Mapping[str, set[int]], index: ClipIndex
) -> tuple[dict[str, tuple[str, ...]], list[str], dict[str, tuple[str, ...]]]:
    """Candidates of every clip, the missing ones, and those that share a file with a clip of another label.

    A file that several clips of different labels claim belongs to those that name it by its path, if to any.
    """
    matches = {clip: index.find(clip) for clip in labels}
    claimed: dict[str, set[int]] = {}
    for clip, match in matches.items():
        for file in match.files:
            claimed.setdefault(file, set()).update(labels[clip])
    candidates, missing, ambiguous = {}, [], {}
    for clip, match in matches.items():
        if not match.files:
            missing.append(clip)
        elif not match.by_path and any(claimed[file] != labels[clip] for file in match.files):
            ambiguous[clip] = match.files
        else:
            candidates[clip] = match.files
    return candidates, missing, ambiguous


def _settle(
    candidates: Mapping[str, tuple[str, ...]], fingerprints: Mapping[str, FoundFile]
) -> tuple[dict[str, FoundFile], dict[str, tuple[str, ...]]]:
    """Readable candidates of equal content are one file; of different content, the clip is ambiguous."""
    found, ambiguous = {}, {}
    for clip, paths in candidates.items():
        files = [fingerprints[path] for path in paths if path in fingerprints]
        if len({file.fingerprint for file in files}) > 1:
            ambiguous[clip] = paths
        elif files:
            found[clip] = files[0]
    return found, ambiguous


def _refuse_shared_files(annotations: Annotations, found: Mapping[str, FoundFile]) -> None:
    for name, train, test in _train_and_test(annotations):
        trained = {found[sample.clip].path: sample.clip for sample in train if sample.clip in found}
        for sample in test:
            if sample.clip in found and found[sample.clip].path in trained:
                raise DataError(
                    f"{found[sample.clip].path}: trains as {trained[found[sample.clip].path]!r} and is tested as "
                    f"{sample.clip!r} in {name}; remove it from one of the lists"
                )


def _train_and_test(annotations: Annotations) -> Iterator[tuple[str, Sequence[Sample], Sequence[Sample]]]:
    for split, test in sorted(annotations.test.items()):
        draws = [samples for (of, _), samples in sorted(annotations.few_shot.items()) if of == split]
        train = [sample for samples in (annotations.train.get(split, ()), *draws) for sample in samples]
        yield f"split {split}", train, test
    half = annotations.base_to_novel
    if half is not None:
        draws = [samples for _, samples in sorted(half.draws.items())]
        train = [sample for samples in (half.base_train, *draws) for sample in samples]
        yield "base-to-novel", train, (*half.base_test, *half.novel_test)


def _refused_notes(refused: Mapping[str, str]) -> Iterator[str]:
    if refused:
        path, reason = next(iter(sorted(refused.items())))
        yield f"{len(refused)} files or folders cannot be read and count as missing, e.g. {path} ({reason})"


def _disk_notes(annotations: Annotations, found: Mapping[str, FoundFile]) -> Iterator[str]:
    for name, train, test in _train_and_test(annotations):
        trained = {found[sample.clip].fingerprint for sample in train if sample.clip in found}
        copies = [s.clip for s in test if s.clip in found and found[s.clip].fingerprint in trained]
        if copies:
            yield (
                f"{len(copies)} test clips of {name} have the content of a training clip under another name, "
                f"e.g. {copies[0]}"
            )


def _content(annotations: Annotations, found: Mapping[str, FoundFile]) -> dict[str, Any]:
    half = annotations.base_to_novel
    return {
        "classes": annotations.classes,
        "lists": {name: [(s.clip, s.label) for s in samples] for name, samples in named_lists(annotations)},
        "halves": None if half is None else [half.base, half.novel],
        "candidates": sorted(annotations.candidates.items()),
        "files": {clip: file.fingerprint for clip, file in found.items()},
    }


# ---------------------------------------------------------------- fingerprints


class _Fingerprints:
    """Fingerprints of files under one root, remembered by path, size and time of change in one JSON file."""

    def __init__(self, root: Path, cache_dir: Path) -> None:
        self._root = root
        name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        self._file = cache_dir / "manifests" / f"fingerprints-{name}.json"

    def of(self, paths: Iterable[str]) -> tuple[dict[str, FoundFile], dict[str, str]]:
        """The files below the root with their fingerprints, and those that cannot be read with the system's reason."""
        known = self._load()
        refused: dict[str, str] = {}

        def read(path: str) -> list[Any] | None:
            file = self._root / path
            try:
                status = file.stat()
                current = [status.st_size, status.st_mtime_ns]
                return (
                    [*current, _fingerprint(file, status.st_size)]
                    if known.get(path, [])[:2] != current
                    else known[path]
                )
            except OSError as error:
                refused[path] = error.strerror or str(error)
                return None

        wanted = sorted(set(paths))
        # Reading is most of the work, on network file systems above all, and leaves the interpreter's lock.
        with ThreadPoolExecutor(max_workers=8) as pool:
            blocks = [wanted[start : start + 64] for start in range(0, len(wanted), 64)]
            read_blocks = pool.map(lambda block: [read(path) for path in block], blocks)
            entries = dict(zip(wanted, chain.from_iterable(read_blocks), strict=True))
        readable = {path: entry for path, entry in entries.items() if entry is not None}
        if any(known.get(path) != entry for path, entry in readable.items()):
            self._store(known | readable)
        return {path: FoundFile(self._root / path, entry[0], entry[2]) for path, entry in readable.items()}, refused

    def _load(self) -> dict[str, list[Any]]:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            if stored["version"] == _CACHE_VERSION:
                files: dict[str, list[Any]] = stored["files"]
                return {path: entry for path, entry in files.items() if len(entry) == 3}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s: not usable (%s); clips are fingerprinted again", self._file, error)
        return {}

    def _store(self, entries: Mapping[str, list[Any]]) -> None:
        text = json.dumps({"version": _CACHE_VERSION, "files": entries})
        try:
            write_atomically(self._file, text)
        except OSError as error:
            _log.warning("%s: cannot be written (%s); fingerprints are not remembered", self._file, error.strerror)


def _fingerprint(file: Path, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(_END_BYTES))
        stream.seek(max(_END_BYTES, size - _END_BYTES))
        digest.update(stream.read(_END_BYTES))
    return digest.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new one, never a part. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
