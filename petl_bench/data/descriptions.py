"""Descriptions of classes for the consistency constraint of MSTA: spatial and temporal sentences, N of each per class.

They come from files (the published pairs of JSON, or one keyed by class), from the data set itself, or, so that the
method always runs, from templates that only rephrase the class name. Published files are keyed by index in the order of
a label csv: what their sentences say must fit the classes, or they are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.data.layout import canonical
from petl_bench.dataset import Annotations, Dataset
from petl_bench.errors import DataError
from petl_bench.method import Method
from petl_bench.setting import Task
from petl_bench.trial import canonical_json

KINDS = ("spatial", "temporal")

#: How a pair of files spells the two kinds: MSTA's repository, OST's, and in full.
_SPELLINGS = (("s", "t"), ("spatio", "temporal"), KINDS)
#: The published names, e.g. `2_s_description_ucf_101_base.json`.
_PUBLISHED = re.compile(r"(?P<count>\d+)_s_description_(?P<dataset>.+?)(?P<half>_base|_novel)?\.json")
#: How published temporal sentences name their class: "A video of a kick generally involves ...".
_STATED = re.compile(r"\bof (?:an? |the )?(.+?) generally\b")

#: Rephrasings of a class name, `{}`; they say nothing that the name does not say.
_TEMPLATES = {
    "spatial": (
        "a video showing the people and objects of {}.",
        "a video showing the place of {}.",
        "a video with what {} looks like.",
        "a video showing the body and hands during {}.",
        "a video with the objects used in {}.",
        "a video showing the scene around {}.",
        "a still picture taken from {}.",
        "a close view of {}.",
    ),
    "temporal": (
        "a video of how {} begins and how it ends.",
        "a video of the movement in {}.",
        "a video of the steps of {} one after another.",
        "a video of {} from the first moment to the last.",
        "a video of what changes over time in {}.",
        "a video of the speed and direction of {}.",
        "a video of what happens before and after {}.",
        "a video of {} going on.",
    ),
}


@dataclass(frozen=True)
class Descriptions:
    """Sentences by class, at least one of each kind. `notes`: irregular entries; `files`: name to sha256."""

    spatial: Mapping[str, list[str]]
    temporal: Mapping[str, list[str]]
    source: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of every sentence, by class and kind; part of the key of a trial that reads them."""
        sentences = {"spatial": dict(self.spatial), "temporal": dict(self.temporal)}
        return hashlib.sha256(canonical_json(sentences).encode()).hexdigest()


def described(method: Method, dataset: Dataset, task: Task, annotations: Annotations) -> Descriptions | None:
    """The descriptions of the training classes that a method's loss reads; None where it reads none."""
    if method.description_count == 0 or not task.train_classes:
        return None
    path = getattr(method, "descriptions", None)
    return descriptions_for(dataset, task.train_classes, method.description_count, path, annotations.classes)


def descriptions_for(
    dataset: Dataset,
    classes: Sequence[str],
    count: int,
    path: str | Path | None = None,
    all_classes: Sequence[str] | None = None,
) -> Descriptions:
    """The first `count` sentences of each kind and class: from `path`, else the data set's own, else templates.

    `path` is a file keyed by class (`{"Archery": {"spatial": [...], "temporal": [...]}}`); a pair of files of one kind
    each, with `{kind}` where their names differ (`2_{kind}_description_ucf_101_base.json`; s and t, or spatio and
    temporal); or a folder of published pairs, of which the one for this data set, these classes and this count is
    taken. Files keyed by index must have as many entries as `classes`, in their order, or as `all_classes`.

    Raises DataError, naming file and class, where the files do not fit.
    """
    if path is not None:
        return load_descriptions(path, classes, count, dataset=dataset, all_classes=all_classes)
    own = dataset.descriptions(classes)
    if own is None:
        return Descriptions(
            template_descriptions(classes, "spatial", count),
            template_descriptions(classes, "temporal", count),
            source="templates: sentences made from the class names alone, no descriptions of the data set",
        )
    picked = {kind: {name: list(own[name][kind][:count]) for name in classes} for kind in KINDS}
    notes = tuple(note for kind in KINDS for note in _irregular(picked[kind], count, kind))
    return Descriptions(picked["spatial"], picked["temporal"], f"the descriptions of {dataset.name}", notes)


def template_descriptions(classes: Sequence[str], kind: str, count: int) -> dict[str, list[str]]:
    """`count` sentences per class made from its name alone: an offline stand-in that adds no knowledge of the class."""
    templates = _TEMPLATES[kind]
    if not 1 <= count <= len(templates):
        raise DataError(f"templates give 1 to {len(templates)} {kind} sentences per class, not {count}; name a file")
    return {name: [template.format(_readable(name)) for template in templates[:count]] for name in classes}


def load_descriptions(
    path: str | Path,
    classes: Sequence[str],
    count: int,
    *,
    dataset: Dataset | None = None,
    all_classes: Sequence[str] | None = None,
) -> Descriptions:
    """Read description files, as `descriptions_for` says."""
    path = Path(path).expanduser()
    orders = [list(order) for order in (classes, all_classes) if order is not None]
    reorder = getattr(dataset, "description_order", list)
    name = "" if dataset is None else dataset.name
    files = _files_of(path, name, count, [len(order) for order in orders], _fits(orders, reorder))
    entries = {kind: _read(file, kind) for kind, file in files.items()}
    texts = {kind: _of_classes(entries[kind], classes, orders, reorder, files[kind]) for kind in KINDS}
    notes = [note for kind in KINDS for note in _irregular(texts[kind], count, kind)]
    picked = {kind: {name: found[:count] for name, found in texts[kind].items()} for kind in KINDS}
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()}
    source = ", ".join(f"{name} (sha256 {digest[:12]})" for name, digest in hashes.items())
    return Descriptions(picked["spatial"], picked["temporal"], source, tuple(notes), hashes)


# ---------------------------------------------------------------- which files

Reorder = Callable[[Sequence[str]], Sequence[str]]


def _files_of(
    path: Path, dataset: str, count: int, lengths: Sequence[int], fits: Callable[[Path], bool]
) -> dict[str, Path]:
    if "{kind}" in str(path):
        return _pair(path)
    if path.is_file():
        _refuse_one_kind(path)
        return {"spatial": path, "temporal": path}
    if not path.is_dir():
        raise DataError(f"descriptions {path}: no such file or folder")
    candidates = sorted(_published(path, dataset, count))
    for _, pattern in candidates:
        files = _pair(pattern)
        if len(_read(files["temporal"], "temporal")) in lengths and fits(files["temporal"]):
            return files
    known = ", ".join(pattern.name for _, pattern in candidates) or "none of this data set"
    raise DataError(
        f"descriptions {path}: no pair with {count} or more sentences for {' or '.join(map(str, lengths))} classes of "
        f"{dataset or 'this data set'} (there: {known}); name a file, e.g. {path}/2_{{kind}}_description_ucf_101.json"
    )


def _refuse_one_kind(file: Path) -> None:
    data = _load(file)
    if any(isinstance(value, list) for value in data.values()):
        raise DataError(
            f"descriptions {file}: holds sentences of one kind only; name both files with {{kind}} where their names "
            "differ, e.g. 2_{kind}_description_ucf_101.json"
        )


def _pair(pattern: Path) -> dict[str, Path]:
    """The two files of a pattern with `{kind}`, in the first spelling for which both are there."""
    for spelling in _SPELLINGS:
        files = [Path(str(pattern).replace("{kind}", word)) for word in spelling]
        if all(file.is_file() for file in files):
            return dict(zip(KINDS, files, strict=True))
    spelt = "; ".join(" and ".join(spelling) for spelling in _SPELLINGS)
    raise DataError(f"descriptions {pattern}: no pair of files, with {{kind}} as {spelt}")


def _published(folder: Path, dataset: str, count: int) -> Iterator[tuple[tuple[int, int], Path]]:
    """Complete published pairs of a data set with enough sentences; the rank prefers few sentences, then halves."""
    for file in folder.iterdir():
        match = _PUBLISHED.fullmatch(file.name)
        if match is None or int(match["count"]) < count or not _same_dataset(match["dataset"], dataset):
            continue
        pattern = file.with_name(file.name.replace("_s_", "_{kind}_", 1))
        if Path(str(pattern).replace("{kind}", "t")).is_file():
            yield (int(match["count"]), 0 if match["half"] else 1), pattern


def _same_dataset(published: str, name: str) -> bool:
    return canonical(published) in (canonical(name), canonical(name).rstrip("0123456789"))


def _fits(orders: Sequence[Sequence[str]], reorder: Reorder) -> Callable[[Path], bool]:
    """Whether the sentences of a file speak of the classes of one of the orders."""

    def fits(file: Path) -> bool:
        entries = _read(file, "temporal")
        names = [reorder(order) for order in orders if len(order) == len(entries)]
        return any(_speaks_of(dict(zip(order, entries.values(), strict=True))) is None for order in names)

    return fits


# ---------------------------------------------------------------- what stands in a file


def _read(file: Path, kind: str) -> dict[str, list[str]]:
    """Entries of one kind: stripped sentences, empty ones left out."""
    return {key: _sentences(file, key, value, kind) for key, value in _load(file).items()}


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    if not isinstance(data, dict) or not data:
        raise DataError(f'{file}: expected {{"class": [sentences]}} or {{"0": [sentences]}}, and at least one class')
    return data


def _sentences(file: Path, key: str, value: Any, kind: str) -> list[str]:
    if isinstance(value, dict):
        value = value.get(kind)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{file}: entry {key!r} has no list of {kind} sentences")
    texts = [text.strip() for text in value if text.strip()]
    if not texts:
        raise DataError(f"{file}: entry {key!r} is empty")
    return texts


def _of_classes(
    entries: Mapping[str, list[str]],
    classes: Sequence[str],
    orders: Sequence[Sequence[str]],
    reorder: Reorder,
    file: Path,
) -> dict[str, list[str]]:
    """The entries of `classes`, by name; entries keyed by index are in the order of one of `orders`."""
    if set(entries) == {str(index) for index in range(len(entries))} and not set(classes) <= set(entries):
        entries = _by_name(entries, orders, reorder, file)
    exact = {name: entries[name] for name in classes if name in entries}
    similar = {canonical(name): texts for name, texts in entries.items()}
    texts = {name: exact.get(name) or similar.get(canonical(name), []) for name in classes}
    absent = [name for name, found in texts.items() if not found]
    if absent:
        raise DataError(f"{file}: {len(absent)} of {len(classes)} classes have no entry, e.g. {absent[0]!r}")
    return texts


def _by_name(
    entries: Mapping[str, list[str]], orders: Sequence[Sequence[str]], reorder: Reorder, file: Path
) -> dict[str, list[str]]:
    fitting = [reorder(order) for order in orders if len(order) == len(entries)]
    if not fitting:
        raise DataError(
            f"{file}: {len(entries)} entries keyed by index for {' or '.join(str(len(order)) for order in orders)} "
            "classes; the file belongs to other classes (base, novel or all?)"
        )
    ordered = [entries[str(index)] for index in range(len(entries))]
    named = [dict(zip(order, ordered, strict=True)) for order in fitting]
    problems = [_speaks_of(candidate) for candidate in named]
    if None not in problems:
        raise DataError(f"{file}: {problems[0]}; the file belongs to other classes, or to another order of them")
    return named[problems.index(None)]


def _speaks_of(entries: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong where sentences state their class ("a video of X generally ...") and fewer than half fit."""
    stated = {name: match[1] for name, texts in entries.items() if (match := _STATED.search(texts[0]))}
    wrong = [(name, text) for name, text in stated.items() if canonical(text) != canonical(name)]
    if 2 * len(wrong) <= len(stated):
        return None
    return f"the entry for {wrong[0][0]!r} speaks of {wrong[0][1]!r}"


def _irregular(texts: Mapping[str, Sequence[str]], count: int, kind: str) -> Iterator[str]:
    short = [name for name, found in texts.items() if len(found) < count]
    if short:
        example = f"{short[0]!r} has {len(texts[short[0]])}"
        yield f"{len(short)} classes have fewer than {count} {kind} sentences, e.g. {example}"
    loose = [name for name, found in texts.items() if _STATED.search(found[0]) and not all(map(_STATED.search, found))]
    if loose:
        yield f"{len(loose)} classes have {kind} sentences that do not name their class, e.g. {loose[0]!r}"


def _readable(name: str) -> str:
    """Words of a class name: "ApplyEyeMakeup" and "apply_eye_makeup" become "apply eye makeup"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()
