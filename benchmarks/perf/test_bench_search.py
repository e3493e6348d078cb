"""10,000 indexed videos, and a query: under 0.2 s after start-up, without encoding videos.

The whole answer, and its parts: walking the folder, asking every file whether it has changed, reading the index,
ranking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petl_bench.data.found.fingerprints import Fingerprints, stamp_text, stamps_of
from petl_bench.inference.subject import frozen_backbone
from petl_bench.inference.videos import videos_in
from petl_bench.models.create import create_model
from petl_bench.searching.index import Index, index_file, load, store
from petl_bench.searching.model import SearchModel
from petl_bench.searching.search import rankings, search

VIDEOS, FOLDERS, WIDTH = 10_000, 20, 512
QUERY = "a red square is growing"


@pytest.fixture(scope="module")
def model() -> SearchModel:
    """`viclip-tiny`, with features of the width of ViCLIP-B/16 for videos and texts."""
    found = SearchModel(frozen_backbone("viclip-tiny", None), "cpu")
    found.model = create_model("viclip-tiny", weights=None, embed_dim=WIDTH).eval()
    found.similarities([QUERY], np.ones((1, 1, WIDTH), np.float32))  # loads the tokenizer
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, model: SearchModel) -> tuple[Path, Path]:
    """A folder of 10,000 files, and a cache with their index."""
    folder, cache = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    for number in range(VIDEOS):
        place = folder / f"folder_{number % FOLDERS}"
        place.mkdir(exist_ok=True)
        (place / f"a_video_with_a_name_{number:05d}.mp4").write_bytes(number.to_bytes(4))
    tree = videos_in(folder)
    files, _ = Fingerprints(tree.root, cache).of(tree.files)
    features = np.random.default_rng(0).standard_normal((VIDEOS, 1, WIDTH), np.float32)
    fingerprints = [file.fingerprint for file in files.values()]
    stamps = [stamp_text(file.stamp) for file in files.values()]
    index = Index(list(files), stamps, fingerprints, [10.0] * VIDEOS, features)
    store(index_file(model.identity, tree.root, cache), index)
    return folder, cache


def test_a_query_among_10000_videos(benchmark: Any, model: SearchModel, places: tuple[Path, Path]) -> None:
    folder, cache = places

    def answer() -> Any:
        return search(model, videos_in(folder), [QUERY], cache, top=10, workers=1, progress=_never)

    assert benchmark.pedantic(answer, rounds=10).indexed == VIDEOS


def test_walk_10000_videos(benchmark: Any, places: tuple[Path, Path]) -> None:
    assert len(benchmark.pedantic(videos_in, args=places[:1], rounds=10).files) == VIDEOS


def test_whether_10000_videos_have_changed(benchmark: Any, places: tuple[Path, Path]) -> None:
    tree = videos_in(places[0])
    assert len(benchmark.pedantic(stamps_of, args=(tree.root, tree.files), rounds=10)) == VIDEOS


def test_read_the_index_of_10000_videos(benchmark: Any, model: SearchModel, places: tuple[Path, Path]) -> None:
    folder, cache = places
    file = index_file(model.identity, folder.resolve(), cache)
    assert len(benchmark.pedantic(load, args=(file,), rounds=10).names) == VIDEOS


def test_rank_10000_videos(benchmark: Any, model: SearchModel, places: tuple[Path, Path]) -> None:
    folder, cache = places
    index = load(index_file(model.identity, folder.resolve(), cache))
    (ranking,) = benchmark.pedantic(rankings, args=(model, index, [QUERY], 10), rounds=10)
    assert len(ranking.hits) == 10


def _never(done: int, total: int) -> None:
    raise AssertionError("a video is encoded")
