"""Labels and captions that lie beside the videos, as WebDataset has them: `000001.cls`, `000001.json` and `000001.txt`
are of `000001.mp4`.

They are read if no folder names a class: all clips lie in one folder, or in folders that are sides (`train`, `test`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.decoding.shards import opened
from petl_bench.data.found.tree import Tree, place_of
from petl_bench.data.lists.annotation_formats import ListRow, is_integer
from petl_bench.data.lists.folder_layouts import side_of
from petl_bench.errors import DataError

#: Bytes that such a file may have.
_LONGEST = 2**20
#: What the class and the caption are called in a JSON file; of several, the one that stands here first.
_LABELS, _CAPTIONS = ("label", "class", "class_name", "label_name"), ("caption", "captions")


def sides_of_flat(clips: Sequence[str]) -> dict[str, str] | None:
    """The side of each clip ("" if there are no sides); None if clips lie in folders that are no sides."""
    folders = {clip.rpartition("/")[0] for clip in clips}
    if len(folders) == 1:
        return dict.fromkeys(clips, "")
    sides = {folder: side_of(folder.rpartition("/")[2]) for folder in folders}
    one_place = len({folder.rpartition("/")[0] for folder in folders}) == 1
    if not one_place or None in sides.values():
        return None
    return {clip: sides[clip.rpartition("/")[0]] or "" for clip in clips}


def labels_beside(tree: Tree) -> dict[str, ListRow]:
    """The label of every clip; none if no clip has one.

    Raises DataError if only some clips have labels, and for a file that holds none.
    """
    by_stem = _by_stem(tree, ".cls", ".json")
    named = {clip: by_stem.get(without_video_suffix(clip)) for clip in tree.files}
    rows = {
        clip: row
        for number, (clip, file) in enumerate(named.items(), start=1)
        if file is not None and (row := _row(tree, clip, file, number)) is not None
    }
    lacking = next((clip for clip in tree.files if clip not in rows), None)
    if rows and lacking is not None:
        raise DataError(
            f"{tree.root}: {len(rows):,} of {len(tree.files):,} clips have a label beside them (.cls or .json), and "
            f"others none, e.g. {lacking}"
        )
    return rows


def captions_beside(tree: Tree) -> dict[str, tuple[str, ...]]:
    """The captions of the clips that have some: all of a `.txt` file, or what a `.json` file calls so.

    Raises DataError for an empty caption, and for a file that cannot be read.
    """
    by_stem = _by_stem(tree, ".txt", ".json")
    named = {clip: by_stem.get(without_video_suffix(clip)) for clip in tree.files}
    found = {clip: _captions(tree, file) for clip, file in named.items() if file is not None}
    return {clip: captions for clip, captions in found.items() if captions}


def _captions(tree: Tree, file: str) -> tuple[str, ...]:
    text, place = _text(tree, file), tree.root / file
    values = _value(text, place, _CAPTIONS) if file.endswith(".json") else text
    captions = () if values is None else values if isinstance(values, list) else (values,)
    if not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise DataError(f"{place}: a caption that is empty, or no text; write one, or remove it")
    return tuple(caption.strip() for caption in captions)


def _by_stem(tree: Tree, *suffixes: str) -> dict[str, str]:
    """The file beside each clip, by the clip's path without its extension; of several suffixes the first counts."""
    found: dict[str, str] = {}
    for suffix in reversed(suffixes):
        files = chain(tree.texts, tree.beside)
        found |= {file.removesuffix(suffix): file for file in files if file.endswith(suffix)}
    return found


def _row(tree: Tree, clip: str, file: str, number: int) -> ListRow | None:
    """The row of a clip; None for a JSON file that says nothing of a class."""
    text, place = _text(tree, file), tree.root / file
    value = _value(text, place, _LABELS) if file.endswith(".json") else text
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{place}: the class is neither a number nor a name")
    label = str(value).strip()
    if not label:
        raise DataError(f"{place}: empty; it should hold the class of {clip}")
    return ListRow(number, clip, int(label)) if is_integer(label) else ListRow(number, clip, name=label)


def _text(tree: Tree, file: str) -> str:
    shard = tree.beside.get(file, "")
    place = place_of(str(tree.root), file, {file: shard} if shard else {})
    try:
        with opened(place) as stream:
            content = stream.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise DataError(f"{place}: more than {_LONGEST:,} bytes; too long for a label or a caption")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not a UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _value(text: str, place: Path, keys: Sequence[str]) -> Any:
    """What a JSON file holds under the first of these keys that it has; None if it has none."""
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{place}: no JSON text") from None
    return next((values[key] for key in keys if key in values), None) if isinstance(values, dict) else None
