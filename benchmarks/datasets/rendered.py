"""What the data sets that this package draws have in common: H.264 files and lists, rendered into the cache."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from petl_bench.api.dataset import Annotations, Dataset, HalfSplit
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from petl_bench.benchmarks.datasets.motion_render import Scene

SHOTS, DRAWS = 16, 3
#: Nearly transparent: the decoded luma differs from the rendered one by about one grey level.
#: No look-ahead: with x264's macroblock tree, two encodings of the same small clip can differ.
ENCODER = {"preset": "veryfast", "crf": "10", "threads": "1", "x264-params": "rc-lookahead=0:sync-lookahead=0:mbtree=0"}
FRAMES_PER_SECOND = 8

log = logging.getLogger("petl_bench")
_HERE = Path(__file__).parent
_CAPTIONS = "captions.json"  #: clip -> captions; written at rendering, as drawing the scenes again takes its time


class RenderedDataset(Dataset):
    """Base of the data sets that are drawn by this package: 8 frames of 32 x 32 pixels, rendered on first use.

    A subclass says which classes there are and what their clips show; the files follow from its code and its fields.
    """

    needs_root = False
    licence = "MIT (made by this package)"
    code: ClassVar[Sequence[str]] = ()  #: the files in this folder that decide what is drawn, besides this one
    megabytes: ClassVar[int]  #: about the room that the files take

    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their labels."""
        raise NotImplementedError

    def base_labels(self) -> Sequence[int]:
        """The labels of the base half of the classes, ascending."""
        raise NotImplementedError

    def clips_per_class(self) -> Mapping[str, int]:
        """How many "train" and "test" clips every class has."""
        raise NotImplementedError

    def scenes(self, part: str, label: int) -> list[Scene]:
        """What the "train" or "test" clips of a class show, drawn from streams of random numbers of their own."""
        raise NotImplementedError

    def captions(self, part: str, clips: Sequence[str], scenes: Sequence[Scene]) -> dict[str, tuple[str, ...]]:
        """The captions of those clips of one class that take part in retrieval, from what they show."""
        raise NotImplementedError

    def draw(self, number: int) -> np.random.Generator:
        """Random numbers for one draw of few training clips."""
        raise NotImplementedError

    def root(self, data_root: Path | None) -> Path:
        """The rendered files below the cache folder; rendered if they are not there yet. `data_root` is not used."""
        from petl_bench.system.cache import cache_folder

        return self.render(cache_folder())

    def render(self, cache: Path) -> Path:
        """Render everything below `cache`, unless it is there. Two processes at once do no harm: the first one's
        files stay.

        Raises DataError if the files cannot be written, or could be others'.
        """
        from petl_bench.system.cache import distrust, make_private

        name = type(self).name
        folder = cache / f"{name}-{self._fingerprint()}"
        if folder.is_dir():
            reason = distrust(folder)
            if reason:
                raise DataError(f"{folder}: {reason}")
            return folder
        log.info("rendering the %s data set into %s (once, a few seconds)", name, folder)
        try:
            make_private(cache)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache))
        except OSError as error:
            raise self._unwritable(cache, error) from error
        try:
            self._write(unfinished)
            _publish(unfinished, folder)
        except OSError as error:
            raise self._unwritable(cache, error) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return folder

    def annotations(self, root: Path) -> Annotations:
        """Read classInd.txt, trainlist01.txt, testlist01.txt (labels from 1), base_classes.txt and the three draws."""
        names = [
            "classInd.txt",
            "base_classes.txt",
            "trainlist01.txt",
            "testlist01.txt",
            *map(_draw_file, range(DRAWS)),
        ]
        files = [root / name for name in names]
        classes = formats.read_class_index(files[0])
        base = tuple(classes.index(name) for name in formats.read_label_map(files[1]))
        train, test, *draws = (formats.labelled(formats.read_list(file), classes, base=1) for file in files[2:])
        formats.refuse_overlap({names[2]: train}, {names[3]: test})
        name = type(self).name
        return Annotations(
            classes=classes,
            train={1: train},
            test={1: test},
            base_to_novel=HalfSplit(
                base=base,
                novel=tuple(label for label in range(len(classes)) if label not in base),
                base_train=tuple(sample for sample in train if sample.label in base),
                base_test=tuple(sample for sample in test if sample.label in base),
                novel_test=tuple(sample for sample in test if sample.label not in base),
                draws=dict(enumerate(draws)),
                source=f"{name}'s own lists",
            ),
            captions=_read_captions(root / _CAPTIONS),
            files=formats.sha256_of(files, root),
            notes=(f"{name} is rendered: a constructed demonstration of the harness, not a benchmark of methods",),
        )

    def clips(self, part: str, label: int) -> list[str]:
        """The files of one part of a class, relative to the data set's folder."""
        folder = _folder(self.class_names()[label])
        return [f"{folder}/{part}_{number:03d}.mp4" for number in range(self.clips_per_class()[part])]

    def lists(self) -> dict[str, list[str]]:
        """The lines of every list file; labels count from 1."""
        classes, counts, base = self.class_names(), self.clips_per_class(), self.base_labels()
        labels = range(len(classes))
        rows = {
            part: [[f"{clip} {label + 1}" for clip in self.clips(part, label)] for label in labels] for part in counts
        }
        lists = {
            "classInd.txt": [f"{label + 1} {name}" for label, name in enumerate(classes)],
            "base_classes.txt": [classes[label] for label in base],
            "trainlist01.txt": [row for label in labels for row in rows["train"][label]],
            "testlist01.txt": [row for label in labels for row in rows["test"][label]],
        }
        for number in range(DRAWS):
            rng = self.draw(number)
            chosen = {label: sorted(rng.permutation(counts["train"])[:SHOTS].tolist()) for label in base}
            lists[_draw_file(number)] = [rows["train"][label][clip] for label in base for clip in chosen[label]]
        return lists

    def _fingerprint(self) -> str:
        """Changes with everything that decides the files: the code that draws them, and the fields."""
        digest = hashlib.sha256(repr(sorted(self.values().items())).encode())
        for name in (*self.code, Path(__file__).name):
            digest.update((_HERE / name).read_bytes())
        return digest.hexdigest()[:16]

    def _write(self, folder: Path) -> None:
        classes = self.class_names()
        for name in classes:
            (folder / _folder(name)).mkdir()
        jobs = [(part, label) for part in self.clips_per_class() for label in range(len(classes))]
        captions: dict[str, tuple[str, ...]] = {}
        # Drawing and encoding leave the interpreter's lock for most of their time, so threads serve.
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for found in pool.map(lambda job: self._write_class(folder, *job), jobs):
                captions.update(found)
        for name, lines in self.lists().items():
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / _CAPTIONS).write_text(json.dumps(captions, indent=1), encoding="utf-8")

    def _write_class(self, folder: Path, part: str, label: int) -> dict[str, tuple[str, ...]]:
        """Write the clips of one part of a class; returns their captions."""
        from petl_bench.benchmarks.datasets.motion_render import render

        clips, scenes = self.clips(part, label), self.scenes(part, label)
        for frames, clip in zip(render(scenes), clips, strict=True):
            encode(frames, folder / clip)
        return self.captions(part, clips, scenes)

    def _unwritable(self, cache: Path, error: OSError) -> DataError:
        return DataError(
            f"{cache}: the {type(self).name} data set cannot be rendered there ({error.strerror}). "
            f"It needs about {self.megabytes} MB; set PETL_BENCH_CACHE to a folder that can be written"
        )


def encode(frames: NDArray[np.uint8], path: Path) -> None:
    """Write frames [T, H, W, 3] as an H.264 file."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=ENCODER)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _folder(name: str) -> str:
    return name.replace(" ", "_")


def _read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    return {clip: tuple(texts) for clip, texts in json.loads(path.read_text(encoding="utf-8")).items()}


def _draw_file(draw: int) -> str:
    return f"base_s{draw + 1}_{SHOTS}shots.txt"


def _publish(unfinished: Path, folder: Path) -> None:
    """Give the finished folder its name; if another process was first, its files stay."""
    try:
        unfinished.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not folder.is_dir():
            raise
