"""Where numbers come from: the trials of a page, numbered, with what is known of each; every text is kept once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petl_bench.analysis.commands import commands_of
from petl_bench.api.options import text_of
from petl_bench.page.details import StoredDetails, TrialDetails
from petl_bench.records.tunings import Tuning
from petl_bench.system.texts import clean
from petl_bench.tables.tuned import about

if TYPE_CHECKING:
    import pandas as pd

#: Trials that the page describes; numbers of others say only how many runs they have.
_TRIALS = 5_000
_SEEDS = " --seeds "
_FIELDS = ["method", "setting", "dataset", "split", "shots", "part", "seed", "backbone", "weights", "decoder"]
#: What decides, besides, whether a command makes a trial again.
_VERSIONS = ["method_version", "setting_version", "dataset_version", "backbone_version", "weights_sha256"]
_VERSIONS += ["engine_version", "start_from", "dataset_plugin"]
_MAPPINGS = ["hyper_parameters", "training", "dataset_options", "setting_options", "locations", "backbone_options"]


class Texts:
    """Texts by number; each is kept once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of this text."""
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[str]:
        """The texts in the order of their numbers."""
        return list(self._numbers)


class Provenance:
    """Numbers trials when something shown on the page refers to them."""

    def __init__(
        self, records: pd.DataFrame, details: StoredDetails, texts: Texts, tunings: Sequence[Tuning] = ()
    ) -> None:
        self._details, self._texts = details, texts
        self._tunings = {each.name: each for each in tunings}
        trials = records.drop_duplicates("trial").set_index("trial")
        self._trials = trials
        self._metrics = records.groupby("trial", sort=False).indices
        self._metric_names, self._values = records["metric"].tolist(), records["value"].tolist()
        self._numbers: dict[str, int] = {}

    def numbers(self, keys: Iterable[str]) -> list[int]:
        """The numbers of these trials; those that the page has no room for are left out."""
        return [number for key in keys if (number := self._number(key)) is not None]

    def _number(self, key: str) -> int | None:
        if key not in self._numbers and (len(self._numbers) >= _TRIALS or key not in self._metrics):
            return None
        return self._numbers.setdefault(key, len(self._numbers))

    def data(self) -> list[dict[str, Any]]:
        """What the script reads of every numbered trial, in the order of their numbers."""
        rows: dict[Any, Any] = self._trials.loc[list(self._numbers)].to_dict("index")
        return [self._trial(key, rows[key]) for key in self._numbers]

    def _trial(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        details = self._details.of(key)
        metrics = {self._metric_names[place]: self._values[place] for place in self._metrics[key]}
        return {
            "key": key,
            "seed": int(row["seed"]),
            "title": self._texts.number(_title(row)),
            "lines": [self._texts.number(line) for line in self._lines(key, row, details)],
            "metrics": {clean(name): float(f"{value:.10g}") for name, value in metrics.items()},
            **self._commands(key, row),
            **({} if details is None else {"folder": self._texts.number(clean(str(details.folder.parent)))}),
            **({} if details is None else {"files": self._texts.number(clean(", ".join(details.files)))}),
        }

    def _commands(self, key: str, row: Mapping[str, Any]) -> dict[str, int]:
        """The command that made the trial; if no plan has it, the one that would run it again, defaults left out."""
        made = clean(self._details.command(key))
        if made:
            return {"command": self._texts.number(made)}
        values = {name: None if _is_empty(row[name]) else row[name] for name in _FIELDS}
        values |= {name: json.loads(row[name]) for name in _MAPPINGS}
        values |= {name: row[name] for name in _VERSIONS}
        try:
            text = clean(commands_of([values], self._source(row["start_from"]), everything=False)[0])
        except KeyError:  # measured by another version, with other options
            return {}
        before, seeds, _ = text.rpartition(_SEEDS)
        # Without the seed at their end, commands of all seeds are one text.
        return {"again": self._texts.number(before + seeds if seeds else text)}

    def _source(self, key: str) -> dict[str, dict[str, Any]]:
        """The data set of the trial whose adapter another one starts from, by its key."""
        if key not in self._trials.index:
            return {}
        row: Any = self._trials.loc[key]
        mappings = {name: json.loads(row[name]) for name in ("dataset_options", "locations")}
        return {key: {"dataset": row["dataset"], **mappings}}

    def _lines(self, key: str, row: Mapping[str, Any], details: TrialDetails | None) -> Iterable[str]:
        """What decided the number, and where it was made, as "name: value"."""
        yield "Trial: " + ", ".join(
            f"{name} {clean(str(row[name]))}" for name in _FIELDS if name != "seed" and not _is_empty(row[name])
        )
        for name in _MAPPINGS:
            values = json.loads(row[name])
            if values:
                yield f"{name.replace('_', ' ').capitalize()}: {_listed(values)}"
        yield f"Files of the data set: sha256 {row['manifest_sha256']}"
        yield f"Weights: sha256 {row['weights_sha256']}"
        if row["marks"]:
            yield f"Marks: {clean(row['marks'])}"
        for tuning in filter(None, map(self._tunings.get, row["tuned_by"].split())):
            yield f"Tuned here: {clean(about(tuning))}"
        version = clean(str(row["petl_bench"]))
        yield f"Recorded: {clean(str(row['created']))}, petl-bench {version}, attempts: {row['attempts']}"
        environment = {} if details is None else details.environment
        if environment:
            yield f"Environment: {_listed(_flat(environment))}"
        elif not _is_empty(row["device"]):
            yield f"Environment: device {clean(str(row['device']))}"
        if details is not None and details.notes:
            yield f"Notes: {clean('; '.join(details.notes))}"


def _title(row: Mapping[str, Any]) -> str:
    return clean(f"{row['method']} on {row['dataset']}")


def _is_empty(value: Any) -> bool:
    return str(value) in ("", "None", "nan", "<NA>")  # pandas' own NA cannot even be compared


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested objects as one, e.g. `git.commit`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = _flat(value) if isinstance(value, Mapping) else None
        found.update({f"{name}.{under}": each for under, each in inner.items()} if inner is not None else {name: value})
    return found


def _listed(values: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{name}={_text(value)}" for name, value in values.items()))


def _text(value: Any) -> str:
    return _listed(value) if isinstance(value, Mapping) else text_of(value)
