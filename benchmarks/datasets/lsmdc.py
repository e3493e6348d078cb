"""LSMDC: 118,081 short clips of movies with one sentence each, for video-text retrieval."""

from __future__ import annotations

import re

from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists.caption_formats import read_lsmdc
from petl_bench.data.lists.published_captions import CaptionedDataset, CaptionParts, needed

_TRAIN, _VAL = "LSMDC16_annos_training.csv", "LSMDC16_annos_val.csv"
_TEST = "LSMDC16_challenge_1000_publictect.csv"
#: `<number>_<Movie>_<start>-<end>`, times as 00.00.51.926.
_NAME = re.compile(r"(.+)_[0-9.]+-[0-9.]+")

_LICENCE = "by agreement with the authors, for clips and annotations; movies keep their owners' rights"


@register_dataset("lsmdc")
class LSMDC(CaptionedDataset):
    """LSMDC 2016 (Rohrbach et al., IJCV 2017) for video-text retrieval, split 1: 1,000 test clips.

    Files: LSMDC16_annos_training.csv, LSMDC16_annos_val.csv and LSMDC16_challenge_1000_publictect.csv, six fields with
    tabs between and no header; quotes are part of the text. A training clip may stand in several rows. Clips are called
    `0001_American_Beauty_00.00.51.926-00.00.54.129`, in a folder of their movie or not; the name ends at the last
    dot of the file. The validation clips are neither trained nor tested, and counted in a note: selection holds out
    training videos. Clips of one movie are one group.

    Published numbers (CLIP4Clip, MV-Adapter) are of 12 frames, one per second, and 32 words.
    """

    display = "LSMDC"
    paper = Paper(
        title="Movie Description",
        venue="IJCV 2017",
        url="https://sites.google.com/site/describingmovies/",
        bibtex="""@article{rohrbach2017movie,
  title   = {Movie Description},
  author  = {Rohrbach, Anna and Torabi, Atousa and Rohrbach, Marcus and Tandon, Niket and Pal, Christopher and
             Larochelle, Hugo and Courville, Aaron and Schiele, Bernt},
  journal = {International Journal of Computer Vision},
  volume  = {123},
  pages   = {94--120},
  year    = {2017}
}""",
        licence=_LICENCE,
    )
    licence = _LICENCE
    holds = "the clips and the three LSMDC16 lists"

    def group_of(self, clip: str) -> str:
        """The movie that a clip is cut from."""
        name = _NAME.fullmatch(clip_stem(clip))
        return name[1] if name else clip

    def parts(self, tree: Tree) -> CaptionParts:
        """The three lists; training and validation list may be absent."""
        files = [find_annotation(tree, name) for name in (_TRAIN, _VAL)]
        test = needed(tree, _TEST)
        train, val = (read_lsmdc(file) if file else None for file in files)
        return CaptionParts(read_lsmdc(test, once=True), train, val, [test, *filter(None, files)])
