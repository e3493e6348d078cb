"""What is lost on other data sets, in the table `forgetting`, beside accuracies, and as an axis of the trade-off."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, headers_of, marks_besides, notes_of, rows_of, table_of

import petl_bench as pb
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.significance import holm
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.errors import UsageError
from petl_bench.page.summary import main_columns
from petl_bench.records.outcomes import StoredOutcomes
from tests.reports.synthetic_records import exact

Store = Any
OTHERS = ("ucf101", "hmdb51")


@pytest.fixture
def forget(few_shot: Store, keep: Store) -> Store:
    """Write a trial that adapts, those of the adapted model on other data sets, and of the frozen backbone there."""
    frozen: set[tuple[str, int]] = set()

    def write(
        adapted: dict[str, float], zero_shot: dict[str, float], method: str = "msta", seed: int = 0, **values: Any
    ) -> str:
        origin: str = few_shot(75.0, method, seed, **values)
        own = {"setting": "forgetting", "setting_options": {"task_of_targets": "auto"}, "shots": None}
        for dataset, top1 in adapted.items():
            given = {**own, "dataset": dataset, "part": "forgetting"}
            started = {"start_from": origin, "source_sha256": "f" * 64, "training": {"epochs": 50}}
            keep({"top1": exact(top1), "top5": 100.0}, method, seed, **given, **started)
            if (dataset, seed) not in frozen:
                frozen.add((dataset, seed))
                training = {"epochs": 0}
                keep({"top1": exact(zero_shot[dataset]), "top5": 100.0}, "zero_shot", seed, training=training, **given)
        return origin

    return write


@pytest.fixture
def lost(forget: Store, few_shot: Store, runs: Path) -> Path:
    """Two seeds of a method on two other data sets, and the frozen backbone."""
    forget({"ucf101": 25.0, "hmdb51": 50.0}, {"ucf101": 75.0, "hmdb51": 50.0}, seed=0)
    forget({"ucf101": 50.0, "hmdb51": 62.5}, {"ucf101": 75.0, "hmdb51": 50.0}, seed=1)
    for seed in (0, 1):
        few_shot(50.0, "zero_shot", seed)
    return runs


def with_tests(runs: Path, name: str) -> Table:
    table: Table = TABLES.get(name)().build(Evidence(pb.load_records(runs), outcomes=StoredOutcomes([runs])))
    return table


def test_frozen_adapted_and_difference_stand_side_by_side(lost: Path) -> None:
    table = table_of(lost, "forgetting")
    shown = [cell_of(table, "msta", "ucf101", label) for label in ("Frozen", "Adapted", "Difference")]
    assert [cell.value for cell in shown] == [75.0, 37.5, -37.5]
    assert [cell.std for cell in shown] == [0.0, pytest.approx(12.5 * 2**0.5), pytest.approx(12.5 * 2**0.5)]
    assert cell_of(table, "msta", "hmdb51", "Difference").value == 6.25
    assert list(rows_of(table)) == ["msta"]
    (group,) = table.groups
    assert group.title.startswith("Run here: adapted on Motion, Few-shot recognition, 2 shots; ViCLIP-Tiny")
    assert all(cell.rank == "" for cell in group.rows[0].cells)


def test_interval_and_test_are_those_of_paired_tests(lost: Path) -> None:
    table = with_tests(lost, "forgetting")
    records, outcomes = pb.load_records(lost), StoredOutcomes([lost])
    comparison = compare(records, "forgetting", ["top1"])
    p_values = []
    for case in comparison.cases:
        column = next(
            each for each in TABLES.get("few_shot").numbers if each.measure([case]) is not None
        )  # the metric top1 of the evaluation "test"
        adapted, frozen = (
            next(row for row in comparison.configurations if row.method == method) for method in ("msta", "zero_shot")
        )
        tests = PairwiseTests(comparison, [column.measure([case])], outcomes)
        expected = tests.difference(0, adapted, frozen)
        assert expected is not None
        cell = cell_of(table, "msta", case.dataset, "Difference")
        assert (cell.value, cell.interval) == (pytest.approx(expected.value), expected.interval)
        assert cell_of(table, "msta", case.dataset, "95 % interval").value == "{:+.1f} to {:+.1f}".format(
            *expected.interval
        )
        p_values.append(expected.p_value)
    shown = [cell_of(table, "msta", case.dataset, "p").value for case in comparison.cases]
    assert shown == pytest.approx(holm(p_values))


def test_one_seed_has_no_test(forget: Store, runs: Path) -> None:
    forget({"ucf101": 25.0}, {"ucf101": 75.0})
    cell = cell_of(with_tests(runs, "forgetting"), "msta", "ucf101", "p")
    assert (cell.value, cell.source) == (None, "one seed compares two runs alone")


def test_the_column_beside_accuracies_is_the_mean_over_data_sets(lost: Path) -> None:
    table = with_tests(lost, "few_shot")
    cell = cell_of(table, "msta", "Forgetting", "motion")
    assert (cell.value, cell.n, cell.rank, cell.alike) == (pytest.approx((-37.5 + 6.25) / 2), 2, "", False)
    assert cell.interval is not None and cell.interval[0] <= cell.value <= cell.interval[1]
    assert cell_of(table, "zero_shot", "Forgetting", "motion").value == 0.0
    assert "Forgetting, on HMDB-51, UCF-101; mean over these data sets, each counting once: " in notes_of(table)


def test_nothing_else_of_a_table_changes_beside_the_column(lost: Path, few_shot: Store, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    for method, seed in itertools.product(("msta", "zero_shot"), (0, 1)):
        few_shot(75.0 if method == "msta" else 50.0, method, seed, runs=alone)
    table, without = with_tests(lost, "few_shot"), with_tests(alone, "few_shot")
    assert headers_of(table) == [*headers_of(without), ("Forgetting", "motion")]
    for label, row in rows_of(without).items():
        assert rows_of(table)[label].cells[:-1] == row.cells


def test_numbers_of_shots_are_kept_apart(forget: Store, runs: Path) -> None:
    for seed, (shots, top1) in itertools.product((0, 1), ((2, 25.0), (4, 50.0))):
        forget({"ucf101": top1}, {"ucf101": 75.0}, seed=seed, shots=shots)
    table = table_of(runs, "few_shot")
    found = {label: cell_of(table, "msta", group, label).value for group, label in headers_of(table)[-2:]}
    assert sorted(found.values()) == [-50.0, -25.0]
    groups = table_of(runs, "forgetting").groups
    assert [group.rows[0].cells[2].value for group in groups] == [-50.0, -25.0]
    assert len({group.title for group in groups}) == 2


def test_a_row_that_lacks_a_data_set_has_no_mean(forget: Store, runs: Path) -> None:
    frozen = {"ucf101": 75.0, "hmdb51": 50.0}
    forget({"ucf101": 25.0, "hmdb51": 50.0}, frozen)
    forget({"ucf101": 50.0}, frozen, "lora")
    cell = cell_of(table_of(runs, "few_shot"), "lora", "Forgetting", "motion")
    assert (cell.value, cell.source) == (None, "not evaluated on HMDB-51")
    assert cell_of(table_of(runs, "forgetting"), "lora", "ucf101", "Difference").value == -25.0


def test_seeds_of_both_count_and_fewer_are_marked(forget: Store, runs: Path) -> None:
    for seed in (0, 1):
        forget({"ucf101": 25.0}, {"ucf101": 75.0}, seed=seed)
    forget({"ucf101": 50.0}, {"ucf101": 75.0}, "lora", seed=1)
    cell = cell_of(table_of(runs, "few_shot"), "lora", "Forgetting", "motion")
    assert (cell.value, cell.n, marks_besides(cell)) == (-25.0, 1, ("partial-seeds",))


def test_at_chance_means_that_there_was_nothing_to_lose(forget: Store, runs: Path) -> None:
    forget({"ucf101": 12.5}, {"ucf101": 0.0})
    assert "at-chance" in cell_of(table_of(runs, "forgetting"), "msta", "ucf101", "Difference").marks
    assert "at-chance" in cell_of(table_of(runs, "few_shot"), "msta", "Forgetting", "motion").marks


def test_a_lost_source_is_told(forget: Store, keep: Store, runs: Path) -> None:
    forget({"ucf101": 25.0}, {"ucf101": 75.0})
    own = {"setting": "forgetting", "setting_options": {"task_of_targets": "auto"}, "shots": None}
    keep({"top1": 50.0}, "lora", dataset="ucf101", part="forgetting", start_from="e" * 64, **own)
    table = table_of(runs, "forgetting")
    assert list(rows_of(table)) == ["msta"]
    assert "Left out: evaluations whose adapting trial has no record here (1)." in table.footers


def test_classes_and_captions_of_one_data_set_stand_side_by_side(lost: Path, keep: Store) -> None:
    """However each was asked for: the option of the setting tells nothing that a reader needs."""
    records = pb.load_records(lost)
    origin = records.loc[records["start_from"] != "", "start_from"].iloc[0]
    options = {"task_of_targets": "retrieval"}
    own = {"setting": "forgetting", "setting_options": options, "shots": None, "dataset": "ucf101"}
    own |= {"part": "forgetting-captions", "captions_sha256": "c" * 64}
    keep({"t2v_r1": 40.0}, "msta", start_from=origin, source_sha256="f" * 64, training={"epochs": 50}, **own)
    keep({"t2v_r1": 50.0}, "zero_shot", training={"epochs": 0}, **own)
    table = table_of(lost, "forgetting")
    groups = dict.fromkeys((column.group, column.group_display) for column in table.columns)
    assert ("ucf101", "UCF-101") in groups and ("ucf101 (captions=cccccccc)", "UCF-101 (captions cccccccc)") in groups
    assert cell_of(table, "msta", "ucf101 (captions=cccccccc)", "Difference").value == -10.0


def test_an_axis_of_the_trade_off(lost: Path) -> None:
    records = pb.load_records(lost)
    table = TABLES.get("tradeoff")().build(Evidence(records, axes=("forgetting", "top1")))
    label = "Change on other data sets (points)"
    values = {row.label: row.cells[0].value for group in table.groups for row in group.rows}
    assert table.columns[0].label == label
    assert values == {"msta": pytest.approx(-15.625), "zero_shot": 0.0}
    figure = TABLES.get("tradeoff")().figure(Evidence(records, axes=("forgetting", "top1")))
    assert not any("break in the axis" in note for note in figure.notes)


def test_the_frozen_backbone_is_drawn_beside_adapted_models_alone(forget: Store, few_shot: Store, runs: Path) -> None:
    for seed in (0, 1):
        forget({"ucf101": 25.0}, {"ucf101": 75.0}, seed=seed, shots=2)
        for shots in (2, 4):
            few_shot(50.0, "zero_shot", seed, shots=shots)
    table = TABLES.get("tradeoff")().build(Evidence(pb.load_records(runs), axes=("forgetting", "top1")))
    assert [[row.label for row in group.rows] for group in table.groups] == [["zero_shot"], ["msta"]]


def test_a_figure_has_a_bar_for_each_row_and_data_set(lost: Path) -> None:
    figure = TABLES.get("forgetting")().figure(Evidence(pb.load_records(lost), outcomes=StoredOutcomes([lost])))
    panels = [figure, *figure.beside]
    assert [panel.series[0].points[0].x for panel in panels] == [6.25, -37.5]
    assert all(panel.series[0].points[0].x_range for panel in panels)


def test_without_such_trials_nothing_is_shown(few_shot: Store, runs: Path) -> None:
    few_shot(75.0)
    assert not any(group == "Forgetting" for group, _ in headers_of(table_of(runs, "few_shot")))
    with pytest.raises(UsageError, match=r"no evaluation on other data sets here\. Make some: petl-bench run .*--forg"):
        table_of(runs, "forgetting")
    with pytest.raises(UsageError, match="unknown axis 'forgetting'"):
        TABLES.get("tradeoff")().build(Evidence(pb.load_records(runs), axes=("forgetting", "top1")))


def test_the_summary_of_a_page_shows_no_loss_as_a_result(lost: Path) -> None:
    """The one column of a data set that it shows is of the setting's own accuracies."""
    table = with_tests(lost, "few_shot")
    shown = [table.columns[at].group for at in main_columns(table)]
    assert "Forgetting" in {column.group for column in table.columns}
    assert shown and "Forgetting" not in shown
