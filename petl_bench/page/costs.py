"""What methods cost, as bars: trained parameters, durations, and what was measured under one protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from petl_bench.page.details import StoredDetails
from petl_bench.page.plots import NumberTrials, PlotBlock, axis, faceted, short
from petl_bench.page.trials import PageCase, Variant
from petl_bench.tables.quantities import cost_label

if TYPE_CHECKING:
    import pandas as pd

#: Metrics that are costs, in the order in which they are offered.
_MEASURED = (
    "train_step_ms",
    "throughput_videos_per_s",
    "latency_ms",
    "peak_memory_mib",
    "flops_g",
    "adapter_mb",
)
_TRAINED = "Trained parameters"
#: Bars that one plot shows.
_BARS = 40


def costs_block(
    cases: Sequence[PageCase], records: pd.DataFrame, details: StoredDetails, number_trials: NumberTrials
) -> PlotBlock | None:
    """Bars for every case and kind of cost; None if no case has any."""
    devices = dict(zip(records["trial"], map(str, records["device"].fillna("")), strict=True))
    measured = _measured(records)
    plots: dict[tuple[str, str], dict[str, Any]] = {}
    for case in cases:
        variants = case.variants[:_BARS]
        bars = [(variant, float(variant.trainable_params)) for variant in variants]
        plots[case.label, _TRAINED] = _plot(_TRAINED, [_series("", bars, number_trials)])
        for label, by_trial in _quantities(variants, details, measured):
            plots[case.label, label] = _plot(label, list(_by_device(variants, by_trial, devices, number_trials)))
    if not plots:
        return None
    first, second, placed = faceted(plots)
    about = "Mean over seeds. Durations were taken while trials ran, beside whatever else the machine did."
    cut = any(len(case.variants) > _BARS for case in cases)
    notes = (f"Of every case the {_BARS} variants with the fewest trained parameters.",) if cut else ()
    return PlotBlock("costs", "Costs of the runs (figure)", about, (("Case", first), ("Cost", second)), placed, notes)


def _measured(records: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Metric -> trial -> value, of the metrics that are costs."""
    found = records[records["metric"].isin(_MEASURED)]
    return {
        str(metric): dict(zip(part["trial"], part["value"], strict=True)) for metric, part in found.groupby("metric")
    }


def _quantities(
    variants: Sequence[Variant], details: StoredDetails, measured: dict[str, dict[str, float]]
) -> Iterator[tuple[str, dict[str, float]]]:
    """What was measured of these variants: its label, and its value by trial."""
    trials = [trial for variant in variants for trial in variant.trials]
    for metric in _MEASURED:
        values = {trial: measured[metric][trial] for trial in trials if trial in measured.get(metric, {})}
        if values:
            yield cost_label(metric), values
    durations = {trial: found.durations_s for trial in trials if (found := details.of(trial)) is not None}
    for stage in sorted(
        {stage for each in durations.values() for stage in each}, key=lambda name: (name != "total", name)
    ):
        yield f"Duration: {stage} (s)", {trial: each[stage] for trial, each in durations.items() if stage in each}


def _by_device(
    variants: Sequence[Variant], by_trial: dict[str, float], devices: dict[str, str], number_trials: NumberTrials
) -> Iterator[dict[str, Any]]:
    """One series for each device: times of different devices are never averaged."""
    for device in sorted({devices.get(trial, "") for trial in by_trial}):
        bars = []
        for variant in variants:
            own = [by_trial[each] for each in variant.trials if each in by_trial and devices.get(each, "") == device]
            if own:
                bars.append((variant, sum(own) / len(own)))
        yield _series(device, bars, number_trials)


def _series(label: str, bars: Sequence[tuple[Variant, float]], number_trials: NumberTrials) -> dict[str, Any]:
    return {
        "label": label,
        "x": [short(value) for _, value in bars],
        "text": [variant.label for variant, _ in bars],
        "trials": [number_trials(variant.trials) for variant, _ in bars],
    }


def _plot(label: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "bars", "x": axis(label), "y": axis("Method"), "series": series}
