"""What is asked of a language model, and what counts as an answer.

The two prompts say what MSTA's do (Chen et al., CVPR 2025, Section 3.3) in our own words; the sentences begin as the
published ones, so that files made here are checked as those are.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence

from petl_bench.data.found.tree import canonical
from petl_bench.data.lists.description_checks import debris, readable

#: `{name}`: the class in words; `{count}`: sentences; `{words}`: so many fit the text context, mostly.
PROMPTS = {
    "spatial": (
        'Think of short videos of the action "{name}". What can be seen in a single frame of them: people, body parts, '
        "clothes, objects, surroundings? Answer with a JSON list of English sentences and nothing else. Number of "
        'sentences: {count}. Each one names something different, begins with "A video about", has at most {words} '
        "words and ends with a full stop."
    ),
    "temporal": (
        'Think of how the action "{name}" goes on in a video, from its beginning to its end, and divide it into steps. '
        "Answer with a JSON list of English sentences, one per step, in the order of time, and nothing else. Number of "
        'sentences: {count}. Each one begins with "A video of {name} generally involves", goes on with what happens in '
        "that step, has at most {words} words and ends with a full stop."
    ),
}
#: Sent after an answer that cannot be used.
CORRECTION = "That answer cannot be used: {problem}. Answer once more, with the JSON list alone."

#: Words of English sentences that few other languages have.
_ENGLISH = frozenset(
    {"the", "of", "with", "and", "is", "are", "from", "their", "into", "about", "while", "his", "video"}
)
_NUMBERED = re.compile(r"\s*(\d+)\s*[.)]\s+(\S.*)")
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)

#: Number of ids of every text in the backbone's tokenizer, start and end included.
TokenLengths = Callable[[Sequence[str]], Sequence[int]]


class MalformedAnswerError(Exception):
    """An answer that is not what was asked for; its text says why, in words that the model gets to read too."""


def prompt_for(kind: str, name: str, count: int, context_length: int) -> str:
    """The question for one class."""
    # Start and end take two ids, and about one word in four is more than one id.
    words = max(8, (context_length - 2) * 3 // 4)
    return PROMPTS[kind].format(name=readable(name), count=count, words=words)


def sentences_of(answer: str, count: int, token_lengths: TokenLengths, context_length: int) -> list[str]:
    """The `count` sentences of an answer: a JSON list, or a list numbered from 1 without gaps, and nothing else.

    Raises MalformedAnswerError if the form, the number, the language or the length of the sentences is not as
    asked, or if one is no description. Nothing is repaired but the space around a sentence.
    """
    texts = [text.strip() for text in _list_of(answer)]
    if len(texts) != count:
        raise MalformedAnswerError(f"it has {len(texts)} sentences, not {count}")
    for number, text in enumerate(texts, start=1):
        problem = _problem(text)
        if problem is not None:
            raise MalformedAnswerError(f"sentence {number} {problem}")
    if len({canonical(text) for text in texts}) < count:
        raise MalformedAnswerError("two sentences are the same")
    if 2 * sum(not _ENGLISH.isdisjoint(re.findall(r"[a-z]+", text.lower())) for text in texts) < count:
        raise MalformedAnswerError("the sentences are not English")
    for number, length in enumerate(token_lengths(texts), start=1):
        if length > context_length:
            raise MalformedAnswerError(
                f"sentence {number} is too long ({length} tokens, {context_length} fit); be shorter"
            )
    return texts


def mentions(name: str, sentences: Sequence[str]) -> bool:
    """Whether a sentence contains the class's name, whatever its letter case and spaces."""
    return any(canonical(name) in canonical(text) for text in sentences)


def _list_of(answer: str) -> list[str]:
    fenced = _FENCE.fullmatch(answer)
    text = (fenced[1] if fenced else answer).strip()
    if text.startswith("["):
        return _json_list(text)
    lines = [line for line in text.splitlines() if line.strip()]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in matches if match]
    if not lines or numbers != list(range(1, len(lines) + 1)):
        raise MalformedAnswerError("it is neither a JSON list nor a list numbered from 1")
    return [match[2] for match in matches if match]


def _json_list(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("it is not a valid JSON list") from None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise MalformedAnswerError("it is not a JSON list of sentences")
    return found


def _problem(text: str) -> str | None:
    """Why a text is no English sentence that describes something; None if it may be one."""
    if len(text.split()) < 3:
        return "has fewer than three words"
    what = debris(text)
    if what is not None:
        return what
    foreign = [letter for letter in text if letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN")]
    if foreign:
        return f"is not in Latin letters ({foreign[0]!r})"
    if any(not letter.isprintable() for letter in text):
        return "holds control characters"
    return None
