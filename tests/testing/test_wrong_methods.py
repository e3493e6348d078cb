"""Methods that are wrong in one way each: the check that is there for it says so, in words that help."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.methods._targets import sites_of
from tests.testing.test_methods import PAPER, Good, why

pytestmark = pytest.mark.slow


class Around(nn.Module):
    """A module around an adapter."""

    def __init__(self, adapter: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter


class WrongShape(Good):
    """Scores of clips with clips."""

    def scores(self, step: pb.Step) -> Tensor:
        return step.video_features.float() @ step.video_features.float().T


class NotFinite(Good):
    """Scores that are not finite."""

    def scores(self, step: pb.Step) -> Tensor:
        return step.cosine_logits() / 0


class Detached(Good):
    """A loss without gradients."""

    def objective(self, step: pb.Step) -> Tensor:
        return super().objective(step).detach()


class Elsewhere(Good):
    """Scores on another device."""

    def scores(self, step: pb.Step) -> Tensor:
        return step.cosine_logits().to("meta")


class ReadsLabels(Good):
    """Scores that are raised by the clip's own label."""

    def scores(self, step: pb.Step) -> Tensor:
        return step.cosine_logits() + functional.one_hot(step.labels, len(step.text_features))


class ReadsLabelsInTraining(Good):
    """As before, if there are labels."""

    def scores(self, step: pb.Step) -> Tensor:
        logits = step.cosine_logits()
        return logits if step.labels is None else logits + functional.one_hot(step.labels, logits.shape[1])


class WrongFormula(Good):
    """One parameter too many in its formula."""

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return super().expected_trainable(config) + 1


class FormulaForFourClasses(Good):
    """A head for each class, and a formula for four of them."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.heads["bias"] = nn.ParameterDict({"of_class": nn.Parameter(torch.zeros(len(self.task.classes)))})

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return super().expected_trainable(config) + 4


class ChangesWeights(Good):
    """A frozen weight is changed where it attaches."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.video.projection.data.mul_(2)


class TrainsInSecret(Good):
    """A frozen weight is changed by its loss."""

    def loss(self, step: pb.Step) -> None:
        step.model.video.projection.data.mul_(1.01)


class Unreached(Good):
    """A parameter that its loss never reaches."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.heads["unused"] = nn.Linear(2, 2)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return super().expected_trainable(config) + 6


class FirstClassWins(Good):
    """The order of the classes matters."""

    def scores(self, step: pb.Step) -> Tensor:
        logits = step.cosine_logits()
        return logits + torch.arange(logits.shape[1], device=logits.device)


class Centred(Good):
    """Features are moved by the mean of their batch."""

    def attach(self, model: Any) -> None:
        super().attach(model)

        class Centre(nn.Module):
            def forward(self, features: Tensor) -> Tensor:
                return features - 0.5 * features.mean(0)

        model.features.video.then(Centre())

    identity_at_start = False


class Normed(Good):
    """Features go through a batch norm, which is not declared."""

    identity_at_start = False

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.features.video.then(nn.BatchNorm1d(model.config.embed_dim, affine=False))


class NormedInWords(Good):
    """Statistics of batches are declared, and there are none."""

    batch_statistics = True


class InBatch(Good):
    """Clips of a batch are pushed apart, and whole_batch is not declared."""

    def loss(self, step: pb.Step) -> Tensor:
        unit = functional.normalize(step.video_features.float(), dim=-1)
        return (unit @ unit.T).mean()


class InWholeBatch(InBatch):
    """As before, declared."""

    whole_batch = True


class Drawing(Good):
    """A loss with a draw of torch's global generator."""

    def loss(self, step: pb.Step) -> Tensor:
        return torch.rand(()) * step.logits.pow(2).mean()


class DrawingBySeed(Good):
    """A loss with a draw of the step's own generator."""

    def loss(self, step: pb.Step) -> Tensor:
        return torch.rand((), generator=step.generator) * step.logits.pow(2).mean()


class GlobalCounter(Good):
    """A loss that grows with a number that all methods of the process share."""

    calls = 0

    def loss(self, step: pb.Step) -> Tensor:
        type(self).calls += 1
        return self.calls * step.logits.pow(2).mean()


class SeedsNumpy(Good):
    """NumPy's global generator is seeded."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        np.random.seed(0)


class SeedsTorch(Good):
    """torch's global generator is seeded."""

    def loss(self, step: pb.Step) -> None:
        torch.manual_seed(0)


class SetsEnvironment(Good):
    """A variable of the environment is set."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        os.environ["PETL_BENCH_TEST_OF_WRONG_METHODS"] = "1"


class SetsDefaultType(Good):
    """torch's default type is changed."""

    def loss(self, step: pb.Step) -> None:
        torch.set_default_dtype(torch.float64)


class LearnsFromTestClips(Good):
    """Scores move a mean of features, in evaluation too."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        self.mean = torch.zeros(model.config.embed_dim)

    def scores(self, step: pb.Step) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * step.video_features.detach().float().mean(0)
        return step.cosine_logits() + (step.video_features.float() @ self.mean)[:, None] * torch.arange(
            step.text_features.shape[-2]
        )


class PassCounter(Around):
    """It counts its passes in an attribute: one more if blocks are computed again."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        return self.adapter(x) * (1 + self.passes)


class CountsPasses(Good):
    """Adapters that grow with each pass."""

    def adapter(self, width: int) -> nn.Module:
        return PassCounter(super().adapter(width))


class ClassesInRetrieval(Good):
    """A head for the classes, also if there are none."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.heads["bias"] = nn.ParameterDict({"of_class": nn.Parameter(torch.zeros(len(self.task.classes)))})

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return super().expected_trainable(config) + len(self.task.classes)

    def scores(self, step: pb.Step) -> Tensor:
        bias: Tensor = step.model.heads["bias"]["of_class"]  # type: ignore[index]
        return step.cosine_logits() + bias[step.trained_class]


class ForgottenByItsFile(Good):
    """A mean of the training clips, in a head that is not saved."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        model.heads["mean"] = nn.Module()
        model.heads["mean"].register_buffer("mean", torch.zeros(model.config.embed_dim), persistent=False)

    def prepare(self, support: pb.Support) -> None:
        for step in support.encode():
            step.model.heads["mean"].mean.copy_(step.video_features.mean(0))

    def scores(self, step: pb.Step) -> Tensor:
        mean: Tensor = step.model.heads["mean"].mean
        return step.cosine_logits() * (1 + functional.cosine_similarity(step.video_features.float(), mean)[:, None])


class MissingPrompts(Good):
    """Prompts for all classes but one."""

    def prompts(self, classes: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[name] for name in classes[1:]]


class NoSuchPrompt(Good):
    """Prompts that do not exist are chosen."""

    def choose(self, step: pb.Step) -> Tensor:
        return torch.tensor([0, 99])


class LongPrompt(Good):
    """A prompt that is longer than the text tower's context."""

    def attach(self, model: Any) -> None:
        super().attach(model)

        class Repeated(nn.Module):
            def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
                count = embeddings.shape[1]
                return embeddings.repeat(1, 9, 1), ends + 8 * count

        model.text.set_prompt(Repeated())


class LeavesWeights(Good):
    """A variant that leaves the adapters at half of their values."""

    def variants(self, model: Any) -> Mapping[str, AbstractContextManager[None]]:
        @contextmanager
        def half() -> Iterator[None]:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data.mul_(0.5)
            yield

        return {"half": half()}


class NegativeAverage(Good):
    """A negative weight in the average of epochs."""

    def averaging(self, epoch: int, epochs: int) -> float:
        return -1.0


class NoSuchGroup(Good):
    """A group of parameters that fits none."""

    def parameter_groups(self, model: Any) -> Mapping[str, tuple[float, float]]:
        return {"*.lora_B": (16.0, 1.0)}


class NeverLoaded(Good):
    """State that is given away and never taken back."""

    def extra_state(self) -> Mapping[str, Any]:
        return {"count": 1}


class MergesWrongly(METHODS.get("lora")):  # type: ignore[misc]
    """The base weights alone are put back."""

    name = ""

    def merge(self, model: Any) -> None:
        for site in sites_of(model, self.towers, self.targets):
            site.restore()


class Misspelt(Good):
    """A hook that is never called."""

    def score(self, step: Any) -> Tensor:
        return step.cosine_logits()


class FreeOfTraining(Good):
    """Declared as training-free, and trains."""

    training_free = True


class OtherInHalf(Around):
    """Another function in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.adapter(x)
        return y if y.dtype == torch.float32 else -20 * y


class ColdInBf16(Good):
    """Adapters that compute something else in half precision."""

    def adapter(self, width: int) -> nn.Module:
        return OtherInHalf(super().adapter(width))


class OnlyFourFramesOfScores(Good):
    """Scores that are written for four frames."""

    backbones = ("clip-b16",)
    reads = ("frames",)

    def scores(self, step: pb.Step) -> Tensor:
        assert step.frame_features is not None
        weights = step.frame_features.new_ones(4) / 4
        return step.cosine_logits() + 0 * (weights @ step.frame_features.float()).sum(-1, keepdim=True)


class GraphInSecret(Good):
    """Adapters in blocks, declared as if no block kept a graph."""

    needs_graph = False


class OnFeaturesAlone(Good):
    """A map of the video feature, declared as if blocks kept a graph."""

    def attach(self, model: Any) -> None:
        model.features.video.then(pb.Bottleneck(model.config.embed_dim, self.dim))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return (2 * config.embed_dim + 1) * self.dim + config.embed_dim


class NothingWithAGraph(pb.Method):
    """Nothing trains, declared as if blocks kept a graph."""

    paper = PAPER

    def attach(self, model: Any) -> None:
        pass

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return 0


class Nothing(nn.Module):
    """A product that comes to nothing, without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * (x @ torch.eye(x.shape[-1], device=x.device, dtype=x.dtype))


class LeavesACost(METHODS.get("lora")):  # type: ignore[misc]
    """Merged, and something is computed beside a block all the same."""

    name = ""

    def merge(self, model: Any) -> None:
        super().merge(model)
        next(iter(model.blocks("text"))).attention.add_parallel(Nothing())


class RefusedInWordsAlone(Good):
    """Refused on frame-wise backbones, and attached to them all the same."""

    @classmethod
    def hosted_by(cls, backbone: type[pb.Backbone]) -> str:
        return "" if backbone.config.joint_space_time else "it attends over frames"


class ClosedAndDeclaredOpen(METHODS.get("linear_probe")):  # type: ignore[misc]
    """Scores of trained classes alone, declared as if classes were scored by their text."""

    name = "closed"
    novel = "text"


STOP, FILE = "goes on after a stop", "saved adapter equals trained"
GRAPH = "keeps a graph as declared"
CASES: list[tuple[type[pb.Method], str, str]] = [
    (WrongShape, "batch changes nothing", "WrongShape.scores(step) gave float32 of shape (3, 3): expected [B, C]"),
    (NotFinite, "works on every backbone", "the loss is not finite"),
    (Detached, "learns", "the loss of Detached does not depend on anything that trains"),
    (Elsewhere, "learns", "Elsewhere.scores(step) gave a tensor on meta: expected one on cpu"),
    (ReadsLabels, "batch changes nothing", "ReadsLabels.scores(step): TypeError: one_hot()"),
    (ReadsLabels, "batch changes nothing", "; in evaluation labels, positive and rows of a step are None"),
    (ReadsLabelsInTraining, "training scores are those of evaluation", "differ from those in evaluation"),
    (WrongFormula, "formula equals count", "formula 5,761, in the model 5,760"),
    (FormulaForFourClasses, "formula equals count", "6 classes: formula"),
    (ChangesWeights, "attaching changes no weight", "attach changed video.projection"),
    (TrainsInSecret, "only declared parameters train", "frozen video.projection changed in training"),
    (Unreached, "gradients reach every parameter", "heads.unused.weight gets no gradient"),
    (FirstClassWins, "class order changes nothing", "scores depend on the order of the classes"),
    (Centred, "batch changes nothing", "features depend on the batch"),
    (Normed, "declares batch statistics", "a clip's features depend on the others of its micro-batch"),
    (NormedInWords, "declares batch statistics", "in training a clip's features depend on this clip alone"),
    (InBatch, "micro batches change nothing", "declare whole_batch = True"),
    (InBatch, "processes change nothing", "declare whole_batch = True"),
    (Drawing, "micro batches change nothing", "draw with step.draw or step.generator"),
    (GlobalCounter, "models do not share", "keep what changes in the method or the model"),
    (SeedsNumpy, "global state is left alone", "NumPy's global generator was seeded"),
    (SeedsTorch, "global state is left alone", "torch's global generator was seeded"),
    (SetsEnvironment, "global state is left alone", "os.environ changed"),
    (SetsDefaultType, "global state is left alone", "torch.get_default_dtype() changed"),
    (LearnsFromTestClips, "evaluation reaches no training", "differ between two evaluations"),
    (CountsPasses, "checkpointed blocks change nothing", "a module keeps or counts something"),
    (ClassesInRetrieval, "runs in each kind of task", "if it is not made for retrieval, declare tasks = ("),
    (ForgottenByItsFile, FILE, "scores differ after saving and loading"),
    (MissingPrompts, "learns", "MissingPrompts.prompts(classes) gave 3 lists: expected a list of at least one text"),
    (NoSuchPrompt, "learns", "NoSuchPrompt.choose(step) gave places from 0 to 99, of 4 texts"),
    (LongPrompt, "learns", "32"),
    (LeavesWeights, "variants put everything back", "variant half leaves"),
    (NegativeAverage, STOP, "averaging(0, 2) gave -1.0: expected a weight >= 0"),
    (NoSuchGroup, "learns", "parameter_groups: no trained parameter fits '*.lora_B'"),
    (NeverLoaded, FILE, "keeps count (extra_state), but has no load_extra_state"),
    (NeverLoaded, "declares what it does", "define both, or neither"),
    (GraphInSecret, GRAPH, "needs_graph = False, and gradients go through text.blocks.0"),
    (OnFeaturesAlone, GRAPH, "no block of the backbone keeps a graph in training"),
    (NothingWithAGraph, GRAPH, "nothing trains, so that no block keeps a graph"),
    (LeavesACost, "merged equals unmerged", "after merge() the text tower takes"),
    (RefusedInWordsAlone, "works on every backbone", "hosted_by refuses it (it attends over frames)"),
    (ClosedAndDeclaredOpen, "class order changes nothing", "cannot be told apart: declare"),
    (MergesWrongly, "merged equals unmerged", "differ after merge()"),
    (Misspelt, "declares what it does", "it defines score(); did you mean the hook scores?"),
    (FreeOfTraining, "declares what it does", "training_free = True, and 5,"),
    (ColdInBf16, "half precision is close", "differ from those in fp32"),
    (OnlyFourFramesOfScores, "works on every backbone", "CLIP, 4 frames"),
]


@pytest.mark.parametrize(
    ("method", "check", "words"), CASES, ids=[f"{method.__name__}-{check}" for method, check, _ in CASES]
)
def test_a_fault_is_found(method: type[pb.Method], check: str, words: str) -> None:
    assert words in why(method, check)


@pytest.mark.parametrize("check", ["micro batches change nothing", "processes change nothing"])
@pytest.mark.parametrize("method", [InWholeBatch, DrawingBySeed])
def test_what_the_contract_offers_passes(method: type[pb.Method], check: str) -> None:
    assert why(method, check) == ""


def test_settings_of_the_process_are_put_back() -> None:
    assert torch.get_default_dtype() == torch.float32
    assert why(SetsDefaultType, "global state is left alone")
    assert torch.get_default_dtype() == torch.float32
    assert why(SetsEnvironment, "global state is left alone")
    assert "PETL_BENCH_TEST_OF_WRONG_METHODS" not in os.environ


def test_a_method_that_reads_frames_is_tried_on_frame_wise_models_alone() -> None:
    class Frames(Good):
        """A mean over frames of its own."""

        reads = ("frames",)
        identity_at_start = False

        def scores(self, step: pb.Step) -> Tensor:
            assert step.frame_features is not None
            unit = functional.normalize(step.frame_features.float(), dim=-1).mean(1)
            return 10 * unit @ functional.normalize(step.text_features.float(), dim=-1).T

    assert why(Frames, "works on every backbone") == why(Frames, "learns") == ""


def test_what_micro_batches_change_is_not_said_to_change_nothing() -> None:
    names = ("micro batches change nothing", "processes change nothing", "training scores are those of evaluation")
    found = [check.result() for check in pb.testing.checks(Normed) if check.name in names]
    assert [each.status for each in found] == ["skip"] * 3
    assert all("depend on the others of its micro-batch, which is not declared" in each.why for each in found)
