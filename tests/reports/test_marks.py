"""Marks: what qualifies a number, the most complete row as the norm, and what is ranked with what."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import make_evaluation, make_result, make_trial, result_of
from tables import cell_of, figure_of, notes_of, rows_of, table_of

import petl_bench as pb
from petl_bench.analysis.chance import is_at_chance
from petl_bench.analysis.marks import is_untuned
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import MARKS
from petl_bench.api.method import has_tuned_rate
from petl_bench.api.registry import METHODS, TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.api.trial import EvaluationResult
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.write import write_record
from petl_bench.render import FORMATS, render
from petl_bench.tables.compare_pair import findings
from petl_bench.tables.ranking import ranked

Store = Any
ADAPTERS = ("lora", "adaptformer", "msta")


def _base(runs: Path, method: str, **place: Any) -> Cell:
    return cell_of(table_of(runs, "base2novel"), method, place.get("dataset", "motion"), "Base")


def _ranks(runs: Path) -> dict[str, str]:
    table = table_of(runs, "base2novel")
    return {label: cell_of(table, label, "motion", "Base").rank for label in rows_of(table)}


# The most complete row is the norm


def test_many_rows_of_one_seed_take_nothing_from_complete_rows(store: Store, runs: Path) -> None:
    """Three complete methods, then four of one seed and fewer epochs, which are better by luck."""
    for seed in range(3):
        for place, method in enumerate(ADAPTERS):
            store(70.0 + place, 45.0, method, seed, training={"epochs": 10})
    for method in ("one", "two", "three", "four"):
        store(99.0, 45.0, method, 0, training={"epochs": 3})
    assert [_base(runs, method).marks for method in ADAPTERS] == [()] * 3
    assert [_base(runs, method).rank for method in ADAPTERS] == ["", "second", "best"]
    assert {_base(runs, method).marks for method in ("one", "two", "three", "four")} == {
        ("other-budget", "partial-seeds")
    }
    assert {_base(runs, method).rank for method in ("one", "two", "three", "four")} == {""}
    table = table_of(runs, "base2novel")
    assert table.footers[0] == "Numbers: mean ± sample standard deviation over seeds 0, 1, 2."
    assert any(note.startswith("Seeds 0 only: ") for note in table.footers)


def test_one_row_of_five_seeds_is_the_norm_of_twelve_rows_of_one(store: Store, runs: Path) -> None:
    for number in range(12):
        store(90.0 + number / 10, 45.0, f"method_{number:02d}")
    for seed in range(5):
        store(60.0, 45.0, "msta", seed)
    assert _base(runs, "msta").marks == ()
    assert {_base(runs, f"method_{number:02d}").marks for number in range(12)} == {("partial-seeds",)}
    assert set(_ranks(runs).values()) == {""}


def test_the_larger_of_two_sets_of_seeds_is_the_norm(store: Store, runs: Path) -> None:
    for seed in range(3):
        store(80.0, 45.0, "lora", seed)
        store(70.0, 45.0, "adaptformer", seed)
    for seed in range(5):
        store(60.0, 45.0, "msta", seed)
        store(61.0, 45.0, "vision_adapter", seed, training={"learning_rate": 1e-3})
    assert _base(runs, "lora").marks == _base(runs, "adaptformer").marks == ("partial-seeds",)
    assert _ranks(runs) == {"lora": "", "adaptformer": "", "msta": "second", "vision_adapter": "best"}


def test_as_many_but_other_seeds_are_a_mark_of_their_own(store: Store, runs: Path) -> None:
    for seed in range(3):
        store(80.0, 45.0, "lora", seed)
        store(90.0, 45.0, "adaptformer", seed + 3)
    store(70.0, 45.0, "msta", 3)
    assert [_base(runs, method).marks for method in ("lora", "adaptformer", "msta")] == [
        (),
        ("other-seeds",),
        ("partial-seeds",),
    ]


def test_what_trains_nothing_does_not_set_the_number_of_seeds(store: Store, runs: Path) -> None:
    """A frozen model is cheap to run under many seeds, which say nothing new."""
    for seed in range(5):
        store(40.0, 45.0, "zero_shot", seed, hyper_parameters={})
    for seed in range(3):
        store(80.0, 45.0, "lora", seed)
        store(90.0, 45.0, "msta", seed)
    assert [_base(runs, method).marks for method in ("zero_shot", "lora", "msta")] == [(), (), ()]
    assert "Seeds 0, 1, 2, 3, 4: Zero-shot on Motion." in notes_of(table_of(runs, "base2novel"))


def test_a_row_that_lacks_clips_is_not_the_norm_of_seeds(store: Store, runs: Path) -> None:
    for seed in range(5):
        store(90.0, 45.0, "msta", seed, unreadable=["bad.mp4"])
    for seed in range(3):
        store(80.0, 45.0, "lora", seed)
        store(81.0, 45.0, "adaptformer", seed)
    assert _base(runs, "msta").marks == ("incomplete-coverage",)
    assert (_base(runs, "lora").rank, _base(runs, "adaptformer").rank) == ("second", "best")


def test_the_most_splits_are_the_norm(transfer: Store, runs: Path) -> None:
    for split in ("1", "2", "3"):
        transfer(50.0, "lora", split=split)
    for method in ("msta", "adaptformer", "vision_adapter"):
        transfer(60.0, method, split="1")
    table = table_of(runs, "zero_shot")
    assert "partial-splits" not in cell_of(table, "lora", "ucf101", "Top-1").marks
    for method in ("msta", "adaptformer", "vision_adapter"):
        cell = cell_of(table, method, "ucf101", "Top-1")
        assert "partial-splits" in cell.marks
        assert cell.rank == ""


@pytest.mark.parametrize(
    ("less", "marked"),
    [
        ({"epochs": 3}, True),
        ({"epochs": 10, "select": "val", "val_fraction": 0.25}, True),
        ({"epochs": 10, "batch_size": 16}, False),
        ({"epochs": 10}, False),
    ],
)
def test_a_smaller_budget_than_those_it_is_ranked_with_is_a_mark(
    store: Store, runs: Path, less: dict[str, Any], marked: bool
) -> None:
    for seed in range(2):
        store(80.0, 45.0, "lora", seed, training={"epochs": 10})
        store(81.0, 45.0, "adaptformer", seed, training={"epochs": 10})
        store(90.0, 45.0, "msta", seed, training=less)
        store(40.0, 45.0, "zero_shot", seed, hyper_parameters={}, training={"epochs": 0})
    assert _base(runs, "msta").marks == (("other-budget",) if marked else ())
    assert _base(runs, "msta").rank == ("" if marked else "best")
    assert _base(runs, "adaptformer").rank == ("best" if marked else "second")
    assert _base(runs, "zero_shot").marks == (), "it is of another family, which has no budget"


def test_a_row_with_fewer_epochs_than_its_own_methods_complete_row_is_marked(store: Store, runs: Path) -> None:
    for seed in range(2):
        store(80.0, 45.0, "lora", seed, training={"epochs": 10})
        store(90.0, 45.0, "lora", seed, training={"epochs": 3})
    store(99.0, 45.0, "lora", 0, training={"epochs": 30})
    marks = {label: row.cells[2].marks for label, row in rows_of(table_of(runs, "base2novel")).items()}
    assert marks == {
        "lora (training.epochs=3)": ("other-budget",),
        "lora (training.epochs=10)": (),
        "lora (training.epochs=30)": ("partial-seeds",),
    }


# Devices and versions within one number


def _store_in(runs: Path, seed: int, method: str = "msta", release: str = "", **environment: str) -> None:
    trial = make_trial(method, seed)
    result = make_result(80.0, 45.0, trainable=1000)
    result = replace(result, environment={**result.environment, **environment})
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    path = write_record(folder, trial, result)
    if release:
        text = path.read_text()
        path.write_text(re.sub(r'"petl_bench": "[^"]*"', f'"petl_bench": "{release}"', text))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"software": "torch 2.8.0"}, {"software": "torch 2.9.0"}, "torch 2.8.0 / 2.9.0"),
        ({"software": "torch 2.8.0, av 16.0"}, {"software": "torch 2.8.0, av 18.1"}, "av 16.0 / 18.1"),
        ({"device": "cpu"}, {"device": "NVIDIA H100"}, "device NVIDIA H100 / cpu"),
        ({"processor": "Xeon"}, {"processor": "EPYC"}, "processor EPYC / Xeon"),
        ({"release": "0.1.0"}, {"release": "0.2.0"}, "petl-bench 0.1.0 / 0.2.0"),
    ],
)
def test_what_differs_among_the_seeds_of_one_number_is_told(
    runs: Path, one: dict[str, str], other: dict[str, str], told: str
) -> None:
    for seed, environment in enumerate((one, other)):
        _store_in(runs, seed, "msta", **environment)
        _store_in(runs, seed, "lora", **one)
    assert _base(runs, "msta").marks == ("mixed-environment",)
    assert "mixed-environment" not in _base(runs, "lora").marks
    assert f"Seeds of one number differ in {told}: MSTA on Motion." in table_of(runs, "base2novel").provenance


def test_what_a_record_does_not_tell_differs_from_nothing(runs: Path) -> None:
    """Records of earlier versions do not name the libraries; the processor beside a GPU computed nothing."""
    _store_in(runs, 0, device="NVIDIA H100", processor="Xeon")
    _store_in(runs, 1, device="NVIDIA H100", processor="EPYC", software="torch 2.9.0")
    assert _base(runs, "msta").marks == ()
    assert "Software: torch 2.9.0" in table_of(runs, "base2novel").provenance


def test_adaptations_in_different_environments_are_told_at_the_target(transfer: Store, runs: Path) -> None:
    for seed in range(2):
        transfer(50.0, seed=seed)
    sources = [path for path in runs.glob("trials/*/record.json") if '"part": "source"' in path.read_text()]
    sources[0].write_text(sources[0].read_text().replace('"device": "cpu"', '"device": "NVIDIA H100"'))
    table = table_of(runs, "zero_shot")
    assert "mixed-environment" in cell_of(table, "msta", "ucf101", "Top-1").marks
    assert "differ in adaptation's device NVIDIA H100 / cpu: MSTA on UCF-101." in notes_of(table)


# At chance


@pytest.mark.parametrize(
    ("percent", "clips", "classes", "at_chance"),
    [
        (33.3, 30, 3, True),
        (49.0, 30, 3, True),
        (51.0, 30, 3, False),
        (34.0, 10_000, 3, True),
        (35.0, 10_000, 3, False),
        (20.0, 1_000, 3, True),
        (100.0, 1_000, 1, True),
        (1.0, 3_783, 101, True),
        (1.5, 3_783, 101, False),
    ],
)
def test_a_number_is_at_chance_within_its_wilson_interval(
    percent: float, clips: int, classes: int, at_chance: bool
) -> None:
    assert is_at_chance(percent, [(clips, 1 / classes)]) is at_chance
    assert (_wilson_low(percent / 100, clips) <= 1 / classes) is at_chance


def _wilson_low(part: float, clips: int) -> float:
    z = 1.959964
    middle, width = part + z**2 / (2 * clips), z * ((part * (1 - part) + z**2 / (4 * clips)) / clips) ** 0.5
    return (middle - width) / (1 + z**2 / clips)


def test_a_mean_over_places_is_held_against_their_mean_chance() -> None:
    assert is_at_chance(55.0, [(100, 0.5), (100, 0.5)])
    assert not is_at_chance(58.0, [(100, 0.5), (100, 0.5)])
    assert is_at_chance(58.0, [(100, 0.5)])


def _of_classes(accuracy: float, classes: int, clips: int) -> EvaluationResult:
    evaluation = make_evaluation(accuracy, expected=clips)
    return replace(evaluation, classes=evaluation.classes[:classes], scores=evaluation.scores[:, :classes])


def _guessing(runs: Path, method: str, base: float, novel: float, seed: int = 0) -> Path:
    trial = make_trial(method, seed)
    metrics = {"base_top1": base, "novel_top1": novel, "harmonic_mean": pb.harmonic_mean(base, novel)}
    evaluations = {"base": _of_classes(base, 6, 60), "novel": _of_classes(novel, 3, 30)}
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    return write_record(folder, trial, result_of(metrics, evaluations, trainable=1000))


def test_a_number_at_chance_is_marked_and_never_best_and_so_is_its_harmonic_mean(runs: Path) -> None:
    _guessing(runs, "lora", 80.0, 33.3)
    _guessing(runs, "adaptformer", 70.0, 40.0)
    _guessing(runs, "msta", 60.0, 60.0)
    table = table_of(runs, "base2novel")
    found = {
        (row, column): (cell.marks, cell.rank)
        for row in ADAPTERS
        for column in ("Base", "Novel", "HM")
        for cell in [cell_of(table, row, "motion", column)]
    }
    assert found == {
        ("lora", "Base"): ((), "best"),
        ("lora", "Novel"): (("at-chance",), ""),
        ("lora", "HM"): (("at-chance",), ""),
        ("adaptformer", "Base"): ((), "second"),
        ("adaptformer", "Novel"): (("at-chance",), ""),
        ("adaptformer", "HM"): (("at-chance",), ""),
        ("msta", "Base"): ((), ""),
        ("msta", "Novel"): ((), ""),
        ("msta", "HM"): ((), ""),
    }


def test_a_row_at_chance_is_not_on_the_front(runs: Path) -> None:
    _guessing(runs, "lora", 80.0, 33.3)
    _guessing(runs, "msta", 60.0, 60.0)
    table = table_of(runs, "tradeoff")
    index = next(i for i, column in enumerate(table.columns) if column.label == "Front")
    assert {label: row.cells[index].value for label, row in rows_of(table).items()} == {"lora": None, "msta": "yes"}


def test_records_without_a_number_of_classes_are_judged_by_their_predictions(runs: Path) -> None:
    for method in ("lora", "msta"):
        path = _guessing(runs, method, 80.0, 33.3)
        path.write_text(re.sub(r', "classes": \d+', "", path.read_text()))
    records = pb.load_records(runs)
    assert "classes" not in records["coverage"].iloc[0]
    source = TABLES.get("base2novel")()
    without = source.build(Evidence(records))
    assert cell_of(without, "lora", "motion", "Novel").marks == (), "nothing is known, so that nothing is said"
    table = source.build(Evidence(records, outcomes=StoredOutcomes([runs])))
    assert cell_of(table, "lora", "motion", "Novel").marks == ("at-chance",)


def test_compare_tells_the_marks_of_both_numbers(runs: Path) -> None:
    for method in ("lora", "msta"):
        _guessing(runs, method, 80.0, 33.3)
    evidence = Evidence(pb.load_records(runs), outcomes=StoredOutcomes([runs]))
    found = {
        each.column: each.reservations for each in findings([TABLES.get("base2novel")()], evidence, "lora", "msta")
    }
    assert found["Motion Novel"] == (MARKS["at-chance"].meaning,)
    assert found["Motion Base"] == ()


# What is known of plugins


@pytest.mark.parametrize(
    ("method", "setting", "backbone", "rate", "tuned"),
    [
        ("msta", "base2novel", "viclip-b16", 1e-3, True),
        ("msta", "zero_shot_transfer", "viclip-b16", 8e-3, True),
        ("lora", "base2novel", "viclip-b16", 1e-3, False),
        ("adaptformer", "fully_supervised", "viclip-b16", 8e-3, False),
        ("full_finetune", "base2novel", "viclip-b16", 2e-6, True),
        ("vision_adapter", "base2novel", "viclip-b16", 1e-3, False),
        ("lora", "base2novel", "viclip-tiny", 2e-3, True),
        ("lora", "base2novel", "viclip-tiny", 1e-3, False),
        ("msta", "base2novel", "viclip-tiny", 1e-3, False),
        ("lora", "few_shot", "viclip-tiny", 3e-3, False),
    ],
)
def test_a_rate_is_tuned_if_a_recipe_for_setting_and_backbone_says_so(
    method: str, setting: str, backbone: str, rate: float, tuned: bool
) -> None:
    assert has_tuned_rate(METHODS.get(method), setting, backbone, rate) is tuned


@pytest.mark.parametrize(
    ("values", "tuned"),
    [({}, True), ({"plus": 1.0, "rank": 4}, True), ({"plus": 16.0}, False), ({"rslora": True}, False)],
)
def test_a_rate_is_tuned_for_the_values_that_decide_what_rate_is_good(values: dict[str, Any], tuned: bool) -> None:
    assert has_tuned_rate(METHODS.get("lora"), "base2novel", "viclip-tiny", 2e-3, values) is tuned
    assert is_untuned("lora", "base2novel", "viclip-tiny", 2e-3, values) is not tuned


def test_a_rate_that_was_not_tuned_is_marked_and_ranked(store: Store, runs: Path) -> None:
    store(80.0, 45.0, "lora", training={"learning_rate": 8e-3})
    store(70.0, 45.0, "msta")
    store(40.0, 45.0, "zero_shot", hyper_parameters={}, training={"learning_rate": 8e-3})
    store(60.0, 45.0, "not_installed", training={"learning_rate": 8e-3})
    assert (_base(runs, "lora").marks, _base(runs, "lora").rank) == (("untuned-rate",), "best")
    assert (_base(runs, "msta").marks, _base(runs, "msta").rank) == ((), "second")
    assert _base(runs, "zero_shot").marks == (), "it trains nothing"
    assert _base(runs, "not_installed").marks == (), "of a method unknown here nothing is said"


def test_packaged_weights_on_other_data_are_a_demonstration(store: Store, runs: Path) -> None:
    for method in ADAPTERS:
        store(80.0, 45.0, method)
        store(80.0, 45.0, method, dataset="folder")
        own = {"backbone": "viclip-tiny", "weights": "mine.pth", "weights_sha256": "d" * 64}
        store(80.0, 45.0, method, dataset="folder", hyper_parameters={}, **own)
    table = table_of(runs, "base2novel")
    marks = {
        (group.title, column.group): row.cells[index].marks
        for group in table.groups
        for row in group.rows
        for index, column in enumerate(table.columns)
        if column.label == "Base" and row.cells[index].value is not None
    }
    assert marks == {
        ("Run here: ViCLIP-Tiny, packaged weights", "motion"): (),
        ("Run here: ViCLIP-Tiny, packaged weights", "folder"): ("demonstration",),
        ("Run here: ViCLIP-Tiny, mine.pth weights", "folder"): (),
    }


def test_a_target_has_the_marks_of_its_adaptation_but_those_of_its_test_clips(transfer: Store, runs: Path) -> None:
    of_source = ["template-descriptions", "shared-recordings", "demonstration", "incomplete-coverage"]
    transfer(50.0, dataset="motion", source_values={"marks": of_source})
    assert cell_of(table_of(runs, "zero_shot"), "msta", "motion", "Top-1").marks == (
        "template-descriptions",
        "untuned-rate",
    )


# Ranks, signs and their page


def test_marks_that_hold_for_a_whole_column_leave_numbers_ranked() -> None:
    cells = [Cell(90.0, marks=("at-chance",)), Cell(80.0, marks=("demonstration", "untuned-rate")), Cell(70.0)]
    assert [cell.rank for cell in ranked(cells, Column("Base"))] == ["", "best", "second"]
    unknown = [Cell(90.0, marks=("a-word-of-a-plugin",)), Cell(80.0), Cell(70.0)]
    assert [cell.rank for cell in ranked(unknown, Column("Base"))] == ["", "best", "second"]


def test_every_mark_has_a_word_a_sign_of_its_own_and_a_line() -> None:
    assert len({mark.symbol for mark in MARKS.values()}) == len(MARKS)
    assert all(len(mark.symbol) == 1 and mark.symbol.isupper() and mark.meaning for mark in MARKS.values())


@pytest.mark.parametrize("output_format", list(FORMATS))
@pytest.mark.parametrize("word", MARKS)
def test_every_format_shows_every_mark(word: str, output_format: str) -> None:
    row = Row("msta", (Cell(80.0, marks=(word,)), Cell(81.0)))
    table = Table("t", "title", "Method", (Column("Base"), Column("HM")), (RowGroup("group", (row,)),))
    text = " ".join(render(table, output_format).split())
    shown = {
        "csv": word,
        "tidy": word,
        "json": word,
        "html": f"<sup>{MARKS[word].symbol}</sup>",
        "latex": rf"\textsuperscript{{{MARKS[word].symbol}}}",
    }
    bracketed = rf"\[{MARKS[word].symbol}\]" if output_format == "markdown" else f"[{MARKS[word].symbol}]"
    assert shown.get(output_format, bracketed) in text
    if output_format not in ("csv", "tidy"):
        assert MARKS[word].meaning.split(",")[0].split("(")[0].strip()[:40].replace("%", "")[:20] in text.replace(
            "&#39;", "'"
        )


def test_the_few_shot_picture_tells_which_points_are_qualified(few_shot: Store, runs: Path) -> None:
    for seed in range(2):
        few_shot(60.0, "lora", seed, shots=2)
        few_shot(70.0, "lora", seed, shots=4)
    few_shot(70.0, "msta", 0, shots=4)
    notes = figure_of(runs, "few_shot").notes
    assert f"S: {MARKS['partial-seeds'].meaning}: MSTA Motion K=4." in notes
    assert f"U: {MARKS['untuned-rate'].meaning}: LoRA Motion K=2, LoRA Motion K=4, MSTA Motion K=4." in notes


def test_the_page_of_marks_lists_all_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "marks.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| [A-Z] \|", line)]
    assert [tuple(row) for row in rows] == [
        (mark.symbol, f"`{mark.word}`", mark.meaning, "yes" if mark.ranked else "no") for mark in MARKS.values()
    ]
