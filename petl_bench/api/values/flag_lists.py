"""Values as the command line takes them: lists `a,b`, with ranges such as `0-2` for numbers, and `NAME.FIELD=VALUE`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from petl_bench.errors import UsageError

#: Between the names of the parts of a composition; no other name of a plugin or a folder has it.
PLUS = "+"
#: In `--set`, the name of the training options: of all methods, or after a method's name of that one alone.
TRAINING = "training"
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
#: A longer range is a slip.
_LONGEST_RANGE = 10_000


def split_list(text: str, label: str) -> tuple[str, ...]:
    """The parts of a list with commas between; one that holds a comma stands in double quotes, as in CSV.

    Raises UsageError, with `label`, for a quote that does not end.
    """
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UsageError(f"{label} {text}: {error}; a part that holds a comma stands in double quotes") from error
    return tuple(part.strip() for row in rows for part in row if part.strip())


def join_list(parts: Iterable[Any]) -> str:
    """The inverse of `split_list`."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(parts)
    return written.getvalue()


def part_names(name: str) -> list[str]:
    """The names in `a+b`; of a single method, its own."""
    return name.split(PLUS)


def expand_ranges(parts: Iterable[str], label: str) -> tuple[str, ...]:
    """The parts with 0, 1 and 2 for `0-2`. Raises UsageError, with `label`, for a range that runs down or is huge."""
    found: list[str] = []
    for part in parts:
        ends = _RANGE.fullmatch(part)
        if ends is None:
            found.append(part)
            continue
        first, last = int(ends[1]), int(ends[2])
        if not first <= last < first + _LONGEST_RANGE:
            why = "runs down" if last < first else f"has more than {_LONGEST_RANGE:,} numbers"
            raise UsageError(f"{label} {part}: this range {why}; write it as 0-2")
        found += map(str, range(first, last + 1))
    return tuple(found)


def set_value(text: str) -> tuple[str, str, str]:
    """`NAME.FIELD=VALUE`, as `--set` takes it, in its three parts. Raises UsageError for a text of another form.

    The fields of a composition are those of its parts: `a+b.a.FIELD=VALUE` has the name `a+b` and the field `a.FIELD`.
    A training value for one method alone, `lora.training.FIELD=VALUE`, has the field `training.FIELD`.
    """
    target, equals, value = text.partition("=")
    name, dot, field = target.strip().rpartition(".")
    if PLUS in name or name.endswith(f".{TRAINING}"):
        name, dot, field = target.strip().partition(".")
    if not (equals and dot and name and field):
        raise UsageError(f"--set {text}: expected NAME.FIELD=VALUE, e.g. --set training.learning_rate=1e-4")
    return name, field, value.strip()


def whole_numbers(parts: Iterable[str], label: str) -> tuple[int, ...]:
    """Numbers and ranges, such as `0-2`. Raises UsageError, with `label`, for anything else."""
    parts = tuple(parts)
    try:
        return tuple(map(int, expand_ranges(parts, label)))
    except ValueError:
        raise UsageError(f"{label} {','.join(parts)}: expected whole numbers, e.g. 0,1,2 or 0-2") from None
