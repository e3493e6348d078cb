"""CLIP's byte-pair tokenizer: texts to ids of fixed length, with truncation that is counted and said aloud."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

START_OF_TEXT = 49406
END_OF_TEXT = 49407

log = logging.getLogger("petl_bench")
_truncated = 0


def tokenize(texts: str | Sequence[str], context_length: int = 32) -> Tensor:
    """Ids of CLIP's vocabulary, int64 [N, context_length]: start, text, end, zeros.

    A text that is too long is cut, its last id becomes the end of text; the first one is reported as a warning, all are
    counted (`truncation_count`).
    """
    global _truncated
    texts = [texts] if isinstance(texts, str) else texts
    tokens = torch.zeros(len(texts), context_length, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids = [START_OF_TEXT, *_encode(text), END_OF_TEXT]
        if len(ids) > context_length:
            if _truncated == 0:
                log.warning(
                    "text of %d tokens cut to %d (further ones are counted): %.80s", len(ids), context_length, text
                )
            _truncated += 1
            ids = [*ids[: context_length - 1], END_OF_TEXT]
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


def token_lengths(texts: Iterable[str]) -> list[int]:
    """Number of ids of every text, start and end included: more than the context length means that it will be cut."""
    return [len(_encode(text)) + 2 for text in texts]


def overflow_count(texts: Iterable[str], context_length: int = 32) -> int:
    """How many of the texts are longer than the context and will be cut."""
    return sum(length > context_length for length in token_lengths(texts))


def truncation_count() -> int:
    """Texts that `tokenize` has cut in this process."""
    return _truncated


def words_of(ids: Iterable[int]) -> list[str]:
    """The text of every id, for messages."""
    return [_bpe().decode([i]).strip() for i in ids]


def text_of(ids: Sequence[int]) -> str:
    """The text that has these ids, without start and end, for messages."""
    text: str = _bpe().decode(list(ids))
    return text.strip()


def _encode(text: str) -> list[int]:
    ids: list[int] = _bpe().encode(text)
    return ids


@functools.cache
def _bpe() -> Any:
    """open_clip's SimpleTokenizer. Its file is loaded alone: importing the whole package takes seconds."""
    name = "petl_bench._open_clip_tokenizer"
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the tokenizer needs open_clip: pip install open_clip_torch")
    spec = importlib.util.spec_from_file_location(name, Path(package.submodule_search_locations[0]) / "tokenizer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module._tokenizer  # made when the module is loaded; another one takes a fifth of a second
