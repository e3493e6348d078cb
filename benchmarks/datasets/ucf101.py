"""UCF-101: 13,320 clips of 101 actions, three official splits, in whichever published lists lie under the data root."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Annotations, Dataset, Defect
from petl_bench.api.method import Paper
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.file_types import without_video_suffix
from petl_bench.data.found.layout import Tree, find_annotation, given_root, scan
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import published_lists as lists

_SPELLING = Defect(
    "handstand-spelling",
    "class files and folders write HandstandPushups, file names v_HandStandPushups_...",
    "names made from the class are not found where letter case counts; here they are, and no number changes",
)
_ONE_DRAW = Defect(
    "msta-one-draw",
    "MSTA's logs of the base-to-novel draws s2 and s3 were trained on the list of s1",
    "its published mean is of one draw trained three times, and a spread over its runs is not one over draws",
)
_OWN_LISTS = Defect(
    "msta-own-lists",
    "MSTA's base-to-novel logs name lists of their own (*_new.txt), which were not published",
    "its published base-to-novel numbers may rest on other rows than ViFi-CLIP's lists",
)
_PUBLISHED_NAME = re.compile(r"(v_([A-Za-z]+)_g[0-9]+)_c[0-9]+")


@register_dataset("ucf101")
class UCF101(Dataset):
    """UCF-101 (Soomro et al., 2012). Lists: official (3 splits), ViFi-CLIP (test, few-shot, base-to-novel), others.

    With `lists=auto` every list is taken from the first form that has it: ViFi-CLIP, official, Text4Vis, ActionCLIP,
    mmaction2 (videos or frame folders). Their test lists name the same clips. X-CLIP and OST publish ViFi-CLIP's files
    under the same names. Without ViFi-CLIP's lists there is no published base-to-novel division.

    Text4Vis also tests zero-shot on all 13,320 clips at once: `lists=text4vis_full` reads that list as test split 1 of
    a data set without training clips. It is never mixed with the three splits, whose training clips it tests.
    """

    paper = Paper(
        title="UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild",
        venue="CRCV-TR-12-01, University of Central Florida, 2012",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
        bibtex="""@techreport{soomro2012ucf101,
  title       = {{UCF101}: A Dataset of 101 Human Actions Classes From Videos in The Wild},
  author      = {Soomro, Khurram and Zamir, Amir Roshan and Shah, Mubarak},
  institution = {Center for Research in Computer Vision, University of Central Florida},
  number      = {CRCV-TR-12-01},
  year        = {2012}
}""",
        licence="none stated",
    )
    splits = (1, 2, 3)
    views = (5, 3)  # as MSTA's logs say
    defects = (_SPELLING, _ONE_DRAW, _OWN_LISTS)
    licence = "none stated by the authors; clips come from YouTube and keep their owners' rights"
    description_name = "ucf_101"  # in the names of published description files

    lists: Literal["auto", "vificlip", "official", "text4vis", "actionclip", "mmaction2", "text4vis_full"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def root(self, data_root: Path | None) -> Path:
        """The data root itself; lists and clips may lie anywhere below it."""
        return given_root("ucf101", data_root, "the clips and ucfTrainTestlist/ or ViFi-CLIP's datasets_splits/")

    def group_of(self, clip: str) -> str:
        """The source video: `v_Archery_g03` of `v_Archery_g03_c01.avi`, in whichever folder."""
        match = _PUBLISHED_NAME.fullmatch(without_video_suffix(clip.rpartition("/")[2]))
        return match[1] if match else clip

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`, each label checked against the class in the file name."""
        readers = {
            "vificlip": _vificlip,
            "official": _official,
            "text4vis": _text4vis,
            "actionclip": _actionclip,
            "mmaction2": _mmaction2,
        }
        tree = scan(root)
        if self.lists == "text4vis_full":
            families = [_text4vis_full(tree)]
        else:
            families = [read(tree) for name, read in readers.items() if self.lists in ("auto", name)]
        found = lists.read_annotations(root, families, stated_class, clip_name=lists.flat)
        of_draws = (_ONE_DRAW, _OWN_LISTS) if found.base_to_novel else ()
        return replace(found, defects=(_SPELLING, *of_draws))


def stated_class(clip: str) -> str | None:
    """The class in a published file name (`v_HandStandPushups_g01_c01` -> "HandStandPushups"); None in any other."""
    match = _PUBLISHED_NAME.fullmatch(without_video_suffix(clip.rpartition("/")[2]))
    return match[2] if match else None


def _vificlip(tree: Tree) -> lists.Family:
    return lists.vificlip(tree, "ucf_splits", "ucf_101")


def _official(tree: Tree) -> lists.Family:
    family = lists.Family("official")
    family.class_file = find_annotation(tree, "classInd.txt")
    if family.class_file:
        family.classes = formats.read_class_index(family.class_file)
    for split in (1, 2, 3):
        family.add(family.train, split, find_annotation(tree, f"trainlist0{split}.txt"))
        test = find_annotation(tree, f"testlist0{split}.txt")
        family.add(family.test, split, test, formats.read_unlabelled_list)
    return family


def _text4vis(tree: Tree) -> lists.Family:
    patterns = {"ucf101/{part}_rgb_split_{split}.txt": formats.read_counted_list}
    return lists.rows_family(tree, "text4vis", ["ucf_labels.csv"], patterns)


def _text4vis_full(tree: Tree) -> lists.Family:
    family = lists.rows_family(tree, "text4vis_full", ["ucf_labels.csv"], {})
    family.add(family.test, 1, find_annotation(tree, "ucf_full_for_zeroshot.txt"), formats.read_counted_list)
    return family


def _actionclip(tree: Tree) -> lists.Family:
    """ActionCLIP's form, as its configurations name the files; its paths are absolute on somebody's disk."""
    patterns = {"ucf101/{part}_rgb_split{split}.txt": partial(formats.read_counted_list, foreign=True)}
    return lists.rows_family(tree, "actionclip", ["ucf_101_labels.csv", "ucf_labels.csv"], patterns)


def _mmaction2(tree: Tree) -> lists.Family:
    return lists.mmaction2(tree, "ucf101")
