"""Commands on folders of runs: trials of tunings are called what they are, and the files of tunings come along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.launcher import Job
from petl_bench.managing.lookup import find_trial
from petl_bench.records.tunings import Applied, Proposal, Tuning, read_tunings, tuning_file, write_tuning
from tests.managing.conftest import Folder, call
from tests.running.test_damaged_records import finish


@pytest.fixture
def of_tuning(folder: Folder) -> Job:
    """A recorded trial on training clips alone."""
    job = folder.jobs["waiting 0"]
    trial = replace(job.trial, tuning="held-out/0")
    own = replace(job, trial=trial)
    finish(folder.runs, own)
    return own


def tuning_of(job: Job, **values: Any) -> Tuning:
    trial = job.trial
    rate = trial.training["learning_rate"]
    proposals = [
        Proposal(number=0, round=0, values={"training.learning_rate": rate}, trials=[trial.key], objective=50.0),
        Proposal(number=1, round=0, values={"training.learning_rate": 2 * rate}),
    ]
    fields: dict[str, Any] = {
        "method": trial.method,
        "method_version": trial.method_version,
        "setting": trial.setting,
        "setting_options": {},
        "datasets": [trial.dataset],
        "backbone": trial.backbone,
        "backbone_options": {},
        "weights_sha256": trial.weights_sha256,
        "objective": "held-out",
        "budget": 2,
        "splits": [],
        "shots": [],
        "seeds": [0],
        "draws": 1,
        "round_size": 4,
        "sampler": "made up",
        "seed": 0,
        "space": {"training.learning_rate": "0.01..1:log"},
        "proposals": proposals,
    }
    return Tuning(**{**fields, **values})


def ended(tuning: Tuning, job: Job) -> Tuning:
    """The same when its second proposal has ended."""
    first, second = tuning.proposals
    trial = job.trial
    applied = Applied(dataset=trial.dataset, hyper_parameters=trial.hyper_parameters, training=trial.training)
    return replace(tuning, proposals=[first, replace(second, fault="it failed")], chosen=0, applied=[applied])


def test_list_says_which_trials_are_of_tunings(folder: Folder, of_tuning: Job) -> None:
    """A column in JSON and CSV; for people the title, a sum, and a line for each tuning."""
    folder.finish("other 1")
    write_tuning(folder.runs, tuning_of(of_tuning))
    values = json.loads(folder.call("list", "--format", "json").stdout)["trials"]
    assert {each["key"]: each["tuning"] for each in values if each["state"] == "done"} == {
        of_tuning.trial.key: "held-out/0",
        folder.jobs["other 1"].trial.key: "",
    }
    text = folder.call("list").stdout
    assert "tuning held-out/0 seed 0" in text
    assert "of tunings, on training clips alone and in no table of results: 1 trial" in text
    assert "tuning of waiting in toy" in text
    assert "1 of 2 proposals" in text


def test_a_name_without_tuning_means_the_trial_on_test_clips(folder: Folder) -> None:
    """As it did before anything was tuned."""
    titles = {"a": "lora motion split 1 seed 0 (aaaa)", "b": "lora motion split 1 tuning held-out/0 seed 0 (bbbb)"}
    assert find_trial(titles, "lora seed 0", folder.runs) == "a"
    assert find_trial(titles, "lora tuning seed 0", folder.runs) == "b"
    assert find_trial({"b": titles["b"]}, "lora seed 0", folder.runs) == "b"


def test_the_file_stays_if_its_trials_are_deleted(folder: Folder, of_tuning: Job) -> None:
    """What was tried and chosen is still told; so is that the file stays."""
    write_tuning(folder.runs, ended(tuning_of(of_tuning), of_tuning))
    done = folder.call("delete", of_tuning.trial.key, "--yes")
    assert done.return_value == 0
    assert "1 trial of the tuning of waiting" in done.stderr
    assert "its file stays" in done.stderr
    assert [each.chosen for each in read_tunings(folder.runs)] == [0]
    assert folder.call("verify").return_value == 0


@pytest.mark.parametrize("packed", [False, True])
def test_tunings_come_along(folder: Folder, of_tuning: Job, tmp_path: Path, packed: bool) -> None:
    """By folder and by tar, byte for byte; a copy that goes on replaces one that does not, and not the other way."""
    into = tmp_path / "into"
    first = tuning_of(of_tuning)
    write_tuning(folder.runs, first)
    source = folder.runs
    if packed:
        source = tmp_path / "first.tar"
        assert folder.call("export", "--output", source).return_value == 0
    done = call("runs", "merge", source, "--into", into)
    assert (done.return_value, "1 tuning brought, 0 were there already" in done.stdout) == (0, True)
    assert tuning_file(into, first).read_bytes() == tuning_file(folder.runs, first).read_bytes()
    write_tuning(folder.runs, ended(first, of_tuning))
    assert "1 tuning brought" in call("runs", "merge", folder.runs, "--into", into).stdout
    assert [each.chosen for each in read_tunings(into)] == [0]
    write_tuning(folder.runs, first)
    assert "0 tunings brought, 1 were there already" in call("runs", "merge", folder.runs, "--into", into).stdout
    assert [each.chosen for each in read_tunings(into)] == [0]


def test_other_objectives_are_refused(folder: Folder, of_tuning: Job, tmp_path: Path) -> None:
    """One line, and nothing is changed."""
    into = tmp_path / "into"
    own = tuning_of(of_tuning)
    write_tuning(folder.runs, own)
    call("runs", "merge", folder.runs, "--into", into)
    first, second = own.proposals
    write_tuning(folder.runs, replace(own, proposals=[replace(first, objective=51.0), second]))
    done = call("runs", "merge", folder.runs, "--into", into)
    assert done.return_value == 1
    assert "the one here has other proposals or objectives; nothing was changed" in done.stderr
    assert [each.proposals[0].objective for each in read_tunings(into)] == [50.0]


def test_a_damaged_tuning_is_not_brought(folder: Folder, of_tuning: Job, tmp_path: Path) -> None:
    """A file of another name or content, and a link, are named; verify names the former too."""
    own = tuning_of(of_tuning)
    write_tuning(folder.runs, own)
    path = tuning_file(folder.runs, own)
    path.write_text(path.read_text().replace('"made up"', '"changed"'))
    (path.parent / f"{'0' * 16}.json").symlink_to(path)
    done = call("runs", "merge", folder.runs, "--into", tmp_path / "into")
    assert (done.return_value, "2 not brought" in done.stdout) == (1, True)
    assert "belongs to another name" in done.stderr
    assert "is a link" in done.stderr
    assert not list(read_tunings(tmp_path / "into"))
    checked = folder.call("verify")
    assert (checked.return_value, "2 tunings: 0 sound, 2 damaged" in checked.stdout) == (1, True)


def test_verify_compares_objectives_with_records(folder: Folder, of_tuning: Job) -> None:
    """The mean of the trials' metric; a trial that is on test clips is no trial of a tuning."""
    path = folder.runs / "trials" / of_tuning.trial.key / "record.json"
    record = json.loads(path.read_text())
    record["metrics"] = {"val_top1": 50.0}
    path.write_text(json.dumps(record))
    own = tuning_of(of_tuning)
    write_tuning(folder.runs, own)
    assert "1 tuning: 1 sound, 0 damaged" in folder.call("verify").stdout
    first, second = own.proposals
    write_tuning(folder.runs, replace(own, proposals=[replace(first, objective=70.0), second]))
    assert "proposal 0 has the objective 70, its trials give 50" in folder.call("verify").stdout
    folder.finish("other 1")
    final = replace(first, trials=[folder.jobs["other 1"].trial.key])
    write_tuning(folder.runs, replace(own, proposals=[final, second]))
    assert "which is no trial on training clips alone" in folder.call("verify").stdout


def test_move_takes_tunings_along(folder: Folder, of_tuning: Job, tmp_path: Path) -> None:
    """With everything else of the folder."""
    write_tuning(folder.runs, tuning_of(of_tuning))
    assert call("runs", "move", folder.runs, tmp_path / "moved").return_value in (0, None)
    assert len(list(read_tunings(tmp_path / "moved"))) == 1


def test_exported_tables_name_partition_and_tuning(folder: Folder, of_tuning: Job, tmp_path: Path) -> None:
    """As `load_records` does."""
    folder.finish("waiting 0")
    write_tuning(folder.runs, ended(tuning_of(of_tuning), folder.jobs["waiting 0"]))
    assert folder.call("export", "--output", tmp_path / "records.csv").return_value == 0
    header, *lines = (tmp_path / "records.csv").read_text().splitlines()
    assert {"tuning", "tuned_by"} <= set(header.split(","))
    assert sum("tuned-here" in line for line in lines) == 1
