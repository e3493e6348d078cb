"""Rows whose values were searched here: their mark, their budget below the table, and tables of the tunings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from synthetic_records import exact, make_evaluation, make_trial, result_of
from tables import rows_of
from tunings import key_of_proposal, tune

import petl_bench as pb
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.api.trial import Trial
from petl_bench.cli import cli
from petl_bench.cli.gather import gather
from petl_bench.errors import UsageError
from petl_bench.records.layout import trial_folder
from petl_bench.records.tunings import extends, read_distinct, read_tunings, tuning_file, write_tuning
from petl_bench.records.write import write_record

Store = Any
RATE = 0.00321


def call(*arguments: Any) -> str:
    """The output of a command; its errors are raised."""
    found = CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    return found.output


def table_of(runs: Path, name: str = "base2novel") -> Table:
    table: Table = TABLES.get(name)().build(gather((runs,), statistics=False))
    return table


def of_a_tuning(runs: Path, trial: Trial, objective: float = 90.0) -> Trial:
    """Record a trial on a part of the training clips."""
    own = replace(trial, tuning="held-out/0")
    folder = trial_folder(runs, own.key)
    folder.mkdir(parents=True)
    evaluation = make_evaluation(exact(objective))
    metrics = {"val_top1": exact(objective), "val_top5": 100.0}
    write_record(folder, own, result_of(metrics, {"val": evaluation}, trainable=1000))
    return own


@pytest.fixture
def tuned(exact_store: Store, runs: Path) -> Path:
    """lora and adaptformer with values that were chosen here, by different budgets; msta with its recipe; zero_shot."""
    for seed in range(2):
        exact_store(75.0, 50.0, "lora", seed, hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
        exact_store(62.5, 50.0, "adaptformer", seed, hyper_parameters={}, training={"learning_rate": RATE / 2})
        exact_store(62.5, 50.0, "msta", seed)
        exact_store(50.0, 50.0, "zero_shot", seed, hyper_parameters={})
    tune(runs, lora())
    tune(runs, make_trial("adaptformer", hyper_parameters={}, training={"learning_rate": RATE / 2}), budget=8)
    return runs


def lora(method: str = "lora", **values: Any) -> Trial:
    return make_trial(method, **{"hyper_parameters": {"rank": 4}, "training": {"learning_rate": RATE}, **values})


def test_tuned_rows_carry_their_mark_and_stay_ranked(tuned: Path) -> None:
    """L instead of U, on the tuned rows alone; recipe rows have no mark."""
    rows = rows_of(table_of(tuned))
    marks = {label: set(row.cells[2].marks) for label, row in rows.items()}
    assert marks == {"lora": {"tuned-here"}, "adaptformer": {"tuned-here"}, "msta": set(), "zero_shot": set()}
    assert rows["lora"].cells[2].rank == "best"


def test_a_frontier_has_the_budgets_of_its_tuned_rows(exact_store: Store, tuned: Path) -> None:
    """The mark L says that they are in the notes."""
    for seed in range(2):
        exact_store(62.5, 62.5, "lora", seed, hyper_parameters={"rank": 4}, training={"learning_rate": RATE * 2})
    budgets = [
        line for line in table_of(tuned, "frontier").footers if line.startswith("L: ") and " proposals x " in line
    ]
    assert len(budgets) == 2 and any(" LoRA (" in line for line in budgets)


def test_without_the_file_of_the_tuning_the_rate_is_untuned(tuned: Path) -> None:
    """Being tuned is in no record: it is asked of the files."""
    for path in (tuned / "tunings").iterdir():
        path.unlink()
    rows = rows_of(table_of(tuned))
    assert [rows[label].cells[2].marks for label in ("lora", "adaptformer")] == [("untuned-rate",)] * 2
    assert not any("proposals" in line for line in table_of(tuned).footers)


@pytest.mark.parametrize("changed", [{"seed": 7}, {"split": "2"}, {"shots": 4}, {"training": {"threads": 2}}])
def test_another_split_or_seed_is_tuned_too(exact_store: Store, runs: Path, changed: dict[str, Any]) -> None:
    """So are shots, and what changes no number."""
    training = {"learning_rate": RATE, **changed.get("training", {})}
    exact_store(75.0, 50.0, "lora", hyper_parameters={"rank": 4}, **{**changed, "training": training})
    tune(runs, lora())
    assert "tuned-here" in rows_of(table_of(runs))["lora"].cells[2].marks


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": "ucf101"},
        {"training": {"epochs": 3}},
        {"hyper_parameters": {"rank": 8}},
        {"method": "dora"},
        {"backbone_options": {"pooling": "last"}},
    ],
)
def test_other_data_and_values_are_not_tuned(exact_store: Store, runs: Path, changed: dict[str, Any]) -> None:
    """The choice holds for the data set, the hyper-parameters and the training values that it was made for."""
    training = {"learning_rate": RATE, **changed.get("training", {})}
    values = {"method": "lora", "hyper_parameters": {"rank": 4}, **changed, "training": training}
    exact_store(75.0, 50.0, **values)
    tune(runs, lora())
    (row,) = rows_of(table_of(runs)).values()
    assert "tuned-here" not in row.cells[2].marks


def test_an_unfinished_tuning_has_tuned_nothing(exact_store: Store, runs: Path) -> None:
    """Its rows are as if it was not there; the table of tunings says how far it is."""
    exact_store(75.0, 50.0, "lora", hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
    tune(runs, lora(), budget=8, done=4)
    assert rows_of(table_of(runs))["lora"].cells[2].marks == ("untuned-rate",)
    table = table_of(runs, "tuning")
    row = rows_of(table)["lora"]
    assert (row.cells[0].value, row.cells[0].source) == (None, "not ended: 4 of 8 proposals")
    assert any("has not ended; to go on: petl-bench tune" in line for line in table.footers)
    tune(runs, lora(), budget=8, done=4, command="rm -r runs; petl-bench tune --trials 8")
    assert not any("rm" in line.split() for line in table_of(runs, "tuning").footers)


def test_footers_say_budget_objective_space_and_choice(tuned: Path) -> None:
    """A line for each tuning, and one that says that budgets differ, since these rows are ranked together."""
    footers = table_of(tuned).footers
    (line,) = [each for each in footers if each.startswith("L: the best of 4")]
    for words in (
        f"LoRA: training.learning_rate={RATE} of 0.0001..0.01:log (tuning ",
        "the best of 4 proposals x 3 trainings (16 shots; seeds 0, 1, 2)",
        "(held-out), no test clip",
        "Sobol and TPE of optuna 5.0, seed 0",
    ):
        assert words in line
    (differ,) = [each for each in footers if each.startswith("Budgets of tuning differ")]
    assert "8 proposals x 3 trainings: AdaptFormer" in differ
    assert "4 proposals x 3 trainings: LoRA" in differ
    assert "the recipe of its authors: MSTA" in differ
    assert "Zero-shot" not in differ


def test_equal_budgets_are_not_called_different(exact_store: Store, runs: Path) -> None:
    """Nor are rows without any tuning."""
    for method in ("lora", "dora"):
        exact_store(75.0, 50.0, method, hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
    assert not any(each.startswith("Budgets of tuning differ") for each in table_of(runs).footers)
    tune(runs, lora())
    assert any("not tuned: DoRA" in each for each in table_of(runs).footers)
    tune(runs, lora(method="dora"))
    assert not any(each.startswith("Budgets of tuning differ") for each in table_of(runs).footers)


def test_what_several_tunings_share_is_said_once(exact_store: Store, runs: Path) -> None:
    """One line for methods with the same budget, objective and sampler; the choice of each in it."""
    for method in ("lora", "dora"):
        exact_store(75.0, 50.0, method, hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
        tune(runs, lora(method=method))
    (line,) = [each for each in table_of(runs).footers if each.startswith("L: the best of")]
    assert f"DoRA: training.learning_rate={RATE} of" in line
    assert f"LoRA: training.learning_rate={RATE} of" in line
    assert line.count("proposals") == 1


def test_training_free_rows_have_budgets(exact_store: Store, runs: Path) -> None:
    """They have values that can be tuned; zero-shot rows have none."""
    for alpha in (1.0, 2.0):
        exact_store(75.0, 50.0, "tip_adapter", hyper_parameters={"alpha": alpha}, marks=["training-free"], trainable=0)
    tune(runs, lora("tip_adapter", hyper_parameters={"alpha": 2.0}, training={}))
    (line,) = [each for each in table_of(runs).footers if each.startswith("Budgets of tuning differ")]
    assert "the recipe of its authors: Tip-Adapter" in line


@pytest.mark.parametrize("kind", ["markdown", "latex", "html", "json"])
def test_every_format_has_mark_and_budget(tuned: Path, kind: str) -> None:
    """Formats for people have the footer, and what the mark means."""
    text = call("report", "--runs", tuned, "--table", "base2novel", "--format", kind)
    assert "values searched here" in text
    assert "4 proposals x 3 trainings" in text.replace("\\,", " ")


def test_notes_of_figures_say_budgets(tuned: Path) -> None:
    """What stands in one picture is compared there as well."""
    figure = TABLES.get("tradeoff")().figure(gather((tuned,), statistics=False))
    assert figure is not None
    assert any(each.startswith("L: the best of") for each in figure.notes)
    assert any(each.startswith("Budgets of tuning differ") for each in figure.notes)


def test_csv_names_the_tuning(tuned: Path) -> None:
    """The marks, and the name under which the table of tunings has the budget."""

    def read(table: str) -> dict[str, dict[str, str]]:
        lines = call("report", "--runs", tuned, "--table", table, "--format", "csv")
        return {row["row"]: row for row in csv.DictReader(io.StringIO(lines)) if row.get("row")}

    results, tunings = read("base2novel"), read("tuning")
    assert results["lora"]["motion Base marks"] == "tuned-here"
    assert results["lora"]["tuning"] == tunings["lora"]["tuning"]
    assert (tunings["lora"]["budget"], tunings["adaptformer"]["budget"], results["msta"]["tuning"]) == ("4", "8", "")


def test_the_table_of_tunings(tuned: Path) -> None:
    """Objective at the chosen and at the recipe, their range, proposals and trainings; no number of a test clip."""
    table = table_of(tuned, "tuning")
    assert "no number of a test clip" in table.title
    chosen, best, recipe, low, high, done, failed, trainings = rows_of(table)["lora"].cells
    assert chosen.value == f"training.learning_rate={RATE}"
    assert (best.value, best.n, recipe.value, low.value, high.value) == (63.0, 3, 60.0, 60.0, 63.0)
    assert (done.value, failed.value, trainings.value) == ("4/4", 0.0, 12.0)
    assert best.trials == tuple(key_of_proposal("lora", 3, seed) for seed in range(3))
    assert not any(cell.rank for row in rows_of(table).values() for cell in row.cells)


def test_the_proposals_as_rows(tuned: Path) -> None:
    """Values, objective, metrics of each; in JSON as well."""
    table = table_of(tuned, "tuning_proposals")
    group = next(each for each in table.groups if each.title.startswith("LoRA"))
    assert [row.label for row in group.rows] == ["0 (recipe)", "1", "2", "3 (chosen)"]
    assert [row.cells[1].value for row in group.rows] == [60.0, 61.0, 62.0, 63.0]
    values = json.loads(call("report", "--runs", tuned, "--table", "tuning_proposals", "--format", "json"))
    assert sum(len(each["rows"]) for each in values["groups"]) == 12


def test_no_tuning_is_one_line(exact_store: Store, runs: Path) -> None:
    """With the command that makes one."""
    exact_store(75.0, 50.0)
    for table in ("tuning", "tuning_proposals"):
        with pytest.raises(UsageError, match=r"no tuning here\. Make one: petl-bench tune"):
            table_of(runs, table)


def test_trials_of_tunings_are_in_no_table(exact_store: Store, runs: Path) -> None:
    """Nor among what is compared, drawn, explained, or counted on the page; a frame of all records has them."""
    exact_store(75.0, 50.0, "lora", hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
    own = of_a_tuning(runs, lora())
    records = pb.load_records(runs)
    assert set(records.loc[records["trial"] == own.key, "tuning"]) == {"held-out/0"}
    assert set(records.loc[records["trial"] == own.key, "metric"]) == {"val_top1", "val_top5"}
    evidence = gather((runs,))
    assert own.key not in set(evidence.records["trial"])
    assert evidence.tuning_trials == 1
    table = table_of(runs)
    assert {trial for row in rows_of(table).values() for cell in row.cells for trial in cell.trials}.isdisjoint(
        [own.key]
    )
    assert not any("held-out" in column.full for column in table.columns)
    of_all = TABLES.get("base2novel")().build(pb.Evidence(records))  # a caller's own frame
    assert of_all.groups == table.groups


def test_a_damaged_trial_of_a_tuning_is_left_out(exact_store: Store, runs: Path) -> None:
    """It is named, and no row of a table lacks anything for it."""
    exact_store(75.0, 50.0, "lora", hyper_parameters={"rank": 4}, training={"learning_rate": RATE})
    own = of_a_tuning(runs, lora())
    (trial_folder(runs, own.key) / "record.json").write_text("{")
    evidence = gather((runs,))
    assert len(evidence.left_out) == 1
    assert evidence.damaged is not None
    assert evidence.damaged.empty


def test_trials_of_tunings_alone(runs: Path) -> None:
    """One line, which says what they are; with the file of the tuning its tables are there."""
    of_a_tuning(runs, lora())
    with pytest.raises(UsageError, match="all of its 1 finished trials are of tunings, on training clips alone"):
        gather((runs,))
    tune(runs, lora())
    assert rows_of(table_of(runs, "tuning"))
    with pytest.raises(UsageError, match="no base2novel record here"):
        table_of(runs)


@pytest.mark.parametrize("with_trials", [False, True])
def test_before_the_final_run(runs: Path, tmp_path: Path, with_trials: bool) -> None:
    """There is a page of the tunings, and nothing to compare; the trials may have been deleted."""
    runs.mkdir(exist_ok=True)
    tune(runs, lora())
    if with_trials:
        of_a_tuning(runs, lora())
    call("report", "--runs", runs, "--output", f"{tmp_path / 'site'}/")
    assert 'id="table-tuning"' in (tmp_path / "site" / "index.html").read_text()
    with pytest.raises(UsageError, match="there are no rows to compare: no trial here has numbers of test clips"):
        call("compare", "lora", "msta", "--runs", runs)


def test_a_damaged_file_of_a_tuning_is_named(tuned: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And tunes nothing; the others are read."""
    tuning = next(each for each in read_tunings(tuned) if each.method == "lora")
    tuning_file(tuned, tuning).write_text('{"schema": 1, "proposals": 3}')
    assert rows_of(table_of(tuned))["lora"].cells[2].marks == ("untuned-rate",)
    assert rows_of(table_of(tuned))["adaptformer"].cells[2].marks == ("tuned-here",)
    assert f"not used: {tuning_file(tuned, tuning)}" in capfd.readouterr().err


def test_compare_says_that_budgets_differ(tuned: Path) -> None:
    """Between tuned rows and recipe rows, and between two budgets; equal ones are said as such."""
    assert "budgets of tuning differ: 4 proposals x 3 trainings: LoRA; the recipe of its authors: MSTA" in call(
        "compare", "lora", "msta", "--runs", tuned
    )
    assert "budgets of tuning differ: 8 proposals x 3 trainings: AdaptFormer; 4 proposals x 3 trainings: LoRA" in call(
        "compare", "adaptformer", "lora", "--runs", tuned
    )


def test_commands_that_fill_tuned_rows_say_their_own_values(exact_store: Store, runs: Path) -> None:
    """A command for each method, with its own rate, for the seed that it lacks."""
    rates = {"lora": RATE, "adaptformer": RATE / 2}
    for method, rate in rates.items():
        for seed in range(2):
            exact_store(75.0, 50.0, method, seed, as_planned=True, training={"learning_rate": rate})
        tune(runs, make_trial(method, as_planned=True, training={"learning_rate": rate}))
    for seed in range(3):
        exact_store(62.5, 50.0, "msta", seed, as_planned=True)
    table = table_of(runs)
    assert rows_of(table)["lora"].cells[2].marks == ("partial-seeds", "tuned-here")
    for method, rate in rates.items():
        (command,) = [each for each in table.commands if f"--methods {method} " in each]
        assert f"training.learning_rate={rate}" in command
        assert "--seeds 2" in command


def test_explain_of_a_proposal_offers_no_run_on_test_clips(runs: Path) -> None:
    """What made it is `petl-bench tune`."""
    own = of_a_tuning(runs, lora())
    tuning = tune(runs, lora(), budget=2)
    best = replace(tuning.proposals[1], trials=[own.key])
    tuning_file(runs, tuning).unlink()
    tune(runs, lora(), budget=2, proposals=[tuning.proposals[0], best])
    text = call("report", "--runs", runs, "--explain", "tuning", "lora", "Chosen")
    assert "petl-bench tune makes such trials" in text
    assert "petl-bench run" not in text


def test_the_page_has_the_tunings(tuned: Path, tmp_path: Path) -> None:
    """Their tables, what a tuned row's trials say of it, and how many trials are left out."""
    of_a_tuning(tuned, lora())
    call("report", "--runs", tuned, "--output", f"{tmp_path / 'site'}/")
    page = (tmp_path / "site" / "index.html").read_text()
    assert 'id="table-tuning"' in page
    assert f"Tuned here: training.learning_rate={RATE}" in page
    assert "1 trials on training clips alone, in no table of results" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["proposals"][0].update(objective=99.0), "proposal 3 is chosen, which is not there, or"),
        (lambda values: values["proposals"][3].update(objective=None), "proposal 3 is chosen, which is not there, or"),
        (lambda values: values["proposals"][1].update(number=0), "some with the same number or beyond the budget"),
        (lambda values: values["proposals"].append({**values["proposals"][0], "number": 4}), "beyond the budget of 4"),
        (lambda values: values.update(chosen=None), "it applies values that were not chosen"),
        (lambda values: values["applied"][0]["training"].update(learning_rate=0.5), "are not those that were chosen"),
        (lambda values: values["proposals"][0].update(values={"a": {"b": 1}}), "damaged: values.a={'b': 1}: expected"),
        (lambda values: values.update(sampler="\ud800"), "nested too deeply, or with a text that is none"),
        (lambda values: values.update(objective="test"), "objective=test: expected one of held-out"),
        (lambda values: values.update(budget=1), "budget=1: must be at least 2"),
    ],
)
def test_a_file_that_contradicts_itself_is_not_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Any], Any], said: str
) -> None:
    """One line names it; no row is tuned by it."""
    path = tuning_file(tmp_path, tune(tmp_path, lora()))
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    assert list(read_tunings(tmp_path)) == []
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"not used: {path}: ")
    assert said in line


def test_copies_of_a_tuning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of several folders, the copy that is furthest counts; one with other objectives is named."""
    short = tune(tmp_path / "a", lora(), budget=8, done=4)
    tune(tmp_path / "b", lora(), budget=8)
    (longer,) = read_tunings(tmp_path / "b")
    assert not extends(short, longer)
    first, *others = longer.proposals
    changed = replace(first, values=others[-1].values)
    write_tuning(tmp_path / "a", replace(longer, proposals=longer.proposals[:4], chosen=None, applied=()))
    assert (
        read_distinct([tmp_path / "a", tmp_path / "b"]) == read_distinct([tmp_path / "b", tmp_path / "a"]) == [longer]
    )
    assert capfd.readouterr().err == ""
    write_tuning(tmp_path / "c", replace(longer, proposals=[changed, *others]))
    assert read_distinct([tmp_path / "b", tmp_path / "c"]) == [longer]
    path = tuning_file(tmp_path / "c", longer)
    said = "another copy of this tuning is read, with other proposals or objectives"
    assert capfd.readouterr().err == f"not used: {path}: {said}\n"


def test_held_out_accuracy_stands_apart(store: Store, runs: Path) -> None:
    """A column of its own for trials that selected an epoch on training clips: not ranked; absent for the others."""
    paths = [store(75.0, 50.0, "lora", seed, hyper_parameters={}, training={"select": "val"}) for seed in range(2)]
    store(62.5, 50.0, "msta", 0)
    before = TABLES.get("base2novel")().build(pb.Evidence(pb.load_records(runs)))
    for path, accuracy in zip(paths, (80.0, 90.0), strict=True):
        record = json.loads(path.read_text())
        record["metrics"]["val_top1"] = accuracy
        path.write_text(json.dumps(record))
    table = TABLES.get("base2novel")().build(pb.Evidence(pb.load_records(runs)))
    assert [column.full for column in table.columns if column not in before.columns] == ["motion held-out Top-1"]
    index = [column.group for column in table.columns].index("motion held-out")
    cells = {label: row.cells[index] for label, row in rows_of(table).items()}
    assert (cells["lora"].value, cells["lora"].n, cells["lora"].rank) == (85.0, 2, "")
    assert (cells["msta"].value, cells["msta"].origin) == (None, "absent")
    assert any(each.startswith("Held-out: accuracy of the selected epoch") for each in table.footers)
