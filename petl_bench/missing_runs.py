"""The commands that would run what a table lacks: missing cells, and missing seeds of a cell."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from petl_bench.comparison import CaseKey, Comparison, Configuration, differences_in, text_of
from petl_bench.trial_command import places_of


@dataclass(frozen=True)
class _Gap:
    """Runs that one command asks for; each tuple is the list of one flag."""

    methods: tuple[str, ...]
    dataset: str
    model: tuple[str, ...]  #: the flags of backbone and weights
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    shots: tuple[int, ...]
    values: tuple[str, ...]  #: the flags of everything else

    def command(self, setting: str) -> str:
        flags = ["--methods", *_listed(self.methods), "--setting", setting, "--datasets", self.dataset]
        flags += [*places_of(self.methods, self.dataset), *self.model, "--seeds", *_listed(self.seeds)]
        if any(self.splits):
            flags += ["--splits", *_listed(self.splits)]
        if any(self.shots):
            flags += ["--shots", *_listed(self.shots)]
        return shlex.join(["petl-bench", "run", *flags, *self.values])


def commands(comparison: Comparison, setting: str, *, multi_view: bool = False) -> list[str]:
    """The commands that would run the missing cells and seeds.

    `multi_view`: views come from the data set in this setting, so that each command says which ones are meant.
    """
    gaps = list(_gaps(comparison, setting, multi_view))
    for name in ("methods", "shots", "splits"):
        gaps = _merged(gaps, name)
    return [gap.command(setting) for gap in gaps]


def _gaps(comparison: Comparison, setting: str, multi_view: bool) -> Iterable[_Gap]:
    for configurations in comparison.groups().values():
        differences = differences_in({each: each.settable for each in configurations}, lambda each: each.method)
        for case, row in itertools.product(comparison.cases, configurations):
            missing = comparison.usual_seeds(row, case) - comparison.seeds(row, case)
            if missing:
                views = _views(comparison, row, case, multi_view)
                settable = {name: value for name, value in differences[row].items() if "." in name}
                values = {**_of_case(comparison, setting, case), **settable, **views}
                yield _gap(row, case, missing, values)


def _gap(row: Configuration, case: CaseKey, seeds: Iterable[int], values: dict[str, Any]) -> _Gap:
    model = ["--backbone", row.backbone]
    if row.weights != "packaged":
        model += ["--weights", row.weights]
    decoder = [] if row.decoder == "auto" else ["--decoder", row.decoder]
    given = [text for name, value in values.items() for text in ("--set", f"{name}={text_of(value)}")]
    return _Gap(
        methods=(row.method,),
        dataset=case.dataset,
        model=tuple(model),
        seeds=tuple(sorted(seeds)),
        splits=(case.split,),
        shots=(case.shots,),
        values=(*decoder, *given),
    )


def _of_case(comparison: Comparison, setting: str, case: CaseKey) -> dict[str, Any]:
    """The values of the setting and of the data sets, where their files lie included."""
    options = json.loads(case.setting_options)
    of_setting = {f"{setting}.{name}": value for name, value in options.items() if value is not None}
    if case.selected:
        of_setting["training.select"] = "best-on-test"
    return {**of_setting, **comparison.data_fields[case]}


def _views(comparison: Comparison, row: Configuration, case: CaseKey, multi_view: bool) -> dict[str, Any]:
    views = comparison.views(row, case)
    if views == "1 x 1" and not multi_view and not row.other_views:
        return {}
    clips, _, crops = views.partition(" x ")
    return {"training.views": int(clips), "training.crops": int(crops)}


def _merged(gaps: list[_Gap], name: str) -> list[_Gap]:
    """The gaps with those as one that differ in one list only."""
    found: dict[_Gap, list[Any]] = {}
    for gap in gaps:
        found.setdefault(_with(gap, name, ()), []).extend(getattr(gap, name))
    return [_with(gap, name, tuple(dict.fromkeys(values))) for gap, values in found.items()]


def _with(gap: _Gap, name: str, values: tuple[Any, ...]) -> _Gap:
    changed: dict[str, Any] = {name: values}
    return replace(gap, **changed)


def _listed(values: Iterable[Any]) -> list[str]:
    return [",".join(map(str, values))]
