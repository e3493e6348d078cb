"""`runs move`, and what is printed of a folder that was moved, by whatever means."""

from __future__ import annotations

import errno
import hashlib
import shlex
from pathlib import Path
from typing import Any

import pytest

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing import moving, trial_log
from petl_bench.managing.status import survey
from petl_bench.running.attempts.submissions import save_submission
from petl_bench.running.planning.saved_plans import command_for
from tests.managing.conftest import Folder, call, is_sound


def move(source: Path, target: Path) -> Any:
    return call("runs", "move", source, target)


def everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("by", ["move", "mv", "another file system"])
def test_every_command_names_the_folder_where_it_is_now(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    folder.finish("waiting 0")
    folder.fail("other 0")
    before, target = everything(folder.runs), tmp_path / "new place"
    if by == "mv":
        folder.runs.rename(target)
    else:
        if by == "another file system":
            monkeypatch.setattr(Path, "rename", _other_file_system(target))
        assert "moved 4 trials" in move(folder.runs, target).stdout
    assert not folder.runs.exists()
    assert everything(target) == before
    assert is_sound(target / "trials" / folder.at("waiting 0").name)
    found = survey(target)
    (command,) = found.commands
    words = shlex.split(command)
    assert words[words.index("--output") + 1] == str(target)
    assert str(folder.runs) not in command
    assert all(trial.log is None or trial.log.is_relative_to(target) for trial in found.trials)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".mov")] == []


def _other_file_system(target: Path) -> Any:
    """Renaming as it is if `target` is to lie on another file system than what is moved there first."""
    rename = Path.rename

    def renamed(path: Path, to: Path) -> Path:
        if to == target and not path.name.startswith(".moving"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        found: Path = rename(path, to)
        return found

    return renamed


def test_a_copy_that_is_not_the_original_is_not_taken_for_it(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.finish("waiting 0")
    before = everything(folder.runs)
    monkeypatch.setattr(Path, "rename", _other_file_system(tmp_path / "new"))
    copytree = moving.shutil.copytree

    def bad_copy(source: Path, target: Path, **options: Any) -> None:
        monkeypatch.setattr(moving.shutil, "copytree", copytree)
        copytree(source, target, **options)
        next(target.rglob("details.json")).write_text("{}")

    monkeypatch.setattr(moving.shutil, "copytree", bad_copy)
    with pytest.raises(StoreError, match=r"details\.json is not what the original is"):
        move(folder.runs, tmp_path / "new")
    assert everything(folder.runs) == before
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".mov*"))


def test_a_folder_in_which_a_trial_runs_stays(folder: Folder, tmp_path: Path) -> None:
    claim = folder.start("waiting 0")
    with pytest.raises(UsageError, match="running; stop what runs"):
        move(folder.runs, tmp_path / "new")
    claim.end("failed", "")
    move(folder.runs, tmp_path / "new")
    assert survey(tmp_path / "new").counts["failed"] == 1


def test_targets_that_are_none(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(folder.runs)
    for source, target, says in (
        (folder.runs, tmp_path / "there", "is there already"),
        (folder.runs, tmp_path / "no" / "new", "make it first"),
        (folder.runs, folder.runs / "trials" / "new", "lies within"),
        (tmp_path / "link", tmp_path / "new", "is a link"),
    ):
        with pytest.raises(UsageError, match=says):
            move(source, target)
    with pytest.raises(StoreError, match="not a folder of runs"):
        move(tmp_path / "there", tmp_path / "new")
    assert survey(folder.runs).counts["missing"] == 4


@pytest.mark.parametrize(
    ("command", "folder", "expected"),
    [
        ("petl-bench run --methods a --output old", "new", "petl-bench run --methods a --output new"),
        ("petl-bench run --output 'my runs' --methods a", "new", "petl-bench run --output new --methods a"),
        ("petl-bench run --methods a --output=old", "new", "petl-bench run --methods a --output new"),
        ("petl-bench run --methods a --runs old", "new", "petl-bench run --methods a --output new"),
        ("petl-bench run --methods a", "other runs", "petl-bench run --methods a --output 'other runs'"),
        ("petl-bench run --methods a", "runs", "petl-bench run --methods a"),
        ("petl-bench run --methods a --output", "new", "petl-bench run --methods a --output new"),
        ("petl-bench run 'unbalanced", "new", "petl-bench run 'unbalanced"),
    ],
)
def test_a_command_gets_the_folder_that_it_is_for_now(command: str, folder: str, expected: str) -> None:
    assert command_for(command, Path(folder)) == expected


def test_what_a_scheduler_wrote_is_found_after_a_move(folder: Folder, tmp_path: Path) -> None:
    key = folder.jobs["waiting 0"].trial.key
    place = folder.runs / "submissions" / "slurm-abc"
    place.mkdir(parents=True)
    (place / "7_0_log.out").write_text("no such partition\n")
    save_submission(folder.runs, "slurm", "7", {"7_0": [key]}, place)
    target = tmp_path / "new"
    folder.runs.rename(target)
    assert trial_log.trial_log(target, key).scheduler_files() == [target / "submissions" / "slurm-abc" / "7_0_log.out"]
