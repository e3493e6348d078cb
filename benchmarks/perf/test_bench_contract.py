"""What the contract of methods costs: steps and scores beside the same written out, and text that depends on the clip.

    OMP_NUM_THREADS=1 python -m pytest benchmarks/perf/test_bench_contract.py --benchmark-only -s

ViCLIP-tiny with random weights, batches of 8, fp32, 26 classes if nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import petl_bench as pb
from benchmarks.perf.interleaved import measure
from petl_bench.api.registry import METHODS, load_plugin_file
from petl_bench.api.training_options import TrainingOptions
from petl_bench.costs.recording import trial_of
from petl_bench.costs.subject import Item, MeasuredMethod, Passes, Workload
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.training.step import Learner, make_optimizer
from petl_bench.training.text import ClassTexts, TextFeatures
from tests.costs.conftest import GUESTS

CPU, BATCH = torch.device("cpu"), 8
_VALUES: dict[str, Any] = {"learning_rate": 0.0, "batch_size": BATCH}
OPTIONS = TrainingOptions(**_VALUES)


def subject_of(method: pb.Method, classes: int = 26) -> MeasuredMethod:
    trial = trial_of(
        method, "1", setting_version="1", references={}, backbone="viclip-tiny", weights="random", weights_sha256="",
        device="CPU", threads=1, precision="fp32", batch=BATCH, classes=classes, merged=False,
    )  # fmt: skip
    subject = MeasuredMethod(Item(method, "1"), trial, Workload("viclip-tiny", None, CPU, classes))
    subject.build()
    return subject


def often(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["zero_shot", "lora"])
def test_inference(benchmark: Any, name: str) -> None:
    """Videos to probabilities: by a step and the method's scores, and written out."""
    subject = subject_of(pb.create_method(name))
    model, passes = subject.model, Passes(subject, BATCH, "fp32")
    frames = torch.randn(BATCH, 8, 3, model.config.image_size, model.config.image_size)
    text = torch.randn(26, model.config.embed_dim)

    @torch.no_grad()
    def written_out() -> None:
        features = functional.normalize(model.encode_video(frames).float(), dim=-1)
        (model.logit_scale.float() * features @ text.T).softmax(dim=-1)

    variants = {"written out": written_out, "the same again": written_out, "scores": passes.infer}
    measure(benchmark, {key: partial(often, call, 40) for key, call in variants.items()}, rounds=9)


@pytest.mark.timeout(900)
def test_train_step(benchmark: Any) -> None:
    """One optimiser step of lora: by the learner, and written out."""
    model = pb.create_model("viclip-tiny", weights=None).train()
    method = pb.create_method("lora")
    method.attach(model)
    tokens = pb.tokenize([f"a video of class number {index}." for index in range(26)], context_length=32)
    frames = torch.randn(BATCH, 8, 3, model.config.image_size, model.config.image_size)
    labels = torch.arange(BATCH)
    learner = Learner(
        model=model, method=method, options=OPTIONS, texts=ClassTexts(tokens), descriptions={}, device=CPU,
        encode=lambda model, frames, mask: model.video_output(frames),
    )  # fmt: skip
    batch = ClipBatch(frames, labels, [str(index) for index in range(BATCH)], list(range(BATCH)), BATCH)
    text, optimizer = TextFeatures(model, tokens), make_optimizer(model, OPTIONS)

    def written_out() -> None:
        features = functional.normalize(model.encode_video(frames).float(), dim=-1)
        logits = model.logit_scale.float() * features @ functional.normalize(text().float(), dim=-1).T
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    variants: dict[str, Callable[[], object]]
    variants = {"written out": written_out, "the same again": written_out, "learner": partial(learner.step, batch)}
    measure(benchmark, {key: partial(often, call, 12) for key, call in variants.items()}, rounds=9)


@pytest.mark.timeout(900)
def test_text_per_video(benchmark: Any, tmp_path: Path) -> None:
    """Inference of 8 videos: a prompt that depends on the clip beside lora, and the FLOPs of one video."""
    (tmp_path / "guests.py").write_text(GUESTS)
    load_plugin_file(tmp_path / "guests.py")
    methods = {"lora": pb.create_method("lora"), "prompt per video": METHODS.get("prompt_per_video")()}
    passes = {}
    for classes in (10, 100, 400):
        for name, method in methods.items():
            subject, title = subject_of(method, classes), f"{name}, {classes} classes"
            passes[title] = partial(often, Passes(subject, BATCH, "fp32").infer, 20 if name == "lora" else 1)
            benchmark.extra_info[f"{title}: GFLOPs"] = 2 * (subject.sizes.video.macs or 0) / 1e9
    print(benchmark.extra_info, end="")
    measure(benchmark, passes, rounds=3)
