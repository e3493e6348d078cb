"""Any adapter as a model of mteb, the Massive Text Embedding Benchmark: a row of its video tasks (extra `mteb`).

mteb itself is imported when an encoder is made.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.data.decoding.file_types import VIDEO_SUFFIXES
from petl_bench.errors import DataError, UsageError
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import Subject
from petl_bench.system.texts import clean, shortened
from petl_bench.training.device import autocast
from petl_bench.training.hooks import overrides
from petl_bench.training.text import encoded_in_parts, plain_texts

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

#: Videos of a data set that lie in temporary files at once.
_VIDEOS_AT_ONCE = 1024
#: The tasks of mteb without sound that are made from a data set.
_TASKS = {
    "activitynet_captions": ("ActivityNetCaptionsT2VRetrieval", "ActivityNetCaptionsV2TRetrieval"),
    "didemo": ("DiDeMoT2VRetrieval", "DiDeMoT2VRetrieval.v2", "DiDeMoV2TRetrieval", "DiDeMoV2TRetrieval.v2"),
    "hmdb51": ("HMDB51Classification", "HMDB51Clustering", "HMDB51ZeroShot"),
    "k400": ("Kinetics400V", "Kinetics400ZeroShot"),
    "k600": ("Kinetics600V", "Kinetics600VZeroShot"),
    "msrvtt": ("MSRVTTT2V", "MSRVTTV2T"),
    "msvd": ("MSVDT2VRetrieval", "MSVDV2TRetrieval"),
    "ssv2": ("SomethingSomethingV2Classification",),
    "ucf101": ("UCF101VideoClassification", "UCF101VideoClustering", "UCF101VideoZeroShotClassification"),
}
#: Letters of a reason in an error.
_LONGEST = 300

_log = logging.getLogger(__name__)


class MTEBEncoder:
    """An adapter as mteb's `EncoderProtocol` wants it: videos and texts to embeddings [N, D], compared by their cosine.

    Videos are sampled, resized, normalised and encoded as in the evaluation of the adapter's trial, by petl-bench's own
    decoders: mteb's data sets give their files. With several views the embedding is the mean of their unit vectors.
    Texts are encoded as they are; audio is ignored.

    Attributes:
        model: The model.
        mteb_model_meta: What mteb writes down of it: name, revision (the trial's key), sizes, what it was trained on.
    """

    def __init__(
        self, adapter: AdaptedModel | str | Path, *, weights: str | None = None, device: str = "auto", workers: int = 0
    ) -> None:
        """Load it.

        Args:
            adapter: A model, or the place of one: a trial's folder, an adapter file, a released checkpoint.
            weights: Where the backbone's weights are, if they are not found.
            device: auto, cpu or cuda.
            workers: Processes that decode; 0: this one.

        Raises:
            UsageError: mteb is not installed, or the method has no embeddings whose cosine is its score of free texts.
            PetlBenchError: It cannot be loaded.
        """
        self.model = adapter if isinstance(adapter, AdaptedModel) else AdaptedModel(_subject(adapter, weights), device)
        refuse_no_embeddings(self.model.subject.method)
        self.mteb_model_meta = described_model(self.model)
        self._workers = workers
        for note in self.model.notes:
            _log.warning("%s", note)

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **_: Any
    ) -> Tensor:
        """Embeddings float32 [N, D] of the videos or texts of a data set of mteb.

        Args:
            inputs: A loader over a data set with the column `video` or `text`; batches are those of the adapter's
                trial.
            task_metadata: Of the task, for messages.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used: a text is encoded in the same way as a query and as a document.

        Raises:
            UsageError: There is neither, or both at once.
            DataError: Videos cannot be read: every one must have an embedding.
        """
        task, columns = task_metadata.name, set(inputs.dataset.features)
        if {"video", "text"} <= columns:
            raise UsageError(f"{task}: it mixes videos and texts in one input, which this model does not encode")
        if "video" in columns:
            if "audio" in columns:
                _log.warning("%s: the audio is ignored, and only the frames are encoded", task)
            return self._videos(inputs.dataset, task)
        if "text" in columns:
            return self._texts(list(inputs.dataset["text"]))
        raise UsageError(f"{task}: no videos and no texts to encode, but {', '.join(sorted(columns))}")

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [N, M] of embeddings [N, D] and [M, D]."""
        first, second = _unit(embeddings1), _unit(embeddings2)
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines [N] of embeddings [N, D] and [N, D]."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)

    def _videos(self, dataset: Any, task: str) -> Tensor:
        from datasets import Video

        if isinstance(dataset.features["video"], Video):  # else the data set would decode each video with torchcodec
            dataset = dataset.cast_column("video", Video(decode=False))
        rows = (row["video"] for row in dataset.select_columns(["video"]))
        parts: list[Tensor] = []
        done = 0
        while part := list(islice(rows, _VIDEOS_AT_ONCE)):
            with tempfile.TemporaryDirectory(prefix="petl-bench-mteb-") as folder:
                files = {
                    f"video {row}": _file(video, task, Path(folder, str(row))) for row, video in enumerate(part, done)
                }
                parts.extend(self._encoded(files, task))
            done += len(part)
        return torch.cat(parts)

    @torch.no_grad()
    def _encoded(self, files: Mapping[str, Path], task: str) -> Iterator[Tensor]:
        model, precision = self.model.model, self.model.subject.options.precision
        for batch, unread in self.model.encoded(files, self._workers, in_order=True):
            for name, reason in unread.items():
                told = shortened(clean(reason), _LONGEST)
                raise DataError(f"{task}: {name} cannot be read ({told}), and mteb scores every one: no result")
            with autocast(self.model.device, precision):
                features = model.finish_video(batch.output)
            unit = functional.normalize(features.float(), dim=-1)
            yield unit.unflatten(0, (-1, batch.views)).mean(dim=1).cpu()

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> Tensor:
        model, device = self.model.model, self.model.device
        tokens = plain_texts(model, texts, device).tokens
        with autocast(device, self.model.subject.options.precision):
            features = encoded_in_parts(model, tokens)
        return features.float().cpu()


def refuse_no_embeddings(method: Method) -> None:
    """Raise UsageError if the cosine of a video's and a text's features is not what a method scores free texts by."""
    if method.novel != "text":
        reason = "it scores the classes it was trained on alone, and no free texts"
    elif method.text_varies == "video":
        reason = "its features of a text depend on the video"
    elif overrides(method, "scores"):
        reason = "its scores are not the cosine of two features"
    else:
        return
    raise UsageError(f"{method.name} is no encoder for mteb: {reason}")


def described_model(model: AdaptedModel) -> ModelMeta:
    """What mteb writes down of a model. Raises UsageError if mteb is not installed."""
    try:
        from mteb.models.model_meta import OPEN_LICENSES, ModelMeta, ScoringFunction
    except ImportError:
        raise UsageError("an encoder for mteb needs mteb: pip install 'petl-bench[mteb]'") from None
    subject, parameters = model.subject, list(model.model.parameters())
    published = {each.file: each.licence.lower() for each in subject.backbone.published}
    licence = published.get(subject.weights.label, "")
    trial = subject.trial
    return ModelMeta(
        loader=None,
        name=f"petl-bench/{_name(subject)}",
        revision=trial.key if trial else subject.adapter_sha256 or subject.weights.sha256,
        release_date=None,
        languages=["eng-Latn"],
        n_parameters=sum(each.numel() for each in parameters),
        n_embedding_parameters=model.model.text.token_embedding.weight.numel(),
        memory_usage_mb=sum(each.numel() * each.element_size() for each in parameters) / 2**20,
        max_tokens=model.model.config.context_length,
        embed_dim=model.model.config.embed_dim,
        license=licence if licence in OPEN_LICENSES else None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=_trained_on(subject),
        modalities=["video", "text"],
    )


def _subject(place: str | Path, weights: str | None) -> Subject:
    path = Path(place).expanduser()
    if not path.exists():
        raise UsageError(f"{place}: no such trial's folder or adapter file")
    return adapted(path.resolve(), weights)


def _name(subject: Subject) -> str:
    """As mteb takes it: METHOD-BACKBONE, without blanks and colons."""
    name = f"{subject.method.name.removeprefix('the ')}-{type(subject.backbone).name}"
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", name)


def _trained_on(subject: Subject) -> set[str] | None:
    """The tasks of mteb that are made from the data set of a trial; None if it is not known what was trained on."""
    trial = subject.trial
    if trial is None or trial.start_from:
        return None
    return set(_TASKS.get(trial.data_plugin, ())) if subject.adapter else set()


def _file(video: Any, task: str, free: Path) -> Path:
    """The file of a video of a data set: where it lies, or written as `free` with its suffix."""
    content, place = (video.get("bytes"), video.get("path")) if isinstance(video, Mapping) else (None, video)
    if isinstance(content, bytes):
        suffix = Path(str(place)).suffix.lower()
        file = free.with_suffix(suffix if suffix in VIDEO_SUFFIXES else ".mp4")
        file.write_bytes(content)
        return file
    if isinstance(place, str | Path) and Path(place).is_file():
        return Path(place)
    raise UsageError(
        f"{task}: its videos are neither files nor the content of files, but {type(video).__name__}; the column must "
        "be a datasets.Video"
    )


def _unit(embeddings: Any) -> Tensor:
    return functional.normalize(torch.as_tensor(embeddings).float(), dim=-1)
