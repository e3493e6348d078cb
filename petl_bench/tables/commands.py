"""The commands that would run what a table lacks: missing cells, and missing seeds of a cell.

A command says every value that a run would not have by itself, so that it plans the very trials that are missing. What
no command can make again, such as a run of another version, has a line in its place that begins with "#".
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from petl_bench.analysis.commands import model_flags, obstacle, set_flags, weights_note
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.system.commands import run_command

#: What the user has to put in the place of a file that no record of the data set names.
_FILE = "FILE"


@dataclass(frozen=True)
class _MissingRuns:
    """Runs that one command asks for; each tuple is the list of one flag. `model` and `values` are whole flags."""

    methods: tuple[str, ...]
    model: tuple[str, ...]  #: all flags that name plugins and files, without the methods
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    shots: tuple[int, ...]
    values: tuple[str, ...]

    def command(self) -> str:
        flags = ["--methods", *_listed(self.methods), *self.model, "--seeds", *_listed(self.seeds)]
        if any(self.splits):
            flags += ["--splits", *_listed(self.splits)]
        if any(self.shots):
            flags += ["--shots", *_listed(self.shots)]
        return run_command([*flags, *self.values])


def commands(comparison: Comparison) -> list[str]:
    """The commands that would run the missing cells and seeds, and a line for what no command can make."""
    gaps: list[_MissingRuns] = []
    reasons: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    states, known = _FileStates(comparison), _RecordedValues(comparison)
    for row, case, seeds in _missing(comparison):
        trial = known.trial(row, case)
        reason = states.outdated(row, case) or obstacle(trial)
        if reason:
            reasons.setdefault(reason, []).append(_words(row, case, seeds))
            continue
        gaps.append(
            _MissingRuns(
                methods=(row.method,),
                model=tuple(model_flags(trial)[2:]),
                seeds=seeds,
                splits=(case.split,),
                shots=(case.shots,),
                values=tuple(set_flags(trial, known.source_values(row, case), everything=False)),
            )
        )
        notes |= dict.fromkeys(note for note in [weights_note(trial)] if note)
    for name in ("methods", "shots", "splits"):
        gaps = _merged(gaps, name)
    lines = [gap.command() for gap in gaps]
    lines += [f"# {note}" for note in notes]
    return lines + [f"# no command makes {'; '.join(places)}: {reason}" for reason, places in reasons.items()]


def is_command(line: str) -> bool:
    """Whether a line of `commands` is one, and not a remark."""
    return not line.startswith("#")


def _missing(comparison: Comparison) -> Iterator[tuple[Configuration, ComparedCase, tuple[int, ...]]]:
    for configurations in comparison.groups().values():
        for case, row in itertools.product(comparison.cases, configurations):
            seeds = comparison.usual_seeds(row, case) - comparison.seeds(row, case)
            if seeds:
                yield row, case, tuple(sorted(seeds))


def _words(row: Configuration, case: ComparedCase, seeds: tuple[int, ...]) -> str:
    split = f" split {case.split}" if case.split else ""
    shots = f" {case.shots}-shot" if case.shots else ""
    return f"{row.method} on {case.dataset}{split}{shots}, seeds {','.join(map(str, seeds))}"


# What the missing trial would be


class _RecordedValues:
    """What the records say about a run that is missing: those of its row, and those of its case."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._of_row: dict[Configuration, dict[ComparedCase, list[Run]]] = defaultdict(dict)
        self._of_case: dict[ComparedCase, list[Run]] = defaultdict(list)
        for (row, case), runs in comparison.runs.items():
            self._of_row[row][case] = runs
            self._of_case[case] += runs

    def trial(self, row: Configuration, case: ComparedCase) -> dict[str, Any]:
        """The fields of a missing trial, of any seed; see `petl_bench.api.trial.Trial`."""
        nearest = self._nearest(row, case)
        return {
            "method": row.method,
            "method_version": row.method_version,
            "hyper_parameters": json.loads(row.hyper_parameters),
            "setting": case.setting,
            "setting_version": case.setting_version,
            "setting_options": json.loads(case.setting_options),
            "dataset": case.dataset,
            "dataset_plugin": case.dataset_plugin,
            "dataset_version": case.dataset_version,
            "dataset_options": json.loads(case.dataset_options),
            "split": case.split,
            "shots": case.shots or None,
            "seed": 0,
            "part": case.part,
            "backbone": row.backbone,
            "backbone_version": row.backbone_version,
            "backbone_options": json.loads(row.backbone_options),
            "weights": row.weights,
            "weights_sha256": row.weights_sha256,
            "training": self._training(row, case, nearest),
            "decoder": row.decoder,
            "engine_version": row.engine_version,
            "locations": {**self._method_files(row, case, nearest), **self._data_files(case)},
        }

    def source_values(self, row: Configuration, case: ComparedCase) -> dict[str, Any]:
        """The values of the data set that the row's adapters were trained on: "data set.field" -> value."""
        own = self._of_row[row]
        like = [runs for each, runs in own.items() if each.setting_options == case.setting_options]
        texts = (run.source_fields for runs in [own.get(case, []), *like, self._of_case[case]] for run in runs)
        found: dict[str, Any] = json.loads(next((text for text in texts if text != "{}"), "{}"))
        return {name: value for name, value in found.items() if name.partition(".")[0] != case.dataset}

    def _nearest(self, row: Configuration, case: ComparedCase) -> list[Run]:
        """The row's runs that say most about a missing one: of its cell, of its data set, or any."""
        own = self._of_row[row]
        if case in own:
            return own[case]
        return next((runs for each, runs in own.items() if each.dataset == case.dataset), next(iter(own.values())))

    def _training(self, row: Configuration, case: ComparedCase, nearest: list[Run]) -> dict[str, Any]:
        """The row's training options with the views of the case, and with those that change no number as they were."""
        usual, _ = Counter(run.all_training for run in nearest).most_common(1)[0]
        values = {**json.loads(usual), **row.training_values}
        if "views" in values:
            clips, _, crops = self._comparison.views(row, case).partition(" x ")
            values |= {"views": int(clips), "crops": int(crops)}
        return {**values, "select": "best-on-test"} if case.selected else values

    def _method_files(self, row: Configuration, case: ComparedCase, nearest: list[Run]) -> dict[str, dict[str, Any]]:
        """The files that the method was given; a word for each if those are of another data set."""
        files = {name: value for name, value in _locations(nearest[0], row.method).items() if value is not None}
        if all(each.dataset != case.dataset for each in self._of_row[row]):
            files = {name: _FILE if value else value for name, value in files.items()}
        return {row.method: files} if files else {}

    def _data_files(self, case: ComparedCase) -> dict[str, dict[str, Any]]:
        """Of the data set, and of a source that is a folder with a name, as the newest run of the case has them."""
        newest = max(self._of_case[case], key=lambda run: run.created)
        methods = {row.method for row, each in self._comparison.runs if each is case}
        found: dict[str, dict[str, Any]] = json.loads(newest.locations)
        return {name: files for name, files in found.items() if name not in methods}


def _locations(run: Run, plugin: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.locations).get(plugin, {})
    return found


class _FileStates:
    """Which states of files are the newest that were run: a command works on what lies there now."""

    def __init__(self, comparison: Comparison) -> None:
        self._data: dict[tuple[str, str], dict[str, str]] = {}
        self._sources: dict[str, dict[str, str]] = {}
        for (row, case), runs in comparison.runs.items():
            last = max(run.created for run in runs)
            _note(self._data.setdefault((case.dataset, case.dataset_options), {}), case.manifest_sha256, last)
            if any(run.source_fields != "{}" for run in runs):
                _note(self._sources.setdefault(case.setting_options, {}), row.source_sha256, last)

    def outdated(self, row: Configuration, case: ComparedCase) -> str:
        """Why the files of a case, or those of its source, are no longer there, in words; "" if they can."""
        if _is_older(self._data[case.dataset, case.dataset_options], case.manifest_sha256):
            return f"the files of {case.dataset} have changed since (files={case.manifest_sha256[:8]} then)"
        if _is_older(self._sources.get(case.setting_options, {}), row.source_sha256):
            return "the files that its adapters were trained on have changed since"
        return ""


def _note(times: dict[str, str], state: str, time: str) -> None:
    times[state] = max(time, times.get(state, ""))


def _is_older(times: Mapping[str, str], state: str) -> bool:
    return state in times and times[state] < max(times.values())


# Commands


def _merged(gaps: list[_MissingRuns], name: str) -> list[_MissingRuns]:
    """The gaps with those as one that differ in one list only; a case without split or shots stays by itself."""
    found: dict[tuple[_MissingRuns, bool], list[Any]] = {}
    for gap in gaps:
        own = getattr(gap, name)
        found.setdefault((replace(gap, **{name: ()}), all(own)), []).extend(own)
    return [replace(gap, **{name: tuple(dict.fromkeys(values))}) for (gap, _), values in found.items()]


def _listed(values: Iterable[Any]) -> list[str]:
    return [",".join(map(str, values))]
