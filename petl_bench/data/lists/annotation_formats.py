"""Readers of the published annotation formats: one small function per format; each error names the file and the line.

A reader says what stands in a file and nothing else: labels keep the base that the file uses (0 or 1) until
`label_base` has decided it from all lists of a data set together. Paths are kept as the list names them, with `/`
between folders; one that would leave the data root is refused here, before anything opens it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from petl_bench.api.dataset import Sample
from petl_bench.data.decoding.file_types import VIDEO_SUFFIXES
from petl_bench.data.found.tree import canonical
from petl_bench.errors import DataError

_INTEGER = re.compile(r"-?[0-9]+")
_OTHER_SEPARATORS = {",": "commas", ";": "semicolons"}
_FRAMES_AT_END = re.compile(r"(.*\S)[ \t]+([0-9]+)")
_INTEGERS_AT_END = re.compile(r"(.*?\S)((?:[ \t]+-?[0-9]+)+)")
_VIDEO_AND_INTEGERS = re.compile(
    r".*\.(?:" + "|".join(suffix[1:] for suffix in sorted(VIDEO_SUFFIXES)) + r")(?:[ \t]+-?[0-9]+)+", re.IGNORECASE
)


@dataclass(frozen=True)
class ListRow:
    """One row of a list: its line (from 1), its clip, and its class: a label as written, or else a name."""

    line: int
    clip: str
    label: int | None = None
    name: str = ""


@dataclass(frozen=True)
class ClipList:
    """A list file and its rows, at least one; no clip stands in it twice."""

    file: Path
    rows: tuple[ListRow, ...]


# ---------------------------------------------------------------- text


def read_text(path: Path) -> str:
    """The file's text without byte-order mark. Raises DataError if it is missing, unreadable or not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a UTF-8 text (byte {error.start}); save it as UTF-8") from error


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1. CRLF and LF end a line, and nothing else does."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    filled = [(number, line.rstrip("\r")) for number, line in lines if line.strip()]
    if not filled:
        raise DataError(f"{path}: empty; nothing is listed in it")
    return filled


def csv_rows(path: Path, separator: str = ",", *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv file, each with the line it ends on. With `strict` raises csv.Error for wrong quotes."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=strict)
    for row in reader:
        yield reader.line_num, row


def sha256_of(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """sha256 of each file, by its path below `root` (by its name if it lies elsewhere)."""
    hashes = {}
    for path in sorted(set(paths)):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


def clip_path(text: str, where: str) -> str:
    """The clip as a relative path with `/` between folders. Raises DataError if it would leave the data root."""
    parts = text.replace("\\", "/").split("/")
    if is_absolute(text):
        raise DataError(f"{where}: {text!r} is an absolute path; clips are named relative to the data root")
    if "\0" in text:
        raise DataError(f"{where}: {text!r} has a NUL character in it, which no file's name can have; remove it")
    if ".." in parts:
        raise DataError(f"{where}: {text!r} leaves the data root; write the path without '..'")
    kept = [part for part in parts if part not in ("", ".")]
    if not kept:
        raise DataError(f"{where}: {text!r} names no clip")
    return "/".join(kept)


def is_absolute(path: str) -> bool:
    """Whether a path starts at a root or a drive, as written on any system."""
    return path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", path) is not None


# ---------------------------------------------------------------- class names


def read_class_csv(path: Path) -> tuple[str, ...]:
    """`id,name` with a header, ids from 0 in row order, RFC 4180 quotes (ViFi-CLIP, X-CLIP, OST, Text4Vis)."""
    try:
        rows = [(number, row) for number, row in csv_rows(path, strict=True) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error
    if not rows or [cell.strip().lower() for cell in rows[0][1]] != ["id", "name"]:
        raise DataError(f"{path}, line 1: expected the header id,name")
    for number, row in rows[1:]:
        if len(row) != 2:
            raise DataError(f"{path}, line {number}: expected id,name; quote a name that contains a comma")
    return _class_names(path, [(number, row[0].strip(), row[1]) for number, row in rows[1:]], first=0)


def read_class_index(path: Path) -> tuple[str, ...]:
    """`1 ApplyEyeMakeup`: ids from 1 in row order (classInd.txt of UCF-101)."""
    rows = []
    for number, line in read_lines(path):
        index, _, name = line.strip().partition(" ")
        rows.append((number, index, name))
    return _class_names(path, rows, first=1)


def read_label_map(path: Path) -> tuple[str, ...]:
    """One class name per line, in the order of the labels from 0 (mmaction2's label_map.txt)."""
    lines = read_lines(path)
    return _class_names(path, [(number, str(index), line) for index, (number, line) in enumerate(lines)], first=0)


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names in whichever of the three formats the file has: *.csv, numbered lines from 1, or plain lines."""
    if path.suffix.lower() == ".csv":
        return read_class_csv(path)
    numbered = all(re.match(r"[0-9]+ \S", line.strip()) for _, line in read_lines(path))
    return read_class_index(path) if numbered else read_label_map(path)


def _class_names(path: Path, rows: Sequence[tuple[int, str, str]], first: int) -> tuple[str, ...]:
    names: dict[str, str] = {}
    for index, (line, number, name) in enumerate(rows, start=first):
        name = name.strip()
        if number != str(index):
            raise DataError(f"{path}, line {line}: expected id {index}, found {number!r}; ids count up from {first}")
        if not name:
            raise DataError(f"{path}, line {line}: class {number} has no name")
        if name.casefold() in names:
            raise DataError(f"{path}, line {line}: class name {name!r} stands there twice")
        names[name.casefold()] = name
    if not names:
        raise DataError(f"{path}: empty; no class is named in it")
    return tuple(names.values())


# ---------------------------------------------------------------- lists of clips


def read_list(path: Path) -> ClipList:
    """`<path> <label>` (ViFi-CLIP, X-CLIP, OST, Text4Vis' and mmaction2's video lists, trainlist0N.txt of UCF-101).

    The label is what follows the last blank, so names may hold blanks. Refused are several labels per clip, and lists
    whose every row has a frame count before its label.
    """
    found = clip_list(path, [_two_columns(path, number, line) for number, line in read_lines(path)])
    refuse_frame_counts(found)
    return found


def refuse_frame_counts(found: ClipList) -> None:
    """Raise DataError if every clip of a list ends in a number: frame counts that were read into the names."""
    if all(_FRAMES_AT_END.fullmatch(row.clip) for row in found.rows):
        raise DataError(
            f"{found.file}, line {found.rows[0].line}: every row has two numbers, so this is a list of frame folders "
            "with frame counts. The data set expects `<path> <label>` under this name; write it without the counts"
        )


def read_unlabelled_list(path: Path) -> ClipList:
    """`<Class>/<file>` without a label (testlist0N.txt of UCF-101); the folder names the class."""
    rows = []
    for number, line in read_lines(path):
        clip = clip_path(line.strip(" \t"), f"{path}, line {number}")
        rows.append(ListRow(number, clip, name=PurePosixPath(clip).parent.name))
    return clip_list(path, rows)


def read_counted_list(path: Path, *, foreign: bool = False) -> ClipList:
    """`<path> <frames> <label>` (Text4Vis, TSM, ActionCLIP, mmaction2's rawframe lists); the frame count is dropped.

    mmaction2's rows with an offset, `<path> 0 <frames> <label>`, are read if they start at frame 0: the clip is the
    whole folder. Other offsets and several labels per clip are refused. With `foreign` paths may be absolute, as
    ActionCLIP's on its authors' disk: their last two parts, class folder and clip, are kept.
    """
    rows = []
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        front, label = _cut(line, where)
        clip, frames = _cut(front, where)
        _integer(frames, where, "number of frames")
        clip = _without_offset(clip, where)
        clip = "/".join(clip.replace("\\", "/").split("/")[-2:]) if foreign and is_absolute(clip) else clip
        rows.append(ListRow(number, clip_path(clip, where), _integer(label, where, "label")))
    return clip_list(path, rows)


def _without_offset(clip: str, where: str) -> str:
    """The clip without a first frame of 0 after it. Raises DataError for any other numbers there."""
    more = _INTEGERS_AT_END.fullmatch(clip)
    if more is None:
        return clip
    name, numbers = more[1], more[2].split()
    if numbers != ["0"]:
        raise DataError(
            f"{where}: {len(numbers) + 2} numbers follow the clip {name!r}: several labels, or a part of its frames "
            f"from frame {numbers[0]} on. petl-bench classifies whole clips with one label each; write "
            "`<path> <frames> <label>`, and give each part a folder of its own"
        )
    return name


def read_milnce_csv(path: Path) -> dict[tuple[str, int], ClipList]:
    """`video_id,label,split1,split2,split3` with 1 train, 2 test, 0 unused (MIL-NCE's hmdb51.csv).

    Returns the list of each ("train" | "test", split); classes are named (`brush_hair_test` -> `brush hair`).
    """
    listed = csv_rows(path)
    if next(listed, (0, []))[1] != ["video_id", "label", "split1", "split2", "split3"]:
        raise DataError(f"{path}, line 1: expected the header video_id,label,split1,split2,split3")
    rows: dict[tuple[str, int], list[ListRow]] = {}
    for line, cells in listed:
        where = f"{path}, line {line}"
        if len(cells) != 5:
            raise DataError(f"{where}: expected five columns, found {len(cells)}")
        name = cells[1].removesuffix("_test").replace("_", " ")
        row = ListRow(line, clip_path(cells[0], where), name=name)
        for split, use in enumerate(cells[2:], start=1):
            part = _hmdb_part(use, where)
            if part:
                rows.setdefault((part, split), []).append(row)
    if not rows:
        raise DataError(f"{path}: empty; no clip is listed in it")
    return {key: clip_list(path, found) for key, found in rows.items()}


def read_hmdb_split(path: Path, split: int) -> dict[str, ClipList]:
    """`<class>_test_split<N>.txt` with `<file> 0|1|2`: 1 train, 2 test, 0 unused (HMDB-51's archive).

    Returns the "train" and the "test" list; the file's name names the class (`brush_hair` -> `brush hair`).
    """
    name = path.name.removesuffix(f"_test_split{split}.txt").replace("_", " ")
    found: dict[str, list[ListRow]] = {"train": [], "test": []}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        clip, use = _cut(line, where)
        part = _hmdb_part(use, where)
        if part:
            found[part].append(ListRow(number, clip_path(clip, where), name=name))
    return {part: clip_list(path, rows) for part, rows in found.items()}


def _hmdb_part(use: str, where: str) -> str | None:
    parts = {"0": None, "1": "train", "2": "test"}
    if use.strip() not in parts:
        raise DataError(f"{where}: expected 0 (unused), 1 (train) or 2 (test), found {use!r}")
    return parts[use.strip()]


def _two_columns(path: Path, number: int, line: str) -> ListRow:
    where = f"{path}, line {number}"
    clip, label = _cut(line, where)
    if _VIDEO_AND_INTEGERS.fullmatch(clip):
        raise DataError(
            f"{where}: several numbers follow the clip {clip.split()[0]!r}. petl-bench classifies with one label per "
            "clip: lists with several labels, or with frame counts, are not read; write `<path> <label>`"
        )
    if clip[0] == clip[-1] == '"':
        raise DataError(
            f"{where}: the name {clip} stands in quotes; write it without, the label follows the last blank"
        )
    return ListRow(number, clip_path(clip, where), _integer(label, where, "label"))


def _cut(line: str, where: str) -> tuple[str, str]:
    """The line at its last blank or tab."""
    text = line.strip(" \t")
    at = max(text.rfind(" "), text.rfind("\t"))
    if at < 0:
        mark = next((name for sign, name in _OTHER_SEPARATORS.items() if sign in text), None)
        hint = f"; the columns are separated by {mark} here, and this list has blanks between them" if mark else ""
        raise DataError(f"{where}: expected a clip and a number, found only {text!r}{hint}")
    return text[:at].rstrip(" \t"), text[at + 1 :]


def is_integer(text: str) -> bool:
    """Whether a text is a whole number, such as a label."""
    return _INTEGER.fullmatch(text) is not None


def _integer(text: str, where: str, what: str) -> int:
    if not is_integer(text):
        raise DataError(f"{where}: the {what} {text!r} is not a whole number")
    return int(text)


def clip_list(path: Path, rows: Iterable[ListRow]) -> ClipList:
    """The rows of a file as a list. Raises DataError if there are none, or if a clip stands in two of them."""
    rows = tuple(rows)
    lines: dict[str, int] = {}
    for row in rows:
        first = lines.setdefault(row.clip, row.line)
        if first != row.line:
            raise DataError(f"{path}, line {row.line}: the clip {row.clip!r} stands on line {first} already")
    if not rows:
        raise DataError(f"{path}: empty; no clip is listed in it")
    return ClipList(path, rows)


# ---------------------------------------------------------------- labels


def class_finder(classes: Sequence[str]) -> Callable[[str], int | None]:
    """A function from a name to its label: the name as it is, else the only class with the same letters and digits."""
    exact = {name: label for label, name in enumerate(classes)}
    similar: dict[str, list[int]] = {}
    for label, name in enumerate(classes):
        similar.setdefault(canonical(name), []).append(label)
    unique = {key: labels[0] for key, labels in similar.items() if key and len(labels) == 1}
    return lambda name: exact.get(name, unique.get(canonical(name)))


def label_base(lists: Sequence[ClipList], classes: Sequence[str]) -> int:
    """Whether labels count from 0 or from 1, as all lists of one data set show it together.

    A label 0 proves 0, a label equal to the number of classes proves 1; if neither occurs, class names in the paths
    must all agree. Raises DataError if nothing proves either.
    """
    labels = {row.label for clip_list in lists for row in clip_list.rows if row.label is not None}
    if 0 in labels or min(labels) < 0:
        return 0
    if max(labels) >= len(classes):
        return 1
    shifts = _shifts_by_name(lists, classes)
    if len(shifts) == 1 and shifts <= {0, 1}:
        return shifts.pop()
    raise DataError(
        f"{', '.join(str(clip_list.file) for clip_list in lists)}: labels run from {min(labels)} to {max(labels)} with "
        f"{len(classes)} classes, which fits counting from 0 and from 1. A list that names class 0 (or class "
        f"{len(classes)}), or clips in folders named after their class, would tell; for `folder`, say "
        "--set folder.label_base=0 or =1"
    )


def _shifts_by_name(lists: Sequence[ClipList], classes: Sequence[str]) -> set[int]:
    """Differences between the label of a row and the one class that its path names."""
    find = class_finder(classes)
    shifts = set()
    for clip_list in lists:
        for row in clip_list.rows:
            parts = PurePosixPath(row.clip).parts
            named = {label for part in (*parts[:-1], *parts[-1].split("_")) if (label := find(part)) is not None}
            if len(named) == 1 and row.label is not None:
                shifts.add(row.label - named.pop())
    return shifts


def labelled(clip_list: ClipList, classes: Sequence[str], base: int) -> tuple[Sample, ...]:
    """The rows as samples with labels from 0. Raises DataError for a label or a name outside the classes."""
    find = class_finder(classes)
    samples = []
    for row in clip_list.rows:
        label = find(row.name) if row.label is None else row.label - base
        if label is None:
            raise DataError(f"{clip_list.file}, line {row.line}: {row.name!r} ({row.clip}) is none of the classes")
        if not 0 <= label < len(classes):
            raise DataError(
                f"{clip_list.file}, line {row.line}: label {row.label} of {row.clip!r} is outside the {len(classes)} "
                f"classes ({base} to {base + len(classes) - 1})"
            )
        samples.append(Sample(row.clip, label))
    return tuple(samples)


def refuse_overlap(
    train: Mapping[str, Sequence[Sample]], test: Mapping[str, Sequence[Sample]], identity: Callable[[str], str] = str
) -> None:
    """Raise DataError if a clip trains and is tested. Both map a name for the message (a file) to its samples."""
    seen = {identity(sample.clip): (name, sample.clip) for name, samples in train.items() for sample in samples}
    for name, samples in test.items():
        for sample in samples:
            if identity(sample.clip) in seen:
                other, clip = seen[identity(sample.clip)]
                raise DataError(
                    f"{clip!r} of the training list {other} stands in the test list {name} too"
                    + (f" (as {sample.clip!r})" if clip != sample.clip else "")
                    + "; a clip that trains cannot be tested. Remove it from one of them"
                )
