"""Finished trials to search with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trained:
    """A folder of runs, the cache with the clips of `motion`, and the keys of trials by setting and method."""

    runs: Path
    cache: Path
    keys: dict[tuple[str, str], str]

    def folder(self, setting: str, method: str) -> Path:
        return self.runs / "trials" / self.keys[setting, method]

    @property
    def clips(self) -> Path:
        return next(self.cache.glob("motion-*"))
