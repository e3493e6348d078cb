"""Template data set: which lists and clips it has."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import petl_bench as pb


@pb.register_dataset("template_dataset")
class TemplateDataset(pb.Dataset):
    """Clips and three lists in one folder: classes.txt (a name per line), train.txt and test.txt (CLIP LABEL per line).

    Clips are named as they lie below the folder; labels count from 0.
    """

    display = "Template data set"  # what readers of tables and figures see
    licence = "who owns the clips, and what may be done with them"
    splits = (1,)
    needs_root = False  # remove this line, and root(), once your own files lie under --data-root
    template: str = "a video of {}."  # the prompt of a class

    def root(self, data_root: Path | None) -> Path:
        """The folder given with --data-root; without it example clips, so that this file can be tried at once."""
        return data_root or pb.testing.example_clips()

    def annotations(self, root: Path) -> pb.Annotations:
        """Read the lists. The clips themselves are looked for, counted and decoded by petl-bench."""
        files = [root / name for name in ("classes.txt", "train.txt", "test.txt")]
        for file in files:
            if not file.is_file():
                raise pb.DataError(f"{file}: no such file; template_dataset needs it under --data-root")
        classes = tuple(files[0].read_text(encoding="utf-8").split("\n")[:-1])
        train, test = (self.samples(file) for file in files[1:])
        return pb.Annotations(
            classes=classes,
            train={1: train},  # split -> its samples
            test={1: test},
            files={file.name: sha256(file.read_bytes()).hexdigest() for file in files},
        )

    def samples(self, file: Path) -> tuple[pb.Sample, ...]:
        """One sample per line: the clip's path below the root, a blank, its label."""
        rows = [line.rsplit(" ", 1) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return tuple(pb.Sample(clip, int(label)) for clip, label in rows)

    # Clips that were cut from one source video: def group_of(self, clip: str) -> str; intervals draw whole groups.
