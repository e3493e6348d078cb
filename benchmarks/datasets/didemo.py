"""DiDeMo: Flickr videos of 30 seconds with about four descriptions each, for paragraph-to-video retrieval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists.caption_formats import CaptionList, read_didemo, read_names, read_tmass
from petl_bench.data.lists.published_captions import CaptionedDataset, CaptionParts
from petl_bench.errors import DataError, UsageError

_TWO_NAMES = Defect(
    "two-names",
    "33 of the 1,037 file names in test_data.json differ from another one in the extension alone (1,004 names without "
    "extensions): one video, described under two names",
    "published numbers are of 1,004 test videos, those of CLIP4Clip's test_list.txt or T-MASS' csv. Without either, "
    "both names are tested: of such a pair each is a wrong answer to the other's query",
)
#: The first 31 seconds: what is described lies there.
_SPAN = (0.0, 31.0)

_LICENCE = "look it up at the source; videos come from Flickr under the licences that their owners chose"


@register_dataset("didemo")
class DiDeMo(CaptionedDataset):
    """DiDeMo (Hendricks et al., ICCV 2017) for paragraph-to-video retrieval, split 1: 1,004 test videos of 1,037 names.

    All descriptions of a video are one paragraph (`captions=paragraph`, as published): joined with a blank, in the
    order of the file. `captions=each` makes every description a query. Frames are taken from seconds 0 to 31
    (`limits`).

    Files: train_data.json, val_data.json and test_data.json, and CLIP4Clip's train_list.txt, val_list.txt and
    test_list.txt if they are there, one file name per line, which keep the videos that they name; or T-MASS'
    didemo_train_label.csv, didemo_val_label.csv and didemo_test_label.csv, whose paragraphs are joined already
    (`lists`). test_data.json has 4,021 descriptions of 1,037 names.

    Videos have their names on Flickr with an extension, which may have changed by re-encoding, so they are found by the
    name without it; some names end in a dot with nothing behind it. The validation videos are neither trained nor
    tested, and counted in a note: selection holds out training videos.

    Published numbers (CLIP4Clip, MV-Adapter) are of 32 frames, one per second, and 64 words (CLIP4Clip: 64 and 64).
    """

    display = "DiDeMo"
    paper = Paper(
        title="Localizing Moments in Video with Natural Language",
        venue="ICCV 2017",
        url="https://github.com/LisaAnne/LocalizingMoments",
        bibtex="""@inproceedings{hendricks2017didemo,
  title     = {Localizing Moments in Video with Natural Language},
  author    = {Hendricks, Lisa Anne and Wang, Oliver and Shechtman, Eli and Sivic, Josef and Darrell, Trevor and
               Russell, Bryan},
  booktitle = {International Conference on Computer Vision (ICCV)},
  pages     = {5803--5812},
  year      = {2017}
}""",
        licence=_LICENCE,
    )
    licence = _LICENCE
    defects = (_TWO_NAMES,)
    holds = "the videos and test_data.json, or T-MASS' didemo_test_label.csv"

    lists: Literal["auto", "official", "tmass"] = hyper(
        "auto",
        "which files are read: *_data.json with CLIP4Clip's lists, or T-MASS' csv; auto: the first that is there",
    )
    captions: Literal["paragraph", "each"] = hyper(
        "paragraph", "texts of a video: all its descriptions as one, or each by itself"
    )
    limits: bool = hyper(True, "take frames from the seconds 0 to 31 alone, as published; else from the whole file")

    def identity(self, stem: str) -> str:
        """The name on Flickr, without the dot at its end that some names have in place of an extension."""
        return stem.rstrip(".").casefold()

    def group_of(self, clip: str) -> str:
        """The video, which may have two names."""
        return self.identity(clip_stem(clip))

    def parts(self, tree: Tree) -> CaptionParts:
        """The three parts, of which the test part must be there."""
        official = {part: _find(tree, f"{part}_data.json") for part in ("train", "val", "test")}
        tmass = {part: find_annotation(tree, f"didemo_{part}_label.csv") for part in official}
        name = (
            ("official" if official["test"] or not tmass["test"] else "tmass") if self.lists == "auto" else self.lists
        )
        chosen = official if name == "official" else tmass
        if chosen["test"] is None:
            wanted = "test_data.json" if name == "official" else "didemo_test_label.csv"
            raise DataError(
                f"{tree.root}: {wanted} was not found below it. Put the published file there, or name the folder that "
                f"holds it with --data-root; --set {self.name}.lists={'tmass' if name == 'official' else 'official'} "
                "reads the other form"
            )
        if name == "tmass":
            return self._of_tmass(chosen)
        return self._official(tree, chosen)

    def _of_tmass(self, files: dict[str, Path | None]) -> CaptionParts:
        if self.captions == "each":
            raise UsageError(
                f"{self.name}.captions=each: T-MASS' csv has the descriptions of a video joined already; leave it out, "
                f"or read *_data.json with --set {self.name}.lists=official"
            )
        read = {part: self._limited(read_tmass(file)) if file else None for part, file in files.items()}
        return self._parts(read, [file for file in files.values() if file], "tmass")

    def _official(self, tree: Tree, files: dict[str, Path | None]) -> CaptionParts:
        used = [file for file in files.values() if file]
        read: dict[str, CaptionList | None] = dict.fromkeys(files)
        for part, file in files.items():
            if file is None:
                continue
            found, listed = read_didemo(file), _find(tree, f"{part}_list.txt")
            if listed is not None:
                found = found.of(read_names(listed))
                used.append(listed)
            read[part] = self._limited(found if self.captions == "each" else found.as_paragraphs())
        return self._parts(read, used, "official")

    def _parts(self, read: dict[str, CaptionList | None], files: list[Path], form: str) -> CaptionParts:
        test = read["test"]
        assert test is not None
        twice = len(test.captions) > len({self.group_of(clip) for clip in test.captions})
        notes = [f"lists read: {form}", f"texts: {self.captions}", *self._note_on_limits()]
        return CaptionParts(test, read["train"], read["val"], files, self.defects if twice else (), notes)

    def _limited(self, found: CaptionList) -> CaptionList:
        if not self.limits:
            return replace(found, spans={})
        return replace(found, spans=found.spans or dict.fromkeys(found.captions, _SPAN))

    def _note_on_limits(self) -> list[str]:
        return [] if self.limits else ["frames are taken from the whole file; published: from seconds 0 to 31"]


def _find(tree: Tree, name: str) -> Path | None:
    return find_annotation(tree, f"didemo/{name}", name)
