"""The table and figure `frontier`, and what `compare` says of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import notes_of, rows_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Axis, Figure, Point, Series, pareto_front
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.errors import UsageError
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.render import figures
from petl_bench.tables.frontier import dominance_lines, dominates, short_value
from tests.commands import petl_bench

Store = Any
_POINTS = st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 2), min_size=1, max_size=8)


def _evidence(runs: Path, over: str = "", *, statistics: bool = False) -> Evidence:
    return Evidence(pb.load_records(runs), outcomes=StoredOutcomes([runs]) if statistics else None, over=over)


def _table(runs: Path, over: str = "", *, statistics: bool = False) -> Table:
    table: Table = TABLES.get("frontier")().build(_evidence(runs, over, statistics=statistics))
    return table


def _figure(runs: Path, over: str = "") -> Figure:
    figure: Figure = TABLES.get("frontier")().figure(_evidence(runs, over))
    return figure


def _column(table: Table, label: str) -> dict[str, Any]:
    place = [column.label for column in table.columns].index(label)
    return {name: row.cells[place].value for name, row in rows_of(table).items()}


@given(_POINTS)
def test_what_nothing_dominates_is_the_front(points: list[tuple[float, float]]) -> None:
    free = {point for point in points if not any(dominates(other, point) for other in points)}
    assert tuple(sorted(free)) == pareto_front(points, more_x_is_better=True)


@given(_POINTS)
def test_dominance_is_a_strict_order(points: list[tuple[float, float]]) -> None:
    for a, b, c in itertools.product(points, repeat=3):
        assert not dominates(a, a)
        assert not (dominates(a, b) and dominates(b, a))
        assert dominates(a, c) or not (dominates(a, b) and dominates(b, c))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "1e-3"), (2.5e-5, "2.5e-5"), (0.1, "0.1"), (16.0, "16"), (16, "16"), (0.0, "0"), (None, "none"),
        (True, "true"), ("both", "both"), (0.0123456, "1.23456e-2"), (1 / 3e5, "3.3333333333333333e-6"),
    ],
)  # fmt: skip
def test_values_are_short_and_exact(value: Any, text: str) -> None:
    assert short_value(value) == text or float(short_value(value)) == value


def test_dominated_rows_name_what_dominates_them(frontier_example: Path) -> None:
    table = _table(frontier_example)
    assert _column(table, "Dominated by") == {
        "zero_shot": "MSTA 6e-4 and 3 more",
        "lora (rank=4, training.learning_rate=0.001)": "MSTA 6e-4 and 1 more",
        "lora (rank=4, training.learning_rate=0.002)": "MSTA 8.85e-4",
        "lora (rank=4, training.learning_rate=0.01)": "MSTA 8.85e-4 and 1 more",
        "lora (rank=8, training.learning_rate=0.001)": None,
        "msta (training.learning_rate=0.0006)": "none",
        "msta (training.learning_rate=0.000885)": "none",
    }
    recipe = _column(table, "Recipe")
    assert [name for name, value in recipe.items() if value == "yes"] == [
        "lora (rank=4, training.learning_rate=0.002)",
        "msta (training.learning_rate=0.000885)",
    ]
    assert recipe["zero_shot"] is None
    assert not [cell for row in rows_of(table).values() for cell in row.cells if cell.rank], "nothing is best"
    assert "selects none" in notes_of(table)
    assert "no tests were asked for" in notes_of(table)


def test_what_a_test_supports_is_said(store: Store, runs: Path) -> None:
    for seed in range(3):
        store(12.5, 50.0, "lora", seed, hyper_parameters={}, training={"learning_rate": 1e-3})
        store(100.0, 50.0, "lora", seed, hyper_parameters={}, training={"learning_rate": 3e-3})
    table = _table(runs, statistics=True)
    told = _column(table, "Told apart in")
    assert told == {"lora (training.learning_rate=0.001)": "Base", "lora (training.learning_rate=0.003)": None}
    assert all(row.cells[0].interval for row in rows_of(table).values())


def test_the_figure_has_a_line_for_each_method_in_the_order_of_values(frontier_example: Path) -> None:
    figure = _figure(frontier_example)
    shown = {series.label: [point.label for point in series.points] for series in figure.series}
    assert shown == {
        "Zero-shot": [""],
        "LoRA (rank 4)": ["1e-3", "2e-3", "1e-2"],
        "LoRA (rank 8)": ["[S]"],
        "MSTA": ["6e-4", "8.85e-4"],
    }
    assert [series.line for series in figure.series] == [False, True, True, False]
    assert len({series.kind for series in figure.series}) == 4
    points = [point for series in figure.series for point in series.points]
    assert [point.label for point in points if point.ringed] == ["2e-3", "8.85e-4"]
    assert [point.label for point in points if not point.hollow] == ["6e-4", "8.85e-4", "[S]"]
    assert figure.front == ((75.0, 75.0), (87.5, 62.5))
    assert any("selects none" in note for note in figure.notes)
    assert any(note.startswith("S: fewer seeds") for note in figure.notes)


@pytest.mark.parametrize("over", ["rank", "lora.rank"])
def test_any_option_can_be_chosen(frontier_example: Path, store: Store, over: str) -> None:
    for seed in range(2):
        store(62.5, 62.5, "lora", seed, hyper_parameters={"rank": 16, "alpha": 8.0}, training={"learning_rate": 2e-3})
    figure = _figure(frontier_example, over)
    several = {series.label: [point.label for point in series.points] for series in figure.series if series.line}
    assert list(several.values()) == [["4", "8 [S]"], ["4", "16"]]
    assert "Frontier over" in _table(frontier_example, over).title


def test_panels_without_several_values_are_not_shown(frontier_example: Path, store: Store) -> None:
    store(50.0, 50.0, "lora", shots=4)
    store(50.0, 50.0, "lora", backbone="viclip-b16")
    assert [panel.title for panel in _figure(frontier_example).panels()] == [
        "ViCLIP-Tiny, packaged weights, 16 shots, Motion"
    ]


def test_wrong_options_are_one_clear_line(frontier_example: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown option 'lora.rang'; did you mean lora.rank"):
        _table(frontier_example, "lora.rang")
    with pytest.raises(UsageError, match=r"no two base2novel rows here differ in training.epochs alone. Make some: "):
        _table(frontier_example, "training.epochs")
    with pytest.raises(UsageError, match="no base2novel record here"):
        records = pb.load_records(frontier_example)
        TABLES.get("frontier")().build(Evidence(records[records["setting"] == "few_shot"]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "base2novel", "--over", "rank"], "--over: the table base2novel has no option to choose"),
        (["--all", "--output", "d", "--over", "rank"], "the page and --all choose their own. Type: --table frontier"),
        (["--table", "frontier", "--x", "top1"], "the table frontier has none to choose"),
    ],
)
def test_wrong_flags_are_one_clear_line_and_exit_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = petl_bench("report", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_says_at_which_value_one_is_above_the_other(frontier_example: Path) -> None:
    source = TABLES.get("frontier")()
    evidence = _evidence(frontier_example)
    start = "frontier, ViCLIP-Tiny, packaged weights, 16 shots, Motion: "
    above = (
        f"{start}MSTA at learning rate 8.85e-4 dominates 3 of 4 points of LoRA, all that may be ranked (not told apart)"
    )
    assert dominance_lines(source, evidence, "msta", "lora") == [above]
    assert dominance_lines(source, evidence, "LoRA", "MSTA") == [above]
    (line,) = dominance_lines(source, evidence, "zero_shot", "msta")
    assert line == f"{start}MSTA at learning rate 6e-4 dominates Zero-shot (not told apart)"
    assert dominance_lines(source, evidence, "msta", "msta") == []
    assert dominance_lines(source, evidence, "msta", "nothing") == []
    assert dominance_lines(source, replace(evidence, over="training.epochs"), "msta", "lora") == []


def test_compare_of_methods_with_several_rates_ends_well(exact_store: Store, runs: Path) -> None:
    for seed in range(2):
        for rate, base, novel in ((1e-3, 50.0, 75.0), (3e-3, 75.0, 50.0)):
            exact_store(base, novel, "lora", seed, hyper_parameters={}, training={"learning_rate": rate})
        exact_store(62.5, 62.5, "msta", seed)
    done = petl_bench("compare", "msta", "lora", "--runs", str(runs))
    assert done.returncode == 0, done.stderr
    assert "no point of either dominates the whole other method" in done.stdout
    assert "dominated are 0 of 2 points of LoRA by MSTA, 0 of 1 of MSTA by LoRA" in done.stdout
    assert "No two rows were compared: lora was run in several ways; say which" in done.stdout
    assert petl_bench("compare", "msta", "lora", "--runs", str(runs), "--table", "base2novel").returncode == 2
    alone = petl_bench("compare", "msta", "lora", "--runs", str(runs), "--table", "frontier")
    assert (alone.returncode, alone.stdout.count("\n")) == (0, 1)
    assert alone.stdout.startswith("frontier, ViCLIP-Tiny")
    nothing = petl_bench("compare", "msta", "coop", "--runs", str(runs), "--table", "frontier")
    assert (nothing.returncode, nothing.stdout, nothing.stderr.count("\n")) == (2, "", 1)
    assert "msta and coop have no frontier here" in nothing.stderr


def test_an_option_of_training_makes_no_curve_of_a_method_that_does_not_train(store: Store, runs: Path) -> None:
    for rate, base in ((1e-3, 75.0), (3e-3, 87.5)):
        store(40.0, 42.0, "zero_shot", 0, hyper_parameters={}, training={"learning_rate": rate})
        store(base, 62.5, "lora", 0, hyper_parameters={}, training={"learning_rate": rate})
    assert list(rows_of(_table(runs))) == ["zero_shot", "lora (training.learning_rate=0.001)",
                                           "lora (training.learning_rate=0.003)"]  # fmt: skip
    (line,) = dominance_lines(TABLES.get("frontier")(), _evidence(runs), "lora", "zero_shot")
    assert line.endswith("Motion: LoRA at learning rate 3e-3 dominates Zero-shot (not told apart)")


def test_points_that_may_not_be_ranked_and_several_curves_are_named(store: Store, runs: Path) -> None:
    for seed in range(2):
        for rank in (4, 8):
            for rate in (1e-3, 3e-3):
                store(
                    75.0 + rank, 75.0, "lora", seed, hyper_parameters={"rank": rank}, training={"learning_rate": rate}
                )
        store(50.0, 50.0, "msta", seed, training={"learning_rate": 1e-3})
    store(50.0, 50.0, "msta", 0, training={"learning_rate": 3e-3})
    (line,) = dominance_lines(TABLES.get("frontier")(), _evidence(runs), "msta", "lora")
    assert "LoRA (rank 8) at learning rate 1e-3 dominates 1 of 2 points of MSTA, all that may be ranked" in line


def _line(label: str, points: list[Point]) -> Series:
    return Series(label, tuple(points), line=True)


def test_five_methods_with_four_rates_are_labelled_in_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[bool] = []
    apart = figures.are_apart
    monkeypatch.setattr(figures, "are_apart", lambda boxes: placed.append(apart(boxes)) or placed[-1])
    rates = ("3e-4", "1e-3", "3e-3", "1e-2")
    series = [
        _line(f"method_{number}", [
            Point(70 + 5 * place + number, 70 - 4 * place - 1.5 * number, rate, (66 - 4 * place, 72 - 4 * place), (),
                  (68 + 5 * place, 72 + 5 * place), ringed=place == 1, hollow=number > 2)
            for place, rate in enumerate(rates)
        ])
        for number in range(5)
    ]  # fmt: skip
    figure = replace(
        Figure("frontier", "t", Axis("Base"), Axis("Novel"), (), name_points=True),
        series=tuple(series),
        names_series=True,
        ring="recipe's value",
        hollow="dominated",
    )
    assert figures.draw(figure, "png").startswith(b"\x89PNG")
    assert placed == [True]
