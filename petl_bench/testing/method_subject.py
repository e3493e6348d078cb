"""What the checks of methods are tried on: a method, small random models, seeded inputs, a few training steps."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from petl_bench.api.config import CLIPConfig, ViCLIPConfig
from petl_bench.api.method import Method, Recipe
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.step import MethodTask, Step
from petl_bench.api.values.fields import field_types
from petl_bench.errors import UsageError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.testing.checks import Failed, Given, Skipped, Subject

_SHAPE: dict[str, Any] = {
    "image_size": 32, "patch_size": 16, "num_frames": 4, "embed_dim": 32, "context_length": 12, "vocab_size": 64,
    "vision_width": 64, "vision_layers": 3, "vision_heads": 4, "text_width": 48, "text_layers": 3, "text_heads": 4,
}  # fmt: skip
SMALL = ViCLIPConfig(**_SHAPE)
#: Every shape that a method is tried on: other numbers of frames, towers of unequal depth, frame-wise CLIP.
CONFIGS = {
    "ViCLIP, 4 frames": SMALL,
    "ViCLIP, 1 frame": SMALL.with_(num_frames=1),
    "ViCLIP, 6 frames, 9 patches": SMALL.with_(num_frames=6, image_size=48),
    "ViCLIP, 2 text blocks": SMALL.with_(text_layers=2),
    "CLIP, 4 frames": CLIPConfig(**_SHAPE),
}
CLIPS, CLASSES = 3, 4


@dataclass(frozen=True)
class SampleInputs:
    """Inputs of one forward pass: frames [B, T, 3, H, W], tokens [C, L], labels [B]."""

    frames: Tensor
    tokens: Tensor
    labels: Tensor


class TorchSubject(Subject):
    """A plugin whose checks compute with small models."""

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The random state and the number of threads are left as they were."""
        threads = torch.get_num_threads()
        with torch.random.fork_rng():
            torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other
            try:
                yield
            finally:
                torch.set_num_threads(threads)


class MethodSubject(TorchSubject):
    """A method under check. Values: those given, else the defaults, else the first recipe that fits a small model."""

    needs_paper = True

    @cached_property
    def values(self) -> dict[str, Any]:
        """The hyper-parameters used. Raises Failed if neither the defaults nor any recipe fits a small model."""
        given = self.given.hyper_parameters
        candidates = [given] if given is not None else [{}, *map(self._recipe_values, self.plugin.recipes)]
        reasons = []
        for values in candidates:
            try:
                bound(self.plugin(**values)).attach(random_model(SMALL))
            except UsageError as error:
                reasons.append(str(error))
            else:
                return values
        raise Failed(f"no values fit a model of widths 64 and 48; add a recipe for a small backbone. {reasons[-1]}")

    def create(self, **changes: Any) -> Method:
        """The method with the values used, some of them changed, bound to a made-up task."""
        return bound(self.plugin(**{**self.values, **changes}))

    def attached(self, config: ViCLIPConfig = SMALL, *, seed: int = 1, **changes: Any) -> tuple[DualEncoder, Method]:
        """A small random model with the method attached; the same numbers for the same seed of the attachments."""
        method = self.create(**changes)
        model = random_model(config)
        torch.manual_seed(seed)
        method.attach(model)
        return model, method

    def prepared(self, config: ViCLIPConfig = SMALL, **changes: Any) -> tuple[DualEncoder, Method]:
        """As `attached`, with what the method makes of made-up training clips."""
        model, method = self.attached(config, **changes)
        method.prepare(MadeUpSupport(model, method))
        return model, method

    def trained(self, config: ViCLIPConfig = SMALL, **changes: Any) -> tuple[DualEncoder, Method]:
        """As `prepared`, with noise on every trainable parameter: no zero initialisation hides a mistake."""
        model, method = self.prepared(config, **changes)
        perturb(model)
        return model, method

    def variants(self) -> Iterator[dict[str, Any]]:
        """The values used, then every change of one field that can be listed (a switch or a choice) and is accepted."""
        yield {}
        for field, kind in field_types(self.plugin).items():
            choices = (
                (True, False) if kind is bool else typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
            )
            for choice in choices:
                if choice != getattr(self.create(), field) and self._accepts({field: choice}):
                    yield {field: choice}

    def _recipe_values(self, recipe: Recipe) -> dict[str, Any]:
        """As a plan resolves them: a backbone's recipe over the one for every backbone, in the same setting."""
        general = (r.hyper for r in self.plugin.recipes if r.setting == recipe.setting and r.backbone is None)
        return {key: value for hyper in (*general, recipe.hyper) for key, value in hyper.items()}

    def _accepts(self, changes: dict[str, Any]) -> bool:
        try:
            self.attached(**changes)
        except UsageError:
            return False
        return True


def bound(method: Method) -> Method:
    """The method, for a made-up task of the first kind that it supports."""
    kind = method.tasks[0]
    classes = tuple(f"class {number}" for number in range(CLASSES)) if kind == "classification" else ()
    method.bind(MethodTask(kind, classes, CLIPS))
    return method


@dataclass(frozen=True)
class MadeUpSupport:
    """The seeded inputs as the training clips of a task; see `pb.Support`. `augment` changes nothing."""

    model: DualEncoder
    method: Method

    @property
    def clips(self) -> int:
        """How many there are."""
        return CLIPS

    @torch.no_grad()
    def encode(self, passes: int = 1, augment: bool = False) -> Iterator[Step]:
        """One step with all clips, `passes` times."""
        for _ in range(passes):
            step = made_up_step(self.model, self.method, self.model.config)
            step.training = False
            yield step


def random_model(config: ViCLIPConfig) -> DualEncoder:
    """A model with random weights, the same ones every time, in evaluation mode."""
    torch.manual_seed(0)
    return DualEncoder(config).eval()


def perturb(model: DualEncoder) -> None:
    """Seeded noise on every trainable parameter, as training would leave it."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def batch_for(config: ViCLIPConfig) -> SampleInputs:
    """Seeded random inputs; the end-of-text id is the largest of the vocabulary."""
    generator = torch.Generator().manual_seed(3)
    size = (CLIPS, config.num_frames, 3, config.image_size, config.image_size)
    tokens = torch.randint(1, config.vocab_size - 2, (CLASSES, 6), generator=generator)
    tokens[:, 0], tokens[:, -1] = config.vocab_size - 2, config.vocab_size - 1
    labels = torch.randint(0, CLASSES, (CLIPS,), generator=generator)
    return SampleInputs(torch.randn(size, generator=generator), tokens, labels)


def features(model: DualEncoder, config: ViCLIPConfig = SMALL) -> Tensor:
    """Video and text features of the seeded inputs, one above the other, with a text of each class for each clip if it
    depends on the clip: [B + C, D] or [B + B C, D]; mode as the model has it."""
    batch = batch_for(config)
    with torch.no_grad():
        video = model.encode_video(batch.frames)
        return torch.cat([video, class_features(model, batch.tokens, video).flatten(0, -2)])


def class_features(model: DualEncoder, tokens: Tensor, video: Tensor) -> Tensor:
    """Features [C, D] of texts int64 [C, L]; [B, C, D] if those of the attached method depend on clips [B, D]."""
    per_video = isinstance(model.method, Method) and model.method.text_varies == "video"
    return model.encode_text(tokens, video if per_video else None)


def training_loss(model: DualEncoder, method: Method, config: ViCLIPConfig = SMALL) -> Tensor:
    """The objective plus the method's own loss on the seeded inputs, as the training loop computes it."""
    step = made_up_step(model, method, config)
    step.logits = method.scores(step)
    extra, loss = method.loss(step), method.objective(step)
    return loss if extra is None else loss + extra


def made_up_step(model: DualEncoder, method: Method, config: ViCLIPConfig = SMALL) -> Step:
    """The step of the seeded inputs, without scores."""
    batch = batch_for(config)
    video = model.encode_video(batch.frames)
    text = class_features(model, batch.tokens, video)
    step = Step(model, video, text, batch.labels, made_up_descriptions(method, config))
    step.rows, step.classes, step.trained_class = torch.arange(CLIPS), method.task.classes, torch.arange(CLASSES)
    return step


@torch.no_grad()
def scores(model: DualEncoder, method: Method, config: ViCLIPConfig = SMALL) -> Tensor:
    """The method's scores of the seeded inputs [B, C]; mode as the model has it."""
    return method.scores(made_up_step(model, method, config))


def made_up_descriptions(method: Method, config: ViCLIPConfig) -> dict[str, Tensor]:
    """Seeded random features [C, D] of each kind, if the method's loss reads descriptions."""
    kinds = ("spatial", "temporal") if method.description_count else ()
    generator = torch.Generator().manual_seed(4)
    return {kind: torch.randn(CLASSES, config.embed_dim, generator=generator) for kind in kinds}


def trainable(model: DualEncoder) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def frozen_tensors(model: DualEncoder) -> dict[str, Tensor]:
    """What training must leave as it is, by name: frozen parameters, and buffers that are not saved."""
    saved = {id(tensor) for tensor in model.adapter_tensors().values()}
    mine = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in mine.items() if id(value) not in saved}


def train_steps(model: DualEncoder, method: Method, steps: int) -> None:
    """A few steps against the sign of the gradient, as Adam begins, on the seeded inputs."""
    parameters = list(trainable(model).values())
    torch.manual_seed(5)
    model.train()
    for _ in range(steps if parameters else 0):
        torch.autograd.backward(training_loss(model, method))
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.data.add_(parameter.grad.sign(), alpha=-1e-3)
                parameter.grad = None


def needs_parameters(model: DualEncoder) -> None:
    """Skip a check that means nothing without trainable parameters."""
    if not trainable(model):
        raise Skipped("nothing trains")


def parameter_shapes(model: DualEncoder) -> dict[str, tuple[int, ...]]:
    """Shape of every trainable parameter by name."""
    return {name: tuple(parameter.shape) for name, parameter in trainable(model).items()}


def trained_or_none(name: str) -> tuple[DualEncoder, Method] | None:
    """The small model with another registered method, or None: that one's own check says what is wrong with it."""
    try:
        return MethodSubject("method", METHODS.get(name), Given()).trained()
    except Exception:
        return None


def supported_configs(subject: MethodSubject) -> dict[str, ViCLIPConfig]:
    """The shapes of the kinds of backbone that the method supports: joint space-time, frame by frame, or both."""
    names = subject.plugin.backbones
    if names is None:
        return CONFIGS
    kinds = {BACKBONES.get(name).config.joint_space_time for name in names}
    return {name: config for name, config in CONFIGS.items() if config.joint_space_time in kinds}
