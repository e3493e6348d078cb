from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, figure_of, headers_of, notes_of, points_of, rows_of, table_of

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.errors import UsageError

Store = Any


def _front(runs: Path) -> dict[str, Any]:
    return {label: row.cells[-1].value for label, row in rows_of(table_of(runs, "tradeoff")).items()}


def test_base_and_novel_are_means_over_data_sets_and_hm_is_theirs(tradeoff_example: Path) -> None:
    table = table_of(tradeoff_example, "tradeoff")
    assert headers_of(table) == [("Mean", "Base"), ("Mean", "Novel"), ("Mean", "HM"), ("", "Front")]
    base, novel, both = (cell_of(table, "lora", "Mean", label) for label in ("Base", "Novel", "HM"))
    assert (base.value, base.std, base.n) == (80.0, 0.0, 3)
    assert (novel.value, novel.std, novel.n) == (61.0, 1.0, 3)
    assert both.value == pytest.approx(harmonic_mean(80.0, 61.0))
    seeds = [harmonic_mean(80.0, novel) for novel in (60.0, 61.0, 62.0)]
    mean = math.fsum(seeds) / 3
    assert both.std == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in seeds) / 2))
    assert len(both.trials) == 6


def test_the_front_is_of_rows_without_a_mark(tradeoff_example: Path) -> None:
    assert _front(tradeoff_example) == {"zero_shot": "yes", "lora": "yes", "msta": "no", "full_finetune": None}
    full = cell_of(table_of(tradeoff_example, "tradeoff"), "full_finetune", "Mean", "HM")
    assert full.marks == ("demonstration", "incomplete-coverage")
    figure = figure_of(tradeoff_example, "tradeoff")
    assert figure.front == ((0.0, 60.0), (0.036864, pytest.approx(harmonic_mean(80.0, 61.0))))


def test_equals_share_the_front_and_the_larger_of_equally_good_is_off(store: Store, runs: Path) -> None:
    store(80.0, 80.0, "lora")
    store(80.0, 80.0, "adaptformer", trainable=36_864)
    store(80.0, 80.0, "msta")
    assert _front(runs) == {"lora": "yes", "adaptformer": "yes", "msta": "no"}


def test_only_data_sets_that_all_rows_have_count(store: Store, runs: Path) -> None:
    for dataset, base in (("hmdb51", 50.0), ("ucf101", 70.0)):
        store(base, base, "zero_shot", hyper_parameters={}, dataset=dataset)
    store(60.0, 60.0, "lora", dataset="hmdb51")
    table = table_of(runs, "tradeoff")
    assert cell_of(table, "zero_shot", "Mean", "Base").value == 50.0
    assert "viclip-tiny (packaged weights), 16 shots, hmdb51: not counted, as some rows lack it: ucf101." in notes_of(
        table
    )
    assert any("lora on ucf101" in line for line in table.commands)


def test_a_row_without_the_data_set_of_the_others_is_left_out_and_named(tradeoff_example: Path) -> None:
    table = table_of(tradeoff_example, "tradeoff")
    assert "lora (rank=8)" not in rows_of(table)
    told = "left out, for want of a data set or of a seed that all data sets have: lora (rank=8)."
    assert told in notes_of(table)
    assert any(told in note for note in figure_of(tradeoff_example, "tradeoff").notes)


def test_seeds_that_all_data_sets_have_count(store: Store, runs: Path) -> None:
    for seed in (0, 1):
        store(50.0 + 10 * seed, 50.0, "lora", seed, dataset="hmdb51")
    store(70.0, 70.0, "lora", 1, dataset="ucf101")
    store(70.0, 70.0, "msta", 0, dataset="hmdb51")
    store(70.0, 70.0, "msta", 1, dataset="ucf101")
    table = table_of(runs, "tradeoff")
    base = cell_of(table, "lora", "Mean", "Base")
    assert (base.value, base.n, len(base.trials)) == (65.0, 1, 2)
    assert "msta" not in rows_of(table)


def test_no_common_seed_at_all_is_said(store: Store, runs: Path) -> None:
    store(50.0, 50.0, "lora", 0, dataset="hmdb51")
    store(70.0, 70.0, "lora", 1, dataset="ucf101")
    with pytest.raises(UsageError, match="no row has one seed on all of its data sets"):
        table_of(runs, "tradeoff")


def test_shots_and_backbones_are_groups_and_panels_of_their_own(store: Store, runs: Path) -> None:
    store(50.0, 50.0)
    store(60.0, 60.0, shots=4)
    store(70.0, 70.0, backbone="viclip-b16")
    titles = [panel.title for panel in figure_of(runs, "tradeoff").panels()]
    assert titles == [
        "viclip-b16 (packaged weights), 16 shots, motion",
        "viclip-tiny (packaged weights), 4 shots, motion",
        "viclip-tiny (packaged weights), 16 shots, motion",
    ]
    assert [group.title for group in table_of(runs, "tradeoff").groups] == [f"Run here: {title}" for title in titles]


def test_numbers_selected_on_test_are_a_panel_of_their_own_without_a_front(store: Store, runs: Path) -> None:
    store(50.0, 50.0)
    store(60.0, 60.0, training={"select": "best-on-test"}, marks=["best-on-test"])
    honest, other = figure_of(runs, "tradeoff").panels()
    assert other.title == "viclip-tiny (packaged weights), 16 shots, motion (epoch=best on test)"
    assert (len(honest.front or ()), other.front) == (1, None)
    assert list(points_of(other)) == ["msta [T]"]


def test_points_carry_their_interval_and_their_records(tradeoff_example: Path) -> None:
    by_seeds = points_of(figure_of(tradeoff_example, "tradeoff"))["lora [D]"]
    assert (by_seeds.x, len(by_seeds.trials)) == (0.036864, 6)
    cell = cell_of(table_of(tradeoff_example, "tradeoff"), "lora", "Mean", "HM")
    assert by_seeds.y == cell.value
    assert by_seeds.y_range == pytest.approx((cell.value - cell.std, cell.value + cell.std))
    figure = figure_of(tradeoff_example, "tradeoff", statistics=True)
    low, high = points_of(figure)["lora [D]"].y_range or (0.0, 0.0)
    assert high - low > 2 * cell.std, "eight clips"
    assert "Error bars: 95 % interval over clips and seeds." in figure.notes


def test_marked_points_say_so(tradeoff_example: Path) -> None:
    figure = figure_of(tradeoff_example, "tradeoff")
    assert "full_finetune [CD]" in points_of(figure)
    assert any(note.startswith("C: some clips") for note in figure.notes)


def test_table_2_is_quoted_over_the_same_data_sets(tradeoff_example: Path) -> None:
    table = table_of(tradeoff_example, "tradeoff", published=True)
    cell = cell_of(table, "MSTA + L_CC", "Mean", "HM")
    assert (cell.origin, cell.source) == ("quoted", "MSTA (CVPR 2025), Table 2")
    assert sum(row.marks == ("quoted",) for row in rows_of(table).values()) == 12, "Vanilla CLIP stands twice"
    assert cell_of(table, "MSTA + L_CC", "Trained", "M").origin == "absent"
    assert cell_of(table, "Zero-ViCLIP", "Trained", "M").value == 0.0


def test_only_what_trains_nothing_is_quoted_in_the_picture(tradeoff_example: Path) -> None:
    figure = figure_of(tradeoff_example, "tradeoff", published=True)
    quoted = [series for series in figure.series if series.origin == "quoted"]
    assert [series.label for series in quoted] == ["Vanilla CLIP", "Zero-ViCLIP"]
    base, novel = (62.5 + 81.7) / 2, (48.9 + 69.8) / 2
    assert quoted[1].points[0].x == 0
    assert quoted[1].points[0].y == pytest.approx(harmonic_mean(base, novel))
    assert "publishes no parameter counts" in figure.notes[-1]
    assert max(y for _, y in figure.front or ()) == pytest.approx(harmonic_mean(80.0, 61.0)), "of the runs here"


@pytest.mark.parametrize("values", [{"dataset": "motion"}, {"split": "2"}, {"shots": 8}])
def test_nothing_is_quoted_for_what_the_paper_does_not_have(store: Store, runs: Path, values: dict[str, Any]) -> None:
    store(50.0, 50.0, **{"dataset": "ucf101", **values})
    assert len(table_of(runs, "tradeoff", published=True).groups) == 1
    assert {series.origin for series in figure_of(runs, "tradeoff", published=True).series} == {"run"}


def test_without_records_a_command_is_named(few_shot_example: Path) -> None:
    for make in (table_of, figure_of):
        with pytest.raises(UsageError, match="petl-bench run --methods zero_shot,lora --setting base2novel"):
            make(few_shot_example, "tradeoff")
