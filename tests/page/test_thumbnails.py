"""Frames of clips: found again from what a trial says of its data, and a reason wherever there is none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from petl_bench.api.registry import DATASETS
from petl_bench.benchmarks.datasets.rendered import encode
from petl_bench.cli.thumbnails import Thumbnails, thumbnails
from petl_bench.data.found.manifest import build_manifest


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for place, name in enumerate(("red", "green")):
        (folder / name).mkdir()
        frames = np.zeros((8, 48, 64, 3), dtype=np.uint8)
        frames[..., place] = 200
        for number in range(6):
            encode(frames, folder / name / f"clip_{number}.mp4")
    (folder / "red" / "clip_5.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def values(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    dataset = DATASETS.get("folder")(path=str(videos))
    manifest = build_manifest(dataset, dataset.root(None), tmp_path_factory.mktemp("cache"))
    return {
        "dataset": "folder",
        "dataset_plugin": "",
        "dataset_options": json.dumps(dataset.values()),
        "locations": json.dumps({"folder": dataset.locations()}),
        "manifest_sha256": manifest.sha256,
    }


@pytest.fixture(scope="module")
def thumbnail() -> Iterator[Thumbnails]:
    with thumbnails(None) as found:
        yield found


def test_the_middle_frame_as_a_small_jpeg(thumbnail: Thumbnails, values: dict[str, Any]) -> None:
    found = thumbnail(values, "green/clip_1.mp4")
    assert isinstance(found, bytes), found
    picture = Image.open(io.BytesIO(found))
    assert (picture.format, picture.size) == ("JPEG", (160, 120))
    red, green, blue = picture.getpixel((80, 60))
    assert green > 150 > max(red, blue)


@pytest.mark.parametrize(
    ("changed", "clip", "reason"),
    [
        ({}, "red/clip_5.mp4", "clip_5.mp4"),
        ({}, "red/gone.mp4", "not found here"),
        ({"manifest_sha256": "0" * 64}, "green/clip_1.mp4", "not those of the run"),
        ({"dataset": "ucf101", "dataset_options": "{}", "locations": "{}"}, "a.avi", "--data-root"),
        ({"dataset": "nobody_knows_it"}, "a.avi", "nobody_knows_it"),
        ({"dataset_options": '{"no_such_field": 1}'}, "a.avi", "no_such_field"),
        ({"locations": '{"folder": {"path": "/nowhere/at/all"}}'}, "a.avi", "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_shown_has_a_reason(
    thumbnail: Thumbnails, values: dict[str, Any], changed: dict[str, Any], clip: str, reason: str
) -> None:
    found = thumbnail({**values, **changed}, clip)
    assert isinstance(found, str)
    assert found.startswith("no picture")
    assert reason in found
