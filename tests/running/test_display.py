"""What a run shows while it runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.api.trial import Places, Progress, Trial
from petl_bench.running.local import display


@pytest.fixture
def job() -> Job:
    """Some job."""
    texts = (
        "method_version setting setting_version dataset_version manifest_sha256 backbone weights weights_sha256 decoder"
    )
    values: dict[str, Any] = dict.fromkeys(f"{texts} weights weights_sha256 decoder".split(), "x")
    maps: dict[str, Any] = {name: {} for name in ("hyper_parameters", "setting_options", "dataset_options", "training")}
    trial = Trial(**values, **maps, method="msta", dataset="motion", split="", shots=None, seed=0)
    return Job(trial=trial, places=Places(cache=Path("cache")))


def outcome(job: Job, **values: Any) -> AttemptResult:
    return AttemptResult(key=job.trial.key, title=job.trial.title, **values)


def test_plain_lines_tell_start_progress_and_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_LINE_EVERY_S", 0.0)
    out = io.StringIO()
    lines = display.PlainLines(Console(file=out, soft_wrap=True), total=2)
    lines.started(job)
    lines.progress(job, Progress(stage="training", epoch=3, epochs=11, loss=0.51234, accuracy=81.25, seconds_left=42.0))
    lines.finished(job, outcome(job, state="done", metrics={"base_top1": 83.125}))
    told = out.getvalue().splitlines()
    assert told[0] == f"start   {job.trial.title}"
    assert told[1].endswith(": training, epoch 3/11, loss 0.512, accuracy 81.2 %, 42 s left")
    assert told[2].startswith(f"done    {job.trial.title}  base_top1 83.12")
    assert told[2].endswith("[1/2]")


def test_plain_lines_are_few(job: Job) -> None:
    out = io.StringIO()
    lines = display.PlainLines(Console(file=out, soft_wrap=True), total=1)
    lines.started(job)
    for step in range(1000):
        lines.progress(job, Progress(stage="training", step=step, steps=1000))
    assert len(out.getvalue().splitlines()) == 1


def test_markup_in_a_reason_is_shown_as_it_is(job: Job) -> None:
    out = io.StringIO()
    lines = display.PlainLines(Console(file=out, soft_wrap=True), total=1)
    lines.started(job)
    lines.finished(job, outcome(job, state="failed", reason="bad clip [bold]x[/bold].avi"))
    assert "bad clip [bold]x[/bold].avi" in out.getvalue()


def test_the_live_table_shows_running_trials_only(job: Job) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, no_color=True)
    table = display.LiveTable(console, total=3)
    table.started(job)
    table.progress(job, Progress(stage="training", epoch=2, epochs=5, loss=1.5, accuracy=40.0, seconds_left=7.0))
    console.print(table)
    shown = out.getvalue()
    assert "time left" in shown
    for cell in (job.trial.title, "training", "2/5", "1.500", "40.0 %", "7 s", "0 of 3 trials ended"):
        assert cell in shown
    table.finished(job, outcome(job, state="done", metrics={}))
    out.truncate(0)
    console.print(table)
    assert job.trial.title not in out.getvalue()
    assert "1 of 3 trials ended" in out.getvalue()


def test_evaluation_counts_clips(job: Job) -> None:
    assert display.describe(Progress(stage="evaluating", step=64, steps=1280)) == "evaluating, 64/1280"


def test_an_accuracy_among_the_texts_of_a_batch_is_called_so() -> None:
    progress = Progress(stage="training", accuracy=55.0, accuracy_of="V2T R@1 in the batch")
    assert display.describe(progress) == "training, V2T R@1 in the batch 55.0 %"


def test_waiting_for_another_run_does_not_count_as_ended(job: Job) -> None:
    out = io.StringIO()
    lines = display.PlainLines(Console(file=out, soft_wrap=True), total=1)
    lines.started(job)
    lines.finished(job, outcome(job, state="elsewhere", reason="another process works on it"))
    assert out.getvalue().splitlines()[-1].startswith("waiting")
    assert out.getvalue().splitlines()[-1].endswith("[0/1]")
    lines.finished(job, outcome(job, state="done", metrics={}))
    assert out.getvalue().splitlines()[-1].endswith("[1/1]")
