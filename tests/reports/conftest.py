"""Synthetic records, written through the same function as real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_records import TRAINABLE, WEIGHTS_SHA256, exact, make_evaluation, make_result, make_trial, result_of

from petl_bench.analysis import commands as trial_command
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record

CREATED = "2026-01-02T03:04:05+00:00"
Store = Callable[..., Any]
VIEWS = {"motion": (1, 1), "hmdb51": (10, 3), "ucf101": (5, 3)}


@pytest.fixture(autouse=True)
def _weights_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights that ship with viclip-tiny are those of the records, so that commands can make these again."""
    monkeypatch.setattr(trial_command, "sha256_of_file", lambda path: WEIGHTS_SHA256)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write one record and return its path; takes the keywords of `make_trial` and of `make_evaluation`."""

    def write(
        base: float,
        novel: float,
        method: str = "msta",
        seed: int = 0,
        *,
        runs: Path = tmp_path / "runs",
        marks: Sequence[str] = (),
        trainable: int | None = None,
        missing: Sequence[str] = (),
        unreadable: Sequence[str] = (),
        **values: Any,
    ) -> Path:
        trial = make_trial(method, seed, **values)
        trainable = TRAINABLE.get(method, 1000) if trainable is None else trainable
        result = make_result(base, novel, trainable=trainable, marks=marks, missing=missing, unreadable=unreadable)
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        return write_record(folder, trial, result, created=CREATED)

    return write


@pytest.fixture
def keep(tmp_path: Path) -> Store:
    """Write one record of any setting and return the trial's key; takes metrics and the keywords of `make_trial`."""

    def write(
        metrics: dict[str, float],
        method: str = "msta",
        seed: int = 0,
        *,
        runs: Path = tmp_path / "runs",
        marks: Sequence[str] = (),
        trainable: int | None = None,
        train_used: int = 32,
        unreadable: Sequence[str] = (),
        **values: Any,
    ) -> str:
        trial = make_trial(method, seed, **values)
        evaluation = make_evaluation(next(iter(metrics.values())), unreadable=unreadable)
        result = result_of(
            metrics,
            {"test": evaluation},
            trainable=TRAINABLE.get(method, 1000) if trainable is None else trainable,
            marks=marks,
            train_used=0 if trial.start_from else train_used,
            train_expected=0 if trial.start_from else 32,
        )
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        write_record(folder, trial, result, created=CREATED)
        return trial.key

    return write


@pytest.fixture
def exact_store(store: Store) -> Store:
    """As `store`, with accuracies that follow from the predictions, as `report` and `compare` insist."""

    def write(base: float, novel: float, *names: Any, **values: Any) -> Path:
        left_out = len(values.get("unreadable", ())) + len(values.get("missing", ()))
        return store(exact(base, left_out), exact(novel), *names, **values)

    return write


@pytest.fixture
def exact_keep(keep: Store) -> Store:
    """As `keep`, with a first metric that follows from the predictions, as `report` and `compare` insist."""

    def write(metrics: dict[str, float], *names: Any, **values: Any) -> str:
        name, accuracy = next(iter(metrics.items()))
        return keep({**metrics, name: exact(accuracy, len(values.get("unreadable", ())))}, *names, **values)

    return write


@pytest.fixture
def few_shot(keep: Store) -> Store:
    """Write one few-shot record, with the views of its data set."""

    def write(top1: float, method: str = "msta", seed: int = 0, *, dataset: str = "motion", **values: Any) -> str:
        training = {"epochs": 50, "views": VIEWS[dataset][0], "crops": VIEWS[dataset][1], **values.pop("training", {})}
        given = {"setting": "few_shot", "setting_options": {"draws": "auto"}, "dataset": dataset, "shots": 2, **values}
        return keep({"top1": top1, "top5": 100.0}, method, seed, training=training, **given)

    return write


@pytest.fixture
def transfer(keep: Store) -> Store:
    """Write the record of a target, and before it that of the adaptation that it starts from."""
    adapted: dict[tuple[Any, ...], str] = {}

    def write(
        top1: float,
        method: str = "msta",
        seed: int = 0,
        *,
        source: str = "k400",
        source_values: dict[str, Any] | None = None,
        adaptation: bool = True,
        **values: Any,
    ) -> str:
        shared = {
            "setting": "zero_shot_transfer",
            "setting_options": {"source": source},
            "shots": None,
            **{name: values[name] for name in ("hyper_parameters", "training", "runs") if name in values},
        }
        given = {"dataset": "ucf101", "split": "1", "part": "target", **shared, **values}
        if method != "zero_shot":
            origin = {"dataset": source, "part": "source", "split": "1", **shared, **(source_values or {})}
            known = (method, seed, repr(sorted(origin.items(), key=str)))
            if adaptation and known not in adapted:
                adapted[known] = keep({"source_top1": 70.0}, method, seed, **origin)
            given |= {"start_from": adapted.get(known, "e" * 64), "source_sha256": "f" * 64, **values}
        return keep({"top1": top1, "top5": 100.0}, method, seed, **given)

    return write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def example(store: Store, runs: Path) -> Path:
    """Four methods, two data sets, three seeds; a cell, a seed and a clip are missing; msta stands twice."""
    ucf101 = {"dataset": "ucf101", "manifest_sha256": "c" * 64}
    for seed in range(3):
        store(40.0, 42.0, "zero_shot", seed, hyper_parameters={})
        store(80.0 + seed, 45.0 - seed, "lora", seed, hyper_parameters={"rank": 4})
        store(82.0 + seed, 45.1 - seed, "msta", seed)
        store(
            79.0 + seed, 47.0, "msta", seed, hyper_parameters={"bottleneck_dim": 32, "scale": 0.005}, trainable=108_642
        )
        store(70.0, 64.0, "zero_shot", seed, hyper_parameters={}, **ucf101)
        store(90.0 + seed / 3, 61.0, "lora", seed, hyper_parameters={"rank": 4}, **ucf101)
        store(90.1, 60.0, "full_finetune", seed, hyper_parameters={}, unreadable=["bad.mp4"], **ucf101)
    for seed in range(2):
        store(91.0, 66.0, "msta", seed, **ucf101)
    return runs


@pytest.fixture
def tradeoff_example(store: Store, runs: Path) -> Path:
    """Four methods on two data sets of Table 2, three seeds; full_finetune lacks a clip, and one row a data set."""
    for dataset, first in (("hmdb51", 50.0), ("ucf101", 70.0)):
        data = {"dataset": dataset, "manifest_sha256": dataset[0] * 64}
        for seed in range(3):
            bad = ["bad.mp4"] if dataset == "hmdb51" else []
            store(first, first, "zero_shot", seed, hyper_parameters={}, **data)
            store(first + 20, first + seed, "lora", seed, hyper_parameters={"rank": 4}, **data)
            store(first + 15, first + seed, "msta", seed, **data)
            store(first + 25, first, "full_finetune", seed, hyper_parameters={}, unreadable=bad, **data)
    store(60.0, 60.0, "lora", hyper_parameters={"rank": 8}, dataset="k400", manifest_sha256="k" * 64)
    return runs


@pytest.fixture
def few_shot_example(few_shot: Store, runs: Path) -> Path:
    """Three methods, two data sets with views of their own, four numbers of shots; a cell, a seed, a clip missing."""
    for shots in (2, 4, 8, 16):
        for seed in range(3):
            for dataset, first in (("hmdb51", 50.0), ("ucf101", 75.0)):
                few_shot(first, "zero_shot", seed, dataset=dataset, shots=shots, hyper_parameters={})
                few_shot(first + shots + seed, "lora", seed, dataset=dataset, shots=shots, hyper_parameters={"rank": 4})
                if (dataset, shots) != ("hmdb51", 16) and (dataset, shots, seed) != ("ucf101", 8, 2):
                    bad = ["bad.mp4"] if (dataset, shots) == ("hmdb51", 4) else []
                    few_shot(first + 1.5 * shots, "msta", seed, dataset=dataset, shots=shots, unreadable=bad)
    return runs


@pytest.fixture
def zero_shot_example(transfer: Store, runs: Path) -> Path:
    """Adapted on k400; three splits of two targets and one of a third; msta lacks a split, lora's source a clip."""
    lora = {"hyper_parameters": {"rank": 4}, "source_values": {"train_used": 31}}
    for seed in range(3):
        for split in (1, 2, 3):
            for dataset, first in (("hmdb51", 40.0), ("ucf101", 62.0)):
                target = {"dataset": dataset, "split": str(split)}
                transfer(first + split, "zero_shot", seed, hyper_parameters={}, **target)
                transfer(first + 10 + split + seed, "full_finetune", seed, hyper_parameters={}, **target)
                transfer(first + 12 + split, "lora", seed, **lora, **target)
                if (dataset, split) != ("ucf101", 3):
                    transfer(first + 15 + split / 2, "msta", seed, **target)
        transfer(70.0 + seed, "msta", seed, dataset="k600")
    return runs


@pytest.fixture
def fully_supervised_example(keep: Store, runs: Path) -> Path:
    """Two methods on k400 and one data set without published numbers, one seed."""
    values = {"setting": "fully_supervised", "shots": None}
    for dataset, views in (("k400", (4, 3)), ("ssv2", (2, 3))):
        training = {"epochs": 100, "batch_size": 256, "views": views[0], "crops": views[1]}
        given = {**values, "dataset": dataset, "training": training}
        keep({"top1": 80.25, "top5": 95.5}, "lora", hyper_parameters={"rank": 4}, **given)
        keep({"top1": 81.5, "top5": 95.25}, "msta", **given)
    return runs


@pytest.fixture
def ablation_example(store: Store, runs: Path) -> Path:
    """The rank of lora on two data sets, of which one value lacks one; lambda and the layers of msta on one."""
    ucf101 = {"dataset": "ucf101", "manifest_sha256": "c" * 64}
    for seed in range(2):
        for rank in (16, 4, 8):
            lora = {"hyper_parameters": {"rank": rank, "alpha": 16.0}, "trainable": 9_216 * rank}
            store(80.0 + rank / 4 + seed, 45.0 - rank / 2, "lora", seed, **lora)
            if rank != 16:
                store(90.0 + rank / 4 + seed, 60.0 - rank / 2, "lora", seed, **lora, **ucf101)
        for scale, first in ((0.01, 1), (0.005, 1), (0.005, 3)):
            hyper = {"bottleneck_dim": 16, "scale": scale, "first_layer": first, "last_layer": None}
            hyper |= {"consistency_weight": 1.0}
            store(82.0 + 100 * scale + seed, 50.0 - first, "msta", seed, hyper_parameters=hyper)
    return runs


@pytest.fixture
def frontier_example(store: Store, runs: Path) -> Path:
    """Learning rates of lora and msta; lora has a second rank, a point of it fewer seeds; zero_shot is dominated."""
    alpha, dim = {"alpha": 8.0}, {"bottleneck_dim": 24}  # no other example has them
    for seed in range(2):
        store(40.0, 42.0, "zero_shot", seed, hyper_parameters={}, training={"learning_rate": 2e-3})
        for rate, base, novel in ((1e-3, 75.0, 62.5), (2e-3, 87.5, 50.0), (1e-2, 87.5, 37.5)):
            store(base, novel, "lora", seed, hyper_parameters={"rank": 4, **alpha}, training={"learning_rate": rate})
        for rate, base, novel in ((6e-4, 75.0, 75.0), (8.85e-4, 87.5, 62.5)):
            store(base, novel, "msta", seed, hyper_parameters=dim, training={"learning_rate": rate})
    store(
        100.0,
        100.0,
        "lora",
        0,
        hyper_parameters={"rank": 8, **alpha},
        training={"learning_rate": 1e-3},
        trainable=70_000,
    )
    return runs


@pytest.fixture
def descriptions_example(store: Store, runs: Path) -> Path:
    """Msta with both kinds of descriptions, each alone, and none; two seeds."""
    for seed in range(2):
        for weight, kinds, novel in ((0.0, "both", 44.0), (1.0, "both", 47.5), (1.0, "spatial", 46.0)):
            hyper = {"bottleneck_dim": 16, "consistency_weight": weight, "description_kinds": kinds}
            store(82.0 + seed, novel, "msta", seed, hyper_parameters=hyper)
        hyper = {"bottleneck_dim": 16, "consistency_weight": 1.0, "description_kinds": "temporal"}
        store(81.0 + seed, 47.4, "msta", seed, hyper_parameters=hyper)
    return runs


@pytest.fixture
def reproduction_example(store: Store, few_shot: Store, runs: Path) -> Path:
    """Three methods of ViCLIP-B/16 on hmdb51, one of them in two configurations; one table has a single seed."""
    b16 = {"dataset": "hmdb51", "backbone": "viclip-b16", "weights": "ViCLIP-B_InternVid-FLT-10M.pth"}
    for seed in range(2):
        store(62.0 + seed, 48.5, "zero_shot", seed, hyper_parameters={}, **b16)
        store(75.0 + seed, 55.0, "lora", seed, hyper_parameters={"rank": 4}, **b16)
        store(77.0 + seed, 54.5, "lora", seed, hyper_parameters={"rank": 8}, **b16)
        store(77.0, 57.5 - seed, "msta", seed, hyper_parameters={"consistency_weight": 1.0}, **b16)
    few_shot(69.0, "msta", shots=16, hyper_parameters={"consistency_weight": 0.0}, **b16)
    return runs
