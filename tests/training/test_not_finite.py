"""Nothing that is not finite becomes a number: ranks, scores, what training leaves, checkpoints, adapters, records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.api.trial import Places, Trial, TrialResult
from petl_bench.errors import StoreError, TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.records.layout import trial_folder
from petl_bench.records.ranks import NO_PLACE, predicted_of, ranks_of
from petl_bench.records.write import write_record
from petl_bench.training.checkpoint import load_adapter, load_checkpoint, save_adapter
from petl_bench.training.evaluate import top_k_accuracy
from petl_bench.training.run_trial import run_trial
from petl_bench.training.step import Learner

MakeTrial = Callable[..., Trial]
WritePlugin = Callable[..., Path]
NAN, INF = float("nan"), float("inf")


def run(trial: Trial, places: Places, folder: Path, **changes: Any) -> TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(trial, places, folder, lambda progress: None, **changes)


# ---------------------------------------------------------------- ranking

scores_of_any_kind = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 6)),
    elements=st.floats(-4, 4, width=32) | st.sampled_from([NAN, INF, -INF, 0.0]),
)


@given(scores_of_any_kind, st.randoms(use_true_random=False))
def test_a_label_ranks_behind_all_that_it_is_not_strictly_above(scores: np.ndarray, random: Any) -> None:
    labels = [random.randrange(scores.shape[1]) for _ in scores]
    ranks = ranks_of(labels, scores)
    for row, label, rank in zip(scores, labels, ranks, strict=True):
        if np.isnan(row[label]):
            assert rank == NO_PLACE
            continue
        # Written the long way: a class is beaten only where its score is a number and lower.
        beaten = sum(
            1 for place, other in enumerate(row) if place != label and not np.isnan(other) and other < row[label]
        )
        assert rank == len(row) - beaten
    predicted = predicted_of(labels, scores, ranks)
    assert ((predicted == labels) == (ranks == 1)).all()


@given(scores_of_any_kind, st.data())
def test_turning_a_score_into_nan_never_helps_the_label(scores: np.ndarray, data: st.DataObject) -> None:
    labels = [data.draw(st.integers(0, scores.shape[1] - 1)) for _ in scores]
    at = data.draw(st.integers(0, len(scores) - 1)), data.draw(st.integers(0, scores.shape[1] - 1))
    spoilt = scores.copy()
    spoilt[at] = NAN
    assert (ranks_of(labels, spoilt) >= ranks_of(labels, scores)).all()


@pytest.mark.parametrize("classes", [1, 2, 4, 9])
@pytest.mark.parametrize("k", [1, 5])
def test_all_nan_is_all_wrong_whatever_the_number_of_classes(classes: int, k: int) -> None:
    assert top_k_accuracy([0] * 3, np.full((3, classes), NAN), k) == 0.0


def test_finite_scores_rank_as_before() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [INF, INF, 0.0], [0.1, NAN, 0.9]])
    assert ranks_of([0, 0, 0, 2], scores).tolist() == [1, 2, 2, 2]
    assert predicted_of([0, 0, 0, 2], scores, ranks_of([0, 0, 0, 2], scores)).tolist() == [0, 1, 1, 1]


# ---------------------------------------------------------------- evaluation


def spoil(monkeypatch: pytest.MonkeyPatch, method: str, when: Callable[[], bool], value: float) -> None:
    """Let `encode_<method>` give `value` in the last row of what it gives, where `when()` holds."""
    encode = getattr(DualEncoder, method)

    def spoilt(self: DualEncoder, inputs: Any) -> Tensor:
        features = encode(self, inputs).clone()
        if when() and not self.training:
            features[-1, 0] = value
        return features

    monkeypatch.setattr(DualEncoder, method, spoilt)


@pytest.mark.parametrize("value", [NAN, INF, 1e30], ids=["nan", "inf", "cannot be squared"])
@pytest.mark.parametrize(
    ("encode", "words"),
    [
        # base classes first; batches of 4 clips, of which the last one is spoilt
        ("finish_video", r"evaluation base: the video feature of clip 'green_square/test_6\.mp4' is not finite"),
        ("encode_text", "evaluation base: the text feature of class 'green square' is not finite"),
    ],
)
def test_features_that_are_not_finite_end_the_trial(
    encode: str, words: str, value: float, make_trial: MakeTrial, places: Places, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spoil(monkeypatch, encode, lambda: True, value)
    trial = make_trial("zero_shot", eval_batch_size=4)
    with pytest.raises(TrialError, match=rf"{words}.*--set training\.learning_rate=RATE") as error:
        run(trial, places, tmp_path)
    assert "\n" not in str(error.value)


def test_scores_that_are_not_finite_though_features_are(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DualEncoder, "logit_scale", property(lambda self: torch.tensor(INF)))
    with pytest.raises(
        TrialError, match=r"evaluation base: the scores of clip 'red_square/test_6\.mp4' are not finite"
    ):
        run(make_trial("zero_shot"), places, tmp_path)


@pytest.mark.parametrize("select", ["val", "best-on-test"])
def test_an_epoch_that_scores_nan_is_never_selected(
    select: str, make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "finish_video", lambda: True, NAN)
    trial = make_trial("lora", {"rank": 2}, select=select, eval_every=1)
    name = "validation" if select == "val" else "base"
    with pytest.raises(TrialError, match=f"evaluation {name}: the video feature of clip"):
        run(trial, places, tmp_path)
    assert not (tmp_path / "adapter.safetensors").exists()


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize("where", ["==", "!="], ids=["the first process", "another process"])
def test_one_of_two_processes_that_sees_a_nan_ends_both(
    where: str, make_trial: MakeTrial, small_plugin: WritePlugin, places: Places, tmp_path: Path
) -> None:
    code = f"""
import multiprocessing, torch
if (multiprocessing.parent_process() is None) {where} True:
    from petl_bench.models.dual_encoder import DualEncoder
    plain = DualEncoder.finish_video
    def spoilt(self, frames):
        return plain(self, frames) * float("nan") if not self.training else plain(self, frames)
    DualEncoder.finish_video = spoilt
"""
    encode = DualEncoder.finish_video
    trial = make_trial("lora", {"rank": 2}, select="val", eval_every=1)
    trial = replace(trial, training={**trial.training, "processes": 2})
    try:
        if where == "==":
            exec(code, {})
        with pytest.raises(TrialError, match=r"the video feature of clip '.*' is not finite"):
            run(trial, replace(places, plugins=(small_plugin(code),)), tmp_path / "run")
    finally:
        DualEncoder.finish_video = encode  # type: ignore[method-assign]


# ---------------------------------------------------------------- what training leaves


def spoil_step(monkeypatch: pytest.MonkeyPatch, step: int, change: Callable[[Any], None]) -> None:
    """Do `change(learner)` after the optimiser's `step`-th step (from 1)."""
    apply, taken = Learner._apply, 0

    def spoilt(learner: Any, *rest: Any) -> None:
        nonlocal taken
        apply(learner, *rest)
        taken += 1
        if taken == step:
            with torch.no_grad():
                change(learner)

    monkeypatch.setattr(Learner, "_apply", spoilt)


def one_weight(learner: Any) -> None:
    next(p for p in learner.model.parameters() if p.requires_grad).view(-1)[0] = NAN


def one_moment(learner: Any) -> None:
    next(iter(learner.optimizer.state.values()))["exp_avg_sq"].view(-1)[0] = INF


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_weight, r"video\.blocks\.0\.attention\.q\.replacement\.lora_A is not finite: 1 of its 128 values"),
        (one_moment, r"\(exp_avg_sq of the optimiser\) is not finite"),
    ],
)
@pytest.mark.parametrize("select", ["last", "val"])
def test_the_last_step_is_checked_before_anything_is_written(
    select: str, change: Any, words: str, make_trial: MakeTrial, places: Places, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trial = make_trial("lora", {"rank": 2}, select=select, eval_every=1)
    last = 6 if select == "last" else 4
    spoil_step(monkeypatch, last, change)
    with pytest.raises(
        TrialError, match=rf"after step {last // 2} of epoch 2, .*{words}.*; .*training\.learning_rate="
    ):
        run(trial, places, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_never_holds_what_is_not_finite(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_step: float
) -> None:
    spoil_step(monkeypatch, 2, one_weight)
    with pytest.raises(TrialError, match=r"after step 2 of epoch 1, .* is not finite.*the last good checkpoint is"):
        run(make_trial("lora", {"rank": 2}), places, tmp_path, checkpoint_seconds=every_step)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state is not None and state["epoch"]["steps"] == 1


@pytest.mark.parametrize("training", [{"learning_rate": 1e6, "epochs": 2}, {"learning_rate": 1e30, "epochs": 1}])
def test_rates_that_blow_the_weights_up_end_in_an_error(
    training: dict[str, float], make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    with pytest.raises(TrialError, match="not finite"):
        run(make_trial("full_finetune", batch_size=100, **training), places, tmp_path)


class Spreading(nn.Module):
    """Counts into a buffer that it does not need."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen *= 1e30
        return self.scale * x


def test_a_buffer_that_overflows_is_a_fault_too(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    @pb.register_method("spreading")
    class Method(pb.Method):
        """A buffer that grows beyond float32 in two steps."""

        def attach(self, model: DualEncoder) -> None:
            model.blocks("video")[0].add_parallel(Spreading())

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            return 1

    with pytest.raises(
        TrialError, match=r"after step 3 of epoch 1, video\.blocks\.0\.parallel\.0\.module\.seen is not"
    ):
        run(make_trial("spreading"), places, tmp_path)


def test_skipped_steps_of_fp16_are_no_fault_unless_all_are(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The scale starts at 65536, so the first steps overflow here and are skipped; later ones are taken.
    run(make_trial("adaptformer", {"bottleneck_dim": 8}, precision="fp16", epochs=4), places, tmp_path / "some")
    state = load_checkpoint(tmp_path / "some" / "checkpoint.pt")
    assert state is not None
    assert 0 < max(int(of["step"]) for of in state["optimizer"]["state"].values()) < 12
    with pytest.raises(TrialError, match=r"3 of 3 steps were skipped.*not finite in fp16.*training\.precision=bf16"):
        run(make_trial("adaptformer", {"bottleneck_dim": 8}, precision="fp16", epochs=1), places, tmp_path / "all")
    assert not (tmp_path / "all" / "adapter.safetensors").exists()

    monkeypatch.setattr(METHODS.get("adaptformer"), "loss", lambda self, step: 1e5 * step.logits.sum())
    with pytest.raises(TrialError, match=r"steps were skipped"):
        run(make_trial("adaptformer", {"bottleneck_dim": 8}, precision="fp16", epochs=7), places, tmp_path / "steep")


# ---------------------------------------------------------------- files


def damaged(path: Path, place: tuple[Any, ...]) -> None:
    state: Any = torch.load(path, weights_only=True)
    inner = state
    for key in place:
        inner = inner[key]
    next(iter(inner.values())).view(-1)[0] = NAN
    torch.save(state, path)


@pytest.mark.parametrize("place", [("state", "tensors"), ("optimizer", "state", 0), ("best_state", "tensors")])
def test_a_checkpoint_with_a_nan_is_refused(
    place: tuple[Any, ...], make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("lora", {"rank": 2}, select="val", eval_every=1)
    run(trial, places, tmp_path)
    damaged(tmp_path / "checkpoint.pt", place)
    name = ".".join(map(str, place)).replace(".", r"\.")
    with pytest.raises(
        TrialError, match=rf"checkpoint\.pt: {name}.* is not finite.*delete it to start this trial anew"
    ):
        run(trial, places, tmp_path)


def test_an_adapter_with_a_nan_is_neither_written_nor_read(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial, path = make_trial("lora", {"rank": 2}), tmp_path / "adapter.safetensors"
    bad = {"one": torch.ones(2), "two": torch.tensor([1.0, INF])}
    with pytest.raises(TrialError, match="no adapter is written: two is not finite"):
        save_adapter(path, trial, {"tensors": bad, "extra": {}}, pb.MethodTask())
    with pytest.raises(TrialError, match=r"no adapter is written: extra_state\.memory is not finite"):
        save_adapter(path, trial, {"tensors": {}, "extra": {"memory": torch.tensor(NAN)}}, pb.MethodTask())
    assert not path.exists()
    save_adapter(path, trial, {"tensors": {"one": torch.full((4,), 1.5)}, "extra": {}}, pb.MethodTask())
    content = path.read_bytes()
    path.write_bytes(content[:-4] + np.float32(NAN).tobytes())
    with pytest.raises(pb.WeightsError, match=r"adapter\.safetensors: one is not finite: 1 of its 4 values"):
        load_adapter(path)


@pytest.mark.parametrize("bad", [NAN, INF, 1e300])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_scores_that_are_not_finite_are_not_recorded(
    bad: float, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("zero_shot")
    folder = trial_folder(tmp_path, trial.key)
    folder.mkdir(parents=True)
    result = run(trial, places, folder)
    scores = result.evaluations["novel"].scores.astype(np.float64)
    scores[2, 1] = bad
    spoilt = replace(result.evaluations["novel"], scores=scores)
    with pytest.raises(StoreError, match=f"evaluation novel: the scores of {spoilt.clips[2]} are not finite"):
        write_record(folder, trial, replace(result, evaluations={**result.evaluations, "novel": spoilt}))
    assert not (folder / "record.json").exists()
