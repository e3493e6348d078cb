"""What became of every clip of an evaluation: worked out from its scores, kept beside them, and read back."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.evidence import Outcome

if TYPE_CHECKING:
    import numpy as np

#: The rank of a label whose own score is NaN; fits int32, in which ranks are stored.
NO_PLACE = 2**31 - 1
#: Outcomes that are kept in memory; a table reads the same ones again and again.
_KEPT = 4_000


def ranks_of(labels: Sequence[int] | np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The place of each clip's label among its scores [N, C], int64 [N]; 1 is the highest.

    Ties count against the label: a constant score is never right by luck of the order. So does NaN: of another class it
    stands before the label, and a label whose own score is NaN has NO_PLACE, which is in no top-k.
    """
    import numpy as np

    of_label = scores[np.arange(len(labels)), np.asarray(labels, dtype=np.int64)]
    # What is not below the label, instead of what is above or equal: every comparison with NaN is false.
    places: np.ndarray = (~(scores < of_label[:, None])).sum(axis=1)
    return np.where(np.isnan(of_label), NO_PLACE, places)


def predicted_of(labels: Sequence[int] | np.ndarray, scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The class that each clip was taken for, int64 [N]: its label where that ranks first, else the best other one.

    NaN counts as the highest score, as in `ranks_of`.
    """
    import numpy as np

    labels = np.asarray(labels, dtype=np.int64)
    # The label's own score alone is -inf below, so that another class is found whatever the others hold.
    others = np.nan_to_num(scores.astype(np.float64), nan=np.inf, neginf=np.finfo(np.float64).min)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.where(ranks == 1, labels, others.argmax(axis=1) if len(labels) else labels)


class StoredOutcomes:
    """The outcomes of the trials under some output folders; the folder named first wins, as for records."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._known: dict[tuple[str, str], Outcome | None] = {}

    def of(self, trial: str, evaluation: str) -> Outcome | None:
        """The outcome of one evaluation; None where it cannot be read."""
        place = (trial, evaluation)
        if place not in self._known:
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[place] = self._read(trial, evaluation)
        return self._known[place]

    def _read(self, trial: str, evaluation: str) -> Outcome | None:
        for folder in self._folders:
            trial_folder = folder / "trials" / trial
            if (trial_folder / "record.json").exists():
                return read_outcome(trial_folder / f"predictions-{evaluation}.npz")
        return None


def read_outcome(path: Path) -> Outcome | None:
    """The outcome that a file of predictions holds, without its scores; None where the file cannot be used.

    Files of earlier versions hold scores alone, from which the outcome follows.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            clips, labels, classes = arrays["clips"], arrays["labels"].astype(np.int64), arrays["classes"]
            if "ranks" in arrays:
                ranks, predicted = arrays["ranks"].astype(np.int64), arrays["predicted"].astype(np.int64)
            else:
                scores = arrays["scores"]
                ranks = ranks_of(labels, scores)
                predicted = predicted_of(labels, scores, ranks)
            groups = arrays.get("groups")
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if not len(clips) == len(labels) == len(ranks) == len(predicted):
        return None
    return Outcome(clips, labels, predicted, ranks, classes, groups)
