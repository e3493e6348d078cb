"""Where a method, setting, data set or backbone was published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """Title, venue, link, BibTeX entry (`@inproceedings{...}`), and the licence of the published code or data."""

    title: str
    venue: str
    url: str
    bibtex: str
    licence: str
