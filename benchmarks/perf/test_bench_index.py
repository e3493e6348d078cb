"""Indexing 250,000 generated empty files in 400 class folders, as `petl-bench data index` does. To reach: 30 s warm.

Cold: no fingerprint is remembered. Warm: all are, and every file is asked whether it has changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.registry import DATASETS, SETTINGS
from petl_bench.api.setting import Case
from petl_bench.data.found.known_manifests import is_current, known_manifest, new_manifest
from petl_bench.data.found.manifest import Manifest, build_manifest
from petl_bench.data.found.tree import walk

CLASSES, CLIPS_EACH = 400, 625


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists that name `class/clip`, and the files below `videos/train` and `videos/val`."""
    folder = tmp_path_factory.mktemp("clips")
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for label in range(CLASSES):
        place = folder / "videos" / ("train" if label % 2 else "val") / f"class_{label:03d}"
        place.mkdir(parents=True)
        for number in range(CLIPS_EACH):
            name = f"clip{label:03d}{number:05d}_000010_000020.mp4"
            (place / name).touch()
            rows["train" if number % 5 else "test"].append(f"{place.name}/{name} {label}\n")
    (folder / "labels.csv").write_text("id,name\n" + "".join(f"{n},class_{n:03d}\n" for n in range(CLASSES)))
    for part, lines in rows.items():
        (folder / f"{part}.txt").write_text("".join(lines))
    return folder


def build(root: Path, cache: Path) -> Manifest:
    return build_manifest(DATASETS.get("folder")(path=str(root)), root, cache)


def test_walk_250000_files(benchmark: Any, root: Path) -> None:
    tree = benchmark.pedantic(walk, args=(root,), rounds=3)
    assert len(tree.files) == CLASSES * CLIPS_EACH


def test_index_250000_files_cold(benchmark: Any, root: Path, tmp_path: Path) -> None:
    def forget() -> tuple[tuple[Path, Path], dict[str, object]]:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        return (root, tmp_path / "cache"), {}

    manifest = benchmark.pedantic(build, setup=forget, rounds=2)
    assert len(manifest.found) == CLASSES * CLIPS_EACH


def test_index_250000_files_warm(benchmark: Any, root: Path, tmp_path: Path) -> None:
    build(root, tmp_path / "cache")
    manifest = benchmark.pedantic(build, args=(root, tmp_path / "cache"), rounds=3)
    assert len(manifest.found) == CLASSES * CLIPS_EACH


def test_files_that_the_process_knows(benchmark: Any, root: Path, tmp_path: Path) -> None:
    """What every trial but the first one of a process does: ask whether its 56,400 clips are as they were."""
    dataset, cache = DATASETS.get("folder")(path=str(root)), tmp_path / "cache"
    annotations = new_manifest(dataset, root, cache).annotations
    task = SETTINGS.get("few_shot")().task(annotations, Case(split="1", shots=16, seed=0))

    def look() -> bool:
        manifest = known_manifest(dataset, root, cache)
        clips = {sample.clip for samples in (task.train, task.evaluations[0].samples) for sample in samples}
        return manifest is not None and is_current(manifest, clips)

    assert benchmark.pedantic(look, rounds=5)
