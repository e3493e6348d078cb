"""`runs delete`: what would go, what never goes, and that nothing is left half."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing import deleting
from petl_bench.managing.status import survey
from petl_bench.managing.trials import known_trials
from petl_bench.records.judge import adapter_fault
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import let_go
from petl_bench.running.planning.plan import plan
from tests.managing.conftest import Folder, call, is_sound


def contents(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_without_yes_it_only_shows_what_would_go(folder: Folder) -> None:
    folder.finish("waiting 0", "other 0")
    before = contents(folder.runs)
    shown = folder.call("delete", "--methods", "waiting", "--state", "done")
    assert shown.return_value == 0
    assert "would go:" in shown.stdout and "nothing was deleted" in shown.stdout
    assert folder.at("waiting 0").name[:8] in shown.stdout and folder.at("other 0").name[:8] not in shown.stdout
    assert contents(folder.runs) == before


def test_what_was_chosen_goes_and_is_planned_no_more(folder: Folder) -> None:
    folder.finish("waiting 0", "other 0")
    folder.fail("waiting 1")
    done = folder.call("delete", "--methods", "waiting", "--yes")
    assert done.return_value == 0 and "deleted 2 trials" in done.stdout
    assert not folder.at("waiting 0").exists() and not folder.at("waiting 1").exists()
    found = survey(folder.runs)
    assert sorted(trial.state for trial in found.trials) == ["done", "missing"]
    assert is_sound(folder.at("other 0"))
    folder.call("delete", "--methods", "other", "--yes")
    assert survey(folder.runs).trials == [] and survey(folder.runs).commands == []
    assert not list(folder.runs.glob(".*"))


@pytest.mark.parametrize("arguments", [[], ["--yes"]])
def test_everything_is_never_meant(folder: Folder, arguments: list[str]) -> None:
    folder.finish("waiting 0")
    with pytest.raises(UsageError, match="say which trials"):
        folder.call("delete", *arguments)
    assert is_sound(folder.at("waiting 0"))


@pytest.mark.parametrize("flag", ["--methods", "--settings", "--datasets", "--seeds", "--state"])
def test_a_filter_that_names_nothing_is_refused(folder: Folder, flag: str) -> None:
    folder.finish("waiting 0")
    for nothing in ("", " , "):  # as a shell leaves it of a variable that is not set
        with pytest.raises(UsageError, match=f"{flag}: names nothing"):
            folder.call("delete", flag, nothing, "waiting toys split 1 seed 0", "--yes")
    assert is_sound(folder.at("waiting 0"))


def test_a_trial_is_named_by_its_key_or_its_title(folder: Folder) -> None:
    first, second = folder.finish("waiting 0", "other 1")
    folder.call("delete", first.name[:10], "other toys split 1 seed 1", "--yes")
    assert not first.exists() and not second.exists()


def test_a_running_trial_stays(folder: Folder) -> None:
    claim = folder.start("waiting 0")
    folder.fail("waiting 1")
    done = folder.call("delete", "--methods", "waiting", "--yes")
    assert done.return_value == 1
    assert "it runs" in done.stderr
    assert folder.at("waiting 0").exists() and not folder.at("waiting 1").exists()
    claim.end("done")


def test_one_that_was_taken_up_after_it_was_looked_at_stays(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.fail("waiting 0")
    found = deleting.deletion(folder.runs, *[_known(folder)] * 2, "trials")
    claim = folder.start("waiting 0")
    told: list[str] = []
    deleting.delete(found, lambda trial, why: told.append(why))
    assert "runs by now" in told[0] and folder.at("waiting 0").exists()
    claim.end("done")


def _known(folder: Folder) -> Any:
    return [trial for trial in known_trials(folder.runs) if trial.folder is not None]


def test_what_others_start_from_stays_unless_they_go_too(transfer: Folder) -> None:
    transfer.finish("waiting source 0", "waiting target 1 0")
    kept = transfer.call("delete", transfer.at("waiting source 0").name, "--yes")
    assert kept.return_value == 1
    assert "2 trials start from its adapter" in kept.stderr
    assert is_sound(transfer.at("waiting source 0"))
    both = transfer.call("delete", "--methods", "waiting", "--yes")
    assert both.return_value == 0
    assert list((transfer.runs / "trials").iterdir()) == []


def test_a_trial_that_stays_holds_the_one_it_starts_from(transfer: Folder) -> None:
    transfer.finish("waiting source 0")
    claim = transfer.start("waiting target 1 0")
    done = transfer.call("delete", "--methods", "waiting", "--yes")
    assert done.return_value == 1
    assert done.stderr.count("stays:") == 2
    assert is_sound(transfer.at("waiting source 0"))
    claim.end("done")


def test_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    (path,) = folder.finish("waiting 0")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (path / "link").symlink_to(outside)
    real = tmp_path / "real"
    folder.finish("other 0")
    folder.at("other 0").rename(real)
    folder.at("other 0").symlink_to(real)
    done = folder.call("delete", "--state", "done", "--yes")
    assert done.return_value == 1 and "a link" in done.stderr
    assert not path.exists()
    assert (outside / "precious").exists() and (real / "record.json").exists()


@pytest.mark.parametrize("what", [[], ["--checkpoints"]])
def test_a_forged_plan_leads_to_no_other_folder(folder: Folder, tmp_path: Path, what: list[str]) -> None:
    outside = tmp_path / ("a" * 64)
    outside.mkdir()
    (outside / "checkpoint.pt").write_text("kept")
    for path in (folder.runs / "plans").glob("*.json"):
        values = json.loads(path.read_text())
        values["trials"][f"../../{outside.name}"] = "waiting toys split 1 seed 0 (aaaaaaaa)"
        path.write_text(json.dumps(values))
    folder.fail("waiting 0")
    folder.call("delete", "--methods", "waiting", *what, "--yes")
    assert (outside / "checkpoint.pt").read_text() == "kept"
    assert not (folder.at("waiting 0") / "checkpoint.pt").exists()


def test_a_folder_whose_trials_lie_elsewhere_or_that_is_none_is_refused(folder: Folder, tmp_path: Path) -> None:
    folder.finish("waiting 0")
    other = tmp_path / "other"
    other.mkdir()
    (other / "trials").symlink_to(folder.runs / "trials")
    for runs, says in ((other, "a link"), (tmp_path / "data", "not a folder of runs")):
        with pytest.raises(StoreError, match=says):
            call("runs", "delete", "--state", "done", "--yes", "--runs", runs)
    assert is_sound(folder.at("waiting 0"))


def test_a_crash_leaves_nothing_half(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.finish("waiting 0", "other 0")
    with monkeypatch.context() as crash:
        crash.setattr(deleting, "remove", _crash)
        with pytest.raises(click.exceptions.Abort):
            folder.call("delete", "--state", "done", "--yes")
    assert not folder.at("waiting 0").exists()
    assert is_sound(folder.at("other 0"))
    (leftover,) = folder.runs.glob(".deleting-*")
    folder.call("delete", "--methods", "waiting", "--yes")
    assert leftover.exists(), "its process, this one, lives"
    leftover.rename(leftover.with_name(leftover.name.replace(f"-{os.getpid()}-", "-99999999-")))
    folder.call("delete", "--state", "done", "--yes")
    assert not list(folder.runs.glob(".deleting-*")) and not folder.at("other 0").exists()


def _crash(path: Path) -> None:
    raise KeyboardInterrupt


def test_a_checkpoint_goes_alone(folder: Folder) -> None:
    path = folder.fail("waiting 0", "interrupted")
    (path / ".checkpoint.pt.abc").write_bytes(b"half")
    shown = folder.call("delete", "--checkpoints", "--yes")
    assert "deleted 1 checkpoint: 1.0 kB" in shown.stdout
    assert {each.name for each in path.iterdir()} == {"attempts"}
    assert "starts anew" in survey(folder.runs).trials[0].detail


# Adapters


def test_an_adapter_that_went_on_purpose_is_not_damage(transfer: Folder) -> None:
    source, *_ = transfer.finish("waiting source 0", "waiting target 1 0", "waiting target 2 0")
    before = json.loads((source / "record.json").read_text())
    done = transfer.call("delete", "--adapters", "--yes")
    assert (done.return_value, "deleted 1 adapter" in done.stdout) == (0, True)
    assert not (source / "adapter.safetensors").exists()
    after = json.loads((source / "record.json").read_text())
    assert after["files"]["adapter.safetensors"] == {**before["files"]["adapter.safetensors"], "kept": False}
    del after["files"], before["files"]
    assert after == before
    assert verify_trial(source).problems == ()
    assert [(trial.state, trial.detail) for trial in survey(transfer.runs).trials] == [("done", "")] * 3
    assert len(plan(transfer.plan.spec).done) == 3
    assert "not kept" in transfer.call("list").stdout
    assert "deleted 0 adapters" in transfer.call("delete", "--adapters", "--yes").stdout


def test_an_adapter_that_is_still_to_be_used_stays(transfer: Folder) -> None:
    transfer.finish("waiting source 0", "waiting target 1 0")
    done = transfer.call("delete", "--adapters", "--yes")
    assert done.return_value == 1
    assert "they are not done" in done.stderr
    assert (transfer.at("waiting source 0") / "adapter.safetensors").exists()


def test_whoever_needs_an_adapter_that_went_has_it_trained_again(transfer: Folder) -> None:
    (source,) = transfer.finish("waiting source 0")
    let_go(source)
    again = plan(transfer.plan.spec)
    assert again.standing.to_adapt.keys() == {source.name}
    assert "was not kept, to save space" in again.standing.to_adapt[source.name]
    assert [job.trial.part for job in again.to_do] == ["source", "target", "target"]


def test_a_crash_between_record_and_removal_leaves_a_sound_trial(transfer: Folder) -> None:
    (source,) = transfer.finish("waiting source 0")
    content = (source / "adapter.safetensors").read_bytes()
    let_go(source)
    (source / "adapter.safetensors").write_bytes(content)
    assert verify_trial(source).problems == () and adapter_fault(source) == ""
    assert let_go(source) == len(content)
    (source / "adapter.safetensors").write_bytes(b"another")
    assert "not what was recorded" in adapter_fault(source)


def test_a_record_that_names_no_files_keeps_its_adapter(transfer: Folder) -> None:
    (source,) = transfer.finish("waiting source 0")
    record = json.loads((source / "record.json").read_text())
    del record["files"]
    (source / "record.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="names no adapter"):
        let_go(source)
    assert (source / "adapter.safetensors").exists()
