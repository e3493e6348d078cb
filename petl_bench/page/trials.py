"""The trials of a frame of records: which cases there are, and which variants of methods were run on each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.labels import (
    dataset_display,
    differences_in,
    distinct_displays,
    for_readers,
    method_display,
    with_values,
)
from petl_bench.api.marks import with_method_marks
from petl_bench.api.registry import BACKBONES, SETTINGS
from petl_bench.api.training_options import WITHOUT_EFFECT
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    import pandas as pd

#: Fields that tables work out from the records beside them; the others are columns of a frame of records.
_WORKED_OUT = {"selected", "source_sha256", "other_views", "descriptions"}
#: What tells cases apart, as in tables; pages are ordered by setting first.
_CASE = ("setting", *(each.name for each in fields(ComparedCase) if each.name not in {"setting", *_WORKED_OUT}))
#: What tells the variants on one case apart, as rows of tables.
_VARIANT = (*(each.name for each in fields(Configuration) if each.name not in _WORKED_OUT), "descriptions_sha256")


class _RunRow(NamedTuple):
    trainable_params: int
    seed: int
    trial: str
    marks: str


@dataclass(frozen=True)
class Variant:
    """A method with its values on one case.

    `label`: for readers; `trials`: the keys of its runs, ordered by `seeds`.
    """

    label: str
    method: str
    trainable_params: int
    trials: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class PageCase:
    """Data, split, shots and protocol, on which variants can be compared; fewest trained parameters first.

    `label`: for readers.
    """

    label: str
    variants: tuple[Variant, ...]


def cases_of(records: pd.DataFrame) -> list[PageCase]:
    """Every case with its variants, in a fixed order."""
    trials = records.drop_duplicates("trial")
    columns = [*_CASE, *_VARIANT, *_RunRow._fields]
    known = {"shots": trials["shots"].fillna(0), "training": trials["training"].map(_training)}
    values = [known.get(name, trials[name]).tolist() for name in columns]
    grouped: dict[tuple[Any, ...], dict[tuple[Any, ...], list[_RunRow]]] = {}
    for row in zip(*values, strict=True):  # plain tuples: pandas takes a second for every thousand groups
        case, variant = row[: len(_CASE)], row[len(_CASE) : -len(_RunRow._fields)]
        grouped.setdefault(case, {}).setdefault(variant, []).append(_RunRow(*row[-len(_RunRow._fields) :]))
    labels = _case_labels(sorted(grouped))
    return [PageCase(label, _variants(grouped[case])) for case, label in labels.items()]


def chosen_variants(cases: Sequence[PageCase], most_trials: int) -> list[PageCase]:
    """The cases with as many variants as have `most_trials` trials in all; cases take turns, so that each has some."""
    kept: dict[int, list[Variant]] = {number: [] for number in range(len(cases))}
    left = most_trials
    for number, variant in _in_turns(cases):
        if len(variant.trials) > left:
            break
        left -= len(variant.trials)
        kept[number].append(variant)
    return [PageCase(cases[number].label, tuple(variants)) for number, variants in kept.items() if variants]


def _in_turns(cases: Sequence[PageCase]) -> Iterator[tuple[int, Variant]]:
    for turn in itertools.zip_longest(*[case.variants for case in cases]):
        yield from ((number, variant) for number, variant in enumerate(turn) if variant is not None)


def trial_count(cases: Iterable[PageCase]) -> int:
    """How many trials the variants of these cases have."""
    return sum(len(variant.trials) for case in cases for variant in case.variants)


def _case_labels(cases: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], str]:
    """The cases as readers see them; with registered names, if that is what tells two apart."""
    fields_of = {case: dict(zip(_CASE, case, strict=True)) for case in cases}
    settings = {case: _settings_of_case(values) for case, values in fields_of.items()}
    differences = differences_in(settings, lambda case: case[:2])
    labels, displays = {}, {}
    for case, values in fields_of.items():
        setting, dataset = values["setting"], values["dataset"]
        data = dataset_display(dataset, values["dataset_plugin"])
        labels[case] = with_values(_joined(setting, dataset), differences[case])
        displays[case] = for_readers(_joined(SETTINGS.display(setting), data), differences[case])
    return distinct_displays(displays, labels)


def _joined(setting: str, dataset: str) -> str:
    return " · ".join(filter(None, (setting, dataset)))


def _settings_of_case(case: dict[str, Any]) -> dict[str, Any]:
    return {
        "part": case["part"],
        "split": case["split"],
        "shots": int(case["shots"]) or "all",
        **json.loads(case["dataset_options"]),
        **json.loads(case["setting_options"]),
        "protocol": case["setting_version"],
        "data version": case["dataset_version"],
        "files": case["manifest_sha256"][:8],
        "captions": case["captions_sha256"][:8],
    }


def _variants(grouped: Mapping[tuple[Any, ...], list[_RunRow]]) -> tuple[Variant, ...]:
    labels = _variant_labels(list(grouped))
    found = []
    for values, unordered in grouped.items():
        runs = sorted(unordered, key=lambda run: (run.seed, run.trial))
        marks = {word for run in runs for word in run.marks.split()}
        found.append(
            Variant(
                label=clean(with_method_marks(labels[values], marks)),
                method=values[0],
                trainable_params=runs[0].trainable_params,
                trials=tuple(run.trial for run in runs),
                seeds=tuple(run.seed for run in runs),
            )
        )
    return tuple(sorted(found, key=lambda variant: (variant.trainable_params, variant.label, variant.trials)))


def _variant_labels(variants: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], str]:
    """The variants as readers see them; with registered names, if that is what tells two apart."""
    fields_of = {variant: dict(zip(_VARIANT, variant, strict=True)) for variant in variants}
    settings = {variant: _settings_of_variant(values) for variant, values in fields_of.items()}
    names = {
        variant: method_display(values["method"], json.loads(values["hyper_parameters"]))
        for variant, values in fields_of.items()
    }
    differences = differences_in(settings, lambda variant: variant[0])
    labels = {variant: with_values(variant[0], found) for variant, found in differences.items()}
    differences = differences_in(settings, lambda variant: (variant[0], names[variant]))
    displays = {variant: for_readers(names[variant], _for_readers(found)) for variant, found in differences.items()}
    return distinct_displays(displays, labels)


def _for_readers(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: BACKBONES.display(value) if name == "backbone" else value for name, value in settings.items()}


def _settings_of_variant(variant: dict[str, Any]) -> dict[str, Any]:
    return {
        **json.loads(variant["hyper_parameters"]),
        **{f"training.{name}": value for name, value in json.loads(variant["training"]).items()},
        **{f"{variant['backbone']}.{name}": value for name, value in json.loads(variant["backbone_options"]).items()},
        "backbone": variant["backbone"],
        "weights": variant["weights"],
        "weights file": variant["weights_sha256"][:8],
        "version": variant["method_version"],
        "backbone version": variant["backbone_version"],
        "decoder": variant["decoder"],
        "engine": variant["engine_version"],
        "descriptions": variant["descriptions_sha256"][:8],
    }


@cache
def _training(text: str) -> str:
    """Training options without those that change no number."""
    return json.dumps({name: value for name, value in json.loads(text).items() if name not in WITHOUT_EFFECT})
