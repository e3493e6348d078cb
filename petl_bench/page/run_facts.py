"""What the records say of the runs behind a number of the summary: their seeds, and what their method costs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petl_bench.analysis.labels import method_display
from petl_bench.page.summary import Cost
from petl_bench.system.texts import clean, name
from petl_bench.system.words import significant

if TYPE_CHECKING:
    import pandas as pd

#: The setting of what `petl-bench cost` records (`petl_bench.costs.recording.SETTING`).
_COST = "cost"
#: What decides what a method costs, besides the conditions of the measurement.
_METHOD = ["method", "hyper_parameters", "backbone", "backbone_options"]
#: Measured metrics that a summary names, with the words around them.
_MEASURED = {
    "train_step_ms": "{} ms per training step",
    "peak_memory_mib": "{} MiB",
    "throughput_videos_per_s": "{} videos/s",
}
#: The mark of times that were measured while others used the device, and what is no time.
_BUSY, _UNTIMED = "busy-device", {"peak_memory_mib"}

_Method = tuple[Any, ...]


class StoredRunFacts:
    """Seeds and costs by the keys of trials."""

    def __init__(self, records: pd.DataFrame) -> None:
        trials = records.drop_duplicates("trial")
        self._seeds = dict(zip(trials["trial"], trials["seed"], strict=True))
        methods = zip(*(trials[name] for name in _METHOD), strict=True)
        self._methods: dict[str, _Method] = dict(zip(trials["trial"], methods, strict=True))
        self._costs = _costs(records[records["setting"] == _COST])

    def seeds(self, trials: Sequence[str]) -> int:
        """The number of seeds of these trials."""
        return len({self._seeds[trial] for trial in trials if trial in self._seeds})

    def method(self, trials: Sequence[str]) -> str:
        """The method of these trials as readers see it; "" if they are of several, or unknown."""
        found = {self._methods[trial][:2] for trial in trials if trial in self._methods}
        if len(found) != 1:
            return ""
        method, values = found.pop()
        return name(method_display(method, json.loads(values)))

    def cost(self, trials: Sequence[str]) -> Cost | None:
        """What was measured of the method of these trials, with its values; None if nothing was.

        Under the first conditions, if there are several.
        """
        methods = {self._methods[trial] for trial in trials if trial in self._methods}
        if len(methods) != 1:
            return None
        costs = self._costs.get(methods.pop(), {})
        return costs[min(costs)] if costs else None


def _costs(records: pd.DataFrame) -> dict[_Method, dict[str, Cost]]:
    """Method -> conditions -> what was measured of methods as they train."""
    found: dict[_Method, dict[str, Cost]] = defaultdict(dict)
    for _, part in records.groupby("trial", sort=False):
        first = part.iloc[0]
        options = json.loads(first["setting_options"])
        metrics = dict(zip(part["metric"], part["value"], strict=True))
        shown = [key for key in _MEASURED if key in metrics]
        if options.get("merged") or not shown:
            continue
        conditions = _conditions(options)
        numbers = ", ".join(_MEASURED[key].format(significant(metrics[key])) for key in shown)
        marks = (word for word in str(first["marks"]).split() if word != _BUSY or not _UNTIMED.issuperset(shown))
        found[tuple(first[name] for name in _METHOD)][conditions] = Cost(numbers, conditions, tuple(marks))
    return found


def _conditions(options: Mapping[str, Any]) -> str:
    named = [str(options[name]) for name in ("device", "precision") if name in options]
    batch = [f"batch {options['batch_size']}"] if "batch_size" in options else []
    return clean(", ".join([*named, *batch]))
