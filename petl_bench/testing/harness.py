"""The harness's own path from clips to losses and scores, with made-up clips and small random models.

Losses and scores are those of the training loop and the evaluation: a check sees what users get. B clips, C classes, T
frames, L tokens, D embedding channels.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from petl_bench.api.config import CLIPConfig, ViCLIPConfig
from petl_bench.api.dataset import Sample
from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.api.retrieval import retrieval_evaluation
from petl_bench.api.setting import Evaluation
from petl_bench.api.step import Kind, MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import go_on
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import tokenize
from petl_bench.models.towers import VideoOutput
from petl_bench.training.checkpoint import Pace
from petl_bench.training.device import autocast
from petl_bench.training.distributed import Seat, StepTotals, Team, Then
from petl_bench.training.evaluate import Scorer
from petl_bench.training.hooks import overrides
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.retrieval import Positives
from petl_bench.training.step import Learner
from petl_bench.training.support import SupportClips
from petl_bench.training.text import ClassTexts, StepTexts, class_texts, plain_texts
from petl_bench.training.video import encode

T = TypeVar("T")

#: The made-up classes that train, and some that do not; in retrieval the first ones are the texts.
TRAINED = ("red", "green person", "blue", "a yellow person walking")
NOVEL = ("person two", "left")
CLIPS, CLASSES = 3, len(TRAINED)
PROMPTS = Prompts(("a video of {}.",))
CPU = torch.device("cpu")

#: Rows of the small models' table of tokens: unknown, some words and digits of CLIP's vocabulary, start and end.
_WORDS = (
    320, 1455, 539, 5848, 637, 1237, 2097, 2721, 3127, 269, 1125, 2533, 1874, 3941, 1960, 550, 518, 736, 1901, 1746,
    4481, 1823, 1155, 705, 1136, *range(271, 308),
)  # fmt: skip
_TOKEN_IDS = (0, *_WORDS[:61], 49406, 49407)
_SHAPE: dict[str, Any] = {
    "image_size": 32, "patch_size": 16, "num_frames": 4, "embed_dim": 32, "context_length": 32,
    "vocab_size": len(_TOKEN_IDS), "token_ids": _TOKEN_IDS,
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


@dataclass(frozen=True)
class SampleInputs:
    """Inputs of one forward pass: frames [B, T, 3, H, W], tokens [C, L], labels [B]."""

    frames: Tensor
    tokens: Tensor
    labels: Tensor


def random_model(config: ViCLIPConfig) -> DualEncoder:
    """A model with random weights, the same ones every time, in evaluation mode."""
    torch.manual_seed(0)
    return DualEncoder(config).eval()


def batch_for(config: ViCLIPConfig) -> SampleInputs:
    """Seeded random clips, and the prompts of the made-up classes."""
    generator = torch.Generator().manual_seed(3)
    size = (CLIPS, config.num_frames, 3, config.image_size, config.image_size)
    tokens = tokenize([prompt for name in TRAINED for prompt in PROMPTS.of(name)], config.context_length)
    labels = torch.randint(0, CLASSES, (CLIPS,), generator=generator)
    return SampleInputs(torch.randn(size, generator=generator), tokens, labels)


def bound(method: Method, kind: Kind | None = None, classes: Sequence[str] = TRAINED) -> Method:
    """The method, for a made-up task of that kind, by default the first one that it supports."""
    kind = kind or method.tasks[0]
    method.bind(MethodTask(kind, tuple(classes) if kind == "classification" else (), CLIPS))
    return method


# Training


def learner_for(model: DualEncoder, method: Method, *, team: Team | None = None, **training: Any) -> Learner:
    """What the training loop takes steps with, on the made-up clips; `training` changes its options."""
    options = _options(**training)
    model.checkpoint_blocks = options.checkpoint_blocks
    return Learner(
        model=model,
        method=method,
        options=options,
        texts=training_texts(model, method),
        descriptions=made_up_descriptions(method, model.config),
        device=CPU,
        encode=partial(encoded, method),
        team=team or Team(),
        classes=method.task.classes,
        positives=positives(model, method),
    )


def _options(**changes: Any) -> TrainingOptions:
    return TrainingOptions(**{"batch_size": CLIPS, "warmup_epochs": 0.0, "learning_rate": 1e-3, **changes})


def encoded(method: Method, model: DualEncoder, frames: Tensor, mask: Tensor | None = None) -> VideoOutput:
    """What the video tower gives for frames [B, T, 3, H, W], as far as the method reads it."""
    return model.video_output(frames, method.reads, mask)


def positives(model: DualEncoder, method: Method) -> Positives | None:
    """Which texts belong to which clips, in retrieval."""
    return Positives(_samples(model.config)) if method.task.kind == "retrieval" else None


def training_texts(model: DualEncoder, method: Method) -> ClassTexts:
    """The prompts of the classes that train, or the texts of retrieval."""
    return _texts(model, method, TRAINED)


def clip_batch(config: ViCLIPConfig, rank: int = 0, processes: int = 1) -> ClipBatch:
    """The made-up clips as a batch; of several processes, those of one."""
    batch, rows = batch_for(config), list(range(rank, CLIPS, processes))
    return ClipBatch(batch.frames[rows], batch.labels[rows], [str(row) for row in rows], rows, CLIPS)


@dataclass(frozen=True)
class Taken:
    """What one training step came to: its loss, and every gradient before the optimiser used it, by name."""

    loss: float
    gradients: dict[str, Tensor | None]


def take_step(learner: Learner, batch: ClipBatch | None = None) -> Taken:
    """One step of the training loop, on all made-up clips or on a part of them; mode as the model has it."""
    found: dict[str, Tensor | None] = {}

    def keep(*_: Any) -> None:
        for name, parameter in learner.model.named_parameters():
            if parameter.requires_grad:
                found[name] = None if parameter.grad is None else parameter.grad.detach().clone()

    handle = learner.optimizer.register_step_pre_hook(keep)
    try:
        totals = learner.step(batch or clip_batch(learner.model.config))
    finally:
        handle.remove()
    learner.number += 1
    return Taken(totals.loss, found)


def training_scores(learner: Learner) -> Tensor:
    """The scores [B, C] that the training loop computes of all made-up clips; mode as the model has it."""
    (part,) = learner.micro_batches(clip_batch(learner.model.config))
    output = learner.encode(learner.model, part.frames, part.mask)
    video = learner.model.finish_video(output)
    return learner.step_of(part, output, video, learner.text.encode(None, video)).logits.detach()


def support_for(model: DualEncoder, method: Method) -> SupportClips:
    """The made-up clips as `Method.prepare` and `Method.finish` see the training clips."""
    prepared = SimpleNamespace(
        model=model,
        method=method,
        options=_options(),
        device=CPU,
        team=Team(),
        trial=SimpleNamespace(seed=0),
        loader=_MadeUpLoader(model.config),
        notify=lambda progress: None,
        stop=go_on,
        pace=Pace(math.inf),
        share_findings=lambda: None,
    )
    return SupportClips(cast(PreparedTrial, prepared), _samples(model.config), training_texts(model, method))


def prepare(model: DualEncoder, method: Method) -> None:
    """What comes between attaching and training."""
    if overrides(method, "prepare"):
        method.prepare(support_for(model, method))


def finish(model: DualEncoder, method: Method) -> None:
    """What comes between training and the adapter file."""
    if overrides(method, "finish"):
        method.finish(model, support_for(model, method))


def made_up_descriptions(method: Method, config: ViCLIPConfig) -> dict[str, Tensor]:
    """Seeded random features [C, D] of each kind, if the method's loss reads descriptions."""
    kinds = ("spatial", "temporal") if method.description_count else ()
    generator = torch.Generator().manual_seed(4)
    return {kind: torch.randn(CLASSES, config.embed_dim, generator=generator) for kind in kinds}


@dataclass(frozen=True)
class _MadeUpLoader:
    """In the place of the loader of training clips."""

    config: ViCLIPConfig

    def fixed_batches(self, found: Sequence[Sample], size: int) -> Iterator[ClipBatch]:
        yield clip_batch(self.config)

    def augmented_batches(self, found: Sequence[Sample], epoch: int, size: int) -> Iterator[ClipBatch]:
        batch = clip_batch(self.config)
        noise = torch.randn(batch.frames.shape, generator=torch.Generator().manual_seed(epoch))
        yield replace(batch, frames=batch.frames + 0.1 * noise)


def _samples(config: ViCLIPConfig) -> tuple[Sample, ...]:
    return tuple(Sample(str(row), label) for row, label in enumerate(batch_for(config).labels.tolist()))


# Evaluation


@torch.no_grad()
def scores(
    model: DualEncoder,
    method: Method,
    *,
    classes: Sequence[str] = TRAINED,
    rows: Sequence[int] = range(CLIPS),
    frames: Tensor | None = None,
    precision: str = "fp32",
) -> Tensor:
    """What the evaluation scores the made-up clips of these rows, or other `frames` [B, T, 3, H, W], with: logits
    [B, C], or similarities to the texts; mode as the model has it."""
    given = batch_for(model.config).frames[list(rows)] if frames is None else frames
    clips = [str(row) for row in range(len(given))]
    batch = ClipBatch(
        given.unsqueeze(1), torch.zeros(len(clips), dtype=torch.int64), clips, [*range(len(clips))], CLIPS
    )
    passes = encode(
        model,
        [batch],
        to_input=lambda frames: frames,
        batch_size=len(clips),
        precision=precision,
        device=CPU,
        reads=method.reads,
    )
    samples = tuple(Sample(clip, 0) for clip in clips)
    evaluation: Evaluation
    if method.task.kind == "retrieval":
        evaluation = retrieval_evaluation("made up", {"0": list(classes)})
    else:
        evaluation = Evaluation("made up", tuple(classes), samples)
    (only,) = passes
    return Scorer(model, method, evaluation, PROMPTS, precision, CPU, method.task.classes).logits(only)


@torch.no_grad()
def text_features(model: DualEncoder, method: Method, video: Tensor, classes: Sequence[str] = TRAINED) -> Tensor:
    """Features [C, D] of the classes' prompts; [B, C, D] if they depend on the clips, with features `video` [B, D]."""
    retrieval = method.task.kind == "retrieval"
    return (
        StepTexts(model, method, _texts(model, method, classes), retrieval=retrieval).encode(None, video).of_classes()
    )


def _texts(model: DualEncoder, method: Method, classes: Sequence[str]) -> ClassTexts:
    if method.task.kind == "retrieval":
        return plain_texts(model, classes, CPU)
    return class_texts(model, method, classes, PROMPTS, CPU)


@dataclass(frozen=True)
class Outputs:
    """What a model with its method computes of the made-up clips and classes."""

    video: Tensor  #: [B, D]
    text: Tensor  #: [C, D] or [B, C, D]
    scores: Tensor  #: [B, C]

    def named(self) -> list[tuple[str, Tensor]]:
        """Features [.., D] and scores, each with its name."""
        return [("features", torch.cat([self.video, self.text.flatten(0, -2)])), ("scores", self.scores)]


@torch.no_grad()
def outputs(model: DualEncoder, method: Method, precision: str = "fp32") -> Outputs:
    """Features and scores as the evaluation computes them; mode as the model has it."""
    with autocast(CPU, precision):
        video = model.finish_video(encoded(method, model, batch_for(model.config).frames))
        text = text_features(model, method, video)
    return Outputs(video, text, scores(model, method, precision=precision))


def features(model: DualEncoder, config: ViCLIPConfig = SMALL) -> Tensor:
    """Video and text features of the seeded inputs by the towers alone, one above the other: [B + C, D]."""
    batch = batch_for(config)
    with torch.no_grad():
        return torch.cat([model.encode_video(batch.frames), model.encode_text(batch.tokens)])


# Several processes


@dataclass
class _Meeting:
    """Where threads in the place of processes exchange what they have."""

    count: int
    barrier: threading.Barrier = field(init=False)
    values: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=60)
        self.values = [None] * self.count

    def exchange(self, rank: int, value: T) -> list[T]:
        """The value of every thread, by rank."""
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


@dataclass
class ThreadTeam(Team):
    """A team whose processes are threads: nothing has to start, and all of them see the same memory."""

    meeting: _Meeting = field(default_factory=lambda: _Meeting(1))

    def sum_step(self, own: StepTotals, parameters: Sequence[Tensor]) -> StepTotals:
        """See `Team.sum_step`."""
        everyone = self.meeting.exchange(self.seat.rank, (own, [parameter.grad for parameter in parameters]))
        for place, parameter in enumerate(parameters):
            given = [gradient for _, grads in everyone if (gradient := grads[place]) is not None]
            parameter.grad = torch.stack(given).sum(0) if given else None
        totals = [each for each, _ in everyone]
        loss, correct = sum(each.loss for each in totals), sum(each.correct for each in totals)
        return StepTotals(loss, correct, sum(each.clips for each in totals), Then.GO_ON)

    def _from(self, rank: int, value: T) -> T:
        return self.meeting.exchange(self.seat.rank, value)[rank]


def in_processes(count: int, member: Callable[[ThreadTeam], T]) -> T:
    """What `member(team)` gives in the first of `count` processes, which all call it at once."""
    meeting = _Meeting(count)
    results: list[T | None] = [None] * count
    errors: list[Exception] = []

    def call(rank: int) -> None:
        try:
            results[rank] = member(ThreadTeam(Seat(rank, count, rank, count), meeting=meeting))
        except threading.BrokenBarrierError:
            return  # another one failed
        except Exception as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return cast(T, results[0])
