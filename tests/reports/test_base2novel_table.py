from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tables import notes_of

import petl_bench as pb
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, Table
from petl_bench.api.trial import Trial
from petl_bench.errors import UsageError
from petl_bench.reports.published_harmonic_means import checks
from petl_bench.reports.published_numbers import FROSTER_TABLE
from petl_bench.tables.ranking import ranked

Store = Any


def _table(runs: Path, *, published: bool = False) -> Table:
    source = TABLES.get("base2novel")()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published() if published else None))
    return table


def _rows(table: Table) -> dict[str, Row]:
    return {row.label: row for group in table.groups for row in group.rows}


def _cell(table: Table, row: str, group: str, label: str) -> Cell:
    index = next(i for i, column in enumerate(table.columns) if (column.group, column.label) == (group, label))
    return _rows(table)[row].cells[index]


def test_mean_and_sample_standard_deviation_over_seeds(example: Path) -> None:
    cell = _cell(_table(example), "lora", "motion", "Base")
    assert (cell.value, cell.std, cell.n, cell.origin) == (81.0, 1.0, 3, "run")


def test_the_harmonic_mean_is_of_the_means(store: Store, runs: Path) -> None:
    store(90.0, 10.0, seed=0)
    store(10.0, 90.0, seed=1)
    cell = _cell(_table(runs), "msta", "motion", "HM")
    assert cell.value == 50.0
    assert cell.std == pytest.approx(0.0)


def test_one_seed_has_no_spread(store: Store, runs: Path) -> None:
    store(80.0, 45.0)
    cell = _cell(_table(runs), "msta", "motion", "Base")
    assert (cell.value, cell.std, cell.n, len(cell.trials)) == (80.0, None, 1, 1)


def test_rows_are_labelled_by_what_differs_and_ordered_by_size(example: Path) -> None:
    labels = list(_rows(_table(example)))
    assert labels == ["zero_shot", "lora", "msta (bottleneck_dim=16)", "msta (bottleneck_dim=32)", "full_finetune"]


def test_a_setting_that_only_one_variant_has_is_named(store: Store, runs: Path) -> None:
    store(80.0, 45.0, hyper_parameters={"rank": 4})
    store(80.0, 45.0, hyper_parameters={"rank": 4, "alpha": 2.0})
    store(80.0, 45.0, hyper_parameters={"rank": 4}, training={"epochs": 3})
    assert set(_rows(_table(runs))) == {
        "msta (training.epochs=11)",
        "msta (alpha=2.0, training.epochs=11)",
        "msta (training.epochs=3)",
    }


def test_best_and_second_among_unmarked_rows(example: Path) -> None:
    table = _table(example)
    assert _cell(table, "msta (bottleneck_dim=16)", "motion", "Base").rank == "best"
    assert _cell(table, "lora", "motion", "Base").rank == "second"
    assert _cell(table, "zero_shot", "motion", "Base").rank == ""
    partial = _cell(table, "msta (bottleneck_dim=16)", "ucf101", "Base")
    assert (partial.value, partial.rank, partial.marks) == (91.0, "", ("demonstration", "partial-seeds"))
    incomplete = _cell(table, "full_finetune", "ucf101", "Base")
    assert (incomplete.rank, incomplete.marks) == ("", ("demonstration", "incomplete-coverage"))
    assert _cell(table, "lora", "ucf101", "Base").rank == "", "nothing beside it in its family to compare with"


def test_families_are_groups_of_their_own(example: Path) -> None:
    groups = {group.heading: [row.label for row in group.rows] for group in _table(example).groups}
    assert groups == {
        "Run here: ViCLIP-Tiny, packaged weights, zero-shot": ["zero_shot"],
        "Run here: ViCLIP-Tiny, packaged weights, parameter-efficient": [
            "lora",
            "msta (bottleneck_dim=16)",
            "msta (bottleneck_dim=32)",
        ],
        "Run here: ViCLIP-Tiny, packaged weights, full fine-tuning": ["full_finetune"],
    }


def test_equal_figures_share_a_rank() -> None:
    cells = ranked([Cell(81.04), Cell(80.96), Cell(70.0), Cell(None, origin="absent")], Column("Base"))
    assert [cell.rank for cell in cells] == ["best", "best", "second", ""]


def test_a_single_number_is_not_the_best() -> None:
    assert [cell.rank for cell in ranked([Cell(81.0), Cell(90.0, origin="quoted")], Column("Base"))] == ["", ""]


@pytest.mark.parametrize("mark", ["random-weights", "best-on-test"])
def test_a_marked_number_is_shown_with_its_mark_and_not_ranked(store: Store, runs: Path, mark: str) -> None:
    store(80.0, 45.0, "lora")
    store(85.0, 45.0, "adaptformer")
    store(90.0, 46.0, marks=[mark])
    table = _table(runs)
    assert _cell(table, "msta", "motion", "Base").marks == (mark,)
    assert _cell(table, "adaptformer", "motion", "Base").rank == "best"
    assert [each.word for each in table.marks()] == [mark]


def test_other_backbones_weights_and_views_are_not_ranked_together(store: Store, runs: Path) -> None:
    store(80.0, 45.0, "lora")
    store(90.0, 45.0, "msta", backbone="viclip-b16", weights="random", weights_sha256="")
    store(91.0, 45.0, "msta", training={"views": 4, "crops": 3})
    table = _table(runs)
    assert [group.title for group in table.groups] == [
        "Run here: ViCLIP-B/16, random weights",
        "Run here: ViCLIP-Tiny, packaged weights",
        "Run here: ViCLIP-Tiny, packaged weights, 4 x 3 views",
    ]
    assert {cell.rank for row in _rows(table).values() for cell in row.cells} == {""}


def test_different_files_of_one_data_set_are_not_mixed(store: Store, runs: Path) -> None:
    store(80.0, 45.0, seed=0)
    store(20.0, 45.0, seed=1, manifest_sha256="d" * 64)
    table = _table(runs)
    groups = {column.group for column in table.columns} - {"Trained"}
    assert groups == {"motion (files=aaaaaaaa)", "motion (files=dddddddd)"}
    assert _cell(table, "msta", "motion (files=aaaaaaaa)", "Base").value == 80.0


def test_different_descriptions_on_one_data_set_are_not_averaged(store: Store, runs: Path) -> None:
    store(80.0, 45.0, seed=0, descriptions_sha256="1" * 64)
    store(20.0, 45.0, seed=0, descriptions_sha256="2" * 64)
    assert set(_rows(_table(runs))) == {"msta (descriptions=11111111)", "msta (descriptions=22222222)"}


def test_one_description_file_for_each_data_set_is_one_row(store: Store, runs: Path) -> None:
    store(80.0, 45.0, descriptions_sha256="1" * 64)
    store(20.0, 45.0, descriptions_sha256="2" * 64, dataset="ucf101")
    assert set(_rows(_table(runs))) == {"msta"}


def test_every_field_of_a_trial_is_either_row_case_seed_or_place() -> None:
    """A field that no identity knows would let different trials be averaged as seeds of one row."""
    known = {each.name for kind in (Configuration, ComparedCase) for each in fields(kind)}
    assert {each.name for each in fields(Trial)} == (known - {"descriptions", "other_views", "selected"}) | {
        "seed",
        "descriptions_sha256",
        "locations",
        "tuning",  # trials of tunings are in no table
        "start_from",  # follows from row, source data and seed
    }


def test_trained_parameters_in_millions_and_percent(example: Path) -> None:
    table = _table(example)
    assert _cell(table, "full_finetune", "Trained", "M").value == pytest.approx(2.5)
    assert _cell(table, "full_finetune", "Trained", "%").value == pytest.approx(83.3333, abs=1e-4)
    assert _cell(table, "zero_shot", "Trained", "M").value == 0


def test_coverage_is_shown_where_it_is_incomplete(example: Path) -> None:
    table = _table(example)
    assert ("motion", "Clips") not in [(column.group, column.label) for column in table.columns]
    assert _cell(table, "full_finetune", "ucf101", "Clips").value == "15/16"
    coverage = next(note for note in table.footers if note.startswith("Coverage"))
    assert "base: 7 of 8 test clips scored (0 not found, 1 unreadable) [Full fine-tuning]" in coverage


def test_missing_cells_are_empty_and_the_commands_fill_them(example: Path) -> None:
    table = _table(example)
    absent = _cell(table, "full_finetune", "motion", "Base")
    assert (absent.value, absent.origin, absent.source) == (None, "absent", "not run")
    assert any("full_finetune on motion" in line for line in table.commands)
    assert any("msta on ucf101 split 1 16-shot, seeds 2" in line for line in table.commands)


def test_a_missing_seed_of_one_of_two_configurations_is_filled(store: Store, runs: Path) -> None:
    for dim in (16, 32):
        for seed in range(3):
            if (dim, seed) != (16, 2):
                store(80.0, 45.0, "msta", seed, hyper_parameters={"bottleneck_dim": dim}, as_planned=True)
    (line,) = _table(runs).commands
    assert "--methods msta" in line and "--seeds 2 " in line
    assert "--set msta.bottleneck_dim=16" in line


def test_the_command_names_files_that_a_data_set_was_given(store: Store, runs: Path) -> None:
    files = {"folder": {"path": "/data/my clips", "labels": None}}
    options = {"dataset": "folder", "locations": files, "as_planned": True}
    store(80.0, 45.0, "lora", 0, **options)
    store(80.0, 45.0, "lora", 1, **options)
    store(80.0, 45.0, "msta", 0, **options)
    store(80.0, 45.0, "zero_shot", 0, **options)
    store(80.0, 45.0, "zero_shot", 1, **options)
    table = _table(runs)
    assert table.commands == (
        "petl-bench run --methods msta --setting base2novel --datasets folder --backbone viclip-tiny --seeds 1 "
        "--splits 1 --shots 16 --set 'folder.path=/data/my clips'",
    )
    assert "path=/data/my clips" not in notes_of(table)


def test_published_rows_stand_beside_and_are_never_ranked(example: Path) -> None:
    table = _table(example, published=True)
    quoted = _cell(table, "MSTA + L_CC", "ucf101", "HM")
    assert (quoted.value, quoted.origin, quoted.source) == (82.9, "quoted", "MSTA (CVPR 2025), Table 2")
    assert (quoted.rank, _rows(table)["MSTA + L_CC"].marks) == ("", ("quoted",))
    assert _cell(table, "MSTA + L_CC", "motion", "HM").origin == "absent"
    quoted_titles = [group.heading for group in table.groups if group.title.startswith("Quoted")]
    assert quoted_titles[0] == "Quoted: MSTA (CVPR 2025), Table 2, zero-shot"
    assert quoted_titles[-3:] == [
        "Quoted: MSTA (CVPR 2025), Table 2, efficient-transfer",
        "Quoted: FROSTER (ICLR 2024), README Table 1",
        "Quoted: FROSTER (ICLR 2024), README Table 1, re-run by FROSTER's authors",
    ]
    without = _table(example)
    assert [each for each in without.groups if each.title.startswith("Quoted")] == []
    assert _cell(table, "lora", "ucf101", "Base") == _cell(without, "lora", "ucf101", "Base")


def test_froster_and_open_vclip_are_quoted_and_above_msta_on_ucf101(example: Path) -> None:
    table = _table(example, published=True)
    source = "FROSTER (ICLR 2024), README Table 1"
    for label, value in (("FROSTER", 87.0), ("Open-VCLIP", 85.3)):
        cell = _cell(table, label, "ucf101", "HM")
        assert (cell.value, cell.origin, cell.source, cell.rank) == (value, "quoted", source, "")
        assert value > _cell(table, "MSTA + L_CC", "ucf101", "HM").value  # type: ignore[operator]
    (again,) = [group for group in table.groups if group.section.startswith("re-run")]
    assert [row.label for row in again.rows] == ["AIM", "ST-Adapter"]


def test_the_harmonic_means_that_froster_prints_are_those_of_its_rows() -> None:
    numbers = TABLES.get("base2novel")().published()
    checked = checks(numbers[numbers["table"] == FROSTER_TABLE])
    assert len(checked) == 9 * 4
    assert [each.label for each in checked if each.verdict.startswith("disagrees")] == []


def test_what_the_docs_say_of_rows_that_both_papers_have() -> None:
    numbers = TABLES.get("base2novel")().published()
    numbers = numbers[
        numbers["method"].isin(["ActionCLIP", "XCLIP", "ViFi-CLIP"]) & (numbers["setting"] == "base2novel")
    ]
    numbers = numbers[numbers["metric"] != "harmonic_mean"]
    place = ["method", "dataset", "metric"]
    froster = numbers[numbers["table"] == FROSTER_TABLE].set_index(place)["value"]
    msta = numbers[numbers["table"] == "2"].set_index(place)["value"]
    higher = (msta - froster).dropna()
    text = " ".join((Path(__file__).parents[2] / "docs" / "msta.md").read_text().split())
    assert f"{(higher > 0).sum()} of their {len(higher)} accuracies are higher in MSTA's table" in text
    assert f"by {higher.mean():.2f} points on average" in text


def test_no_other_table_quotes_froster() -> None:
    for name in TABLES.names():
        published = TABLES.get(name)().published()
        if name != "base2novel" and published is not None:
            assert FROSTER_TABLE not in set(published["table"]), name


@pytest.mark.parametrize(
    "values", [{"dataset": "motion"}, {"dataset": "ucf101", "shots": 4}, {"dataset": "ucf101", "split": "2"}]
)
def test_nothing_is_quoted_for_what_the_paper_does_not_have(store: Store, runs: Path, values: dict[str, Any]) -> None:
    store(80.0, 45.0, **values)
    assert [group.title for group in _table(runs, published=True).groups] == ["Run here: ViCLIP-Tiny, packaged weights"]


def test_records_of_other_settings_do_not_enter(store: Store, runs: Path) -> None:
    store(80.0, 45.0, setting="few_shot")
    with pytest.raises(UsageError, match="petl-bench run"):
        _table(runs)


def test_the_footer_says_how_the_numbers_came_about(store: Store, runs: Path) -> None:
    store(80.0, 45.0, "msta", training={"epochs": 5})
    store(80.0, 45.0, "zero_shot", training={"epochs": 0, "select": "val"})
    text = notes_of(_table(runs))
    assert "epochs MSTA 5, Zero-shot 0; batch size 32" in text
    assert "the last epoch" in text
    assert "held-out training clips" in text
    assert "Prompt: a video of {}." in text
    assert "weights packaged (sha256 bbbbbbbbbbbb)" in text
    assert "Configurations tried in these records: MSTA 1, Zero-shot 1" in text


def test_the_order_of_writing_does_not_matter(store: Store, tmp_path: Path) -> None:
    for folder, seeds in (("one", [0, 1, 2]), ("two", [2, 1, 0])):
        for seed in seeds:
            store(80.1 + seed / 7, 45.0, seed=seed, runs=tmp_path / folder)
    assert _table(tmp_path / "one") == _table(tmp_path / "two")
