"""The training clips as a method's `prepare` and `finish` see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.dataset import Sample
from petl_bench.api.step import Frozen, Step, cosine_logits
from petl_bench.api.trial import Progress
from petl_bench.errors import TrialStopped
from petl_bench.models.towers import VideoOutput
from petl_bench.training.checkpoint import decide
from petl_bench.training.device import autocast
from petl_bench.training.distributed import Then
from petl_bench.training.frozen import FrozenTexts, frozen_video
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.retrieval import Positives
from petl_bench.training.text import ClassTexts, StepTexts, gives_prompts
from petl_bench.training.training_clips import encode_training_clips
from petl_bench.training.video import EncodedBatch

#: Epochs of augmented passes: far from those of training, whose draws they must not repeat.
FIRST_PASS = 1_000_000


class SupportClips:
    """Training clips, after those that are held out; see `pb.Support`."""

    def __init__(self, prepared: PreparedTrial, found: Sequence[Sample], texts: ClassTexts) -> None:
        self._prepared, self._found, self._texts = prepared, found, texts
        #: of pairs of retrieval
        self._positives = Positives(found) if prepared.method.task.kind == "retrieval" else None
        retrieval = self._positives is not None
        self._frozen_texts = FrozenTexts(prepared.model, texts, retrieval=retrieval)

    @property
    def clips(self) -> int:
        """How many there are; some of them may be unreadable."""
        return len(self._found)

    @torch.no_grad()
    def encode(self, passes: int = 1, augment: bool = False) -> Iterator[Step]:
        """Steps of all training clips with labels, `passes` times, in the order of their rows; without gradients.

        Those of retrieval have the texts of their pairs, and `positive`. Raises TrialStopped, in all processes, if the
        trial is to stop.
        """
        model, training = self._prepared.model, self._prepared.model.training
        texts = StepTexts(model, self._prepared.method, self._texts, retrieval=self._positives is not None)
        done, planned = 0, passes * len(self._found)
        try:
            for number in range(passes):
                for batch in self._batches(number, augment):
                    done += len(batch.rows)
                    self._prepared.notify(Progress(stage="loading", step=done, steps=planned))
                    model.eval()
                    yield self._step(batch, texts)
        finally:  # also if the caller needs no more of them
            model.train(training)
        self._prepared.share_findings()

    def _batches(self, number: int, augment: bool) -> Iterator[EncodedBatch]:
        """The video tower's output for all clips, from all processes."""
        prepared, size = self._prepared, self._prepared.options.eval_batch_size
        loader = prepared.loader
        read = (
            loader.augmented_batches(self._found, FIRST_PASS + number, size)
            if augment
            else loader.fixed_batches(self._found, size)
        )
        prepared.model.eval()
        for mine in encode_training_clips(prepared, read):
            for batch in prepared.team.exchange(mine):
                if batch.rows:
                    yield batch
            then, reason = prepared.team.share(decide(prepared.team, prepared.stop, prepared.pace))
            if then == Then.STOP:
                raise TrialStopped(reason)

    def _step(self, batch: EncodedBatch, texts: StepTexts) -> Step:
        prepared, device = self._prepared, self._prepared.device
        output, labels = on_device(batch.output, device), torch.tensor(batch.labels, device=device)
        chosen = None if self._positives is None else labels.unique()
        with autocast(device, prepared.options.precision):
            video = prepared.model.finish_video(output)
            encoded = texts.encode(chosen, video)
        step = Step(prepared.model, video, encoded.of_classes(), labels)
        step.training, step.rows, step.seed = False, torch.tensor(batch.rows), prepared.trial.seed
        step.classes, step.several_prompts = prepared.method.task.classes, encoded.several
        if self._positives is None or chosen is None:
            step.trained_class = torch.arange(self._texts.classes, device=device)
        else:
            step.positive = self._positives(step.rows, chosen).to(device)
        step.frame_features, step.patch_tokens, step.pixels = output.frame_features, output.patch_tokens, output.pixels
        step.mask = output.mask
        if gives_prompts(prepared.method):
            step.prompt_features, step.prompt_class = encoded.leaf, encoded.class_of
        step.frozen = Frozen(lambda: self._frozen_video(output), partial(self._frozen_text, chosen), self._cosines)
        return step

    def _frozen_text(self, chosen: Tensor | None) -> Tensor:
        with autocast(self._prepared.device, self._prepared.options.precision):
            return self._frozen_texts(chosen)

    def _frozen_video(self, output: VideoOutput) -> Tensor:
        with autocast(self._prepared.device, self._prepared.options.precision):
            return frozen_video(self._prepared.model, self._prepared.method, output)

    def _cosines(self, video: Tensor, text: Tensor) -> Tensor:
        return cosine_logits(self._prepared.model, video, text, self._texts.several)


def on_device(output: VideoOutput, device: torch.device) -> VideoOutput:
    """The output, moved to the device."""
    moved: dict[str, Any] = {
        name: None if tensor is None else tensor.to(device) for name, tensor in vars(output).items()
    }
    return VideoOutput(**moved)
