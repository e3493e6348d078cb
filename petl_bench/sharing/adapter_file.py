"""The adapter of a trial as one file that stands alone, or folded into the weights of the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.api.setting import Evaluation, Task
from petl_bench.api.trial import Trial
from petl_bench.errors import StoreError, UsageError
from petl_bench.inference.merged import Merged, merged_content
from petl_bench.inference.merging import class_embeddings, merged_model
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import Subject
from petl_bench.records.layout import RECORD
from petl_bench.records.read import read_record
from petl_bench.sharing.claimed import claimed, paths_in
from petl_bench.system.files import create
from petl_bench.training.checkpoint import adapter_content, load_adapter
from petl_bench.training.clip_spec import clips_for
from petl_bench.training.state import State
from petl_bench.training.use import described_use

#: Parts of an adapter file's header that are about the file.
_OF_FILE = ("format", "extra_state")


@dataclass(frozen=True)
class ExportedFile:
    """The bytes of a file, and what there is to say of them, in words."""

    content: bytes
    title: str
    notes: tuple[str, ...]


def adapter_file(place: Path, weights: str | None = None) -> ExportedFile:
    """The adapter of a finished trial's folder, or of an adapter file, with how to use it and what its record says.

    Equal trials give equal bytes.

    Args:
        place: The folder, or the file.
        weights: Where the weights are that it was trained on, as in `adapted`.

    Raises:
        UsageError: A file that is merged already, or of an earlier version, which says too little.
        Else as `adapted`.
    """
    subject = adapted(place, weights)
    header, state = _header_and_state(place, subject)
    notes = _notes(subject, header)
    if subject.adapter is None:
        notes = (*notes, "the trial trained nothing: the file says how to use its backbone, and holds no tensors")
    return ExportedFile(adapter_content(header, state), subject.title, notes)


def merged_file(place: Path, weights: str | None = None) -> ExportedFile:
    """The whole model of a trial with its adapter in the weights, under the published keys, and the embeddings of its
    classes. See `petl_bench.inference.merged`.

    Raises UsageError for a method that cannot be merged, and as `adapter_file`.
    """
    subject = adapted(place, weights)
    header, _ = _header_and_state(place, subject)
    plain, difference = merged_model(AdaptedModel(subject, "cpu"))
    embeddings = class_embeddings(plain, subject.classes, subject.prompts) if subject.classes else None
    header["config"] = {name: value for name, value in vars(plain.config).items() if name != "token_ids"}
    content = merged_content(header, plain.published_state_dict(), embeddings, subject.classes)
    rounding = (
        f"largest difference between features of the merged and the adapted model: {difference:.1g} of their size"
    )
    return ExportedFile(content, f"{subject.title}, merged", (*_notes(subject, header), rounding))


def write_new_file(output: Path, content: bytes) -> bool:
    """Write a file that is not there yet; False if it is there with the same content.

    Raises UsageError if it is there with another content, and StoreError if it cannot be written.
    """
    if create(output, content):
        return True
    try:
        if output.is_file() and output.stat().st_size == len(content) and output.read_bytes() == content:
            return False
    except OSError as error:
        raise StoreError(f"{output}: cannot be read: {error.strerror}") from error
    raise UsageError(f"{output} is there already, and is not replaced; give another name, or remove it")


def _header_and_state(place: Path, subject: Subject) -> tuple[dict[str, Any], State]:
    if isinstance(subject.method, Merged):
        raise UsageError(f"{place}: merged already; share the file as it is")
    if subject.trial is None:
        raise UsageError(
            f"{place}: of an earlier version of petl-bench, and says too little to stand alone; name the trial's folder"
        )
    stored: dict[str, Any] = {}
    state: State = {"tensors": {}, "extra": {}}
    if subject.adapter is not None:
        stored, tensors = load_adapter(subject.adapter)
        state = {"tensors": tensors, "extra": stored["extra_state"]}
    trial, task = subject.trial, subject.method.task
    header = {
        "method": trial.method,
        "hyper_parameters": dict(trial.hyper_parameters),
        "backbone": trial.backbone,
        "weights_sha256": trial.weights_sha256,
        "train_classes": list(task.classes),
        "task": {"kind": task.kind, "support_clips": task.support_clips},
        **{name: value for name, value in stored.items() if name not in _OF_FILE},
        "trial": trial.key,
    }
    if stored.get("trial") != trial.key or "use" not in stored:
        header["use"] = _use_of(subject, trial)
    return {**header, **_record_of(place, subject, trial)}, state


def _use_of(subject: Subject, trial: Trial) -> dict[str, Any]:
    """How the trial's evaluation reads clips and class names, if its adapter does not say it or is another one's."""
    evaluations = tuple(Evaluation(name, classes, ()) for name, classes in subject.evaluations.items())
    config = subject.backbone.model_config
    spec = clips_for(config, subject.backbone, subject.options, seed=subject.seed, decoder=subject.decoder)
    return described_use(trial, subject.prompts, Task((), (), evaluations, ""), spec)


def _record_of(place: Path, subject: Subject, trial: Trial) -> dict[str, Any]:
    """What the record beside an adapter says; nothing for a file that stands alone: its header may say it already."""
    folder = place if place.is_dir() else place.parent
    if folder.name != trial.key or not (folder / RECORD).is_file():
        return {}
    return {"record": claimed(folder, read_record(folder), trial, subject.adapter_sha256)}


def _notes(subject: Subject, header: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if subject.trial is not None and subject.trial.start_from:
        notes.append(f"its adapter is that of trial {subject.trial.start_from[:8]}, which it starts from")
    if subject.trial is not None:
        notes += [
            f"the file holds the path of a file here, which is part of the trial's key: {option}={text}"
            for option, text in paths_in(subject.trial.stored())
        ]
    if "record" not in header:
        notes.append("the file does not say what the trial scored, for its record is not beside it")
    return (*subject.notes, *notes)
