"""1,000 short clips are labelled at the speed of evaluation, and the start-up of a prediction.

To reach: labelling takes at most 1.2 times what the loop of a trial's evaluation takes for the same clips, in turns in
one process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from petl_bench.api.dataset import Sample
from petl_bench.api.setting import Evaluation
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.inference.predictions import Labeller, question
from petl_bench.inference.subject import Subject, frozen_backbone
from petl_bench.inference.videos import videos_of
from petl_bench.system.cache import cache_folder
from petl_bench.training.evaluate import score
from petl_bench.training.video import encode

CLIPS, FEW, WORKERS = 1000, 10, 2
CLASSES = ("growing", "falling", "shrinking", "swinging")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the clips of `motion`."""
    from petl_bench.api.registry import DATASETS

    root = DATASETS.get("motion").called("motion").root(None)
    sources = sorted(root.glob("*/test_*.mp4"))
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        shutil.copy(sources[number % len(sources)], folder / f"{number:04d}.mp4")
    return folder


@pytest.fixture(scope="module")
def subject() -> Subject:
    return frozen_backbone("viclip-tiny", None)


def test_label_1000_clips(benchmark: Any, clips: Path, subject: Subject) -> None:
    labeller = Labeller(subject, question(subject, CLASSES, None), "cpu")
    videos = videos_of([clips], cache_folder())

    def labelled() -> int:
        return sum(len(outcomes) for outcomes in labeller.outcomes(videos, WORKERS))

    evaluations: list[float] = []

    def evaluated() -> None:
        started = time.perf_counter()
        _evaluate(labeller, videos.paths)
        evaluations.append(time.perf_counter() - started)

    labelled()  # what is loaded once
    assert benchmark.pedantic(labelled, setup=evaluated, rounds=3) == CLIPS
    benchmark.extra_info["evaluation s"] = min(evaluations)
    print(f"\nevaluation {min(evaluations):.2f} s, prediction {benchmark.stats.stats.min:.2f} s")


def _evaluate(labeller: Labeller, paths: dict[str, Path]) -> None:
    """The loop of a trial's evaluation."""
    model, options = labeller.model, labeller.model.subject.options
    samples = tuple(Sample(name, 0) for name in paths)
    how: dict[str, Any] = {"precision": options.precision, "device": torch.device("cpu")}
    with ClipLoader(paths, model.spec, workers=WORKERS) as loader:
        batches = loader.test_batches(samples, options.eval_batch_size)
        encoded = encode(model.model, batches, to_input=loader.to_input, batch_size=options.eval_batch_size, **how)
        evaluation = Evaluation("all", CLASSES, samples)
        subject = model.subject
        for _ in score(model.model, evaluation, encoded, method=subject.method, prompts=subject.prompts, **how):
            pass


def test_start_up_with_10_clips(benchmark: Any, clips: Path, tmp_path: Path) -> None:
    """A whole command in a process of its own."""
    few = tmp_path / "few"
    few.mkdir()
    for clip in sorted(clips.iterdir())[:FEW]:
        shutil.copy(clip, few)
    runs = tmp_path / "runs"
    program = [sys.executable, "-m", "petl_bench"]
    trial = ["run", "--setting", "few_shot", "--shots", "2", "--methods", "zero_shot", "--seeds", "0"]
    subprocess.run([*program, *trial, "--output", runs], check=True, capture_output=True)
    predict = [*program, "predict", "--adapter", "zero_shot", "--runs", str(runs), "--videos", str(few)]
    benchmark.pedantic(subprocess.run, args=(predict,), kwargs={"check": True, "capture_output": True}, rounds=3)
