"""`pb.load_adapter`: a trained adapter for a notebook or a program of one's own. N videos, C classes, D channels."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from petl_bench.api.registry import load_plugin_file
from petl_bench.data.loading.clip_preparation import ClipRequest, prepare
from petl_bench.data.loading.transforms import to_input
from petl_bench.errors import DataError, PetlBenchError, UsageError
from petl_bench.inference.features import text_features, video_features
from petl_bench.inference.given_frames import GivenFrames, checked_frames
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import Subject
from petl_bench.system.texts import clean, shortened
from petl_bench.training.text import text_notes

_log = logging.getLogger("petl_bench")

#: A video file, a folder of numbered frames, or frames that are decoded: uint8 [T, H, W, 3], RGB.
Video = str | os.PathLike[str] | np.ndarray | Tensor
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
#: Classes that are shown of a model.
_SHOWN = 3
#: Errors for what cannot be a path: too long, with a NUL, or with an unknown user behind ~.
_NO_PATH = (OSError, ValueError, RuntimeError)


def load_adapter(
    place: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    plugin: str | os.PathLike[str] | None = None,
    revision: str | None = None,
) -> LoadedAdapter:
    """A trained adapter on its backbone, ready to use: clips and class names are read as in its trial's evaluation.

    Only safetensors are read, and nothing in the file is executed: its method must be installed, or be in a plugin
    file that you name.

    Args:
        place: The folder of a trial (`runs/trials/KEY`), an adapter file, or `hf:USER/NAME` on the Hugging Face hub.
        weights: Where the weights of its backbone are ("auto", a file, or `hf:REPO/FILE`), if they are not found; they
            must be those that it was trained on, by their sha256.
        device: "auto", "cpu", "cuda" or "cuda:N".
        plugin: A plugin file with its method or backbone, which is executed.
        revision: Of `hf:USER/NAME`, a branch, tag or commit.

    Raises:
        UsageError: There is nothing at `place`, or an option does not fit.
        StoreError: The file is no adapter, or damaged.
        WeightsError: The weights are not here, are others, or the adapter does not fit them.
        TrialError: The trial is not finished, or the code of its method changed.
        PluginError: Its method or backbone is not installed.
    """
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"device={device!r}: expected auto, cpu, cuda or cuda:N")
    if plugin is not None:
        load_plugin_file(Path(plugin))
    file, resolved = local_adapter(os.fspath(place), revision)
    try:
        model = LoadedAdapter(adapted(file, None if weights is None else os.fspath(weights)), device, resolved)
    except PetlBenchError as error:  # it may quote the file, which may hold what a terminal obeys
        raise type(error)(clean(str(error))) from error
    for note in model.subject.notes:
        _log.warning("%s", clean(note))
    return model


def local_adapter(place: str, revision: str | None) -> tuple[Path, str]:
    """The file or folder on this machine, and the resolved revision if it is on the hub ("" if not)."""
    if place.startswith("hf:"):
        from petl_bench.hub.download import adapter_file

        found: tuple[Path, str] = adapter_file(place, revision)
        return found
    if revision is not None:
        raise UsageError(f"revision={revision!r}: only adapters on the hub have one, hf:USER/NAME")
    with contextlib.suppress(*_NO_PATH):
        path = Path(place).expanduser()
        if path.is_file() or path.is_dir():
            return path.resolve(), ""
    raise UsageError(
        f"{shortened(place, 200)!r}: no such file or folder; expected the folder of a trial (runs/trials/ and its "
        "whole key), an adapter file, or hf:USER/NAME"
    )


class LoadedAdapter(AdaptedModel):
    """A trained adapter on its backbone, as `pb.load_adapter` gives it. All tensors that it gives are on the CPU.

    A video is a video file, a folder of numbered frames, or frames in memory, uint8 [T, H, W, 3], RGB: all frames of
    the video, from which those of the evaluation are taken, and resized. If the views of its evaluation are drawn at
    random, the draw depends on the trial's seed and on the path as it is given.

    Attributes:
        model: The `DualEncoder` with the method attached, in evaluation mode: to train on, or for code of your own.
        device: Where it computes.
        revision: The commit on the hub that it came from; "" if it came from a file.
    """

    def __init__(self, subject: Subject, device: str = "auto", revision: str = "") -> None:
        super().__init__(subject, device)
        self.revision = revision

    @property
    def classes(self) -> tuple[str, ...]:
        """What `predict` chooses from by itself: every class that its trial evaluated; none for one of retrieval."""
        return self.subject.classes

    @property
    def trained_on(self) -> dict[str, Any]:
        """What it was trained by and on. What a file of an earlier version does not say is None."""
        subject, trial = self.subject, self.subject.trial
        return {
            "trial": trial and trial.key,
            "method": trial.method if trial else subject.method.name,
            "hyper_parameters": dict(trial.hyper_parameters if trial else subject.method.values()),
            "backbone": type(subject.backbone).name,
            "weights": subject.weights.label,
            "weights_sha256": subject.weights.sha256,
            "setting": trial and trial.setting,
            "dataset": trial and trial.dataset,
            "split": trial and trial.split,
            "shots": trial and trial.shots,
            "seed": trial and trial.seed,
            "classes": list(subject.trained_classes),
            "revision": self.revision or None,
        }

    def preprocess(self, video: Video) -> Tensor:
        """The frames of a video as the model reads them: sampled, resized, cropped and normalised as in evaluation.

        Returns:
            float32 [T, 3, H, W]; with the V views of an evaluation that has several, [V, T, 3, H, W]. Frames that a
            short clip lacks at a fixed rate are zero.

        Raises:
            DataError: It cannot be read.
            UsageError: Frames in memory are not uint8 [T, H, W, 3].
        """
        source, (name,) = self._reading([video])
        prepared = prepare(source.spec, ClipRequest(name, Path(name), 0))
        views = to_input(torch.from_numpy(prepared.frames), self.spec.mean, self.spec.std)
        views[:, prepared.real :] = 0
        return views[0] if len(views) == 1 else views

    def predict(self, videos: Iterable[Video], classes: Sequence[str] | None = None, *, workers: int = 0) -> Tensor:
        """The probabilities of classes, as its trial's evaluation has them: the mean over views of the softmax.

        Args:
            videos: N of them.
            classes: C names, which are put into the trial's prompts; by default `classes`.
            workers: Processes that decode files; 0 decodes in this one.

        Returns:
            float32 [N, C].

        Raises:
            DataError: A video, which is named, cannot be read.
            UsageError: The method has no scores for a class, the text tower no words for its name, or there are no
                classes.
        """
        names = list(self.classes) if classes is None else _checked_classes(classes)
        if not names:
            raise UsageError("it was trained on captions, and has no classes of its own: name some, classes=[...]")
        source, order = self._reading(videos)
        found: dict[str, Tensor] = {}
        paths = _paths(order)
        for scored, unread in source.probabilities(paths, names, workers=source._workers(workers)):
            _refuse_unread(unread)
            found.update(zip(scored.clips, torch.from_numpy(scored.scores), strict=True))
        return torch.stack([found[name] for name in order])

    def encode_videos(self, videos: Iterable[Video], *, workers: int = 0) -> Tensor:
        """The features of videos. Their product with those of texts is the similarity that `petl-bench search` ranks
        by, and times `model.logit_scale` the logit, unless the method has scores of its own.

        Returns:
            float32 [N, D]: unit vectors; with several views the mean of their unit vectors, not normalised again.

        Raises:
            DataError: A video, which is named, cannot be read.
        """
        source, order = self._reading(videos)
        found: dict[str, Tensor] = {}
        for units, unread in video_features(source, _paths(order), source._workers(workers)):
            _refuse_unread(unread)
            found.update({name: unit.mean(dim=0) for name, unit in units.items()})
        return torch.stack([found[name] for name in order])

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """The features of texts, which are read as they are, without a prompt around them.

        Returns:
            float32 [M, D]: unit vectors.

        Raises:
            UsageError: The method scores trained classes alone, or its texts depend on the video.
        """
        checked = _checked_texts("texts", texts)
        for note in text_notes(self.model, checked):
            _log.warning("%s", note)
        return text_features(self, checked)

    def __repr__(self) -> str:
        """A few lines for people."""
        spec, options = self.spec, self.subject.options
        shown = [*self.classes[:_SHOWN], *(["..."] if len(self.classes) > _SHOWN else [])]
        views = spec.views * spec.crops
        rows = {
            "weights": f"{self.subject.weights.label}, sha256 {self.subject.weights.sha256[:12]}",
            "classes": f"{len(self.classes)}: {', '.join(shown)}" if shown else "none; trained on captions",
            "prompts": str(self.subject.prompts),
            "clips": f"{spec.num_frames} frames of {spec.size} x {spec.size} pixels, {views} view{'s' * (views > 1)}",
            "computes": f"on {self.device} in {options.precision}",
            **({"revision": self.revision} if self.revision else {}),
        }
        lines = [f"  {name:8}  {clean(shortened(text, 200))}" for name, text in rows.items()]
        return "\n".join([f"LoadedAdapter: {clean(self.subject.title)}", *lines])

    def _workers(self, asked: int) -> int:
        """Processes that decode: none if frames are in memory, which would be sent to each of them."""
        return 0 if isinstance(self.spec.read, GivenFrames) else asked

    def _reading(self, videos: Iterable[Video]) -> tuple[LoadedAdapter, list[str]]:
        """This model, which reads frames in memory too if some are given; and the name of each video, which is its
        path."""
        given = [] if isinstance(videos, str | os.PathLike) or not isinstance(videos, Iterable) else list(videos)
        if not given:
            raise UsageError('videos: expected a list of one or more, such as ["clip.mp4"]')
        frames: dict[Path, np.ndarray] = {}
        names = []
        for place, video in enumerate(given):
            if isinstance(video, np.ndarray | Tensor):
                names.append(f"frames/{place}")
                frames[Path(names[-1])] = checked_frames(video)
            elif isinstance(video, str | os.PathLike):
                names.append(_checked_path(os.fspath(video)))
            else:
                _refuse_other(video)
        if not frames:
            return self, names
        source = copy.copy(self)
        source.spec = replace(self.spec, read=GivenFrames(frames))
        return source, names


def _paths(names: Sequence[str]) -> dict[str, Path]:
    return {name: Path(name) for name in names}


def _checked_path(text: str) -> str:
    """A path as it is read. Raises DataError for a text that can be none."""
    with contextlib.suppress(*_NO_PATH):
        path = Path(text).expanduser()
        path.is_file()  # raises OSError if it is too long
        if "\0" not in text:
            return str(path)
    raise DataError(f"cannot read {shortened(clean(text), 200)!r}: no such file or folder")


def _refuse_other(video: Any) -> NoReturn:
    raise UsageError(
        f"{type(video).__name__}: expected a video file, a folder of frames, or frames in memory, uint8 [T, H, W, 3]"
    )


def _refuse_unread(unread: dict[str, str]) -> None:
    for name, reason in unread.items():
        raise DataError(f"cannot read {name}: {reason}")


def _checked_classes(classes: Sequence[str]) -> list[str]:
    """Names of classes. Raises UsageError for less than two, and for one that is there twice."""
    names = _checked_texts("classes", classes)
    if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
        raise UsageError(f"classes: {shortened(twice, 80)!r} twice; every class once")
    if len(names) < 2:
        raise UsageError(f"classes: only {shortened(names[0], 80)!r}; name two or more, for probabilities add up to 1")
    return names


def _checked_texts(what: str, texts: Sequence[str]) -> list[str]:
    """A list of texts. Raises UsageError for anything else, and for an empty one."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise UsageError(f'{what}: expected a list of texts, such as ["archery", "surfing"]')
    checked = list(texts)
    if not checked or not all(isinstance(text, str) and text.strip() for text in checked):
        raise UsageError(f"{what}: expected one text or more, none of them empty")
    return checked
