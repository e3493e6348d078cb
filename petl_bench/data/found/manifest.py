"""The manifest of a data set on this machine: what its lists name, which files those are, and one hash over all of it.

The hash covers classes, every list, the spans of clips that are parts of their files, and the content of every clip
found, but no absolute path and no time stamp: the same data elsewhere gives the same hash. It enters the key of every
trial. Captions have a hash of their own, which only the keys of trials of retrieval contain.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.trial import canonical_json
from petl_bench.data.found.accounting import Account, account_of
from petl_bench.data.found.clip_matching import FileMatch, match_clips
from petl_bench.data.found.fingerprints import Fingerprints, FoundFile
from petl_bench.data.found.listed import named_lists, trained_and_tested
from petl_bench.data.found.scan_results import ScanResults
from petl_bench.data.found.tree import Tree, sharing, walk
from petl_bench.errors import DataError
from petl_bench.hub.datasets import origin_of
from petl_bench.system.words import several

#: Told now and then how far building is: what is counted, how many are done, and of how many (None: not known yet).
Notify = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Manifest:
    """A data set as it lies on this machine. Every clip of its lists is in exactly one of found, missing, ambiguous.

    `ambiguous` maps a clip to the files that fit it equally well; `notes` are the annotations' known defects and notes,
    and what was seen on disk. `quarantined` maps clips that `petl-bench data scan` found unreadable to the reason; it
    is no part of the hash, which follows the data and not what was tried with them. `account` says what else is there.
    """

    dataset: str
    root: Path
    annotations: Annotations
    found: Mapping[str, FoundFile]
    missing: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    sha256: str
    quarantined: Mapping[str, str] = field(default_factory=dict)
    account: Account = field(default_factory=Account)

    @cached_property
    def captions_sha256(self) -> str:
        """sha256 of the captions of all clips; "" if there are none."""
        captions = self.annotations.captions
        return hashlib.sha256(canonical_json(captions).encode(errors="surrogatepass")).hexdigest() if captions else ""

    @property
    def expected(self) -> int:
        """Number of distinct clips that the lists name."""
        return len(self.found) + len(self.missing) + len(self.ambiguous)


def build_manifest(dataset: Dataset, root: Path, cache_dir: Path, notify: Notify | None = None) -> Manifest:
    """Read the annotations under a root; find and fingerprint every clip.

    Args:
        dataset: Reads the annotations.
        root: Lists and clips lie below it.
        cache_dir: Fingerprints are kept there.
        notify: Called now and then with the progress.

    Raises:
        DataError: Annotations cannot be used, or one file trains and is tested in the same split.
    """
    root = root.resolve()
    tell = notify or (lambda what, done, total: None)
    tree = walk(root, lambda folders: tell("folders listed", folders, None))
    with sharing(tree):
        annotations = replace(dataset.annotations(root), dataset=dataset.name)
    lists = [samples for _, samples in named_lists(annotations)]
    matches = match_clips(tree, lists, annotations.classes, dataset.identity)
    candidates = {clip: match.files for clip, match in matches.items() if match.files and not match.contested}
    files = [path for paths in candidates.values() for path in paths]
    fingerprints, refused = Fingerprints(root, cache_dir, tree.shards).of(
        files, lambda done, total: tell("clips looked at", done, total)
    )
    found, ambiguous = _settle(candidates, fingerprints)
    ambiguous |= {clip: match.files for clip, match in matches.items() if match.contested}
    _refuse_shared_files(annotations, found)
    account = account_of(
        tree,
        matches,
        used={file.file for file in found.values()},
        ambiguous={path for paths in ambiguous.values() for path in paths},
        refused=refused,
    )
    notes = (
        *map(str, annotations.defects),
        *annotations.notes,
        *_origin_notes(root),
        *account.warnings(),
        *_refused_notes({**refused, **tree.entries.unreadable}),
        *_frames_beside_notes(matches),
        *_disk_notes(annotations, found),
        *_shard_notes(tree),
    )
    digest = hashlib.sha256(canonical_json(_content(annotations, found)).encode(errors="surrogatepass")).hexdigest()
    return Manifest(
        dataset=dataset.name,
        root=root,
        annotations=annotations,
        found=dict(sorted(found.items())),
        missing=tuple(sorted(clip for clip in matches if clip not in found and clip not in ambiguous)),
        ambiguous=dict(sorted(ambiguous.items())),
        notes=notes,
        sha256=digest,
        quarantined=ScanResults(cache_dir, type(dataset).name, root).quarantined(found),
        account=account,
    )


# ---------------------------------------------------------------- from clips to files


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
    real_path = functools.cache(os.path.realpath)
    for name, train, test in _train_and_test(annotations):
        tested = {found[sample.clip].fingerprint for sample in test if sample.clip in found}
        both = [s for s in train if s.clip in found and found[s.clip].fingerprint in tested]
        trained = {real_path(found[sample.clip].path): sample.clip for sample in both}
        for sample in test if trained else ():
            file = real_path(found[sample.clip].path) if sample.clip in found else ""
            if file in trained:
                raise DataError(
                    f"{file}: trains as {trained[file]!r} and is tested as {sample.clip!r} in {name}; remove it from "
                    "one of the lists"
                )


def _train_and_test(annotations: Annotations) -> Iterator[tuple[str, list[Sample], list[Sample]]]:
    for name, train, test in trained_and_tested(annotations):
        yield name, list(chain.from_iterable(train.values())), list(chain.from_iterable(test.values()))


def _origin_notes(root: Path) -> Iterator[str]:
    if origin := origin_of(root):
        yield f"from {origin}"


def _refused_notes(refused: Mapping[str, str]) -> Iterator[str]:
    if refused:
        path, reason = next(iter(sorted(refused.items())))
        yield f"{len(refused)} files or folders cannot be read and count as missing, e.g. {path} ({reason})"


def _frames_beside_notes(matches: Mapping[str, FileMatch]) -> Iterator[str]:
    beside = {clip: match for clip, match in matches.items() if match.frames_beside}
    if beside:
        match = beside[min(beside)]
        yield (
            f"{len(beside)} clips have a video file and a folder of frames; the video is used, "
            f"e.g. {match.files[0]} and not {match.frames_beside[0]}"
        )


def _shard_notes(tree: Tree) -> Iterator[str]:
    if tree.shards:
        shards = len(set(tree.shards.values()))
        yield f"{len(tree.shards):,} of {several(len(tree.files), 'clip')} are read in {several(shards, 'tar shard')}"


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
    spans = {"spans": sorted(annotations.spans.items())} if annotations.spans else {}
    return spans | {
        "classes": annotations.classes,
        "lists": {name: [(s.clip, s.label) for s in samples] for name, samples in named_lists(annotations)},
        "halves": None if half is None else [half.base, half.novel],
        "candidates": sorted(annotations.candidates.items()),
        "files": {clip: file.fingerprint for clip, file in found.items()},
    }
