from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import TRAINABLE
from tables import cell_of, figure_of, headers_of, notes_of, points_of, rows_of, table_of

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Axis, Figure
from petl_bench.api.registry import METHODS, TABLES
from petl_bench.api.table import Table
from petl_bench.costs import recording
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


def test_names_are_for_readers_and_looks_are_tied_to_registered_names(tradeoff_example: Path) -> None:
    figure = figure_of(tradeoff_example, "tradeoff")
    assert [(series.key, series.label) for series in figure.series] == [
        ("zero_shot", "Zero-shot"),
        ("lora", "LoRA"),
        ("msta", "MSTA"),
        ("full_finetune", "Full fine-tuning"),
    ]
    row = rows_of(table_of(tradeoff_example, "tradeoff"))["lora"]
    assert (row.display, dict(row.facts)["method"]) == ("LoRA", "lora")


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
    told = "ViCLIP-Tiny, packaged weights, 16 shots, HMDB-51: not counted, as some rows lack it: UCF-101."
    assert told in notes_of(table)
    assert any("lora on ucf101" in line for line in table.commands)


def test_a_row_without_the_data_set_of_the_others_is_left_out_and_named(tradeoff_example: Path) -> None:
    table = table_of(tradeoff_example, "tradeoff")
    assert "lora (rank=8)" not in rows_of(table)
    told = "left out, for want of a data set or of a seed that all data sets have: LoRA (rank 8)."
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
        "ViCLIP-B/16, packaged weights, 16 shots, Motion",
        "ViCLIP-Tiny, packaged weights, 4 shots, Motion",
        "ViCLIP-Tiny, packaged weights, 16 shots, Motion",
    ]
    groups = table_of(runs, "tradeoff").groups
    assert [group.title.split(", ")[-2:] for group in groups] == [title.split(", ")[-2:] for title in titles]


def test_numbers_selected_on_test_are_a_panel_of_their_own_without_a_front(store: Store, runs: Path) -> None:
    store(50.0, 50.0)
    store(60.0, 60.0, training={"select": "best-on-test"}, marks=["best-on-test"])
    honest, other = figure_of(runs, "tradeoff").panels()
    assert other.title == "ViCLIP-Tiny, packaged weights, 16 shots, Motion (epoch best on test)"
    assert (len(honest.front or ()), other.front) == (1, None)
    assert list(points_of(other)) == ["MSTA [T]"]


def test_a_front_is_explained_only_if_one_is_drawn(store: Store, runs: Path) -> None:
    store(60.0, 60.0, training={"select": "best-on-test"}, marks=["best-on-test"])
    assert not [note for note in figure_of(runs, "tradeoff").notes if "front" in note]
    store(50.0, 50.0)
    assert [note for note in figure_of(runs, "tradeoff").notes if note.startswith("Pareto front")]


def test_points_carry_their_interval_and_their_records(tradeoff_example: Path) -> None:
    by_seeds = points_of(figure_of(tradeoff_example, "tradeoff"))["LoRA [D]"]
    assert (by_seeds.x, len(by_seeds.trials)) == (0.036864, 6)
    cell = cell_of(table_of(tradeoff_example, "tradeoff"), "lora", "Mean", "HM")
    assert by_seeds.y == cell.value
    assert by_seeds.y_range == pytest.approx((cell.value - cell.std, cell.value + cell.std))
    figure = figure_of(tradeoff_example, "tradeoff", statistics=True)
    low, high = points_of(figure)["LoRA [D]"].y_range or (0.0, 0.0)
    assert high - low > 2 * cell.std, "eight clips"
    assert "Error bars: 95 % interval over clips and seeds." in figure.notes


def test_marked_points_say_so(tradeoff_example: Path) -> None:
    figure = figure_of(tradeoff_example, "tradeoff")
    assert "Full fine-tuning [CD]" in points_of(figure)
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


# Axes that are chosen


@pytest.fixture
def with_costs(store: Store, runs: Path) -> Path:
    """Four methods with base2novel records, and cost records of all but msta on two devices."""
    for method, base in (("zero_shot", 50.0), ("lora", 70.0), ("msta", 75.0), ("full_finetune", 80.0)):
        for seed in range(2):
            hyper = {} if method == "zero_shot" else METHODS.get(method)().values()
            store(base + seed, base - 10.0, method, seed, hyper_parameters=hyper)
    for device, factor in (("A100", 2.0), ("H200", 1.0)):
        for method, memory, speed in (
            ("zero_shot", None, 100.0),
            ("lora", 40.0, 90.0),
            ("full_finetune", 2_000.0, 80.0),
        ):
            metrics = {"flops_g": 10.0, "throughput_videos_per_s": speed / factor, "rounds": 5.0}
            metrics |= {} if memory is None else {"peak_memory_mib": memory * factor}
            _write_cost(runs, method, device, metrics)
    return runs


def _write_cost(runs: Path, method: str, device: str, metrics: dict[str, float], *, marks: Sequence[str] = ()) -> None:
    trial = recording.trial_of(
        METHODS.get(method)(), "1", references={"frozen": "zero_shot", "full": "full_finetune"}, setting_version="1",
        backbone="viclip-tiny", weights="random", weights_sha256="random", device=device, threads=8, precision="fp32",
        batch=1, classes=26, merged=False,
    )  # fmt: skip
    found = {"trainable_params": float(TRAINABLE.get(method, 1000)), "total_params": 2000.0, **metrics}
    recording.record(
        runs, trial, metrics=found, absent={}, rounds=[], trainable_params=1000, backbone_params=2000,
        environment={"device": device}, seconds=1.0, notes=[], marks=marks,
    )  # fmt: skip


def _chosen(runs: Path, x: str = "", y: str = "", conditions: str = "") -> tuple[Table, Figure]:
    evidence = Evidence(pb.load_records(runs), axes=(x, y), conditions=conditions)
    source = TABLES.get("tradeoff")()
    return source.build(evidence), source.figure(evidence)


def _on_front(table: Table) -> dict[str, Any]:
    return {label: row.cells[-1].value for label, row in rows_of(table).items()}


def test_the_usual_axes_by_name_are_the_usual_table(tradeoff_example: Path) -> None:
    table, figure = _chosen(tradeoff_example, "trainable_params", "harmonic_mean")
    assert (table, figure) == (table_of(tradeoff_example, "tradeoff"), figure_of(tradeoff_example, "tradeoff"))


def test_costs_are_joined_to_rows_and_devices_are_panels(with_costs: Path) -> None:
    table, figure = _chosen(with_costs, "training_memory", "base_top1")
    assert [panel.title for panel in figure.panels()] == [
        f"ViCLIP-Tiny, packaged weights, 16 shots, Motion, on {device}" for device in ("A100", "H200")
    ]
    assert figure.x == Axis("Training memory (MiB)", logarithmic=True), "40 to 2,000"
    assert points_of(figure)["LoRA"].x == 80.0
    assert points_of(figure.beside[0])["LoRA"].x == 40.0
    assert len(points_of(figure)["LoRA"].trials) == 3, "two runs and the cost record"
    assert figure.beside[0].front == ((40.0, 70.5), (2_000.0, 80.5))
    assert set(points_of(figure)) == {"LoRA", "Full fine-tuning"}, "no memory of training nothing"
    assert [group.title.rpartition(", ")[2] for group in table.groups] == ["on A100"] * 3 + ["on H200"] * 3
    assert "no such cost, and so not on the front: Zero-shot, MSTA + L_CC." in notes_of(table)
    assert "petl-bench cost --methods msta --backbone viclip-tiny" in table.commands


def test_conditions_choose_and_unknown_ones_are_one_line(with_costs: Path) -> None:
    _, figure = _chosen(with_costs, "training_memory", conditions="H200, fp32")
    assert figure.beside == ()
    assert any("Measured with: batch 1, fp32, on H200" in note for note in figure.notes)
    with pytest.raises(UsageError, match=r"--conditions B200: no cost record has them. There are: .*on A100.*; .*H200"):
        _chosen(with_costs, "training_memory", conditions="B200")


def test_conditions_without_a_cost_are_refused(with_costs: Path) -> None:
    for x in ("", "base_top1"):
        with pytest.raises(UsageError, match="--conditions: neither axis is a cost"):
            _chosen(with_costs, x, conditions="H200")


def test_what_no_device_changes_is_shown_once(with_costs: Path) -> None:
    _, figure = _chosen(with_costs, "flops_g")
    assert figure.beside == ()


def test_more_may_be_better_along_x(with_costs: Path) -> None:
    table, figure = _chosen(with_costs, "throughput_videos_per_s", "novel_top1", "H200")
    assert figure.more_x_is_better
    assert figure.front == ((80.0, 70.0), (90.0, 60.0), (100.0, 40.0))
    assert _on_front(table) == {"zero_shot": "yes", "lora": "yes", "full_finetune": "yes", "msta": None}
    assert not figure.x.logarithmic


def test_two_metrics_have_ranges_along_both_axes(with_costs: Path) -> None:
    table, figure = _chosen(with_costs, "base_top1", "novel_top1")
    point = points_of(figure)["LoRA"]
    assert (point.x, point.y) == (70.5, 60.0)
    assert point.x_range == pytest.approx((70.5 - math.sqrt(0.5), 70.5 + math.sqrt(0.5)))
    assert figure.front == ((80.5, 70.0),)
    assert not table.commands


def test_two_costs_need_no_other_records(with_costs: Path) -> None:
    table, figure = _chosen(with_costs, "throughput_videos_per_s", "trainable_params", "A100")
    assert points_of(figure)["LoRA"].x == 45.0
    assert figure.front == ((50.0, 0.0),), "fast, and trains nothing"
    assert _on_front(table) == {"zero_shot": "yes", "lora": "no", "full_finetune": "no"}
    assert not figure.y.logarithmic, "zero has no place along y"


def test_a_cost_with_a_mark_keeps_its_row_off_the_front(with_costs: Path) -> None:
    _write_cost(with_costs, "adaptformer", "H200", {"latency_ms": 1.0, "peak_memory_mib": 1.0}, marks=["busy-device"])
    _write_cost(with_costs, "lora", "B200", {"latency_ms": 2.0, "peak_memory_mib": 2.0})
    _, timed = _chosen(with_costs, "latency_ms", "peak_memory_mib")
    fronts = {panel.title: panel.front for panel in timed.panels()}
    assert fronts == {"ViCLIP-Tiny, on B200": ((2.0, 2.0),), "ViCLIP-Tiny, on H200": None}
    assert "AdaptFormer [B]" in points_of(timed.beside[0])
    _, sizes = _chosen(with_costs, "trainable_params", "peak_memory_mib", "H200")
    assert "AdaptFormer" in points_of(sizes), "memory is not a matter of time"


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ("trainmem", "", "unknown axis 'trainmem'; did you mean training_memory"),
        ("", "harmonic", "unknown axis 'harmonic'; did you mean harmonic_mean"),
        ("base_top1", "base_top1", "are both base_top1: a trade-off has two axes"),
        ("top1", "base_top1", "--x top1 is of few_shot, --y base_top1 of base2novel: take two of one setting"),
        ("latency_ms", "", "no cost record here. Make some: petl-bench cost"),
        ("base_top1@best", "", "unknown axis"),
    ],
)
def test_wrong_axes_are_one_line(tradeoff_example: Path, few_shot: Store, x: str, y: str, said: str) -> None:
    few_shot(50.0)
    with pytest.raises(UsageError, match=said) as raised:
        _chosen(tradeoff_example, x, y)
    assert "\n" not in str(raised.value)


def test_a_metric_of_several_settings_is_named_with_its_setting(few_shot: Store, keep: Store, runs: Path) -> None:
    few_shot(50.0, shots=4)
    keep({"top1": 80.0, "top5": 90.0}, setting="fully_supervised", shots=None)
    with pytest.raises(UsageError, match=r"say which: few_shot.top1, fully_supervised.top1"):
        _chosen(runs, "", "top1")
    table, figure = _chosen(runs, "", "few_shot.top1")
    assert [point.y for point in points_of(figure).values()] == [50.0]
    assert "4 shots" in table.groups[0].title
    assert "HM" not in notes_of(table)


def test_costs_of_other_hyper_parameters_are_not_joined(store: Store, runs: Path) -> None:
    store(50.0, 50.0, "lora", hyper_parameters={**METHODS.get("lora")().values(), "rank": 32})
    _write_cost(runs, "lora", "H200", {"latency_ms": 1.0})
    with pytest.raises(UsageError, match=r"for any row. Make some: petl-bench cost --methods lora"):
        _chosen(runs, "latency_ms")
