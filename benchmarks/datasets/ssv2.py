"""Something-Something V2: 174 actions with everyday objects, in whichever published lists lie under the data root."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from petl_bench.api.dataset import Annotations, Dataset, Defect
from petl_bench.api.method import Paper
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.file_types import without_video_suffix
from petl_bench.data.found.layout import Tree, find_annotation, given_root, scan
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import published_lists as lists
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.errors import DataError

_TWO_VERSIONS = Defect(
    "v1-label-map",
    "Something-Something V1 numbers the same actions in another order, and TSM names both versions' files alike",
    "V2's lists read with V1's label map give nearly every clip another class; such a label map is refused",
)


@register_dataset("ssv2")
class SomethingSomethingV2(Dataset):
    """Something-Something V2 (Goyal et al., ICCV 2017): train split 1, and validation as test split 1.

    The test set proper has no published labels. With `lists=auto` every list is taken from the first form that has it:
    ViFi-CLIP (test, few-shot, base-to-novel; OST publishes the same files), the official json, mmaction2, TSM. Classes
    are the templates without brackets: "Putting [something] onto [something]" is "Putting something onto something".
    Several classes differ only in left and right; published few-shot code flips training clips none the less, and so
    does this data set.
    """

    paper = Paper(
        title='The "something something" video database for learning and evaluating visual common sense',
        venue="ICCV 2017",
        url="https://arxiv.org/abs/1706.04261",
        bibtex="""@inproceedings{goyal2017something,
  title     = {The "something something" video database for learning and evaluating visual common sense},
  author    = {Goyal, Raghav and Ebrahimi Kahou, Samira and Michalski, Vincent and Materzynska, Joanna and
               Westphal, Susanne and Kim, Heuna and Haenel, Valentin and Fruend, Ingo and Yianilos, Peter and
               Mueller-Freitag, Moritz and Hoppe, Florian and Thurau, Christian and Bax, Ingo and Memisevic, Roland},
  booktitle = {International Conference on Computer Vision (ICCV)},
  pages     = {5842--5850},
  year      = {2017}
}""",
        licence="not stated here",
    )
    views = (2, 3)  # as MSTA's logs say
    defects = (_TWO_VERSIONS,)
    licence = "its owner's own terms, accepted when downloading; look them up there"

    lists: Literal["auto", "vificlip", "official", "mmaction2", "tsm"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def root(self, data_root: Path | None) -> Path:
        """The data root itself; lists and clips may lie anywhere below it."""
        return given_root("ssv2", data_root, "the clips and the official json files or ViFi-CLIP's datasets_splits/")

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`. Raises DataError for another version's label map and for unknown templates."""
        readers = {"vificlip": _vificlip, "official": _official, "mmaction2": _mmaction2, "tsm": _tsm}
        tree = scan(root)
        families = [read(tree) for name, read in readers.items() if self.lists in ("auto", name)]
        _refuse_other_label_maps(families)
        _refuse_unknown_templates(families)
        found = lists.read_annotations(root, families, _states_no_class, clip_name=clip_name)
        return replace(found, defects=self.defects)


def clip_name(clip: str) -> str:
    """The clip as published, `<id>.webm`, whichever folder or extension a list gives it."""
    return f"{without_video_suffix(clip.rpartition('/')[2])}.webm"


def _states_no_class(_clip: str) -> None:
    return None


def _refuse_other_label_maps(families: Sequence[lists.Family]) -> None:
    """Only what is read matters: a label file without lists, but for the one that names the classes, is passed over."""
    named = next((family for family in families if family.classes), None)
    for family in families:
        if family is not named and not family.splits:
            continue
        names, ordered = family.classes, sorted(family.classes, key=str.casefold)
        wrong = next((label for label, name in enumerate(names) if name != ordered[label]), None)
        if wrong is not None:
            raise DataError(
                f"{family.class_file}: class {wrong} is {names[wrong]!r}, where Something-Something V2 has its classes "
                "in the order of the alphabet. This is another label map, V1's perhaps; its numbers do not fit V2's "
                "lists. Remove it, or choose other lists with --set ssv2.lists=..."
            )


# ---------------------------------------------------------------- official json


def read_labels(path: Path) -> tuple[str, ...]:
    """`{"<class>": "<label>", ...}`, labels as text from 0 (something-something-v2-labels.json)."""
    labels = _json(path)
    if not isinstance(labels, dict) or not labels:
        raise DataError(f"{path}: expected an object that maps class names to labels")
    names = {str(label): template_name(name) for name, label in labels.items()}
    if set(names) != {str(label) for label in range(len(labels))}:
        raise DataError(f"{path}: {len(labels)} classes, but their labels are not 0 to {len(labels) - 1}, each once")
    ordered = tuple(names[str(label)] for label in range(len(labels)))
    if len(set(ordered)) < len(ordered):
        twice = next(name for name in ordered if ordered.count(name) > 1)
        raise DataError(f"{path}: the class {twice!r} stands there twice")
    return ordered


def read_entries(path: Path) -> ClipList:
    """`[{"id": "78687", "template": "Holding [something] ...", ...}, ...]` (something-something-v2-train.json).

    A row's line is the number of its entry, from 1; its name is the template without brackets.
    """
    entries = _json(path)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: expected a list of clips with id and template")
    rows: dict[str, ListRow] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, entry {number}"
        clip = formats.clip_path(_text(entry, "id", where), where)
        if clip in rows:
            raise DataError(f"{where}: the clip {clip!r} is entry {rows[clip].line} already")
        rows[clip] = ListRow(number, clip, name=template_name(_text(entry, "template", where)))
    return ClipList(path, tuple(rows.values()))


def template_name(template: str) -> str:
    """A class name from a template: placeholders without their brackets, single blanks."""
    return " ".join(template.replace("[", "").replace("]", "").split())


def _text(entry: Any, field: str, where: str) -> str:
    value = entry.get(field) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        hint = "; the test set's entries have none, and are of no use here" if field == "template" else ""
        raise DataError(f"{where}: no {field!r} there{hint}")
    return str(value).strip()


def _json(path: Path) -> Any:
    try:
        return json.loads(formats.read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error})") from error
    except RecursionError as error:
        raise DataError(f"{path}: not a list of clips (nested too deeply)") from error


def _refuse_unknown_templates(families: Sequence[lists.Family]) -> None:
    """Named before `read_annotations` would, since its message counts lines and json has entries."""
    named = next((family for family in families if family.classes), None)
    if named is None:
        return
    find = formats.class_finder(named.classes)
    for family in families:
        for row_list in family.splits:
            unknown = next((row for row in row_list.rows if row.name and find(row.name) is None), None)
            if unknown is not None:
                raise DataError(
                    f"{row_list.file}, entry {unknown.line} (clip {unknown.clip}): the template {unknown.name!r} is "
                    f"none of the {len(named.classes)} classes of {named.class_file}"
                )


# ---------------------------------------------------------------- forms


def _vificlip(tree: Tree) -> lists.Family:
    family = lists.Family("vificlip")
    family.class_file = find_annotation(tree, "ssv2_labels.csv")
    if family.class_file:
        family.classes = formats.read_class_csv(family.class_file)
    family.add(family.test, 1, find_annotation(tree, "ssv2_splits/validation.txt", "./validation.txt"))
    for shots in (2, 4, 8, 16):
        name = f"train1_few_shot_{shots}.txt"
        family.add(family.few_shot, (1, shots), find_annotation(tree, f"ssv2_splits/{name}", f"./{name}"))
    family.halves = lists.vificlip_halves(tree, "ssv2_splits", "ssv2_174", family.files)
    return family


def _official(tree: Tree) -> lists.Family:
    """The json files under the names of both releases: `something-something-v2-train.json`, `labels/train.json`."""

    def find(part: str) -> Path | None:
        return find_annotation(tree, f"something-something-v2-{part}.json", f"labels/{part}.json")

    family = lists.Family("official")
    family.class_file = find("labels")
    if family.class_file:
        family.classes = read_labels(family.class_file)
    family.add(family.train, 1, find("train"), read_entries)
    family.add(family.test, 1, find("validation"), read_entries)
    return family


def _mmaction2(tree: Tree) -> lists.Family:
    return _numbered(
        tree,
        "mmaction2",
        ["sthv2/label_map.txt", "./label_map.txt"],
        {
            "sthv2_{part}_list_videos.txt": formats.read_list,
            "sthv2_{part}_list_rawframes.txt": formats.read_counted_list,
        },
    )


def _tsm(tree: Tree) -> lists.Family:
    patterns = ["something/v2/{part}_videofolder.txt", "./{part}_videofolder.txt"]
    labels = ["something/v2/category.txt", "./category.txt"]
    return _numbered(tree, "tsm", labels, dict.fromkeys(patterns, formats.read_counted_list))


def _numbered(
    tree: Tree, name: str, class_patterns: Sequence[str], patterns: Mapping[str, Callable[[Path], ClipList]]
) -> lists.Family:
    """A form with one training and one validation list, from the first pattern that fits a file."""
    family = lists.Family(name)
    family.class_file = find_annotation(tree, *class_patterns)
    if family.class_file:
        family.classes = tuple(map(template_name, formats.read_classes(family.class_file)))
    for pattern, read in patterns.items():
        for part, found in (("train", family.train), ("val", family.test)):
            if not found:
                family.add(found, 1, find_annotation(tree, pattern.format(part=part)), read)
    return family
