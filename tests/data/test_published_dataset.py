"""A data set of one's own with lists: what its file says is which lists it has."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from petl_bench.api.dataset import Sample
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.lists.annotation_formats import read_counted_list, read_list
from petl_bench.data.lists.list_forms import form_reader
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.errors import DataError, UsageError


class Kitchen(PublishedDataset):
    """Lists of videos, or of frame folders with frame counts."""

    name = "kitchen"
    holds = "the clips and train.txt"
    forms: ClassVar = {
        "videos": form_reader("videos", ["names.txt"], train={"{part}.txt": read_list}, splits=(1,)),
        "frames": form_reader("frames", ["names.txt"], train={"{part}_frames.txt": read_counted_list}, splits=(1,)),
        "all": form_reader("all", ["names.txt"], test={"all.txt": read_list}, splits=(1,)),
    }
    separate_forms = ("all",)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {"names": "cut\nstir_fry", "train": "a/1.mp4 0\nb/1.mp4 1", "val_frames": "c 40 0", "all": "a/1.mp4 0"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    for clip in ("a/1.mp4", "b/1.mp4"):
        (tmp_path / clip).parent.mkdir()
        (tmp_path / clip).write_text(clip)
    return tmp_path


def test_every_list_comes_from_the_first_form_that_has_it(root: Path) -> None:
    found = Kitchen().annotations(Kitchen().root(root))
    assert found.classes == ("cut", "stir fry")
    assert found.train == {1: (Sample("a/1.mp4", 0), Sample("b/1.mp4", 1))}
    assert found.test == {1: (Sample("c", 0),)}
    manifest = build_manifest(Kitchen(), root, root / "cache")
    assert (list(manifest.found), manifest.missing) == (["a/1.mp4", "b/1.mp4"], ("c",))


def test_a_form_alone(root: Path) -> None:
    assert Kitchen(lists="videos").annotations(root).test == {}
    assert Kitchen(lists="all").annotations(root).test == {1: (Sample("a/1.mp4", 0),)}
    with pytest.raises(UsageError, match="unknown lists 'video'; did you mean videos"):
        Kitchen(lists="video").annotations(root)
    with pytest.raises(
        DataError, match=r"kitchen needs --data-root DIR: the folder that holds the clips and train\.txt"
    ):
        Kitchen().root(None)
