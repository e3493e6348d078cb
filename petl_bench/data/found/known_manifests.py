"""Manifests that this process has made already: what a plan found need not be looked for again by each of its trials.

With a quarter of a million clips, making one takes ten seconds and more.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from petl_bench.api.dataset import Dataset
from petl_bench.api.trial import canonical_json
from petl_bench.data.found.fingerprints import are_unchanged
from petl_bench.data.found.manifest import Manifest, build_manifest

_MOST = 4
_known: dict[str, Manifest] = {}  #: the newest last


def new_manifest(dataset: Dataset, root: Path, cache_dir: Path) -> Manifest:
    """`build_manifest`, whose result `known_manifest` then gives again."""
    manifest = build_manifest(dataset, root, cache_dir)
    name = _name(dataset, root, cache_dir)
    _known.pop(name, None)
    _known[name] = manifest
    if len(_known) > _MOST:
        del _known[next(iter(_known))]
    return manifest


def known_manifest(dataset: Dataset, root: Path, cache_dir: Path) -> Manifest | None:
    """The manifest that this process made last of this data set, with these values, in this place; None without one.

    It holds the lists and files as they were then: ask `is_current` for the clips that are to be read.
    """
    return _known.get(_name(dataset, root, cache_dir))


def is_current(manifest: Manifest, clips: Iterable[str]) -> bool:
    """Whether the files found for these clips have still the size and time of change that the manifest saw."""
    return are_unchanged([manifest.found[clip] for clip in clips if clip in manifest.found])


def _name(dataset: Dataset, root: Path, cache_dir: Path) -> str:
    kind = f"{type(dataset).__module__}.{type(dataset).__qualname__}"
    return canonical_json(
        [kind, dataset.name, dataset.values(), dataset.locations(), str(root.resolve()), str(cache_dir)]
    )
