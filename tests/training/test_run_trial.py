"""A whole trial on real files: what it learns, keeps, counts, and how it resumes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import petl_bench as pb
from petl_bench.api.marks import method_marks
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS
from petl_bench.api.trial import Places, Progress, Trial, TrialResult
from petl_bench.data.decoding.clips import Choose, DecodedClip, read_clip
from petl_bench.data.found import known_manifests
from petl_bench.data.found.manifest import Manifest, build_manifest
from petl_bench.errors import DataError, TrialError
from petl_bench.training import preparation
from petl_bench.training.checkpoint import load_adapter, load_checkpoint
from petl_bench.training.distributed import Seat
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.run_trial import run_trial
from petl_bench.training.text import class_tokens

MakeTrial = Callable[..., Trial]
HYPER = {
    "lora": {"rank": 2, "towers": "both"},
    "mma": {"bottleneck_dim": 8, "first_layer": 1},
    "adaptformer": {"bottleneck_dim": 8},
    "msta": {"bottleneck_dim": 8},
    "vision_adapter": {"bottleneck_dim": 8},
    "text_adapter": {"bottleneck_dim": 8},
}
METRICS = {"base": "base_top1", "novel": "novel_top1"}
#: What qualifies the numbers of methods on the squares with the default learning rate, which is MSTA's own.
MARKS = {
    "zero_shot": [],
    "tip_adapter": [],
    "msta": ["template-descriptions"],
    "text_adapter": ["template-descriptions", "untuned-rate"],
}


def run(trial: Trial, places: Places, folder: Path, **changes: object) -> TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(trial, places, folder, lambda progress: None, **changes)  # type: ignore[arg-type]


def same(left: TrialResult, right: TrialResult) -> bool:
    return left.metrics == right.metrics and all(
        np.array_equal(left.evaluations[name].scores, right.evaluations[name].scores) for name in left.evaluations
    )


#: Methods for frame-wise backbones alone need another one: see tests/testing/test_methods.py.
ON_VICLIP = [name for name in METHODS.names() if not METHODS.get(name).hosted_by(BACKBONES.get("viclip-tiny"))]


@pytest.mark.parametrize("method", ON_VICLIP)
def test_every_method_runs_and_scores_every_test_clip(
    method: str, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    plugin = METHODS.get(method)
    trial = make_trial(method, HYPER.get(method, {}))
    result = run(trial, places, tmp_path)
    scored = {"base": "base_top1"} if plugin.novel == "none" else METRICS
    assert {name.partition("@")[0] for name in result.evaluations} == set(scored)
    assert set(result.absent) == {"base", "novel"} - set(scored)
    assert {len(e.clips) for e in result.evaluations.values()} == {6}
    for evaluation in result.evaluations.values():
        assert evaluation.scores.shape == (6, 2)
        np.testing.assert_allclose(evaluation.scores.sum(axis=1), 1.0, atol=1e-5)
    assert set(result.metrics) == {*scored.values(), *(["harmonic_mean"] if len(scored) == 2 else [])}
    declared = method_marks(plugin, BACKBONES.get(trial.backbone).config)
    assert result.marks == sorted(["random-weights", *declared, *MARKS.get(method, ["untuned-rate"])])
    assert result.train_clips == {"expected": 12, "missing": 0, "unreadable": 0, "used": 12}


def test_it_learns_the_base_classes(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("full_finetune", epochs=12, learning_rate=1e-3)
    result = run(trial, places, tmp_path)
    assert result.metrics["base_top1"] == 100.0
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_the_same_trial_gives_the_same_numbers(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("msta", HYPER["msta"])
    assert same(run(trial, places, tmp_path / "a"), run(trial, places, tmp_path / "b"))


def test_another_seed_gives_others(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("full_finetune")
    assert not same(run(trial, places, tmp_path / "a"), run(replace(trial, seed=1), places, tmp_path / "b"))


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "training",
    [{}, {"precision": "bf16"}, {"precision": "fp16"}, {"select": "val"}],
    ids=["fp32", "bf16", "fp16", "val"],
)
def test_an_interrupted_trial_resumes_with_the_same_numbers(
    training: dict[str, str], make_trial: MakeTrial, places: Places, tmp_path: Path, every_step: float
) -> None:
    trial = make_trial("adaptformer", HYPER["adaptformer"], epochs=4, **training)
    whole = run(trial, places, tmp_path / "whole")

    def die(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 3:
            raise Killed

    folder = tmp_path / "cut"
    folder.mkdir()
    with pytest.raises(Killed):
        run_trial(trial, places, folder, die, checkpoint_seconds=every_step)
    state = load_checkpoint(folder / "checkpoint.pt")
    assert state is not None and (state["epoch"]["number"], state["epoch"]["steps"]) == (
        1,
        2 if "select" in training else 3,
    )
    resumed = run(trial, places, folder)
    assert same(whole, resumed)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_micro_batches_give_the_same_training(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("adaptformer", {"bottleneck_dim": 8, "dropout": 0.0}, learning_rate=1e-3)
    cut = make_trial("adaptformer", {"bottleneck_dim": 8, "dropout": 0.0}, learning_rate=1e-3, micro_batch_size=2)
    whole, micro = run(trial, places, tmp_path / "a"), run(cut, places, tmp_path / "b")
    for name, evaluation in whole.evaluations.items():
        np.testing.assert_allclose(micro.evaluations[name].scores, evaluation.scores, atol=1e-4)


def test_loader_processes_change_nothing(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("lora", HYPER["lora"])
    assert same(run(trial, places, tmp_path / "a"), run(trial, replace(places, loader_workers=2), tmp_path / "b"))


def test_the_adapter_file_holds_the_trained_tensors_alone(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("lora", HYPER["lora"])
    result = run(trial, places, tmp_path)
    metadata, tensors = load_adapter(tmp_path / "adapter.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == result.trainable_params
    assert metadata["method"] == "lora" and metadata["hyper_parameters"]["rank"] == 2
    assert metadata["trial"] == trial.key


def test_zero_shot_trains_nothing(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    result = run(make_trial("zero_shot"), places, tmp_path)
    assert result.trainable_params == 0 and result.history == []
    assert not (tmp_path / "checkpoint.pt").exists()


def test_more_views_are_averaged(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    result = run(make_trial("zero_shot", views=2, crops=3), places, tmp_path)
    assert all(len(evaluation.clips) == 6 for evaluation in result.evaluations.values())


def test_best_on_test_is_marked(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    result = run(make_trial("lora", HYPER["lora"], select="best-on-test", eval_every=1), places, tmp_path)
    assert "best-on-test" in result.marks
    assert all("selection_accuracy" in row for row in result.history)


def test_val_holds_out_training_clips_and_says_so(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    result = run(make_trial("lora", HYPER["lora"], select="val"), places, tmp_path)
    assert any("held out" in note for note in result.notes)


def test_a_loss_that_is_not_finite_stops_the_trial(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("full_finetune", epochs=30, learning_rate=1e6)
    with pytest.raises(TrialError, match=r"not finite at step \d+ .*clips .*\.mp4.*--set training\.learning_rate"):
        run(trial, places, tmp_path)


def test_running_out_of_memory_says_what_to_change(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(METHODS.get("lora"), "loss", full)
    with pytest.raises(TrialError, match=r"out of memory on cpu.*20\.00 GiB.*--set training\.micro_batch_size=2"):
        run(make_trial("lora", HYPER["lora"]), places, tmp_path)


@pytest.mark.parametrize(
    ("method", "shots", "marked"), [("lora", 6, False), ("lora", 7, True), ("zero_shot", 7, False)]
)
def test_classes_with_fewer_clips_than_shots_are_marked_for_what_trains(
    method: str, shots: int, marked: bool, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = replace(make_trial(method, HYPER.get(method, {}), epochs=1), shots=shots)
    result = run(trial, places, tmp_path)
    assert result.train_clips["expected"] == 12
    assert ("fewer-shots" in result.marks) is marked


def _as_folder(self: pb.Dataset, clip: str) -> str:
    return clip.partition("/")[0]


def _as_side(self: pb.Dataset, clip: str) -> str:
    return clip.rpartition("_")[0]


@pytest.mark.parametrize(
    ("method", "group_of", "shared"),
    [("lora", _as_folder, 6), ("lora", _as_side, 0), ("lora", None, 0), ("zero_shot", _as_folder, 0)],
)
def test_recordings_on_both_sides_are_marked_and_counted_for_what_trains(
    method: str,
    group_of: Callable[[pb.Dataset, str], str] | None,
    shared: int,
    make_trial: MakeTrial,
    places: Places,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The squares train on 12 clips of two folders, and are tested on 6 of these folders and on 6 of two others."""
    if group_of is not None:
        monkeypatch.setattr(DATASETS.get("folder"), "group_of", group_of)
    result = run(make_trial(method, HYPER.get(method, {}), epochs=1), places, tmp_path)
    assert ("shared-recordings" in result.marks) is bool(shared)
    told = [note for note in result.notes if "recordings" in note]
    assert [note.split()[0] for note in told] == ([str(shared)] if shared else [])


def test_the_environment_names_the_libraries_that_compute(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    software = run(make_trial("zero_shot"), places, tmp_path).environment["software"]
    assert software.startswith(f"torch {torch.__version__.partition('+')[0]}")
    assert f"numpy {np.__version__}" in software


def test_missing_clips_are_counted_and_marked(
    squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    (some / "red_square" / "test_7.mp4").unlink()
    (some / "red_square" / "train_1.mp4").unlink()
    result = run(make_trial("zero_shot", dataset={"path": str(some)}), places, tmp_path / "run")
    assert result.evaluations["base"].missing == ["red_square/test_7.mp4"]
    assert result.evaluations["base"].expected == 6 and len(result.evaluations["base"].clips) == 5
    assert result.train_clips["missing"] == 1
    assert "incomplete-coverage" in result.marks


@pytest.mark.parametrize("allowed", [0.5, 0.0])
def test_a_corrupt_clip_is_quarantined_up_to_the_threshold(
    allowed: float, squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    (some / "green_square" / "test_8.mp4").write_text("<html>not found</html>")
    trial = make_trial("zero_shot", dataset={"path": str(some)}, bad_clips_allowed=allowed)
    if allowed == 0.0:
        with pytest.raises(TrialError, match=r"1 of \d+ clips cannot be read.*test_8\.mp4"):
            run(trial, places, tmp_path / "run")
        return
    result = run(trial, places, tmp_path / "run")
    assert "test_8.mp4" in result.evaluations["base"].unreadable["green_square/test_8.mp4"]
    assert "incomplete-coverage" in result.marks


def test_quarantined_clips_leave_the_adapter_that_finding_them_bad_leaves(
    squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    bad = ["green_square/train_2.mp4", "green_square/test_8.mp4"]
    for clip in bad:
        (some / clip).write_text("<html>not found</html>")
    trial = make_trial("msta", HYPER["msta"], dataset={"path": str(some)}, bad_clips_allowed=0.2, batch_size=5)
    found = run(trial, places, tmp_path / "found")

    def with_quarantine(*arguments: object) -> Manifest:
        return replace(build_manifest(*arguments), quarantined=dict.fromkeys(bad, "of the scan"))  # type: ignore[arg-type]

    monkeypatch.setattr(preparation, "new_manifest", with_quarantine)
    opened: list[str] = []

    def reading(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        opened.append(f"{path.parent.name}/{path.name}")
        return read_clip(path, choose, decoder)

    monkeypatch.setattr(preparation, "replace", partial(replace, read=reading))
    known = run(trial, replace(places, cache=tmp_path / "cache"), tmp_path / "known")
    assert "green_square/train_0.mp4" in opened and not set(bad) & set(opened)
    assert same(found, known)
    adapters = [load_adapter(tmp_path / folder / "adapter.safetensors")[1] for folder in ("found", "known")]
    assert all(torch.equal(adapters[1][name], tensor) for name, tensor in adapters[0].items())
    assert known.train_clips == found.train_clips == {"expected": 12, "missing": 0, "unreadable": 1, "used": 11}
    assert known.train_unreadable == {bad[0]: "of the scan"}
    assert known.evaluations["base"].unreadable == {bad[1]: "of the scan"}
    assert "incomplete-coverage" in known.marks

    strict = make_trial("zero_shot", dataset={"path": str(some)}, bad_clips_allowed=0.0)
    with pytest.raises(TrialError, match=r"1 of 24 clips cannot be read.*test_8\.mp4: of the scan"):
        run(strict, replace(places, cache=tmp_path / "cache"), tmp_path / "strict")


def test_trials_of_a_process_look_for_the_files_once_but_notice_a_changed_clip(
    squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    trial = make_trial("zero_shot", dataset={"path": str(some)})
    built = 0

    def counted(*arguments: object) -> Manifest:
        nonlocal built
        built += 1
        return build_manifest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(known_manifests, "build_manifest", counted)
    first = run(trial, places, tmp_path / "first")
    assert same(first, run(trial, places, tmp_path / "second"))
    assert built == 1
    clip = some / "green_square" / "test_8.mp4"
    os.utime(clip, (1, 1))  # looks changed, and is not
    assert same(first, run(trial, places, tmp_path / "third"))
    assert built == 2
    clip.write_bytes((some / "red_square" / "test_8.mp4").read_bytes())
    with pytest.raises(DataError, match="the files of folder changed since this trial was planned"):
        run(trial, places, tmp_path / "fourth")


def test_a_step_without_a_readable_clip_changes_nothing_but_keeps_its_place(
    squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    (some / "green_square" / "train_2.mp4").write_text("<html>not found</html>")
    steps: list[int] = []
    trial = make_trial("lora", HYPER["lora"], dataset={"path": str(some)}, bad_clips_allowed=0.2, batch_size=1)
    (tmp_path / "run").mkdir()
    result = run_trial(trial, places, tmp_path / "run", lambda progress: steps.append(progress.step))
    assert result.train_clips["used"] == 11
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state is not None
    assert {int(of["step"]) for of in state["optimizer"]["state"].values()} == {22}  # two epochs of 11 clips
    whole = run(make_trial("lora", HYPER["lora"], batch_size=1), places, tmp_path / "whole")
    assert [row["learning_rate"] for row in result.history] == [row["learning_rate"] for row in whole.history]


@pytest.mark.parametrize("sampling", ["uniform", "random"])
def test_the_score_of_a_clip_is_the_mean_over_its_views_of_the_softmax(
    sampling: str, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("zero_shot", views=2, crops=3, view_sampling=sampling, eval_batch_size=4)
    result = run(trial, places, tmp_path)
    again = PreparedTrial(trial, places, tmp_path, lambda progress: None, seat=Seat())
    evaluation = again.task.evaluations[0]
    with again.loader, torch.no_grad():
        model, expected = again.model.eval(), []
        text = model.encode_text(class_tokens(model, evaluation.classes, again.dataset.prompts, again.device))
        for batch in again.loader.test_batches(evaluation.samples, 1):
            views = [
                torch.cosine_similarity(model.encode_video(again.loader.to_input(view)[None]), text)
                for view in batch.frames[0]
            ]
            assert len(views) == 6
            expected.append(torch.stack([(model.logit_scale * view).softmax(-1) for view in views]).mean(0).numpy())
    np.testing.assert_allclose(result.evaluations["base"].scores, np.stack(expected), atol=1e-5)


def test_data_that_changed_since_planning_is_refused(
    squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    with pytest.raises(pb.DataError, match="changed since this trial was planned"):
        run(replace(make_trial("zero_shot"), manifest_sha256="0" * 64), places, tmp_path)


def test_descriptions_that_changed_since_planning_are_refused(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    with pytest.raises(pb.DataError, match="descriptions changed since this trial was planned"):
        run(replace(make_trial("msta", HYPER["msta"]), descriptions_sha256="0" * 64), places, tmp_path)


def test_descriptions_are_noted_and_those_that_were_cut_counted(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    long = " ".join(["a square of one colour that does not move at all"] * 4)
    file = tmp_path / "long.json"
    sentences = {"spatial": ["a square.", long], "temporal": ["it stays.", long]}
    file.write_text(json.dumps({"red square": sentences, "green square": sentences}))
    result = run(make_trial("msta", {**HYPER["msta"], "descriptions": str(file)}), places, tmp_path / "run")
    assert "4 of 8 descriptions are longer than the text context and were cut" in result.notes
    assert any(note.startswith("descriptions: long.json (sha256 ") for note in result.notes)


def test_a_damaged_checkpoint_says_what_to_do(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(TrialError, match="delete it"):
        run(make_trial("lora", HYPER["lora"]), places, tmp_path)


def test_cuda_is_refused_where_there_is_none(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(TrialError, match="no CUDA device"):
        run(make_trial("zero_shot"), replace(places, device="cuda"), tmp_path)


class Counting:
    """Stands for `read_clip`, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path, choose: Choose, decoder: str) -> DecodedClip:
        self.count += 1
        return read_clip(path, choose, decoder)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """How many clips were read; nothing is cached on disk."""
    counting = Counting()
    monkeypatch.setattr(
        preparation, "replace", lambda spec, **values: replace(spec, **{**values, "cache": None, "read": counting})
    )
    return counting


def test_a_video_tower_that_is_left_alone_sees_every_clip_once(
    make_trial: MakeTrial, places: Places, tmp_path: Path, reads: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 3, "train_views": "fixed", "select": "best-on-test", "eval_every": 1}
    trial = make_trial("text_adapter", {"bottleneck_dim": 8, "dropout": 0.5}, **options)
    result = run(trial, places, tmp_path / "once")
    assert reads.count == 12 + 6 + 6
    monkeypatch.setattr("petl_bench.models.dual_encoder.DualEncoder.untouched", lambda model, tower: False)
    again = run(trial, places, tmp_path / "every time")
    assert reads.count == 24 + 3 * 12 + 3 * 6 + 6 + 6
    assert [row["train_accuracy"] for row in again.history] == [row["train_accuracy"] for row in result.history]
    for name, evaluation in result.evaluations.items():
        np.testing.assert_allclose(evaluation.scores, again.evaluations[name].scores, atol=1e-5)


def test_features_of_fixed_views_do_not_depend_on_a_stop(
    make_trial: MakeTrial, places: Places, tmp_path: Path, every_step: float
) -> None:
    trial = make_trial("text_adapter", {"bottleneck_dim": 8}, train_views="fixed")
    whole = run(trial, places, tmp_path / "whole")

    def stop_at(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 4:
            raise Killed

    (tmp_path / "stopped").mkdir()
    with pytest.raises(Killed):
        run_trial(trial, places, tmp_path / "stopped", stop_at, checkpoint_seconds=every_step)
    assert same(whole, run(trial, places, tmp_path / "stopped"))


def test_clips_that_cannot_be_read_are_left_out_of_fixed_views(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad: set[Path] = set()

    def read(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        bad.update([path] if not bad else [])
        if path in bad:
            raise pb.DataError("broken")
        return read_clip(path, choose, decoder)

    monkeypatch.setattr(
        preparation, "replace", lambda spec, **values: replace(spec, **{**values, "cache": None, "read": read})
    )
    trial = make_trial("text_adapter", {"bottleneck_dim": 8}, train_views="fixed", bad_clips_allowed=0.5)
    result = run(trial, places, tmp_path)
    assert result.train_clips == {"expected": 12, "missing": 0, "unreadable": 1, "used": 11}


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"micro_batch_size": 2}, r"training.micro_batch_size=2 beside training.batch_size=4 would change its numbers"),
        ({"processes": 2}, r"training.processes=2 would change its numbers: set training.processes=1"),
    ],
)
def test_a_method_with_batch_statistics_refuses_a_split_batch(
    make_trial: MakeTrial,
    places: Places,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    training: dict[str, int],
    says: str,
) -> None:
    monkeypatch.setattr(METHODS.get("lora"), "batch_statistics", True)
    with pytest.raises(pb.UsageError, match=says):
        run_trial(make_trial("lora", {"rank": 2}, **training), places, tmp_path, lambda progress: None)


def test_batch_norm_of_a_last_batch_of_one_clip_is_told_in_one_line(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = METHODS.get("lora")

    def attach(self: Any, model: Any) -> None:
        plain_attach(self, model)
        model.features.video.then(nn.BatchNorm1d(model.config.embed_dim, affine=False))

    plain_attach = plain.attach
    monkeypatch.setattr(plain, "attach", attach)
    trial = make_trial("lora", {"rank": 2}, batch_size=11)
    says = r"has one clip \(12 training clips, training.batch_size=11\).*lora.*choose another training.batch_size$"
    with pytest.raises(pb.TrialError, match=says):
        run(trial, places, tmp_path / "trial")
