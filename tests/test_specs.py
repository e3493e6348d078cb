"""The spec files of the MSTA paper's tables: they plan exactly the cells of their table, and quote it rightly."""

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
FILES = {file.stem: file for file in sorted((ROOT / "specs" / "msta_cvpr2025").glob("*.toml"))}
#: Each tuned by the budget in its file, and tested in test_tuned_specs.py.
TUNED = {name: file for name, file in FILES.items() if name.endswith("_tuned")}
SPECS = {name: file for name, file in FILES.items() if name not in TUNED}
PUBLISHED = ROOT / "reports" / "published" / "msta_tables.csv"

#: The rows of the paper that can be run here: the published name, our method, and alpha where two rows share it.
RUN_HERE = {
    "Zero-ViCLIP": ("zero_shot", None),
    "ViCLIP": ("full_finetune", None),
    "AdaptFormer": ("adaptformer", None),
    "LoRA": ("lora", None),
    "MSTA": ("msta", 0.0),
    "MSTA + L_CC": ("msta", 1.0),
}
LABELS = {"base": "base_top1", "novel": "novel_top1", "HM": "harmonic_mean", "top-1": "top1", "top-5": "top5"}
FOUR = ("k400", "hmdb51", "ucf101", "ssv2")


def published(table: str) -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == table]
    assert rows, f"no published numbers of Table {table}"
    return rows


def table_of(name: str) -> str:
    found = re.match(r"table(\d[a-f]?)_", name)
    assert found, name
    return found[1]


def rehearsed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path))
    return plan(read_spec({"output": str(tmp_path / "runs")}, SPECS[name]), rehearsal=True)


def row_of(trial: Any) -> tuple[str, float | None]:
    weight = trial.hyper_parameters.get("consistency_weight")
    return trial.method, weight


def test_every_table_of_the_issue_has_a_spec() -> None:
    assert {table_of(name) for name in SPECS} == {"2", "3", "4", "5", "6a", "6b", "6c", "6d", "6e", "6f", "7"}


@pytest.mark.parametrize(("name", "metric", "seeds"), [("table2_base2novel", "base_top1", 3),
                                                       ("table3_few_shot", "top1", 3),
                                                       ("table5_fully_supervised", "top1", 1)])  # fmt: skip
def test_one_trial_for_each_cell_and_seed(
    name: str, metric: str, seeds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = rehearsed(name, monkeypatch, tmp_path)
    cells = {
        (*RUN_HERE[row["method"]], row["dataset"], row["shots"]): seeds
        for row in published(table_of(name))
        if row["method"] in RUN_HERE and row["group"] != "zero-shot" and row["metric"] == metric
    }
    trials = Counter(
        (*row_of(job.trial), job.trial.dataset, str(job.trial.shots) if name == "table3_few_shot" else "")
        for job in planned.jobs
    )
    assert trials == cells


def test_transfer_adapts_each_method_once_and_tests_every_split(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = rehearsed("table4_zero_shot", monkeypatch, tmp_path)
    cells = {
        (*RUN_HERE[row["method"]], row["dataset"])
        for row in published("4")
        if row["method"] in RUN_HERE and row["group"] != "zero-shot"
    }
    sources = Counter(row_of(job.trial) for job in planned.jobs if job.trial.part == "source")
    targets = Counter((*row_of(job.trial), job.trial.dataset) for job in planned.jobs if job.trial.part == "target")
    assert targets == dict.fromkeys(cells, 3), "three splits, or label sets, of every target"
    assert sources == dict.fromkeys({(method, alpha) for method, alpha, _ in cells if method != "zero_shot"}, 1)
    started = {job.trial.start_from for job in planned.jobs if job.trial.part == "target"}
    assert started == {"", *(job.trial.key for job in planned.jobs if job.trial.part == "source")}


@pytest.mark.parametrize("name", [name for name in SPECS if name.startswith(("table6", "table7"))])
def test_an_ablation_runs_each_row_on_four_data_sets(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = rehearsed(name, monkeypatch, tmp_path)
    rows = {row["method"] for row in published(table_of(name))}
    rows -= {"MSTA + L_CC [dims=512]"}  # cannot be built, see docs/msta.md
    stated = re.findall(r"# (\w+=?[\w.-]*)(?::.*)?$", SPECS[name].read_text().split("[[variants]]", 1)[1], re.M)
    assert {re.sub(r".*\[(?:\w+=)?|\]$", "", row) for row in rows} == {text.rpartition("=")[2] for text in stated}
    hyper = Counter(str(job.trial.hyper_parameters) for job in planned.jobs)
    assert hyper == dict.fromkeys(hyper, len(FOUR) * 3)
    assert len(hyper) == len(rows)
    assert {job.trial.dataset for job in planned.jobs} == set(FOUR)


def test_the_paper_s_own_values_are_one_trial_in_every_ablation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = [
        {job.trial.key for job in rehearsed(name, monkeypatch, tmp_path).jobs} for name in SPECS if name[5] in "267"
    ]
    assert len(set.intersection(*keys)) == len(FOUR) * 3, "of those in the main table"


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_quotes_its_table(name: str) -> None:
    numbers = {
        (row["method"], row["dataset"], row["shots"], row["metric"]): (row["value"], row["std"])
        for row in published(table_of(name))
        if row["group"] != "zero-shot"
    }
    quoted = set()
    for method, dataset, text in re.findall(r"^#   (.+) \| (\w+) \| (.+)$", SPECS[name].read_text(), re.M):
        for part in text.split(", "):
            found = re.fullmatch(r"(?:(\d+)-shot )?(\S+) ([\d.]+)(?: ± ([\d.]+))?", part)
            assert found, part
            key = (method, dataset, found[1] or "", LABELS[found[2]])
            assert numbers[key] == (found[3], found[4] or ""), key
            quoted.add(key)
    expected = {key for key in numbers if (key[0] in RUN_HERE or "[" in key[0]) and key[3] in LABELS.values()}
    assert quoted == expected


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
