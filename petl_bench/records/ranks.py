"""From scores to the rank of each label, and what each clip was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: The rank of a label whose own score is NaN; fits int32, in which ranks are stored.
NO_PLACE = 2**31 - 1


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
    """The class that each clip was taken for, int64 [N]: its label if that ranks first, else the best other one.

    NaN counts as the highest score, as in `ranks_of`.
    """
    import numpy as np

    labels = np.asarray(labels, dtype=np.int64)
    # The label's own score alone is -inf below, so that another class is found whatever the others hold.
    others = np.nan_to_num(scores.astype(np.float64), nan=np.inf, neginf=np.finfo(np.float64).min)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.where(ranks == 1, labels, others.argmax(axis=1) if len(labels) else labels)
