"""Readers of caption files: what they read, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.data.lists import caption_formats as formats
from petl_bench.errors import DataError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a text, bytes, or anything else as JSON, and give the file."""

    def written(name: str, content: Any) -> Path:
        file = tmp_path / name
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return written


def test_csv_holds_commas_quotes_and_newlines(write: Callable[[str, Any], Path]) -> None:
    rows = 'clip,caption\r\na.mp4,"red, then ""blue"""\r\n\r\na.mp4,"two\nlines"\r\nb.mp4, plain "words" \r\n'
    found = formats.read_caption_csv(write("captions.csv", "\ufeff" + rows))
    assert found.captions == {"a.mp4": ('red, then "blue"', "two\nlines"), "b.mp4": ('plain "words"',)}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("clip,text\na,b\n", "line 1: expected a first row with the columns clip,caption"),
        ("clip;caption\na;b\n", "write commas between the cells, not semicolons or tabs"),
        ("clip,caption,Caption\na,b,c\n", "line 1: the column caption stands there twice"),
        ('clip,caption\na,"' + "x" * 140_000 + '"\n', "a cell has at most 131,072 characters"),
        ("", "line 1: expected a first row"),
        ("clip,caption\n", "empty; no caption"),
        ("clip,caption\na,one\nb,two, three\n", "line 3: 3 cells, and the first row has 2; put a cell"),
        ('clip,caption\na,"x\ny"\nb\n', "line 4: 1 cells"),
        ('clip,caption\na,"one\nb,two\n', "line 2: not a csv file from here on"),
        ("clip,caption\na, \n", "line 2: the caption of 'a' is empty"),
        ("clip,caption\n../a,x\n", "line 2: '../a' leaves the data root"),
        ("clip,caption\n/a,x\n", "line 2: '/a' is an absolute path"),
        ("clip,caption\n,x\n", "line 2: '' names no clip"),
        (b"clip,caption\na,\xff\n", "not a UTF-8 text"),
    ],
)
def test_csv_that_is_refused(write: Callable[[str, Any], Path], rows: Any, says: str) -> None:
    with pytest.raises(DataError) as error:
        formats.read_caption_csv(write("captions.csv", rows))
    assert says in str(error.value) and "captions.csv" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        {"a.mp4": [" one", "two "], "b": "three"},
        [{"clip": c, "caption": t, "x": 1} for c, t in (("a.mp4", "one"), ("a.mp4", "two"), ("b", "three"))],
    ],
)
def test_json_in_its_forms(write: Callable[[str, Any], Path], content: Any) -> None:
    assert formats.read_caption_json(write("c.json", content)).captions == {"a.mp4": ("one", "two"), "b": ("three",)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": "x", "a": "y"}', "the key 'a' stands there twice"),
        ('{"a": \n "x",}', "c.json, line 2: not JSON"),
        ("[" * 100_000, "cannot be read"),
        ("1" * 10_000, "cannot be read"),
        ({"a": []}, "key 'a': the clip has no caption"),
        ('{"a": "x\\ud800"}', "key 'a': the caption of 'a' holds half a character"),
        ('{"a\\udc00": "x"}', "the clip 'a\\udc00' holds half a character"),
        ({"a": [" "]}, "key 'a': the caption of 'a' is empty"),
        ({"a": [["a", "token"]]}, "key 'a': expected a text or a list of texts"),
        ({"../a": "x"}, "leaves the data root"),
        ([{"clip": "a"}], 'entry 1: expected {"clip": ..., "caption": ...} with texts'),
        ("3", 'expected a list of {"clip": ..., "caption": ...}, found 3'),
        ({}, "empty; no caption"),
    ],
)
def test_json_that_is_refused(write: Callable[[str, Any], Path], content: Any, says: str) -> None:
    with pytest.raises(DataError) as error:
        formats.read_caption_json(write("c.json", content))
    assert says in str(error.value) and "c.json" in str(error.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_with_a_command_that_makes_the_json(tmp_path: Path, protocol: int) -> None:
    """The command is run: what it writes is read."""
    captions = {"-4wsuPCjDBc_5_15": [["a", "squirrel"], "is eating"]}
    file = tmp_path / "raw-captions.pkl"
    file.write_bytes(pickle.dumps(captions, protocol=protocol))
    with pytest.raises(DataError, match="a pickle, which may run any code") as error:
        formats.read_caption_json(file, "captions_msvd.json")
    code = str(error.value).partition('python -c "')[2].removesuffix('"')
    exec(code.replace("open('", f"open('{tmp_path}/"))
    found = formats.read_caption_json(tmp_path / "captions_msvd.json")
    assert found.captions == {"-4wsuPCjDBc_5_15": ("a squirrel", "is eating")}


def test_only_csv_files_are_csv(write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(DataError, match=r"line 1: not JSON .*; captions in a file that is not called \*.csv are JSON"):
        formats.read_caption_json(write("captions.txt", "clip,caption\na,b\n"))


#: Names that are relative paths already, and texts that a reader may change in their outer blanks alone.
NAMES = st.text("abC-_.@ ü", min_size=1, max_size=8).map(lambda text: f"v{text}v")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(str.strip)
CAPTIONS = st.dictionaries(NAMES, st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4)


@given(CAPTIONS)
def test_any_captions_come_back_from_csv_and_json(tmp_path_factory: Any, captions: dict[str, list[str]]) -> None:
    folder = tmp_path_factory.mktemp("captions")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["clip", "caption"])
    writer.writerows([clip, text] for clip, texts in captions.items() for text in texts)
    (folder / "c.csv").write_bytes(stream.getvalue().encode())
    (folder / "c.json").write_text(json.dumps(captions))
    expected = {clip: tuple(text.strip() for text in texts) for clip, texts in captions.items()}
    assert formats.read_caption_csv(folder / "c.csv").captions == expected
    assert formats.read_caption_json(folder / "c.json").captions == expected


@given(st.binary(max_size=60) | st.text('clip,caption"\n\r{}[]:a.\\/', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    file = tmp_path_factory.mktemp("captions") / "c"
    file.write_bytes(content)
    for read in (
        formats.read_caption_csv,
        formats.read_caption_json,
        formats.read_id_csv,
        formats.read_clip_column,
        formats.read_names,
        formats.read_msrvtt,
        formats.read_jsfusion,
        formats.read_lsmdc,
        formats.read_didemo,
        formats.read_tmass,
        formats.read_activitynet,
        formats.read_activitynet_ids,
    ):
        try:
            read(file)  # type: ignore[operator]
        except DataError as error:
            assert "\n" not in str(error) and str(file) in str(error)
