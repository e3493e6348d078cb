"""The tuned variants of the MSTA paper's tables: the same rows, a budget, and the number of trials that it makes."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.trial import canonical_json
from petl_bench.api.tuning import OBJECTIVES, PARTITION_OF, metric_of, partition_name
from petl_bench.cli import cli
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec, read_spec
from tests.test_specs import ROOT, SPECS, TUNED, rehearsed

ABLATIONS = "table6_table7_ablations_tuned"
COMPARISONS = [name for name in TUNED if name != ABLATIONS]
#: The second command of each comparison: its other row of MSTA.
WITHOUT_L_CC = {"methods": ("msta",), "set": ("msta.consistency_weight=0",)}


def tuning_of(name: str) -> dict[str, Any]:
    """The budget in a file."""
    found: dict[str, Any] = tomllib.loads(TUNED[name].read_text())["tuning"]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path))
    return tmp_path


def spec_of(name: str, folder: Path, **flags: Any) -> Spec:
    """The run in a file, without its budget, which stands at its end."""
    run, _, budget = TUNED[name].read_text().partition("\n[tuning]\n")
    assert budget and "\n[" not in budget
    file = folder / f"{name}.toml"
    file.write_text(run)
    return read_spec({"output": str(folder / "runs"), **flags}, file)


def planned_tuning(name: str, folder: Path, **flags: Any) -> Plan:
    """The trials of one proposal of each method."""
    budget = tuning_of(name)
    partition = PARTITION_OF[budget["objective"]]
    draws = [partition_name(partition, draw) for draw in range(budget["draws"])]
    seeds = tuple(budget["tuning_seeds"])
    return plan(spec_of(name, folder, seeds=seeds, **flags), rehearsal=True, tuning=draws)


def stated(name: str) -> dict[str, int]:
    """The numbers of trials that a file states: what for -> how many. Each line is worked out."""
    lines = re.findall(r"^#   ([^:]+): (.+) = (\d+)$", TUNED[name].read_text().partition("# Trials:\n")[2], re.M)
    for what, product, count in lines:
        terms = [math.prod(map(int, re.findall(r"\d+", term))) for term in product.split(" + ")]
        assert sum(terms) == int(count), what
    return {what: int(count) for what, _, count in lines}


def test_every_table_has_a_tuned_variant() -> None:
    assert {name.removesuffix("_tuned") for name in COMPARISONS} == {name for name in SPECS if name[5] in "2345"}


@pytest.mark.parametrize("name", TUNED)
def test_a_budget_can_be_used(name: str) -> None:
    budget = tuning_of(name)
    assert budget.keys() == {"trials", "objective", "draws", "round_size", "seed", "tuning_seeds"}
    assert budget["objective"] in OBJECTIVES
    assert budget["trials"] >= 2 and budget["draws"] >= 1 and budget["trials"] % budget["round_size"] == 0
    assert metric_of(budget["objective"], "classification").startswith("val_")


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_counts_its_trials(name: str, folder: Path) -> None:
    count = stated(name)
    rows, other = planned_tuning(name, folder), planned_tuning(name, folder, **WITHOUT_L_CC)
    trials = tuning_of(name)["trials"]
    assert count["four rows tuned"] == trials * len(rows.jobs)
    assert count["MSTA without L_CC tuned"] == trials * len(other.jobs)
    assert not {job.trial.key for job in rows.jobs} & {job.trial.key for job in other.jobs}
    assert all(job.trial.tuning and not job.trial.start_from for job in (*rows.jobs, *other.jobs))


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_final_runs_are_the_trials_of_the_table(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = name.removesuffix("_tuned")
    of_table = rehearsed(table, monkeypatch, tmp_path)
    frozen = {job.trial.key for job in of_table.jobs if job.trial.method == "zero_shot"}
    final = {
        job.trial.key
        for flags in ({}, WITHOUT_L_CC)
        for job in plan(spec_of(name, folder, **flags), rehearsal=True).jobs
    }
    assert final | frozen == {job.trial.key for job in of_table.jobs}, "at the rates of the recipes"
    assert stated(name)["final runs"] == len(of_table.jobs)
    assert (f"{table}.toml --data-root /data --methods zero_shot" in TUNED[name].read_text()) == bool(frozen)


def test_the_ablations_tune_every_row(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = re.findall(r"^#   [67]\w? \S+: --set (.+)$", TUNED[ABLATIONS].read_text(), re.M)
    values = [tuple(row.split(" --set ")) for row in rows]
    tuned = [plan(spec_of(ABLATIONS, folder, set=row), rehearsal=True) for row in values]
    base = "table2_base2novel_tuned"
    of_table_2 = [
        plan(spec_of(base, folder, methods=("msta",), **flags), rehearsal=True)
        for flags in ({}, {"set": WITHOUT_L_CC["set"]})
    ]
    here = [canonical_json(dict(each.jobs[0].trial.hyper_parameters)) for each in (*tuned, *of_table_2)]
    of_tables = {
        canonical_json(dict(job.trial.hyper_parameters))
        for name in SPECS
        if name[5] in "67"
        for job in rehearsed(name, monkeypatch, tmp_path).jobs
    }
    assert sorted(here) == sorted(of_tables), "each row once, and the two of Table 2"
    count, budget = stated(ABLATIONS), tuning_of(ABLATIONS)
    of_a_row = budget["trials"] * len(planned_tuning(ABLATIONS, folder, set=values[0]).jobs)
    assert count["a row tuned"] == of_a_row
    assert count["18 rows tuned"] == of_a_row * len(rows)
    assert count["final runs"] == sum(len(each.jobs) for each in tuned)
    assert budget == tuning_of(base)


def test_the_page_of_the_paper_has_the_same_numbers() -> None:
    rows = re.findall(r"^\| `(\w+)\.toml` \| (\d+) \| (.+) \| (\d+) \|$", (ROOT / "docs" / "msta.md").read_text(), re.M)
    assert {name for name, *_ in rows} == TUNED.keys()
    for name, proposals, trainings, final in rows:
        *tuned, of_final = stated(name).values()
        assert (int(proposals), int(final)) == (tuning_of(name)["trials"], of_final)
        numbers = [*map(int, re.findall(r"\d+", trainings))]
        assert math.prod(numbers) == tuned[1] if name == ABLATIONS else numbers == tuned


@pytest.mark.parametrize("name", TUNED)
def test_its_commands_name_the_file(name: str) -> None:
    path = f"specs/msta_cvpr2025/{name}.toml"
    commands = re.findall(rf"^#   petl-bench tune --spec {path} --data-root /data(.*)$", TUNED[name].read_text(), re.M)
    expected = (
        [" --set msta.scale=0.001"] if name == ABLATIONS else ["", " --methods msta --set msta.consistency_weight=0"]
    )
    assert commands == expected


@pytest.mark.parametrize("name", TUNED)
def test_tune_counts_the_trainings_that_a_file_states(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`petl-bench tune --spec FILE --dry-run` works without the data, and prints the same number."""
    command = ["tune", "--spec", str(TUNED[name]), "--dry-run", "--output", str(folder / "runs")]
    assert cli(command, standalone_mode=False) == 0
    first = stated(name)["a row tuned" if name == ABLATIONS else "four rows tuned"]
    assert f"at most {first:,} trainings" in capsys.readouterr().out
