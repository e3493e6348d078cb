"""ActivityNet Captions: long YouTube videos with a sentence per event, for paragraph-to-video retrieval."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists.caption_formats import CaptionList, read_activitynet, read_activitynet_ids
from petl_bench.data.lists.published_captions import CaptionedDataset, CaptionParts
from petl_bench.errors import DataError

_NAME = re.compile(r"v_(.{11})")

_LICENCE = "look it up at the source; videos come from YouTube and keep their owners' rights"


@register_dataset("activitynet_captions")
class ActivityNetCaptions(CaptionedDataset):
    """ActivityNet Captions (Krishna et al., ICCV 2017) for paragraph-to-video retrieval, split 1.

    All sentences of a video are one paragraph (`captions=paragraph`, as published): joined with a blank, without the
    blanks around them, in the order of the file. `captions=each` makes every sentence a query. Frames are taken from
    second 0 to the annotated duration, rounded up (`limits`).

    Files: train.json (10,009 videos), val_1.json (4,917 videos, 17,505 sentences) and val_2.json (4,885 of these
    videos, described again in 17,031 sentences). Published numbers are of val_1; `test=auto` reads val_2 if val_1 is
    not there, and says so in a note. CLIP4Clip's train_ids.json and val_ids.json keep the videos that they name. There
    is no test part with captions, and no validation part beside the one that is tested: selection holds out training
    videos. Videos are called `v_<YouTube id>` or `<YouTube id>`; letter case tells ids apart, and some start with a
    hyphen.

    Published numbers (CLIP4Clip, MV-Adapter) are of 32 frames, one per second, and 64 words (CLIP4Clip: 64 and 64).
    Frames that were extracted beforehand gave 37.9 R@1 where video files gave 40.5 (CLIP4Clip's issue 84).
    """

    display = "ActivityNet Captions"
    paper = Paper(
        title="Dense-Captioning Events in Videos",
        venue="ICCV 2017",
        url="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
        bibtex="""@inproceedings{krishna2017dense,
  title     = {Dense-Captioning Events in Videos},
  author    = {Krishna, Ranjay and Hata, Kenji and Ren, Frederic and Fei-Fei, Li and Niebles, Juan Carlos},
  booktitle = {International Conference on Computer Vision (ICCV)},
  pages     = {706--715},
  year      = {2017}
}""",
        licence=_LICENCE,
    )
    published_tests = (("test", 4885, 4885),)
    licence = _LICENCE
    holds = "the videos and train.json with val_1.json or val_2.json"

    test: Literal["auto", "val_1", "val_2"] = hyper(
        "auto", "which validation file is tested: val_1, as published, or val_2; auto: val_1 if it is there"
    )
    captions: Literal["paragraph", "each"] = hyper(
        "paragraph", "texts of a video: all its sentences as one, or each by itself"
    )
    limits: bool = hyper(True, "take frames from 0 to the annotated duration, as published; else from the whole file")

    def identity(self, stem: str) -> str:
        """`v_<id>` and `<id>` are one video; letter case counts."""
        name = _NAME.fullmatch(stem)
        return name[1] if name else stem

    def parts(self, tree: Tree) -> CaptionParts:
        """Training videos if they are there, and the validation file that is tested."""
        tested, notes = self._tested(tree)
        files = [tested]
        ids = "val_ids.json" if tested.stem == "val_1" else ""  # those of val_2 are fewer
        test = self._read(tree, tested, ids, files)
        train_file = _find(tree, "train.json")
        train = None
        if train_file is not None:
            files.append(train_file)
            train = self._read(tree, train_file, "train_ids.json", files)
        return CaptionParts(test, train, None, files, notes=[*notes, f"texts: {self.captions}"])

    def _tested(self, tree: Tree) -> tuple[Path, list[str]]:
        found = {name: _find(tree, f"{name}.json") for name in ("val_1", "val_2")}
        chosen = ("val_1" if found["val_1"] or not found["val_2"] else "val_2") if self.test == "auto" else self.test
        file = found[chosen]
        if file is None:
            raise DataError(
                f"{tree.root}: {chosen}.json was not found below it. Put the published file there, or name the folder "
                f"that holds it with --data-root; --set {self.name}.test={'val_2' if chosen == 'val_1' else 'val_1'} "
                "tests the other validation file"
            )
        notes = [f"tested: {chosen}" + (", and not val_1 as in published numbers" if chosen == "val_2" else "")]
        if not self.limits:
            notes.append("frames are taken from the whole file; published: from 0 to the annotated duration")
        return file, notes

    def _read(self, tree: Tree, file: Path, ids: str, files: list[Path]) -> CaptionList:
        """A file's videos, or those that the list of ids names; `files` takes what is read beside it."""
        found, listed = read_activitynet(file), _find(tree, ids) if ids else None
        if listed is not None:
            found = found.of(read_activitynet_ids(listed))
            files.append(listed)
        found = found if self.captions == "each" else found.as_paragraphs()
        return found if self.limits else replace(found, spans={})


def _find(tree: Tree, name: str) -> Path | None:
    return find_annotation(tree, f"activitynet_captions/{name}", name)
