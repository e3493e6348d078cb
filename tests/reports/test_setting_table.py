"""A table of a guest's own setting: what its author writes, and what `report` and `compare` make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic_records import drawn_evaluation, make_trial, result_of

import petl_bench as pb
from petl_bench.api.registry import TABLES
from petl_bench.cli.compare import command as compare
from petl_bench.cli.report import command as report
from petl_bench.errors import PluginError
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.tables.columns import ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import SettingTable

PLUGIN = '''
"""How methods hold up when clips are disturbed: top-1 on clips as filmed, on clips with noise, and both together."""

from __future__ import annotations

from pathlib import Path

import petl_bench as pb
from petl_bench.tables.columns import ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import SettingTable

CLEAN = ScoredMetric("clean_top1", evaluation="clean")
NOISY = ScoredMetric("noisy_top1", evaluation="noisy")


@pb.register_table("noise")
class NoiseTable(SettingTable):
    """Top-1 with and without noise. Quoted: Table 1 of A Paper (2025), for the data sets that it has."""

    setting = "noise"
    title = "Disturbed clips: top-1 accuracy in percent"
    numbers = (
        ShownNumber("Clean", (CLEAN,)),
        ShownNumber("Noisy", (NOISY,)),
        ShownNumber("HM", (CLEAN, NOISY)),
    )
    notes = ("HM: harmonic mean of the accuracies with and without noise.",)
    published_csv = (Path(__file__).with_name("noise.csv"),)
    quoted_tables = ("1",)

    def published_key(self, case, metric):
        return (case.dataset, 0, metric)
'''
PUBLISHED = """source,table,group,method,dataset,shots,frames,metric,value,std
"A Paper (2025), Table 1",1,adapters,LoRA,motion,,,clean_top1,88.5,
"A Paper (2025), Table 1",1,adapters,LoRA,motion,,,noisy_top1,61.0,0.5
"""
CLIPS = 200


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(TABLES, "_registered", dict(TABLES._registered))
    (tmp_path / "noise.csv").write_text(PUBLISHED)
    file = tmp_path / "noise_table.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture
def noisy(runs: Path) -> Path:
    """Two methods, three seeds; one of them lacks a seed on a second data set."""
    for dataset, method, seed in [
        *[("motion", method, seed) for method in ("lora", "msta") for seed in range(3)],
        *[("ucf101", "lora", seed) for seed in range(3)],
        *[("ucf101", "msta", seed) for seed in range(2)],
    ]:
        random = np.random.default_rng([seed, len(dataset), ord(method[0])])
        evaluations = {}
        for name, chance in (("clean", 0.9), ("noisy", 0.85 if method == "msta" else 0.65)):
            evaluations[name] = drawn_evaluation(random, CLIPS, chance)
        metrics = {f"{name}_top1": each.top1 for name, each in evaluations.items()}
        trial = make_trial(method, seed, setting="noise", dataset=dataset, hyper_parameters={}, shots=None)
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        write_record(folder, trial, result_of(metrics, evaluations, trainable=1000 + (method == "msta")))
    return runs


def _run(command: Any, *arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_table_of_an_own_setting_is_short_and_reported(plugin: Path, noisy: Path) -> None:
    assert len(PLUGIN.strip().splitlines()) <= 40
    table = json.loads(
        _run(report, "--runs", str(noisy), "--plugin", str(plugin), "--table", "noise", "--format", "json")
    )
    headers = [(column["group"], column["label"]) for column in table["columns"]]
    assert headers == [
        ("Trained", "M"),
        ("Trained", "%"),
        *[(dataset, label) for dataset in ("motion", "ucf101") for label in ("Clean", "Noisy", "HM")],
    ]
    here, quoted = table["groups"]
    rows = {row["label"]: row["cells"] for row in here["rows"]}
    clean, noise, both = rows["msta"][2:5]
    records = pb.load_records(noisy)
    own = records[(records["method"] == "msta") & (records["dataset"] == "motion")]
    assert clean["value"] == pytest.approx(own[own["metric"] == "clean_top1"]["value"].mean())
    assert both["value"] == pytest.approx(pb.harmonic_mean(clean["value"], noise["value"]))
    assert noise["rank"] == "best" and not noise["alike"] and noise["interval"] is not None
    assert "partial-seeds" in rows["msta"][6]["marks"]
    assert quoted["title"] == "Quoted: A Paper (2025), Table 1"
    values = [cell["value"] for cell in quoted["rows"][0]["cells"]]
    assert values == [None, None, 88.5, 61.0, None, None, None, None]
    assert any("msta on ucf101 split 1, seeds 2" in line for line in table["commands"])
    assert any(note.startswith("HM: harmonic mean") for note in table["footers"])


def test_its_rows_are_compared(plugin: Path, noisy: Path) -> None:
    said = _run(compare, "msta", "lora", "--runs", str(noisy), "--plugin", str(plugin), "--table", "noise")
    assert "MSTA against LoRA, noise" in said
    assert "Motion Noisy" in next(line for line in said.splitlines() if line.startswith("MSTA is better than LoRA on"))


def test_without_records_of_the_setting_the_command_that_makes_some_is_named(
    plugin: Path, exact_store: Any, runs: Path
) -> None:
    exact_store(75.0, 50.0)
    done = CliRunner().invoke(
        report, ["--runs", str(runs), "--plugin", str(plugin), "--table", "noise", "--format", "csv"]
    )
    assert "no noise record here. Make some: petl-bench run" in str(done.exception)


def test_what_an_author_forgot_is_said(example: Path) -> None:
    class Nameless(SettingTable):
        title = "A table of no setting"

    class Misspelt(SettingTable):
        setting = "base2novel"
        numbers = (ShownNumber("K={case.shot}", (ScoredMetric("base_top1", "base"),)),)

    with pytest.raises(PluginError, match='Nameless must define setting = "NAME"'):
        Nameless().compared(pb.load_records(example))
    with pytest.raises(PluginError, match=r"K=\{case.shot\}.* fields of a case: dataset, split, shots"):
        Misspelt().compared(pb.load_records(example))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "No such file"),
        (PUBLISHED.replace(",frames", "").replace(",,,", ",,"), "lacks the column frames"),
        (PUBLISHED.replace("motion,,", "motion,many,"), "noise.csv: "),
    ],
)
def test_a_file_of_published_numbers_that_cannot_be_read_is_named(
    plugin: Path, noisy: Path, content: str | None, fault: str
) -> None:
    if content is None:
        plugin.with_name("noise.csv").unlink()
    else:
        plugin.with_name("noise.csv").write_text(content)
    done = CliRunner().invoke(report, ["--runs", str(noisy), "--plugin", str(plugin), "--table", "noise"])
    assert isinstance(done.exception, PluginError)
    assert fault in str(done.exception) and "noise.csv" in str(done.exception)
