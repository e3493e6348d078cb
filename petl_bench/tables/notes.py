"""The notes under tables of results.

What a reader of a paper needs: seeds, splits, shots, views, coverage. And provenance: backbones, training budget,
files, devices, versions.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, values_of
from petl_bench.analysis.labels import CaseGroup, dataset_display, distinct_displays
from petl_bench.analysis.marks import mixed_environment
from petl_bench.api.marks import MARKS, OF_METHOD, TUNED_HERE
from petl_bench.api.prompts import short_text
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.table import NO_NUMBER
from petl_bench.errors import PetlBenchError
from petl_bench.tables.text import MEAN_STD

_TRAINED_PARTS = {"M": "in millions", "%": "in percent of the backbone's"}
_RANKED, _OF_ONE_GROUP = "Best and second: ", "of one group"
_OF_ONE_BACKBONE = "of one backbone and one set of weights, whatever their family,"
QUOTED = "Quoted rows: other people's runs, never ranked or averaged with those above."
_SELECTION = {
    "last": "the last epoch",
    "val": "the epoch that is best on held-out training clips",
    "best-on-test": "the epoch that is best on the test clips",
}
#: So many methods or data sets are listed one by one in a note; more are grouped by what they have in common.
_FEW = 6
_BUDGET = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "precision": "precision",
}


def trained_note(labels: Collection[str]) -> str:
    """What the columns of trained parameters are; "" for none. `labels`: of those that are shown."""
    parts = [text for label, text in _TRAINED_PARTS.items() if label in labels]
    return f"Trained: parameters {', and '.join(parts)}." if parts else ""


TRAINED = trained_note(_TRAINED_PARTS)


def usual_seeds(comparison: Comparison) -> tuple[list[int], list[str]]:
    """The seeds that the numbers are over: the most that are the norm of a case; a note for each other set."""
    sets: dict[frozenset[int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    norms: Counter[frozenset[int]] = Counter()
    for row, case in comparison.cells():
        sets[comparison.seeds(row, case)][comparison.case_displays[case]].append(comparison.row_displays[row])
        norms[comparison.usual_seeds(row, case)] += 1
    usual = max(norms, key=lambda seeds: (len(seeds), norms[seeds], [-seed for seed in sorted(seeds)]))
    others = sorted((sorted(seeds), rows_of) for seeds, rows_of in sets.items() if seeds != usual)
    return sorted(usual), [
        f"Seeds {listed(seeds)}{' only' if len(seeds) < len(usual) else ''}: {_rows_on_cases(rows_of)}."
        for seeds, rows_of in others
    ]


def _rows_on_cases(rows_of: Mapping[str, Sequence[str]]) -> str:
    """Rows by case, cases with the same rows together: "LoRA, MSTA on HMDB-51, UCF-101"."""
    cases: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for case, rows in rows_of.items():
        cases[tuple(rows)].append(case)
    return listed((f"{listed(rows, _FEW)} on {listed(some, _FEW)}" for rows, some in cases.items()), _FEW, "; ")


def in_all_families(note: str) -> str:
    """What `ranks_note` says if all families of one backbone are ranked together."""
    return note.replace(_OF_ONE_GROUP, _OF_ONE_BACKBONE) if note.startswith(_RANKED) else note


def ranks_note(comparison: Comparison, *, over_splits: bool = False) -> str:
    """What is ranked with what, and with which marks; those of methods and of tunings only if a row carries them."""
    carried = {word for runs in comparison.runs.values() for run in runs for word in run.marks.split()}
    if_carried = (*OF_METHOD, TUNED_HERE)
    named = [
        mark.symbol for mark in MARKS.values() if mark.ranked and (mark.word not in if_carried or mark.word in carried)
    ]
    rows = f"rows {_OF_ONE_GROUP} with all splits and seeds" if over_splits else f"complete rows {_OF_ONE_GROUP}"
    unbarred = f"no mark, or only marks that leave a number ranked ({', '.join(named)})"
    return f"{_RANKED}among the {rows} that carry {unbarred}; equal figures share."


def seed_notes(comparison: Comparison) -> list[str]:
    """What mean and spread are over, and which cells have other seeds."""
    usual, others = usual_seeds(comparison)
    spread = f"{MEAN_STD} over seeds" if len(usual) > 1 else "a single run, without spread: seed"
    return [f"Numbers: {spread} {listed(usual)}.", *others]


def protocol_notes(comparison: Comparison, groups: Sequence[CaseGroup]) -> list[str]:
    """Which epoch was evaluated with which views, on which splits, and what the selection of the epoch changes."""
    selection = {
        _SELECTION["best-on-test"]
        if case.selected
        else _SELECTION.get(row.training_values.get("select", ""), "unknown")
        for row, case in comparison.runs
    }
    evaluated = f"Evaluated: {listed(sorted(selection))}; views per test video (clips x crops): {_views(comparison)}."
    return [f"{evaluated} {splits_note(groups)}", *inflation_notes(comparison)]


def training_provenance(comparison: Comparison) -> list[str]:
    """Backbones with their weights, what the tuning cost, and the prompts."""
    rows = comparison.configurations
    budget = [f"{meaning} {_by_method(rows, name)}" for name, meaning in _BUDGET.items()]
    names = _method_names(rows)
    tried = {name: str(count) for name, count in sorted(Counter(names[row.method] for row in rows).items())}
    configurations = _each(tried, "{name} {value}") if len(tried) <= _FEW else f"of each method {_grouped(tried)}"
    return [
        *_backbone_notes(comparison),
        f"Budget: {'; '.join(budget)}. Configurations tried in these records: {configurations}.",
        *[f"Prompt: {prompt}" for prompt in comparison.prompts],
    ]


def data_notes(comparison: Comparison) -> list[str]:
    """What is absent, and unused clips."""
    return [*absence_notes(comparison), *_coverage_notes(comparison)]


def data_provenance(comparison: Comparison, groups: Sequence[CaseGroup]) -> list[str]:
    """The files and options behind each group of columns, repeated runs, devices and versions."""
    return [*map(_data_note, groups), *_repetition_notes(comparison), *_environment_notes(comparison)]


def absence_notes(comparison: Comparison) -> list[str]:
    """Which evaluations rows lack, and why."""
    rows: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for row, case in comparison.cells():
        for run in comparison.of(row, case):
            for absence in run.absences.items():
                rows[absence][comparison.row_displays[row]] = None
    return [
        f"{NO_NUMBER}: no number from the evaluation {evaluation}: {reason} [{listed(some, 6)}]."
        for (evaluation, reason), some in rows.items()
    ]


def hosting_notes(comparison: Comparison, left_out: Mapping[str, str]) -> list[str]:
    """Why methods have no row: not on a backbone of the table that does not host them, or not at all.

    `left_out`: the methods that `--methods all` left out in this setting, each with the reason.
    """
    rows = comparison.configurations
    methods = dict.fromkeys(row.method for row in rows)
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for backbone in dict.fromkeys(row.backbone for row in rows):
        for method in methods.keys() - {row.method for row in rows if row.backbone == backbone}:
            if reason := _refusal(method, backbone):
                missing[f"Not on {BACKBONES.display(backbone)}", reason].append(METHODS.display(method))
    for method in left_out.keys() - methods.keys():
        missing["Left out of --methods all", left_out[method]].append(METHODS.display(method))
    return [f"{where}: {listed(sorted(names), _FEW)}: {reason}." for (where, reason), names in sorted(missing.items())]


def _refusal(method: str, backbone: str) -> str:
    """Why a backbone does not host a method; "" if it does, or if one of them is not installed here."""
    try:
        reason: str = METHODS.get(method).hosted_by(BACKBONES.get(backbone))
    except PetlBenchError:
        return ""
    return reason


def inflation_notes(comparison: Comparison) -> list[str]:
    """By how much selecting the epoch on the test clips raises the numbers, if both were run."""
    honest = {values_of(case, besides="selected"): case for case in comparison.cases if not case.selected}
    raised = []
    for row, case in comparison.runs:
        other = honest.get(values_of(case, besides="selected")) if case.selected else None
        if other is None or not (comparison.seeds(row, case) & comparison.seeds(row, other)):
            continue
        fair = {run.seed: run.values for run in comparison.of(row, other)}
        raised += [
            sum(run.values) / len(run.values) - sum(fair[run.seed]) / len(run.values)
            for run in comparison.of(row, case)
            if run.seed in fair and not run.absences
        ]
    if not raised:
        return []
    mean = sum(raised) / len(raised)
    return [
        f"Selecting the epoch on the test clips changes accuracy by {mean:+.2f} points, mean over {len(raised)} pairs "
        "of runs that differ in nothing else."
    ]


def listed(values: Iterable[object], most: int = 1000, between: str = ", ") -> str:
    """Values with commas between them; beyond `most`, how many more there are."""
    texts = list(map(str, values))
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def _backbone_notes(comparison: Comparison) -> list[str]:
    found = {
        (row.backbone, row.weights, row.weights_sha256, run.backbone_params)
        for (row, _), runs in comparison.runs.items()
        for run in runs
    }
    return [
        f"Backbone {BACKBONES.display(backbone)}: {params:,} parameters, weights {weights} "
        f"(sha256 {sha256[:12] or 'none'})."
        for backbone, weights, sha256, params in sorted(found)
    ]


def _views(comparison: Comparison) -> str:
    """The views: once if all runs share them, else by data set."""
    by_data: dict[str, set[str]] = defaultdict(set)
    values = [row.training_values for row in comparison.configurations]
    labels = {(case.dataset, case.dataset_plugin): case.dataset for _, case in comparison.runs}
    names = distinct_displays({data: dataset_display(*data) for data in labels}, labels)
    for (_, case), runs in comparison.runs.items():
        by_data[names[case.dataset, case.dataset_plugin]] |= {run.views for run in runs}
    return "; ".join(
        [
            _once_or_each(by_data, "{value} on {name}"),
            *_in_all_or_some(values, "view_sampling", "random", "frames of several temporal clips: a random draw"),
            *_in_all_or_some(values, "view_sampling", "middle", "frames: the middle of each segment"),
            *_in_all_or_some(values, "eval_resize", "squash", "whole frames, resized to the model's square"),
        ]
    )


def _in_all_or_some(values: Sequence[Mapping[str, Any]], name: str, wanted: str, text: str) -> list[str]:
    """A note on an option that some rows have set; nothing if none has."""
    having = [each.get(name) == wanted for each in values]
    return [text if all(having) else f"{text} in some rows"] if any(having) else []


def _by_method(rows: Sequence[Configuration], name: str) -> str:
    """A training value: once if all rows share it, else by method."""
    by_method: dict[str, set[Any]] = defaultdict(set)
    names = _method_names(rows)
    for row in rows:
        by_method[names[row.method]].add(row.training_values.get(name))
    return _once_or_each(by_method, "{name} {value}")


def _method_names(rows: Sequence[Configuration]) -> dict[str, str]:
    """The names for readers of the methods of these rows; the registered ones of methods that share one."""
    methods = {row.method: row.method for row in rows}
    return distinct_displays({method: METHODS.display(method) for method in methods}, methods)


def _once_or_each(values: Mapping[str, set[Any]], form: str) -> str:
    """What all names share, said once; else what each of them has."""
    texts = {name: "/".join(map(str, sorted(found, key=_size))) for name, found in sorted(values.items())}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return _each(texts, form) if len(texts) <= _FEW else _grouped(texts)


def _each(texts: Mapping[str, str], form: str) -> str:
    return ", ".join(form.format(name=name, value=text) for name, text in texts.items())


def _grouped(texts: Mapping[str, str]) -> str:
    """The value that most names have, then each other value with its names: "10 (tip_adapter, zero_shot: 0)"."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, text in texts.items():
        names[text].append(name)
    usual, *others = sorted(names, key=lambda text: -len(names[text]))
    exceptions = "; ".join(f"{listed(names[text], _FEW)}: {text}" for text in others)
    return f"{usual} ({exceptions})" if exceptions else usual


def _size(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, (int, float))
    return not number, float(value) if number else 0.0, str(value)


def splits_note(groups: Sequence[CaseGroup]) -> str:
    """Splits and shots: once if all groups share them, else with the groups."""
    places: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        places[_splits_and_shots(group, "; ")].append(group.display)
    if len(places) == 1:
        (text,) = places
        return f"{text[0].upper()}{text[1:]}."
    return f"Data: {', and '.join(f'{listed(labels, _FEW)}: {text}' for text, labels in places.items())}."


def _splits_and_shots(group: CaseGroup, between: str = ", ") -> str:
    splits = listed(dict.fromkeys(case.split for case in group.cases))
    several = "s" if len({case.split for case in group.cases}) > 1 else ""
    shots = listed(dict.fromkeys(case.shots for case in group.cases))
    return f"split{several} {splits}{between}{f'{shots} shots' if group.cases[0].shots else 'all clips'}"


def _data_note(group: CaseGroup) -> str:
    first = group.cases[0]
    # Without the folders of the files: tables are passed on.
    options = {**json.loads(first.dataset_options), **json.loads(first.setting_options)}
    chosen = "".join(f", {name}={short_text(str(value))}" for name, value in options.items() if value is not None)
    captions = f", captions {first.captions_sha256[:12]}" if first.captions_sha256 else ""
    return f"{group.display}: {_splits_and_shots(group)}{chosen}, files {first.manifest_sha256[:12]}{captions}."


def _coverage_notes(comparison: Comparison) -> list[str]:
    """Which clips were not used, on which cases and in which rows; what several cases share is said once."""
    rows: dict[tuple[str, ComparedCase], list[str]] = defaultdict(list)
    for row, case in comparison.cells():
        for text in sorted({run.uncovered for run in comparison.of(row, case)} - {""}):
            rows[text, case].append(comparison.row_displays[row])
    places: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (text, case), some in rows.items():
        places[text, tuple(some)].append(comparison.case_displays[case])
    return [f"Coverage of {listed(of, 6)}: {text} [{listed(some, 6)}]." for (text, some), of in places.items()]


def _environment_notes(comparison: Comparison) -> list[str]:
    """Devices and versions, and the numbers whose seeds differ in them."""
    places: dict[str, list[str]] = defaultdict(list)
    for row, case in comparison.cells():
        for name, values in mixed_environment(comparison.of(row, case)).items():
            places[f"{name} {' / '.join(values)}"].append(comparison.cell_label(row, case))
    several = comparison.releases if len(comparison.releases) > 1 else ()
    return [
        *[f"Device: {device}" for device in comparison.devices],
        *[f"Software: {versions}" for versions in comparison.software],
        *([f"Versions of petl-bench: {listed(several)}."] if several else []),
        *[f"Seeds of one number differ in {what}: {listed(some, 6)}." for what, some in places.items()],
    ]


def _repetition_notes(comparison: Comparison) -> list[str]:
    """Seeds that were run several ways, of which one counts."""
    repeated = [
        f"{comparison.cell_label(*cell)} (difference up to {comparison.repeated[cell]:.2g})"
        for cell in comparison.cells()
        if cell in comparison.repeated
    ]
    if not repeated:
        return []
    return [
        "The same seed was run with other processes, threads or bad clips allowed; the run with the fewest processes "
        f"and threads counts: {listed(repeated, 6)}."
    ]
