"""Numbers that a method cannot have: a dash with the reason in every table, and nothing worked out from them."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_records import CLASSES, drawn_evaluation, exact, make_evaluation, make_trial, result_of
from tables import cell_of, figure_of, notes_of, rows_of, table_of

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import MARKS, OF_METHOD, barring, method_marks, with_method_marks
from petl_bench.api.method import Method
from petl_bench.api.registry import METHODS, TABLES
from petl_bench.cli.compare import command as compare
from petl_bench.cli.report import command as report
from petl_bench.errors import UsageError
from petl_bench.page.build import build_page
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.write import write_record
from petl_bench.render import FORMATS, render
from petl_bench.tables.compare_pair import compared_by
from petl_bench.tables.explain import explain

REASON = "it has no score for classes without training clips"
PROBE = "linear_probe"
Store = Any


def _write(runs: Path, result: Any, method: str, seed: int, **values: Any) -> str:
    trial = make_trial(method, seed, **values)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    write_record(folder, trial, result, created="2026-01-02T03:04:05+00:00")
    return trial.key


def _scored(
    runs: Path,
    accuracies: dict[str, float],
    method: str,
    seed: int = 0,
    *,
    marks: tuple[str, ...] = (),
    trainable: int = 1000,
    random: np.random.Generator | None = None,
    **values: Any,
) -> str:
    """A base2novel record of the halves that are named; the others are absent."""
    if random is None:
        evaluations = {name: make_evaluation(exact(value)) for name, value in accuracies.items()}
    else:
        evaluations = {name: drawn_evaluation(random, 60, value / 100) for name, value in accuracies.items()}
    metrics = {f"{name}_top1": each.top1 for name, each in evaluations.items()}
    if len(metrics) == 2:
        metrics["harmonic_mean"] = harmonic_mean(*metrics.values())
    result = result_of(metrics, evaluations, trainable=trainable, marks=marks)
    result.absent = {name: REASON for name in ("base", "novel") if name not in accuracies}
    return _write(runs, result, method, seed, **values)


@pytest.fixture
def probed(runs: Path) -> Path:
    """Two methods that score both halves, and one, the best on the base classes, that scores these alone."""
    random = np.random.default_rng(0)
    for seed in range(3):
        _scored(runs, {"base": 70, "novel": 60}, "lora", seed, random=random)
        _scored(runs, {"base": 75, "novel": 50}, "msta", seed, random=random)
        _scored(runs, {"base": 95}, PROBE, seed, random=random, marks=("closed-vocabulary",))
    return runs


# Tables


def test_an_absent_number_is_a_dash_with_its_reason(probed: Path) -> None:
    table = table_of(probed, "base2novel")
    for label in ("Novel", "HM"):
        cell = cell_of(table, PROBE, "motion", label)
        assert (cell.value, cell.std, cell.origin, cell.source) == (None, None, "absent", REASON)
        assert len(cell.trials) == 3 and cell.marks == ("absent-evaluation", "closed-vocabulary")
    assert f"–: no number from the evaluation novel: {REASON} [Linear probe]." in notes_of(table)
    assert not table.commands, "nothing is missing that could be run"


def test_every_format_shows_the_dash_the_signs_and_the_reason(probed: Path) -> None:
    table = table_of(probed, "base2novel")
    texts = {output_format: render(table, output_format) for output_format in FORMATS}
    for output_format, text in texts.items():
        assert REASON in " ".join(text.split()), output_format
        assert "closed vocabulary" in text or "closed-vocabulary" in text, output_format
    assert "– [MK]" in texts["terminal"]
    assert "– \\[MK\\]" in texts["markdown"]
    assert r"\textendash{}\rlap{\textsuperscript{MK}}" in texts["latex"]
    assert "–<sup>MK</sup>" in texts["html"]
    (line,) = [
        line for line in csv.DictReader(io.StringIO(texts["csv"])) if (line["row"], line["column"]) == (PROBE, "Novel")
    ]
    assert (line["value"], line["origin"], line["source"]) == ("", "absent", REASON)
    assert line["marks"] == "absent-evaluation closed-vocabulary"
    (row,) = [row for group in json.loads(texts["json"])["groups"] for row in group["rows"] if row["label"] == PROBE]
    assert [cell["value"] for cell in row["cells"]][-2:] == [None, None]
    assert [cell["source"] for cell in row["cells"]][-2:] == [REASON, REASON]


def test_what_gives_up_a_part_of_the_task_is_not_ranked_with_what_does_not(probed: Path) -> None:
    """The probe is best on the base classes, for which it gave up the novel ones."""
    table = table_of(probed, "base2novel")
    base = {label: cell_of(table, label, "motion", "Base") for label in rows_of(table)}
    assert base[PROBE].value == max(cell.value for cell in base.values())
    assert {label: cell.rank for label, cell in base.items()} == {"lora": "second", "msta": "best", PROBE: ""}
    assert base[PROBE].marks == ("absent-evaluation", "closed-vocabulary")


def test_it_is_no_norm_for_rows_that_do_all_of_the_task(runs: Path) -> None:
    for seed in range(5):
        _scored(runs, {"base": 95}, PROBE, seed, training={"epochs": 50})
    for seed in range(3):
        _scored(runs, {"base": 70, "novel": 60}, "lora", seed, training={"epochs": 10})
        _scored(runs, {"base": 75, "novel": 50}, "msta", seed, training={"epochs": 10})
    table = table_of(runs, "base2novel")
    assert [cell_of(table, label, "motion", "Base").marks for label in ("lora", "msta")] == [(), ()]


def test_a_closed_vocabulary_is_ranked_where_the_task_is_one(few_shot: Store, runs: Path) -> None:
    few_shot(70.0, "lora")
    few_shot(80.0, PROBE, marks=("closed-vocabulary",))
    table = table_of(runs, "few_shot")
    assert cell_of(table, PROBE, "motion", "K=2").rank == "best"
    assert "closed-vocabulary" in cell_of(table, PROBE, "motion", "K=2").marks
    ranks = next(note for note in table.provenance if note.startswith("Best and second"))
    assert "U, K)" in ranks
    figure = figure_of(runs, "few_shot")
    assert [series.label for series in figure.series] == [f"{PROBE} [K]", "lora"]


def test_no_test_is_made_of_a_number_that_is_absent(probed: Path) -> None:
    outcomes = StoredOutcomes([probed])
    found = compared_by(TABLES.get("base2novel")(), pb.load_records(probed))
    assert found is not None
    tests = PairwiseTests(found.comparison, [column.measure for column in found.columns], outcomes)
    assert tests.count == 3 + 1 + 1  # Base: all pairs; Novel and HM: that of the two which have them
    table = TABLES.get("base2novel")().build(Evidence(pb.load_records(probed), None, outcomes, baseline=PROBE))
    for label in ("Novel", "HM"):
        cell = cell_of(table, PROBE, "motion", label)
        assert cell.interval is None and not cell.alike and not cell.rank
        assert cell_of(table, "lora", "motion", label).delta is None
    assert cell_of(table, "lora", "motion", "Base").delta is not None
    assert cell_of(table, PROBE, "motion", "Base").interval is not None


def test_the_trade_off_leaves_it_out_and_says_why(probed: Path) -> None:
    table, figure = table_of(probed, "tradeoff"), figure_of(probed, "tradeoff")
    said = f"Left out, without a harmonic mean: {PROBE}: {REASON}."
    assert PROBE not in rows_of(table) and said in table.footers and said in figure.notes
    assert {series.label for series in figure.series} == {"lora", "msta"}


def test_a_trade_off_of_nothing_says_why(runs: Path) -> None:
    _scored(runs, {"base": 75}, PROBE)
    with pytest.raises(UsageError, match=f"no row has one seed on all of its data sets.*{REASON}"):
        table_of(runs, "tradeoff")


@pytest.mark.parametrize("table", ["ablation", "descriptions"])
def test_studies_have_it_too(runs: Path, table: str) -> None:
    for kinds in ("both", "spatial"):
        hyper = {"bottleneck_dim": 16, "consistency_weight": 1.0, "description_kinds": kinds}
        _scored(runs, {"base": 75}, "msta", hyper_parameters=hyper)
    cells = [row.cells[-1] for row in rows_of(table_of(runs, table)).values()]
    assert [(cell.value, cell.source) for cell in cells] == [(None, REASON)] * 2


def test_mean_class_accuracy_of_what_is_absent_is_absent(runs: Path) -> None:
    evaluation = make_evaluation(exact(75.0), expected=8)
    evaluation.labels = [0, 0, 0, 0, 0, 0, 0, 1]
    evaluation.scores = np.zeros((8, len(CLASSES)), dtype=np.float32)
    evaluation.scores[:, 0] = 1.0
    evaluation.top1, evaluation.mean_class_top1 = 87.5, 50.0
    metrics = {"base_top1": 87.5, "base_mean_class_top1": 50.0}
    result = result_of(metrics, {"base": evaluation}, trainable=1000)
    result.absent = {"novel": REASON}
    _write(runs, result, PROBE, 0)
    table = table_of(runs, "base2novel")
    assert cell_of(table, PROBE, "motion", "Base, mean class").value == 50.0
    assert cell_of(table, PROBE, "motion", "HM, mean class").source == REASON


# Every subset of absent halves


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([("base", "novel"), ("base",), ("novel",), ()]), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    statistics=st.booleans(),
)
def test_no_table_fails_whatever_is_absent(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[tuple[str, ...], int]], statistics: bool
) -> None:
    runs = tmp_path_factory.mktemp("any") / "runs"
    (runs / "trials").mkdir(parents=True)
    for (halves, seeds), method in zip(rows, ("lora", "msta", PROBE, "zero_shot"), strict=False):
        for seed, dataset in itertools.product(range(seeds), ("hmdb51", "ucf101")):
            data = {"dataset": dataset, "manifest_sha256": dataset[0] * 64, "hyper_parameters": {"rank": seeds}}
            _scored(runs, dict.fromkeys(halves, 62.5), method, seed, **data)
    records, outcomes = pb.load_records(runs), StoredOutcomes([runs]) if statistics else None
    for name in ("base2novel", "tradeoff", "ablation", "descriptions", "reproduction"):
        source = TABLES.get(name)()
        try:
            table = source.build(Evidence(records, source.published(), outcomes))
            source.figure(Evidence(records, source.published(), outcomes))
        except UsageError as error:
            assert str(error)
            continue
        for output_format in FORMATS:
            assert "nan" not in render(table, output_format).lower().split()
        cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
        assert all(cell.source for cell in cells if cell.value is None)


# Commands and page


def test_compare_says_what_it_cannot_compare(probed: Path) -> None:
    done = CliRunner().invoke(compare, [PROBE, "lora", "--runs", str(probed)], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"not compared: base2novel, motion Novel: {PROBE} has no number: {REASON}" in done.stdout
    assert f"not compared: base2novel, motion HM: {PROBE} has no number: {REASON}" in done.stdout
    assert f"with a reservation: {MARKS['closed-vocabulary'].meaning}" in done.stdout
    assert "not compared" not in CliRunner().invoke(compare, ["msta", "lora", "--runs", str(probed)]).stdout


def test_compare_says_why_nothing_can_be_compared(runs: Path) -> None:
    for seed in range(2):
        _scored(runs, {"base": 75}, PROBE, seed)
        _scored(runs, {"novel": 75}, "other", seed)
    done = CliRunner().invoke(compare, [PROBE, "other", "--runs", str(runs)], standalone_mode=False)
    assert f"{PROBE} and other have no number in common here: " in str(done.exception)
    assert REASON in str(done.exception)


def test_explain_says_why(probed: Path) -> None:
    lines = list(explain(table_of(probed, "base2novel"), PROBE, "motion HM", [probed]))
    assert f"  nothing here: {REASON}" in lines
    assert sum(line.startswith("  trial ") for line in lines) == 3


def test_the_page_shows_it(probed: Path) -> None:
    source = TABLES.get("base2novel")()
    page = build_page([source], Evidence(pb.load_records(probed), outcomes=StoredOutcomes([probed])), [probed]).decode()
    assert "–<sup>MK</sup>" in page
    assert REASON in page
    assert f'"{PROBE} [K]"' in page, "in the pictures"


def test_report_prints_it(probed: Path) -> None:
    done = CliRunner().invoke(report, ["--runs", str(probed), "--table", "base2novel"], catch_exceptions=False)
    assert done.exit_code == 0 and "– [MK]" in done.stdout and REASON in " ".join(done.stdout.split())


def test_selecting_on_test_clips_is_worked_out_from_pairs_that_have_all_numbers(runs: Path) -> None:
    for select in ("last", "best-on-test"):
        _scored(runs, {"base": 75}, PROBE, training={"select": select})
        _scored(runs, {"base": 75 if select == "last" else 87.5, "novel": 50}, "lora", training={"select": select})
    assert "changes accuracy by +6.25 points, mean over 1 pairs" in notes_of(table_of(runs, "base2novel"))


# Marks that methods declare


def test_the_seven_methods_declare_nothing_that_needs_a_mark() -> None:
    seven = ("adaptformer", "full_finetune", "lora", "msta", "text_adapter", "vision_adapter", "zero_shot")
    assert {name: method_marks(METHODS.get(name)) for name in seven} == {name: [] for name in seven}


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        ({"novel": "none"}, "closed-vocabulary"),
        ({"novel": "frozen"}, "frozen-novel"),
        ({"text_varies": "video"}, "text-per-video"),
        ({"training_free": True}, "training-free"),
    ],
)
def test_a_declaration_gives_its_mark(declared: dict[str, Any], word: str) -> None:
    assert method_marks(type("Declaring", (Method,), declared)) == [word]
    assert barring([word]) == ()
    assert with_method_marks("row", [word, "untuned-rate"]) == f"row [{MARKS[word].symbol}]"


def test_marks_have_letters_of_their_own() -> None:
    symbols = [mark.symbol for mark in MARKS.values()]
    assert len(set(symbols)) == len(symbols) and all(len(symbol) == 1 for symbol in symbols)
    assert set(OF_METHOD) <= MARKS.keys()


def test_what_uses_training_clips_without_training_is_not_ranked_with_zero_shot_rows(runs: Path) -> None:
    _scored(runs, {"base": 50, "novel": 50}, "zero_shot", trainable=0)
    _scored(runs, {"base": 75, "novel": 50}, "tip_adapter", trainable=0, marks=("training-free",))
    _scored(runs, {"base": 62.5, "novel": 50}, "other_cache", trainable=0, marks=("training-free",))
    table = table_of(runs, "base2novel")
    assert [group.section for group in table.groups] == ["zero-shot", "training-free"]
    assert [cell_of(table, label, "motion", "Base").rank for label in ("zero_shot", "tip_adapter")] == ["", "best"]
    assert "– " not in render(table, "terminal")
