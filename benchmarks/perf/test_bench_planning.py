"""Planning 10,000 trials (five methods, 2,000 seeds, 1,000 clips), new and with all of them done. To reach: 2 s."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.registry import KINDS
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec
from tests.running.fake_scheduler import minimal_record

METHODS = ("zero_shot", "lora", "adaptformer", "msta", "full_finetune")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spec]:
    """A folder with 1,000 files in ten classes, and a run of 10,000 trials on it."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    for number in range(1000):
        clip = tmp_path / "data" / f"class_{number % 10}" / f"clip_{number}.mp4"
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(b"clip %d" % number)

    @pb.register_backbone("planned-only")
    class PlannedOnly(pb.Backbone):
        """A shape, never built."""

        config = pb.ViCLIPConfig()

    yield Spec(
        methods=METHODS,
        datasets=("folder",),
        backbone="planned-only",
        weights="random",
        seeds=tuple(range(2000)),
        set=(f"folder.path={tmp_path / 'data'}",),
        output=str(tmp_path / "runs"),
    )
    del KINDS["backbones"]._registered["planned-only"]


def test_plan_10000_trials(benchmark: Any, spec: Spec) -> None:
    planned: Plan = benchmark.pedantic(plan, args=(spec,), rounds=3, warmup_rounds=1)
    assert len(planned.jobs) == 10_000
    assert len(planned.to_do) == 10_000


def test_plan_10000_trials_that_are_done(benchmark: Any, spec: Spec) -> None:
    for job in plan(spec).jobs:
        folder = Path(spec.output) / "trials" / job.trial.key
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(minimal_record(job.trial.key)))
    planned: Plan = benchmark.pedantic(plan, args=(spec,), rounds=3)
    assert planned.to_do == []
