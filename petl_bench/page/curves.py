"""Learning curves: what the history of the trials says, epoch by epoch, as a mean over seeds with its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petl_bench.analysis.labels import words_of
from petl_bench.page.details import StoredDetails
from petl_bench.page.plots import NumberTrials, PlotBlock, axis, faceted, short
from petl_bench.page.trials import PageCase, Variant
from petl_bench.system.texts import clean

#: Points of one curve that are drawn; longer histories are thinned evenly, and end where they end.
_POINTS = 120
_LABELS = {
    "loss": "Training loss",
    "train_accuracy": "Training accuracy (%)",
    "learning_rate": "Learning rate",
    "seconds": "Seconds per epoch",
}
_EPOCH = "epoch"


def curves_block(cases: Sequence[PageCase], details: StoredDetails, number_trials: NumberTrials) -> PlotBlock | None:
    """The curves of every case and quantity; None if nothing was trained."""
    plots: dict[tuple[str, str], dict[str, Any]] = {}
    for case in cases:
        for name in _quantities(case, details):
            series = [_series(variant, name, details, number_trials) for variant in case.variants]
            label = _LABELS.get(name, words_of(name))
            plots[case.label, label] = {
                "kind": "points",
                "x": {**axis("Epoch"), "whole": True},
                "y": axis(label),
                "series": [each for each in series if each is not None],
            }
    if not plots:
        return None
    first, second, placed = faceted(plots)
    about = "Each line is the mean over seeds; the band spans the lowest and the highest seed."
    return PlotBlock("curves", "Learning curves", about, (("Case", first), ("Quantity", second)), placed)


def _quantities(case: PageCase, details: StoredDetails) -> list[str]:
    """What the histories of a case hold: the usual quantities first, in their order."""
    names = {
        name
        for variant in case.variants
        for trial in variant.trials
        if (found := details.of(trial)) is not None
        for row in found.history
        if _EPOCH in row
        for name in row
    } - {_EPOCH}
    return [name for name in _LABELS if name in names] + sorted(names - _LABELS.keys())


def _series(variant: Variant, name: str, details: StoredDetails, number_trials: NumberTrials) -> dict[str, Any] | None:
    by_epoch: dict[float, list[float]] = {}
    for trial in variant.trials:
        found = details.of(trial)
        for row in found.history if found is not None else ():
            if name in row and _EPOCH in row:
                by_epoch.setdefault(row[_EPOCH], []).append(row[name])
    if not by_epoch:
        return None
    epochs = _thinned(sorted(by_epoch))
    values = [by_epoch[epoch] for epoch in epochs]
    spread: Mapping[str, Any] = {
        "low": [short(min(some)) for some in values],
        "high": [short(max(some)) for some in values],
    }
    return {
        "label": variant.label,
        "method": clean(variant.method),
        "line": True,
        "x": epochs,
        "y": [short(sum(some) / len(some)) for some in values],
        "of": number_trials(variant.trials),
        **(spread if any(len(set(some)) > 1 for some in values) else {}),
    }


def _thinned(epochs: list[float]) -> list[float]:
    step = -(-len(epochs) // _POINTS)
    return epochs[::-1][::step][::-1]
