"""MSR-VTT: 10,000 web video clips with 20 captions each, for video-text retrieval."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists.caption_formats import CaptionList, read_id_csv, read_jsfusion, read_msrvtt
from petl_bench.data.lists.published_captions import CaptionedDataset, CaptionParts, needed
from petl_bench.errors import DataError
from petl_bench.system.words import several

_DUPLICATES = Defect(
    "duplicate-sentences",
    "of the 1,000 test sentences of 1k-A 5 repeat another one word for word: 9 test videos share 4 sentences",
    "no query can tell these videos apart, so that their texts are tied; ties are counted and shown",
)

#: The training lists of 1k-A.
_LISTS = {"1k-A-9k": "MSRVTT_train.9k.csv", "1k-A-7k": "MSRVTT_train.7k.csv"}
#: Captions of each video in the published file.
_CAPTIONS = 20

_LICENCE = "look it up at the source; videos come from YouTube and keep their owners' rights"


@register_dataset("msrvtt")
class MSRVTT(CaptionedDataset):
    """MSR-VTT (Xu et al., CVPR 2016) for video-text retrieval, split 1.

    Protocols: 1k-A with 9,000 training videos (`1k-A-9k`, the default) or 7,010 (`1k-A-7k`), each with 20 captions
    (180,000 pairs of 9k), and 1,000 test videos with one caption each (Yu et al., JSFusion, ECCV 2018); or the official
    parts (`full`): 6,513 training videos, 497 for validation, 2,990 test videos with 20 captions each.

    Files: MSRVTT_data.json (all captions, and the official part of each video), for 1k-A MSRVTT_JSFUSION_test.csv and
    MSRVTT_train.9k.csv or MSRVTT_train.7k.csv, as CLIP4Clip publishes them. Videos are called video<N>, whatever their
    extension and folder. 1k-A has no validation part; that of `full` is neither trained nor tested, and counted in a
    note: selection holds out training videos.

    Published numbers (CLIP4Clip, MV-Adapter) are of 12 frames, one per second, and 32 words. Clips that were cut from
    one source video are one group, if MSRVTT_data.json has its address.
    """

    display = "MSR-VTT"
    paper = Paper(
        title="MSR-VTT: A Large Video Description Dataset for Bridging Video and Language",
        venue="CVPR 2016",
        url="https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/",
        bibtex="""@inproceedings{xu2016msrvtt,
  title     = {{MSR-VTT}: A Large Video Description Dataset for Bridging Video and Language},
  author    = {Xu, Jun and Mei, Tao and Yao, Ting and Rui, Yong},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {5288--5296},
  year      = {2016}
}""",
        licence=_LICENCE,
    )
    published_tests = (("test", 1000, 1000),)
    licence = _LICENCE
    defects = (_DUPLICATES,)
    holds = "the videos, MSRVTT_data.json and the lists of 1k-A"

    protocol: Literal["1k-A-9k", "1k-A-7k", "full"] = hyper(
        "1k-A-9k", "which videos train and are tested: 1k-A with 9,000 or 7,010 training videos, or the official parts"
    )

    def parts(self, tree: Tree) -> CaptionParts:
        """The parts of the protocol."""
        data = needed(tree, "MSRVTT_data.json")
        everything, part_of = read_msrvtt(data)
        if self.protocol == "full":
            named: dict[str, list[str]] = {"train": [], "validate": [], "test": []}
            for clip, part in part_of.items():
                named.setdefault(part, []).append(clip)
            train, val, test = (_official(everything, part, named[part]) for part in ("train", "validate", "test"))
            notes = ["protocol: full, the parts of MSRVTT_data.json", *_fewer_captions(train)]
            return CaptionParts(test, train, val, [data], notes=notes)
        train_file = self._train_file(tree)
        test_file = needed(tree, "MSRVTT_JSFUSION_test.csv")
        test = read_jsfusion(test_file)
        sentences = Counter(text for texts in test.captions.values() for text in texts)
        repeated = max(sentences.values()) > 1
        train = everything.of(read_id_csv(train_file))
        return CaptionParts(
            CaptionList(test_file, test.captions, groups=_groups(everything, test)),
            train,
            None,
            [data, train_file, test_file],
            defects=self.defects if repeated else (),
            notes=[f"protocol: {self.protocol}, listed in {train_file.name}", *_fewer_captions(train)],
        )

    def _train_file(self, tree: Tree) -> Path:
        """The training list of the protocol. Raises DataError, naming the other protocol if its list is there."""
        other = "1k-A-7k" if self.protocol == "1k-A-9k" else "1k-A-9k"
        advice = f"; {_LISTS[other]} is there: --set {self.name}.protocol={other} trains on it"
        return needed(tree, _LISTS[self.protocol], else_do=advice if find_annotation(tree, _LISTS[other]) else "")


def _official(everything: CaptionList, part: str, clips: list[str]) -> CaptionList:
    """A part by MSRVTT_data.json. Raises DataError if it is empty, or a video of it has no caption."""
    lacking = next((clip for clip in clips if clip not in everything.captions), None)
    if lacking is not None:
        raise DataError(
            f"{everything.file}, videos: {lacking!r} has no caption among its sentences; add one, or remove it"
        )
    if not clips:
        raise DataError(f"{everything.file}, videos: no video has the split {part!r}; protocol=full needs it")
    return everything.among(clips)


def _fewer_captions(train: CaptionList) -> list[str]:
    """A note on training videos that have fewer captions than the published file gives them."""
    counts = [len(texts) for texts in train.captions.values() if len(texts) < _CAPTIONS]
    if not counts:
        return []
    fewest = several(min(counts), "caption")
    return [
        f"{several(len(counts), 'training video')} of {len(train.captions):,} with fewer captions than the {_CAPTIONS} "
        f"of the published file ({fewest} at least)"
    ]


def _groups(everything: CaptionList, test: CaptionList) -> dict[str, str]:
    """The source videos of the test clips, as far as they are known."""
    return {clip: everything.groups[clip] for clip in test.captions if clip in everything.groups}
