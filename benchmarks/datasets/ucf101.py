"""UCF-101: 13,320 clips of 101 actions, three official splits, in whichever published lists lie under the data root."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import list_forms
from petl_bench.data.lists.list_forms import FormReader, ListForm
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.data.lists.published_lists import ClassInName, flat

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


def _vificlip(tree: Tree) -> ListForm:
    return list_forms.vificlip(tree, "ucf_splits", "ucf_101")


def _official(tree: Tree) -> ListForm:
    train, test = {"trainlist0{split}.txt": formats.read_list}, {"testlist0{split}.txt": formats.read_unlabelled_list}
    classes = ["classInd.txt"]
    return list_forms.find_form(tree, "official", classes, train, test, read_classes=formats.read_class_index)


def _stated_class(clip: str) -> str | None:
    """The class in a published file name (`v_HandStandPushups_g01_c01` -> "HandStandPushups"); None in any other."""
    match = _PUBLISHED_NAME.fullmatch(clip_stem(clip))
    return match[2] if match else None


@register_dataset("ucf101")
class UCF101(PublishedDataset):
    """UCF-101 (Soomro et al., 2012). Lists: official (3 splits), ViFi-CLIP (test, few-shot, base-to-novel), others.

    With `lists=auto` every list is taken from the first form that has it: ViFi-CLIP, official, Text4Vis, ActionCLIP,
    mmaction2 (videos or frame folders). Their test lists name the same clips. X-CLIP and OST publish ViFi-CLIP's files
    under the same names. Without ViFi-CLIP's lists there is no published base-to-novel division.

    Text4Vis also tests zero-shot on all 13,320 clips at once: `lists=text4vis_full` reads that list as test split 1 of
    a data set without training clips. It is never mixed with the three splits, whose training clips it tests.
    """

    display = "UCF-101"
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
    published_tests = (("test", 3783, 707), ("base", 2088, 357), ("novel", 1695, 350))
    licence = "none stated by the authors; clips come from YouTube and keep their owners' rights"
    description_name = "ucf_101"  # in the names of published description files

    holds = "the clips and ucfTrainTestlist/ or ViFi-CLIP's datasets_splits/"
    forms: ClassVar[Mapping[str, FormReader]] = {
        "vificlip": _vificlip,
        "official": _official,
        **list_forms.forms_of_three_splits("ucf101", "ucf", "ucf_101", "ucf_labels.csv"),
    }
    separate_forms = ("text4vis_full",)

    lists: Literal["auto", "vificlip", "official", "text4vis", "actionclip", "mmaction2", "text4vis_full"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def group_of(self, clip: str) -> str:
        """The source video: `v_Archery_g03` of `v_Archery_g03_c01.avi`, in whichever folder."""
        match = _PUBLISHED_NAME.fullmatch(clip_stem(clip))
        return match[1] if match else clip

    def clip_name(self, clip: str) -> str:
        """The file name as published."""
        return flat(clip)

    def class_in_name(self, classes: Sequence[str]) -> ClassInName:
        """The class in a published file name."""
        return _stated_class

    def with_remarks(self, found: Annotations, forms: Sequence[ListForm]) -> Annotations:
        """The annotations with their defects; those of MSTA's logs concern the base-to-novel draws alone."""
        return replace(found, defects=self.defects if found.base_to_novel else (_SPELLING,))
