"""Right and wrong of every clip under every seed: a measure of them, and the part that each unit has in it.

See `petl_bench.analysis.significance` for what units and parts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: Below this a difference is one of rounding.
NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Panel:
    """`right`: bool [K, S, N], for K rows under S seeds on the same N clips, or float from 0 to 1 if something else is
    averaged; `units` [N]: a name for each clip, the same one for clips that are drawn together (clips of one source
    video, or one clip in several panels); `weights`: float [N], the part of each clip in the accuracy, 1 in all; None
    if all have the same one."""

    right: np.ndarray
    units: np.ndarray
    weights: np.ndarray | None = None

    @property
    def accuracies(self) -> np.ndarray:
        """float [K], mean over the seeds."""
        found: np.ndarray = (
            self.right.mean(axis=(1, 2)) if self.weights is None else (self.right @ self.weights).mean(axis=1)
        )
        return found


#: The panels whose accuracies are averaged.
Term = Sequence[Panel]


class MeasuredPanels:
    """The measure of every row, and the part that each unit has in it; values are parts of 1 here."""

    def __init__(self, terms: Sequence[Term]) -> None:
        import numpy as np

        if not terms or not all(term and all(panel.right.size for panel in term) for term in terms):
            raise ValueError("there is no clip to compare")
        self._terms = terms
        _, codes = np.unique(np.concatenate([panel.units for term in terms for panel in term]), return_inverse=True)
        self._codes, self.units = codes, int(codes.max()) + 1
        self.clips, self.seeds = len(codes), terms[0][0].right.shape[1]
        by_term = np.stack([sum(panel.accuracies for panel in term) / len(term) for term in terms])
        self.values: np.ndarray = _measure(by_term)
        #: [terms, K]
        self._gradients = _gradient(by_term)

    @cached_property
    def parts(self) -> np.ndarray:
        """float [K, S, U], each row with its own gradient, around the mean of each panel: they add up to how far a seed
        is from the mean."""
        return self._added_up(self._gradients, centred=True)

    @cached_property
    def differences(self) -> np.ndarray:
        """float [S, U] of two rows, with the mean of their gradients; a unit on which they agree has 0."""
        found: np.ndarray = self._common[0] - self._common[1]
        return found

    def parts_of(self, row: int) -> np.ndarray:
        """float [S, U] of one of two rows, with the mean of their gradients."""
        found: np.ndarray = self._common[row]
        return found

    @cached_property
    def largest_part(self) -> float:
        """Of a single clip under all seeds, in the difference of two rows."""
        import numpy as np

        weights = self._weights(self._gradients.mean(axis=1))
        return max(float(np.max(weight)) for of_term in weights for weight in of_term)

    @cached_property
    def has_weights(self) -> bool:
        """Whether clips of some panel have weights of their own."""
        return any(panel.weights is not None for term in self._terms for panel in term)

    @cached_property
    def effective_units(self) -> tuple[float, float]:
        """How many units of the same weight would vary as little as these, and the degrees of freedom of a variance.

        (sum of w)^2 / (sum of w^2), and Satterthwaite's (sum of w^2)^2 / (sum of w^4) - 1, with w the weight of a unit
        in the first row; the number of units, and one less, if no clip has a weight of its own.
        """
        if not self.has_weights:
            return self.units, self.units - 1
        import numpy as np

        weights = self._weights(self._gradients[:, 0])
        panels = [panel for term in self._terms for panel in term]
        of_clips = [np.broadcast_to(w, p.right.shape[2]) for w, p in zip(chain(*weights), panels, strict=True)]
        of_units = np.bincount(self._codes, np.concatenate(of_clips), minlength=self.units)
        square = float((of_units**2).sum())
        if square == 0:  # a harmonic mean with a term of 0 does not change with the other term
            return self.units, self.units - 1
        return float(of_units.sum()) ** 2 / square, square**2 / float((of_units**4).sum()) - 1

    @cached_property
    def _common(self) -> np.ndarray:
        gradients = self._gradients.mean(axis=1, keepdims=True).repeat(self._gradients.shape[1], axis=1)
        return self._added_up(gradients, centred=False)

    def _weights(self, gradient: np.ndarray) -> list[list[Any]]:
        """Of each panel of each term, what one clip weighs: a number, or float [N] if clips have weights."""
        return [
            [
                float(slope) / len(term) / panel.right.shape[2]
                if panel.weights is None
                else float(slope) / len(term) * panel.weights
                for panel in term
            ]
            for slope, term in zip(gradient, self._terms, strict=True)
        ]

    def _added_up(self, gradients: np.ndarray, *, centred: bool) -> np.ndarray:
        import numpy as np

        rows = gradients.shape[1]
        found = np.zeros((rows, self.seeds, self.units))
        for row in range(rows):
            start = 0
            for weights, term in zip(self._weights(gradients[:, row]), self._terms, strict=True):
                for weight, panel in zip(weights, term, strict=True):
                    right = panel.right[row].astype(float)
                    codes = self._codes[start : start + right.shape[1]]
                    start += right.shape[1]
                    middle = _mean_of_clips(right, panel.weights) if centred else 0.0
                    for seed, values in enumerate(right):
                        found[row, seed] += np.bincount(codes, weight * (values - middle), minlength=self.units)
        return found


def _mean_of_clips(right: np.ndarray, weights: np.ndarray | None) -> float:
    """Of [S, N], over seeds and clips."""
    return float(right.mean() if weights is None else (right @ weights).mean())


def _measure(by_term: np.ndarray) -> Any:
    """One term as it is; the harmonic mean of two."""
    import numpy as np

    if len(by_term) == 1:
        return by_term[0]
    first, second = by_term
    return 2 * first * second / np.maximum(first + second, NOTHING)


def _gradient(by_term: np.ndarray) -> np.ndarray:
    """How fast the measure changes with each term [terms, K]: for 2ab / (a + b), 2b^2 / (a + b)^2 with a."""
    import numpy as np

    if len(by_term) == 1:
        return np.ones_like(by_term)
    total = np.maximum(by_term.sum(axis=0), NOTHING)
    slopes: np.ndarray = 2 * (by_term[::-1] / total) ** 2
    return slopes
