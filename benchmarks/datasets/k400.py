"""Kinetics-400: 400 actions, 240,000 training and 20,000 validation clips, in whichever lists lie under the root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Annotations, Dataset, Defect
from petl_bench.api.method import Paper
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.layout import Tree, find_annotation, given_root, scan
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import kinetics_lists as kinetics
from petl_bench.data.lists import published_lists
from petl_bench.data.lists.published_lists import Family
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


@register_dataset("k400")
class K400(Dataset):
    """Kinetics-400 (Kay et al., 2017). Lists: ViFi-CLIP (X-CLIP, OST), official csv, Text4Vis, ActionCLIP, mmaction2.

    The test clips are the validation list, as everywhere. With `lists=auto` every list is taken from the first form
    that has it: ViFi-CLIP, official, Text4Vis, ActionCLIP, mmaction2. Without ViFi-CLIP's lists there is no published
    base-to-novel division. A clip is named by its YouTube id, so `train/<id>_000417_000427.mp4`, `<id>.mp4`, files in
    class folders and frame folders `<id>` are all found.

    ViFi-CLIP has two training lists: `train.txt` with all clips, which many copies leave out for its size, and
    `train_tiny.txt` with 150 clips per class. `train_list` says which one trains where both are there; where only
    `train_tiny.txt` is there it trains, and every record says so.

    Views are those of the authors' logs of MSTA: 4 temporal clips, 3 crops.
    """

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
    licence = "CC BY 4.0 (annotations); clips come from YouTube and keep their owners' rights"
    views = (4, 3)
    defects = (_LISTS_DIFFER, _MSTA_LISTS, _CUT_IDS)

    lists: Literal["auto", "vificlip", "official", "text4vis", "actionclip", "mmaction2"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )
    train_list: Literal["train", "train_tiny"] = hyper(
        "train", "all training clips, or ViFi-CLIP's 150 per class; train takes these too where they alone are there"
    )

    def identity(self, stem: str) -> str:
        """The YouTube id, letter case kept, times cut, leading `-` and `_` dropped."""
        return kinetics.identity(stem)

    def group_of(self, clip: str) -> str:
        """The YouTube id."""
        return kinetics.identity(clip)

    def root(self, data_root: Path | None) -> Path:
        """The data root itself; lists and clips may lie anywhere below it."""
        return given_root("k400", data_root, "the clips and ViFi-CLIP's datasets_splits/ or the official csv files")

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`; labels are checked against class folders where a list names them."""
        readers = {
            "vificlip": _vificlip,
            "official": lambda tree: kinetics.official(tree, 400, with_test=self.lists == "official"),
            "text4vis": _text4vis,
            "actionclip": _actionclip,
            "mmaction2": lambda tree: kinetics.mmaction2(tree, 400),
        }
        tree = scan(root)
        families: list[Family] = []
        for name, read in readers.items():
            complete = any(family.train for family in families) and any(family.test for family in families)
            if self.lists in ("auto", name) and not complete:  # each form is 240,000 rows to read
                families.append(read(tree))
        families = self._with_tiny(tree, families)
        families.append(_class_names(tree))
        names = next((family.classes for family in families if family.classes), ())
        found = published_lists.read_annotations(
            root, families, kinetics.class_folder(names), clip_name=kinetics.clip_id
        )
        return replace(
            found, defects=_applying(families, found), notes=(*found.notes, *self._tiny_note(families, found))
        )

    def _with_tiny(self, tree: Tree, families: list[Family]) -> list[Family]:
        """The families with `train_tiny.txt` where it can come to be the training list: first if asked for."""
        tiny = Family("train_tiny")
        tiny.add(tiny.train, 1, _vificlip_file(tree, "train_tiny.txt"), kinetics.read_list)
        if self.train_list == "train_tiny":
            if not tiny.train:
                raise DataError(
                    f"{tree.root}: no train_tiny.txt found below it, and k400.train_list=train_tiny asks for it"
                )
            return [tiny, *families]
        return [*families, tiny] if self.lists in ("auto", "vificlip") else families

    def _tiny_note(self, families: Sequence[Family], found: Annotations) -> list[str]:
        trained = next((family.name for family in families if family.train), "")
        if trained != "train_tiny" or self.train_list == "train_tiny":
            return []
        return [f"training clips are those of train_tiny.txt ({len(found.train[1]):,}): no full training list is there"]


def _applying(families: Sequence[Family], found: Annotations) -> tuple[Defect, ...]:
    tested = next((family.name for family in families if family.test), "")
    halves = (_MSTA_LISTS,) if found.base_to_novel else ()
    return (*_DEFECTS_OF_TEST.get(tested, ()), *halves)


def _vificlip(tree: Tree) -> Family:
    family = Family("vificlip")
    kinetics.add_classes(family, find_annotation(tree, "kinetics_400_labels.csv"), formats.read_class_csv)
    family.add(family.train, 1, _vificlip_file(tree, "train.txt"), kinetics.read_list)
    family.add(family.test, 1, _vificlip_file(tree, "val.txt"), kinetics.read_list)
    family.halves = published_lists.vificlip_halves(tree, "k400_splits", "kinetics_400", family.files)
    return family


def _vificlip_file(tree: Tree, name: str) -> Path | None:
    return find_annotation(tree, f"k400_splits/{name}", f"./{name}")


def _text4vis(tree: Tree) -> Family:
    """Lists of videos, else of frame folders."""
    family = Family("text4vis")
    for part, into in (("train", family.train), ("val", family.test)):
        videos = find_annotation(tree, f"k400/kinetics_video_{part}_se320.txt", f"./kinetics_video_{part}_se320.txt")
        frames = find_annotation(tree, f"k400/kinetics_rgb_{part}_se320.txt", f"./kinetics_rgb_{part}_se320.txt")
        family.add(into, 1, videos or frames, kinetics.read_list if videos else kinetics.read_counted_list)
    return family


def _actionclip(tree: Tree) -> Family:
    family = Family("actionclip")
    for part, into in (("train", family.train), ("val", family.test)):
        family.add(into, 1, find_annotation(tree, f"{part}_frames_re.txt"), kinetics.read_foreign_list)
    return family


def _class_names(tree: Tree) -> Family:
    """Class names for lists that came without: any label file of Kinetics-400 that lies there."""
    family = Family("class names")
    readers = {
        "kinetics_400_labels.csv": formats.read_class_csv,
        "label_map_k400.txt": formats.read_label_map,
        "Kinetics-400_label_list.txt": kinetics.read_numbered_classes,
    }
    for name, read in readers.items():
        if not family.classes:
            kinetics.add_classes(family, find_annotation(tree, name), read)
    return family
