"""The first lines of the page: which row is best on what, by how much, is it real, what does it cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import HOSTILE, add_costs, add_run

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.page import overview
from petl_bench.page.run_facts import StoredRunFacts
from petl_bench.page.summary import BestRow, Cost, Gain, main_columns, summary_of
from petl_bench.page.tables import facts_of_rows, places_of
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.tables.ranking import ranked


class _Facts:
    """Three seeds behind every number, and a cost."""

    def seeds(self, trials: Sequence[str]) -> int:
        return len(trials)

    def method(self, trials: Sequence[str]) -> str:
        return ""

    def cost(self, trials: Sequence[str]) -> Cost | None:
        return Cost("6.5 ms", "H200", ("busy-device",)) if trials else None


_THREE = ("a", "b", "c")
_TRAINED, _BASE, _HM = Column("M", "Trained", ".3g"), Column("Base", "hmdb51"), Column("HM", "hmdb51")


def _row(label: str, number: float | None, **cell: Any) -> Row:
    given = {"std": 0.5, "n": 3, "interval": (60.0, 70.0), "trials": _THREE, **cell}
    shown = Cell(number, **given) if number is not None else Cell(origin="absent", source="not run")
    facts = (("method", label), ("backbone", "viclip-b16"), ("weights", "synthetic"))
    return Row(label, (Cell(8.7), Cell(50.0, n=3, trials=_THREE), shown), facts=facts)


def _group(section: str, *rows: Row, title: str = "Run here: viclip-b16 (synthetic weights)") -> RowGroup:
    columns = zip(*(row.cells for row in rows), strict=True)
    own = [ranked(cells, column) for cells, column in zip(columns, (_TRAINED, _BASE, _HM), strict=True)]
    own[0] = [row.cells[0] for row in rows]
    cells = zip(*own, strict=True)
    return RowGroup(
        title, tuple(Row(r.label, c, r.marks, facts=r.facts) for r, c in zip(rows, cells, strict=True)), section
    )


def _table(*groups: RowGroup) -> Table:
    return Table("base2novel", "Base-to-novel: top-1", "Method", (_TRAINED, _BASE, _HM), groups)


def _line(*groups: RowGroup) -> BestRow:
    (found,) = summary_of([_table(*groups)], _Facts()).findings
    (line,) = found.lines
    return line


def test_a_line_says_what_is_best_by_how_much_and_at_what_cost() -> None:
    found = summary_of(
        [
            _table(
                _group("zero-shot", _row("zero-shot", 50.0)),
                _group("parameter-efficient", _row("LoRA", 64.0), _row("MSTA", 66.3), _row("AdaptFormer", 65.1)),
                _group("full fine-tuning", _row("full fine-tuning", 67.0)),
            )
        ],
        _Facts(),
    )
    (findings,) = found.findings
    assert (findings.title, findings.metric) == ("Base-to-novel", "HM")
    assert (findings.of, findings.family) == ("viclip-b16 (synthetic weights)", "parameter-efficient")
    (line,) = findings.lines
    assert (line.on, line.best, line.number) == ("hmdb51", ("MSTA",), "66.3 ± 0.5")
    assert line.second == Gain("AdaptFormer", "+1.2", "")
    assert line.zero_shot == Gain("zero-shot", "+16.3", "")
    assert line.full == Gain("full fine-tuning", "−0.7", "")
    assert (line.kind, line.verdict) == ("apart", "told apart from all 2 others (3 seeds)")
    assert (line.trained, line.cost) == ("8.7 M", Cost("6.5 ms", "H200", ("busy-device",)))
    assert line.cost_signs == "B"
    assert ("B", "others used the device while it was measured") in found.marks
    assert found.conditions == "H200"


def test_what_no_test_tells_apart_is_not_called_real() -> None:
    alike = _group(
        "parameter-efficient",
        *(_row(label, 64.0 + place, alike=True) for place, label in enumerate("ABCDEF")),
        _row("G", 40.0),
    )
    line = _line(alike)
    assert (line.kind, line.verdict) == ("alike", "not told apart from A, B, C, D and 1 more (3 seeds)")


def test_one_seed_tells_nothing_apart() -> None:
    one = {"alike": True, "trials": ("a",)}
    line = _line(_group("parameter-efficient", _row("A", 64.0, **one), _row("B", 65.0, **one)))
    assert (line.kind, line.verdict) == ("alike", "one seed: not told apart from 1 other")


def test_without_a_test_nothing_is_said_to_be_real() -> None:
    line = _line(_group("parameter-efficient", _row("A", 64.0, interval=None), _row("B", 65.0, interval=None)))
    assert (line.kind, line.verdict) == ("untested", "not tested (3 seeds)")


def test_equal_figures_share_the_line() -> None:
    other = _row("B", 65.02, std=1.25, trials=(), marks=("untuned-rate",))
    line = _line(_group("parameter-efficient", _row("A", 65.01), other, _row("C", 60.0)))
    assert (line.best, line.signs) == (("A", "B"), "U")
    assert (line.number, line.trained, line.cost) == ("65.0", "8.7 M", None), "only what is true of both"


def test_a_reference_that_is_not_what_its_heading_says_is_named() -> None:
    def against(*rows: Row) -> Gain | None:
        families = _group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)), _group("full fine-tuning", *rows)
        return _line(*families).full

    assert against(_row("full_finetune", 64.0), _row("other", 63.0)) == Gain(
        "full_finetune", "+1.0", "", is_named=False
    )
    assert against(_row("full_finetune", 63.0), _row("wise_ft", 64.0)) == Gain("wise_ft", "+1.0", "", is_named=True)


def test_a_single_row_is_not_called_better_than_others() -> None:
    found = summary_of([_table(_group("parameter-efficient", _row("A", 64.0)))], _Facts())
    assert [line.verdict for each in found.findings for line in each.lines] == ["no other ranked row"]
    assert found.sentences == ()


def test_a_row_with_a_mark_that_bars_it_is_never_the_best() -> None:
    barred = _row("A", 99.0, marks=("best-on-test",))
    line = _line(_group("parameter-efficient", barred, _row("B", 65.0), _row("C", 60.0)))
    assert line.best == ("B",)
    (only,) = [_table(_group("parameter-efficient", barred))]
    assert summary_of([only], _Facts()).findings == ()


def test_a_reference_with_a_mark_shows_its_sign_and_what_it_means() -> None:
    table = _table(
        _group("zero-shot", _row("zero-shot", 50.0, marks=("at-chance",))),
        _group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)),
    )
    found = summary_of([table], _Facts())
    assert found.findings[0].lines[0].zero_shot == Gain("zero-shot", "+15.0", "A", is_named=True)
    assert [sign for sign, _ in found.marks] == ["A", "B"]


def test_rows_of_other_backbones_are_lines_of_their_own() -> None:
    other = "Run here: clip-b16 (synthetic weights)"
    found = summary_of(
        [
            _table(
                _group("zero-shot", _row("zero-shot", 80.0), title=other),
                _group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)),
            )
        ],
        _Facts(),
    )
    assert [(each.of, each.lines[0].zero_shot) for each in found.findings] == [
        ("viclip-b16 (synthetic weights)", None),
        ("clip-b16 (synthetic weights)", None),
    ]


def test_a_sentence_counts_and_claims_no_more_than_the_tests() -> None:
    apart = _table(_group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)))
    alike = _table(_group("parameter-efficient", _row("A", 65.0, alike=True), _row("B", 64.0, alike=True)))
    assert summary_of([apart, alike], _Facts()).sentences == (
        "A is best of the parameter-efficient rows in 2 of 2 results on viclip-b16 (synthetic weights); "
        "a test tells it from all others in 1.",
    )


def test_a_sentence_names_all_methods_that_are_best_equally_often() -> None:
    first = _table(_group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)))
    second = _table(_group("parameter-efficient", _row("A", 60.0), _row("B", 65.0)))
    assert summary_of([first, second], _Facts()).sentences == (
        "A, B are each best of the parameter-efficient rows in 1 of 2 results on viclip-b16 (synthetic weights).",
    )


def test_a_sentence_does_not_claim_tests_that_were_not_made() -> None:
    table = _table(_group("parameter-efficient", _row("A", 65.0, interval=None), _row("B", 60.0, interval=None)))
    (sentence,) = summary_of([table, table], _Facts()).sentences
    assert sentence.endswith("in 2 of 2 results on viclip-b16 (synthetic weights); these are not tested.")


class _OneMethod(_Facts):
    """Rows called A, with or without values, are of one method."""

    def method(self, trials: Sequence[str]) -> str:
        return "A" if "of A" in trials else "B"


def test_a_sentence_counts_a_method_whatever_values_its_rows_are_called_by() -> None:
    b = _row("B", 60.0)
    first = _table(_group("parameter-efficient", _row("A", 65.0, trials=("of A",)), b))
    second = _table(_group("parameter-efficient", _row("A (rank 8)", 65.0, trials=("of A",)), b))
    (sentence,) = summary_of([first, second], _OneMethod()).sentences
    assert sentence.startswith("A is best of the parameter-efficient rows in 2 of 2 results on")


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        (("Base", "Novel", "HM"), "HM"),
        (("K=2", "K=16"), "K=16"),
        (("Top-1", "Top-5"), "Top-1"),
        (("R@1", "MnR"), "R@1"),
    ],
)
def test_one_column_of_each_data_set_is_shown(labels: tuple[str, ...], chosen: str) -> None:
    columns = tuple(Column(label, "hmdb51") for label in labels)
    row = Row("A", tuple(Cell(50.0, n=3, rank="best") for _ in columns))
    table = Table("x", "X", "Method", columns, (RowGroup("", (row,), "parameter-efficient"),))
    assert [table.columns[at].label for at in main_columns(table)] == [chosen]


def test_very_many_lines_are_cut_and_counted() -> None:
    table = _table(_group("parameter-efficient", _row("A", 65.0), _row("B", 60.0)))
    found = summary_of([table] * 150, _Facts())
    assert (found.count, found.left_out) == (120, 30)


def test_lines_of_records_agree_with_their_table(tmp_path: Path) -> None:
    for method in ("zero_shot", "lora", "msta"):
        for seed in range(3):
            add_run(tmp_path, method, seed)
    records = pb.load_records(tmp_path)
    table = TABLES.get("base2novel")().build(Evidence(records, outcomes=StoredOutcomes([tmp_path])))
    (findings,) = summary_of([table], StoredRunFacts(records)).findings
    (line,) = findings.lines
    own = records[records["metric"] == "harmonic_mean"].groupby("method")["value"].mean()
    assert line.best == ("MSTA",)
    assert line.second is not None and line.second.over == "LoRA"
    group = next(each for each in table.groups if each.section == "parameter-efficient")
    cells = {row.label: row.cells[main_columns(table)[0]] for row in group.rows}
    assert line.number.startswith(f"{cells['msta'].value:.1f}")
    assert (line.kind == "alike") == cells["msta"].alike
    assert own["msta"] > own["lora"]


def test_costs_are_those_of_the_same_method_with_its_conditions(tmp_path: Path) -> None:
    key = add_run(tmp_path, "msta", 0, hyper_parameters={})
    other = add_run(tmp_path, "lora", 0, hyper_parameters={"rank": 4})
    add_costs(tmp_path, "msta", {"train_step_ms": 6.5, "throughput_videos_per_s": 100.0})
    add_costs(tmp_path, "lora", {"train_step_ms": 1.0})
    add_costs(tmp_path, "adaptformer", {"train_step_ms": 1234.5, "peak_memory_mib": 21_703.9})
    large = add_run(tmp_path, "adaptformer", 0, hyper_parameters={})
    records = pb.load_records(tmp_path)
    facts = StoredRunFacts(records)
    assert facts.cost((large,)) == Cost("1,230 ms per training step, 21,700 MiB")
    assert (facts.method((other,)), facts.method((key, other))) == ("LoRA", "")
    assert facts.cost((key,)) == Cost("6.5 ms per training step, 100 videos/s")
    conditions = {"device": "H200", "precision": "bf16", "batch_size": 8}
    measured = records["setting"] == "cost"
    records.loc[measured, "setting_options"] = json.dumps(conditions)
    own = StoredRunFacts(records).cost((key,))
    assert own is not None
    assert own.conditions == "H200, bf16, batch 8"
    records.loc[measured, "setting_options"] = json.dumps({**conditions, "merged": True})
    assert StoredRunFacts(records).cost((key,)) is None, "of the method as it trains"
    assert facts.cost((other,)) is None, "measured with other values"
    assert facts.cost(()) is None
    assert facts.seeds((key, other)) == 1


def test_costs_carry_the_marks_of_their_records_as_the_cost_table_does(tmp_path: Path) -> None:
    keys = [add_run(tmp_path, method, 0, hyper_parameters={}) for method in ("msta", "lora")]
    add_costs(tmp_path, "msta", {"train_step_ms": 6.5})
    add_costs(tmp_path, "lora", {"peak_memory_mib": 20_700.0})
    records = pb.load_records(tmp_path)
    records.loc[records["setting"] == "cost", "marks"] = "random-weights busy-device"
    timed, memory = (StoredRunFacts(records).cost((key,)) for key in keys)
    assert timed == Cost("6.5 ms per training step", "", ("random-weights", "busy-device"))
    assert memory == Cost("20,700 MiB", "", ("random-weights",)), "memory does not depend on who uses the device"


def test_facts_of_accuracies_are_counted_without_measurements_of_costs(tmp_path: Path) -> None:
    add_run(tmp_path, "lora", 0)
    add_costs(tmp_path, "msta", {"train_step_ms": 6.5})
    records = pb.load_records(tmp_path)
    is_cost = records["setting"] == "cost"
    records.loc[is_cost, ["device", "weights"]] = ["H200", "random"]
    found = {fact.name: fact for fact in overview.facts_of(records)}
    assert {
        name: found[name].count for name in ("Trials", "Methods", "Settings", "Weights", "Devices")
    } == dict.fromkeys(("Trials", "Methods", "Settings", "Weights", "Devices"), "1")
    assert "random" not in found["Weights"].values
    assert found["Measurements of costs"].count == "1"
    assert found["Measurements of costs"].values.startswith("weights: random; on H200")
    assert [fact.name for fact in overview.facts_of(records[is_cost])] == ["Measurements of costs"]


# One ranking


def test_places_are_those_of_rows_that_are_ranked_together() -> None:
    group = _group(
        "parameter-efficient",
        _row("A", 64.0),
        _row("B", 66.04),
        _row("C", 66.0),
        _row("D", 99.0, marks=("best-on-test",)),
        _row("E", None),
        _row("F", 50.0),
    )
    table = _table(group)
    assert [places[2] for places in places_of(group, table)] == [3, 1, 1, None, None, 4]
    assert {places[0] for places in places_of(group, table)} == {None}, "trained parameters rank nothing"


def test_facts_are_those_in_which_rows_differ() -> None:
    quoted = RowGroup("Quoted: a paper", (Row(HOSTILE, (Cell(), Cell(), Cell()), ("quoted",)),))
    names, rows = facts_of_rows(_table(_group("zero-shot", _row("A", 1.0)), _group("full fine-tuning", _row("B", 2.0))))
    assert (names, rows) == (["Group"], [["zero-shot"], ["full fine-tuning"]])
    names, rows = facts_of_rows(_table(_group("zero-shot", _row("A", 1.0)), quoted))
    assert names == ["Group", "Backbone", "Weights"]
    assert rows[1] == ["Quoted: a paper", "", ""]
    assert json.dumps(rows)
