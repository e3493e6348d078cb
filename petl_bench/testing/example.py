"""A folder of example clips: what a data set's files look like, made on the spot, so that anything can be tried."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: class -> colour of the square that moves through its clips
CLASSES = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 220), "yellow": (230, 210, 50)}
CLIPS = {"train": 6, "test": 3}  #: of every class
_SIZE, _FRAMES, _SQUARE = 32, 8, 12


def example_clips() -> Path:
    """A folder in the user's cache with `classes.txt` (a name per line), `train.txt` and `test.txt` (a clip and its
    label per line) and 36 clips of a square that moves, written on first use."""
    from petl_bench.system.cache import cache_folder, make_private

    folder = cache_folder() / "example-clips-1"
    if not folder.is_dir():
        make_private(folder.parent)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write_clips(unfinished)
            with suppress(OSError):  # another process was first: its files are the same
                unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_clips(folder: Path) -> None:
    """Write lists and clips into a folder."""
    import numpy as np

    generator = np.random.default_rng(0)
    lines: dict[str, list[str]] = {part: [] for part in CLIPS}
    for label, (name, colour) in enumerate(CLASSES.items()):
        (folder / name).mkdir()
        for part, count in CLIPS.items():
            for number in range(count):
                clip = f"{name}/{part}_{number}.mp4"
                _write_clip(folder / clip, colour, generator)
                lines[part].append(f"{clip} {label}")
    for part, rows in {**lines, "classes": list(CLASSES)}.items():
        (folder / f"{part}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_clip(path: Path, colour: tuple[int, int, int], generator: np.random.Generator) -> None:
    import av
    import numpy as np

    start, end = generator.integers(0, _SIZE - _SQUARE, (2, 2))
    frames = generator.integers(60, 120, (_FRAMES, _SIZE, _SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_FRAMES, options={"crf": "10", "threads": "1"})
        stream.height = stream.width = _SIZE
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(frames):
            y, x = (start + (end - start) * index / _FRAMES).astype(int)
            frame[y : y + _SQUARE, x : x + _SQUARE] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
