"""What of the user's own published numbers a report does not show, and what was probably meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from petl_bench.api.published import PublishedNumber, PublishedTable
from petl_bench.api.registry import DATASETS
from petl_bench.errors import near_names
from petl_bench.tables.columns import MeasuredColumn
from petl_bench.tables.notes import listed
from petl_bench.tables.quoted import place_of

_MOST = 6


def unplaced(
    ledger: Iterable[PublishedTable], shown: Sequence[tuple[Collection[str], Sequence[MeasuredColumn]]]
) -> list[str]:
    """At most two lines: numbers without a column, and numbers of settings that are not shown; none if all stand.

    Args:
        ledger: the tables of the user's own files.
        shown: of each table of the report, what the numbers in it may give as their setting, and its columns.
    """
    numbers = [number for table in ledger for number in table.numbers]
    reasons: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    for number in numbers:
        own = [columns for settings, columns in shown if number.setting in settings]
        if not own:
            elsewhere[number.setting] += 1
        elif all(place_of(number, columns) is None for columns in own):
            reasons[_reason(number, [column for columns in own for column in columns])] += 1
    lines = []
    if reasons:
        lines.append(f"without a column here, {reasons.total()} of {len(numbers)} numbers: {_counted(reasons)}")
    if elsewhere:
        here = listed(dict.fromkeys(next(iter(settings)) for settings, _ in shown), _MOST) or "none"
        lines.append(
            f"of settings that are not shown here, {elsewhere.total()} of {len(numbers)} numbers: "
            f"{_counted(elsewhere)} (shown: {here})"
        )
    return lines


def _counted(found: Counter[str]) -> str:
    texts = (f"{text} [{count}]" if count > 1 else text for text, count in found.most_common())
    return listed(texts, _MOST, "; ")


def _reason(number: PublishedNumber, columns: Iterable[MeasuredColumn]) -> str:
    """Why a number stands in none of these columns: its metric, its data set, or its shots."""
    shown = [column.shows for column in columns if column.shows is not None]
    if number.metric not in (metrics := {metric for _, _, metric in shown}):
        return f"metric {number.metric!r}{_meant(near_names(number.metric, metrics), metrics)}"
    datasets = {dataset for dataset, _, _ in shown if dataset}
    if number.dataset not in datasets:
        if number.dataset in DATASETS.names():
            return f"no run on {number.dataset} here"
        near = near_names(number.dataset, datasets) or near_names(number.dataset, DATASETS.names())
        return f"dataset {number.dataset!r}{_meant(near, datasets)}"
    shots = sorted({shots for dataset, shots, metric in shown if (dataset, metric) == (number.dataset, number.metric)})
    if not shots:
        return f"no {number.metric} of {number.dataset} here"
    given = f"{number.shots} shots" if number.shots else "no shots given"
    return f"{given} on {number.dataset} (here: {listed(shots, _MOST)})"


def _meant(near: Sequence[str], known: Collection[str]) -> str:
    if near:
        return f" (did you mean {' or '.join(near)}?)"
    return f" (here: {listed(sorted(known), _MOST)})"
