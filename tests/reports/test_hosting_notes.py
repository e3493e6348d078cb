"""Under a table: why a method of its runs stands on another backbone, or nowhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.records.write import write_record
from petl_bench.running.planning.saved_plans import left_out
from petl_bench.tables import notes as table_notes
from tests.commands import petl_bench

from .synthetic_records import make_result, make_trial

PLAN = "plans/0123456789abcdef.json"
REASON = "it does not work with the backbone 'viclip-tiny' (it attends over frames)"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods on each of two backbones, one of which is on one alone, and a plan that left out two more."""
    for backbone, method in (
        ("viclip-tiny", "zero_shot"),
        ("viclip-tiny", "vpt"),
        ("clip-tiny", "zero_shot"),
        ("clip-tiny", "seq_transf"),
    ):
        trial = make_trial(method, backbone=backbone, hyper_parameters={})
        folder = tmp_path / "trials" / trial.key
        folder.mkdir(parents=True)
        write_record(folder, trial, make_result(62.5, 50.0, trainable=0 if method == "zero_shot" else 1000))
    (tmp_path / "plans").mkdir()
    methods = {"over_frames": REASON, "also_over_frames": REASON, "vpt": "it was once"}
    of_settings = {"base2novel": methods, "retrieval": {"x": "y"}}
    values = {"command": "", "started_at": 0.0, "trials": {}, "left_out": of_settings}
    (tmp_path / PLAN).write_text(json.dumps(values), encoding="utf-8")
    return tmp_path


def test_a_table_says_why_a_method_is_on_another_backbone_or_left_out(runs: Path) -> None:
    table = TABLES.get("base2novel")().build(replace(Evidence(pb.load_records(runs)), left_out_methods=left_out(runs)))
    assert (
        "Not on ViCLIP-Tiny: Seq. Transf.: it reads features of single frames, and this backbone encodes all frames of "
        "a clip together."
    ) in table.provenance
    assert f"Left out of --methods all: also_over_frames, over_frames: {REASON}." in table.provenance
    assert not [
        note for note in table.provenance if note.startswith(("Not on clip-tiny", "Left out")) and "vpt" in note
    ]


def test_the_command_reads_it_from_the_plans(runs: Path) -> None:
    done = petl_bench("report", "--runs", runs, "--table", "base2novel", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "Left out of --methods all: also_over_frames, over_frames" in done.stdout


@pytest.mark.parametrize("content", ["[]", "{", '{"left_out": 1}', '{"left_out": {"base2novel": 2}}', "{}"])
def test_what_cannot_be_read_or_is_older_tells_nothing(runs: Path, content: str) -> None:
    (runs / PLAN).write_text(content, encoding="utf-8")
    assert left_out(runs) == {}


def test_many_values_are_grouped_by_what_they_have_in_common() -> None:
    few = {"a": {1}, "b": {2}}
    assert table_notes._once_or_each(few, "{name} {value}") == "a 1, b 2"
    many = {**{name: {10} for name in "cdefgh"}, "a": {0}, "b": {0}, "i": {5}}
    assert table_notes._once_or_each(many, "{name} {value}") == "10 (a, b: 0; i: 5)"
    assert table_notes._once_or_each({name: {3} for name in "abcdefgh"}, "{name} {value}") == "3"
