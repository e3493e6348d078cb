"""`petl-bench cost` from end to end: what is recorded, what is printed, and what bad input leads to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.cli import cost as command
from petl_bench.costs import device
from petl_bench.records.read import read_record

from .conftest import CostCommand

pytestmark = pytest.mark.slow

Measured = tuple[CostCommand, CompletedProcess[str]]


def test_every_method_is_recorded_beside_both_references(measured: Measured) -> None:
    cost, done = measured
    assert done.returncode == 0, done.stderr
    rows = ["zero_shot", "full_finetune", "lora", "lora merged", "msta"]
    assert set(cost.records()) == {f"{row}{batch}" for row in rows for batch in ("", " 2")}
    for path in (cost.runs / "trials").glob("*/record.json"):
        read_record(path)


def test_a_record_has_the_promised_metrics(measured: Measured) -> None:
    metrics = measured[0].records()["msta 2"]["metrics"]
    model = pb.create_model("viclip-tiny", weights=None)
    pb.create_method("msta", bottleneck_dim=32, zero_init_up=True, scale=1.0).attach(model)
    assert metrics["trainable_params"] == pb.trainable_parameters(model)
    assert metrics["total_params"] == sum(parameter.numel() for parameter in model.parameters())
    assert metrics["flops_g"] == 2 * metrics["macs_g"] > 0
    assert metrics["batch_size"] == 2
    assert 4 * metrics["trainable_params"] < 1e6 * metrics["adapter_mb"] < 5 * metrics["trainable_params"]
    assert metrics["train_step_ms_p10"] <= metrics["train_step_ms"] <= metrics["train_step_ms_p90"]
    low, ratio, high = (metrics[f"throughput_vs_frozen{end}"] for end in ("_low", "", "_high"))
    assert 0 < low <= ratio <= high
    assert metrics["train_step_vs_full"] > 0
    assert metrics["peak_memory_mib"] > metrics["inference_memory_mib"] > 4 * metrics["total_params"] / 2**20
    assert metrics["text_ms"] > 0 and metrics["text_macs_g"] > 0 and metrics["latency_ms"] > 0


def test_what_was_not_measured_is_absent_with_its_reason(measured: Measured) -> None:
    records = measured[0].records()
    assert "train_step_ms" not in records["zero_shot"]["metrics"]
    assert "train_step_ms: not measured: nothing trains" in records["zero_shot"]["notes"]
    assert "train_step_ms: not measured: it trains unmerged" in records["lora merged"]["notes"]
    assert "inference_energy_j_per_video: not measured: the device reports no energy" in records["lora"]["notes"]


def test_a_merged_adapter_costs_what_the_frozen_backbone_costs(measured: Measured) -> None:
    records = measured[0].records()
    frozen, merged, unmerged = (records[name]["metrics"] for name in ("zero_shot", "lora merged", "lora"))
    assert merged["macs_g"] == frozen["macs_g"] < unmerged["macs_g"]
    assert merged["total_params"] == frozen["total_params"] < unmerged["total_params"]


def test_the_record_says_how_it_was_measured(measured: Measured) -> None:
    record = measured[0].records()["lora 2"]
    options = record["trial"]["setting_options"]
    assert {name: options[name] for name in ("protocol", "precision", "batch_size", "classes", "merged")} == {
        "protocol": 1, "precision": "fp32", "batch_size": 2, "classes": 3, "merged": False,
    }  # fmt: skip
    assert options["device"] == record["environment"]["device"]
    assert record["environment"]["torch"] and record["environment"]["threads"] == options["threads"]
    assert any(note.startswith("not counted as FLOPs: aten::") for note in record["notes"])


def test_what_is_recorded_is_measured_again_only_with_force(measured: Measured, tmp_path: Path) -> None:
    cost = CostCommand(tmp_path)
    shutil.copytree(measured[0].runs, cost.runs)
    before = {path: path.read_bytes() for path in cost.runs.glob("trials/*/record.json")}
    done = cost.measure("lora", "--batch-sizes", "1,2")
    assert done.returncode == 0 and "recorded already" in done.stderr
    assert {path: path.read_bytes() for path in cost.runs.glob("trials/*/record.json")} == before
    forced = cost.measure("lora", "--force", rounds=1)
    assert forced.returncode == 0 and "4 records moved aside" in forced.stderr
    assert len(list((cost.runs / "replaced").iterdir())) == 4


def test_one_round_gives_no_interval_and_says_so(cost: CostCommand) -> None:
    assert cost.measure("zero_shot", rounds=1).returncode == 0
    record = cost.records()["full_finetune"]
    assert "throughput_vs_frozen" in record["metrics"] and "throughput_vs_frozen_low" not in record["metrics"]
    assert "throughput_vs_frozen_low: not measured: fewer than three rounds" in record["notes"]


def test_the_largest_batch_is_searched_for_up_to_its_bound(cost: CostCommand) -> None:
    done = cost.measure("adaptformer", "--batch-sizes", "largest", "--largest-batch", "3", rounds=1)
    assert done.returncode == 0, done.stderr
    record = cost.records()["adaptformer largest"]
    assert record["metrics"]["batch_size"] == 3
    assert "train_step_ms" not in record["metrics"]


# Bad input: one clear line, the other cells are measured


def last_lines(done: CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no method given"),
        (["--methods", "lra"], "unknown method 'lra'; did you mean lora"),
        (["--methods", "lora", "--backbone", "viclip-tny"], "did you mean viclip-tiny"),
        (["--methods", "lora", "--batch-sizes", "1,big"], "--batch-sizes 1,big: expected whole numbers"),
        (["--methods", "lora", "--batch-sizes", "0"], "--batch-sizes 0: expected whole numbers from 1"),
        (["--methods", "lora", "--precision", "fp8"], "--precision fp8: expected one or several of fp32, bf16, fp16"),
        (["--methods", "lora", "--set", "lora.rnk=3"], "did you mean rank"),
        (["--methods", "lora", "--set", "cost.hyper_of=base2nov"], "did you mean base2novel"),
        (["--methods", "lora", "--weights", "none.pth"], "--weights none.pth: no such file"),
        (["--methods", "lora", "--compare", "nowhere"], "nowhere"),
        (["--compare", "nowhere", "--classes", "3"], "--classes: not together with --compare"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_in_one_line(cost: CostCommand, arguments: list[str], says: str) -> None:
    done = cost(*arguments, "--device", "cpu")
    assert done.returncode == 2
    assert says in last_lines(done)
    assert not cost.runs.exists()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_a_device_that_is_not_there_is_told(cost: CostCommand) -> None:
    done = cost("--methods", "lora", "--device", "cuda")
    assert done.returncode == 2
    assert "--device cuda: no CUDA device is visible here" in last_lines(done)


def test_what_cannot_be_measured_is_told_and_the_rest_is_measured(cost: CostCommand) -> None:
    """A batch that does not fit, methods that cannot be merged, one whose training fails, and one that fits."""
    plugin = ("--plugin", str(cost.plugin))
    done = cost.measure("lora,failing", "--batch-sizes", "1,9999999", "--merged", "yes", *plugin, rounds=1)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    summary = done.stderr[done.stderr.index("could not be measured:") :]
    assert "lora, fp32, batch 9999999, viclip-tiny: a batch of 9999999 does not fit" in summary
    assert "failing merged, viclip-tiny: cannot be merged into the backbone" in summary
    assert "failing, fp32, batch 1, viclip-tiny: failing.loss(step): ValueError: no loss today" in summary
    assert set(cost.records()) == {"zero_shot", "full_finetune", "lora", "lora merged"}


def test_a_composition_that_cannot_be_merged_is_left_out_unless_asked_for(cost: CostCommand) -> None:
    methods, of = "zero_i2v+ssf,lora+ia3", ("--backbone", "clip-tiny")
    done = cost.measure(methods, *of, rounds=1)
    assert done.returncode == 0, done.stderr
    left_out = [line for line in done.stderr.splitlines() if "zero_i2v+ssf merged is left out: " in line]
    assert len(left_out) == 1 and "name that method before zero_i2v" in left_out[0]
    assert set(cost.records()) == {"zero_shot", "full_finetune", "zero_i2v+ssf", "lora+ia3", "lora+ia3 merged"}
    again = cost.measure(methods, *of, rounds=1)
    assert again.returncode == 0 and "zero_i2v+ssf merged is left out: " in again.stderr
    asked = cost.measure(methods, *of, "--merged", "yes", rounds=1)
    assert asked.returncode == 1 and "zero_i2v+ssf merged, clip-tiny: block 1" in last_lines(asked)


def test_a_precision_that_the_cpu_lacks_is_told_and_the_rest_is_measured(
    cost: CostCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_computes_in", lambda device, precision: False)
    done = cost.measure("zero_shot", "--precision", "bf16,fp32", rounds=1)
    assert done.returncode == 1
    assert "has no bf16 instructions; use --precision fp32" in last_lines(done)
    assert set(cost.records()) == {"zero_shot", "full_finetune"}


def test_a_disputed_count_leaves_the_flops_out_and_says_why(cost: CostCommand) -> None:
    assert cost.measure("unseen", "--plugin", str(cost.plugin), rounds=1).returncode == 0
    record = cost.records()["unseen"]
    assert "flops_g" not in record["metrics"] and record["metrics"]["train_step_ms"] > 0
    says = "flops_g: not measured: counts differ by more than 0.1 % in video.blocks.0.parallel.0.module (Product)"
    assert any(note.startswith(says) for note in record["notes"])


def test_a_method_that_changes_the_task_is_measured_and_marked(cost: CostCommand) -> None:
    methods = "prompt_per_video,cache,lora+prompt_per_video"
    done = cost.measure(methods, "--plugin", str(cost.guests), "--merged", "no", rounds=1)
    assert done.returncode == 0, done.stderr
    records = cost.records()
    assert "text-per-video" in records["prompt_per_video"]["marks"] and "training-free" in records["cache"]["marks"]
    both = records["lora+prompt_per_video"]
    assert "text-per-video" in both["marks"] and "training-free" not in both["marks"]
    assert "X: text features depend on the clip" in done.stdout
    assert "Z: nothing is trained" in done.stdout
    of_cache, of_prompt = records["cache"]["metrics"], records["prompt_per_video"]["metrics"]
    assert of_cache["macs_g"] < of_prompt["macs_g"] < both["metrics"]["macs_g"]
    assert "train_step_ms" not in of_cache and both["metrics"]["train_step_ms"] > 0


@pytest.mark.parametrize("backbone", ["viclip-tiny", "clip-tiny"])
def test_all_means_every_method_that_the_backbone_hosts(backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {**command._DEFAULTS, "backbone": backbone, "batch_sizes": (1,)}
    items = command._request(("all",), asked, "cpu").items
    plugins = {name: METHODS.get(name) for name in METHODS.names()}
    hosted = {name for name, plugin in plugins.items() if not plugin.hosted_by(BACKBONES.get(backbone))}
    assert {item.method.name for item in items} == hosted
    assert {item.method.name for item in items if item.merged} == {each for each in hosted if plugins[each].mergeable}
    lines = capsys.readouterr().err.splitlines()
    assert {line.partition(" is left out: ")[0] for line in lines} == plugins.keys() - hosted
    assert all("does not work with the backbone" in line for line in lines)


def test_run_sends_whoever_asks_for_the_setting_to_the_command(cost: CostCommand) -> None:
    done = cost("--methods", "lora", "--setting", "cost", command="run")
    assert done.returncode == 2
    assert "petl-bench cost --methods a,b" in last_lines(done)
    assert not cost.runs.exists()


def test_the_setting_is_listed_and_explained(cost: CostCommand) -> None:
    assert "cost" in cost("settings", command="list").stdout
    page = cost("settings:cost", command="show").stdout
    assert "petl-bench cost --methods a,b" in page and "hyper_of = base2novel" in page


# What is exported, and the check against a stored run


def test_pytest_benchmark_compares_what_is_exported(measured: Measured, tmp_path: Path) -> None:
    done = measured[0].measure("lora,msta", "--batch-sizes", "1,2", "--format", "pytest-benchmark")
    assert done.returncode == 0
    exported = json.loads(done.stdout)
    assert "train_step[lora-viclip-tiny-b2-fp32]" in {each["name"] for each in exported["benchmarks"]}
    for name in ("0001_before.json", "0002_after.json"):
        (tmp_path / name).write_text(done.stdout)
    files = ["0001_before.json", "0002_after.json"]
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "--columns=median,rounds", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert compared.returncode == 0, compared.stderr
    assert "inference[lora-merged-viclip-tiny-b1-fp32]" in compared.stdout


def test_a_ratio_that_worsened_is_told_and_fails(measured: Measured, tmp_path: Path) -> None:
    stored = measured[0].measure("lora,msta", "--batch-sizes", "1,2", "--format", "pytest-benchmark").stdout
    values = json.loads(stored)
    for benchmark in values["benchmarks"]:
        if benchmark["extra_info"]["trial"]["method"] == "msta":
            benchmark["extra_info"]["metrics"]["throughput_vs_frozen"] *= 1e6  # beyond any noise of a busy machine
    (tmp_path / "stored.json").write_text(json.dumps(values))
    cost = CostCommand(tmp_path)
    flags = ("--methods", "msta", "--device", "cpu", "--rounds", "1", "--tolerance", "80")
    done = cost("--compare", "stored.json", *flags)
    assert done.returncode == 1, done.stderr
    assert "msta (viclip-tiny, batch 1, fp32): throughput_vs_frozen" in done.stdout and "% worse" in done.stdout
    assert not cost.runs.exists()


def test_equal_ratios_pass(measured: Measured, tmp_path: Path) -> None:
    cost = CostCommand(tmp_path)
    runs = str(measured[0].runs)
    done = cost("--compare", runs, "--methods", "lora", "--device", "cpu", "--rounds", "2", "--tolerance", "900")
    assert done.returncode == 0, done.stderr
    assert "no ratio of 6 is worse by more than 900 %" in done.stdout


def test_a_run_of_another_device_is_not_compared(measured: Measured, tmp_path: Path) -> None:
    stored = measured[0].measure("lora,msta", "--batch-sizes", "1,2", "--format", "pytest-benchmark").stdout
    name = measured[0].records()["lora"]["environment"]["device"]
    (tmp_path / "stored.json").write_text(stored.replace(name, "another CPU"))
    done = CostCommand(tmp_path)("--compare", "stored.json", "--device", "cpu")
    assert done.returncode == 2
    assert "was measured on another CPU" in last_lines(done)
