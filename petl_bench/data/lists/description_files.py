"""Files of class descriptions: the published ones, one kind each and keyed by index, and files keyed by class.

Published files follow the order of a label csv: what their sentences say must fit the classes, or they are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from petl_bench.api.dataset import Dataset
from petl_bench.data.found.tree import canonical
from petl_bench.data.lists.description_checks import order_problem
from petl_bench.errors import DataError

KINDS = ("spatial", "temporal")

#: How files spell the two kinds: MSTA's repository, OST's, and in full.
_SPELLINGS = (("s", "t"), ("spatio", "temporal"), KINDS)
#: The published names, e.g. `2_s_description_ucf_101_base.json`.
_PUBLISHED = re.compile(r"(?P<count>\d+)_(?P<kind>[st])_description_(?P<dataset>.+?)(?P<half>_base|_novel)?\.json")
_LETTERS = dict(zip(KINDS, _SPELLINGS[0], strict=True))

Sentences = dict[str, list[str]]


def published_name(dataset: Dataset, kind: str, count: int) -> str:
    """The published name of a data set's file of one kind: `8_t_description_ucf_101.json`."""
    return f"{count}_{_LETTERS[kind]}_description_{_short_name(dataset)}.json"


def published_order(dataset: Dataset | None, classes: Sequence[str]) -> list[str]:
    """`classes` in the order of files keyed by index: that of the data set, unless it says otherwise."""
    return list(getattr(dataset, "description_order", list)(classes))


def read_description_files(
    path: str | Path,
    classes: Sequence[str],
    count: int,
    kinds: Sequence[str] = KINDS,
    dataset: Dataset | None = None,
    all_classes: Sequence[str] | None = None,
) -> tuple[dict[str, Sentences], dict[str, str]]:
    """All sentences by kind and class, and the sha256 of every file read; see `descriptions.descriptions_for`."""
    path = Path(path).expanduser()
    orders = [published_order(dataset, order) for order in (classes, all_classes) if order is not None]
    files = _files_of(path, dataset, count, kinds, orders)
    entries = {kind: _read(file, kind) for kind, file in files.items()}
    sentences = {kind: _of_classes(entries[kind], classes, orders, file) for kind, file in files.items()}
    return sentences, {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()}


# ---------------------------------------------------------------- which files


def _files_of(
    path: Path, dataset: Dataset | None, count: int, kinds: Sequence[str], orders: Sequence[Sequence[str]]
) -> dict[str, Path]:
    if "{kind}" in str(path):
        return _spelt(path, kinds)
    if path.is_file():
        _refuse_other_kind(path, kinds)
        return dict.fromkeys(kinds, path)
    if not path.is_dir():
        raise DataError(f"descriptions {path}: no such file or folder")
    candidates = sorted(_published(path, dataset, count, kinds))
    for _, pattern in candidates:
        files = _spelt(pattern, kinds)
        if all(_fits(_read(file, kind), orders) for kind, file in files.items()):
            return files
    known = ", ".join(pattern.name for _, pattern in candidates) or "none of this data set"
    raise DataError(
        f"descriptions {path}: no {' and '.join(kinds)} file with {count} or more sentences for "
        f"{' or '.join(str(len(order)) for order in orders)} classes of {dataset.name if dataset else 'this data set'} "
        f"(there: {known}); name a file, e.g. {path}/2_{{kind}}_description_ucf_101.json"
    )


def _refuse_other_kind(file: Path, kinds: Sequence[str]) -> None:
    """A file of one kind is refused if two are asked for, or if its published name says that it is the other."""
    if not any(isinstance(value, list) for value in _load(file).values()):
        return
    if len(kinds) > 1:
        raise DataError(
            f"descriptions {file}: holds sentences of one kind only; name both files with {{kind}} if their names "
            "differ, e.g. 2_{kind}_description_ucf_101.json, or read one kind (msta.description_kinds=spatial)"
        )
    match = _PUBLISHED.fullmatch(file.name)
    if match is not None and match["kind"] != _LETTERS[kinds[0]]:
        raise DataError(
            f"descriptions {file}: by its name it does not hold the {kinds[0]} sentences that are asked for"
        )


def _spelt(pattern: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of a pattern with `{kind}`, in the first spelling for which those of `kinds` are there."""
    for spelling in _SPELLINGS:
        words = dict(zip(KINDS, spelling, strict=True))
        files = {kind: Path(str(pattern).replace("{kind}", words[kind])) for kind in kinds}
        if all(file.is_file() for file in files.values()):
            return files
    spelt = "; ".join(" and ".join(spelling) for spelling in _SPELLINGS)
    what = "no pair of files" if len(kinds) > 1 else f"no {kinds[0]} file"
    raise DataError(f"descriptions {pattern}: {what}, with {{kind}} as {spelt}")


def _published(
    folder: Path, dataset: Dataset | None, count: int, kinds: Sequence[str]
) -> Iterator[tuple[tuple[int, int], Path]]:
    """Patterns of published files of a data set, complete and with enough sentences.

    The rank prefers few sentences, then halves (base and novel classes have files of their own for N = 2 alone).
    """
    first = _LETTERS[kinds[0]]
    for file in folder.iterdir():
        match = _PUBLISHED.fullmatch(file.name)
        if match is None or match["kind"] != first or int(match["count"]) < count:
            continue
        pattern = file.with_name(file.name.replace(f"_{first}_", "_{kind}_", 1))
        there = all(Path(str(pattern).replace("{kind}", _LETTERS[kind])).is_file() for kind in kinds)
        if there and _is_of(match["dataset"], dataset):
            yield (int(match["count"]), 0 if match["half"] else 1), pattern


def _is_of(published: str, dataset: Dataset | None) -> bool:
    return dataset is not None and canonical(published) in (canonical(dataset.name), canonical(_short_name(dataset)))


def _short_name(dataset: Dataset) -> str:
    """How published description files name a data set ("ucf_101", "hmdb")."""
    return str(getattr(dataset, "description_name", dataset.name))


def _fits(entries: Mapping[str, list[str]], orders: Sequence[Sequence[str]]) -> bool:
    """Whether entries keyed by index are as many as the classes of one of the orders, and speak of them."""
    named = (dict(zip(order, entries.values(), strict=True)) for order in orders if len(order) == len(entries))
    return any(order_problem(candidate) is None for candidate in named)


# ---------------------------------------------------------------- what stands in a file


def _read(file: Path, kind: str) -> Sentences:
    """Entries of one kind: stripped sentences, empty ones left out; those keyed by index in its order."""
    entries = {key: _sentences(file, key, value, kind) for key, value in _load(file).items()}
    return {key: entries[key] for key in _indices(entries)} if _keyed_by_index(entries) else entries


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repetition)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    if not isinstance(data, dict) or not data:
        raise DataError(f'{file}: expected {{"class": [sentences]}} or {{"0": [sentences]}}, and at least one class')
    return data


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"two entries {next(key for key in keys if keys.count(key) > 1)!r}")
    return content


def _sentences(file: Path, key: str, value: Any, kind: str) -> list[str]:
    if isinstance(value, dict):
        value = value.get(kind)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{file}: entry {key!r} has no list of {kind} sentences")
    texts = [text.strip() for text in value if text.strip()]
    if not texts:
        raise DataError(f"{file}: entry {key!r} is empty")
    return texts


def _keyed_by_index(entries: Mapping[str, list[str]]) -> bool:
    return set(entries) == set(_indices(entries))


def _indices(entries: Mapping[str, list[str]]) -> list[str]:
    return [str(index) for index in range(len(entries))]


def _of_classes(
    entries: Mapping[str, list[str]], classes: Sequence[str], orders: Sequence[Sequence[str]], file: Path
) -> Sentences:
    """The entries of `classes`, by name; entries keyed by index are in one of `orders`."""
    if _keyed_by_index(entries) and not set(classes) <= set(entries):
        entries = _by_name(entries, orders, file)
    exact = {name: entries[name] for name in classes if name in entries}
    similar = {canonical(name): texts for name, texts in entries.items()}
    texts = {name: exact.get(name) or similar.get(canonical(name), []) for name in classes}
    absent = [name for name, found in texts.items() if not found]
    if absent:
        raise DataError(f"{file}: {len(absent)} of {len(classes)} classes have no entry, e.g. {absent[0]!r}")
    return texts


def _by_name(entries: Mapping[str, list[str]], orders: Sequence[Sequence[str]], file: Path) -> Sentences:
    named = [dict(zip(order, entries.values(), strict=True)) for order in orders if len(order) == len(entries)]
    if not named:
        raise DataError(
            f"{file}: {len(entries)} entries keyed by index for {' or '.join(str(len(order)) for order in orders)} "
            "classes; the file belongs to other classes (base, novel or all?)"
        )
    problems = [order_problem(candidate) for candidate in named]
    if None not in problems:
        raise DataError(f"{file}: {problems[0]}; the file belongs to other classes, or to another order of them")
    return named[problems.index(None)]
