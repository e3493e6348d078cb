"""`runs list`: which trials there are, how big, and what this version would do anew."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api import trial as trial_module
from petl_bench.api.registry import DATASETS, METHODS
from petl_bench.cli.run import command as run
from petl_bench.costs import PROTOCOL_VERSION
from petl_bench.errors import StoreError, UsageError
from petl_bench.managing.outdated import whats_outdated
from petl_bench.managing.selection import Chosen, select
from petl_bench.managing.trials import known_trials, short_keys
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.training import CHECKPOINT_FORMAT
from tests.managing.conftest import Folder, call
from tests.reports.synthetic_records import make_result, make_trial


def names(folder: Folder, **wanted: Any) -> list[str]:
    known = known_trials(folder.runs)
    labels = {job.trial.key: name for name, job in folder.jobs.items()}
    return [labels[trial.key] for trial in select(known, Chosen(**wanted), folder.runs)]


def test_every_trial_has_a_line_with_its_state_and_its_size(folder: Folder) -> None:
    folder.finish("waiting 0")
    folder.fail("other 0")
    listed = json.loads(folder.call("list", "--format", "json").stdout)
    by_key = {trial["key"]: trial for trial in listed["trials"]}
    assert len(by_key) == 4
    done = by_key[folder.at("waiting 0").name]
    assert (done["state"], done["method"], done["setting"], done["seed"]) == ("done", "waiting", "toy_setting", 0)
    assert done["bytes"] == sum(path.stat().st_size for path in folder.at("waiting 0").rglob("*") if path.is_file())
    assert done["predictions_bytes"] == (folder.at("waiting 0") / "predictions-all.npz").stat().st_size
    failed = by_key[folder.at("other 0").name]
    assert (failed["state"], failed["detail"], failed["checkpoint_bytes"]) == ("failed", "non-finite loss", 1000)
    assert failed["finished"], "when its last attempt ended"
    lines = folder.call("list").stdout.splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[-1].startswith(f"{folder.runs}: 4 trials (1 done, ")
    assert "1 failed" in lines[-1] and "2 missing" in lines[-1]


def test_links_are_not_followed_into_sizes(folder: Folder, tmp_path: Path) -> None:
    (path,) = folder.finish("waiting 0")
    before = known_trials(folder.runs)[0].sizes.total
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big").write_bytes(b"0" * 10_000)
    (path / "link").symlink_to(tmp_path / "elsewhere")
    (path / "file").symlink_to(tmp_path / "elsewhere" / "big")
    assert known_trials(folder.runs)[0].sizes.total == before
    (folder.runs / "replaced").symlink_to(tmp_path / "elsewhere")
    assert "moved aside" not in folder.call("list").stdout
    (folder.runs / "replaced").unlink()
    (folder.runs / "replaced").mkdir()
    (folder.runs / "replaced" / "old").write_bytes(b"0" * 5000)
    assert "moved aside: 5.0 kB" in folder.call("list").stdout


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"methods": ("other",)}, ["other 0", "other 1"]),
        ({"states": ("failed", "done")}, ["waiting 0", "other 0"]),
        ({"seeds": (1,), "datasets": ("toys",)}, ["waiting 1", "other 1"]),
        ({"settings": ("toy_setting",), "states": ("missing",)}, ["waiting 1", "other 1"]),
        ({"values": ("waiting.steps=1",)}, ["waiting 0", "waiting 1"]),
        ({"values": ("training.learning_rate=5e-1",)}, ["other 0", "other 1"]),
        ({"trials": ("waiting toys split 1 seed 1",)}, ["waiting 1"]),
    ],
)
def test_filters_have_the_names_of_run_also_for_what_never_ran(
    folder: Folder, wanted: dict[str, Any], expected: list[str]
) -> None:
    folder.finish("waiting 0")
    folder.fail("other 0")
    assert sorted(names(folder, **wanted)) == sorted(expected)


def test_a_mistake_in_a_filter_is_answered_with_near_names(folder: Folder) -> None:
    folder.finish("waiting 0")
    for arguments, says in (
        (["--methods", "waitin"], "did you mean waiting?"),
        (["--state", "faild"], "did you mean failed?"),
        (["--set", "waiting.step=1"], "did you mean steps?"),
        (["--set", "waitin.steps=1"], "did you mean waiting?"),
        (["--format", "jsn"], "did you mean json?"),
        (["--seeds", "7"], "no trial here has this seed"),
        (["--seeds", "a"], "expected whole numbers"),
    ):
        with pytest.raises(UsageError, match=says):
            folder.call("list", *arguments)


def test_a_plan_of_before_still_tells_methods(folder: Folder) -> None:
    for path in (folder.runs / "plans").glob("*.json"):
        values = json.loads(path.read_text())
        del values["groups"]
        path.write_text(json.dumps(values))
    assert names(folder, methods=("other",), seeds=(1,)) == ["other 1"]


def test_csv_cells_are_no_formulas(folder: Folder) -> None:
    path = folder.fail("other 0")
    attempt = path / "attempts" / "0001.json"
    attempt.write_text(attempt.read_text().replace("non-finite loss", "=cmd|'/c calc'!A1"))
    rows = list(csv.DictReader(io.StringIO(folder.call("list", "--format", "csv").stdout)))
    (row,) = [row for row in rows if row["state"] == "failed"]
    assert row["detail"] == "'=cmd|'/c calc'!A1"
    assert row["seed"] == "0"


def test_run_takes_the_name_that_the_other_commands_have_for_the_folder() -> None:
    for flag in ("--output", "--runs"):
        context = run.make_context("run", ["--methods", "lora", flag, "here"])
        assert context.params["output"] == "here"


def test_short_keys_are_as_long_as_it_takes() -> None:
    shorts = short_keys(["a" * 64, "a" * 10 + "b" * 54, "c" * 64])
    assert shorts == {"a" * 64: "a" * 11, "a" * 10 + "b" * 54: "a" * 10 + "b", "c" * 64: "c" * 8}


@pytest.mark.parametrize("name", ["nothing", "trials"])
def test_what_is_no_folder_of_runs_is_refused(folder: Folder, name: str) -> None:
    with pytest.raises(StoreError, match="folder of runs"):
        call("runs", "list", "--runs", folder.runs / name)


# What another version made


def anew(folder: Folder, name: str) -> str:
    why = whats_outdated()
    (trial,) = [trial for trial in known_trials(folder.runs) if trial.key == folder.at(name).name]
    return why(trial)


def test_what_a_plan_would_find_done_is_not_outdated(folder: Folder) -> None:
    folder.finish("waiting 0", "other 1")
    assert [anew(folder, name) for name in folder.jobs] == [""] * 4


def test_another_version_of_engine_or_plugin_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.finish("waiting 0", "other 0")
    monkeypatch.setattr(METHODS.get("waiting"), "version", 2, raising=False)
    monkeypatch.setattr("petl_bench.api.plugins.identity._loaded", {})
    assert "waiting was version 1" in anew(folder, "waiting 0")
    assert anew(folder, "other 0") == ""
    monkeypatch.setattr("petl_bench.analysis.commands.ENGINE_VERSION", trial_module.ENGINE_VERSION + 1)
    assert "its engine version is" in anew(folder, "waiting 0")
    assert "its engine version is" in anew(folder, "other 0")
    text = folder.call("list", "--outdated").stdout
    assert "a run would do it anew: its engine version is" in text
    assert "2 that a run would do anew" in text


def test_a_plugin_that_is_missing_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.finish("other 0")
    monkeypatch.delitem(METHODS._registered, "other")
    assert "the method other is not installed" in anew(folder, "other 0")


def test_trials_of_folders_with_names_and_adaptations_are_not_outdated(transfer: Folder, tmp_path: Path) -> None:
    assert {anew(transfer, name) for name in transfer.jobs} == {""}, "an adaptation too, which no command names"
    for named in ("kitchen", "street"):
        trial = make_trial("lora", dataset=named, seed=0)
        trial = replace(trial, dataset_plugin="folder", dataset_options=DATASETS.get("folder")().values())
        folder = trial_folder(tmp_path, trial.key)
        folder.mkdir(parents=True)
        write_record(folder, trial, make_result(50.0, 50.0, trainable=1))
    known, why = known_trials(tmp_path), whats_outdated()
    assert all("not installed" not in why(trial) for trial in known)
    later = DATASETS.get("folder")().all_values().keys() - DATASETS.get("folder")().values().keys()
    assert "layout" in later
    (chosen,) = select(known, Chosen(values=("kitchen.layout=auto",)), tmp_path)
    assert chosen.fields["dataset"] == "kitchen"


def test_a_measurement_of_another_protocol_is_told(tmp_path: Path) -> None:
    for protocol in (PROTOCOL_VERSION, PROTOCOL_VERSION + 1):
        trial = make_trial("lora", setting="cost", dataset="", setting_options={"protocol": protocol}, seed=0)
        folder = trial_folder(tmp_path, trial.key)
        folder.mkdir(parents=True)
        write_record(folder, trial, make_result(50.0, 50.0, trainable=1))
    why = whats_outdated()
    told = {trial.fields["setting_options"]["protocol"]: why(trial) for trial in known_trials(tmp_path)}
    assert "cost protocol" not in told[PROTOCOL_VERSION]
    assert f"version {PROTOCOL_VERSION + 1} of the cost protocol" in told[PROTOCOL_VERSION + 1]


def test_a_checkpoint_of_another_format_is_told_without_torch(folder: Folder) -> None:
    path = folder.fail("waiting 0", "interrupted") / "checkpoint.pt"
    for written, told in ((CHECKPOINT_FORMAT, ""), (CHECKPOINT_FORMAT - 1, f"of format {CHECKPOINT_FORMAT - 1}")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint/data.pkl", pickle.dumps({"format": written, "epoch": {}}, protocol=2))
        assert (told in anew(folder, "waiting 0")) if told else anew(folder, "waiting 0") == ""
    path.write_bytes(b"anything")
    assert "in no known format" in anew(folder, "waiting 0")


def test_the_format_is_found_in_a_real_checkpoint(folder: Folder) -> None:
    from petl_bench.training.checkpoint import save_checkpoint

    path = folder.fail("waiting 0", "interrupted") / "checkpoint.pt"
    save_checkpoint(path, {"epoch": {"number": 1}})
    assert anew(folder, "waiting 0") == ""


def test_a_damaged_trial_is_told_with_what_to_do(folder: Folder) -> None:
    (path,) = folder.finish("waiting 0")
    (path / "predictions-all.npz").unlink()
    assert "move its folder aside" in anew(folder, "waiting 0")
