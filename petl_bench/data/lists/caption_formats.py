"""Readers of caption files: one small function per published format, and those of one's own folder.

A reader gives the texts of each clip in the order of the file, without blanks around them. Clips are relative paths or
names that stay below the data root. Each error names the file and the line, or the key of a JSON file.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from petl_bench.api.dataset import Sample
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.errors import DataError

#: The start of every pickle of protocol 2 or later, and of dictionaries and lists in the protocols 0 and 1.
_PICKLES = (b"\x80", b"(dp", b"(lp", b"}q", b"]q")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_LSMDC_FIELDS = 6
#: No video of these data sets is longer.
_DAY_S = 86_400
#: The columns of a csv file of one's own, and what the one column of a list may be called.
_OWN = ("clip", "caption")
_CLIP_COLUMNS = ("clip", "path", "video", "video_id")


@dataclass(frozen=True)
class CaptionRow:
    """One caption: where it stands (for messages), its clip, its text."""

    where: str
    clip: str
    text: str


@dataclass(frozen=True)
class CaptionList:
    """A file and the captions of its clips, in its order; `spans` are the seconds of a file that a clip is.

    `groups` maps a clip to its source video, if the file says so; `places` says where a clip's first caption stands.
    """

    file: Path
    captions: Mapping[str, tuple[str, ...]]
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The clips as samples of a data set without classes: every label is 0."""
        return tuple(Sample(clip, 0) for clip in self.captions)

    @property
    def texts(self) -> int:
        """How many captions there are."""
        return sum(map(len, self.captions.values()))

    def of(self, clips: ClipList) -> CaptionList:
        """The captions of another list's clips alone, under its name and in its order.

        Raises DataError for a clip without captions.
        """
        for row in clips.rows:
            if row.clip not in self.captions:
                raise DataError(
                    f"{clips.file}, line {row.line}: {row.clip!r} has no caption in {self.file}; add one there, or "
                    "remove the clip from the list"
                )
        return replace(self.among(row.clip for row in clips.rows), file=clips.file)

    def among(self, clips: Iterable[str]) -> CaptionList:
        """The captions of these clips alone, in their order."""
        chosen = list(clips)
        return replace(
            self,
            captions={clip: self.captions[clip] for clip in chosen},
            spans={clip: self.spans[clip] for clip in chosen if clip in self.spans},
            groups={clip: self.groups[clip] for clip in chosen if clip in self.groups},
        )

    def as_paragraphs(self) -> CaptionList:
        """All captions of a clip as one text, with a blank between them."""
        return replace(self, captions={clip: (" ".join(texts),) for clip, texts in self.captions.items()})


def caption_list(path: Path, rows: Iterable[CaptionRow]) -> CaptionList:
    """Rows as a list.

    Raises DataError for a caption that is empty or no text, for an unusable clip name, and if there are no rows.
    """
    found: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for row in rows:
        text = row.text.strip()
        if not text:
            raise DataError(f"{row.where}: the caption of {row.clip!r} is empty; write one, or remove it")
        refuse_half_characters(text, row.where, f"the caption of {row.clip!r}")
        refuse_half_characters(row.clip, row.where, f"the clip {row.clip!r}")
        clip = formats.clip_path(row.clip, row.where)
        places.setdefault(clip, row.where)
        found.setdefault(clip, []).append(text)
    if not found:
        raise DataError(f"{path}: empty; no caption stands in it")
    return CaptionList(path, {clip: tuple(texts) for clip, texts in found.items()}, places=places)


def refuse_half_characters(text: str, where: str, what: str) -> None:
    """Raise DataError for a text that cannot be written down: JSON may hold one half of a pair of code units alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {what} holds half a character (\\ud800 to \\udfff); correct it") from None


# ---------------------------------------------------------------- JSON


def pickle_error(path: Path, target: str = "captions.json") -> DataError:
    """The error for captions in a pickle, with a command that makes the JSON file `target` of it."""
    make = (
        "import json, pickle; json.dump({clip: [c if isinstance(c, str) else ' '.join(c) for c in texts] for clip, "
        f"texts in pickle.load(open('{path.name}', 'rb')).items()}}, open('{target}', 'w'))"
    )
    return DataError(
        f"{path}: a pickle, which may run any code as it is read, and is not read here. If you trust its source, make "
        f'{target} of it, {{clip: [captions]}}, in its folder: python -c "{make}"'
    )


def read_json(path: Path, target: str = "captions.json") -> Any:
    """The content of a JSON file. Raises DataError for a pickle, for other content, and for a key that stands twice."""
    try:
        with path.open("rb") as opened:
            start = opened.read(3)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if start.startswith(_PICKLES) or path.suffix.lower() in (".pkl", ".pickle"):
        raise pickle_error(path, target)

    def keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DataError(f"{path}: the key {key!r} stands there twice; keep one of them")
            found[key] = value
        return found

    try:
        return json.loads(formats.read_text(path), object_pairs_hook=keys_once)
    except json.JSONDecodeError as error:
        as_json = "" if path.suffix.lower() == ".json" else "; captions in a file that is not called *.csv are JSON"
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}){as_json}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets a thousand deep
        raise DataError(f"{path}: JSON that cannot be read ({error})") from error


def read_caption_json(path: Path, target: str = "captions.json") -> CaptionList:
    """`{clip: text}`, `{clip: [texts]}`, or `[{"clip": ..., "caption": ...}, ...]` (MSVD's captions_msvd.json)."""
    content = read_json(path, target)
    if isinstance(content, dict):
        return caption_list(path, _of_mapping(path, content))
    return caption_list(path, _of_records(path, content, "clip", "caption"))


def _of_mapping(path: Path, content: Mapping[str, Any]) -> Iterator[CaptionRow]:
    for clip, value in content.items():
        yield from _of_clip(f"{path}, key {clip!r}", clip, value)


def _of_clip(where: str, clip: str, value: Any) -> Iterator[CaptionRow]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: expected a text or a list of texts, found {_short(value)}")
    if not texts:
        raise DataError(f"{where}: the clip has no caption; write one, or remove it")
    yield from (CaptionRow(where, clip, text) for text in texts)


def _of_records(path: Path, content: Any, clip: str, text: str) -> Iterator[CaptionRow]:
    for where, record in _records(path, content, (clip, text)):
        yield CaptionRow(where, record[clip], record[text])


def _records(path: Path, content: Any, texts: Sequence[str], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a JSON list, each with where it stands. Raises DataError if one lacks a text of these names."""
    example = ", ".join(f'"{each}": ...' for each in texts)
    if not isinstance(content, list):
        raise DataError(f"{path}{name}: expected a list of {{{example}}}, found {_short(content)}")
    for number, record in enumerate(content, start=1):
        where = f"{path}{name}, entry {number}"
        if not isinstance(record, dict) or not all(isinstance(record.get(each), str) for each in texts):
            raise DataError(f"{where}: expected {{{example}}} with texts, found {_short(record)}")
        yield where, record


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---------------------------------------------------------------- csv


def read_caption_csv(path: Path) -> CaptionList:
    """A csv file with a first row that names the columns `clip` and `caption`; a clip may stand in several rows."""
    return caption_list(path, (CaptionRow(where, row["clip"], row["caption"]) for where, row in _csv(path, _OWN)))


def _csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a csv file with names of columns, among them these, each with where it starts.

    Quotes are those of RFC 4180: a quoted cell may hold commas, newlines, and quotes written twice.
    """
    rows = _csv_rows(path)
    _, first = next(rows, (1, []))
    header = [cell.strip().casefold() for cell in first]
    if not set(columns) <= set(header):
        other = len(first) == 1 and re.search(r"[;\t]", first[0])
        commas = "; write commas between the cells, not semicolons or tabs" if other else ""
        raise DataError(
            f"{path}, line 1: expected a first row with the columns {','.join(columns)}, found {first}{commas}"
        )
    if twice := [name for name in columns if header.count(name) > 1]:
        raise DataError(f"{path}, line 1: the column {twice[0]} stands there twice; leave one")
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            raise DataError(
                f"{where}: {len(cells)} cells, and the first row has {len(header)}; put a cell that holds a comma or "
                "a newline in double quotes, and write a quote in it twice"
            )
        yield where, dict(zip(header, cells, strict=True))


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, each with the line that it starts on."""
    end = 0
    try:
        for line, cells in formats.csv_rows(path, strict=True):
            start, end = end + 1, line
            if any(cell.strip() for cell in cells):
                yield start, cells
    except csv.Error as error:
        limit = csv.field_size_limit()
        remedy = (
            f"a cell has at most {limit:,} characters; shorten it, or close its quotes"
            if "field limit" in str(error)
            else "write a quote within quotes twice"
        )
        raise DataError(f"{path}, line {end + 1}: not a csv file from here on ({error}); {remedy}") from error


def read_id_csv(path: Path) -> ClipList:
    """One column `video_id` (MSR-VTT's MSRVTT_train.9k.csv)."""
    rows = _csv(path, ("video_id",))
    return formats.clip_list(
        path, [ListRow(_line(where), formats.clip_path(row["video_id"], where)) for where, row in rows]
    )


def read_clip_column(path: Path) -> ClipList:
    """A csv file of one column, a clip in each row; a first row may say `clip`, `path`, `video` or `video_id`."""
    rows = list(_csv_rows(path))
    if rows and rows[0][1][0].strip().casefold() in _CLIP_COLUMNS:
        del rows[0]
    found = []
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != 1:
            raise DataError(f"{where}: {len(cells)} cells; write a clip alone, in double quotes if it holds a comma")
        found.append(ListRow(line, formats.clip_path(cells[0].strip(), where)))
    return formats.clip_list(path, found)


def _line(where: str) -> int:
    return int(where.rpartition(" ")[2])


def read_names(path: Path) -> ClipList:
    """One clip per line (train_list.txt of MSVD and DiDeMo, train.txt of one's own)."""
    lines = [(number, line.strip()) for number, line in formats.read_lines(path)]
    return formats.clip_list(
        path, [ListRow(number, formats.clip_path(line, f"{path}, line {number}")) for number, line in lines]
    )


# ---------------------------------------------------------------- MSR-VTT


def read_msrvtt(path: Path) -> tuple[CaptionList, dict[str, str]]:
    """MSRVTT_data.json: all captions, and the part (train, validate, test) of each video."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"videos", "sentences"} <= content.keys():
        raise DataError(f"{path}: expected the keys videos and sentences, as MSRVTT_data.json has them")
    parts: dict[str, str] = {}
    groups: dict[str, str] = {}
    for where, video in _records(path, content["videos"], ("video_id", "split"), ", videos"):
        clip = formats.clip_path(video["video_id"], where)
        if clip in parts:
            raise DataError(f"{where}: the video {clip!r} stands there twice; keep one of them")
        parts[clip] = video["split"]
        if isinstance(url := video.get("url"), str) and url:
            refuse_half_characters(url, where, "the url")
            groups[clip] = url
    rows = []
    for where, sentence in _records(path, content["sentences"], ("video_id", "caption"), ", sentences"):
        if sentence["video_id"] not in parts:
            raise DataError(
                f"{where}: a caption of {sentence['video_id']!r}, which is none of its videos; add the video"
            )
        rows.append(CaptionRow(where, sentence["video_id"], sentence["caption"]))
    return replace(caption_list(path, rows), groups=groups), parts


def read_jsfusion(path: Path) -> CaptionList:
    """`key,vid_key,video_id,sentence`: one caption for each test video (MSRVTT_JSFUSION_test.csv)."""
    rows = [CaptionRow(where, row["video_id"], row["sentence"]) for where, row in _csv(path, ("video_id", "sentence"))]
    return refuse_repeated(caption_list(path, rows), rows)


def refuse_repeated(found: CaptionList, rows: Sequence[CaptionRow]) -> CaptionList:
    """The list, of which every clip may have one row. Raises DataError for a clip with two."""
    seen: set[str] = set()
    for row in rows:
        if row.clip in seen:
            raise DataError(f"{row.where}: {row.clip!r} stands in an earlier row too; each clip has one caption here")
        seen.add(row.clip)
    return found


# ---------------------------------------------------------------- LSMDC


def read_lsmdc(path: Path, *, once: bool = False) -> CaptionList:
    """Six fields with tabs between, no header, quotes are text: `CLIP_ID START END START END SENTENCE`.

    Raises DataError for other rows, and if a clip has several although `once` says that each has one.
    """
    rows: list[CaptionRow] = []
    for number, line in formats.read_lines(path):
        cells, where = line.split("\t"), f"{path}, line {number}"
        if len(cells) != _LSMDC_FIELDS:
            raise DataError(
                f"{where}: expected {_LSMDC_FIELDS} fields with tabs between (CLIP_ID, four times, SENTENCE), found "
                f"{len(cells)}"
            )
        if not rows and not any(map(str.isdigit, "".join(cells[:-1]))):
            raise DataError(f"{where}: no numbers in CLIP_ID, START and END; remove a row that names the columns")
        rows.append(CaptionRow(where, cells[0].strip(), cells[-1]))
    found = caption_list(path, rows)
    return refuse_repeated(found, rows) if once else found


# ---------------------------------------------------------------- DiDeMo


def read_didemo(path: Path) -> CaptionList:
    """`[{"video": file name, "description": text, ...}]` (train_data.json, val_data.json, test_data.json)."""
    return caption_list(path, _of_records(path, read_json(path), "video", "description"))


def read_tmass(path: Path) -> CaptionList:
    """T-MASS' `success,video_path,starts,ends,text,formatted_data`: a paragraph and the limits of each video.

    Paths are absolute on the authors' disk: the file's name counts. Limits are written as `tensor([[0]])`.
    """
    rows, spans = [], {}
    for where, row in _csv(path, ("video_path", "starts", "ends", "text")):
        clip = formats.clip_path(row["video_path"].replace("\\", "/").rpartition("/")[2], where)
        limits = [_NUMBER.search(row[name]) for name in ("starts", "ends")]
        if not all(limits):
            raise DataError(f"{where}: starts {row['starts']!r} and ends {row['ends']!r}; expected numbers of seconds")
        start, end = (float(limit[0]) for limit in limits if limit)
        rows.append(CaptionRow(where, clip, row["text"]))
        spans[clip] = (start, end)
    return replace(refuse_repeated(caption_list(path, rows), rows), spans=spans)


# ---------------------------------------------------------------- ActivityNet Captions


def read_activitynet(path: Path) -> CaptionList:
    """`{"v_<id>": {"duration": seconds, "timestamps": [...], "sentences": [texts]}}`; clips are named by the id alone.

    The span of a clip is 0 to the duration, rounded up to a whole second.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f'{path}: expected {{"v_<id>": {{"duration": ..., "sentences": [...]}}}}, found {_short(content)}'
        )
    rows: list[CaptionRow] = []
    spans: dict[str, tuple[float, float]] = {}
    for key, entry in content.items():
        where, clip = f"{path}, key {key!r}", key.removeprefix("v_")
        duration = entry.get("duration") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("sentences"), list):
            raise DataError(f"{where}: expected duration, timestamps and sentences, found {_short(entry)}")
        if isinstance(duration, bool) or not isinstance(duration, (int, float)) or not 0 < duration <= _DAY_S:
            raise DataError(
                f"{where}: the duration {_short(duration)} is no number of seconds above 0, of a day at most"
            )
        if clip in spans:
            raise DataError(f"{where}: the video {clip!r} stands there twice, with v_ and without; keep one of them")
        rows += _of_clip(where, clip, entry["sentences"])
        spans[clip] = (0.0, float(math.ceil(duration)))
    return replace(caption_list(path, rows), spans=spans)


def read_activitynet_ids(path: Path) -> ClipList:
    """A JSON list of `v_<id>` (CLIP4Clip's train_ids.json and val_ids.json); clips are named by the id alone."""
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise DataError(f"{path}: expected a list of video ids, found {_short(content)}")
    rows = [
        ListRow(number, formats.clip_path(each.removeprefix("v_"), f"{path}, entry {number}"))
        for number, each in enumerate(content, start=1)
    ]
    return formats.clip_list(path, rows)
