"""One description of a field: the same value from a flag, TOML and JSON, and the same words if it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from petl_bench.api.options import text_of
from petl_bench.api.values.fields import Count, Form, Limits, check_of, convert, parse
from petl_bench.errors import UsageError


@dataclass
class Clip:
    frames: Count
    name: Annotated[str, Form("[a-z]+", "letters")] = "a"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3),
        (float, 0.1),
        (float, 1e300),
        (bool, True),
        (str, "a b"),
        (Literal[1, "auto"], 1),
        (Literal[True, 0.5], 0.5),
        (int | None, None),
        (tuple[int, ...], (1, 2)),
        (tuple[str, ...] | None, ("a", "b")),
        (Annotated[int, Limits(1, 3)] | None, 3),
    ],
)
def test_every_source_gives_the_same_value(kind: Any, value: Any) -> None:
    assert parse(kind, text_of(value), "x") == value
    as_json = list(value) if isinstance(value, tuple) else value
    assert convert(kind, as_json, "x") == value
    assert check_of(kind)(as_json) == ""


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (int, "many", "=many: expected a whole number"),
        (Count, -1, "=-1: must be at least 0"),
        (Count, 2**53, f"={2**53}: must be at most {2**53 - 1}"),
        (Annotated[float, Limits(0, 1)], 1.5, "=1.5: must be at most 1"),
        (float, float("nan"), "=nan: not a number"),
        (float, float("inf"), "=inf: expected a finite number"),
        (Literal["a", "b"], "c", "=c: expected one of a, b"),
        (int | None, "x", "=x: expected a whole number"),
        (int | str, None, "=None: expected a whole number or a text"),
        (tuple[int, ...], [1, "x"], "[1]=x: expected a whole number"),
        (Sequence[str], "abc", "=abc: expected a list"),
        (Mapping[str, Mapping[str, int]], {"a": {"b": None}}, ".a.b=None: expected a whole number"),
        (Mapping[Annotated[str, Form("[a-z]", "a letter")], Any], {"?": 1}, " has the name ?: expected a letter"),
        (Mapping[str, Clip], {"a": {"name": "b"}}, ".a lacks frames"),
        (Clip, {"frames": 1, "name": "B" * 100}, f".name={'B' * 80}…: expected letters"),
    ],
)
def test_a_wrong_value_of_a_file_is_said_with_its_place(kind: Any, value: Any, fault: str) -> None:
    assert check_of(kind)(value) == fault
    with pytest.raises(UsageError) as caught:
        convert(kind, value, "x")
    assert str(caught.value) == f"x{fault}"


def test_json_is_taken_as_it_is() -> None:
    for kind, value in ((int, "3"), (int, 3.0), (int, True), (str, 3), (bool, 1), (float, "0.5")):
        assert check_of(kind)(value)
    assert check_of(float)(3) == check_of(Clip)({"frames": 1, "unknown": None}) == ""
    assert check_of(int, Limits(0, 9))(10) == "=10: must be at most 9"
