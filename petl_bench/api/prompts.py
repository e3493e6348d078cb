"""Prompts: the sentences that class names are put into, one or several per class (an ensemble)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from petl_bench.errors import UsageError

#: Between the templates of an ensemble; commas and blanks occur in prompts.
SEPARATOR = "|"
#: Before the name of a file that holds one template per line.
FROM_FILE = "@"
_PLACE = "{}"
#: Bytes of a file of templates.
_LARGEST = 1_000_000
#: More templates than this are named by their number and hash.
_LISTED = 4
#: What ViCLIP's zero-shot evaluation does to its texts: these go, and those become blanks.
_CLEANED = str.maketrans(dict.fromkeys(",.'!?\"()*#:;~", "") | dict.fromkeys("-/", " "))


@dataclass(frozen=True)
class Prompts:
    """The templates of a data set's prompts, each with one `{}` for the class; `cleaned`: see `clean`."""

    templates: tuple[str, ...]
    cleaned: bool = False

    def of(self, name: str) -> list[str]:
        """The prompts of a class, one for each template."""
        texts = [template.format(name) for template in self.templates]
        return [clean(text) for text in texts] if self.cleaned else texts

    def __str__(self) -> str:
        """For people: the template, a few of them, or how many there are and which."""
        text = SEPARATOR.join(self.templates)
        if len(self.templates) > 1:
            which = f"sha256 {_sha256(text)}" if len(self.templates) > _LISTED else text
            text = f"ensemble of {len(self.templates)} templates ({which})"
        return f"{text}, cleaned" if self.cleaned else text


def clean(text: str) -> str:
    """Lower case, without , . ' ! ? " ( ) * # : ; ~, and with blanks for - and /; single blanks."""
    return " ".join(text.lower().translate(_CLEANED).split())


def split_templates(text: str) -> tuple[str, ...]:
    """The templates in the value of a data set's option `template`."""
    return tuple(part.strip() for part in text.split(SEPARATOR))


def resolved(text: str, label: str) -> str:
    """The value of the option `label` with the lines of a file in the place of its name, checked.

    Raises UsageError for a file that cannot be read, a template without exactly one `{}`, or one that comes twice.
    """
    name = text.strip().removeprefix(FROM_FILE)
    templates = split_templates(text) if name == text.strip() else tuple(_read(Path(name), label))
    for template in templates:
        if problem := template_fault(template):
            raise UsageError(f"{label}={_shortened(template)}: {problem}")
    if len(set(templates)) < len(templates):
        twice = next(each for each in templates if templates.count(each) > 1)
        raise UsageError(f"{label}: the template {_shortened(twice)} comes twice")
    return SEPARATOR.join(templates)


def short_text(text: str, most: int = 60) -> str:
    """A text for a label: as it is, or its beginning with its sha256 if it is long."""
    return text if len(text) <= most else f"{text[: most - 30]}... (sha256 {_sha256(text)})"


def _read(path: Path, label: str) -> Iterator[str]:
    """One template per line, blank lines left out."""
    where = f"{label}={FROM_FILE}{_printable(str(path))}"
    try:
        path = path.expanduser()
        if path.stat().st_size > _LARGEST or not path.is_file():
            raise UsageError(f"{where}: expected a text file of at most {_LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a text in UTF-8, or no name of a file"
        raise UsageError(f"{where}: {reason}") from error
    lines = [line.strip() for line in text.split("\n")]
    if not any(lines):
        raise UsageError(f"{where}: no template there; write one per line, such as: a video of {{}}.")
    for number, line in enumerate(lines, start=1):
        if problem := template_fault(line) if line else "":
            raise UsageError(f"{where}, line {number}: {_shortened(line)}: {problem}")
        if line:
            yield line


#: What a template must not be, and what to do about it.
_PROBLEMS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (
        lambda text: any(unicodedata.category(each) in ("Cc", "Cs") for each in text),
        "control characters or broken text",
    ),
    (lambda text: text.startswith(FROM_FILE), f"a template does not start with {FROM_FILE}, which names a file"),
    (lambda text: SEPARATOR in text, f"{SEPARATOR} stands between templates, not inside of one"),
    (
        lambda text: text.count(_PLACE) > 1,
        f"expected one {{}} for the class name; write {SEPARATOR} between several templates",
    ),
    (
        lambda text: _PLACE not in text or any(brace in text.replace(_PLACE, "") for brace in "{}"),
        "expected one {} for the class name, and no other brace",
    ),
)


def template_fault(template: str) -> str:
    """What is wrong with a template, in words; "" if nothing is."""
    return next((problem for is_wrong, problem in _PROBLEMS if is_wrong(template)), "")


def _shortened(text: str) -> str:
    """A text that a user gave, for a message: printable, and not too long."""
    shown = _printable(text)
    return repr(shown if len(shown) <= 80 else f"{shown[:77]}...")


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
