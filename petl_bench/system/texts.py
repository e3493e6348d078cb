"""Texts that came from files, plugins or the command line, made safe to show.

A name in a record may hold anything: escape sequences that command a terminal, letters that are not seen or that turn
the direction of what follows, line ends that fake a line of our own, halves of characters that cannot be written.
"""

from __future__ import annotations

import functools
import re

#: Letters of a name that a table, the page or a terminal shows; CSV and JSON keep names whole.
LONGEST_NAME = 200

_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
#: Format characters that show nothing themselves, and surrogates, which are no characters.
_UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_UNSEEN += "\ud800-\udfff"
_CONTROL = re.compile(f"[{_CONTROLS}]+")
_CONTROL_CODE = re.compile("[\x00-\x1f\x7f-\x9f]")
_UNSEEN_ONE = re.compile(f"[{_UNSEEN}]")
_REFERENCE = re.compile(r"[A-Za-z0-9:._/+-]+")
_UNSAFE = re.compile(f"[{_CONTROLS}{_UNSEEN}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\n\t])[{_CONTROLS}{_UNSEEN}]")
#: Colours, moves and other sequences that terminals obey.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


@functools.lru_cache(maxsize=10_000)
def clean(text: str) -> str:
    """One line of what can be seen: controls become blanks, other unseen characters the sign U+FFFD, and what is no
    character "?"."""
    return " ".join(_UNSEEN_ONE.sub(_sign, _CONTROL.sub(" ", text)).split())


def _sign(found: re.Match[str]) -> str:
    return "?" if "\ud800" <= found.group() <= "\udfff" else "\ufffd"


def name(text: str) -> str:
    """A name of any length, as `clean` and at most LONGEST_NAME letters long; the end shows that it goes on."""
    return shortened(clean(text), LONGEST_NAME)


def shortened(text: str, letters: int) -> str:
    """At most so many letters of a text; "…" stands for the rest."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def is_shown(text: str) -> bool:
    """Whether a text has nothing in it that a terminal obeys or does not show."""
    return _UNSAFE.search(text) is None


def has_controls(text: str) -> bool:
    """Whether a text has controls in it, such as a line end, an escape or NUL."""
    return _CONTROL_CODE.search(text) is not None


def is_reference(text: str) -> bool:
    """Whether a text is safe as a label of LaTeX."""
    return _REFERENCE.fullmatch(text) is not None


def lines(text: str) -> str:
    """Text of several lines for a terminal: line ends and tabs stay, sequences go, the rest is as in `clean`."""
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _UNSAFE_IN_LINES.sub(_sign, text)


def escaped_json(text: str) -> str:
    """A JSON document in which what is not to be seen is written as `\\uXXXX`, so that it stays whole and harmless."""
    return _UNSAFE_IN_LINES.sub(_as_escape, text)


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
