"""What is on the page, without a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_runs import HOSTILE, Build, add_costs, add_run
from toy_table import ToyTable

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.cli.report.page import is_page
from petl_bench.errors import UsageError
from petl_bench.page.build import build_page
from petl_bench.page.trials import cases_of
from tests.commands import petl_bench


def _data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


def _without_assets(page: str) -> str:
    """The page without our script, our style, and plotly."""
    return re.sub(r"<style>.*?</style>|<script(?! type=.application/json).*?</script>", "", page, flags=re.DOTALL)


def test_every_table_with_records_is_there_and_no_other(runs: Path, build: Build) -> None:
    page = build(runs, *[TABLES.get(name)() for name in TABLES.names()])
    assert 'id="table-base2novel"' in page
    assert 'id="table-few-shot"' not in page


def test_tables_whose_names_are_alike_in_an_address_have_places_of_their_own(runs: Path, build: Build) -> None:
    class Named(ToyTable):
        def __init__(self, name: str) -> None:
            self.name = name

    page = build(runs, *map(Named, ("my_table", "my-table", "My:table")))
    ids = [each for each in re.findall(r' id="([^"]*)"', page) if each.startswith("table-") and "title" not in each]
    assert ids == ["table-my-table", "table-my-table-2", "table-my-table-3"]
    packed = re.search(r'id="downloads">([^<]*)<', page)
    assert packed is not None
    downloads = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    assert {view: texts["csv"][0] for view, texts in downloads.items()} == {
        "table-my-table": "my-table.csv",
        "table-my-table-2": "my-table-2.csv",
        "table-my-table-3": "my-table-3.csv",
    }


def test_no_table_at_all_is_wrong_use(runs: Path, build: Build) -> None:
    with pytest.raises(UsageError, match="no record here fits any of these tables: few_shot"):
        build(runs, TABLES.get("few_shot")())


def test_every_cell_has_its_number_and_its_provenance(runs: Path, build: Build) -> None:
    page = build(runs, ToyTable())
    data = _data(page)
    lora = data["tables"][0]["rows"][0]
    assert lora[0]["v"] == 36864
    assert {
        "s": 1.5,
        "n": 3,
        "i": [40.25, 60.75],
        "d": 2.5,
        "a": True,
        "k": ["partial-seeds"],
        "of": 3,
    }.items() <= lora[1].items()
    trials = [data["trials"][number] for number in lora[1]["t"]]
    assert sorted(trial["seed"] for trial in trials) == [0, 1, 2]
    assert all((runs / "trials" / trial["key"] / "record.json").exists() for trial in trials)
    lines = "\n".join(data["texts"][line] for line in trials[0]["lines"])
    assert "Hyper parameters: bottleneck_dim=16" in lines
    assert "libraries.torch=2.15" in lines
    quoted = data["tables"][0]["rows"][-1][1]
    assert quoted["o"] == "quoted"
    assert data["texts"][quoted["c"]] == "Table 2"
    assert f"petl-bench run --methods missing --output {runs}" in page
    assert f"petl-bench report --runs {runs} --table toy --format csv" in page


def test_the_command_of_a_trial_comes_from_its_plan(runs: Path, build: Build) -> None:
    key = next(path.name for path in sorted((runs / "trials").iterdir()))
    (runs / "plans").mkdir()
    plans = {"a": ("petl-bench run --old", 1.0), "b": ("petl-bench run --new", 2.0)}
    for name, (command, started) in plans.items():
        values = {"command": command, "started_at": started, "trials": {key: "title"}}
        (runs / "plans" / f"{name}.json").write_text(json.dumps(values))
    (runs / "plans" / "c.json").write_text("{")
    data = _data(build(runs, ToyTable()))
    trials = {trial["key"]: trial for trial in data["trials"]}
    assert data["texts"][trials.pop(key)["command"]] == "petl-bench run --new"
    assert not any("command" in trial for trial in trials.values())
    again = {data["texts"][trial["again"]] for trial in trials.values()}
    assert len(again) == 3, "the seeds of a method share one command"
    assert any(text.startswith("# no command makes this again: msta had no field ") for text in again)


def test_a_trial_without_shots_and_split(tmp_path: Path, build: Build) -> None:
    add_run(tmp_path / "runs", "msta", 0, shots=None, split="")
    data = _data(build(tmp_path / "runs", ToyTable()))
    assert "--shots" not in data["texts"][data["trials"][0]["again"]]
    assert any(
        line.startswith("Trial: method msta, setting base2novel, dataset ucf101, backbone") for line in data["texts"]
    )


def test_runs_that_differ_in_processes_alone_are_one_line(tmp_path: Path, build: Build) -> None:
    for seed in range(2):
        add_run(tmp_path / "runs", "msta", seed, training={"processes": seed + 1})
    data = _data(build(tmp_path / "runs", ToyTable()))
    assert [variant["label"] for variant in data["classes"][0]["variants"]] == ["MSTA"]


def test_what_was_left_out_is_listed(runs: Path) -> None:
    records = pb.load_records(runs)
    problems = tuple(f"<{number}.json>: damaged" for number in range(60))
    page = build_page([ToyTable()], Evidence(records, left_out=problems), [runs]).decode()
    assert "<li>&lt;0.json&gt;: damaged</li>" in page
    assert "<li>and 10 more</li>" in page


def test_figures_curves_costs_and_classes_hold_what_the_records_say(runs: Path, build: Build) -> None:
    data = _data(build(runs))
    figure = data["plots"]["figure-toy"]["plots"][""]
    assert figure["x"] == {"label": "Trained parameters", "log": True}
    assert [series["quoted"] for series in figure["series"]] == [False, False, False, True]
    assert figure["front"] == [[1.0, 30.0], [54322.0, 70.0]]
    curves = data["plots"]["curves"]
    assert [facet["values"] for facet in curves["facets"]] == [
        ["Base-to-novel generalisation · UCF-101"],
        ["Training loss", "Training accuracy (%)", "Learning rate"],
    ]
    loss = curves["plots"]["0,0"]["series"]
    assert [series["label"] for series in loss] == ["LoRA", "MSTA"], "zero_shot was not trained"
    assert loss[0]["x"] == [1, 2, 3]
    assert loss[0]["y"] == [2.1, 1.1, 0.76667]
    assert (loss[0]["low"][0], loss[0]["high"][0]) == (2.0, 2.2)
    costs = data["plots"]["costs"]
    assert costs["facets"][1]["values"] == ["Trained parameters", "Duration: total (s)"]
    assert costs["plots"]["0,0"]["series"][0]["x"] == [0.0, 36864.0, 54321.0]
    assert costs["plots"]["0,1"]["series"][0]["label"] == "cpu"
    base = data["classes"][0]
    assert base["label"] == "Base-to-novel generalisation · UCF-101 · base"
    assert base["classes"] == ["archery", "basketball", "bowling"]
    assert base["scored"] == [18, 18, 18]
    records = pb.load_records(runs)
    of_msta = records[(records["method"] == "msta") & (records["metric"] == "base_top1")]["value"].mean()
    assert sum(base["variants"][2]["accuracy"]) / 3 == pytest.approx(of_msta, abs=0.01)
    assert sum(base["variants"][2]["confusion"][1::2]) == 54


def test_the_clips_that_every_run_misses(runs: Path, build: Build) -> None:
    asked: list[tuple[str, str]] = []

    def thumbnail(values: Any, clip: str) -> bytes | str:
        asked.append((values["dataset"], clip))
        return "no picture: the <file> is gone" if "yoga" in clip else b"\xff\xd8jpeg"

    page = build(runs, thumbnail=thumbnail)
    assert ("ucf101", "archery/clip_000.mp4") in asked
    assert "archery/clip_001.mp4" not in page, "some run gets it right"
    assert 'src="data:image/jpeg;base64,/9hqcGVn"' in page
    assert "the &lt;file&gt; is gone" in page
    assert len(asked) <= 24


def test_one_reason_stands_once_where_no_clip_has_a_picture(runs: Path, build: Build) -> None:
    page = build(runs, thumbnail=lambda values, clip: "no pictures: say where")
    assert page.count("no pictures: say where") == 2, "once for each evaluation"


def test_nothing_of_a_record_is_markup(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    classes = {"base": (HOSTILE, "b"), "novel": ("c", f"{HOSTILE}2")}
    add_run(runs, "zero_shot", 0, dataset=HOSTILE, classes=classes, hyper_parameters={"name": HOSTILE})
    add_run(runs, "zero_shot", 0, dataset=HOSTILE, classes=classes, hyper_parameters={"name": "</script>"})

    class Hostile(ToyTable):
        name = "toy"
        label = HOSTILE

    page = build_page(
        [Hostile()], Evidence(pb.load_records(runs)), [runs], thumbnail=lambda values, clip: HOSTILE + clip
    )
    text = _without_assets(page.decode())
    assert "<script>alert" not in text
    assert "\u2028" not in text
    assert text.count("<script") == text.count("</script>") == 1
    assert "<b>$" not in text
    assert "&lt;script&gt;alert" in text
    assert any("<script>alert(1)" in name for name in _data(page.decode())["classes"][0]["classes"])


def test_no_unseen_character_of_a_record_reaches_a_plot(tmp_path: Path, build: Build) -> None:
    turned = "\u202eevil\u202c"
    for method in ("lora", turned):
        add_run(tmp_path, method, 0, dataset=turned, classes={"base": (turned, "b"), "novel": ("c", "d")})
    page = build(tmp_path)
    assert "\u202e" not in page
    assert "\\u202e" not in page
    curves = _data(page)["plots"]["curves"]["plots"]["0,0"]["series"]
    assert [series["label"] for series in curves] == ["\ufffdevil\ufffd", "LoRA"]


def test_names_that_utf8_cannot_hold_do_no_harm(tmp_path: Path, build: Build) -> None:
    class Odd(ToyTable):
        label = "a\udcffb"

    add_run(tmp_path / "runs", "msta", 0)
    assert "a?b" in build(tmp_path / "runs", Odd())


def test_the_same_records_give_the_same_bytes(runs: Path, build: Build) -> None:
    assert build(runs) == build(runs)


def test_nothing_is_loaded_from_elsewhere(runs: Path, build: Build) -> None:
    page = _without_assets(build(runs))
    assert not re.search(r"""(?:src|href)=(?!"#|"data:)""", page)
    assert "@import" not in page


def test_details_and_predictions_that_were_changed_say_nothing(runs: Path, build: Build) -> None:
    """Of the size recorded: the trials' records are read, and what lies beside them is found out when it is read."""
    for folder in (runs / "trials").iterdir():
        for name in ("details.json", "predictions-base.npz", "predictions-novel.npz"):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert (folder / name).stat().st_size == len(content)
    page = build(runs)
    assert 'id="table-base2novel"' in page
    assert 'id="curves"' not in page
    assert 'id="classes"' not in page
    assert 'id="misses"' not in page


def test_times_of_two_devices_are_never_averaged(runs: Path, build: Build) -> None:
    record = sorted((runs / "trials").glob("*/record.json"))[0]
    values = json.loads(record.read_text())
    values["environment"]["device"] = "cuda: A100"
    record.write_text(json.dumps(values))
    costs = _data(build(runs))["plots"]["costs"]["plots"]["0,1"]
    assert [series["label"] for series in costs["series"]] == ["cpu", "cuda: A100"]


def test_measured_costs_are_shown(tmp_path: Path, build: Build) -> None:
    runs = tmp_path / "runs"
    for method, milliseconds in (("lora", 4.0), ("msta", 6.5)):
        add_costs(runs, method, {"train_step_ms": milliseconds, "throughput_videos_per_s": 100.0})

    class Costs(TableSource):
        name = "cost"

        def build(self, evidence: Evidence) -> Table:
            return Table("cost", "Costs", "Method", (), (RowGroup("", ()),))

    costs = _data(build(runs, Costs()))["plots"]["costs"]
    step = costs["facets"][1]["values"].index("Training step (ms)")
    assert costs["plots"][f"0,{step}"]["series"][0]["x"] == [4.0, 6.5]


class _Many(TableSource):
    """More rows than a page has room for."""

    name = "many"

    def build(self, evidence: Evidence) -> Table:
        keys = evidence.records["trial"].tolist()
        rows = [
            Row(f"method {i}", tuple(Cell(i / 7, 0.123456, 3, trials=tuple(keys[i : i + 3])) for _ in range(10)))
            for i in range(len(keys))
        ]
        columns = tuple(Column(f"c{i}", "data set") for i in range(10))
        return Table("many", "Many rows", "Method", columns, (RowGroup("All", tuple(rows)),))


def test_a_page_of_very_many_records_is_cut_and_says_so(runs: Path) -> None:
    records = pb.load_records(runs)
    few = records[records["metric"] == "harmonic_mean"]
    many = pd.concat([few] * 400, ignore_index=True)
    many["trial"] = [f"{number:064x}" for number in range(len(many))]
    many["hyper_parameters"] = [f'{{"x":{number // 9}}}' for number in range(len(many))]
    page = build_page([_Many(), TABLES.get("base2novel")()], Evidence(_with_both_halves(many)), [runs])
    assert len(page) < 20e6
    text = page.decode()
    assert "more rows have no room here. All of them: <code>petl-bench report" in text
    assert "of the 3,600 trials" in text


def _with_both_halves(records: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([records.assign(metric=name) for name in ("base_top1", "novel_top1")], ignore_index=True)


# The command


def _report(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return petl_bench("report", *arguments, cwd=cwd)


def test_an_output_that_is_a_folder_gets_the_page(runs: Path, tmp_path: Path) -> None:
    done = _report("--runs", str(runs), "--format", "html", "--output", "site/", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "wrote site/index.html" in done.stderr
    assert 'id="table-base2novel"' in (tmp_path / "site" / "index.html").read_text()


@pytest.mark.parametrize(
    ("output", "output_format", "expected"),
    [
        ("site/", "html", True),
        ("site.v2/", None, True),
        ("site", None, True),
        ("there.d", "html", True),
        ("table.html", "html", False),
        ("table.html", None, False),
        ("table", "csv", False),
        ("plain", "html", False),
        (None, "html", False),
    ],
)
def test_which_output_is_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None, output_format: str | None, expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.d").mkdir()
    Path("plain").write_text("")
    assert is_page(output_format, output) is expected


def test_a_file_still_gets_the_single_table(runs: Path, tmp_path: Path) -> None:
    done = _report("--runs", str(runs), "--table", "base2novel", "--output", "table.html", cwd=tmp_path)
    assert done.returncode == 0
    assert "<script" not in (tmp_path / "table.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "table.html"], "--table"),
        (["--output", "site/", "--format", "csv"], "a folder holds the page of --format html"),
        (["--output", "site/", "--table", "few_shot"], "no record here fits"),
        (["--output", "runs/trials/x.json/site/"], "cannot be made"),
    ],
)
def test_wrong_use_is_one_clear_line(runs: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (runs / "trials" / "x.json").write_text("")
    done = _report("--runs", str(runs), *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_never_loads_torch(runs: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from click.testing import CliRunner; from petl_bench.cli.report import command\n"
        f"result = CliRunner().invoke(command, ['--runs', {str(runs)!r}, '--output', {str(tmp_path / 'site')!r}])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert not {'torch', 'torchvision', 'decord'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_code_of_a_backbone_tells_variants_apart_as_in_tables(tmp_path: Path) -> None:
    for version in ("1+first", "1+second"):
        add_run(tmp_path, "lora", 0, backbone_version=version)
    (case,) = cases_of(pb.load_records(tmp_path))
    assert [variant.label for variant in case.variants] == [
        "LoRA (backbone version 1+first)",
        "LoRA (backbone version 1+second)",
    ]
