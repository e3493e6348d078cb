"""A subject with its weights, in evaluation mode: encodes videos as its trial's evaluation does. V views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from petl_bench.api.dataset import Sample
from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.api.setting import Evaluation
from petl_bench.data.found.tree import canonical
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.errors import UsageError, WeightsError
from petl_bench.inference.subject import Subject
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import END_OF_TEXT, START_OF_TEXT, text_of, token_lengths, tokenize
from petl_bench.system.texts import shortened
from petl_bench.training.checkpoint import load_adapter
from petl_bench.training.clip_spec import evaluated_clips
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import Seat
from petl_bench.training.evaluate import Scored, reads_to_score, score
from petl_bench.training.hooks import calling
from petl_bench.training.state import load_state
from petl_bench.training.video import EncodedBatch, encode

#: Classes that an error names, and letters of a name in it.
_NAMED, _LETTERS = 10, 80


class AdaptedModel:
    """A subject with its weights, in evaluation mode. What it computes equals what its trial's evaluation computes.

    Attributes:
        subject: What it was made from.
        device: Where it computes.
        model: The dual encoder with the method attached.
        spec: How clips are read.
    """

    def __init__(self, subject: Subject, device: str = "auto") -> None:
        """Load the weights and the adapter. Raises WeightsError or TrialError if that cannot be."""
        self.subject = subject
        self.device = resolve_device(device, Seat())
        self.model = _loaded(subject).to(self.device).eval()
        self.spec = evaluated_clips(
            self.model, subject.backbone, subject.options, seed=subject.seed, decoder=subject.decoder
        )

    @property
    def notes(self) -> list[str]:
        """What a user should know of the model, in words."""
        subject = self.subject
        backbone = subject.backbone
        notes = [*subject.notes, *self.model.weights_notes]
        notes += backbone.assumptions(subject.weights.label, subject.weights.sha256)
        if backbone.demonstration_of and subject.weights.label == "packaged":
            name, made_for = type(backbone).name, backbone.demonstration_of
            notes.append(f"{name} was made to demonstrate on {made_for}: what it says of other videos means little")
        return notes

    def encoded(
        self, paths: Mapping[str, Path], workers: int, *, in_order: bool = False
    ) -> Iterator[tuple[EncodedBatch, dict[str, str]]]:
        """Encode videos, batch by batch: as many views at once as in the trial's evaluation.

        Args:
            paths: The file of each video, by name.
            workers: Processes that decode.
            in_order: Whether they come in the order of `paths`, and not in that of their names.

        Yields:
            What the video tower gave for the readable videos of a batch, and for the others the reason why they cannot
            be read.
        """
        size, names = self.subject.options.eval_batch_size, list(paths) if in_order else sorted(paths)
        with ClipLoader(paths, self.spec, workers=workers, bad_clips_allowed=1.0) as loader:
            of_batch = max(1, size // (self.spec.views * self.spec.crops))
            outputs = encode(
                self.model,
                loader.test_batches([Sample(name, 0) for name in names], size),
                to_input=loader.to_input,
                batch_size=size,
                precision=self.subject.options.precision,
                device=self.device,
                reads=self._reads,
            )
            for start, batch in zip(range(0, len(names), of_batch), outputs, strict=True):
                unread = sorted(set(names[start : start + of_batch]) - set(batch.clips))
                yield batch, {name: _without_path(loader.unreadable[name], paths[name]) for name in unread}

    @property
    def _reads(self) -> tuple[str, ...]:
        """What is kept of a video's views beside features."""
        return reads_to_score(self.subject.method, self.model)

    def probabilities(
        self,
        paths: Mapping[str, Path],
        classes: Sequence[str],
        *,
        prompts: Prompts | None = None,
        workers: int = 0,
    ) -> Iterator[tuple[Scored, dict[str, str]]]:
        """The probabilities of C classes for videos in their order, batch by batch, as the trial's evaluation has them:
        the mean over views of the softmax of the method's logits.

        Args:
            paths: The file of each video, by name.
            classes: Names of classes.
            prompts: Templates that the names are put into; by default those of its trial.
            workers: Processes that decode.

        Yields:
            Scores float32 [B, C] of the readable videos of a batch, whose `rows` are their places in `paths`; and for
            the others the reason why they cannot be read.

        Raises:
            UsageError: The method has no scores for a class, or the text tower no words for its name.
            TrialError: A score is not finite.
        """
        method = self.subject.method
        refuse_unknown_classes(method, classes)
        self.refuse_wordless(classes)
        evaluation = Evaluation(name="prediction", samples=(), classes=tuple(classes))
        unread: list[dict[str, str]] = []

        def batches() -> Iterator[EncodedBatch]:
            for batch, reasons in self.encoded(paths, workers, in_order=True):
                unread.append(reasons)
                yield batch

        for scored in score(
            self.model,
            evaluation,
            batches(),
            method=method,
            prompts=prompts or self.subject.prompts,
            precision=self.subject.options.precision,
            device=self.device,
            train_classes=method.task.classes,
            seed=self.subject.trial_seed,
        ):
            yield scored, unread.pop(0)

    def refuse_wordless(self, classes: Sequence[str]) -> None:
        """Raise UsageError for a name that the text tower has no words for, unless it is a class of the trial."""
        subject, config = self.subject, self.model.config
        names = sorted(set(classes) - {*subject.classes, *subject.trained_classes}, key=classes.index)
        known = None if config.token_ids is None else set(config.token_ids[1:])
        for name, ids in zip(names, tokenize(names, config.context_length).tolist(), strict=True):
            words = set(ids) - {0, START_OF_TEXT, END_OF_TEXT}
            if not canonical(name) or (known is not None and known.isdisjoint(words)):
                raise UsageError(
                    f"the class {shortened(name, _LETTERS)!r}: the text tower of {type(subject.backbone).name} has no "
                    "words for it; give a name in other words"
                )

    def read_of(self, text: str) -> str | None:
        """What is read of a text that is longer than the model's context; None if it is read whole."""
        context = self.model.config.context_length
        if token_lengths([text])[0] <= context:
            return None
        return text_of(tokenize(text, context)[0, 1:-1].tolist())


def refuse_unknown_classes(method: Method, classes: Sequence[str]) -> None:
    """Raise UsageError if a method scores the classes it was trained on alone, and others are asked for."""
    if method.novel != "none":
        return
    trained = method.task.classes
    if others := [name for name in classes if name not in trained]:
        known = ", ".join(trained[:_NAMED]) + (", ..." if len(trained) > _NAMED else "")
        raise UsageError(
            f"{method.name} has scores for the {len(trained)} classes it was trained on alone, and {others[0]!r} is "
            f"none of them: {known}"
        )


def _loaded(subject: Subject) -> DualEncoder:
    header, tensors = ({}, {}) if subject.adapter is None else load_adapter(subject.adapter)
    model = create_model(type(subject.backbone).name, weights=subject.weights.path, **subject.backbone.config_changes())
    if subject.adapter is not None:
        _refuse_smaller(subject, model, sum(tensor.numel() for tensor in tensors.values()))
    with calling(subject.method, "attach(model)"):
        subject.method.attach(model)
    if subject.adapter is not None:
        load_state(model, subject.method, {"tensors": tensors, "extra": header["extra_state"]})
    return model


def _refuse_smaller(subject: Subject, model: DualEncoder, held: int) -> None:
    """Raise WeightsError if a file holds fewer values than the method trains: asked before memory is taken for them,
    for the hyper-parameters stand in the file too."""
    with calling(subject.method, "expected_trainable(config)"):
        wanted = subject.method.expected_trainable(model.config)
    if held < wanted:
        raise WeightsError(
            f"{subject.adapter}: the adapter does not fit: {subject.method.name} with the hyper-parameters of its "
            f"header trains {wanted:,} values on {type(subject.backbone).name}, and the file holds {held:,}"
        )


def _without_path(reason: str, path: Path) -> str:
    return reason.removeprefix(f"cannot read {path}: ").replace(f" {path} ", " ")
