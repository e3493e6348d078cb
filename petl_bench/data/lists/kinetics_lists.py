"""What only Kinetics' lists need: YouTube ids as clip names, official csv files, foreign absolute paths, class files.

A Kinetics clip is one video of YouTube, cut to ten seconds, and no video gives two clips: so its id names it, whichever
folder, extension and times a list or a downloader adds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from petl_bench.data.decoding.file_types import clip_stem
from petl_bench.data.found.tree import Tree, canonical, find_annotation
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.data.lists.list_forms import ListForm, find_form
from petl_bench.data.lists.published_dataset import PublishedDataset
from petl_bench.data.lists.published_lists import ClassInName
from petl_bench.errors import DataError

#: Start and end in seconds, as most downloaders put them after the id. Ids hold `_` themselves: never split there.
_TIMES = re.compile(r"_[0-9]{6}_[0-9]{6}$")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_OFFICIAL_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


# ---------------------------------------------------------------- names of clips


def clip_id(clip: str) -> str:
    """The YouTube id in a listed path or a file name: no folders, no video extension, no times. Letter case counts.

    `train/-egPJubR-CE_000001_000011.mp4`, `abseiling/-egPJubR-CE.mp4` and `-egPJubR-CE` are all `-egPJubR-CE`.
    """
    name = clip_stem(clip)
    return _TIMES.sub("", name) or name


def identity(stem: str) -> str:
    """The id of `stem` without leading `-` and `_`, which ActionCLIP's list leaves out (`wAAeKoi594`)."""
    name = clip_id(stem)
    return name.lstrip("-_") or name


def class_folder(classes: Sequence[str]) -> ClassInName:
    """A function from a listed path to the name of its folder if that is a class's, else None.

    ActionCLIP and mmaction2 list `<class>/<id>`; `train/<id>` states nothing.
    """
    known = {canonical(name) for name in classes}

    def stated(clip: str) -> str | None:
        folder = clip.rpartition("/")[0].rpartition("/")[2]
        return folder if folder and canonical(folder) in known else None

    return stated


def once(clip_list: ClipList) -> ClipList:
    """The list itself. Raises DataError if one id stands in it twice, whatever the folders, extensions and times."""
    lines: dict[str, int] = {}
    for row in clip_list.rows:
        first = lines.setdefault(clip_id(row.clip), row.line)
        if first != row.line:
            raise DataError(
                f"{clip_list.file}, line {row.line}: the video {clip_id(row.clip)!r} stands on line {first} already; "
                "Kinetics has one clip of a video"
            )
    return clip_list


# ---------------------------------------------------------------- formats


def read_list(path: Path) -> ClipList:
    """`<path> <label>`, every id once."""
    return once(formats.read_list(path))


def read_counted_list(path: Path) -> ClipList:
    """`<path> <frames> <label>`, every id once (frame folders without extension)."""
    return once(formats.read_counted_list(path))


def read_foreign_list(path: Path) -> ClipList:
    """`<path> <frames> <label>`, every id once; of absolute paths (ActionCLIP's) `<class folder>/<id>` is kept."""
    return once(formats.read_counted_list(path, foreign=True))


def read_official_csv(path: Path) -> ClipList:
    """`label,youtube_id,time_start,time_end,split[,is_cc]` with a header; classes are named, clips are ids.

    Raises DataError for the official test list, which was published without labels.
    """
    listed = formats.csv_rows(path)
    header = [cell.strip() for cell in next(listed, (0, []))[1]]
    if "youtube_id" in header and "label" not in header:
        raise DataError(
            f"{path}, line 1: no column `label`: this official list was published without labels and cannot be "
            "evaluated. Kinetics is evaluated on its validation list; put that one there"
        )
    if tuple(header[:5]) != _OFFICIAL_COLUMNS:
        raise DataError(f"{path}, line 1: expected the header {','.join(_OFFICIAL_COLUMNS)}")
    rows = []
    for line, cells in listed:
        where = f"{path}, line {line}"
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(f"{where}: expected {len(header)} columns, found {len(cells)}")
        if not _YOUTUBE_ID.fullmatch(cells[1]):
            raise DataError(f"{where}: {cells[1]!r} is no YouTube id (11 letters, digits, `-` or `_`)")
        rows.append(ListRow(line, cells[1], name=cells[0].strip()))
    if not rows:
        raise DataError(f"{path}: empty; no clip is listed in it")
    return once(ClipList(path, tuple(rows)))


def read_numbered_classes(path: Path) -> tuple[str, ...]:
    """`1 air_drumming`: ids from 0 in row order, `_` for a blank (PaddleVideo)."""
    names = []
    for index, (number, line) in enumerate(formats.read_lines(path)):
        text, _, name = line.strip().partition(" ")
        if text != str(index) or not name.strip():
            raise DataError(f"{path}, line {number}: expected `{index} <class name>`, found {line.strip()!r}")
        names.append(name.strip().replace("_", " "))
    return tuple(names)


def named(clip_list: ClipList, names: Sequence[str]) -> ClipList:
    """The list with class names for its labels, which count from 0 within `names`."""
    samples = formats.labelled(clip_list, names, 0)
    rows = [
        ListRow(row.line, row.clip, name=names[sample.label])
        for row, sample in zip(clip_list.rows, samples, strict=True)
    ]
    return ClipList(clip_list.file, tuple(rows))


# ---------------------------------------------------------------- forms that Kinetics-400 and Kinetics-600 share


def official(tree: Tree, number: int, *, with_test: bool = False) -> ListForm:
    """DeepMind's csv files of Kinetics-`number`: train, and validation as test.

    `with_test`: if the validation list is absent, look for the test list, which is refused unless it has labels. The
    classes are the names in these files, in the order that every published label file has (by letter, without case), if
    there are `number` of them.
    """
    form = ListForm("official")
    form.add(form.train, 1, _official_file(tree, number, "train"), read_official_csv)
    for part in ("val", "validate", "validation", *(["test"] if with_test else [])):
        if not form.test:
            form.add(form.test, 1, _official_file(tree, number, part), read_official_csv)
    stated = {row.name for clip_list in form.splits for row in clip_list.rows}
    if len(stated) == number:
        form.classes = tuple(sorted(stated, key=str.casefold))
    return form


def _official_file(tree: Tree, number: int, part: str) -> Path | None:
    """A file named after Kinetics-`number`; else `train.csv` and the like, if its header is the official one."""
    names = (f"kinetics{number}", f"kinetics_{number}", f"kinetics-{number}", f"k{number}")
    own = find_annotation(tree, *(f"{name}_{part}.csv" for name in names))
    if own is not None:
        return own
    folders = (f"{name}/{below}" for below in ("", "annotations/") for name in names)
    file = find_annotation(
        tree, *(f"{folder}{part}.csv" for folder in folders), f"./annotations/{part}.csv", f"./{part}.csv"
    )
    return file if file and "youtube_id" in formats.read_text(file).partition("\n")[0] else None


def mmaction2(tree: Tree, number: int) -> ListForm:
    """mmaction2's lists of Kinetics-`number`: of videos, or of frame folders with a frame count."""
    classes = f"label_map_k{number}.txt"
    return find_form(
        tree,
        "mmaction2",
        [f"kinetics/{classes}", classes],
        {
            f"kinetics{number}_{{part}}_list_videos.txt": read_list,
            f"kinetics{number}_{{part}}_list_rawframes.txt": read_counted_list,
        },
        splits=(1,),
        read_classes=formats.read_label_map,
    )


class Kinetics(PublishedDataset):
    """What Kinetics-400 and Kinetics-600 share: clips named by their YouTube ids, labels checked by class folders."""

    licence = "CC BY 4.0 (annotations); clips come from YouTube and keep their owners' rights"

    def identity(self, stem: str) -> str:
        """The YouTube id, letter case kept, times cut, leading `-` and `_` dropped."""
        return identity(stem)

    def group_of(self, clip: str) -> str:
        """The YouTube id."""
        return identity(clip)

    def clip_name(self, clip: str) -> str:
        """The YouTube id as the list writes it."""
        return clip_id(clip)

    def read_form(self, name: str, tree: Tree) -> ListForm:
        """One of the forms; the official test list counts only if it is asked for."""
        asked = {"with_test": True} if name == self.lists == "official" else {}
        return self.forms[name](tree, **asked)

    def class_in_name(self, classes: Sequence[str]) -> ClassInName:
        """The class folder in a listed path."""
        return class_folder(classes)
