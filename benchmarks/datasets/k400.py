"""Kinetics-400: 400 actions, 240,000 training and 20,000 validation clips, in whichever lists lie under the root."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import kinetics_lists as kinetics
from petl_bench.data.lists.kinetics_lists import Kinetics
from petl_bench.data.lists.list_forms import FormReader, ListForm, add_vificlip_halves, find_form
from petl_bench.errors import DataError

_LISTS_DIFFER = Defect(
    "k400-validation-lists-differ",
    "of the 19,906 clips of the official validation list ViFi-CLIP's list names 19,877, Text4Vis' 19,796 and "
    "ActionCLIP's 19,357",
    "accuracies published over different lists are not over the same clips",
)
_MSTA_LISTS = Defect(
    "k400-msta-base-to-novel-lists",
    "the authors of MSTA used base-to-novel lists of their own (9,900 base and 9,875 novel test clips, not published); "
    "ViFi-CLIP's, read here, have 9,944 and 9,933",
    "MSTA's published base-to-novel numbers are not over these clips",
)
_CUT_IDS = Defect(
    "k400-actionclip-ids",
    "ActionCLIP's list leaves out the `-` or `_` that an id begins with (85 of its first 2,000 rows)",
    "clips are matched without leading `-` and `_`; none is lost, none is taken for another",
)
#: The lists of test clips to which a defect belongs.
_DEFECTS_OF_TEST = {
    "vificlip": (_LISTS_DIFFER,),
    "text4vis": (_LISTS_DIFFER,),
    "actionclip": (_LISTS_DIFFER, _CUT_IDS),
}


#: Label files of Kinetics-400, for lists that came without one.
_CLASS_FILES: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "kinetics_400_labels.csv": formats.read_class_csv,
    "label_map_k400.txt": formats.read_label_map,
    "Kinetics-400_label_list.txt": kinetics.read_numbered_classes,
}


def _vificlip(tree: Tree) -> ListForm:
    lists = {"k400_splits/{part}.txt": kinetics.read_list, "./{part}.txt": kinetics.read_list}
    classes = ["kinetics_400_labels.csv"]
    form = find_form(tree, "vificlip", classes, lists, splits=(1,), read_classes=formats.read_class_csv)
    add_vificlip_halves(form, tree, "k400_splits", "kinetics_400")
    return form


def _text4vis(tree: Tree) -> ListForm:
    """Lists of videos, else of frame folders."""
    kinds = {"video": kinetics.read_list, "rgb": kinetics.read_counted_list}
    names = {f"kinetics_{kind}_{{part}}_se320.txt": read for kind, read in kinds.items()}
    lists = {f"{folder}/{name}": read for name, read in names.items() for folder in ("k400", ".")}
    return find_form(tree, "text4vis", [], lists, splits=(1,))


def _actionclip(tree: Tree) -> ListForm:
    return find_form(tree, "actionclip", [], {"{part}_frames_re.txt": kinetics.read_foreign_list}, splits=(1,))


def _class_names(tree: Tree) -> ListForm:
    form = ListForm("class names")
    for name, read in _CLASS_FILES.items():
        if not form.classes:
            form.add_classes(find_annotation(tree, name), read)
    return form


@register_dataset("k400")
class K400(Kinetics):
    """Kinetics-400 (Kay et al., 2017). Lists: ViFi-CLIP (X-CLIP, OST), official csv, Text4Vis, ActionCLIP, mmaction2.

    The test clips are the validation list, as everywhere. With `lists=auto` every list is taken from the first form
    that has it: ViFi-CLIP, official, Text4Vis, ActionCLIP, mmaction2. Without ViFi-CLIP's lists there is no published
    base-to-novel division. A clip is named by its YouTube id, so `train/<id>_000417_000427.mp4`, `<id>.mp4`, files in
    class folders and frame folders `<id>` are all found.

    ViFi-CLIP has two training lists: `train.txt` with all clips, which many copies leave out for its size, and
    `train_tiny.txt` with 150 clips per class. `train_list` says which one trains if both are there; if only
    `train_tiny.txt` is there it trains, and every record says so.

    Views are those of the authors' logs of MSTA: 4 temporal clips, 3 crops.
    """

    display = "K-400"
    paper = Paper(
        title="The Kinetics Human Action Video Dataset",
        venue="arXiv:1705.06950, 2017",
        url="https://arxiv.org/abs/1705.06950",
        bibtex="""@article{kay2017kinetics,
  title   = {The Kinetics Human Action Video Dataset},
  author  = {Kay, Will and Carreira, Jo{\\~a}o and Simonyan, Karen and Zhang, Brian and Hillier, Chloe and
             Vijayanarasimhan, Sudheendra and Viola, Fabio and Green, Tim and Back, Trevor and Natsev, Paul and
             Suleyman, Mustafa and Zisserman, Andrew},
  journal = {arXiv preprint arXiv:1705.06950},
  year    = {2017}
}""",
        licence="CC BY 4.0",
    )
    views = (4, 3)
    defects = (_LISTS_DIFFER, _MSTA_LISTS, _CUT_IDS)

    published_tests = (("test", 19877, 19877), ("base", 9944, 9944), ("novel", 9933, 9933))
    holds = "the clips and ViFi-CLIP's datasets_splits/ or the official csv files"
    forms: ClassVar[Mapping[str, FormReader]] = {
        "vificlip": _vificlip,
        "official": partial(kinetics.official, number=400),
        "text4vis": _text4vis,
        "actionclip": _actionclip,
        "mmaction2": partial(kinetics.mmaction2, number=400),
    }

    lists: Literal["auto", "vificlip", "official", "text4vis", "actionclip", "mmaction2"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )
    train_list: Literal["train", "train_tiny"] = hyper(
        "train", "all training clips, or ViFi-CLIP's 150 per class; train takes these too if they alone are there"
    )

    def list_forms(self, tree: Tree) -> list[ListForm]:
        """The forms until there are training and test lists (each form has 240,000 rows); and class names last."""
        forms: list[ListForm] = []
        for name in self.forms:
            complete = any(form.train for form in forms) and any(form.test for form in forms)
            if self.lists in ("auto", name) and not complete:
                forms.append(self.read_form(name, tree))
        return [*self._with_tiny(tree, forms), _class_names(tree)]

    def _with_tiny(self, tree: Tree, forms: list[ListForm]) -> list[ListForm]:
        """The forms with `train_tiny.txt` if it may become the training list: first if asked for."""
        tiny = ListForm("train_tiny")
        file = find_annotation(tree, "k400_splits/train_tiny.txt", "./train_tiny.txt")
        tiny.add(tiny.train, 1, file, kinetics.read_list)
        if self.train_list == "train_tiny":
            if not tiny.train:
                raise DataError(
                    f"{tree.root}: no train_tiny.txt found below it, and k400.train_list=train_tiny asks for it"
                )
            return [tiny, *forms]
        return [*forms, tiny] if self.lists in ("auto", "vificlip") else forms

    def with_remarks(self, found: Annotations, forms: Sequence[ListForm]) -> Annotations:
        """The annotations with the defects of the test lists, and a note if `train_tiny.txt` had to stand in."""
        trained, tested = (next((form.name for form in forms if getattr(form, side)), "") for side in ("train", "test"))
        notes = found.notes
        if trained == "train_tiny" != self.train_list:
            count = f"{len(found.train[1]):,}"
            notes += (f"training clips are those of train_tiny.txt ({count}): no full training list is there",)
        halves = (_MSTA_LISTS,) if found.base_to_novel else ()
        return replace(found, defects=(*_DEFECTS_OF_TEST.get(tested, ()), *halves), notes=notes)
