"""Marks: reservations that a number carries, with their symbols and meanings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from petl_bench.api.config import ViCLIPConfig
    from petl_bench.api.method import Method


@dataclass(frozen=True)
class Mark:
    """A reservation that a number carries: its word in records, its one-letter symbol in a table, its meaning in short.

    `ranked`: numbers that carry it are still ranked with those that do not, because what it says is true of every row
    of a column, or speaks against the very number that carries it, or leaves the column's task as it is.
    """

    word: str
    symbol: str
    meaning: str
    ranked: bool = False


#: The mark of numbers that no run gave, which are compared among themselves alone.
SYNTHETIC = "synthetic"
#: The mark of rows that lack an evaluation of their setting.
ABSENT_EVALUATION = "absent-evaluation"
#: The mark of methods that learn from training clips without training.
TRAINING_FREE = "training-free"
#: The mark of numbers whose values a tuning chose (`petl_bench.records.tunings`).
TUNED_HERE = "tuned-here"
#: The mark of a learning rate that nobody is known to have tuned for the method; not of numbers that were tuned here.
UNTUNED_RATE = "untuned-rate"
#: What a method declares: all of its numbers carry it, and so do its lines and bars in pictures.
OF_METHOD = ("closed-vocabulary", "frozen-novel", "text-per-video", TRAINING_FREE, "adapted-method")


MARKS = {
    mark.word: mark
    for mark in (
        Mark("random-weights", "R", "random weights of the backbone: says nothing about the method"),
        Mark("best-on-test", "T", "the epoch was selected on the test clips"),
        Mark("incomplete-coverage", "C", "some clips are missing or unreadable"),
        Mark("partial-seeds", "S", "fewer seeds than the complete rows of the column"),
        Mark("other-seeds", "O", "other seeds than the complete rows of the column"),
        Mark("partial-splits", "P", "other splits than the complete rows of the column"),
        Mark("other-budget", "E", "trained on fewer clips (epochs x clips) than the complete rows"),
        Mark("at-chance", "A", "not told from guessing (95 %)"),
        Mark(ABSENT_EVALUATION, "M", "lacks an evaluation of its setting; not ranked with rows that have it"),
        Mark("busy-device", "B", "others used the device while it was measured"),
        Mark("mixed-environment", "V", "its seeds were run on different devices or versions", ranked=True),
        Mark(
            "demonstration", "D", "a demonstration: the backbone's weights were made for another data set", ranked=True
        ),
        Mark("fewer-shots", "F", "some classes have fewer training clips than the number of shots", ranked=True),
        Mark(
            "shared-recordings",
            "G",
            "training and test clips are of the same recordings: easier than it looks",
            ranked=True,
        ),
        Mark(
            "template-descriptions",
            "N",
            "trained with sentences made from class names, not with descriptions",
            ranked=True,
        ),
        Mark(UNTUNED_RATE, "U", "learning rate not tuned for this method, setting and backbone", ranked=True),
        Mark(TUNED_HERE, "L", "values searched here, with the budget in the notes", ranked=True),
        Mark("closed-vocabulary", "K", "closed vocabulary: scores only classes with training clips", ranked=True),
        Mark("frozen-novel", "H", "classes without training clips are scored by the frozen model", ranked=True),
        Mark("text-per-video", "X", "text features depend on the clip: computed anew for each", ranked=True),
        Mark(TRAINING_FREE, "Z", "nothing is trained, but the training clips are used", ranked=True),
        Mark("adapted-method", "W", "published for another kind of backbone, and adapted to this one", ranked=True),
        Mark(SYNTHETIC, "Y", "made by a script, not measured"),
        Mark("quoted", "Q", "quoted, not run here"),
    )
}


def mark_of(word: str) -> Mark:
    """The mark for a word of a record."""
    return MARKS.get(word, Mark(word, word, word))


def symbols(marks: Iterable[str]) -> str:
    """The symbols of marks as one text, e.g. "RC"; unknown ones follow with their words."""
    words = set(marks)
    known = "".join(mark.symbol for word, mark in MARKS.items() if word in words)
    return ",".join([*([known] if known else []), *sorted(words - MARKS.keys())])


def method_marks(method: Method | type[Method], config: ViCLIPConfig | None = None) -> list[str]:
    """The marks of a method by what it declares, in the order of OF_METHOD; `config`: of the backbone that it is on."""
    declared = (
        method.novel == "none",
        method.novel == "frozen",
        method.text_varies == "video",
        method.training_free,
        config is not None and bool(method.adapted_for(config)),
    )
    return [word for word, holds in zip(OF_METHOD, declared, strict=True) if holds]


def with_method_marks(label: str, marks: Iterable[str]) -> str:
    """A label in a picture with the symbols of those of the marks that the method declares, e.g. "tip_adapter [Z]"."""
    found = symbols(set(marks).intersection(OF_METHOD))
    return f"{label} [{found}]" if found else label


def barring(marks: Iterable[str]) -> tuple[str, ...]:
    """Those of the marks that keep a number from being ranked with numbers that lack them; unknown ones do."""
    return tuple(word for word in marks if not mark_of(word).ranked)
