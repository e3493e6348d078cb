from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tables import rows_of, table_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.errors import UsageError
from petl_bench.records.outcomes import StoredOutcomes

Store = Any
B16 = {"backbone": "viclip-b16", "weights": "ViCLIP.pth", "dataset": "ucf101"}


def _table(runs: Path) -> Table:
    source = TABLES.get("reproduction")()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    return table


def test_a_published_number_stands_beside_the_one_run_here(reproduction_example: Path) -> None:
    table = _table(reproduction_example)
    quoted, here, difference, low, high, inside = rows_of(table)["hmdb51 Base: lora (rank=4)"].cells
    assert (quoted.value, quoted.origin, quoted.source) == (77.2, "quoted", "MSTA (CVPR 2025), Table 2")
    assert (here.value, here.n, here.origin) == (75.5, 2, "run")
    assert difference.value == pytest.approx(1.7)
    half = 12.706 * math.sqrt(0.5) * math.sqrt(1 / 3 + 1 / 2)  # the paper's number is the mean of three runs
    assert (low.value, high.value) == pytest.approx((75.5 - half, 75.5 + half), abs=1e-3)
    assert inside.value == "yes"
    row = rows_of(table)["hmdb51 Base: lora (rank=4)"]
    assert row.display == "HMDB-51 Base: LoRA (rank 4)"
    assert dict(row.facts)["method"] == "lora"
    assert [group.heading for group in table.groups] == [
        "Table 2, Zero-ViCLIP",
        "Table 2, LoRA",
        "Table 2, MSTA + L_CC",
        "Table 3, MSTA",
    ]


def _base(table: Table, name: str = "ucf101 Base") -> tuple[Any, ...]:
    return tuple(cell.value for cell in rows_of(table)[name].cells)


def test_a_value_outside_of_the_interval_is_said_to_be(store: Store, runs: Path) -> None:
    for seed in range(3):
        store(10.0 + seed, 10.0, "lora", seed, hyper_parameters={"rank": 4}, **B16)
    table = _table(runs)
    assert _base(table)[5] == "no"
    assert _base(table, "ucf101 Novel")[3:] == (None, None, "not known: equal seeds")
    assert "Inside the prediction interval: 0 of 2" in table.footers[0]


@pytest.mark.parametrize(("step", "verdict"), [(1.25, "yes"), (0.1, "no")])
def test_three_seeds_and_three_runs_of_the_paper(step: float, verdict: str, store: Store, runs: Path) -> None:
    """LoRA's 95.1 on UCF-101 in Table 2, and seeds around 94.0: 94 -+ 4.303 * step * sqrt(1 / 3 + 1 / 3)."""
    for seed in range(3):
        store(94.0 + step * (seed - 1), 70.0, "lora", seed, hyper_parameters={"rank": 4}, **B16)
    quoted, here, _, low, high, inside = _base(_table(runs))
    half = 4.3027 * step * math.sqrt(2 / 3)
    assert (quoted, here, inside) == (95.1, pytest.approx(94.0), verdict)
    assert (low, high) == pytest.approx((94 - half, 94 + half), abs=1e-3)


def test_a_harmonic_mean_spreads_as_the_seeds_own(store: Store, runs: Path) -> None:
    values = [(90.0, 60.0), (92.0, 66.0), (94.0, 61.0)]
    for seed, (base, novel) in enumerate(values):
        store(base, novel, "lora", seed, hyper_parameters={"rank": 4}, **B16)
    own = [2 * base * novel / (base + novel) for base, novel in values]
    mean = sum(own) / 3
    spread = math.sqrt(sum((each - mean) ** 2 for each in own) / 2)
    half = 4.3027 * spread * math.sqrt(2 / 3)
    _, _, _, low, high, _ = _base(_table(runs), "ucf101 HM")
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-3)


def test_one_seed_has_no_interval_and_two_a_wide_one(store: Store, few_shot: Store, runs: Path) -> None:
    store(95.0, 70.0, "lora", hyper_parameters={"rank": 4}, **B16)
    table = _table(runs)
    assert _base(table)[3:] == (None, None, "not known: one seed")
    assert "0 of 0 whose interval is known" in table.footers[0]
    for seed in range(2):
        few_shot(93.0 + seed, "lora", seed, shots=16, hyper_parameters={"rank": 4}, **B16)
    low, high = _base(_table(runs), "ucf101 K=16")[3:5]
    assert high - low == pytest.approx(2 * 12.706 * math.sqrt(0.5) * math.sqrt(1.5), abs=1e-3), "one run, two seeds"


@pytest.mark.parametrize(("here", "verdict"), [(0.04, "yes"), (0.06, "no"), (-0.05, "yes"), (-0.06, "no")])
def test_the_last_digit_of_the_paper_is_given_its_half(here: float, verdict: str, store: Store, runs: Path) -> None:
    """A method that trains nothing has no spread: Zero-ViCLIP's 81.7 on UCF-101 is what it is."""
    for seed in range(3):
        store(81.7 + here, 70.0, "zero_shot", seed, hyper_parameters={}, **B16)
    assert _base(_table(runs))[5] == verdict


def test_predictions_are_not_needed(reproduction_example: Path) -> None:
    table = table_of(reproduction_example, "reproduction", published=True)
    assert _base(table, "hmdb51 Base: lora (rank=4)")[5] == "yes"


def test_table_8_has_the_accuracy_on_k600_and_times_without_a_verdict(transfer: Store, keep: Store, runs: Path) -> None:
    hyper = {"consistency_weight": 1.0}
    b16 = {"backbone": "viclip-b16", "weights": "ViCLIP.pth"}
    for split in "123":
        for seed in range(3):
            transfer(74.0 + seed, seed=seed, dataset="k600", split=split, hyper_parameters=hyper, **b16)
    options = {"device": "NVIDIA H200", "threads": 8, "precision": "bf16", "batch_size": 8, "classes": 400}
    options |= {"protocol": 1, "frozen": "zero_shot", "full": "full_finetune"}
    times = {"trainable_params": 1.0, "train_step_ms": 500.0, "throughput_videos_per_s": 70.0, "rounds": 9.0}
    shared = {
        "setting": "cost",
        "hyper_parameters": hyper,
        "dataset": "",
        "backbone": "viclip-b16",
        "weights": "random",
    }
    keep(times, setting_options={**options, "merged": False}, **shared)
    keep(times, setting_options={**options, "merged": True}, **shared)
    table = _table(runs)
    (group,) = [group for group in table.groups if group.title == "Table 8"]
    assert group.section == "MSTA + L_CC"
    shown = {row.label: tuple(cell.value for cell in row.cells) for row in group.rows}
    on = "on NVIDIA H200, batch 8, bf16"
    unknown = "not known: a time, the paper's batch and precision are not said"
    assert shown[f"Train step, seconds {on}"] == (0.51, 0.5, pytest.approx(0.01), None, None, unknown)
    assert shown[f"Inference, videos per second {on}"] == (65.7, 70.0, pytest.approx(4.3), None, None, unknown)
    half = 4.3027 * 1.0 * math.sqrt(4 / 3)
    assert shown["k600 Top-1"] == (74.5, 75.0, 0.5, *(pytest.approx(75 + s * half, abs=1e-3) for s in (-1, 1)), "yes")
    assert len(shown) == 3, "the merged one is another thing"


@pytest.mark.parametrize(
    "values",
    [
        {"weights": "random"},
        {"backbone": "viclip-l14"},
        {"dataset": "motion"},
        {"split": "2"},
        {"shots": 8},
    ],
)
def test_what_the_paper_did_not_run_belongs_to_no_number(store: Store, runs: Path, values: dict[str, Any]) -> None:
    store(80.0, 60.0, "lora", hyper_parameters={"rank": 4}, **{**B16, **values})
    with pytest.raises(UsageError, match="no record here belongs to a published number"):
        _table(runs)


def test_a_method_that_the_paper_does_not_have_belongs_to_no_number(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "text_adapter", hyper_parameters={}, **B16)
    with pytest.raises(UsageError, match="no record here belongs"):
        _table(runs)


def test_an_epoch_selected_on_test_is_a_row_of_its_own(store: Store, runs: Path) -> None:
    hyper = {"consistency_weight": 1.0}
    store(95.0, 70.0, "msta", hyper_parameters=hyper, **B16)
    chosen = {"training": {"select": "best-on-test"}, "marks": ["best-on-test"]}
    store(96.0, 72.0, "msta", hyper_parameters=hyper, **B16, **chosen)
    found = {label: row.cells[1] for label, row in rows_of(_table(runs)).items() if "Base" in label}
    assert sorted((cell.value, cell.marks) for cell in found.values()) == [(95.0, ()), (96.0, ("best-on-test",))]


def test_without_published_numbers_there_is_nothing_to_compare(reproduction_example: Path) -> None:
    with pytest.raises(UsageError, match="--no-published"):
        table_of(reproduction_example, "reproduction")
