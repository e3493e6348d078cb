"""Finished trials to search with."""

from __future__ import annotations

import shutil
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

    def six_clips(self, folder: Path) -> Path:
        """Copy three clips each of two classes into a new folder, which has a folder for each class."""
        for label in ("falling", "growing"):
            (folder / label).mkdir(parents=True)
            for clip in sorted((self.clips / label).glob("train_*.mp4"))[:3]:
                shutil.copy(clip, folder / label)
        return folder
