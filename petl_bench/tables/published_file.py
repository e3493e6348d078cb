"""Files of published numbers: CSV, one number per line, read strictly."""

from __future__ import annotations

import csv
import io
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petl_bench.api.published import PublishedNumber
from petl_bench.api.table import PUBLISHED_COLUMNS
from petl_bench.errors import UsageError
from petl_bench.system.texts import LONGEST_NAME, clean, is_shown, shortened

#: Where the columns are explained.
SEE = "docs/published_numbers.md"
_COLUMNS = PUBLISHED_COLUMNS | {"setting", "venue"}
_NEEDED = ("source", "table", "method", "metric", "value")
_LARGEST, _MOST = 5_000_000, 20_000
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,6}", re.ASCII)
_PERCENT = re.compile(r".*(top1|top5|_r1|_r5|_r10|_percent|harmonic_mean)")
_SUM, _RANK = re.compile(r".*rsum"), re.compile(r".*(median|mean)_rank")


def read_text(path: Path) -> str:
    """A small file of text. Raises UsageError if it cannot be read."""
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"{path}: larger than {_LARGEST:,} bytes")
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """What a small file of TOML holds. Raises UsageError if it cannot be read."""
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {clean(str(error))}") from error


def read_numbers(path: Path) -> tuple[PublishedNumber, ...]:
    """The numbers of a file, in its order. Raises UsageError, which names file and line, for whatever is not one.

    Further columns are not read. Refused are missing and repeated columns; lines with more or fewer of them; texts with
    controls or longer than a name; what is no finite number, or out of its metric's range; and a number that stands
    there twice.
    """
    numbers: dict[tuple[object, ...], PublishedNumber] = {}
    for number in _numbers(path):
        if (first := numbers.setdefault(number.key, number)) is not number:
            raise _fault(path, number.line, f"the number of line {first.line} again: same row, data set and metric")
    if not numbers:
        raise UsageError(f"{path}: no numbers in it; each is one line. See: {SEE}")
    return tuple(numbers.values())


def _numbers(path: Path) -> Iterator[PublishedNumber]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        _check_columns(path, columns)
        for count, values in enumerate(filter(None, reader)):
            if count == _MOST:
                raise UsageError(f"{path}: more than {_MOST:,} numbers")
            if len(values) != len(columns):
                reason = f"{len(values)} values for {len(columns)} columns; texts with commas stand in quotes"
                raise _fault(path, reader.line_num, reason)
            texts = {column: value.strip() for column, value in zip(columns, values, strict=True)}
            yield _number(path, reader.line_num, texts)
    except csv.Error as error:
        raise _fault(path, reader.line_num, f"not valid CSV: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    if twice := [column for column in sorted(_COLUMNS) if columns.count(column) > 1]:
        raise UsageError(f"{path}: the column {twice[0]} stands there twice")
    if missing := PUBLISHED_COLUMNS - set(columns):
        raise UsageError(f"{path}: lacks the column {', '.join(sorted(missing))}. See: {SEE}")


def _number(path: Path, line: int, texts: dict[str, str]) -> PublishedNumber:
    texts = {column: text for column, text in texts.items() if column in _COLUMNS}
    for column, text in texts.items():
        if not is_shown(text):
            raise _fault(path, line, f"{column} has characters that are not shown, such as a line end")
        if len(text) > LONGEST_NAME:
            raise _fault(path, line, f"{column} is longer than {LONGEST_NAME} letters")
    if empty := [column for column in _NEEDED if not texts[column]]:
        raise _fault(path, line, f"{empty[0]} is empty")
    shots = texts["shots"]
    if shots and not _WHOLE.fullmatch(shots):
        raise _fault(path, line, f"shots={shots}: expected a whole number, or nothing")
    low, high = _range(texts["metric"])
    value = _value(path, line, texts, "value", low, high)
    std = _value(path, line, texts, "std", 0.0, high) if texts["std"] else None
    printed = texts["value"] + (f" ± {texts['std']}" if texts["std"] else "")
    names = {column: texts.get(column, "") for column in _COLUMNS - {"shots", "value", "std"}}
    return PublishedNumber(**names, shots=int(shots or 0), value=value, std=std, printed=printed, line=line)


def _value(path: Path, line: int, texts: dict[str, str], column: str, low: float, high: float) -> float:
    text, metric = texts[column], texts["metric"]
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise _fault(path, line, f"{column}={shortened(text, 40)}: expected a finite number")
    if not low <= value <= high:
        limits = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        raise _fault(path, line, f"{column}={text}: {metric} is {limits}")
    return value


def _range(metric: str) -> tuple[float, float]:
    """Between which values a metric lies: percentages, sums of three of them, ranks, and all others."""
    if _PERCENT.fullmatch(metric):
        return 0.0, 100.0
    if _SUM.fullmatch(metric):
        return 0.0, 300.0
    return (1.0, math.inf) if _RANK.fullmatch(metric) else (0.0, math.inf)


def _fault(path: Path, line: int, reason: str) -> UsageError:
    return UsageError(f"{path}, line {line}: {reason}")
