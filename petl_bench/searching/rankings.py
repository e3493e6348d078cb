"""What a search gives. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """One video of a ranking; `seconds` is its length, None if its file does not say."""

    rank: int  #: from 1
    similarity: float  #: the method's score divided by the model's scale: for most methods the cosine
    file: str  #: below the folder, with `/` between folders
    seconds: float | None


@dataclass(frozen=True)
class Ranking:
    """The videos that fit a query best, the best one first. `read` is what the model read of it, if it was cut."""

    query: str
    read: str | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class SearchResult:
    """The rankings of all queries among the `indexed` videos of a folder."""

    folder: str
    model: str  #: method, backbone and trial, in words
    indexed: int
    unreadable: dict[str, str]  #: file -> reason
    rankings: tuple[Ranking, ...]
