"""`petl-bench export`: the adapter of a trial as a folder of Hugging Face PEFT."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import petl_bench as pb
from petl_bench.records.layout import ADAPTER
from petl_bench.training.checkpoint import load_adapter
from tests.commands import petl_bench


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials of three methods on clip-tiny, one epoch of few clips."""
    import petl_bench.benchmarks.datasets.motion as motion

    folder, cache = tmp_path_factory.mktemp("export") / "runs", tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        done = petl_bench(
            "run", "--setting", "few_shot", "--shots", "2", "--methods", "zero_shot,lora,bitfit", "--seeds", "0",
            "--backbone", "clip-tiny", "--epochs", "1", "--workers", "1", "--output", folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def key_of(runs: Path, method: str) -> str:
    records = pb.load_records(runs)
    return str(records[records["method"] == method]["trial"].iloc[0])


def export(runs: Path, adapter: str, output: Path, kind: str = "peft") -> subprocess.CompletedProcess[str]:
    return petl_bench("export", "--runs", runs, "--adapter", adapter, "--format", kind, "--output", output)


def test_a_trial_is_written_and_computes_the_same(runs: Path, tmp_path: Path) -> None:
    key = key_of(runs, "lora")
    done = export(runs, key[:8], tmp_path / "peft")
    assert done.returncode == 0 and done.stdout == ""
    assert "transformers.CLIPModel" in done.stderr and "lora motion" in done.stderr
    header, state = load_adapter(runs / "trials" / key / ADAPTER)
    model = pb.create_model("clip-tiny")
    method = pb.load_peft_adapter(model, tmp_path / "peft")
    assert method.values() == header["hyper_parameters"]
    written = model.adapter_state()
    assert written.keys() == state.keys() and all(torch.equal(written[name], state[name]) for name in state)
    with safe_open(tmp_path / "peft" / "adapter_model.safetensors", framework="pt") as file:
        origin = json.loads(file.metadata()["petl-bench"])
    assert (origin["trial"], origin["method"], origin["backbone"]) == (key, "lora", "clip-tiny")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_wrong_use_is_one_line(runs: Path, tmp_path: Path) -> None:
    lora = key_of(runs, "lora")
    (tmp_path / "there").mkdir()
    assert "is there already, and is not replaced" in refused(export(runs, lora, tmp_path / "there"))
    assert "cannot be made" in refused(export(runs, lora, tmp_path / "absent" / "peft"))
    assert "known: onnx, peft, safetensors, torch-export" in refused(export(runs, lora, tmp_path / "peft", "gguf"))
    for method in ("bitfit", "zero_shot"):
        said = refused(export(runs, key_of(runs, method), tmp_path / "peft"))
        assert f"{method} has no form in PEFT's format; these have: dora, lora" in said
    assert "unknown trial 'nothing'" in refused(export(runs, "nothing", tmp_path / "peft"))
    assert not (tmp_path / "peft").exists()


def test_an_adapter_that_is_damaged_or_was_not_kept_is_one_line(runs: Path, tmp_path: Path) -> None:
    key = key_of(runs, "lora")
    path = runs / "trials" / key / ADAPTER
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "the adapter cannot be used" in refused(export(runs, key, tmp_path / "peft"))
        path.unlink()
        assert "the adapter cannot be used" in refused(export(runs, key, tmp_path / "peft"))
    finally:
        path.write_bytes(content)
    assert not (tmp_path / "peft").exists()


def test_an_unfinished_trial_is_one_line(runs: Path, tmp_path: Path) -> None:
    key = key_of(runs, "lora")
    record = runs / "trials" / key / "record.json"
    content = record.read_bytes()
    try:
        record.unlink()
        assert "is not finished" in refused(export(runs, key, tmp_path / "peft"))
    finally:
        record.write_bytes(content)


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom petl_bench.cli import cli\ncli(['export', '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'pandas', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "Hugging Face PEFT" in done.stdout, done.stderr
