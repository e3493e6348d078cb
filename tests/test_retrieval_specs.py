"""The spec files of the MV-Adapter paper's tables: they plan exactly the cells of their table, and quote it rightly."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from petl_bench.cli import cli
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import read_spec

ROOT = Path(__file__).parent.parent
SPECS = {file.stem: file for file in sorted((ROOT / "specs" / "mv_adapter_cvpr2024").glob("*.toml"))}
PUBLISHED = ROOT / "reports" / "published" / "mv_adapter_tables.csv"
#: Of the paper's table of each spec.
TABLES = {
    "table1_msrvtt": "1",
    "table2_msvd": "2",
    "table3_lsmdc": "3",
    "table4_didemo": "4",
    "table5_activitynet": "5",
    "ablation_modules": "modules",
    "ablation_branches": "branches",
    "ablation_place_of_tying": "tying",
    "ablation_tied_layers": "tied layers",
    "ablation_factor_size": "factor size",
}
#: The rows of the paper that can be run here, and the printed percentages of trained parameters.
RUN_HERE = {
    "Full Fine-tuning": "full_finetune",
    "Adapt_par": "parallel_adapter",
    "Adapt_seq": "houlsby",
    "Convpass": "convpass",
    "ST": "st_adapter",
    "CLIP4Clip seqTransf (frozen CLIP)": "seq_transf",
    "MV-Adapter": "mv_adapter",
}
LABELS = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "rsum": "Sum"}


def published(name: str) -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == f"MV-Adapter {TABLES[name]}"]
    assert rows, f"no published numbers of {name}"
    return rows


def rehearsed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path))
    return plan(read_spec({"output": str(tmp_path / "runs")}, SPECS[name]), rehearsal=True)


def test_every_table_of_the_paper_has_a_spec() -> None:
    assert SPECS.keys() == TABLES.keys()


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_quotes_its_table(name: str) -> None:
    expected = {}
    for row in published(name):
        direction, _, metric = row["metric"].partition("_")
        if row["dataset"] and (row["method"] in RUN_HERE or "[" in row["method"]):
            place = (row["method"], row["dataset"], direction.upper(), LABELS[metric])
            expected[place] = (row["value"], row["std"])
    quoted = {}
    for method, dataset, direction, text in re.findall(
        r"^#   (.+) \| (\w+) (T2V|V2T) \| (.+)$", SPECS[name].read_text(), re.M
    ):
        for part in text.split(", "):
            found = re.fullmatch(r"(\S+) ([\d.]+)(?: ± ([\d.]+))?", part)
            assert found, part
            quoted[method, dataset, direction, found[1]] = (found[2], found[3] or "")
    assert quoted == expected


@pytest.mark.parametrize("name", [name for name in SPECS if name.startswith("table")])
def test_a_table_has_one_trial_for_each_row_and_seed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = rehearsed(name, monkeypatch, tmp_path)
    (dataset,) = {row["dataset"] for row in published(name)} - {""}
    trials = Counter((job.trial.method, job.trial.dataset, job.trial.seed) for job in planned.jobs)
    assert trials == {(method, dataset, seed): 1 for method in RUN_HERE.values() for seed in (0, 42, 123)}
    long = dataset in ("didemo", "activitynet_captions")
    for job in planned.jobs:
        training: Any = job.trial.training
        assert (training["epochs"], training["batch_size"]) == ((15, 64) if long else (5, 128))
        assert training["warmup_epochs"] == training["epochs"] / 10
        options = job.trial.backbone_options
        assert (options["frames"], options["context_length"]) == ((32, 64) if long else (12, 32))


@pytest.mark.parametrize("name", [name for name in SPECS if name.startswith("ablation")])
def test_an_ablation_runs_each_row(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stated = re.findall(r"# (\w+=\w+)$", SPECS[name].read_text(), re.M)
    rows = {row["method"].partition("[")[2].rstrip("]") for row in published(name)}
    assert sorted(stated) == sorted(rows)
    planned = rehearsed(name, monkeypatch, tmp_path)
    hyper = Counter(str(job.trial.hyper_parameters) for job in planned.jobs)
    assert len(hyper) == len(rows) and set(hyper.values()) == {3}


def test_the_papers_own_values_are_one_trial_in_every_ablation_of_tying(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["table1_msrvtt", "ablation_branches", "ablation_place_of_tying", "ablation_tied_layers"]
    names.append("ablation_factor_size")
    keys = [{job.trial.key for job in rehearsed(name, monkeypatch, tmp_path).jobs} for name in names]
    assert len(set.intersection(*keys)) == 3, "those of the main table"


@pytest.mark.parametrize("name", SPECS)
def test_the_command_in_the_file_rehearses_without_data(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.chdir(ROOT)
    found = re.search(r"^#   petl-bench (run --spec \S+) --data-root /data$", SPECS[name].read_text(), re.M)
    assert found, "no command"
    result = CliRunner().invoke(cli, [*found[1].split(), "--dry-run", "--output", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    count = len(rehearsed(name, monkeypatch, tmp_path).jobs)
    assert f"\n{count} trials, 0 done, {count} to run" in result.output
