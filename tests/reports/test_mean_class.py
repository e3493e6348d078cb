"""Mean-class accuracy: what it is, that records of before stay good, and the columns that show it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import make_trial, result_of
from tables import cell_of, headers_of, notes_of, table_of

import petl_bench as pb
from petl_bench.analysis.panels import Panel
from petl_bench.analysis.significance import interval
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import SETTINGS, TABLES
from petl_bench.api.table import Table
from petl_bench.api.trial import EvaluationResult
from petl_bench.records.judge import metrics_fault, same_metrics
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes, mean_class_top1
from petl_bench.records.read import read_record
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import write_record

#: Clips of each class, and how many of them are right: top-1 60 %, mean class (100 + 50 + 0) / 3 = 50 %.
UNEQUAL = ((6, 6), (6, 3), (3, 0))
EQUAL = ((5, 4), (5, 3), (5, 2))


def evaluation(classes: Sequence[tuple[int, int]], *, old: bool = False, without: int = 0) -> EvaluationResult:
    """One with these clips and right ones; `old`: as an earlier version left it; `without`: further classes."""
    labels = [label for label, (clips, _) in enumerate(classes) for _ in range(clips)]
    right = np.array([number < rights for clips, rights in classes for number in range(clips)])
    count = len(classes) + without
    scores = np.where(np.eye(count, dtype=bool)[labels] == right[:, None], 0.75, 0.25).astype(np.float32)
    ranks = np.where(right, 1, count)
    return EvaluationResult(
        classes=tuple(f"class {number}" for number in range(count)),
        clips=[f"clip_{number}.mp4" for number in range(len(labels))],
        labels=labels,
        scores=scores,
        top1=100 * float(right.mean()),
        top5=100.0,
        expected=len(labels),
        mean_class_top1=None if old else mean_class_top1(labels, ranks),
    )


def write(
    runs: Path, setting: str, found: EvaluationResult, seed: int = 0, *, recorded: bool = False, **values: Any
) -> Path:
    """The folder of a record of a setting with this in every evaluation."""
    names = {"base2novel": ("base", "novel"), "zero_shot_transfer": ("target",)}.get(setting, ("test",))
    metrics = SETTINGS.get(setting)().summarise(dict.fromkeys(names, found.accuracies))
    given = {"shots": 2 if setting == "few_shot" else None, **({"part": "target"} if "target" in names else {})}
    options = SETTINGS.get(setting)().values()
    trial = make_trial("lora", seed, setting=setting, setting_options=options, dataset="kitchen", **{**given, **values})
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    write_record(folder, trial, result_of(metrics, dict.fromkeys(names, found), trainable=1000))
    if found.mean_class_top1 is None and not recorded:
        _as_before(folder)
    return folder


def _as_before(folder: Path) -> None:
    """Take from a record what earlier versions did not write."""
    record = json.loads((folder / "record.json").read_text())
    del record["test_classes"]
    (folder / "record.json").write_text(json.dumps(record))


def with_outcomes(runs: Path, name: str) -> Table:
    table: Table = TABLES.get(name)().build(Evidence(pb.load_records(runs), outcomes=StoredOutcomes([runs])))
    return table


def test_classes_weigh_the_same_and_those_without_clips_nothing() -> None:
    assert mean_class_top1([0, 0, 0, 2], np.array([1, 1, 2, 1])) == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert evaluation(UNEQUAL).mean_class_top1 == pytest.approx(50.0)
    assert evaluation(UNEQUAL).top1 == pytest.approx(60.0)
    assert evaluation(EQUAL).mean_class_top1 == pytest.approx(evaluation(EQUAL).top1)


def test_every_setting_has_the_metric_beside_top_1(tmp_path: Path) -> None:
    found = {name: read_record(write(tmp_path / name, name, evaluation(UNEQUAL)))["metrics"] for name in SHOWN}
    assert found["few_shot"]["mean_class_top1"] == found["zero_shot_transfer"]["mean_class_top1"] == pytest.approx(50.0)
    halves = found["base2novel"]
    assert halves["base_mean_class_top1"] == halves["mean_class_harmonic_mean"] == pytest.approx(50.0)
    source = SETTINGS.get("zero_shot_transfer")().summarise({"source": evaluation(UNEQUAL).accuracies})
    assert source == {"source_top1": pytest.approx(60.0), "source_mean_class_top1": pytest.approx(50.0)}


SHOWN = {
    "base2novel": ("base2novel", ["Base, mean class", "Novel, mean class", "HM, mean class"]),
    "few_shot": ("few_shot", ["K=2, mean class"]),
    "fully_supervised": ("fully_supervised", ["Mean class"]),
    "zero_shot_transfer": ("zero_shot", ["Mean class"]),
}


@pytest.mark.parametrize("setting", SHOWN)
def test_a_column_if_the_test_classes_are_unequal(setting: str, tmp_path: Path) -> None:
    table, labels = SHOWN[setting]
    for seed in (0, 1):
        write(tmp_path / "equal", setting, evaluation(EQUAL), seed)
        write(tmp_path / "unequal", setting, evaluation(UNEQUAL), seed)
    assert not any("class" in label.casefold() for _, label in headers_of(table_of(tmp_path / "equal", table)))
    shown = with_outcomes(tmp_path / "unequal", table)
    assert [label for _, label in headers_of(shown) if "class" in label.casefold()] == labels
    assert "at least 1.5 times the clips of the smallest" in notes_of(shown)
    for label in labels:
        cell = cell_of(shown, "lora", "kitchen", label)
        assert (cell.value, cell.n, cell.rank) == (pytest.approx(50.0), 2, "")
        assert cell.interval is not None
        assert cell.interval[0] < 50.0 < cell.interval[1]


def test_classes_left_out_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "few_shot", evaluation(UNEQUAL, without=2))
    assert "Classes without scored clips are left out: kitchen, test: 2 of 5." in notes_of(
        table_of(tmp_path, "few_shot")
    )


def test_a_record_of_before_gets_it_from_its_predictions(tmp_path: Path) -> None:
    write(tmp_path, "few_shot", evaluation(UNEQUAL), 0)
    write(tmp_path, "few_shot", evaluation(UNEQUAL, old=True), 1)
    absent = cell_of(table_of(tmp_path, "few_shot"), "lora", "kitchen", "K=2, mean class")
    assert (absent.value, absent.origin) == (None, "absent")
    assert "older than this metric" in absent.source
    found = cell_of(with_outcomes(tmp_path, "few_shot"), "lora", "kitchen", "K=2, mean class")
    assert (found.value, found.n) == (pytest.approx(50.0), 2)


def test_equal_classes_need_no_metric_of_their_own(tmp_path: Path) -> None:
    half = {"top1": 60.0, "top5": 100.0}
    found = SETTINGS.get("base2novel")().summarise({"base": half, "novel": evaluation(UNEQUAL).accuracies})
    assert (found["base_mean_class_top1"], found["novel_mean_class_top1"]) == (60.0, pytest.approx(50.0))
    write(tmp_path, "few_shot", evaluation(UNEQUAL), 0)
    equal = evaluation(EQUAL)
    equal.mean_class_top1 = None
    folder = write(tmp_path, "few_shot", equal, 1, recorded=True)
    assert "mean_class_top1" not in read_record(folder)["metrics"]
    assert verify_trial(folder).problems == ()
    cell = cell_of(table_of(tmp_path, "few_shot"), "lora", "kitchen", "K=2, mean class")
    assert cell.value == pytest.approx((50.0 + 60.0) / 2), "the mean class of one, the top-1 of the other"


def test_records_of_before_are_whole_and_their_tables_what_they_were(tmp_path: Path) -> None:
    folder = write(tmp_path, "base2novel", evaluation(UNEQUAL, old=True))
    assert verify_trial(folder).problems == ()
    assert StoredOutcomes([tmp_path]).problems([folder.name]) == []
    assert not any("class" in label for _, label in headers_of(with_outcomes(tmp_path, "base2novel")))


def test_a_wrong_mean_class_accuracy_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path, "few_shot", evaluation(UNEQUAL))
    assert verify_trial(folder).problems == ()
    record = json.loads((folder / "record.json").read_text())
    record["metrics"]["mean_class_top1"] = 75.0
    (folder / "record.json").write_text(json.dumps(record))
    (problem,) = verify_trial(folder).problems
    assert "mean_class_top1 is recorded as 75, and the predictions give 50" in problem.reason
    record["metrics"]["mean_class_top1"] = 101.0
    (folder / "record.json").write_text(json.dumps(record))
    (problem,) = verify_trial(folder).problems
    assert "mean_class_top1 is 101.0, not a percentage" in problem.reason


def test_only_what_came_later_may_be_lacking(tmp_path: Path) -> None:
    found = evaluation(UNEQUAL)
    record = read_record(write(tmp_path, "few_shot", found))
    del record["metrics"]["top5"]
    assert (
        metrics_fault(record, {"test": found.accuracies}) == "top5 is recorded as nothing, and the predictions give 100"
    )
    assert same_metrics({"top1": 60.0, "mean_class_top1": 50.0}, {"top1": 60.0})
    assert not same_metrics({"top1": 60.0, "mean_class_top1": 50.0}, {"top1": 60.0, "mean_class_top1": 51.0})
    assert not same_metrics({"top1": 60.0, "top5": 50.0}, {"top1": 60.0})


@pytest.mark.parametrize("sizes", [(2, 3, 5, 8, 12, 40), (1, 1, 1, 5, 40, 80), (3, 30)])
@pytest.mark.parametrize("chance", [0.7, 0.95])
def test_the_interval_covers_the_mean_of_the_classes(sizes: tuple[int, ...], chance: float) -> None:
    random = np.random.default_rng(5)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    of_class = np.linspace(chance - 0.05, chance + 0.05, len(sizes))
    weights = 1 / len(sizes) / np.array(sizes)[labels]
    hits = 0
    for _ in range(200):
        right = random.random((1, 1, len(labels))) < of_class[labels]
        low, high = interval([[Panel(right, np.arange(len(labels)), weights)]])
        assert low <= 100 * float(right[0, 0] @ weights) <= high
        hits += low <= 100 * chance <= high
    assert hits >= 0.94 * 200


def test_one_clip_tells_nothing() -> None:
    panel = Panel(np.ones((1, 1, 2), dtype=bool), np.array([0, 0]), np.array([0.5, 0.5]))
    assert interval([[panel]]) == (0.0, 100.0)
