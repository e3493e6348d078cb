r"""Text in LaTeX: escaped so that it prints as it is, and how wide it is then."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from petl_bench.api.table import Cell, Column, Spread
from petl_bench.system.texts import clean
from petl_bench.tables.text import number

_GREEK = """αalpha βbeta γgamma δdelta εepsilon ζzeta ηeta θtheta κkappa λlambda νnu ξxi πpi ρrho σsigma τtau φphi χchi
ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΦPhi ΨPsi ΩOmega μmu"""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": r"{\char96}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "²": "$^2$",
    "³": "$^3$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "’": "'",
    "…": r"\ldots{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "„": ",,",
    "‘": r"\textquoteleft{}",
    "·": r"$\cdot$",
    "•": r"\textbullet{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "°": r"$^\circ$",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "µ": r"$\mu$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "✓": r"$\surd$",
    **{each[0]: rf"$\{each[1:]}$" for each in _GREEK.split()},
}
#: Neighbours that would melt into a dash or a quotation mark.
_LIGATURE = re.compile(r"([-',])(?=\1)")
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
#: Widths of Computer Modern at 10 points, the widest of the usual fonts, in thousandths of an em.
_EMS = {
    character: width
    for width, characters in {
        278: "!',.:;[]_`il",
        333: "- fj",
        361: "I",
        389: "()t",
        392: "rs",
        444: "cez",
        472: "?",
        500: '"$*/0123456789\\^ago{}~–',
        528: "Jkqvxy",
        556: "Sbdhnpu",
        653: "FLZ",
        708: "BEP",
        750: "ACHNRTUVXYw",
        785: "&+<=>@DGKOQ±×",
        833: "#%m",
        1000: "MW|",
    }.items()
    for character in characters
}
_SYMBOL, _CODE_POINT = 1000, 3150  #: of a sign of SPECIAL; of a letter that appears as its code point
#: By how much letters of a smaller design are wider for their size.
_DESIGN = {5: 1.361, 6: 1.222, 7: 1.139, 8: 1.063, 9: 1.028}
_BOLD = 1.16
_COMMENT_LETTERS = 116
_PLAIN = str.maketrans({"±": "+/-", "×": "x", "–": "-", "—": "-", "’": "'", "…": "..."})


def escape(text: str, forms: Iterable[tuple[str, str]] = ()) -> str:
    """Text that LaTeX prints as it is; a letter that its standard fonts lack appears as its code point.

    Args:
        text: one line.
        forms: parts of the text, and how LaTeX writes them; from code alone, never from what a user gave.
    """
    characters = unicodedata.normalize("NFC", clean(text))
    escaped = _LIGATURE.sub(r"\1{}", "".join(map(_character, characters)))
    for part, form in forms:
        escaped = escaped.replace(escape(part), form)
    return escaped


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character
    base, *accents = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        letter = {"i": r"\i", "j": r"\j"}.get(base, base) if accents[0] != "\u0327" else base
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"


def tight(cell: Cell, column: Column, spread: Spread) -> str:
    """A cell's number and its spread, not yet escaped, without space around the sign between them."""
    text = number(cell, column, spread)
    return text if isinstance(cell.value, str) else text.replace(" ± ", "±")


def width(text: str, points: int, *, bold: bool = False) -> float:
    """How wide a text is, not yet escaped, in points; a little more rather than less.

    Args:
        text: one line.
        points: size of the font.
        bold: whether it is set in bold.
    """
    return _ems(text) / 1000 * points * _DESIGN.get(points, 1.0) * (_BOLD if bold else 1.0)


@lru_cache(maxsize=20_000)  # a table is measured at several sizes
def _ems(text: str) -> int:
    return sum(map(_ems_of, unicodedata.normalize("NFC", text)))


def _ems_of(character: str) -> int:
    if character in _EMS:
        return _EMS[character]
    if character in SPECIAL:
        return _SYMBOL
    base = unicodedata.normalize("NFD", character)[0]
    return _EMS.get(base, _CODE_POINT)


def comments(lines: Iterable[str]) -> list[str]:
    """Lines of comments in plain ASCII; a long one goes on on further lines, a little to the right."""
    found: list[str] = []
    for line in (each.translate(_PLAIN) for each in lines):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        text = clean(line).encode("ascii", "backslashreplace").decode()
        wrapped = textwrap.wrap(
            text,
            _COMMENT_LETTERS,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        found += [f"% {each}" for each in wrapped] or ["%"]
    return found
