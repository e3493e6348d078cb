from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.trial import Trial
from petl_bench.errors import StoreError
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.read import RecordReader, RecordWarning, read_predictions, read_record
from petl_bench.records.write import write_record
from petl_bench.system.files import write_atomically
from tests.reports.synthetic_records import CLASSES, make_evaluation, make_result, make_trial

Store = Any


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_record_is_read_back_as_it_was_written(store: Store) -> None:
    path = store(80.0, 45.0, seed=2)
    record = read_record(path)
    assert read_record(path.parent) == record
    assert Trial.from_json(record["trial"]) == make_trial(seed=2)
    assert record["metrics"]["base_top1"] == 80.0
    assert record["coverage"]["base"] == {
        "expected": 8,
        "found": 8,
        "unreadable": 0,
        "used": 8,
        "classes": len(CLASSES),
    }
    predictions = read_predictions(path.parent, "novel")
    assert predictions["scores"].shape == (8, len(CLASSES))
    assert predictions["scores"].dtype == "float32"
    assert predictions["clips"][0] == "clip_0.mp4"
    details = json.loads((path.parent / "details.json").read_text())
    assert details["history"][0]["loss"] == 0.5
    assert json.loads((path.parent / "trial.json").read_text()) == record["trial"]


def test_a_done_trial_is_not_recorded_again(store: Store, runs: Path) -> None:
    path = store(80.0, 45.0)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="already done"):
        write_record(path.parent, make_trial(), make_result(1.0, 1.0, trainable=1))
    assert path.read_bytes() == before


def test_what_is_not_finite_is_not_recorded(runs: Path) -> None:
    trial = make_trial()
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    result = make_result(80.0, 45.0, trainable=1)
    result.metrics["base_top1"] = float("nan")
    with pytest.raises(StoreError, match="base_top1"):
        write_record(folder, trial, result)
    assert not (folder / "record.json").exists()


def test_scores_that_do_not_fit_are_refused(runs: Path) -> None:
    trial = make_trial()
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    result = make_result(80.0, 45.0, trainable=1)
    result.evaluations["base"].clips.pop()
    with pytest.raises(StoreError, match="evaluation base"):
        write_record(folder, trial, result)
    assert not (folder / "record.json").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "record.json"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"record\.json: No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_load_records_has_a_row_per_trial_and_metric(example: Path) -> None:
    records = pb.load_records(example)
    wanted = (
        "trial method hyper_parameters backbone setting dataset split shots seed metric value weights marks coverage"
    )
    assert set(wanted.split()) <= set(records.columns)
    assert len(records) == 3 * 23
    assert records["trial"].nunique() == 23
    one = records[(records["method"] == "lora") & (records["dataset"] == "motion") & (records["metric"] == "base_top1")]
    assert sorted(one["value"]) == [80.0, 81.0, 82.0]
    assert json.loads(one["hyper_parameters"].iloc[0]) == {"rank": 4}
    assert records["shots"].dtype == "Int64"


def test_no_records_give_an_empty_frame_with_the_columns(runs: Path) -> None:
    runs.mkdir()
    records = pb.load_records(runs)
    assert records.empty
    assert {"trial", "metric", "value"} <= set(records.columns)


def test_a_missing_folder_is_an_error_that_says_how_to_make_one(runs: Path) -> None:
    with pytest.raises(StoreError, match="petl-bench run --output"):
        pb.load_records(runs)


def test_trials_that_are_not_done_are_no_problem(store: Store, runs: Path) -> None:
    store(80.0, 45.0)
    (runs / "trials" / ("f" * 64)).mkdir(parents=True)
    (runs / "trials" / "notes.txt").write_text("mine")
    reader = RecordReader(runs)
    assert len(reader.frame()) == 3
    assert reader.problems == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "schema None"),
        ({"status": "failed"}, "failed"),
        ({"key": "0" * 64}, "not to this folder"),
        ({"metrics": {"base_top1": "80"}}, "base_top1"),
        ({"metrics": {"base_top1": True}}, "base_top1"),
        ({"metrics": []}, "metrics"),
        ({"marks": {}}, "marks"),
        ({"coverage": {"base": 3}}, "coverage.base=3: expected a mapping"),
        ({"train_clips": {}}, "train_clips"),
        ({"trainable_params": 1.5}, "trainable_params"),
        ({"trial": {}}, "lacks"),
        ({"trial": {"x": 1}}, "lacks"),
        ({"metrics": {"base_top1": 100.5}}, "not a percentage"),
        ({"metrics": {"novel_top5": -1.0}}, "not a percentage"),
        ({"durations_s": {"total": -1.0}}, "durations_s.total=-1.0: must be at least 0"),
        ({"durations_s": {"total": "long"}}, "durations_s.total=long: expected a number"),
        ({"trainable_params": -1}, "trainable_params"),
        ({"train_clips": {"expected": 3, "used": 4}}, "4 of 3"),
        ({"coverage": {"base": {"expected": 8, "found": 8, "unreadable": 0, "used": 9}}}, "which cannot be"),
        (
            {"coverage": {"base": {"expected": 8, "found": 7, "unreadable": -1, "used": 7}}},
            "base.unreadable=-1",
        ),
        ({"files": {}}, "files lacks details.json"),
        ({"files": None}, "files=None: expected a mapping"),
        ({"files": {"../trial.json": {"sha256": "0" * 64, "bytes": 3}}}, "files has the name ../trial.json"),
        ({"files": {"details.json": {"sha256": "0" * 63, "bytes": 3}}}, "expected 64 hexadecimal digits"),
    ],
)
def test_a_foreign_record_is_named_and_left_out(store: Store, runs: Path, values: dict[str, Any], reason: str) -> None:
    store(80.0, 45.0, seed=1)
    path = store(70.0, 40.0, seed=2)
    _edit(path, **values)
    with pytest.warns(RecordWarning, match=path.parent.name) as warned:
        records = pb.load_records(runs)
    assert reason in str(warned[0].message)
    assert set(records["seed"]) == {1}
    with pytest.raises(StoreError, match=r"record\.json"):
        read_record(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("place", ["base_top1", "total", "learning_rate", "threads"])
def test_a_number_that_is_not_finite_counts_nowhere_in_a_record(
    store: Store, runs: Path, place: str, number: str
) -> None:
    store(80.0, 45.0, seed=1)
    path = store(70.0, 40.0, seed=2)
    text, count = re.subn(rf'("{place}": )[^,}}]+', rf"\g<1>{number}", path.read_text())
    assert count == 1
    path.write_text(text)
    reader = RecordReader(runs)
    assert set(reader.frame()["seed"]) == {1}
    assert [problem.path for problem in reader.problems] == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"1e999", b"[" * 100_000, b"{},{}"])
def test_a_damaged_record_is_named_and_left_out(store: Store, runs: Path, content: bytes) -> None:
    store(80.0, 45.0, seed=1)
    path = store(70.0, 40.0, seed=2)
    path.write_bytes(content)
    reader = RecordReader(runs)
    assert set(reader.frame()["seed"]) == {1}
    assert [problem.path for problem in reader.problems] == [path]


@given(cut=st.integers(0, 1_000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_record_cut_short_never_counts(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    runs = tmp_path_factory.mktemp("runs")
    trial = make_trial()
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    path = write_record(folder, trial, make_result(80.0, 45.0, trainable=1))
    path.write_bytes(path.read_bytes()[:cut])
    reader = RecordReader(runs)
    assert reader.frame().empty
    assert len(reader.problems) == 1


def test_a_changed_trial_is_found_when_its_record_is_verified(store: Store) -> None:
    path = store(80.0, 45.0)
    record = json.loads(path.read_text())
    record["trial"]["seed"] = 7
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match="changed after it was written"):
        read_record(path)


def test_a_record_of_an_earlier_version_without_later_fields_is_read(store: Store, runs: Path) -> None:
    path = store(80.0, 45.0)
    record = json.loads(path.read_text())
    for field in ("descriptions_sha256", "locations"):
        del record["trial"][field]
    path.write_text(json.dumps(record))
    assert pb.load_records(runs)["descriptions_sha256"].unique().tolist() == [""]


def test_a_copied_trial_folder_does_not_count_twice(store: Store, runs: Path) -> None:
    path = store(80.0, 45.0)
    shutil.copytree(path.parent, path.parent.with_name("copy"))
    reader = RecordReader(runs)
    assert reader.frame()["trial"].nunique() == 1
    assert "copied or renamed" in str(reader.problems[0])


def test_a_trial_in_two_folders_counts_once_if_its_numbers_are_equal(store: Store, tmp_path: Path) -> None:
    store(80.0, 45.0, runs=tmp_path / "first")
    store(80.0, 45.0, runs=tmp_path / "second")
    store(60.0, 45.0, seed=1, runs=tmp_path / "second")
    reader = RecordReader([tmp_path / "first", tmp_path / "second"])
    records = reader.frame()
    assert sorted(records[records["metric"] == "base_top1"]["value"]) == [60.0, 80.0]
    assert "already read" in str(reader.problems[0])
    assert len(list(RecordReader([tmp_path / "first", tmp_path / "second"]))) == 2


def test_a_trial_in_several_folders_with_different_numbers_counts_in_none(store: Store, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second", tmp_path / "third"]
    for runs, base in zip(folders, (80.0, 80.0, 70.0), strict=True):
        store(base, 45.0, runs=runs)
    store(60.0, 45.0, seed=1, runs=folders[1])
    reader = RecordReader(folders)
    records = reader.frame()
    assert set(records["seed"]) == {1}
    assert [problem.path.parents[2] for problem in reader.problems] == folders
    assert all("base_top1 80" in problem.reason and "base_top1 70" in problem.reason for problem in reader.problems)


def test_a_whole_copy_counts_though_another_one_is_damaged(store: Store, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    damaged, whole = (store(75.0, 50.0, runs=runs) for runs in folders)
    (damaged.parent / "predictions-base.npz").unlink()
    reader = RecordReader(folders)
    assert reader.frame()["trial"].nunique() == 1
    assert [problem.path for problem in reader.problems] == [damaged.parent / "predictions-base.npz"]
    assert StoredOutcomes(folders).problem(whole.parent.name) is None


def test_predictions_with_pickled_objects_are_refused(store: Store) -> None:
    import numpy as np

    folder = store(80.0, 45.0).parent
    np.savez(folder / "predictions-base.npz", clips=np.array([object()]), labels=[0], scores=[[0.0]], classes=["a"])
    with pytest.raises(StoreError, match="predictions-base"):
        read_predictions(folder, "base")


def test_clip_names_of_any_kind_survive(runs: Path) -> None:
    trial = make_trial()
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    result = make_result(80.0, 45.0, trainable=1)
    result.evaluations["base"] = make_evaluation(80.0, missing=["\udcff.mp4", "日本\n.mp4"])
    write_record(folder, trial, result)
    details = json.loads((folder / "details.json").read_text())
    assert details["evaluations"]["base"]["missing"] == ["\udcff.mp4", "日本\n.mp4"]


def test_reading_never_sees_half_a_record(runs: Path) -> None:
    """A writer process is killed again and again; every record that is there is whole."""
    script = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.reports.synthetic_records import CLASSES, make_trial, make_result\n"
        "from petl_bench.records.layout import trial_folder\n"
        "from petl_bench.records.write import write_record\n"
        "for seed in range(100000):\n"
        "    trial = make_trial(seed=seed)\n"
        "    folder = trial_folder(sys.argv[1], trial.key)\n"
        "    folder.mkdir(parents=True, exist_ok=True)\n"
        "    if not (folder / 'record.json').exists():\n"
        "        write_record(folder, trial, make_result(80.0, 45.0, trainable=1))\n"
    )
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", script, str(runs)])
        deadline = time.monotonic() + 60
        while not list(runs.glob("trials/*/record.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        writer.kill()
        writer.wait()
        reader = RecordReader(runs)
        assert len(reader.frame()) > 0
        assert reader.problems == []
        for path in runs.glob("trials/*/record.json"):
            read_record(path)
            assert read_predictions(path.parent, "base")["scores"].shape == (8, len(CLASSES))
