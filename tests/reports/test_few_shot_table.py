from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, figure_of, headers_of, marks_besides, notes_of, table_of

from petl_bench.errors import UsageError

Store = Any


def test_a_data_set_has_a_column_for_each_number_of_shots_in_order(few_shot_example: Path) -> None:
    assert headers_of(table_of(few_shot_example, "few_shot")) == [
        *[("hmdb51", f"K={shots}") for shots in (2, 4, 8, 16)],
        ("hmdb51", "Clips"),
        *[("ucf101", f"K={shots}") for shots in (2, 4, 8, 16)],
    ]


def test_mean_and_spread_are_over_seeds(few_shot_example: Path) -> None:
    cell = cell_of(table_of(few_shot_example, "few_shot"), "lora", "ucf101", "K=16")
    assert (cell.value, cell.std, cell.n, cell.rank) == (92.0, 1.0, 3, "second")


def test_marked_cells_are_not_ranked(few_shot_example: Path) -> None:
    table = table_of(few_shot_example, "few_shot")
    partial = cell_of(table, "msta", "ucf101", "K=8")
    assert (partial.value, partial.rank, marks_besides(partial)) == (87.0, "", ("partial-seeds",))
    incomplete = cell_of(table, "msta", "hmdb51", "K=4")
    assert (incomplete.rank, marks_besides(incomplete)) == ("", ("incomplete-coverage",))
    assert cell_of(table, "msta", "hmdb51", "Clips").value == "7/8"
    assert "Seeds 0, 1 only: MSTA on UCF-101 (8 shots)." in table.footers


def test_other_splits_and_draws_are_columns_of_their_own(few_shot: Store, runs: Path) -> None:
    few_shot(50.0, split="1")
    few_shot(60.0, split="2")
    few_shot(70.0, split="2", shots=4)
    few_shot(80.0, split="1", setting_options={"draws": "seeded"})
    assert set(headers_of(table_of(runs, "few_shot"))) == {
        ("motion (split=1, draws=auto)", "K=2"),
        ("motion (split=2, draws=auto)", "K=2"),
        ("motion (split=2, draws=auto)", "K=4"),
        ("motion (split=1, draws=seeded)", "K=2"),
    }


def test_table_3_is_quoted_by_data_set_and_shots(few_shot_example: Path) -> None:
    table = table_of(few_shot_example, "few_shot", published=True)
    quoted = [cell_of(table, "MSTA + L_CC", "hmdb51", f"K={shots}") for shots in (2, 4, 8, 16)]
    assert [cell.value for cell in quoted] == [61.2, 62.3, 67.1, 70.4]
    assert {(cell.origin, cell.source, cell.rank) for cell in quoted} == {("quoted", "MSTA (CVPR 2025), Table 3", "")}
    assert {f"Quoted: MSTA (CVPR 2025), Table 3, {kind}" for kind in ("zero-shot", "tuning")} <= {
        group.heading for group in table.groups if "Vanilla CLIP" in [row.label for row in group.rows]
    }
    assert "selected on the test clips" in notes_of(table)


@pytest.mark.parametrize("values", [{"dataset": "motion"}, {"dataset": "ucf101", "split": "2"}, {"shots": 3}])
def test_nothing_is_quoted_for_what_the_paper_does_not_have(few_shot: Store, runs: Path, values: Any) -> None:
    few_shot(50.0, **values)
    table = table_of(runs, "few_shot", published=True)
    assert len(table.groups) == 1
    assert "Quoted" not in notes_of(table)


def test_budget_prompt_and_draws_stand_below(few_shot_example: Path) -> None:
    notes = notes_of(table_of(few_shot_example, "few_shot"))
    assert "Budget: epochs 50; batch size 32" in notes
    assert "HMDB-51: split 1, 2, 4, 8, 16 shots, draws=auto, files aaaaaaaaaaaa." in notes
    assert "Prompt: a video of {}." in notes


def test_without_few_shot_records_a_command_is_named(example: Path) -> None:
    with pytest.raises(UsageError, match="petl-bench run --methods zero_shot,lora --setting few_shot"):
        table_of(example, "few_shot")


def test_the_figure_has_a_panel_for_each_data_set_and_a_line_for_each_row(few_shot_example: Path) -> None:
    panels = figure_of(few_shot_example, "few_shot").panels()
    assert [panel.title.split(":")[0] for panel in panels] == ["HMDB-51", "UCF-101"]
    hmdb51, ucf101 = panels
    assert ucf101.x.ticks == (2, 4, 8, 16)
    lines = {series.label: series for series in ucf101.series}
    assert list(lines) == ["Zero-shot", "LoRA", "MSTA"]
    assert [series.key for series in ucf101.series] == ["zero_shot", "lora", "msta"]
    assert all(series.line and series.origin == "run" for series in lines.values())
    assert [(point.x, point.y, point.y_range) for point in lines["LoRA"].points] == [
        (shots, 76.0 + shots, (75.0 + shots, 77.0 + shots)) for shots in (2, 4, 8, 16)
    ]
    assert all(len(point.trials) == 3 for point in lines["LoRA"].points)
    assert [point.x for point in hmdb51.series[2].points] == [2, 4, 8], "one cell is missing"


def test_the_first_row_of_a_method_looks_as_the_method_does_elsewhere(few_shot: Store, runs: Path) -> None:
    for rank in (4, 8):
        few_shot(50.0 + rank, "lora", hyper_parameters={"rank": rank})
    series = figure_of(runs, "few_shot").series
    assert [each.label for each in series] == ["LoRA (rank 4)", "LoRA (rank 8)"]
    assert [each.key for each in series] == ["lora", "lora (rank=8)"]


def test_the_figure_quotes_what_transfers_efficiently(few_shot_example: Path) -> None:
    figure = figure_of(few_shot_example, "few_shot", published=True)
    quoted = [series for series in figure.series if series.origin == "quoted"]
    assert [series.label for series in quoted] == ["Zero-ViCLIP", "AdaptFormer", "LoRA", "MSTA", "MSTA + L_CC"]
    assert [point.y for point in quoted[-1].points] == [61.2, 62.3, 67.1, 70.4]
    assert figure.notes[-1].endswith("Drawn: efficient-transfer rows.")


def test_a_figure_of_nothing_is_refused_like_the_table(example: Path) -> None:
    with pytest.raises(UsageError, match="--setting few_shot"):
        figure_of(example, "few_shot")


def test_points_have_intervals_if_predictions_are_read(few_shot_example: Path) -> None:
    by_seeds = figure_of(few_shot_example, "few_shot")
    figure = figure_of(few_shot_example, "few_shot", statistics=True)
    (lora,) = (series for series in figure.series if series.key == "lora")
    (before,) = (series for series in by_seeds.series if series.key == "lora")
    for point, std in zip(lora.points, before.points, strict=True):
        assert point.y_range is not None and std.y_range is not None
        assert point.y_range[1] - point.y_range[0] > std.y_range[1] - std.y_range[0], "eight clips"
    assert "Error bars: 95 % interval over clips and seeds." in figure.notes
    assert "Error bars: ± sample standard deviation over seeds." in by_seeds.notes
