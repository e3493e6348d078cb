"""The prompt as an option of a data set: what may be written, what is refused, and what is in keys and records."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from petl_bench.api.dataset import Dataset
from petl_bench.api.options import hyper
from petl_bench.api.prompts import Prompts, clean, short_text
from petl_bench.api.registry import DATASETS
from petl_bench.errors import UsageError

DEFAULT = "a video of {}."


class Plain(Dataset):
    name = "plain"


@pytest.mark.parametrize("name", [*DATASETS.names()])
def test_every_data_set_has_the_option_and_its_default_is_in_no_key(name: str) -> None:
    plugin = DATASETS.get(name)
    default = plugin()
    assert default.prompts == Prompts((DEFAULT,))
    assert not {"template", "prompt_text"} & default.values().keys()
    assert plugin(template=DEFAULT).values() == default.values(), "the default, written out, is the same trial"
    other = plugin(template="a photo of {}.", prompt_text="cleaned").values()
    assert (other["template"], other["prompt_text"]) == ("a photo of {}.", "cleaned")
    assert plugin(**other).values() == other, "as a trial is read again from its record"


def test_several_templates_are_an_ensemble() -> None:
    data = Plain(template="a photo of {}. |{}, a video | 「{}」")
    assert data.prompts.of("pour water") == ["a photo of pour water.", "pour water, a video", "「pour water」"]
    assert data.values() == {"template": "a photo of {}.|{}, a video|「{}」"}


def test_a_file_of_templates_enters_the_key_by_what_it_says(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_bytes(b"\xef\xbb\xbfa photo of {}.\r\n\r\n  a video of {}, again\r\n")
    other.write_text("a photo of {}.\na video of {}, again")
    values = Plain(template=f"@{one}").values()
    assert values == {"template": "a photo of {}.|a video of {}, again"}
    assert Plain(template=f"@{other}").values() == values, "another name, the same templates"
    other.write_text("a photo of {}.\na video of {}")
    assert Plain(template=f"@{other}").values() != values, "the same name, other templates"


def test_class_names_with_braces_and_bars_are_left_alone() -> None:
    assert Plain().prompts.of("open {box} | {}") == ["a video of open {box} | {}."]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "expected one {} for the class name"),
        ("a video", "expected one {} for the class name, and no other brace"),
        ("{} and {}", "write | between several templates"),
        ("a photo of {}.,a video of {}.", "write | between several templates"),
        ("a video of {name}.", "no other brace"),
        ("a video of {0}.", "no other brace"),
        ("a video of {{}}.", "no other brace"),
        ("a video of {} {", "no other brace"),
        ("a {}|", "expected one {}"),
        ("a {}|b {}|a {}", "comes twice"),
        ("a {}\nb", "control characters"),
        ("\x1b[31m{}", "control characters"),
        ("a \udcff {}", "broken text"),
        ("a {}|@b {}", "does not start with @"),
        ("@no such file", "No such file"),
        ("@", "expected a text file"),
        ("@/dev/zero", "expected a text file"),
        ("@a\0b", "no name of a file"),
        ("x" * 10_000, "expected one {}"),
    ],
)
def test_what_is_no_template_is_refused_in_one_short_line(template: str, says: str) -> None:
    with pytest.raises(UsageError) as told:
        Plain(template=template)
    message = str(told.value)
    assert says in message
    assert message.startswith("plain.template")
    assert len(message.splitlines()) == 1 and message.isprintable() and len(message) < 250


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no template there"),
        (b"a {}\na video\n", "line 2: 'a video': expected one {}"),
        (b"a {}\n\nb {}|c {}\n", "line 3"),
        (b"\xff\xfe", "not a text in UTF-8"),
        (b"a {}\n" * 250_000, "at most 1,000,000 bytes"),
    ],
)
def test_a_file_that_holds_no_templates_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(content)
    with pytest.raises(UsageError) as told:
        Plain(template=f"@{tmp_path / 'file.txt'}")
    assert says in str(told.value) and str(tmp_path) in str(told.value)


def test_a_pipe_is_no_file_of_templates(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="expected a text file"):
        Plain(template=f"@{tmp_path / 'pipe'}")


def _as_class_variable() -> type[Dataset]:
    class Older(Dataset):
        template: ClassVar[str] = "a drone's view of {}."  # type: ignore[misc]

    return Older


def _as_attribute() -> type[Dataset]:
    class Older(Dataset):
        template = " a drone's view of {}. "

    return Older


def _as_field() -> type[Dataset]:
    class Newer(Dataset):
        template: str = hyper("a drone's view of {}.", "the prompt", later=True)

    return Newer


@pytest.mark.parametrize("made", [_as_class_variable, _as_attribute, _as_field])
def test_a_plugins_own_template_is_its_default_and_can_be_changed(made: Callable[[], type[Dataset]]) -> None:
    plugin = made()
    assert plugin().prompts.of("cars") == ["a drone's view of cars."]
    assert plugin().values() == {}, "as before the prompt was an option"
    assert plugin(template=DEFAULT).values() == {"template": DEFAULT}
    assert plugin(template=DEFAULT).prompts.of("cars") == ["a video of cars."]


def test_cleaned_texts_are_those_of_viclips_evaluation() -> None:
    assert clean("A video of: T'ai-Chi (push/pull), #1!") == "a video of tai chi push pull 1"
    prompts = Plain(template="A photo of {}.|{}!", prompt_text="cleaned").prompts
    assert prompts.of("Shooting ball (not playing baseball)") == [
        "a photo of shooting ball not playing baseball",
        "shooting ball not playing baseball",
    ]


def test_footers_name_a_few_templates_and_count_many() -> None:
    assert str(Prompts((DEFAULT,))) == DEFAULT
    assert str(Prompts((DEFAULT, "{}"), cleaned=True)) == "ensemble of 2 templates (a video of {}.|{}), cleaned"
    many = Prompts(tuple(f"{{}} {n}" for n in range(16)))
    assert str(many).startswith("ensemble of 16 templates (sha256 ") and len(str(many)) < 60
    assert str(many) != str(Prompts((*many.templates[:-1], "{}")))


def test_long_values_are_shortened_in_labels_and_stay_apart() -> None:
    one, other = "{} " + "x" * 100 + "y", "{} " + "x" * 100 + "z"
    assert short_text("short") == "short"
    assert len(short_text(one)) < 70 and short_text(one) != short_text(other)
