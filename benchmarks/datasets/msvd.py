"""MSVD: 1,970 YouTube clips with about 40 captions each, for video-text retrieval."""

from __future__ import annotations

import re

from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists.caption_formats import pickle_error, read_caption_json, read_names
from petl_bench.data.lists.published_captions import CaptionedDataset, CaptionParts, needed

_CAPTIONS = "captions_msvd.json"
#: A YouTube id, then the seconds where the clip starts and ends in its video.
_NAME = re.compile(r"(.{11})_[0-9]+_[0-9]+")

_LICENCE = "look it up at the source; videos come from YouTube and keep their owners' rights"


@register_dataset("msvd")
class MSVD(CaptionedDataset):
    """MSVD (Chen and Dolan, ACL 2011) for video-text retrieval, split 1: 1,200 training videos, 670 test videos.

    Every caption is a query: 27,763 of the test videos (a video has 18 to 81 captions). One caption per test video,
    as some code takes it, is another task with other numbers.

    Files: captions_msvd.json (`{id: [captions]}`) and train_list.txt, val_list.txt, test_list.txt, one id per line.
    raw-captions.pkl is a pickle and is not read; the message has a command that makes the JSON file of it. Videos are
    called `<YouTube id>_<start>_<end>`, whatever their extension and folder; letter case tells ids apart, and some
    start with a hyphen. The 100 validation videos are neither trained nor tested, and counted in a note: selection
    holds out training videos. Clips of one YouTube video are one group.

    Published numbers (CLIP4Clip, MV-Adapter) are of 12 frames, one per second, and 32 words.
    """

    display = "MSVD"
    paper = Paper(
        title="Collecting Highly Parallel Data for Paraphrase Evaluation",
        venue="ACL 2011",
        url="https://aclanthology.org/P11-1020/",
        bibtex="""@inproceedings{chen2011msvd,
  title     = {Collecting Highly Parallel Data for Paraphrase Evaluation},
  author    = {Chen, David L. and Dolan, William B.},
  booktitle = {Annual Meeting of the Association for Computational Linguistics (ACL)},
  pages     = {190--200},
  year      = {2011}
}""",
        licence=_LICENCE,
    )
    published_tests = (("test", 670, 522),)
    licence = _LICENCE
    holds = "the videos, captions_msvd.json and the three lists"

    def identity(self, stem: str) -> str:
        """The id; letter case counts."""
        return stem

    def group_of(self, clip: str) -> str:
        """The YouTube video that a clip is cut from."""
        name = _NAME.fullmatch(clip_stem(clip))
        return name[1] if name else clip

    def parts(self, tree: Tree) -> CaptionParts:
        """The three lists. Raises DataError if captions are there as a pickle alone."""
        captions = find_annotation(tree, f"msvd/{_CAPTIONS}", _CAPTIONS)
        if captions is None and (pickle := tree.entries.other_files.get(".pkl")):
            raise pickle_error(tree.root / pickle.example, _CAPTIONS)
        captions = captions or needed(tree, _CAPTIONS)
        everything = read_caption_json(captions, _CAPTIONS)
        train, test = (needed(tree, f"msvd/{part}_list.txt", f"{part}_list.txt") for part in ("train", "test"))
        val = find_annotation(tree, "msvd/val_list.txt", "val_list.txt")
        return CaptionParts(
            everything.of(read_names(test)),
            everything.of(read_names(train)),
            everything.of(read_names(val)) if val else None,
            [captions, train, test, *([val] if val else [])],
        )
