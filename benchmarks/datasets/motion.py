"""The embedded data set: 32 actions of simple shapes, rendered on first use into the user's cache as real H.264 files.

It exists so that the whole harness runs anywhere, without a download. It is a constructed demonstration: its clips
lie outside the domain that `viclip-tiny` was pretrained on, and every class has a usual background, shape and
colour, as scenes give away actions in real data sets; so there is something to gain from fine-tuning and something
to lose. It is no evidence that one method beats another.
"""

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
from typing import TYPE_CHECKING

from petl_bench.api.dataset import Annotations, Augmentation, Dataset, HalfSplit
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from petl_bench.benchmarks.datasets.motion_render import Scene

CLIPS = {"train": 48, "test": 40}  #: of every class
SHOTS, DRAWS = 16, 3
#: Nearly transparent: the decoded luma differs from the rendered one by about one grey level.
#: No look-ahead: with x264's macroblock tree, two encodings of the same small clip can differ.
ENCODER = {"preset": "veryfast", "crf": "10", "threads": "1", "x264-params": "rc-lookahead=0:sync-lookahead=0:mbtree=0"}
FRAMES_PER_SECOND = 8

log = logging.getLogger("petl_bench")
_HERE = Path(__file__).parent
_CAPTIONS = "captions.json"  #: clip -> captions; written at rendering, as drawing the scenes again takes its time


@register_dataset("motion")
class Motion(Dataset):
    """Rendered clips of 32 actions (moving left, growing, bouncing, ...); the embedded default.

    8 frames of 32 x 32 pixels, 48 training and 40 test clips per class.

    Half of the classes, by a seeded shuffle that is fixed for all, is base, the other half novel. Three fixed draws
    of 16 training clips per base class are the three seeds; draws may share clips. So differences between seeds
    here come from the training clips and the initialisation, not from which classes are novel.

    The design was tuned until there was something to see: the shift and the seed of the halves were chosen by the
    zero-shot accuracy on training clips (halves of about equal difficulty, far from the ceiling).

    For retrieval, the first training clip of each colour and shape in a class, and the first test clip of each colour,
    have three captions of what is drawn: 461 and 200 clips. motion_captions.py says how they were chosen.

    Training and test clips come from their own streams of random numbers, and so did the clips of pretraining,
    which were also less shifted (at most 0.55) and without context.
    """

    display = "Motion"
    needs_root = False
    licence = "MIT (made by this package)"
    # Left and right, up and down, clockwise and counterclockwise are classes: no flip, and crops that move little.
    augmentation = Augmentation(
        crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), flip=0.0, jitter_strength=(0.4, 0.4, 0.2, 0.0)
    )

    shift: float = hyper(
        0.75, "distance from the pretraining domain: 0 is close, 1 is hard to see", minimum=0, maximum=1
    )
    context: float = hyper(0.9, "part of the clips with their class's usual background", minimum=0, maximum=1)

    def root(self, data_root: Path | None) -> Path:
        """The rendered files below the cache folder; rendered if they are not there yet. `data_root` is not used."""
        from petl_bench.system.cache import cache_folder

        return self.render(cache_folder())

    def render(self, cache: Path) -> Path:
        """Render everything below `cache`, unless it is there. Two processes at once do no harm: the first one's
        files stay.

        Raises DataError where the files cannot be written, or could be others'.
        """
        from petl_bench.system.cache import distrust, make_private

        folder = cache / f"motion-{self._fingerprint()}"
        if folder.is_dir():
            reason = distrust(folder)
            if reason:
                raise DataError(f"{folder}: {reason}")
            return folder
        log.info("rendering the motion data set into %s (once, a few seconds)", folder)
        try:
            make_private(cache)
            unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache))
        except OSError as error:
            raise _unwritable(cache, error) from error
        try:
            self._write(unfinished)
            _publish(unfinished, folder)
        except OSError as error:
            raise _unwritable(cache, error) from error
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
                source="motion's own lists",
            ),
            captions=_read_captions(root / _CAPTIONS),
            files=formats.sha256_of(files, root),
            notes=("motion is rendered: a constructed demonstration of the harness, not a benchmark of methods",),
        )

    def descriptions(self, classes: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[str]]] | None:
        """Four spatial and four temporal sentences per class, written by hand."""
        known = json.loads((_HERE / "motion_descriptions.json").read_text(encoding="utf-8"))
        return {name: known[name] for name in classes}

    def _fingerprint(self) -> str:
        """Changes with everything that decides the files: the code that draws them, and the fields."""
        digest = hashlib.sha256(repr(sorted(self.values().items())).encode())
        for name in ("motion.py", "motion_actions.py", "motion_captions.py", "motion_render.py"):
            digest.update((_HERE / name).read_bytes())
        return digest.hexdigest()[:16]

    def _write(self, folder: Path) -> None:
        from petl_bench.benchmarks.datasets.motion_actions import CLASSES

        for name in CLASSES:
            (folder / _folder(name)).mkdir()
        jobs = [(part, label) for part in CLIPS for label in range(len(CLASSES))]
        # Drawing and encoding leave the interpreter's lock for most of their time, so threads serve.
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for _ in pool.map(lambda job: self._write_class(folder, *job), jobs):
                pass
        for name, lines in _lists(CLASSES).items():
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        captions = {clip: texts for job in jobs for clip, texts in self._captions(*job).items()}
        (folder / _CAPTIONS).write_text(json.dumps(captions, indent=1), encoding="utf-8")

    def _write_class(self, folder: Path, part: str, label: int) -> None:
        from petl_bench.benchmarks.datasets.motion_render import render

        for scene_frames, clip in zip(render(self.scenes(part, label)), _clips(part, label), strict=True):
            encode(scene_frames, folder / clip)

    def _captions(self, part: str, label: int) -> dict[str, tuple[str, ...]]:
        from petl_bench.benchmarks.datasets.motion_captions import captions_of

        captions: dict[str, tuple[str, ...]] = captions_of(part, _clips(part, label), self.scenes(part, label))
        return captions

    def scenes(self, part: str, label: int) -> list[Scene]:
        """What the "train" or "test" clips of a class show, each drawn from its own stream of random numbers."""
        from petl_bench.benchmarks.datasets.motion_render import draw_scene, generator, shifted

        domain = shifted(self.shift, self.context)
        return [draw_scene(generator(part, label, number), label, domain) for number in range(CLIPS[part])]


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


def _clips(part: str, label: int) -> list[str]:
    """The files of one part of a class, relative to the data set's folder."""
    from petl_bench.benchmarks.datasets.motion_actions import CLASSES

    return [f"{_folder(CLASSES[label])}/{part}_{number:03d}.mp4" for number in range(CLIPS[part])]


def _folder(name: str) -> str:
    return name.replace(" ", "_")


def _read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    return {clip: tuple(texts) for clip, texts in json.loads(path.read_text(encoding="utf-8")).items()}


def _draw_file(draw: int) -> str:
    return f"base_s{draw + 1}_{SHOTS}shots.txt"


def _lists(classes: Sequence[str]) -> dict[str, list[str]]:
    """The lines of every list file; labels count from 1."""
    from petl_bench.benchmarks.datasets.motion_render import generator

    labels = range(len(classes))
    rows = {part: [[f"{clip} {label + 1}" for clip in _clips(part, label)] for label in labels] for part in CLIPS}
    base = sorted(generator("draws", 0, 0).permutation(len(classes))[: len(classes) // 2].tolist())
    lists = {
        "classInd.txt": [f"{label + 1} {name}" for label, name in enumerate(classes)],
        "base_classes.txt": [classes[label] for label in base],
        "trainlist01.txt": [row for label in labels for row in rows["train"][label]],
        "testlist01.txt": [row for label in labels for row in rows["test"][label]],
    }
    for draw in range(DRAWS):
        rng = generator("draws", 1, draw)
        chosen = {label: sorted(rng.permutation(CLIPS["train"])[:SHOTS].tolist()) for label in base}
        lists[_draw_file(draw)] = [rows["train"][label][number] for label in base for number in chosen[label]]
    return lists


def _publish(unfinished: Path, folder: Path) -> None:
    """Give the finished folder its name; where another process was first, its files stay."""
    try:
        unfinished.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not folder.is_dir():
            raise


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(
        f"{cache}: the motion data set cannot be rendered there ({error.strerror}). It needs about 30 MB; "
        "set PETL_BENCH_CACHE to a folder that can be written"
    )
