"""Base of the published data sets of video-text retrieval: captions in place of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from petl_bench.api.dataset import Annotations, Dataset, Defect
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, find_annotation, given_root, walk
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.caption_formats import CaptionList
from petl_bench.errors import DataError
from petl_bench.system.words import several


@dataclass(frozen=True)
class CaptionParts:
    """The published parts of a data set, as far as their files are there, and the files that were read.

    The validation part neither trains nor is tested: it is counted in a note.
    """

    test: CaptionList
    train: CaptionList | None
    val: CaptionList | None
    files: Sequence[Path]
    defects: Sequence[Defect] = ()
    notes: Sequence[str] = ()


class CaptionedDataset(Dataset):
    """A published data set of retrieval, whose files lie anywhere under the data root. It has no classes.

    `holds` says in a message what the data root should hold.
    """

    frames_per_second: ClassVar[float | None] = 1.0
    holds: ClassVar[str] = "the videos and their captions"

    def root(self, data_root: Path | None) -> Path:
        """The data root itself, or the folder in it that has the data set's name."""
        return given_root(type(self).name, data_root, self.holds)

    def parts(self, tree: Tree) -> CaptionParts:
        """Read the published files below the root. Raises DataError, naming file and line, if they cannot be used."""
        raise NotImplementedError

    def annotations(self, root: Path) -> Annotations:
        """Training and test videos (split 1) with their captions.

        Raises:
            DataError: A file is not there or cannot be used, or a video trains and is tested.
        """
        parts = self.parts(walk(root))
        used = [part for part in (parts.train, parts.test) if part is not None]
        train = {1: parts.train.samples} if parts.train else {}
        if parts.train:
            trained, tested = ({part.file.name: part.samples} for part in used)
            formats.refuse_overlap(trained, tested, lambda clip: self.identity(clip_stem(clip)))
        return Annotations(
            classes=(),
            train=train,
            test={1: parts.test.samples},
            captions={clip: texts for part in used for clip, texts in part.captions.items()},
            spans={clip: span for part in used for clip, span in part.spans.items()},
            groups={clip: group for part in used for clip, group in part.groups.items()},
            files=formats.sha256_of(parts.files, root),
            defects=tuple(parts.defects),
            notes=(*parts.notes, *_counts(parts)),
        )


def needed(tree: Tree, *patterns: str, else_do: str = "") -> Path:
    """The file that the first fitting pattern names. Raises DataError, with `else_do` behind, if there is none."""
    found = find_annotation(tree, *patterns)
    if found is None:
        raise DataError(
            f"{tree.root}: {patterns[-1]} was not found below it. Put the published file there, or name the folder "
            f"that holds it with --data-root{else_do}"
        )
    return found


def _counts(parts: CaptionParts) -> list[str]:
    """Notes on what was read."""
    named = [("trains", parts.train), ("is tested", parts.test)]
    read = [
        f"{part.file.name} {what} ({several(len(part.captions), 'video')}, {several(part.texts, 'caption')})"
        for what, part in named
        if part
    ]
    notes = [f"captions read: {'; '.join(read)}"]
    if parts.train is None:
        notes.append("no training list is there: the test videos can be scored, and nothing can be trained")
    if parts.val is not None:
        notes.append(
            f"{parts.val.file.name}: the official validation part, {several(len(parts.val.captions), 'video')} with "
            f"{several(parts.val.texts, 'caption')}, is neither trained nor tested; --select val holds out training "
            "videos"
        )
    return notes
