"""Frames of clips for the page: the data set of a trial is found again, and one frame decoded in a process of its own.

If a picture cannot be made, the reason stands in its place; a report never fails because a picture is missing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.errors import PetlBenchError

if TYPE_CHECKING:
    import numpy as np
    from pebble import ProcessPool

    from petl_bench.data.found.manifest import Manifest

_WIDTH, _QUALITY = 160, 80
#: A decoder may hang on a damaged file; it is given up then.
_SECONDS = 20.0


class Thumbnails:
    """Gives the middle frame of a clip as JPEG, or the reason why there is none; see `petl_bench.page.misses`."""

    def __init__(self, data_root: Path | None, pool: ProcessPool) -> None:
        self._data_root = data_root
        self._pool = pool
        self._manifests: dict[tuple[str, str, str, str], Manifest | str] = {}

    def __call__(self, values: Mapping[str, Any], clip: str) -> bytes | str:
        """The frame of a clip of the data set that a trial was run on."""
        manifest = self._manifest(values)
        if isinstance(manifest, str):
            return manifest
        if manifest.sha256 != values["manifest_sha256"]:
            return "no pictures: the files here are not those of the run"
        if clip not in manifest.found:
            return "no picture: the clip is not found here"
        return self._frame(manifest.found[clip].path)

    def _frame(self, path: Path) -> bytes | str:
        frames = pictures_of(self._pool, path, 1)
        return frames if isinstance(frames, str) else frames[0]

    def _manifest(self, values: Mapping[str, Any]) -> Manifest | str:
        plugin = values["dataset_plugin"] or values["dataset"]
        known = (plugin, values["dataset"], values["dataset_options"], values["locations"])
        if known not in self._manifests:
            try:
                self._manifests[known] = self._found(*known)
            except (PetlBenchError, OSError, ValueError, TypeError) as error:
                self._manifests[known] = f"no pictures: {error}"
        return self._manifests[known]

    def _found(self, plugin: str, name: str, options: str, locations: str) -> Manifest | str:
        from petl_bench.api.registry import DATASETS
        from petl_bench.data.found.manifest import build_manifest
        from petl_bench.system.cache import cache_folder

        dataset = DATASETS.get(plugin).called(name, **json.loads(options), **json.loads(locations).get(name, {}))
        if dataset.needs_root and self._data_root is None:
            return "no pictures: --data-root DIR says where the videos are"
        click.echo(f"finding the clips of {name}, for pictures", err=True)  # minutes, if they were not found before
        return build_manifest(dataset, dataset.root(self._data_root), cache_folder())


@contextmanager
def thumbnails(data_root: Path | None) -> Iterator[Thumbnails]:
    """Thumbnails, and the process that reads clips for them."""
    with reading_process() as pool:
        yield Thumbnails(data_root, pool)


@contextmanager
def reading_process() -> Iterator[ProcessPool]:
    """A process that reads clips for `pictures_of`; it starts with the first one."""
    from pebble import ProcessPool

    from petl_bench.system.processes import clean_context

    pool = ProcessPool(max_workers=1, context=clean_context(__name__))
    try:
        yield pool
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def pictures_of(pool: ProcessPool, path: Path, count: int) -> list[bytes] | str:
    """`frames_of` a clip, read in the process of `reading_process`; or the reason why there are none."""
    try:
        frames: list[bytes] = pool.schedule(frames_of, args=(path, count), timeout=_SECONDS).result()
    except TimeoutError:
        return f"no picture: reading it takes more than {_SECONDS:g} s"
    except Exception as error:  # a decoder may raise anything, and may take its process with it
        return f"no picture: {error}"
    return frames


def frames_of(path: Path, count: int) -> list[bytes]:
    """Frames of a clip as JPEG, the middle ones of `count` equal parts. Raises DataError if it cannot be read."""
    from petl_bench.data.decoding.clips import read_clip

    clip = read_clip(path, lambda frames: [(2 * part + 1) * frames // (2 * count) for part in range(count)])
    return [_jpeg(frame) for frame in clip.frames]


def _jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(frame)
    height = max(1, round(picture.height * _WIDTH / picture.width))
    buffer = io.BytesIO()
    picture.resize((_WIDTH, min(height, 2 * _WIDTH)), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
