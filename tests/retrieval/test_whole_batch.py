"""The loss and its gradients are those of the whole batch, in micro-batches and processes: against plain autograd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import petl_bench as pb
from petl_bench.api.dataset import Sample
from petl_bench.api.launcher import Job
from petl_bench.api.registry import METHODS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.tokenizer import tokenize
from petl_bench.training.checkpoint import load_adapter
from petl_bench.training.distributed import Seat, StepTotals, Team
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.retrieval import Positives
from petl_bench.training.run_trial import run_trial
from petl_bench.training.step import Learner
from petl_bench.training.text import plain_texts
from petl_bench.training.training_clips import training_batches
from tests.retrieval.test_trials_of_retrieval import FIXED, changed, job_of

#: Clip and texts of each pair; some texts belong to several clips, and some clips have several texts.
CLIPS = [0, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7]
TEXTS = [0, 1, 2, 1, 3, 4, 5, 2, 6, 0, 7]
PAIRS = [Sample(f"clip {clip}", text) for clip, text in zip(CLIPS, TEXTS, strict=True)]
SENTENCES = [f"a red star moves {number} times" for number in range(8)]
CPU = torch.device("cpu")
#: A loss of all scores together, of which no part of a batch has a part.
Loss = Callable[[Tensor, Tensor], Tensor]


def contrastive(logits: Tensor, positive: Tensor) -> Tensor:
    """The symmetric loss, a row and a column at a time; the other texts of a clip are no negatives."""
    of_rows = [
        torch.stack([-row.log_softmax(0)[own] for own in mine.nonzero()[:, 0]]).mean()
        for row, mine in zip(logits, positive, strict=True)
    ]
    of_columns = [
        torch.stack([-column.log_softmax(0)[own] for own in mine.nonzero()[:, 0]]).mean()
        for column, mine in zip(logits.T, positive.T, strict=True)
    ]
    return (torch.stack(of_rows).mean() + torch.stack(of_columns).mean()) / 2


def all_scores(logits: Tensor, positive: Tensor) -> Tensor:
    """A loss over all pairs of clips and texts at once."""
    return logits.logsumexp((0, 1)) - logits[positive].mean()


def reference(
    model: pb.DualEncoder,
    frames: Tensor,
    rows: Sequence[int],
    pairs: Sequence[Sample],
    sentences: Sequence[str],
    loss: Loss,
) -> tuple[float, list[Tensor]]:
    """Loss and gradients of the trained parameters, of these rows as one batch, by autograd."""
    texts = sorted({pairs[row].label for row in rows})
    belong = {(pair.clip, pair.label) for pair in pairs}
    positive = torch.tensor([[(pairs[row].clip, text) in belong for text in texts] for row in rows])
    video = model.finish_video(model.video_output(frames))
    text = model.encode_text(tokenize([sentences[each] for each in texts], model.config.context_length))
    unit, direction = (torch.nn.functional.normalize(each, dim=-1) for each in (video, text))
    value = loss(model.logit_scale * unit @ direction.T, positive)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, trained, allow_unused=True)
    return value.item(), [torch.zeros_like(p) if g is None else g for p, g in zip(trained, gradients, strict=True)]


# Steps in threads that stand for processes


@dataclass
class Room:
    """Where the threads of a step meet."""

    count: int
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=60)


class Member(Team):
    """A team of threads: every exchange is of values, as among processes."""

    def __init__(self, rank: int, room: Room) -> None:
        super().__init__(Seat(rank, room.count))
        self.room = room

    def exchange(self, value: Any) -> list[Any]:
        self.room.values[self.seat.rank] = value
        self.room.barrier.wait()
        found = [self.room.values[rank] for rank in range(self.seat.count)]
        self.room.barrier.wait()
        return found

    def gather(self, value: Any) -> list[Any]:
        return self.exchange(value) if self.seat.rank == 0 else self.exchange(value)[:0]

    def share(self, value: Any) -> Any:
        return self.exchange(value)[0]

    def sum_step(self, own: StepTotals, parameters: Sequence[Tensor]) -> StepTotals:
        everyone = self.exchange((own, [None if p.grad is None else p.grad.clone() for p in parameters]))
        for place, parameter in enumerate(parameters):
            found = [gradients[place] for _, gradients in everyone if gradients[place] is not None]
            parameter.grad = torch.stack(found).sum(0) if found else None
        totals = [totals for totals, _ in everyone]
        return StepTotals(
            sum(t.loss for t in totals), sum(t.correct for t in totals), sum(t.clips for t in totals), own.then
        )


def model_of(method: pb.Method) -> pb.DualEncoder:
    torch.manual_seed(3)
    model = pb.create_model("viclip-tiny", weights=None)
    method.bind(pb.MethodTask("retrieval"))
    method.attach(model)
    with torch.no_grad():  # nothing at zero, so that everything has a gradient
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
                )
    return model.train()


def step_in_threads(
    name: str, shares: Sequence[Sequence[int]], frames: Tensor, micro: int | None
) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one step over the rows that each thread has."""
    room, found = Room(len(shares)), {}

    def one(rank: int) -> None:
        rows = list(shares[rank])
        learner = Learner(
            model=models[rank],
            method=methods[rank],
            options=TrainingOptions(batch_size=len(PAIRS), micro_batch_size=micro),
            texts=plain_texts(models[rank], SENTENCES, CPU),
            descriptions={},
            device=CPU,
            encode=lambda model, clips, mask: model.video_output(clips, (), mask),
            team=Member(rank, room),
            positives=Positives(PAIRS),
        )
        taken: list[Tensor] = []
        learner._apply = lambda scale: taken.extend(p.grad * scale for p in trained(models[rank]))  # type: ignore[method-assign]
        labels = torch.tensor([PAIRS[row].label for row in rows], dtype=torch.int64)
        batch = ClipBatch(frames[rows], labels, [PAIRS[row].clip for row in rows], rows, len(PAIRS))
        totals = learner.step(batch)
        found[rank] = (totals.loss * len(PAIRS) / totals.clips, taken)

    methods = [pb.create_method(name) for _ in shares]
    models = [model_of(method) for method in methods]
    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(shares)
    for loss, gradients in found.values():
        assert loss == found[0][0]
        assert all(torch.equal(one, other) for one, other in zip(gradients, found[0][1], strict=True))
    return found[0]


def trained(model: pb.DualEncoder) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.fixture
def own_objective() -> str:
    @pb.register_method("own_objective")
    class OwnObjective(METHODS.get("bitfit")):  # type: ignore[misc]
        """Biases, by a loss over all scores."""

        recipes = ()
        whole_batch = True

        def objective(self, step: pb.Step) -> Tensor:
            return all_scores(step.logits, step.positive)

    return "own_objective"


SHARES = {
    "one process": [range(11)],
    "two processes, an odd number of clips": [range(0, 11, 2), range(1, 11, 2)],
    "three processes, unreadable clips": [[0, 6], [1, 4, 7], [2, 8]],
    "two processes, one of which could read nothing": [[], [1, 3, 5, 7]],
}


@pytest.mark.parametrize("micro", [None, 2])
@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize(("name", "loss"), [("bitfit", contrastive), ("own_objective", all_scores)])
def test_a_step_has_loss_and_gradients_of_the_whole_batch(
    name: str, loss: Loss, shares: Sequence[Sequence[int]], micro: int | None, own_objective: str
) -> None:
    model = model_of(pb.create_method(name))
    size = model.config.image_size
    frames = torch.randn(len(PAIRS), model.config.num_frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    value, gradients = step_in_threads(name, shares, frames, micro)
    rows = [row for share in shares for row in share]
    expected, of_autograd = reference(model, frames[rows], rows, PAIRS, SENTENCES, loss)
    assert value == pytest.approx(expected, rel=1e-5)
    largest = max(gradient.abs().max() for gradient in of_autograd)
    for own, theirs in zip(gradients, of_autograd, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-5 * float(largest))


# Real processes


@pytest.fixture
def one_step(plugin: Path) -> Job:
    """A trial of a single step of plain gradient descent over all pairs: it moves parameters by rate x gradient."""
    plain = ("training.optimizer=sgd", "training.momentum=0", "training.weight_decay=0", "training.warmup_epochs=0")
    job = job_of(
        plugin,
        "bitfit",
        *plain,
        FIXED,
        "training.clip_grad_norm=none",
        "training.learning_rate=0.1",
        epochs=1,
        batch_size=84,
    )
    return job


@pytest.mark.parametrize(("processes", "micro"), [(1, None), (2, None), (2, 5)])
def test_a_trial_in_processes_moves_by_the_gradient_of_the_whole_batch(
    one_step: Job, processes: int, micro: int | None, tmp_path: Path
) -> None:
    job = changed(one_step, processes=processes, micro_batch_size=micro)
    result = run_trial(job.trial, job.places, tmp_path, lambda progress: None)
    (tmp_path / "reference").mkdir()
    prepared = PreparedTrial(one_step.trial, job.places, tmp_path / "reference", lambda progress: None, seat=Seat())
    with prepared.loader:
        pairs = prepared.found(prepared.train)
        batches, _ = training_batches(prepared, pairs)
        (batch,) = batches(0, 0)
    model = prepared.model.train()
    before = {name: tensor.clone() for name, tensor in model.adapter_tensors().items()}
    value, gradients = reference(model, batch.frames, batch.rows, pairs, prepared.task.train_texts, contrastive)
    (row,) = result.history
    assert row["loss"] == pytest.approx(value, rel=1e-5)
    after = load_adapter(tmp_path / "adapter.safetensors")[1]
    names = {id(parameter): name for name, parameter in model.adapter_tensors().items()}
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    for parameter, gradient in zip(trained(model), gradients, strict=True):
        name = names[id(parameter)]
        moved = (before[name] - after[name]) / row["learning_rate"]
        torch.testing.assert_close(moved, gradient, rtol=2e-3, atol=1e-4 * largest)
