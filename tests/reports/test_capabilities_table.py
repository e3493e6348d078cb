"""The table capabilities: what methods declare, without any record; costs from records if there are some."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.methods.coop import WORDS
from petl_bench.records.frame import frame
from petl_bench.render import FORMATS, render
from petl_bench.reports.capabilities import CapabilitiesTable
from tests.commands import petl_bench

from .test_cost_table import write


@pytest.fixture(scope="module")
def table() -> pb.Table:
    return CapabilitiesTable().build(Evidence(frame([])))


def cells(table: pb.Table, method: str) -> dict[str, pb.Cell]:
    labels = [column.label for column in table.columns]
    (row,) = [row for group in table.groups for row in group.rows if row.label == method]
    return dict(zip(labels, row.cells, strict=True))


def values(table: pb.Table, method: str) -> dict[str, Any]:
    return {label: cell.value for label, cell in cells(table, method).items()}


def test_it_has_every_registered_method_and_backbone(table: pb.Table) -> None:
    assert [row.label for row in table.groups[0].rows] == METHODS.names()
    assert [column.label for column in table.columns if column.group == "Trained, M"] == BACKBONES.names()


def test_parameters_are_those_of_the_recipes(table: pb.Table) -> None:
    assert values(table, "lora")["viclip-b16"] == 9.437184
    assert values(table, "lora")["viclip-tiny"] == 0.032768
    assert values(table, "coop")["viclip-b16"] == 4 * 512 / 1e6
    assert values(table, "taskres")["clip-b16"] == 51 * 512 / 1e6
    assert values(table, "tip_adapter_f")["clip-b16"] == 51 * 16 * 512 / 1e6
    assert any("TaskRes" in note and "51 classes" in note for note in table.footers)


def test_a_note_says_where_the_methods_of_families_are(table: pb.Table) -> None:
    assert any("family peft" in note and note.endswith("petl-bench show peft.") for note in table.footers)


def test_a_backbone_that_does_not_host_a_method_says_why(table: pb.Table) -> None:
    cell = cells(table, "seq_transf")["viclip-b16"]
    assert cell.value is None and "reads features of single frames" in cell.source
    assert any(note.startswith("Seq. Transf. is not for ViCLIP-B/16, ViCLIP-L/14") for note in table.provenance)


def test_an_adapted_method_carries_its_mark_where_it_is_adapted(table: pb.Table) -> None:
    found = cells(table, "mv_adapter")
    assert found["viclip-b16"].marks == ("adapted-method",) and found["clip-b16"].marks == ()
    assert any(note.startswith("MV-Adapter, adapted to ViCLIP-B/16") for note in table.provenance)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("lora", {"mergeable": "yes", "FLOPs": "none", "new": "yes", "needed": "no", "graph": "yes", "tasks": "both"}),
        (
            "linear_probe",
            {"mergeable": "no", "new": "no", "needed": "yes", "graph": "no", "not in": "Zero-shot transfer"},
        ),
        ("seq_transf", {"reads": "frames", "graph": "no", "not in": "-"}),
        ("wise_ft", {"reads": "frozen copy"}),
        ("tip_adapter", {"tasks": "classification", "FLOPs": None}),
    ],
)
def test_declarations_are_shown(table: pb.Table, method: str, expected: dict[str, Any]) -> None:
    assert values(table, method).items() >= expected.items()


def test_costs_come_from_the_records_of_the_largest_group(tmp_path: Path) -> None:
    for name, flops, ratio in (("zero_shot", 100.0, 1.0), ("msta", 150.0, 0.5), ("lora", 110.0, 0.9)):
        write(tmp_path, name, metrics={"flops_g": flops, "throughput_vs_frozen": ratio})
    write(tmp_path, "msta", device="other", metrics={"flops_g": 7.0, "throughput_vs_frozen": 0.1})
    write(tmp_path, "adaptformer", device="other", metrics={"flops_g": 7.0, "throughput_vs_frozen": 0.7})
    table = CapabilitiesTable().build(Evidence(pb.load_records(tmp_path)))
    assert (values(table, "msta")["FLOPs"], values(table, "msta")["videos/s"]) == (1.5, 0.5)
    assert len(cells(table, "msta")["FLOPs"].trials) == 1
    assert values(table, "lora")["FLOPs"] == "none"
    assert (values(table, "adaptformer")["FLOPs"], values(table, "adaptformer")["videos/s"]) == (None, 0.7)
    assert any("A100" in note and "other" in note for note in table.provenance)
    frame_wise, usual = table.commands
    assert "aim,seq_transf" in frame_wise and "vpt" in usual
    assert not {"msta", "lora", "bitfit"} & set(usual.split()[3].split(",")), "measured, merged, in place"


def test_what_is_not_measured_says_what_to_type(table: pb.Table) -> None:
    command = "petl-bench cost --methods seq_transf --backbone clip-tiny"
    assert cells(table, "seq_transf")["FLOPs"].source.endswith(command)
    assert "seq_transf" in table.commands[1] and table.commands[1].endswith(" --backbone clip-tiny")


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_has_every_method(table: pb.Table, output_format: str) -> None:
    text = render(table, output_format)
    name_of = str if output_format in ("csv", "tidy", "json") else METHODS.display
    assert all(name_of(name).rstrip("³") in text for name in METHODS.names()), "(IA)³ has another form in LaTeX"


def test_the_terminal_has_three_parts_of_80_columns(table: pb.Table) -> None:
    lines = render(table, "terminal").splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("Method ") for line in lines) == 3


def test_a_report_needs_no_folder_of_runs(tmp_path: Path) -> None:
    done = petl_bench("report", "--table", "capabilities", "--output", "table.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["name"] == "capabilities"
    (tmp_path / "runs").mkdir()
    assert petl_bench("report", "--table", "capabilities", cwd=tmp_path).returncode == 0


def test_a_method_that_fails_takes_no_other_down() -> None:
    class Failing(pb.Method):
        """Its formula fails."""

        def attach(self, model: Any) -> None:
            raise NotImplementedError

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            raise ZeroDivisionError("no such number")

    METHODS.register("failing")(Failing)
    try:
        table = CapabilitiesTable().build(Evidence(frame([])))
    finally:
        del METHODS._registered["failing"]
    assert "no such number" in cells(table, "failing")["clip-b16"].source


def test_no_formula_loads_torch() -> None:
    build = "CapabilitiesTable().build(Evidence(frame([])))"
    code = (
        "import sys; from petl_bench.reports.capabilities import CapabilitiesTable\n"
        "from petl_bench.api.evidence import Evidence; from petl_bench.records.frame import frame\n"
        f"table = {build}; assert not 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_words_of_coop_are_one_token_each() -> None:
    from petl_bench.models.tokenizer import token_lengths

    assert token_lengths([WORDS]) == [len(WORDS.split()) + 2]
