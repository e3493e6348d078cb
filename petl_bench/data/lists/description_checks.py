"""What can be checked in descriptions without reading them: whether they name their classes, and which hold debris.

Nothing is repaired here. `order_problem` is a reason to refuse a file; `irregularities` become notes in the record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from petl_bench.data.found.tree import canonical

#: How published temporal sentences name their class: "A video of a kick generally involves ...".
_STATED = re.compile(r"\bof (?:an? |the )?(.+?) generally\b")
_DEBRIS = {
    "repeats the instruction": re.compile(r"\b(?:output|answer|response) should be\b|\bfollowing format\b", re.I),
    "speaks to the reader": re.compile(
        r"^(?:sure|certainly|of course|here (?:are|is)|as an ai|i'm sorry|i can)\b", re.I
    ),
    "continues another sentence": re.compile(
        r"^(?:the )?(?:next|first|second|third|last|final) step (?:involves|is)\b", re.I
    ),
    "begins like a list": re.compile(r"^(?:\d+\s*[.)]|[-*•#])"),
    "holds brackets, mark-up or line breaks": re.compile(r"[\[\]{}<>`\n]|\*\*"),
    "holds several sentences": re.compile(r"[.!?]\s+[^\W\d_]"),
}
#: Files whose sentences name no class are judged by shared words, if at least so many classes have any ...
_ENOUGH_VOTES = 20
#: ... and are refused if fewer point at their own class. Published files: 16 % and more; shuffled: 5 % and less.
_LEAST_SHARE = 0.1
#: Letters by which two words count as one ("applying", "apply").
_STEM = 5


def readable(name: str) -> str:
    """Words of a class name: "ApplyEyeMakeup" and "apply_eye_makeup" become "apply eye makeup"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


def debris(sentence: str) -> str | None:
    """What a sentence holds that is no description ("repeats the instruction", ...); None if it is clean."""
    return next((what for what, pattern in _DEBRIS.items() if pattern.search(sentence)), None)


def order_problem(entries: Mapping[str, Sequence[str]]) -> str | None:
    """Why sentences that an index gave to these classes belong to others, or to another order; None if they fit.

    Sentences that state their class ("a video of X generally ...") are compared with it: one that states another class
    of the list, or half of them that do not fit, is too much. If none states it, the words that sentences share
    with class names must not point elsewhere nearly always.
    """
    stated = {name: match[1] for name, texts in entries.items() if (match := _STATED.search(texts[0]))}
    if not stated:
        return _vote(entries)
    wrong = {name: text for name, text in stated.items() if canonical(text) != canonical(name)}
    others = {canonical(name) for name in entries}
    swapped = [name for name, text in wrong.items() if canonical(text) in others]
    if not swapped and 2 * len(wrong) <= len(stated):
        return None
    name = (swapped or list(wrong))[0]
    return f"the entry for {name!r} speaks of {wrong[name]!r}"


def _vote(entries: Mapping[str, Sequence[str]]) -> str | None:
    """Each entry votes for the class whose name shares most words with it, rare words first."""
    words = {name: _stems(readable(name)) for name in entries}
    known = Counter(word for found in words.values() for word in found)
    own = votes = 0
    for name, texts in entries.items():
        said = _stems(" ".join(texts))
        scores = {other: _shared(found, said, known) for other, found in words.items()}
        top = max(scores.values())
        best = [other for other, score in scores.items() if score == top]
        if top == 0 or (name in best and len(best) > 1):
            continue
        votes += 1
        own += name in best
    if votes < _ENOUGH_VOTES or own >= _LEAST_SHARE * votes:
        return None
    return f"the words of {votes - own} of {votes} entries point to another class than their own"


def _stems(text: str) -> set[str]:
    return {word[:_STEM] for word in re.findall(r"[a-z]{3,}", text.lower())}


def _shared(name: set[str], said: set[str], known: Mapping[str, int]) -> float:
    """The part of a class name's words that is said, each weighted by how few names have it."""
    if not name:
        return 0.0
    return sum(1 / known[word] for word in name & said) / sum(1 / known[word] for word in name)


def irregularities(texts: Mapping[str, Sequence[str]], count: int, kind: str) -> Iterator[str]:
    """One line for each anomaly of the first `count` sentences of every class, with an example."""
    short = [name for name, found in texts.items() if len(found) < count]
    if short:
        example = f"{short[0]!r} has {len(texts[short[0]])}"
        yield f"{len(short)} classes have fewer than {count} {kind} sentences, e.g. {example}"
    read = {name: list(found[:count]) for name, found in texts.items()}
    yield from _statements(read, kind)
    yield from _beginnings(read, kind)
    for what in _DEBRIS:
        found = [(name, text) for name, every in read.items() for text in every if debris(text) == what]
        if found:
            name, text = found[0]
            yield f"{len(found)} {kind} sentences: {what}, e.g. of {name!r}: {_excerpt(text)}"


def _statements(read: Mapping[str, Sequence[str]], kind: str) -> Iterator[str]:
    """Classes that their own sentences name otherwise, not at all, or in one word that stands for several."""
    loose = [name for name, found in read.items() if _STATED.search(found[0]) and not all(map(_STATED.search, found))]
    if loose:
        yield f"{len(loose)} classes have {kind} sentences that do not name their class, e.g. {loose[0]!r}"
    stated = {name: match[1] for name, found in read.items() if (match := _STATED.search(found[0]))}
    other = [name for name, text in stated.items() if canonical(text) != canonical(name)]
    if other:
        example = f"{other[0]!r} as {stated[other[0]]!r}"
        yield f"{len(other)} classes are named otherwise in their {kind} sentences, e.g. {example}"
    squashed = [
        name for name, text in stated.items() if name not in other and " " not in text and " " in readable(name)
    ]
    if squashed:
        example = f"{stated[squashed[0]]!r} for {readable(squashed[0])!r}"
        yield f"{len(squashed)} classes are named by words written together in their {kind} sentences, e.g. {example}"


def _beginnings(read: Mapping[str, Sequence[str]], kind: str) -> Iterator[str]:
    """Sentences that do not begin as most others do, if three in four begin with the same three words."""
    begins = [(name, " ".join(text.split()[:3])) for name, found in read.items() for text in found]
    usual, times = Counter(begin for _, begin in begins).most_common(1)[0]
    others = [(name, begin) for name, begin in begins if begin != usual]
    if others and times >= 0.75 * len(begins):
        classes = len({name for name, _ in others})
        example = f"{others[0][1]!r} of {others[0][0]!r}"
        yield f"{len(others)} {kind} sentences of {classes} classes do not begin {usual!r}, e.g. {example}"


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60].rstrip() + " ...")
