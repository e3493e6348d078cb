"""HMDB-51: 6,766 clips of 51 actions, three official splits, in whichever published lists lie under the data root."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import ClassVar, Literal

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import list_forms
from petl_bench.data.lists.list_forms import FormReader, ListForm
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.data.lists.published_lists import ClassInName, flat

#: What follows the class in a published file name, e.g. `_u_nm_np1_ba_med_3`: body part, camera, people, view, quality.
_CONDITIONS = re.compile(r"_[a-z]_[a-z]{2}_np[0-9]+_[a-z]{2}_[a-z]{3}_[0-9]+")
#: The actions as published file names write them, between the source film and the conditions.
_ACTION_NAMES = (
    "brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor "
    "fencing flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push pushup "
    "ride_bike ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke somersault stand "
    "swing_baseball sword sword_exercise talk throw turn walk wave"
)
_ACTIONS = tuple(_ACTION_NAMES.split())
#: Pairs that the label csv shared by ViFi-CLIP, X-CLIP, OST and ActionCLIP names in this order, against its own lists.
_SWAPPED = (("kick ball", "kick"), ("sword exercise", "sword"))

_SWAP = Defect(
    "swapped-names",
    "the label csv of ViFi-CLIP, X-CLIP, OST and ActionCLIP swaps 'kick' with 'kick ball' and 'sword' with 'sword "
    "exercise' against its lists",
    "120 of 1,530 clips of each test split carry another class's name; label_names=corrected puts it right",
)
_BY_ALPHABET = Defect(
    "base-by-alphabet",
    "every class trains with 70 clips, so frequency decides nothing: the base classes are the last 26 of the alphabet",
    "base and novel are one arbitrary division, not frequent and rare actions",
)


@lru_cache(maxsize=65536)
def stated_class(classes: tuple[str, ...], clip: str) -> str | None:
    """The class in a published file name: the longest of `classes` before the conditions; None in any other name."""
    title = _title(clip)
    if title is None:
        return None
    fitting = [name for name in classes if f"_{title}".endswith("_" + name.replace(" ", "_"))]
    return max(fitting, key=len, default=None)


def _title(clip: str) -> str | None:
    """What stands before the conditions in a published file name, `<source>_<action>`; None in any other name."""
    stem = clip_stem(clip)
    conditions = list(_CONDITIONS.finditer(stem))
    if not conditions or conditions[-1].end() != len(stem):
        return None
    return stem[: conditions[-1].start()]


def _vificlip(tree: Tree) -> ListForm:
    return list_forms.vificlip(tree, "hmdb_splits", "hmdb_51")


def _official(tree: Tree) -> ListForm:
    """`<class>_test_split<N>.txt`, one file per class and split."""
    form = ListForm("official")
    for split in (1, 2, 3):
        ending = f"_test_split{split}.txt"
        for name in sorted(name for name in tree.texts_by_name if name.endswith(ending)):
            file = find_annotation(tree, name)
            if file is not None:
                parts = formats.read_hmdb_split(file, split)
                form.train.setdefault(split, []).append(parts["train"])
                form.test.setdefault(split, []).append(parts["test"])
                form.files.append(file)
    form.classes = _named_classes(form)
    return form


def _milnce(tree: Tree) -> ListForm:
    form = ListForm("milnce")
    file = find_annotation(tree, "milnce/hmdb51.csv", "hmdb51.csv")
    if file is not None:
        for (part, split), clip_list in formats.read_milnce_csv(file).items():
            (form.train if part == "train" else form.test)[split] = [clip_list]
        form.files.append(file)
    form.classes = _named_classes(form)
    return form


def _named_classes(form: ListForm) -> tuple[str, ...]:
    """The class names that the lists themselves state, in the order of their labels elsewhere (alphabetical)."""
    names = {row.name for clip_list in form.splits for row in clip_list.rows}
    return tuple(sorted(names, key=lambda name: name.replace(" ", "_")))


@register_dataset("hmdb51")
class HMDB51(PublishedDataset):
    """HMDB-51 (Kuehne et al., ICCV 2011). Lists: official, ViFi-CLIP (test, few-shot, base-to-novel), others.

    With `lists=auto` every list is taken from the first form that has it: ViFi-CLIP, official, MIL-NCE's csv, Text4Vis,
    ActionCLIP, mmaction2 (videos or frame folders). X-CLIP and OST publish ViFi-CLIP's files under the same names.
    `lists=text4vis_full` reads Text4Vis' zero-shot list of all 6,766 clips as test split 1 of a data set without
    training clips; it is never mixed with the three splits, whose training clips it tests.

    The label csv that ViFi-CLIP, X-CLIP, OST and ActionCLIP share names "kick ball" and "kick", "sword exercise" and
    "sword" in the wrong order: clips of 4 of the 51 classes get another class's prompt. Published numbers contain this,
    so it is kept unless `label_names=corrected`; either way every record says so.
    """

    display = "HMDB-51"
    paper = Paper(
        title="HMDB: A Large Video Database for Human Motion Recognition",
        venue="ICCV 2011",
        url="https://serre.lab.brown.edu/hmdb51.html",
        bibtex="""@inproceedings{kuehne2011hmdb,
  title     = {{HMDB}: A Large Video Database for Human Motion Recognition},
  author    = {Kuehne, Hildegard and Jhuang, Hueihan and Garrote, Est{\\'i}baliz and Poggio, Tomaso and Serre, Thomas},
  booktitle = {International Conference on Computer Vision (ICCV)},
  pages     = {2556--2563},
  year      = {2011}
}""",
        licence="CC BY 4.0",
    )
    splits = (1, 2, 3)
    views = (10, 3)  # as MSTA's logs say
    defects = (_SWAP, _BY_ALPHABET)
    published_tests = (("test", 1530, 478), ("base", 780, 258), ("novel", 750, 268))
    licence = "CC BY 4.0 (annotations); clips come from films and the web and keep their owners' rights"
    description_name = "hmdb"  # in the names of published description files

    holds = "the clips and the official splits or ViFi-CLIP's datasets_splits/"
    forms: ClassVar[Mapping[str, FormReader]] = {
        "vificlip": _vificlip,
        "official": _official,
        "milnce": _milnce,
        **list_forms.forms_of_three_splits("hmdb51", "hmdb", "hmdb_51", "hmdb51_labels.csv"),
    }
    separate_forms = ("text4vis_full",)

    lists: Literal["auto", "vificlip", "official", "milnce", "text4vis", "actionclip", "mmaction2", "text4vis_full"] = (
        hyper("auto", "which published lists to read; auto: every list from the first form that has it")
    )
    label_names: Literal["published", "corrected"] = hyper(
        "published", "class names as in the label file, or as the clips' file names say if the two differ"
    )

    def with_remarks(self, found: Annotations, forms: Sequence[ListForm]) -> Annotations:
        """The annotations with the names that contradict file names, as they were found, and the base classes' rule."""
        return replace(found, defects=(*found.defects, _BY_ALPHABET)) if found.base_to_novel else found

    def clip_name(self, clip: str) -> str:
        """The file name as published."""
        return flat(clip)

    def class_in_name(self, classes: Sequence[str]) -> ClassInName:
        """The longest of the classes that a published file name states."""
        return partial(stated_class, tuple(classes))

    def group_of(self, clip: str) -> str:
        """The source film or video, which a published file name begins with: `<source>_<action>_<conditions>`."""
        title = _title(clip)
        action = None if title is None else stated_class(_ACTIONS, clip)
        return clip if title is None or action is None else title.removesuffix(action).rstrip("_")

    def description_order(self, classes: Sequence[str]) -> tuple[str, ...]:
        """`classes` in the order of published index-keyed description files, which follow the label csv's order."""
        order = list(classes)
        for first, second in _SWAPPED:
            if first in order and second in order and order.index(second) < order.index(first):
                at, other = order.index(second), order.index(first)
                order[at], order[other] = first, second
        return tuple(order)
