"""A tiny task for the training tests: coloured squares in real H.264 files, a folder data set, a random tiny
backbone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.setting import Case
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.lists.descriptions import described
from petl_bench.training import checkpoint

CLASSES = {
    "red square": (220, 30, 30),
    "green square": (30, 200, 40),
    "blue square": (40, 60, 220),
    "grey square": (120,) * 3,
}


class SmallBackbone(pb.Backbone):
    """A ViCLIP of two narrow layers, for tests."""

    #: As if it came with petl-bench: it is written twice, here and for other processes, and means the same trials.
    __module__ = "petl_bench.testing"

    config = pb.ViCLIPConfig(
        image_size=32,
        num_frames=4,
        embed_dim=32,
        vision_width=64,
        vision_layers=2,
        vision_heads=2,
        text_width=32,
        text_layers=2,
        text_heads=2,
    )


def write_video(path: Path, colour: tuple[int, ...], seed: int, frames: int = 6) -> None:
    """A noisy clip of one colour, 32 x 32 pixels."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            image = np.clip(np.array(colour) + rng.normal(0, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set: four classes, six training and three test clips of each."""
    root = tmp_path_factory.mktemp("squares")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, (name, colour) in enumerate(CLASSES.items()):
        for index in range(9):
            part = "train" if index < 6 else "test"
            clip = f"{name.replace(' ', '_')}/{part}_{index}.mp4"
            write_video(root / clip, colour, seed=100 * label + index)
            lists[part].append(f"{clip} {label}")
    for part, rows in lists.items():
        (root / f"{part}.txt").write_text("\n".join(rows) + "\n")
    (root / "labels.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    return root


@pytest.fixture
def small_backbone() -> type[pb.Backbone]:
    if "small" not in BACKBONES.names():
        pb.register_backbone("small")(SmallBackbone)
    return SmallBackbone


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(cache=tmp_path_factory.getbasetemp() / "clip-cache")


MakeTrial = Callable[..., Trial]


@pytest.fixture
def make_trial(squares: Path, small_backbone: type[pb.Backbone], places: Places) -> MakeTrial:
    """A trial on the squares: `make_trial("lora", {"rank": 2}, epochs=2)`; `dataset` changes fields of the data set."""

    def make(
        method: str, hyper: dict[str, Any] | None = None, dataset: dict[str, Any] | None = None, **training: Any
    ) -> Trial:
        options = {"path": os.fspath(squares), "base_classes": "red square,green square", **(dataset or {})}
        data = DATASETS.get("folder")(**options)
        manifest = build_manifest(data, data.root(None), places.cache)
        created = METHODS.get(method)(**(hyper or {}))
        task = SETTINGS.get("base2novel")().task(manifest.annotations, Case("1", 6, 0))
        descriptions = described(created, data, task, manifest.annotations)
        settings = {"epochs": 2, "batch_size": 4, "warmup_epochs": 0.0, "threads": 1, **training}
        return Trial(
            method=method,
            method_version="1",
            hyper_parameters=created.values(),
            setting="base2novel",
            setting_version="1",
            setting_options={},
            dataset="folder",
            dataset_version="1",
            dataset_options=data.values(),
            locations={"folder": data.locations(), method: created.locations()},
            manifest_sha256=manifest.sha256,
            split="1",
            shots=6,
            seed=0,
            backbone="small",
            weights="random",
            weights_sha256="random",
            training=TrainingOptions(**settings).values(),
            decoder="auto",
            descriptions_sha256="" if descriptions is None else descriptions.sha256,
        )

    return make


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> float:
    """The `checkpoint_seconds` that write a checkpoint after every step, however long it takes."""
    monkeypatch.setattr(checkpoint, "WRITING_PART", 1.0)
    return 0.0


@pytest.fixture
def small_plugin(small_backbone: type[pb.Backbone], tmp_path: Path) -> Callable[[str], Path]:
    """A plugin file for processes of their own: the small backbone, and whatever code is given."""

    def write(code: str = "") -> Path:
        plugin = tmp_path / "small_plugin.py"
        config = asdict(small_backbone.config)
        plugin.write_text(
            f"import petl_bench as pb\n\n@pb.register_backbone('small')\nclass SmallBackbone(pb.Backbone):\n"
            f"    __module__ = 'petl_bench.testing'\n    config = pb.ViCLIPConfig(**{config!r})\n\n{code}"
        )
        return plugin

    return write
