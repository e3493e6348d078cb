"""An adapter as a model of mteb: its numbers on made tasks are those of petl-bench on the same clips."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import petl_bench as pb
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.api.registry import METHODS
from petl_bench.api.step import MethodTask
from petl_bench.errors import DataError, UsageError
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.mteb_encoder import _TASKS, MTEBEncoder, _trained_on, described_model, refuse_no_embeddings
from petl_bench.inference.subject import frozen_backbone
from tests.commands import petl_bench

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification  # noqa: E402

ZERO_SHOT = "ZeroShotClassification"


def described(name: str, kind: str, category: str, score: str, modalities: list[str]) -> TaskMetadata:
    """What mteb must know of a task."""
    return TaskMetadata(
        name=name,
        description="clips of motion",
        reference="https://example.org",
        dataset={"path": "none", "revision": "none"},
        type=kind,
        category=category,
        main_score=score,
        modalities=modalities,
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
    )


class MotionRetrieval(AbsTaskRetrieval):
    """From text to video, with files as they lie."""

    metadata = described("MotionT2V", "Any2AnyRetrieval", "t2v", "recall_at_1", ["text", "video"])

    def __init__(self, clips: dict[str, Path], texts: list[str], owners: list[int]) -> None:
        super().__init__()
        self._given = clips, texts, owners

    def load_data(self, **_: Any) -> None:
        clips, texts, owners = self._given
        names = list(clips)
        corpus = {"id": names, "video": [str(each) for each in clips.values()], "modality": ["video"] * len(names)}
        numbers = [f"q{number}" for number in range(len(texts))]
        queries = {"id": numbers, "text": texts, "modality": ["text"] * len(texts)}
        split = RetrievalSplitData(
            corpus=datasets.Dataset.from_dict(corpus).cast_column("video", datasets.Video()),
            queries=datasets.Dataset.from_dict(queries),
            relevant_docs={number: {names[owner]: 1} for number, owner in zip(numbers, owners, strict=True)},
            top_ranked=None,
        )
        self.dataset, self.data_loaded = {"default": {"test": split}}, True


class MotionZeroShot(AbsTaskZeroShotClassification):
    """Clips in memory, and a prompt for each class."""

    metadata = described("MotionZeroShot", "VideoZeroshotClassification", "v2t", "accuracy", ["video", "text"])
    input_column_name = "video"

    def __init__(self, clips: list[Path], labels: list[int], prompts: list[str]) -> None:
        super().__init__()
        self._given = clips, labels, prompts

    def load_data(self, **_: Any) -> None:
        clips, labels, _prompts = self._given
        rows = {"video": [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips], "label": labels}
        features = datasets.Features(video=datasets.Video(), label=datasets.Value("int64"))
        self.dataset = {"test": datasets.Dataset.from_dict(rows, features=features)}
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return self._given[2]


def scores(model: Any, task: Any) -> dict[str, Any]:
    """What mteb finds."""
    found: dict[str, Any] = mteb.evaluate(model, task, cache=None, show_progress_bar=False).task_results[0].scores
    return found["test"][0]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trial of retrieval, one epoch of few clips, and the folder of its clips in the cache."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        runs = tmp_path_factory.mktemp("mteb") / "runs"
        asked = ("--setting", "retrieval", "--methods", "lora", "--seeds", "0", "--epochs", "1", "--workers", "1")
        done = petl_bench("run", *asked, "--output", runs)
        assert done.returncode == 0, done.stderr
        (folder,) = (runs / "trials").iterdir()
        yield folder


@pytest.fixture(scope="module")
def encoder(trial: Path) -> MTEBEncoder:
    return MTEBEncoder(trial, device="cpu")


@pytest.fixture(scope="module")
def clips(trial: Path) -> dict[str, Path]:
    """The test clips, by their names in the trial."""
    (root,) = Path(os.environ["PETL_BENCH_CACHE"]).glob("motion-*")
    with np.load(trial / "predictions-test.npz", allow_pickle=False) as stored:
        return {clip: next(root.glob(f"{clip}*")) for clip in stored["clips"].tolist()}


def test_retrieval_in_mteb_gives_the_numbers_of_the_trial(
    trial: Path, encoder: MTEBEncoder, clips: dict[str, Path]
) -> None:
    with np.load(trial / "predictions-test.npz", allow_pickle=False) as stored:
        texts, owners, similarities = stored["texts"].tolist(), stored["owners"].tolist(), stored["similarities"]
    records = pb.load_records(trial.parent.parent)
    wanted = {name: float(records[records["metric"] == f"t2v_{name}"]["value"].iloc[0]) for name in ("r1", "r5")}
    found = scores(encoder, MotionRetrieval(clips, texts, owners))
    assert {"r1": 100 * found["recall_at_1"], "r5": 100 * found["recall_at_5"]} == pytest.approx(wanted, abs=2e-3)
    dataset = datasets.Dataset.from_dict({"video": [str(each) for each in clips.values()]})
    videos, words = encoder._videos(dataset, "T"), encoder._texts(texts)
    scale = float(encoder.model.model.logit_scale.detach())
    np.testing.assert_allclose(scale * encoder.similarity(videos, words).numpy(), similarities, rtol=1e-4, atol=1e-4)
    pairs = encoder.similarity_pairwise(videos, words[: len(videos)])
    assert torch.allclose(pairs, encoder.similarity(videos, words)[:, : len(videos)].diagonal(), atol=1e-6)


def test_zero_shot_classification_in_mteb_gives_the_accuracy_of_the_model(
    encoder: MTEBEncoder, clips: dict[str, Path]
) -> None:
    classes = sorted({name.split("/")[0] for name in clips})
    labels = [classes.index(name.split("/")[0]) for name in clips]
    scored = [batch.scores for batch, _ in encoder.model.probabilities(clips, classes)]
    mine = np.concatenate(scored).argmax(axis=1)
    prompts = [encoder.model.subject.prompts.of(name)[0] for name in classes]
    found = scores(encoder, MotionZeroShot(list(clips.values()), labels, prompts))
    assert found["accuracy"] == pytest.approx(float((mine == labels).mean())) and len(classes) > 2


def test_what_mteb_writes_down_of_a_model(trial: Path, encoder: MTEBEncoder) -> None:
    meta = encoder.mteb_model_meta
    assert (meta.name, meta.revision) == ("petl-bench/lora-viclip-tiny", trial.name)
    assert (meta.embed_dim, meta.max_tokens, meta.modalities) == (128, 32, ["video", "text"])
    assert meta.n_parameters == sum(each.numel() for each in encoder.model.model.parameters())
    assert meta.training_datasets == set() and meta.license is None and meta.framework == ["PyTorch"]
    assert str(trial.parent) not in str(meta.to_dict())
    frozen = described_model(AdaptedModel(frozen_backbone("viclip-tiny", None), "cpu"))
    assert frozen.name == "petl-bench/frozen-backbone-viclip-tiny" and frozen.training_datasets is None


def test_the_tasks_that_are_made_from_what_was_trained_on_are_named(trial: Path, encoder: MTEBEncoder) -> None:
    subject = encoder.model.subject
    assert subject.trial is not None
    of_ucf101 = replace(subject, trial=replace(subject.trial, dataset="ucf101"))
    assert _trained_on(of_ucf101) == {f"UCF101Video{kind}" for kind in ("Classification", "Clustering", ZERO_SHOT)}
    assert _trained_on(replace(of_ucf101, adapter=None)) == set()  # nothing was trained
    assert _trained_on(replace(subject, trial=replace(subject.trial, start_from="0" * 64))) is None


@pytest.mark.filterwarnings("ignore:The task .* is currently in beta")
def test_mteb_has_the_tasks_that_are_named() -> None:
    for name in (each for names in _TASKS.values() for each in names):
        assert set(mteb.get_task(name).metadata.modalities) <= {"video", "text"}


@pytest.mark.parametrize(
    ("name", "hooks", "reason"),
    [
        ("linear_probe", {}, "the classes it was trained on alone"),
        ("cocoop", {}, "its features of a text depend on the video"),
        ("lora", {"scores": lambda self, step: step.logits}, "its scores are not the cosine"),
    ],
)
def test_methods_without_embeddings_are_refused(name: str, hooks: dict[str, Any], reason: str) -> None:
    method = type("Changed", (METHODS.get(name),), {"__module__": __name__, **hooks})()
    method.bind(MethodTask("classification", ("a", "b")))
    with pytest.raises(UsageError, match=f"{name} is no encoder for mteb: .*{reason}"):
        refuse_no_embeddings(method)


def loader(**columns: Any) -> Any:
    """A loader of mteb over such columns, which is asked for its data set alone."""
    return SimpleNamespace(dataset=datasets.Dataset.from_dict(columns))


def encoded(encoder: MTEBEncoder, **columns: Any) -> torch.Tensor:
    return encoder.encode(
        loader(**columns), task_metadata=MotionZeroShot.metadata, hf_split="test", hf_subset="default"
    )


def test_bad_inputs_are_one_line(encoder: MTEBEncoder, tmp_path: Path, clips: dict[str, Path]) -> None:
    (tmp_path / "page.mp4").write_text("<html></html>")
    good = str(next(iter(clips.values())))
    with pytest.raises(DataError, match=r"MotionZeroShot: video 1 cannot be read .*no result") as told:
        encoded(encoder, video=[good, str(tmp_path / "page.mp4")])
    assert str(tmp_path) not in str(told.value)
    with pytest.raises(UsageError, match="mixes videos and texts"):
        encoded(encoder, video=[good], text=["a"])
    with pytest.raises(UsageError, match="no videos and no texts to encode, but image"):
        encoded(encoder, image=["a"])
    with pytest.raises(UsageError, match=r"must be a datasets.Video"):
        encoded(encoder, video=[[[0.0]]])
    with pytest.raises(UsageError, match="no such trial's folder or adapter file"):
        MTEBEncoder(tmp_path / "nothing")


def test_audio_is_ignored_and_that_is_said(
    encoder: MTEBEncoder, clips: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    good = str(next(iter(clips.values())))
    with caplog.at_level(logging.WARNING):
        assert encoded(encoder, video=[good], audio=["a"]).shape == (1, 128)
    assert "MotionZeroShot: the audio is ignored" in caplog.text


def test_without_mteb_one_line_says_what_to_install(encoder: MTEBEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb.models.model_meta", None)
    with pytest.raises(UsageError, match=r"an encoder for mteb needs mteb: pip install 'petl-bench\[mteb\]'"):
        MTEBEncoder(encoder.model)


def test_no_other_module_imports_mteb() -> None:
    package = Path(pb.__file__).parent
    importing = [file.name for file in package.rglob("*.py") if re.search("(import|from) mteb", file.read_text())]
    assert importing == ["mteb_encoder.py"]
