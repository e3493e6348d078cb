"""Every method in every setting that it supports: a whole trial on tiny files, from clips to metrics.

Both sides come from the registries, so that a new method or setting is tried with all others at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import petl_bench as pb
from petl_bench.api.marks import method_marks
from petl_bench.api.method import trainable_in
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.setting import Case, Setting
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial, TrialResult
from petl_bench.api.values.fields import field_types
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.lists.descriptions import described
from petl_bench.errors import TrialStopped
from petl_bench.records.layout import ADAPTER
from petl_bench.testing.checks import Given
from petl_bench.testing.method_subject import MethodSubject, supported_configs
from petl_bench.training.run_trial import run_trial

PAIRS = [
    (method, setting)
    for method in METHODS.names()
    for setting in SETTINGS.names()
    if not (SETTINGS.get(setting).command or SETTINGS.get(setting).option_of_run)  # evaluations: tests/running
    if SETTINGS.get(setting).kind == "classification"  # retrieval needs captions: tests/settings/test_retrieval.py
    if METHODS.get(method).settings is None or setting in METHODS.get(method).settings
]
#: Class names of the two data sets, one to adapt on and one to evaluate; one class is in both.
CLASSES = {"matrix_source": ("running", "jumping", "swimming", "archery"), "matrix_target": ("archery", "typing")}
CLIPS = {"train": 3, "test": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of clips of four frames, 32 x 32 pixels, one colour per class."""
    root = tmp_path_factory.mktemp("matrix")
    rng = np.random.default_rng(0)
    for dataset, classes in CLASSES.items():
        for name in classes:
            colour = rng.integers(30, 220, 3)
            for part, count in CLIPS.items():
                for number in range(count):
                    write_video(root / dataset / part / name / f"{number}.mp4", colour, rng)
    return root


def write_video(path: Path, colour: np.ndarray, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(4):
            picture = np.clip(colour + rng.normal(0, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@dataclass
class World:
    """What a trial needs beside its method and setting."""

    root: Path
    places: Places
    output: Path

    def run(
        self, subject: MethodSubject, setting: Setting, dataset: str, case: Case, start: Trial | None = None
    ) -> tuple[Trial, TrialResult]:
        """One trial of one epoch; `start` is the trial whose adapter it only evaluates."""
        trial = self.trial(subject, setting, dataset, case, start)
        folder = self.output / trial.key
        folder.mkdir()
        adapter = self.output / start.key / ADAPTER if start else None
        return trial, run_trial(trial, self.places, folder, lambda progress: None, adapter=adapter)

    def trial(self, subject: MethodSubject, setting: Setting, dataset: str, case: Case, start: Trial | None) -> Trial:
        data = self.dataset(dataset)
        manifest = build_manifest(data, data.root(None), self.places.cache)
        method = subject.create()
        descriptions = described(method, data, setting.task(manifest.annotations, case), manifest.annotations)
        training = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0.0, "threads": 1}
        views = {"views": 2, "crops": 3} if setting.multi_view else {}
        return Trial(
            method=method.name,
            method_version="1",
            hyper_parameters=method.values(),
            setting=setting.name,
            setting_version="1",
            setting_options=setting.values(),
            dataset=dataset,
            dataset_version="1",
            dataset_options=data.values(),
            locations={dataset: data.locations(), method.name: method.locations()},
            manifest_sha256=manifest.sha256,
            split=case.split,
            shots=case.shots,
            seed=case.seed,
            part=case.part,
            backbone="matrix_small",
            weights="random",
            weights_sha256="random",
            training=TrainingOptions(**training, **views).values(),
            decoder="auto",
            descriptions_sha256="" if descriptions is None else descriptions.sha256,
            start_from=start.key if start else "",
        )

    def dataset(self, name: str) -> pb.Dataset:
        created: pb.Dataset = DATASETS.get(name)(path=str(self.root / name))
        return created


MakeWorld = Callable[[MethodSubject], World]


@pytest.fixture
def world(files: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeWorld:
    """Registers the two data sets, and a small backbone of a kind that the method supports."""

    def make(subject: MethodSubject) -> World:
        small = next(iter(supported_configs(subject).values())).with_(
            context_length=32, vocab_size=49408, token_ids=None
        )
        pb.register_backbone("matrix_small")(type("MatrixSmall", (pb.Backbone,), _here(config=small)))
        for name in CLASSES:
            pb.register_dataset(name)(type("MatrixData", (DATASETS.get("folder"),), _here()))
        return World(files, Places(cache=tmp_path_factory.getbasetemp() / "matrix-cache"), tmp_path)

    return make


def _here(**attributes: Any) -> dict[str, Any]:
    """Attributes of a class made here: what a test registers is forgotten after it, by its module."""
    return {"__module__": __name__, "__doc__": "Made for a test.", **attributes}


@pytest.mark.parametrize(("method", "name"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_every_method_runs_in_every_setting_that_it_supports(method: str, name: str, world: MakeWorld) -> None:
    subject = MethodSubject("method", METHODS.get(method), Given())
    here = world(subject)
    source = {"source": "matrix_source"} if "source" in field_types(SETTINGS.get(name)) else {}
    setting: Setting = SETTINGS.get(name)(**source)
    data = here.dataset("matrix_target")
    annotations = build_manifest(data, data.root(None), here.places.cache).annotations
    case = setting.cases(annotations, seeds=[0], splits=None, shots=None)[0]
    results = list(trials_of(here, subject, setting, case))

    metrics = {name: value for _, result in results for name, value in result.metrics.items()}
    trains, plugin = results[-1][1].trainable_params > 0, METHODS.get(method)
    adapts = trains or plugin.training_free
    missing = set() if adapts or setting.source_dataset is None else {"source_top1"}
    if any(result.absent for _, result in results):
        assert plugin.novel == "none"
        missing = {"novel_top1", "harmonic_mean"}
    assert set(metrics) == set(setting.metrics) - missing
    assert all(math.isfinite(value) and 0.0 <= value <= 100.0 for value in metrics.values())
    for trial, result in results:
        qualified = {"untuned-rate", "template-descriptions", "fewer-shots"}
        declared = method_marks(plugin, BACKBONES.get(trial.backbone).config)
        assert set(result.marks) - qualified == {"random-weights", *declared}
        assert all(len(e.clips) == e.expected > 0 for e in result.evaluations.values())
        assert (here.output / trial.key / ADAPTER).exists() is (adapts and not trial.start_from)
        assert len(result.history) == int(trains and not trial.start_from)


def trials_of(here: World, subject: MethodSubject, setting: Setting, case: Case) -> list[tuple[Trial, TrialResult]]:
    """The trial of a case, after the one whose adapter it starts from, as a plan orders them."""
    origin = setting.source_case(case)
    trains = trainable_in(subject.create(), BACKBONES.get("matrix_small").config) > 0
    if origin is None or not (trains or subject.plugin.training_free):
        return [here.run(subject, setting, "matrix_target", case)]
    assert setting.source_dataset is not None
    source = here.run(subject, setting, setting.source_dataset, origin)
    target = here.run(subject, setting, "matrix_target", case, start=source[0])
    assert any("1 of the 2 evaluated classes are among" in note for note in target[1].notes)
    return [source, target]


@pytest.mark.parametrize("name", ["linear_probe", "tip_adapter", "tip_adapter_f"])
def test_a_stop_changes_nothing_for_a_method_that_prepares(name: str, world: MakeWorld, tmp_path: Path) -> None:
    """Stopped while training clips are read, or in the last evaluation, and gone on with in a new attempt."""
    subject = MethodSubject("method", METHODS.get(name), Given())
    here = world(subject)
    setting = SETTINGS.get("fully_supervised")()
    trial = here.trial(subject, setting, "matrix_source", Case("1", None, 0), None)

    def attempt(folder: str, stop_at: int = 0) -> tuple[TrialResult, int]:
        """The result, and how often the trial asked whether it should stop."""
        asked = 0

        def stop() -> str:
            nonlocal asked
            asked += 1
            return "the test stops here" if asked == stop_at else ""

        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        return run_trial(trial, here.places, place, lambda progress: None, stop=stop), asked

    whole, asked = attempt("whole")
    for stop_at in (1, asked):
        with pytest.raises(TrialStopped):
            attempt(f"stopped {stop_at}", stop_at)
        result, _ = attempt(f"stopped {stop_at}")
        assert result.metrics == whole.metrics
        for evaluation in whole.evaluations:
            assert np.array_equal(result.evaluations[evaluation].scores, whole.evaluations[evaluation].scores)
        adapters = [(tmp_path / folder / ADAPTER).read_bytes() for folder in ("whole", f"stopped {stop_at}")]
        assert adapters[0] == adapters[1]
