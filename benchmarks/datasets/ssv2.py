"""Something-Something V2: 174 actions with everyday objects, in whichever published lists lie under the data root."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from petl_bench.api.dataset import Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import list_forms
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.data.lists.list_forms import FormReader, ListForm
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.errors import DataError

_TWO_VERSIONS = Defect(
    "v1-label-map",
    "Something-Something V1 numbers the same actions in another order, and TSM names both versions' files alike",
    "V2's lists read with V1's label map give nearly every clip another class; such a label map is refused",
)


def clip_name(clip: str) -> str:
    """The clip as published, `<id>.webm`, whichever folder or extension a list gives it."""
    return f"{clip_stem(clip)}.webm"


def _refuse_other_label_maps(forms: Sequence[ListForm]) -> None:
    """Only what is read matters: a label file without lists, but for the one that names the classes, is passed over."""
    named = next((form for form in forms if form.classes), None)
    for form in forms:
        if form is not named and not form.splits:
            continue
        names, ordered = form.classes, sorted(form.classes, key=str.casefold)
        wrong = next((label for label, name in enumerate(names) if name != ordered[label]), None)
        if wrong is not None:
            raise DataError(
                f"{form.class_file}: class {wrong} is {names[wrong]!r}, where Something-Something V2 has its classes "
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


def _refuse_unknown_templates(forms: Sequence[ListForm]) -> None:
    """Named before `read_annotations` would, since its message counts lines and json has entries."""
    named = next((form for form in forms if form.classes), None)
    if named is None:
        return
    find = formats.class_finder(named.classes)
    for form in forms:
        for row_list in form.splits:
            unknown = next((row for row in row_list.rows if row.name and find(row.name) is None), None)
            if unknown is not None:
                raise DataError(
                    f"{row_list.file}, entry {unknown.line} (clip {unknown.clip}): the template {unknown.name!r} is "
                    f"none of the {len(named.classes)} classes of {named.class_file}"
                )


# ---------------------------------------------------------------- forms


def _vificlip(tree: Tree) -> ListForm:
    return list_forms.vificlip(tree, "ssv2_splits", "ssv2", halves="ssv2_174", test="validation.txt", splits=(1,))


def _official(tree: Tree) -> ListForm:
    """The json files under the names of both releases: `something-something-v2-train.json`, `labels/train.json`."""
    names = ("something-something-v2-{}.json", "labels/{}.json")
    classes, train, test = ([name.format(part) for name in names] for part in ("labels", "train", "validation"))
    lists = (dict.fromkeys(train, read_entries), dict.fromkeys(test, read_entries))
    return list_forms.find_form(tree, "official", classes, *lists, splits=(1,), read_classes=read_labels)


def _mmaction2(tree: Tree) -> ListForm:
    lists = {
        "sthv2_{part}_list_videos.txt": formats.read_list,
        "sthv2_{part}_list_rawframes.txt": formats.read_counted_list,
    }
    classes = ["sthv2/label_map.txt", "./label_map.txt"]
    return list_forms.find_form(tree, "mmaction2", classes, lists, splits=(1,), read_classes=_read_templates)


def _tsm(tree: Tree) -> ListForm:
    patterns = ["something/v2/{part}_videofolder.txt", "./{part}_videofolder.txt"]
    lists = dict.fromkeys(patterns, formats.read_counted_list)
    classes = ["something/v2/category.txt", "./category.txt"]
    return list_forms.find_form(tree, "tsm", classes, lists, splits=(1,), read_classes=_read_templates)


def _read_templates(path: Path) -> tuple[str, ...]:
    return tuple(map(template_name, formats.read_classes(path)))


@register_dataset("ssv2")
class SomethingSomethingV2(PublishedDataset):
    """Something-Something V2 (Goyal et al., ICCV 2017): train split 1, and validation as test split 1.

    The test set proper has no published labels. With `lists=auto` every list is taken from the first form that has it:
    ViFi-CLIP (test, few-shot, base-to-novel; OST publishes the same files), the official json, mmaction2, TSM. Classes
    are the templates without brackets: "Putting [something] onto [something]" is "Putting something onto something".
    Several classes differ only in left and right; published few-shot code flips training clips none the less, and so
    does this data set.
    """

    display = "SSv2"
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
    published_tests = (("test", 24777, 24777), ("base", 17562, 17562), ("novel", 7215, 7215))
    licence = "its owner's own terms, accepted when downloading; look them up there"

    holds = "the clips and the official json files or ViFi-CLIP's datasets_splits/"
    forms: ClassVar[Mapping[str, FormReader]] = {
        "vificlip": _vificlip,
        "official": _official,
        "mmaction2": _mmaction2,
        "tsm": _tsm,
    }

    lists: Literal["auto", "vificlip", "official", "mmaction2", "tsm"] = hyper(
        "auto", "which published lists to read; auto: every list from the first form that has it"
    )

    def list_forms(self, tree: Tree) -> list[ListForm]:
        """The forms. Raises DataError for another version's label map and for unknown templates."""
        forms = super().list_forms(tree)
        _refuse_other_label_maps(forms)
        _refuse_unknown_templates(forms)
        return forms

    def clip_name(self, clip: str) -> str:
        """`<id>.webm`."""
        return clip_name(clip)
