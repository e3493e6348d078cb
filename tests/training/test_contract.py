"""What the training loop does with the hooks of the contract: whole batches, groups, averages, the life of a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.errors import TrialStopped
from petl_bench.testing.harness import (
    CLIPS,
    CPU,
    SMALL,
    ThreadTeam,
    bound,
    clip_batch,
    encoded,
    in_processes,
    learner_for,
    random_model,
    take_step,
    training_texts,
)
from petl_bench.testing.method_resume import _NoClipsToLoad
from petl_bench.testing.method_subject import perturb, trainable
from petl_bench.training.checkpoint import Pace, load_adapter, load_checkpoint
from petl_bench.training.fit import ACCURACY, Fit, fit
from petl_bench.training.schedule import learning_rate
from petl_bench.training.step import make_optimizer
from tests.testing.test_methods import Good
from tests.testing.test_wrong_methods import InWholeBatch
from tests.training.test_interruption import Counted, run

MakeTrial = Callable[..., Trial]


def ready(method: pb.Method, seed: int = 1) -> tuple[pb.DualEncoder, pb.Method]:
    """A small model with the method attached, and noise on what trains."""
    model = random_model(SMALL)
    bound(method)
    torch.manual_seed(seed)
    method.attach(model)
    perturb(model)
    return model, method


# A loss of the whole batch


class Normed(nn.Module):
    """A batch norm of features [B, D], and an adapter behind it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.adapter = nn.BatchNorm1d(width), nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.adapter(self.norm(features))


class Whole(InWholeBatch):
    """Clips are pushed apart; features go through a batch norm."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.features.video.then(Normed(model.config.embed_dim))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return super().expected_trainable(config) + config.embed_dim * (config.embed_dim + 3)


def assert_equal_steps(one: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> None:
    largest = max(float(gradient.abs().max()) for gradient in one.values() if gradient is not None)
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, atol=3e-6 * largest, rtol=0, msg=name)


@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_have_the_gradients_of_the_whole_batch(size: int) -> None:
    whole = take_step(learner_for(*ready(Whole())))
    parts = take_step(learner_for(*ready(Whole()), micro_batch_size=size))
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert_equal_steps(whole.gradients, parts.gradients)


def test_processes_have_the_gradients_of_the_whole_batch() -> None:
    whole = take_step(learner_for(*ready(Whole())))
    models = [ready(Whole()) for _ in range(2)]

    def member(team: ThreadTeam) -> Any:
        rank = team.seat.rank
        return take_step(learner_for(*models[rank], team=team), clip_batch(SMALL, rank, 2))

    shared = in_processes(2, member)
    assert shared.loss == pytest.approx(whole.loss, rel=1e-6)
    assert_equal_steps(whole.gradients, shared.gradients)
    for name, parameter in trainable(models[0][0]).items():
        assert torch.equal(parameter, dict(models[1][0].named_parameters())[name]), "all processes have the same model"


def test_a_batch_norm_moves_once_for_each_micro_batch() -> None:
    model, method = ready(Whole())
    batch = clip_batch(SMALL)
    doubled = replace(
        batch,
        frames=batch.frames[[0, 1, 2, 0]],
        labels=batch.labels[[0, 1, 2, 0]],
        clips=[*batch.clips, "0"],
        rows=[*batch.rows, 0],
        planned=4,
    )
    take_step(learner_for(model.train(), method, micro_batch_size=2, learning_rate=0.0), doubled)
    (count,) = [buffer for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert count == 2


class CountingPasses(nn.Module):
    """A buffer that is assigned anew in each pass in training."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.passes = self.passes + 1
        return features * self.scale * (1 + 0.1 * self.passes)


class Counted1(InWholeBatch):
    """Features grow with the number of passes."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.features.video.then(CountingPasses())


def test_a_buffer_that_is_assigned_moves_once_for_each_micro_batch() -> None:
    model, method = ready(Counted1())
    take_step(learner_for(model.train(), method, micro_batch_size=2, learning_rate=0.0))
    (passes,) = [buffer for name, buffer in model.named_buffers() if name.endswith("passes")]
    assert passes == 2


# Checkpointed blocks


class NormedBlocks(Good):
    """An adapter behind a batch norm in every block."""

    def adapter(self, width: int) -> nn.Module:
        class OfTokens(Normed):
            def forward(self, x: Tensor) -> Tensor:
                return self.adapter(self.norm(x.transpose(1, 2)).transpose(1, 2))

        return OfTokens(width)


def test_buffers_of_checkpointed_blocks_move_once() -> None:
    found = []
    for checkpointed in (False, True):
        model, method = ready(NormedBlocks())
        take_step(learner_for(model.train(), method, checkpoint_blocks=checkpointed))
        found.append(model.adapter_state())
    for name, tensor in found[0].items():
        assert torch.equal(found[1][name], tensor), name


# Optimiser and groups


class Grouped(Good):
    """The second layers learn ten times as fast and do not decay; biases of the first ones are left alone."""

    def parameter_groups(self, model: Any) -> Mapping[str, tuple[float, float]]:
        return {"*.up.*": (10.0, 0.0), "*.down.bias": (0.0, 1.0)}


def test_sgd_with_momentum_groups_and_decay_is_that_of_the_textbook() -> None:
    model, method = ready(Grouped())
    options = {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 1e-3, "weight_decay": 0.1}
    learner = learner_for(model, method, **options)
    for group in learner.optimizer.param_groups:
        group["lr"] = 1e-3 * group.get("rate_factor", 1.0)
    expected = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}
    momentum = {name: torch.zeros_like(parameter) for name, parameter in expected.items()}
    for _ in range(2):
        gradients = take_step(learner).gradients
        for name, parameter in expected.items():
            factor, decays = (10.0, 0.0) if ".up." in name else (1.0, 1.0)
            factor = 0.0 if name.endswith("down.bias") else factor
            decay = 0.1 * decays * (parameter.ndim >= 2)
            momentum[name] = 0.8 * momentum[name] + gradients[name] + decay * parameter
            parameter -= 1e-3 * factor * momentum[name]
        for name, parameter in trainable(model).items():
            torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-7, rtol=1e-6)


def test_the_schedule_multiplies_the_groups_rates(tmp_path: Path) -> None:
    seen: list[set[float]] = []
    training = fit_of(*ready(Grouped()), tmp_path, optimizer="sgd", epochs=2, warmup_epochs=1.0)
    training.notify = lambda _: seen.append({group["lr"] for group in training.optimizer.param_groups})
    fit(training)
    plain = [
        learning_rate(step, peak=1e-3, warmup_steps=STEPS, total_steps=2 * STEPS, final_ratio=0.01)
        for step in range(2 * STEPS)
    ]
    assert seen == [{rate, 10.0 * rate, 0.0} for rate in plain]
    assert [row["learning_rate"] for row in training.history] == [plain[STEPS - 1], plain[-1]]


def test_a_decay_of_groups_multiplies_that_of_matrices_alone() -> None:
    model, method = ready(Grouped())
    groups = make_optimizer(model, TrainingOptions(**{"weight_decay": 0.5}), method).param_groups
    found = {(group["params"][0].ndim >= 2, group["rate_factor"], group["weight_decay"]) for group in groups}
    assert found == {(True, 1.0, 0.5), (True, 10.0, 0.0), (False, 10.0, 0.0), (False, 0.0, 0.0)}


@pytest.mark.parametrize("given", [{"*": 2.0}, {"*": (1.0,)}, {"*": (math.nan, 1.0)}, {"*": (1.0, -1.0)}, 3])
def test_groups_that_are_none_are_refused_in_a_line(given: Any) -> None:
    class Wrong(Good):
        """A method."""

        def parameter_groups(self, model: Any) -> Any:
            return given

    with pytest.raises(pb.PluginError, match=r"Wrong\.parameter_groups"):
        learner_for(*ready(Wrong()))


def test_the_optimiser_and_checkpointed_blocks_enter_the_key_only_if_they_are_chosen(make_trial: MakeTrial) -> None:
    values = TrainingOptions(**{}).values()
    assert not {"optimizer", "momentum", "checkpoint_blocks"} & values.keys()
    plain = make_trial("lora", {"rank": 2})
    assert make_trial("lora", {"rank": 2}, optimizer="adamw", momentum=0.9, checkpoint_blocks=False).key == plain.key
    assert make_trial("lora", {"rank": 2}, optimizer="sgd").key != plain.key


# Averages

STEPS = 3


def fit_of(model: pb.DualEncoder, method: pb.Method, folder: Path, **options: Any) -> Fit:
    """A training of made-up clips, three steps in each of two epochs."""
    batch = {"epochs": 2, "batch_size": CLIPS, "warmup_epochs": 0.0, "learning_rate": 1e-3, **options}
    return Fit(
        model=model,
        method=method,
        options=TrainingOptions(**batch),
        batches=lambda epoch, start: repeat(clip_batch(SMALL), STEPS - start),
        loader=cast(ClipLoader, _NoClipsToLoad()),
        clips=CLIPS * STEPS,
        texts=training_texts(model, method),
        classes=method.task.classes,
        descriptions={},
        device=CPU,
        checkpoint=folder / "checkpoint.pt",
        notify=lambda progress: None,
        encode=partial(encoded, method),
        pace=Pace(math.inf),
    )


class OfEpochs(Good):
    """A mean of the last two epochs of three, the last one twice."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        self._model = model

    def averaging(self, epoch: int, epochs: int) -> float | None:
        assert epochs == 3
        vars(self).setdefault("_seen", []).append(
            {name: parameter.detach().clone() for name, parameter in trainable(self._model).items()}
        )
        return None if epoch == 0 else float(epoch)


class OfSteps(Good):
    """An average over steps."""

    ema_decay = 0.5

    def attach(self, model: Any) -> None:
        super().attach(model)
        self._model, self._seen = model, []

    def loss(self, step: pb.Step) -> None:
        self._seen.append({name: parameter.detach().clone() for name, parameter in trainable(self._model).items()})


def test_the_mean_of_epochs_is_selected_and_left_in_the_model(tmp_path: Path) -> None:
    model, method = ready(OfEpochs())
    training = fit_of(model, method, tmp_path, epochs=3, eval_every=1)
    selected: list[dict[str, Tensor]] = []

    def select(epoch: int, keep: Callable[[], None]) -> dict[str, float]:
        keep()
        selected.append({name: parameter.detach().clone() for name, parameter in trainable(model).items()})
        return {ACCURACY: float(epoch)}

    training.select = select
    fit(training)
    first, second, third = vars(method)["_seen"]
    for name, parameter in trainable(model).items():
        mean = (second[name] + 2 * third[name]) / 3
        torch.testing.assert_close(parameter.detach(), mean, atol=1e-7, rtol=1e-6)
        assert torch.equal(selected[0][name], first[name]), "before an average begins, the weights themselves"
        assert torch.equal(selected[1][name], second[name])
        torch.testing.assert_close(selected[2][name], mean, atol=1e-7, rtol=1e-6)
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept is not None
    assert all(torch.equal(kept["state"]["tensors"][name], third[name]) for name in third), "training goes on with them"


def test_the_average_of_steps_follows_them(tmp_path: Path) -> None:
    model, method = ready(OfSteps())
    fit(fit_of(model, method, tmp_path))
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept is not None
    after = [*vars(method)["_seen"][1:], kept["state"]["tensors"]]
    for name, parameter in trainable(model).items():
        mean = after[0][name]
        for each in after[1:]:
            mean = 0.5 * mean + 0.5 * each[name]
        torch.testing.assert_close(parameter.detach(), mean, atol=1e-7, rtol=1e-6)


class AverageOfEpochs(Good):
    """A mean of all epochs."""

    def averaging(self, epoch: int, epochs: int) -> float | None:
        return 1.0 + epoch


class AverageOfSteps(Good):
    """An average over steps."""

    ema_decay = 0.9


@pytest.mark.parametrize("method", [AverageOfEpochs, AverageOfSteps])
@pytest.mark.parametrize("stop_after", [1, 3, 4, 6])
def test_an_average_goes_on_after_a_stop_bit_for_bit(method: type[pb.Method], stop_after: int, tmp_path: Path) -> None:
    left = []
    for stops in (0, stop_after):
        folder = tmp_path / str(stops)
        folder.mkdir()
        for attempt in range(2 if stops else 1):
            training = fit_of(*ready(method(), seed=attempt + 1 if stops else 1), folder, select="val", eval_every=1)
            training.select = lambda epoch, keep: {ACCURACY: float(epoch)}
            training.stop = Counted(stops if attempt == 0 else 0)
            if stops and attempt == 0:
                with pytest.raises(TrialStopped):
                    fit(training)
            else:
                fit(training)
        left.append(training.model.adapter_state())
    for name, tensor in left[0].items():
        assert torch.equal(left[1][name], tensor), name


# Texts


class NoisyText(Good):
    """Noise without a parameter, behind the text features."""

    def attach(self, model: Any) -> None:
        super().attach(model)

        class Noise(nn.Module):
            def forward(self, features: Tensor) -> Tensor:
                return features + torch.randn_like(features)

        model.features.text.then(Noise())


class NoisyTextTower(Good):
    """Noise without a parameter, at a branch of the text tower, and nothing else there."""

    def attach(self, model: Any) -> None:
        for block in model.blocks("video"):
            block.attention.add_parallel(self.adapter(block.width))

        class Noise(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.randn_like(x)

        model.blocks("text")[-1].attention.add_parallel(Noise())


@pytest.mark.parametrize("method", [NoisyText, NoisyTextTower])
def test_texts_behind_a_random_site_without_parameters_are_drawn_anew(method: type[pb.Method]) -> None:
    model = random_model(SMALL)
    texts = learner_for(model, _attached(method(), model)).text
    with torch.no_grad():
        assert not torch.equal(texts.encode().leaf, texts.encode().leaf)


def _attached(method: pb.Method, model: pb.DualEncoder) -> pb.Method:
    bound(method).attach(model)
    return method


# The life of a method, in whole trials


class Lived(METHODS.get("adaptformer")):  # type: ignore[misc]
    """Each hook of a life is written down."""

    log: ClassVar[list[str]] = []

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.heads["lived"] = nn.Module()
        model.heads["lived"].register_buffer("sum", torch.zeros(()))
        model.heads["lived"].register_buffer("ended", torch.zeros(()))
        self.log.append(f"attach {len(self.task.classes)} {self.task.support_clips}")

    def prepare(self, support: pb.Support) -> None:
        self.log.append("prepare")
        for step in support.encode():
            assert step.labels is not None
            step.model.heads["lived"].sum += step.labels.sum() + 1

    def loss(self, step: pb.Step) -> None:
        self.log.append("step")

    def finish(self, model: Any, support: pb.Support) -> None:
        self.log.append("finish")
        model.heads["lived"].ended += 1

    def variants(self, model: Any) -> Mapping[str, AbstractContextManager[None]]:
        self.log.append("variants")

        @contextmanager
        def off() -> Iterator[None]:
            self.log.append("in variant")
            with model.adapters_off():
                yield

        return {"off": off()}


class Cached(METHODS.get("zero_shot")):  # type: ignore[misc]
    """A mean of the training clips, which nothing trains, and a count of how often it was finished."""

    log: ClassVar[list[str]] = []
    training_free = True

    def attach(self, model: Any) -> None:
        model.heads["cached"] = nn.Module()
        model.heads["cached"].register_buffer("mean", torch.zeros(model.config.embed_dim))
        model.heads["cached"].register_buffer("ended", torch.zeros(()))

    def prepare(self, support: pb.Support) -> None:
        self.log.append("prepare")
        for step in support.encode():
            step.model.heads["cached"].mean += step.video_features.sum(0) / support.clips

    def scores(self, step: pb.Step) -> Tensor:
        mean: Tensor = step.model.heads["cached"].mean
        return step.cosine_logits() * (1 + functional.cosine_similarity(step.video_features.float(), mean)[:, None])

    def finish(self, model: Any, support: pb.Support) -> None:
        self.log.append("finish")
        model.heads["cached"].ended += 1


class OwnClasses(METHODS.get("text_adapter")):  # type: ignore[misc]
    """No score for novel classes."""

    novel = "none"


class FrozenForNovel(METHODS.get("lora")):  # type: ignore[misc]
    """Novel classes are left to the frozen model."""

    novel = "frozen"


@pytest.fixture(autouse=True)
def lived() -> None:
    """The methods of this file, registered for its trials."""
    for name, method in {
        "lived": Lived,
        "cached": Cached,
        "own_classes": OwnClasses,
        "frozen_for_novel": FrozenForNovel,
    }.items():
        if name not in METHODS.names():
            pb.register_method(name)(method)
    Lived.log.clear()
    Cached.log.clear()


SMALL_ADAPTER = {"bottleneck_dim": 8}


def test_a_life_has_its_hooks_in_order_and_each_once(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("lived", SMALL_ADAPTER, epochs=1, batch_size=6)
    result = run(trial, places, tmp_path / "whole")
    assert Lived.log == ["attach 2 12", "prepare", "step", "step", "finish", "variants", "in variant"]
    assert {"base@off", "novel@off"} <= result.evaluations.keys() and result.variants.keys() == {"off"}
    header, tensors = load_adapter(tmp_path / "whole" / "adapter.safetensors")
    assert (tensors["heads.lived.sum"], tensors["heads.lived.ended"]) == (6 + 1, 1)
    assert header["task"] == {"kind": "classification", "support_clips": 12}
    assert result.hooks == ["prepare", "loss", "finish", "variants"]


@pytest.mark.parametrize("number", [1, 2, 4, 8])
def test_after_a_stop_nothing_is_prepared_again(
    number: int, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("lived", SMALL_ADAPTER, epochs=1, batch_size=6, eval_batch_size=6)
    whole = run(trial, places, tmp_path / "whole")
    with pytest.raises(TrialStopped):
        run(trial, places, tmp_path / "stopped", Counted(number))
    Lived.log.clear()
    again = run(trial, places, tmp_path / "stopped")
    assert Lived.log.count("prepare") == (1 if number <= 2 else 0), "the first two stops are within prepare"
    assert again.metrics == whole.metrics and again.variants == whole.variants
    content = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert content[0] == content[1]


def test_what_is_free_of_training_is_prepared_finished_and_saved_once(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("cached", eval_batch_size=6)
    whole = run(trial, places, tmp_path / "whole")
    assert Cached.log == ["prepare", "finish"]
    header, tensors = load_adapter(tmp_path / "whole" / "adapter.safetensors")
    assert tensors["heads.cached.mean"].abs().max() > 0 and header["method"] == "cached"
    with pytest.raises(TrialStopped):
        run(trial, places, tmp_path / "stopped", Counted(3))
    assert (tmp_path / "stopped" / "adapter.safetensors").is_file(), "the stop is within the evaluation"
    Cached.log.clear()
    again = run(trial, places, tmp_path / "stopped")
    assert Cached.log == []
    assert again.metrics == whole.metrics
    content = [(tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert content[0] == content[1]


def test_novel_classes_without_scores_are_absent_with_the_reason(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    result = run(make_trial("own_classes", SMALL_ADAPTER, epochs=1), places, tmp_path / "trial")
    assert result.absent == {"novel": "own_classes has scores for the classes it was trained on alone"}
    assert list(result.evaluations) == ["base"]
    assert result.metrics.keys() == {"base_top1"}


def test_novel_classes_are_left_to_the_frozen_model(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    tuned = run(make_trial("frozen_for_novel", {"rank": 2}, epochs=2, learning_rate=3e-2), places, tmp_path / "tuned")
    frozen = run(make_trial("zero_shot"), places, tmp_path / "frozen")
    scores = [result.evaluations["novel"].scores for result in (tuned, frozen)]
    np.testing.assert_allclose(*scores, atol=1e-6)
    assert not np.allclose(tuned.evaluations["base"].scores, frozen.evaluations["base"].scores, atol=1e-3)


def test_checkpointed_blocks_give_the_trial_the_same_numbers(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    hyper = {"bottleneck_dim": 8, "dropout": 0.5}
    plain = run(make_trial("adaptformer", hyper, epochs=1), places, tmp_path / "plain")
    again = run(make_trial("adaptformer", hyper, epochs=1, checkpoint_blocks=True), places, tmp_path / "again")
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in again.history]
    for name, evaluation in plain.evaluations.items():
        assert evaluation.scores.tobytes() == again.evaluations[name].scores.tobytes()
