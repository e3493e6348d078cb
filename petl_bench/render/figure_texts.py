"""Texts in figures: over several lines, in letters that the font has, and with formulas that plugins declare."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from petl_bench.api.registry import METHODS
from petl_bench.system.texts import clean

FONT = "DejaVu Sans"  #: comes with matplotlib: the same letters on every machine
_NAME_LETTERS, _NAME_LINES = 24, 2  #: of a name along the y axis: letters of each line, and lines

#: Parts of names of methods, and how they are drawn.
Formulas = Sequence[tuple[str, str]]


def wrapped(text: str, letters: int) -> str:
    """A text over as many lines as it needs; a letter that the font lacks appears as its code point."""
    return textwrap.fill(_known(text), letters, break_on_hyphens=False)


def _known(text: str) -> str:
    """A text in letters of the font."""
    return "".join(letter if ord(letter) in _letters() else f"U+{ord(letter):04X}" for letter in clean(text))


def short_names(names: Sequence[str]) -> list[str]:
    """Names along the y axis, over a few lines. Long ones lack their middle, unless they would be alike without it."""
    cut = [_without_middle(name, _NAME_LETTERS * _NAME_LINES - 8) for name in names]
    alike = {short for short, count in Counter(cut).items() if count > 1}
    return [wrapped(name if short in alike else short, _NAME_LETTERS) for name, short in zip(names, cut, strict=True)]


def _without_middle(text: str, letters: int) -> str:
    if len(text) <= letters:
        return text
    return f"{text[: letters // 2].rstrip()} … {text[-(letters // 2 - 3) :].lstrip()}"


def formulas_of(methods: Sequence[str]) -> Formulas:
    r"""Parts of the names of these methods, and their formulas, as their plugins declare for LaTeX: "$\mathcal{L}$".

    What is no formula alone, or none that matplotlib can read, is left out: the name is drawn as it is.
    """
    return [(part, form) for method in methods for part, form in METHODS.latex(method) if _is_formula(form)]


def _is_formula(form: str) -> bool:
    from matplotlib.mathtext import MathTextParser

    if len(form) < 3 or not form.startswith("$") or not form.endswith("$") or form.count("$") != 2:
        return False
    try:
        MathTextParser("path").parse(form)
    except ValueError:
        return False
    return True


def set_formulas(artists: Iterable[Any], formulas: Formulas) -> None:
    """Formulas in the place of parts of these texts; the rest of a text stays as it is, with any `$` in it."""
    from matplotlib.text import Text

    for artist in artists if formulas else ():
        if not isinstance(artist, Text) or "\\" in artist.get_text():  # a backslash before a formula would escape it
            continue
        text = escaped = artist.get_text().replace("$", r"\$")
        for part, form in formulas:
            text = text.replace(part.replace("$", r"\$"), form)
        if text != escaped:
            artist.set_text(text)
            artist.set_parse_math(True)


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
