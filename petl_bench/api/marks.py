"""Marks: reservations that a number carries, with their symbols and meanings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A reservation that a number carries: its word in records, its one-letter symbol in a table, its meaning.

    `ranked`: numbers that carry it are still ranked with those that do not, because what it says is true of every row
    of a column, or speaks against the very number that carries it.
    """

    word: str
    symbol: str
    meaning: str
    ranked: bool = False


#: The mark of numbers that no run gave, which are compared among themselves alone.
SYNTHETIC = "synthetic"


MARKS = {
    mark.word: mark
    for mark in (
        Mark(
            "random-weights",
            "R",
            "random weights of the backbone: says nothing about the method",
        ),
        Mark("best-on-test", "T", "the epoch was selected on the test clips; only to compare with papers that did so"),
        Mark("incomplete-coverage", "C", "some clips are missing or unreadable"),
        Mark("partial-seeds", "S", "fewer seeds than the complete rows of the column"),
        Mark("other-seeds", "O", "as many seeds as the complete rows of the column, but other ones"),
        Mark("partial-splits", "P", "not the splits that the complete rows of the column have"),
        Mark("other-budget", "E", "trained on fewer clips (epochs x clips) than the complete rows ranked with it"),
        Mark("at-chance", "A", "at chance: its clips do not tell it from guessing among the classes (95 %)"),
        Mark("busy-device", "B", "others used the device while it was measured: measure again when it is idle"),
        Mark(
            "mixed-environment",
            "V",
            "its seeds were run on different devices, or with different versions of petl-bench or of libraries",
            ranked=True,
        ),
        Mark(
            "demonstration",
            "D",
            "a demonstration: the backbone's packaged weights were made for another data set, and not for this one",
            ranked=True,
        ),
        Mark("fewer-shots", "F", "some classes have fewer training clips than the number of shots", ranked=True),
        Mark(
            "shared-recordings",
            "G",
            "training and test clips were cut from the same recordings, which makes the test easier than it looks",
            ranked=True,
        ),
        Mark(
            "template-descriptions",
            "N",
            "trained with sentences made from the class names, in place of descriptions of the classes",
            ranked=True,
        ),
        Mark(
            "untuned-rate",
            "U",
            "the learning rate is not one that was tuned for this method in this setting, on this backbone",
            ranked=True,
        ),
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


def barring(marks: Iterable[str]) -> tuple[str, ...]:
    """Those of the marks that keep a number from being ranked with numbers that lack them; unknown ones do."""
    return tuple(word for word in marks if not mark_of(word).ranked)
