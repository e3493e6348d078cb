"""A trial that is stopped after every few batches ends all the same, with the numbers of one that never was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from petl_bench.api.launcher import Job
from petl_bench.api.trial import Places, Progress, Trial, TrialResult
from petl_bench.data.decoding.clips import Choose, DecodedClip, read_clip
from petl_bench.errors import DataError, TrialStopped
from petl_bench.records.layout import CHECKPOINT, ENCODED, EVALUATED, UNFINISHED, trial_folder
from petl_bench.running.attempts.execute import execute
from petl_bench.training import preparation
from petl_bench.training.run_trial import run_trial
from tests.training.test_interruption import DROPOUT, Counted, assert_same, run, stopped

MakeTrial = Callable[..., Trial]

TEXT = {"bottleneck_dim": 8}
#: 12 training clips; two evaluations of 6 clips.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "trains nothing": ("zero_shot", {}, {"eval_batch_size": 1}),
    "val": ("adaptformer", DROPOUT, {"select": "val", "eval_every": 1, "eval_batch_size": 1}),
    "best-on-test, frozen video": (
        "text_adapter",
        TEXT,
        {"select": "best-on-test", "eval_every": 1, "eval_batch_size": 1},
    ),
    "fixed views": (
        "text_adapter",
        TEXT,
        {"train_views": "fixed", "select": "val", "eval_every": 1, "eval_batch_size": 2, "epochs": 3},
    ),
    "fixed views, bf16": (
        "text_adapter",
        TEXT,
        {"train_views": "fixed", "eval_batch_size": 2, "precision": "bf16"},
    ),
    "several views": (
        "lora",
        {"rank": 2},
        {"views": 2, "crops": 3, "view_sampling": "random", "eval_batch_size": 12, "epochs": 1},
    ),
}


def until_done(
    trial: Trial, places: Places, folder: Path, batches: int = 2, **more: Any
) -> tuple[TrialResult, list[int]]:
    """Attempts that are stopped after so many steps or batches, until one ends; how many each of them made."""
    made: list[int] = []
    while True:
        stop = Counted(batches)
        try:
            result = run(trial, places, folder, stop, **more)
        except TrialStopped:
            made.append(stop.asked)
        else:
            return result, [*made, stop.asked]


def goes_on(trial: Trial, places: Places, tmp_path: Path, **more: Any) -> None:
    """Whether the trial, stopped after every two batches, does each of them once and ends with the same bits."""
    asked = Counted()
    whole = run(trial, places, tmp_path / "whole", asked, **more)
    result, made = until_done(trial, places, tmp_path / "stopped", **more)
    assert sum(made) == asked.asked and len(made) > 3
    if (tmp_path / "whole" / "adapter.safetensors").exists():
        assert_same((whole, tmp_path / "whole"), (result, tmp_path / "stopped"))
    else:
        same_scores(whole, result)


def same_scores(one: TrialResult, other: TrialResult) -> None:
    assert other.metrics == one.metrics and other.notes == one.notes and other.marks == one.marks
    for name, evaluation in one.evaluations.items():
        again = other.evaluations[name]
        assert again.scores.tobytes() == evaluation.scores.tobytes()
        assert replace(again, scores=None) == replace(evaluation, scores=None)


@pytest.mark.parametrize("case", CASES)
def test_every_batch_is_done_once(case: str, make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    method, hyper, training = CASES[case]
    goes_on(make_trial(method, hyper, **training), places, tmp_path)


@pytest.mark.parametrize("setting", ["few_shot", "fully_supervised", "zero_shot_transfer"])
def test_in_every_setting(setting: str, make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = replace(make_trial("lora", {"rank": 2}, epochs=1, batch_size=6, eval_batch_size=1), setting=setting)
    if setting != "few_shot":
        trial = replace(trial, shots=None)
    if setting != "zero_shot_transfer":
        goes_on(trial, places, tmp_path)
        return
    source = replace(trial, part="source")
    goes_on(source, places, tmp_path)
    target = replace(trial, part="target", start_from=source.key)
    (tmp_path / "target").mkdir()
    goes_on(target, places, tmp_path / "target", adapter=tmp_path / "stopped" / "adapter.safetensors")


@pytest.mark.drill
def test_processes_that_share_a_trial_go_on_together(
    make_trial: MakeTrial, small_plugin: Callable[..., Path], places: Places, tmp_path: Path
) -> None:
    shared = {"processes": 2, "eval_batch_size": 1, "epochs": 1, "batch_size": 6}
    trial = make_trial("text_adapter", TEXT, train_views="fixed", select="val", **shared)
    places = replace(places, plugins=(small_plugin(),))
    asked = Counted()
    whole = run(trial, places, tmp_path / "whole", asked)
    result, made = until_done(trial, places, tmp_path / "stopped", batches=5)
    assert sum(made) == asked.asked and len(made) > 2
    assert_same((whole, tmp_path / "whole"), (result, tmp_path / "stopped"))


@pytest.mark.parametrize("select", ["last", "val"])
def test_an_attempt_that_ends_without_warning_goes_on_within_the_evaluation(
    select: str, make_trial: MakeTrial, places: Places, tmp_path: Path, every_step: float
) -> None:
    trial = make_trial("adaptformer", DROPOUT, select=select, epochs=1, eval_batch_size=1)
    whole, folder = run(trial, places, tmp_path / "whole"), tmp_path / "cut"
    folder.mkdir()
    evaluated: list[int] = []

    def die(progress: Progress) -> None:
        if progress.stage == "evaluating":
            evaluated.append(progress.step)
            if len(evaluated) % 2 == 0:
                raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            run_trial(trial, places, folder, die, checkpoint_seconds=every_step)
    assert evaluated[:4] == [1, 2, 2, 3], "one batch was told, but not yet kept"
    assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))


@pytest.mark.parametrize("later", ["readable", "unreadable"])
def test_a_clip_counts_as_what_it_was_when_its_batch_was_evaluated(
    later: str, make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = later == "readable"

    def reading(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        if away and path.name == "test_6.mp4" and path.parent.name == "red_square":  # the first one of "base"
            raise DataError("its disk is away")
        return read_clip(path, choose, decoder)

    monkeypatch.setattr(
        preparation, "replace", lambda spec, **values: replace(spec, **{**values, "cache": None, "read": reading})
    )
    trial = make_trial("zero_shot", eval_batch_size=2, bad_clips_allowed=0.5)
    whole = run(trial, places, tmp_path / "whole")
    base = whole.evaluations["base"]
    assert (len(base.clips), len(base.unreadable)) == ((5, 1) if later == "readable" else (6, 0))
    stopped(trial, places, tmp_path / "stopped", 1)
    away = not away
    same_scores(whole, run(trial, places, tmp_path / "stopped"))


def _reshaped(content: dict[str, Any]) -> None:
    content["lists"]["base"]["values"] = content["lists"]["base"]["values"].repeat(1, 2)


def _repeated(content: dict[str, Any]) -> None:
    content["lists"]["base"]["rows"][:] = 0


def _not_finite(content: dict[str, Any]) -> None:
    content["lists"]["base"]["values"][0] = float("nan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(trial="0" * 64), "belongs to another trial"),
        (lambda content: content.update(kept=0), "another version of petl-bench"),
        (lambda content: content["lists"]["base"].update(clips="0" * 64), "base has other clips"),
        (lambda content: content["lists"].update(base=[]), "list indices must be"),
        (lambda content: content["lists"]["base"].update(batches="3"), "no such number of batches"),
        (lambda content: content.update(unreadable={"clip": 1}), "'unreadable' is damaged"),
        (lambda content: content.update(seconds=float("nan")), "'seconds' is damaged"),
        (_reshaped, r"have the shape \(2, 4\)"),
        (_repeated, "not those of its list"),
        (_not_finite, "is not finite"),
        (lambda content: content.update(padding=torch.zeros(2**20)), r"bytes, and at most"),
        (None, "it is damaged"),
    ],
)
def test_scores_that_are_not_this_trials_are_named_and_not_used(
    change: Callable[[dict[str, Any]], None] | None,
    words: str,
    make_trial: MakeTrial,
    places: Places,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trial = make_trial("zero_shot", eval_batch_size=1)
    whole, folder = run(trial, places, tmp_path / "whole"), tmp_path / "stopped"
    stopped(trial, places, folder, 2)
    file = folder / EVALUATED
    if change is None:
        file.write_bytes(file.read_bytes()[:500])
    else:
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)
    stop = Counted()
    with caplog.at_level(logging.WARNING):
        result = run(trial, places, folder, stop)
    assert stop.asked == 12, "everything was evaluated anew"
    same_scores(whole, result)
    (message,) = [record.getMessage() for record in caplog.records if str(file) in record.getMessage()]
    assert message.startswith(f"{file} is not used, and what it holds is computed anew: ")
    assert words.replace("\\", "") in message or pytest.fail(message)


def test_scores_of_another_trained_state_are_not_used(
    make_trial: MakeTrial, places: Places, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial = make_trial("adaptformer", DROPOUT, select="best-on-test", eval_every=1, eval_batch_size=1)
    whole, folder = run(trial, places, tmp_path / "whole"), tmp_path / "stopped"
    stopped(trial, places, folder, 3 + 3)  # in the evaluation that follows the first epoch
    first = (folder / EVALUATED).read_bytes()
    stopped(trial, places, folder, 3 + 3 + 2)  # in that of the second epoch
    (folder / EVALUATED).write_bytes(first)
    with caplog.at_level(logging.WARNING):
        assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))
    assert caplog.text == ""


def test_a_finished_trial_keeps_none_of_it(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    fixed = {"train_views": "fixed", "eval_batch_size": 2, "epochs": 1}
    one = Job(trial=make_trial("text_adapter", TEXT, **fixed), places=places)
    folder = trial_folder(tmp_path, one.trial.key)
    seen: set[str] = set()
    while execute(one, tmp_path, lambda progress: None, stop=Counted(2)).state == "interrupted":
        seen |= {name for name in UNFINISHED if (folder / name).exists()}
    assert seen == {CHECKPOINT, EVALUATED, ENCODED}
    left = {path.name for path in folder.iterdir()}
    assert "record.json" in left and not left & seen
