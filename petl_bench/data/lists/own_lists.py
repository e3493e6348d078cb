"""Lists of one's own: which clip has which label, in whichever of the usual forms the file has.

A row holds a clip and its label, a number or a class name. Columns are separated by a blank, comma, semicolon or tab;
names may stand in quotes, and a first row may name the columns. A form is taken only if every row fits it; if several
forms fit and they differ, the one that names clips of the folder is taken, and otherwise the list is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from petl_bench.data.decoding.file_types import VIDEO_SUFFIXES, clip_stem, without_video_suffix
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.errors import DataError

#: What the column of the clip is called; of several, the one that stands here first.
_CLIP_COLUMNS = (
    "clip_path", "video_path", "file_path", "filepath", "path", "clip", "video", "file", "filename", "file_name",
    "video_name", "clip_name", "video_id", "clip_id", "youtube_id", "name", "id",
)  # fmt: skip
#: What the column of the label is called.
_LABEL_COLUMNS = (
    "label", "class", "class_name", "label_name", "category", "action", "tag", "target", "class_id", "label_id",
)  # fmt: skip
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_VIDEO = r"\.(?:" + "|".join(suffix[1:] for suffix in sorted(VIDEO_SUFFIXES)) + ")"
_BLANK_NUMBER = re.compile(r"(.*\S)[ \t]+(-?[0-9]+)")
_BLANK_NAME = re.compile(rf"(.*{_VIDEO})[ \t]+(\S.*)", re.IGNORECASE)
_TWO_WORDS = re.compile(r"(\S+)[ \t]+(\S+)")
#: A video with a separator behind it: no blank ends this column.
_SEPARATED = re.compile(rf"{_VIDEO}[\"']?[ \t]*[,;]", re.IGNORECASE)
#: Decimals, and several numbers.
_NO_LABEL = re.compile(r"-?[0-9]*\.[0-9]+|-?[0-9]+(?:[ \t,;]+-?[0-9]+)+")


class FolderClips:
    """The files of a folder that hold clips, asked whether a text names one of them."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = frozenset(files)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in self.files:
            found.setdefault(_stem(file), []).append(file)
        return found

    def named_by(self, text: str) -> bool:
        """Whether a clip has this name, whatever the folders, extension and letter case."""
        return _stem(text) in self._by_stem

    def file_of(self, clip: str) -> str:
        """The file of a listed clip: the one of that path, or the only one of that name; else the clip as listed."""
        same = self._by_stem.get(_stem(clip), [])
        return same[0] if clip not in self.files and len(same) == 1 else clip

    def ending_in(self, clip: str) -> list[str]:
        """The files whose paths end in a listed clip, whatever their extension and letter case."""
        end = f"/{without_video_suffix(clip)}".casefold()
        same = self._by_stem.get(_stem(clip), [])
        return sorted(file for file in same if f"/{without_video_suffix(file)}".casefold().endswith(end))

    def below(self, absolute: str) -> str | None:
        """The file that ends an absolute path, as `Run/a.mp4` ends `/data/mine/Run/a.mp4`; None if there is none.

        A clip is named so wherever the folder lies, on this machine or on the one on which the list was written.
        """
        parts = [part for part in _slashes(absolute).split("/") if part]
        ends = ("/".join(parts[at:]) for at in range(len(parts)))
        return next((end for end in ends if end in self.files), None)


def _stem(path: str) -> str:
    return clip_stem(_slashes(path)).casefold()


@dataclass(frozen=True)
class _Cells:
    """One row as it is written: its line, its clip, its label."""

    line: int
    clip: str
    label: str


def read_own_list(path: Path, clips: FolderClips) -> ClipList:
    """The rows of a list, with labels as numbers, or as names in `ListRow.name` if they are none.

    Raises DataError, naming file and line, for what fits no form or several, for a clip that stands there twice, and
    for paths that leave the folder.
    """
    lines = formats.read_lines(path)
    forms = dict.fromkeys(tuple(rows) for rows in _forms(path, lines, clips) if rows)
    possible = [form for form in forms if not any(_is_video(cells.label) for cells in form)]
    if not possible:
        raise _label_first(path, lines) if forms else _unreadable(path, lines)
    chosen = _chosen(path, possible, clips)
    _refuse_other_first_rows(path, chosen, clips)
    rows = _relative(path, chosen, clips)
    found = formats.clip_list(path, _typed(path, rows))
    formats.refuse_frame_counts(found)
    return found


# ---------------------------------------------------------------- forms


def _forms(path: Path, lines: Sequence[tuple[int, str]], clips: FolderClips) -> Iterator[list[_Cells]]:
    """The rows in every form that all lines fit."""
    body = lines[1:] if _is_header(lines[0][1].split()) else lines
    if not any(_SEPARATED.search(line) for _, line in body):
        for pattern in (_BLANK_NUMBER, _BLANK_NAME, _TWO_WORDS):
            found = [(number, pattern.fullmatch(line.strip(" \t"))) for number, line in body]
            if all(match for _, match in found):
                yield [_Cells(number, _unquoted(match[1]), _unquoted(match[2])) for number, match in found if match]
    for separator in _SEPARATORS:
        if separator in lines[0][1]:
            yield _separated(path, separator, clips)


def _separated(path: Path, separator: str, clips: FolderClips) -> list[_Cells]:
    """The rows of a csv with two columns, or with names of columns; none if its rows are not all of one form."""
    rows = _csv_rows(path, separator)
    width = len(rows[0][1]) if rows else 0
    if width < 2 or any(len(row) != width for _, row in rows):
        return []
    named = _is_header(rows[0][1])
    if width > 2 and not named:
        return []
    at_clip, at_label = _columns(path, rows[0][1]) if named else (0, 1)
    timed = _TimedNames(rows[0][1], at_clip, clips) if named else None
    found = [_Cells(line, timed(row) if timed else row[at_clip], row[at_label]) for line, row in rows[named:]]
    empty = next((cells.line for cells in found if not cells.clip or not cells.label), None)
    if empty is not None and named:
        raise DataError(f"{path}, line {empty}: no clip or no label; each row needs both")
    return [] if empty is not None else found


class _TimedNames:
    """What a row's clip is called on disk: by Kinetics' lists a YouTube id, behind which downloaders put the times."""

    def __init__(self, header: Sequence[str], at_clip: int, clips: FolderClips) -> None:
        names = [name.casefold() for name in header]
        self._clips, self._at_clip = clips, at_clip
        self._at_times = [names.index(name) for name in ("time_start", "time_end") if name in names]

    def __call__(self, row: Sequence[str]) -> str:
        clip, times = row[self._at_clip], [row[at] for at in self._at_times]
        if len(times) == 2 and all(map(str.isdecimal, times)) and not self._clips.named_by(clip):
            timed = "_".join([clip, *(f"{int(time):06d}" for time in times)])
            return timed if self._clips.named_by(timed) else clip
        return clip


def _csv_rows(path: Path, separator: str) -> list[tuple[int, list[str]]]:
    """The rows that hold something, with their lines; none if the quotes are not those of a csv."""
    listed = formats.csv_rows(path, separator, strict=True)
    try:
        rows = [(line, [_unquoted(cell.strip()) for cell in row]) for line, row in listed]
    except csv.Error:
        return []
    return [(line, row) for line, row in rows if any(row)]


def _is_header(cells: Sequence[str]) -> bool:
    names = [_unquoted(cell.strip()).casefold() for cell in cells]
    return any(name in _CLIP_COLUMNS for name in names) and any(name in _LABEL_COLUMNS for name in names)


def _columns(path: Path, header: Sequence[str]) -> tuple[int, int]:
    """Which columns hold clip and label. Raises DataError if several could be the label."""
    names = [name.casefold() for name in header]
    labels = [name for name in names if name in _LABEL_COLUMNS]
    if len(labels) > 1:
        raise DataError(f"{path}, line 1: which column is the label, {' or '.join(labels)}? Keep one of them")
    return names.index(next(name for name in _CLIP_COLUMNS if name in names)), names.index(labels[0])


def _unquoted(text: str) -> str:
    quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _chosen(path: Path, forms: Sequence[tuple[_Cells, ...]], clips: FolderClips) -> tuple[_Cells, ...]:
    """The only form; of several, the only one that names clips of the folder."""
    naming = [form for form in forms if any(clips.named_by(cells.clip) for cells in form)] or forms
    if len(naming) > 1:
        first, second = naming[0][0], naming[1][0]
        raise DataError(
            f"{path}, line {first.line}: can be read in two ways, as the clip {first.clip!r} with label "
            f"{first.label!r} and as {second.clip!r} with {second.label!r}. Write it with a first row `path,label`, "
            "commas between, and names that hold a comma in quotes"
        )
    return naming[0]


def _refuse_other_first_rows(path: Path, rows: Sequence[_Cells], clips: FolderClips) -> None:
    """Raise DataError for labels that stand before the clips, and for a first row of unknown names of columns."""
    first, others = rows[0], rows[1:]
    reversed_ = all(clips.named_by(cells.label) and not formats.is_integer(cells.label) for cells in rows)
    if reversed_ and not any(clips.named_by(cells.clip) for cells in rows):
        raise DataError(f"{path}, line {first.line}: the label stands before the clip; write the clip first")
    if _is_video(first.clip) or clips.named_by(first.clip) or formats.is_integer(first.label):
        return
    labels = {cells.label for cells in others}
    if all(map(formats.is_integer, labels)) or (
        first.label not in labels and all(_is_video(cells.clip) or clips.named_by(cells.clip) for cells in others)
    ):
        raise DataError(
            f"{path}, line {first.line}: {first.clip!r} and {first.label!r} look like names of columns; call them path "
            "and label"
        )


def _label_first(path: Path, lines: Sequence[tuple[int, str]]) -> DataError:
    return DataError(
        f"{path}, line {lines[0][0]}: {lines[0][1]!r} and the other rows have a video where the label is expected; "
        "write the clip first, then one label"
    )


def _unreadable(path: Path, lines: Sequence[tuple[int, str]]) -> DataError:
    """What a list looks like whose rows fit no form."""
    for separator, name in _SEPARATORS.items():
        widths = {len(row) for _, row in _csv_rows(path, separator)}
        if len(widths) == 1 and max(widths) > 2:
            return DataError(
                f"{path}, line 1: {max(widths)} columns with {name} between; say in a first row which is the clip and "
                "which the label (`path,label`), or keep those two"
            )
    try:
        formats.read_list(path)
    except DataError as error:
        return error
    return DataError(
        f"{path}, line {lines[0][0]}: {lines[0][1]!r} and the other rows are not all of one form; write "
        "`<path> <label>` in each, or a csv with the first row `path,label`"
    )


def _is_video(text: str) -> bool:
    return without_video_suffix(text) != text


# ---------------------------------------------------------------- clips and labels


def _relative(path: Path, rows: Sequence[_Cells], clips: FolderClips) -> list[_Cells]:
    """The rows with absolute paths cut to what lies below the folder. Raises DataError if none lies there.

    What most of them start with is the folder; a missing clip is then not taken for one of its name elsewhere.
    """
    absolute = {cells.clip: clips.below(cells.clip) for cells in rows if formats.is_absolute(cells.clip)}
    if not absolute:
        return list(rows)
    starts = Counter(_slashes(clip).removesuffix(end) for clip, end in absolute.items() if end)
    if not starts:
        line = next(cells.line for cells in rows if cells.clip in absolute)
        raise DataError(
            f"{path}, line {line}: {next(iter(absolute))!r} is an absolute path, and no path of this list ends in that "
            "of a clip of the folder; write paths relative to the folder"
        )
    folder = max(starts, key=lambda start: (starts[start], -len(start)))
    below = {
        clip: _slashes(clip).removeprefix(folder) if _slashes(clip).startswith(folder) else end or clip
        for clip, end in absolute.items()
    }
    return [replace(cells, clip=below.get(cells.clip, cells.clip)) for cells in rows]


def _slashes(path: str) -> str:
    return path.replace("\\", "/")


def _typed(path: Path, rows: Sequence[_Cells]) -> Iterator[ListRow]:
    """The rows with numbers as labels if all labels are numbers, else with names."""
    numbers = [cells for cells in rows if formats.is_integer(cells.label)]
    for cells in rows:
        where = f"{path}, line {cells.line}"
        if _NO_LABEL.fullmatch(cells.label):
            raise DataError(f"{where}: the label {cells.label!r} is neither one whole number nor a name")
        clip = formats.clip_path(cells.clip, where)
        if len(numbers) == len(rows):
            yield ListRow(cells.line, clip, int(cells.label))
        else:
            yield ListRow(cells.line, clip, name=cells.label)
