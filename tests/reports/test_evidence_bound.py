"""Evidence is bound to its record: a trial whose files are not those that were recorded is named, and not used."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic_records import make_evaluation, make_trial, result_of

import petl_bench as pb
from petl_bench.api.registry import TABLES
from petl_bench.cli.compare import command as compare
from petl_bench.cli.gather import gather
from petl_bench.cli.report import command as report
from petl_bench.cli.runs import command as runs_command
from petl_bench.errors import StoreError
from petl_bench.records.files import described
from petl_bench.records.layout import ADAPTER, trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.read import read_details, read_predictions, read_record
from petl_bench.records.write import write_record
from petl_bench.tables.compare_pair import Finding, findings

CLIPS, SEEDS = 40, 3
CHANCE = {"msta": (0.9, 0.6), "lora": (0.7, 0.5)}


def write_trial(runs: Path, method: str, seed: int, **values: Any) -> Path:
    """One base2novel record whose metrics are those of its predictions."""
    random = np.random.default_rng([seed, len(method)])
    evaluations = {}
    for name, chance in zip(("base", "novel"), CHANCE[method], strict=True):
        evaluation = make_evaluation(0.0, expected=CLIPS)
        right = random.random(CLIPS) < chance
        evaluation.classes = evaluation.classes[:2]
        evaluation.scores = np.where(np.eye(2, dtype=bool)[evaluation.labels] == right[:, None], 0.75, 0.25)
        evaluation.top1 = 100 * float(right.mean())
        evaluations[name] = evaluation
    metrics = {f"{name}_top1": each.top1 for name, each in evaluations.items()}
    metrics["harmonic_mean"] = pb.harmonic_mean(*metrics.values())
    trial = make_trial(method, seed, **values)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    result = result_of(metrics, evaluations, trainable=1000)
    result.train_list = "clip_0.mp4 0\n"
    (folder / ADAPTER).write_bytes(b"tensors")
    return write_record(folder, trial, result, created="2026-01-02T03:04:05+00:00").parent


@pytest.fixture
def whole(runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], Path]:
    """The folders of two methods under three seeds. Their predictions are not compressed: others fit to the byte."""
    monkeypatch.setattr(np, "savez_compressed", np.savez)
    return {(method, seed): write_trial(runs, method, seed) for method in CHANCE for seed in range(SEEDS)}


def _with_ranks_of_one(path: Path) -> None:
    with np.load(path) as arrays:
        values = dict(arrays)
    np.savez(path, **{**values, "ranks": np.ones_like(values["ranks"])})


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _replace(path: Path) -> None:
    path.write_bytes(b"something else")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _of_another_trial(path: Path) -> None:
    others = (each / path.name for each in path.parents[1].iterdir() if each != path.parent)
    shutil.copy(next(each for each in others if each.read_bytes() != path.read_bytes()), path)


def _of_the_other_evaluation(path: Path) -> None:
    other = {"predictions-base.npz": "predictions-novel.npz", "predictions-novel.npz": "predictions-base.npz"}
    shutil.copy(path.with_name(other[path.name]), path)


SAME_SIZE: list[Callable[[Path], None]] = [_with_ranks_of_one, _flip, _of_another_trial, _of_the_other_evaluation]
DAMAGES: list[Callable[[Path], None]] = [*SAME_SIZE, _replace, _cut, Path.unlink]


def _report(runs: Path, *more: str) -> Any:
    names = ["--table", "base2novel", "--format", "json", "--spread", "interval", "--no-published"]
    return CliRunner().invoke(report, ["--runs", str(runs), *names, *more], catch_exceptions=False)


def _rows(done: Any) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for group in json.loads(done.stdout)["groups"] for row in group["rows"]}


def _findings(runs: Path) -> list[Finding]:
    """What `compare` finds of msta against lora."""
    return findings([TABLES.get("base2novel")()], gather((runs,), statistics=True), "msta", "lora")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("evaluation", ["base", "novel"])
@pytest.mark.parametrize("method", list(CHANCE))
def test_damaged_predictions_are_noticed(
    whole: dict[tuple[str, int], Path], runs: Path, method: str, evaluation: str, damage: Callable[[Path], None]
) -> None:
    folder = whole[method, 1]
    path = folder / f"predictions-{evaluation}.npz"
    size = path.stat().st_size
    damage(path)
    assert not path.exists() or damage not in SAME_SIZE or path.stat().st_size == size
    others = [read_record(whole[method, seed])["metrics"] for seed in (0, 2)]

    done = _report(runs)
    assert done.stderr.count(f"left out: {path}") == 1
    cells_of = {label: row["cells"] for label, row in _rows(done).items()}
    row = _rows(done)[method]
    shown = [cell for cell in row["cells"] if cell.get("trials")]
    assert shown and all(folder.name not in cell["trials"] for cell in shown)
    base, novel = (float(np.mean([each[metric] for each in others])) for metric in ("base_top1", "novel_top1"))
    assert [cell["value"] for cell in shown] == pytest.approx([base, novel, pb.harmonic_mean(base, novel)])
    assert "partial-seeds" in json.dumps(row)

    done = CliRunner().invoke(compare, ["msta", "lora", "--runs", str(runs)], catch_exceptions=False)
    assert done.stderr.count(f"left out: {path}") == 1
    found = _findings(runs)
    assert len(found) == 3, "the tests of the other seeds stay"
    assert {each.difference.seeds for each in found} == {2}
    numbers = {row: [cell["value"] for cell in cells if cell.get("trials")] for row, cells in cells_of.items()}
    assert [each.a for each in found] == pytest.approx(numbers["msta"])
    assert [each.b for each in found] == pytest.approx(numbers["lora"])


def test_whole_trials_are_used_and_nothing_is_said(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    done = _report(runs)
    assert "left out" not in done.stderr
    assert {len(cell["trials"]) for row in _rows(done).values() for cell in row["cells"] if cell.get("trials")} == {3}
    assert [each.difference.seeds for each in _findings(runs)] == [3, 3, 3]


def test_what_a_damaged_trial_was_is_still_known(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    (whole["msta", 0] / "predictions-base.npz").unlink()
    (whole["lora", 1] / "record.json").write_bytes(b'{"schema": 1')
    _flip(whole["lora", 2] / "predictions-novel.npz")
    evidence = gather((runs,), statistics=True)
    assert evidence.damaged is not None and evidence.outcomes is not None
    known = evidence.damaged.drop_duplicates("trial")
    assert set(zip(known["method"], known["seed"], strict=True)) == {("msta", 0), ("lora", 1), ("lora", 2)}
    assert set(evidence.damaged["metric"]) == {"base_top1", "novel_top1", "harmonic_mean"}
    assert evidence.damaged["value"].isna().all()
    assert list(evidence.damaged.columns) == list(evidence.records.columns)
    assert len(evidence.left_out) == 3
    place = whole["lora", 2].name, "novel"
    assert evidence.outcomes.of(*place) is None
    assert evidence.outcomes.fault(*place) == "predictions-novel.npz: its content is not what was recorded"
    assert evidence.outcomes.fault(whole["msta", 0].name, "novel") == "predictions-base.npz: is gone"
    assert evidence.outcomes.fault(whole["msta", 1].name, "novel") == ""


@pytest.mark.parametrize("metric", ["base_top1", "harmonic_mean"])
def test_a_metric_that_was_edited_is_noticed(whole: dict[tuple[str, int], Path], runs: Path, metric: str) -> None:
    folder = whole["lora", 0]
    record = json.loads((folder / "record.json").read_text())
    record["metrics"][metric] += 2.5
    (folder / "record.json").write_text(json.dumps(record))
    done = _report(runs)
    assert f"left out: {folder / 'record.json'}: {metric} is recorded as" in done.stderr
    assert all(folder.name not in json.dumps(row) for row in _rows(done).values())


def test_an_evaluation_that_was_taken_out_is_noticed(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    folder = whole["lora", 0]
    record = json.loads((folder / "record.json").read_text())
    del record["coverage"]["novel"]
    (folder / "record.json").write_text(json.dumps(record))
    assert f"left out: {folder / 'record.json'}: its evaluations do not fit" in _report(runs).stderr


@pytest.mark.parametrize("damage", [_with_ranks_of_one, _of_the_other_evaluation, _replace, _cut, Path.unlink])
def test_records_without_hashes_are_read_and_their_figures_compared(
    whole: dict[tuple[str, int], Path], runs: Path, damage: Callable[[Path], None]
) -> None:
    for folder in whole.values():
        record = json.loads((folder / "record.json").read_text())
        del record["files"]
        (folder / "record.json").write_text(json.dumps(record))
    assert "left out" not in _report(runs).stderr
    path = whole["msta", 2] / "predictions-base.npz"
    damage(path)
    assert f"left out: {path}" in _report(runs).stderr
    done = CliRunner().invoke(runs_command, ["verify", "--runs", str(runs)], standalone_mode=False)
    assert done.return_value == 1
    assert "6 finished trials" in done.stdout and "5 sound, 1 damaged" in done.stdout


def _verify(runs: Path) -> Any:
    return CliRunner().invoke(runs_command, ["verify", "--runs", str(runs)], standalone_mode=False)


def test_verify_says_that_all_is_sound(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    (runs / "trials" / ("e" * 64) / "attempts").mkdir(parents=True)
    done = _verify(runs)
    assert (done.return_value, done.stdout) == (0, f"6 finished trials under {runs}: 6 sound, 0 damaged\n")


@pytest.mark.parametrize("damage", [_flip, _replace, Path.unlink])
@pytest.mark.parametrize("name", ["predictions-base.npz", "details.json", "trial.json", "train_list.txt", ADAPTER])
def test_verify_reads_every_file(
    whole: dict[tuple[str, int], Path], runs: Path, name: str, damage: Callable[[Path], None]
) -> None:
    path = whole["lora", 1] / name
    damage(path)
    done = _verify(runs)
    assert done.return_value == 1
    assert done.stdout.count("damaged: ") == 1
    assert f"damaged: {path}: " in done.stdout
    assert f"6 finished trials under {runs}: 5 sound, 1 damaged" in done.stdout
    assert f"mv {path.parent} {runs / 'replaced' / path.parent.name}-1" in done.stdout


def test_verify_works_ranks_out_of_scores(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    """Consistent hashes and figures do not help where scores say something else."""
    folder = whole["lora", 1]
    path = folder / "predictions-base.npz"
    with np.load(path) as arrays:
        values = dict(arrays)
    np.savez(path, **{**values, "scores": 1 - values["scores"]})
    record = json.loads((folder / "record.json").read_text())
    record["files"][path.name] = described(path.read_bytes())
    (folder / "record.json").write_text(json.dumps(record))
    assert "its ranks or predicted classes do not follow from its scores" in _verify(runs).stdout


def test_verify_says_which_metrics_it_cannot_work_out(runs: Path) -> None:
    write_trial(runs, "msta", 0, setting="of_some_plugin")
    write_trial(runs, "msta", 0, setting_version="99")
    done = _verify(runs)
    assert done.return_value == 0
    assert "1 trial: the setting of_some_plugin is not installed" in done.stdout
    assert "1 trial: the setting base2novel is of version 99 in the record" in done.stdout


def test_a_file_is_compared_when_it_is_read(whole: dict[tuple[str, int], Path]) -> None:
    folder = whole["lora", 1]
    assert read_predictions(folder, "base")["scores"].shape == (CLIPS, 2)
    assert read_details(folder, read_record(folder))["history"]
    for name in ("predictions-base.npz", "details.json"):
        _flip(folder / name)
    with pytest.raises(StoreError, match="its content is not what was recorded"):
        read_predictions(folder, "base")
    with pytest.raises(StoreError, match="its content is not what was recorded"):
        read_details(folder, read_record(folder))


def test_a_missing_adapter_costs_no_number(whole: dict[tuple[str, int], Path], runs: Path) -> None:
    (whole["lora", 1] / ADAPTER).unlink()
    assert "left out" not in _report(runs).stderr
    assert StoredOutcomes([runs]).problem(whole["lora", 1].name) is None


def test_equal_trials_give_equal_files(tmp_path: Path) -> None:
    folders = [write_trial(tmp_path / name, "msta", 0) for name in ("one", "two")]
    names = sorted(path.name for path in folders[0].iterdir())
    predictions = {"predictions-base.npz", "predictions-novel.npz"}
    assert {*names} == {ADAPTER, *predictions, "details.json", "record.json", "train_list.txt", "trial.json"}
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_record_names_every_file_beside_it(tmp_path: Path) -> None:
    folder = write_trial(tmp_path, "msta", 0)
    files = read_record(folder)["files"]
    assert files.keys() == {path.name for path in folder.iterdir()} - {"record.json"}
    for name, each in files.items():
        assert each["bytes"] == (folder / name).stat().st_size
        assert re.fullmatch("[0-9a-f]{64}", each["sha256"])
