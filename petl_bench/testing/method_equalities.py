"""Checks of methods: what must not change the numbers, such as the size of a batch or the order of the classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method
from petl_bench.api.step import Kind
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.testing.checks import Skipped, require
from petl_bench.testing.harness import (
    CLIPS,
    NOVEL,
    TRAINED,
    Outputs,
    ThreadTeam,
    bound,
    clip_batch,
    in_processes,
    learner_for,
    outputs,
    random_model,
    scores,
    take_step,
    text_features,
    training_scores,
)
from petl_bench.testing.method_subject import MethodSubject, needs_parameters
from petl_bench.training.hooks import overrides

#: Largest difference of scores in half precision, as a part of the largest score.
HALF = {"bf16": 0.1, "fp16": 0.02}
#: Largest difference of gradients that are summed in another order, as a part of the largest one.
ROUNDING = 1e-4


class FrozenModel(Method):
    """The frozen model, as a method that does nothing."""

    def attach(self, model: DualEncoder) -> None:
        """Nothing."""

    def expected_trainable(self, config: ViCLIPConfig) -> int:
        """None."""
        return 0


def frozen_outputs(config: ViCLIPConfig, kind: Kind) -> Outputs:
    """Features and scores of the frozen model, in one kind of task: classes have prompts, captions are texts."""
    return outputs(random_model(config), bound(FrozenModel(), kind))


def require_equal(one: Tensor, other: Tensor, why: str, atol: float = 0.0) -> None:
    """Raise Failed with the reason and the largest difference unless the tensors agree."""
    require(one.shape == other.shape, f"{why}: {tuple(one.shape)} and {tuple(other.shape)}")
    difference = (one - other).abs().max().item()
    require(difference <= atol, f"{why}: largest difference {difference:.2g}, allowed {atol:.2g}")


def same_outputs(one: Outputs, other: Outputs, why: str, relative: float = 0.0) -> None:
    """Raise Failed unless features and scores agree, up to a part of the largest of them."""
    for (what, values), (_, expected) in zip(one.named(), other.named(), strict=True):
        require_equal(values, expected, f"{what} {why}", atol=relative * max(1.0, expected.abs().max().item()))


def half_precision_is_close(subject: MethodSubject) -> None:
    """Scores in bf16 and fp16 are those in fp32, within what half precision can tell apart."""
    model, method = subject.trained()
    exact = scores(model, method)
    for precision, part in HALF.items():
        rounded = scores(model, method, precision=precision)
        require_equal(rounded, exact, f"scores in {precision} differ from those in fp32", part * _largest(exact))


def batch_changes_nothing(subject: MethodSubject) -> None:
    """A clip's and a prompt's features, and a clip's scores, do not depend on what else is in the batch."""
    model, method = subject.trained()
    whole = outputs(model, method)
    alone = torch.cat([scores(model, method, rows=[row]) for row in range(CLIPS)])
    with torch.no_grad():
        frames = clip_batch(subject.config).frames.split(1)
        video = torch.cat([model.finish_video(model.video_output(each, method.reads)) for each in frames])
    text = torch.cat([text_features(model, method, video, [name]) for name in TRAINED], dim=-2)
    same_outputs(Outputs(video, text, alone), whole, "depend on the batch", relative=1e-4)


def padding_changes_nothing(subject: MethodSubject) -> None:
    """On a frame-wise backbone a clip's feature does not depend on what stands in the frames that pad it."""
    configs = [config for config in subject.configs.values() if not config.joint_space_time and config.num_frames > 1]
    if not configs:
        raise Skipped("it is for no backbone that encodes frame by frame, and so reads masks of frames")
    for config in configs:
        model, method = subject.trained(config)
        frames = clip_batch(config).frames
        mask = torch.ones(frames.shape[:2], dtype=torch.bool)
        mask[0, 1:], mask[1, -1] = False, False
        padded = torch.where(mask[:, :, None, None, None], frames, 0)
        with torch.no_grad():
            first, second = (
                model.finish_video(model.video_output(each, method.reads, mask)) for each in (padded, frames)
            )
        require_equal(
            second, first, "features depend on what stands in frames that pad a clip", atol=1e-4 * _largest(first)
        )


def class_order_changes_nothing(subject: MethodSubject) -> None:
    """A class keeps its scores if classes come in another order, trained ones and new ones mixed; new classes have
    scores of their own, unless novel = "none"."""
    model, method = subject.trained()
    classes = TRAINED if subject.plugin.novel == "none" or method.task.kind == "retrieval" else TRAINED + NOVEL
    order = sorted(range(len(classes)), key=lambda place: (place % 2, -place))
    first = scores(model, method, classes=classes)
    second = scores(model, method, classes=[classes[place] for place in order])
    require(bool(first.isfinite().all()), "scores are not finite among classes that were not trained")
    require_equal(second, first[:, order], "scores depend on the order of the classes", atol=1e-4 * _largest(first))
    new = first[:, len(TRAINED) :]
    require(
        not new.numel() or bool((new[:, 0] != new[:, -1]).any()),
        "new classes have the same scores, all of them, and cannot be told apart: declare "
        'novel = "none", or "frozen" if the frozen model shall score them',
    )


def declares_batch_statistics(subject: MethodSubject) -> None:
    """In training a clip's features do not depend on the others of its micro-batch, or batch_statistics = True says
    that they do (batch norm)."""
    different = _depends_on_other_clips(subject)
    if subject.create().batch_statistics:
        require(different, "batch_statistics = True, but in training a clip's features depend on this clip alone")
        return
    require(
        not different,
        "in training a clip's features depend on the others of its micro-batch, so that micro-batches and processes "
        "change the numbers: declare batch_statistics = True, or take another norm",
    )


def _depends_on_other_clips(subject: MethodSubject) -> bool:
    """Whether in training a clip's features depend on the other clips."""
    one, other = (_first_clip_in_training(subject, others) for others in (1, 2))
    return bool((one - other).abs().max() > ROUNDING * _largest(one))


def _first_clip_in_training(subject: MethodSubject, others: int) -> Tensor:
    """The features [D] of the first clip in a training step, beside other clips that are drawn by a seed."""
    model, method = subject.trained()
    needs_parameters(model)
    batch = clip_batch(model.config)
    noise = torch.randn(batch.frames.shape, generator=torch.Generator().manual_seed(others))
    noise[0] = batch.frames[0]
    torch.manual_seed(6)
    with torch.no_grad():
        output = model.train().video_output(noise, method.reads)
        return model.finish_video(output)[0]


def micro_batches_change_nothing(subject: MethodSubject) -> None:
    """A batch in micro-batches has the loss and the gradients of one pass, without dropout. A loss that compares clips
    with each other declares whole_batch = True."""
    _skip_declared_batch_statistics(subject, "micro-batches")
    _skip_undeclared_batch_statistics(subject)
    whole = _gradients(subject)
    parts = _gradients(subject, micro_batch_size=2)
    _require_same_step(parts, whole, "in micro-batches", subject)


def processes_change_nothing(subject: MethodSubject) -> None:
    """A batch shared by two processes has the loss and the gradients of one, without dropout."""
    _skip_declared_batch_statistics(subject, "processes")
    _skip_undeclared_batch_statistics(subject)
    whole = _gradients(subject)

    def member(team: ThreadTeam) -> tuple[float, dict[str, Tensor | None]]:
        return _step_of(*models[team.seat.rank], team)

    models = [subject.trained() for _ in range(2)]
    _require_same_step(in_processes(2, member), whole, "in two processes", subject)


def checkpointed_blocks_change_nothing(subject: MethodSubject) -> None:
    """With training.checkpoint_blocks the loss and the gradients are equal to the bit, dropout included."""
    found = []
    for checkpointed in (False, True):
        model, method = subject.trained()
        needs_parameters(model)
        learner = learner_for(model.train(), method, checkpoint_blocks=checkpointed)
        torch.manual_seed(6)
        found.append(take_step(learner))
    one, other = found
    require(one.loss == other.loss, f"the loss is {other.loss} with checkpointed blocks and {one.loss} without")
    for name, gradient in one.gradients.items():
        again = other.gradients[name]
        same = gradient is again if gradient is None or again is None else torch.equal(gradient, again)
        require(same, f"the gradient of {name} differs with checkpointed blocks: a module keeps or counts something")


def training_scores_are_those_of_evaluation(subject: MethodSubject) -> None:
    """Without dropout, and with batch norm held at its running statistics, a clip has the same scores in a training
    step as in evaluation, which carries no labels."""
    model, method = subject.trained()
    needs_parameters(model)
    if overrides(method, "choose") or method.text_varies == "step":
        raise Skipped("its texts are drawn in each training step")
    if method.task.kind == "retrieval":
        raise Skipped("in retrieval a batch is compared with its own texts")
    if not method.batch_statistics:
        _skip_undeclared_batch_statistics(subject)
    exact = scores(model, method)
    why = "scores in a training step differ from those in evaluation"
    require_equal(training_scores(learner_for(model, method)), exact, why, atol=1e-4 * _largest(exact))


def _skip_declared_batch_statistics(subject: MethodSubject, what: str) -> None:
    if subject.create().batch_statistics:
        raise Skipped(f"it declares batch_statistics = True: several {what} are refused")


def _skip_undeclared_batch_statistics(subject: MethodSubject) -> None:
    """The models of these checks are in evaluation mode, in which batch norm does not show."""
    if _depends_on_other_clips(subject):
        raise Skipped("in training a clip's features depend on the others of its micro-batch, which is not declared")


def _gradients(subject: MethodSubject, **training: Any) -> tuple[float, dict[str, Tensor | None]]:
    model, method = subject.trained()
    needs_parameters(model)
    return _step_of(model, method, None, **training)


def _step_of(
    model: DualEncoder, method: Method, team: ThreadTeam | None, **training: Any
) -> tuple[float, dict[str, Tensor | None]]:
    rank, count = (team.seat.rank, team.seat.count) if team else (0, 1)
    taken = take_step(learner_for(model, method, team=team, **training), clip_batch(model.config, rank, count))
    return taken.loss, taken.gradients


def _require_same_step(
    one: tuple[float, dict[str, Tensor | None]],
    other: tuple[float, dict[str, Tensor | None]],
    where: str,
    subject: MethodSubject,
) -> None:
    hint = (
        "draw with step.draw or step.generator"
        if subject.plugin.whole_batch
        else "if the loss compares the clips of a batch, declare whole_batch = True; draw with step.draw or "
        "step.generator"
    )
    (loss, gradients), (expected, of_whole) = one, other
    close = abs(loss - expected) <= ROUNDING * max(1.0, abs(expected))
    require(close, f"the loss {where} is {loss:.6g}, and {expected:.6g} in one pass; {hint}")
    allowed = ROUNDING * max(_largest(gradient) for gradient in of_whole.values() if gradient is not None)
    for name, gradient in of_whole.items():
        mine = gradients[name]
        if gradient is None or mine is None:
            require(gradient is mine, f"{name} gets a gradient only {'in one pass' if mine is None else where}; {hint}")
        else:
            require_equal(
                mine, gradient, f"the gradient of {name} {where} differs from that of one pass ({hint})", allowed
            )


def _largest(values: Tensor) -> float:
    return values.abs().max().item()
