"""What may stand along an axis of a trade-off: trained parameters, a metric of the records, or a measured cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from petl_bench.analysis.forgetting import FORGETTING
from petl_bench.api.registry import TABLES
from petl_bench.api.retrieval import DIRECTIONS
from petl_bench.api.table import Column
from petl_bench.errors import UsageError, unknown
from petl_bench.records.retrieval import TOP
from petl_bench.tables.columns import ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import SettingTable

if TYPE_CHECKING:
    import pandas as pd

COST_SETTING = "cost"
TRAINED = "trainable_params"
NO_COSTS = "no cost record here. Make some: petl-bench cost --methods lora,msta"
#: Metrics of cost records that are parts of others, or say how something was measured.
_NO_COST = ("rounds", "batch_size")
_ENDS = ("_low", "_high", "_p10", "_p90")
_ALIASES = {"training_memory": "peak_memory_mib", "inference_memory": "inference_memory_mib"}
_SEE = "docs/tables.md"
_RANKS = {"median_rank": "median rank", "mean_rank": "mean rank"}
_METRICS = {
    "harmonic_mean": "Harmonic mean of base and novel top-1 (%)",
    "base_top1": "Base top-1 (%)",
    "novel_top1": "Novel top-1 (%)",
    "top1": "Top-1 (%)",
    "top5": "Top-5 (%)",
    "val_top1": "Top-1 on held-out training clips (%)",
    "val_t2v_r1": "T2V R@1 on held-out training clips (%)",
    "forgetting": "Change on other data sets (points)",
    **{f"{way}_r{k}": f"{way.upper()} R@{k} (%)" for way in DIRECTIONS for k in TOP},
    **{f"{way}_rsum": f"{way.upper()} sum of R@1, R@5 and R@10" for way in DIRECTIONS},
    **{f"{way}_{rank}": f"{way.upper()} {words}" for way in DIRECTIONS for rank, words in _RANKS.items()},
}

#: Along an axis: never logarithmic, always, or if the values span decades.
Scale = Literal["linear", "logarithmic", "by-values"]


@dataclass(frozen=True)
class Quantity:
    """What an axis shows of a row.

    `label`: with its unit; `setting`: of a metric, and `number` what it is worked out from; `per`: what a cost in a
    record is divided by; `timed`: a busy device makes it doubtful.
    """

    name: str
    label: str
    format: str
    lower_is_better: bool
    scale: Scale = "by-values"
    setting: str = ""
    number: ShownNumber | None = None
    per: float = 1.0
    timed: bool = False

    @property
    def column(self) -> Column:
        """The column of a table that shows it."""
        return Column(self.label, format=self.format, lower_is_better=self.lower_is_better)

    @property
    def terms(self) -> list[Quantity]:
        """The metrics that a harmonic mean is of; nothing of any other number."""
        terms = self.metrics if len(self.metrics) > 1 else ()
        return [_metric(self.setting, each.name, ShownNumber("", (each,))) for each in terms]

    @property
    def metrics(self) -> tuple[ScoredMetric, ...]:
        """What it is worked out from."""
        return self.number.of if self.number is not None else ()

    @property
    def is_cost(self) -> bool:
        """Whether cost records alone have it."""
        return self.number is None and self.name != TRAINED


@dataclass(frozen=True)
class Axes:
    """What stands along x and y."""

    x: Quantity
    y: Quantity

    @property
    def directions(self) -> str:
        """Which way is better, in words."""
        words = [f"{'less' if axis.lower_is_better else 'more'} of {axis.label!r}" for axis in (self.x, self.y)]
        return f"{' and '.join(words)} are better"

    @property
    def setting(self) -> str:
        """The setting of the metrics; "" if neither is one."""
        return self.x.setting or self.y.setting

    @property
    def of_costs(self) -> bool:
        """Whether a cost record is needed."""
        return not self.setting or self.x.is_cost or self.y.is_cost


def _cost(label: str, form: str = ".4g", *, per: float = 1.0, timed: bool = False, lower: bool = True) -> Quantity:
    return Quantity("", label, form, lower, per=per, timed=timed)


_TRAINED_PARAMETERS = Quantity(TRAINED, "Trained parameters (millions)", ".3g", True, "logarithmic", per=1e6)
_COSTS = {
    "flops_g": _cost("Forward pass of one video (GFLOPs)"),
    "macs_g": _cost("Forward pass of one video (GMACs)"),
    "train_step_ms": _cost("Training step (ms)", ".1f", timed=True),
    "train_step_vs_full": _cost("Training step, share of full fine-tuning", ".3f", timed=True),
    "throughput_videos_per_s": _cost("Inference (videos per second)", ".1f", timed=True, lower=False),
    "throughput_vs_frozen": _cost("Throughput, share of the frozen backbone's", ".3f", timed=True, lower=False),
    "latency_ms": _cost("Latency of one video (ms)", ".1f", timed=True),
    "text_ms": _cost("All class prompts (ms)", ".1f", timed=True),
    "peak_memory_mib": _cost("Training memory (MiB)", ".0f"),
    "inference_memory_mib": _cost("Inference memory (MiB)", ".0f"),
    "adapter_mb": _cost("Adapter file (MB)"),
    "trainable_percent": _cost("Trained parameters (% of the backbone)"),
    "total_params": _cost("Parameters in all (millions)", per=1e6),
    "train_step_energy_j": _cost("Energy of a training step (J)", timed=True),
    "inference_energy_j_per_video": _cost("Inference energy (J per video)", timed=True),
}


def cost_label(metric: str) -> str:
    """What a cost is called along an axis, with its unit."""
    return _COSTS[metric].label


def usual_axes(setting: str, number: ShownNumber) -> Axes:
    """Trained parameters against a number of a setting."""
    return Axes(_TRAINED_PARAMETERS, _metric(setting, number.metric, number))


def chosen_axes(records: pd.DataFrame, names: tuple[str, str], usual: tuple[str, str]) -> Axes:
    """The axes of these names; `usual` stands for those that are "".

    A metric that several settings have is named as SETTING.METRIC. Raises UsageError, with near names, for a name that
    is none, for metrics of two settings, or for one thing on both axes.
    """
    known = {**_costs(records), **_metrics(records)}
    x, y = (_quantity(name or other, known) for name, other in zip(names, usual, strict=True))
    if x is y:
        raise UsageError(f"--x and --y are both {x.name}: a trade-off has two axes")
    if x.setting and y.setting and x.setting != y.setting:
        raise UsageError(f"--x {x.name} is of {x.setting}, --y {y.name} of {y.setting}: take two of one setting")
    if (x.is_cost or y.is_cost) and not (records["setting"] == COST_SETTING).any():
        raise UsageError(NO_COSTS)
    return Axes(x, y)


def _quantity(name: str, known: Mapping[str, Quantity]) -> Quantity:
    name = _ALIASES.get(name, name)
    if name in known:
        return known[name]
    qualified = sorted(other for other in known if other.endswith(f".{name}"))
    if len(qualified) > 1:
        raise UsageError(f"{name} is a metric of several settings here; say which: {', '.join(qualified)}")
    raise unknown("axis", name, [*known, *_ALIASES], _SEE)


def _costs(records: pd.DataFrame) -> dict[str, Quantity]:
    """Trained parameters, and all that `petl-bench cost` measures."""
    found = records.loc[records["setting"] == COST_SETTING, "metric"].unique()
    others = {name: _cost(name.replace("_", " ")) for name in map(str, found) if _is_cost(name)}
    costs = {**others, **_COSTS}
    named = {name: Quantity(**{**vars(quantity), "name": name}) for name, quantity in costs.items()}
    return {**named, TRAINED: _TRAINED_PARAMETERS}


def _is_cost(metric: str) -> bool:
    return metric not in _NO_COST and not metric.endswith(_ENDS)


def _metrics(records: pd.DataFrame) -> dict[str, Quantity]:
    """The metrics of the records, as SETTING.METRIC, and by their own name if one setting alone has it.

    Those of further evaluations, which are never ranked, are left out, and so are those of trials that evaluate what
    another one adapted: a metric of the latter says what they are for.
    """
    settings: dict[str, list[str]] = defaultdict(list)
    pairs = records.loc[~records["setting"].isin([COST_SETTING, FORGETTING]), ["setting", "metric"]].drop_duplicates()
    for setting, metric in sorted(zip(pairs["setting"], pairs["metric"], strict=True)):
        if "@" not in metric:
            settings[metric].append(setting)
    numbers = shown_numbers({setting for found in settings.values() for setting in found})
    known = {}
    for metric, found in settings.items():
        for setting in found:
            quantity = _metric(setting, metric, numbers.get((setting, metric)))
            known[f"{setting}.{metric}"] = quantity
            if len(found) == 1:
                known[metric] = quantity
    return known


def _metric(setting: str, metric: str, number: ShownNumber | None) -> Quantity:
    is_rank = metric.endswith(tuple(_RANKS))
    number = number or ShownNumber("", (ScoredMetric(metric, "", top=0),), lower_is_better=is_rank)
    label = _METRICS.get(metric, metric.replace("_", " "))
    scale: Scale = "by-values" if is_rank else "linear"
    return Quantity(metric, label, ".1f", number.lower_is_better, scale, setting, number)


def shown_numbers(settings: Iterable[str]) -> dict[tuple[str, str], ShownNumber]:
    """(setting, metric) -> the number that the table of a setting shows of it, if one does."""
    found: dict[tuple[str, str], ShownNumber] = {}
    broken, wanted = TABLES.broken(), set(settings)
    for name in TABLES.names():
        source = None if name in broken else TABLES.get(name)
        if source is not None and issubclass(source, SettingTable) and source.setting in wanted:
            for number in source.numbers:
                found.setdefault((source.setting, number.metric), number)
    return found
