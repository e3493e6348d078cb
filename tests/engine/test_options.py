"""Declared options: types, limits, parsing from the command line."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.errors import UsageError
from petl_bench.options import Options, hyper


class Soup(Options):
    name = "soup"
    litres: int = hyper(2, "how much", minimum=1, maximum=9)
    salt: float = hyper(0.1, "grams of salt", minimum=0.0)
    hot: bool = hyper(True, "served hot")
    kind: Literal["leek", "pea"] = hyper("pea", "which soup")
    ladles: Literal[1, 3] = hyper(1, "ladles")
    extras: tuple[str, ...] = hyper(("bread",), "what goes with it")
    spoons: int | None = hyper(None, "spoons; none: all there are", minimum=1)


def test_defaults_and_values() -> None:
    assert Soup().values() == {
        "litres": 2,
        "salt": 0.1,
        "hot": True,
        "kind": "pea",
        "ladles": 1,
        "extras": ["bread"],
        "spoons": None,
    }


def test_a_choice_of_numbers_is_read_from_text() -> None:
    assert Soup.parse({"ladles": "3"}) == {"ladles": 3}
    with pytest.raises(UsageError, match=r"soup.ladles=2: expected one of 1, 3"):
        Soup.parse({"ladles": "2"})


def test_parse_turns_texts_into_types() -> None:
    texts = {"litres": "3", "salt": "1e-2", "hot": "no", "kind": "leek", "extras": "a, b", "spoons": "none"}
    assert Soup(**Soup.parse(texts)).values() == {
        "litres": 3,
        "salt": 0.01,
        "hot": False,
        "kind": "leek",
        "ladles": 1,
        "extras": ["a", "b"],
        "spoons": None,
    }


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("litre", "3", "did you mean litres"),
        ("litres", "many", "expected int"),
        ("litres", "2.5", "expected int"),
        ("litres", "0", "at least 1"),
        ("litres", "10", "at most 9"),
        ("salt", "nan", "not a number"),
        ("hot", "maybe", "true or false"),
        ("kind", "cabbage", "leek, pea"),
        ("spoons", "0", "at least 1"),
    ],
)
def test_a_wrong_value_says_which_and_why(field: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Soup(**Soup.parse({field: text}))


def test_a_fraction_is_not_silently_cut() -> None:
    with pytest.raises(UsageError, match="whole number"):
        Soup(litres=2.5)


@given(st.integers(1, 9), st.floats(0, 1e6), st.booleans())
def test_values_survive_text(litres: int, salt: float, hot: bool) -> None:
    parsed = Soup.parse({"litres": str(litres), "salt": repr(salt), "hot": str(hot)})
    assert parsed == {"litres": litres, "salt": salt, "hot": hot}
