"""Declared options: types, limits, parsing from the command line."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.options import Options, hyper
from petl_bench.errors import PluginError, UsageError


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
        ("litres", "many", "expected a whole number"),
        ("litres", "2.5", "expected a whole number"),
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


class Colour(enum.Enum):
    RED = 1


def declared(kind: Any, default: Any) -> type[Options]:
    """A class with one field `x`."""
    fields = {"__annotations__": {"x": kind}, "__module__": __name__, "x": hyper(default, "a field")}
    return type("Declared", (Options,), fields)


@pytest.mark.parametrize(
    ("kind", "default", "says"),
    [
        (Colour, Colour.RED, "of type Colour; it may be int, float"),
        (tuple[int, float], (1, 2.0), r"of type tuple\[int, float\]"),
        (list[int], None, r"of type list\[int\]"),
        ("dict", None, "of type dict"),
        (int | str, 1, r"of type int \| str"),
        (complex, 1j, "of type complex"),
        ("Nowhere", 1, "name 'Nowhere' is not defined"),
        ("int |", 1, "cannot be read"),
        (int, "many", "the default of Declared.x=many: expected a whole number"),
        (Literal["a"], "b", "expected one of a"),
        (float, float("inf"), "expected a finite number"),
    ],
)
def test_a_field_that_no_command_line_can_say_is_refused_when_its_class_is_declared(
    kind: Any, default: Any, says: str
) -> None:
    with pytest.raises(PluginError, match=f"Declared.x.*{says}|{says}"):
        declared(kind, default)


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("int | None", None),
        (tuple[Literal["q", "v"], ...], ("q",)),
        (Literal[1, "auto"], "auto"),
        (tuple[float, ...] | None, (0.5,)),
    ],
)
def test_every_kind_that_is_named_can_be_declared(kind: Any, default: Any) -> None:
    assert declared(kind, default)().x == default


def test_a_field_has_a_type_and_a_default_of_its_own() -> None:
    with pytest.raises(PluginError, match="x has no default; write x: int = hyper"):
        type("Bare", (Options,), {"__annotations__": {"x": int}, "__module__": __name__})
    with pytest.raises(PluginError, match="'x' is a field but has no type annotation"):
        type("Untyped", (Options,), {"x": hyper(1, "a field"), "__module__": __name__})
    with pytest.raises(PluginError, match="litres: say its type too"):
        type("Larger", (Soup,), {"litres": 9, "__module__": __name__})  # else it would stay 2 without a word


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("extras", "bread", "expected a list"),
        ("extras", 3, "expected a list"),
        ("litres", True, "expected a whole number"),
        ("litres", float("inf"), "expected a whole number"),
        ("litres", 10**400, "at most 9"),
        ("salt", float("inf"), "expected a finite number"),
        ("salt", [1], "expected a number"),
    ],
)
def test_a_value_of_a_file_or_of_code_is_not_bent_into_its_type(field: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Soup(**{field: value})


def test_an_init_that_does_not_take_an_option_is_refused() -> None:
    with pytest.raises(PluginError, match=r"Own\.__init__ does not take the options dim: leave it out"):

        class Own(Options):
            dim: int = hyper(3, "a size")

            def __init__(self) -> None:
                self.other = 3


def test_an_init_of_its_own_may_take_the_options() -> None:
    class Own(Options):
        dim: int = hyper(3, "a size")

        def __init__(self, dim: int = 4) -> None:
            self.dim = dim

    assert Own().dim == 4


@pytest.mark.parametrize("display", [3, "two\nlines", " ", "Soup ", "\x1b[31mSoup", "s" * 41])
def test_a_name_for_readers_that_no_cell_can_show_is_refused(display: Any) -> None:
    with pytest.raises(PluginError, match=r"Stew\.display = .*must be a text in one line"):
        type("Stew", (Soup,), {"display": display})
