"""`runs export` to a tar and `runs merge`: what comes along, what does not, and that nothing is overwritten."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing import merging
from petl_bench.managing.status import survey
from petl_bench.records.files import described
from petl_bench.running.attempts import claims
from tests.managing.conftest import Folder, call, is_sound


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def merge(into: Path, *sources: Path) -> Result:
    return call("runs", "merge", *sources, "--into", into)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def tar_of(folder: Folder, name: str = "trials.tar.gz", *arguments: str) -> Path:
    path = folder.runs.parent / name
    assert folder.call("export", *arguments, "--output", path).return_value == 0
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_records_and_the_files_that_they_name_come_along(folder: Folder, into: Path, packed: bool) -> None:
    first, second = folder.finish("waiting 0", "other 1")
    folder.fail("other 0")
    (first / "stray.txt").write_text("not recorded")
    (first / "sub").mkdir()
    source = tar_of(folder) if packed else folder.runs
    done = merge(into, source)
    assert (done.return_value, "2 trials brought" in done.stdout) == (0, True)
    for original in (first, second):
        brought = into / "trials" / original.name
        assert is_sound(brought)
        assert files(brought) == {name: raw for name, raw in files(original).items() if name not in ("stray.txt",)}
    assert {path.name for path in (into / "trials").iterdir()} == {first.name, second.name}
    assert {path.name for path in into.iterdir()} == {"trials"}
    assert [trial.title for trial in survey(into).trials] == [
        folder.plan.jobs[index].trial.title
        for index in sorted((0, 3), key=lambda index: folder.plan.jobs[index].trial.key)
    ]


def test_merging_again_changes_nothing(folder: Folder, into: Path) -> None:
    folder.finish("waiting 0", "other 0")
    merge(into, folder.runs)
    before = {path: path.stat().st_mtime_ns for path in into.rglob("*") if path.is_file()}
    again = merge(into, folder.runs, folder.runs)
    assert "0 trials brought" in again.stdout and "4 were there already" in again.stdout
    assert again.return_value == 0
    assert {path: path.stat().st_mtime_ns for path in into.rglob("*") if path.is_file()} == before


def _other_numbers(folder: Path) -> None:
    """A trial whose predictions and metrics are others, as a run on another machine may have them; all of it sound."""
    with np.load(folder / "predictions-all.npz") as arrays:
        values = dict(arrays)
    values["scores"] = values["scores"][:, ::-1].copy()
    values["ranks"] = 1 - values["ranks"]
    values["predicted"] = 1 - values["predicted"]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **values)
    (folder / "predictions-all.npz").write_bytes(buffer.getvalue())
    record = json.loads((folder / "record.json").read_text())
    record["metrics"] = {"top1": 100.0 - record["metrics"]["top1"] + 25.0}
    record["files"]["predictions-all.npz"] = described(buffer.getvalue())
    (folder / "record.json").write_text(json.dumps(record))


def test_unequal_duplicates_are_named_and_stay(folder: Folder, into: Path, tmp_path: Path) -> None:
    (path,) = folder.finish("waiting 0")
    merge(into, folder.runs)
    other = tmp_path / "other"
    shutil.copytree(folder.runs, other)
    _other_numbers(other / "trials" / path.name)
    before = files(into / "trials" / path.name)
    done = merge(into, other)
    assert done.return_value == 1
    assert "unequal" in done.stderr and path.name[:8] in done.stderr
    assert "top1 50 here, top1 75 there" in done.stderr
    assert files(into / "trials" / path.name) == before
    assert (other / "trials" / path.name / "record.json").exists()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _changed(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _linked(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["record.json", "details.json", "predictions-all.npz"])
@pytest.mark.parametrize("damage", [Path.unlink, _cut, _changed, _linked, _piped])
def test_a_damaged_trial_is_named_and_left_and_the_others_come(folder: Folder, into: Path, name: str, damage) -> None:  # type: ignore[no-untyped-def]
    path, other = folder.finish("waiting 0", "other 0")
    damage(path / name)
    done = merge(into, folder.runs)
    if (damage, name) == (Path.unlink, "record.json"):
        assert done.return_value == 0, "a trial without a record is not finished"
    else:
        assert done.return_value == 1 and "damaged" in done.stderr
    assert [each.name for each in (into / "trials").iterdir()] == [other.name]
    assert not list(into.glob(".*"))


def test_what_runs_here_is_left_and_what_failed_here_is_moved_aside(folder: Folder, into: Path) -> None:
    first, second = folder.finish("waiting 0", "other 0")
    merging.prepare(into)
    running = claims.take(into / "trials" / first.name, "running")
    failed = claims.take(into / "trials" / second.name, "failed")
    assert running is not None and failed is not None
    failed.end("failed", "an accident")
    done = merge(into, folder.runs)
    assert done.return_value == 1 and "runs here at this moment" in done.stderr
    assert not (into / "trials" / first.name / "record.json").exists()
    assert is_sound(into / "trials" / second.name)
    assert (into / "replaced" / f"{second.name}-1" / "attempts" / "0001.json").exists()
    running.end("done")


def test_an_adapter_that_was_let_go_does_not_hold_its_trial(transfer: Folder, into: Path) -> None:
    (source,) = transfer.finish("waiting source 0")
    transfer.call("delete", "--adapters", "--yes", "--methods", "waiting")
    transfer.finish("waiting target 1 0", "waiting target 2 0")
    transfer.call("delete", "--adapters", "--yes")
    assert not (source / "adapter.safetensors").exists()
    assert merge(into, tar_of(transfer)).return_value == 0
    assert is_sound(into / "trials" / source.name)


def test_a_folder_of_something_else_is_not_written_into(folder: Folder, tmp_path: Path) -> None:
    folder.finish("waiting 0")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for into, source, says in (
        (tmp_path / "photos", folder.runs, "not a folder of runs"),
        (folder.runs, folder.runs, "merged into itself"),
        (tmp_path / "new", tmp_path / "photos", "not a folder of runs"),
        (tmp_path / "new", tmp_path / "photos" / "cat.jpg", "nor a tar"),
    ):
        with pytest.raises(StoreError, match=says):
            merge(into, source)
    with pytest.raises(click.UsageError, match="does not exist"):
        merge(tmp_path / "unmade", folder.runs, tmp_path / "nothing")
    assert not (tmp_path / "unmade").exists()
    with pytest.raises(UsageError, match="--into DIR"):
        call("runs", "merge", folder.runs)


# Tars


def test_the_same_trials_give_the_same_tar(folder: Folder, tmp_path: Path) -> None:
    folder.finish("waiting 0", "other 0")
    first = tar_of(folder, "one.tar.gz").read_bytes()
    for path in folder.runs.rglob("*"):
        os.utime(path, (1, 1))
    assert tar_of(folder, "two.tar.gz").read_bytes() == first
    with pytest.raises(UsageError, match="is there already"):
        tar_of(folder, "two.tar.gz")


def test_a_tar_holds_what_its_trials_start_from(transfer: Folder, into: Path) -> None:
    source, target = transfer.finish("waiting source 0", "waiting target 1 0")
    path = tar_of(transfer, "one.tar", target.name[:12])
    with tarfile.open(path) as archive:
        assert {name.split("/")[1] for name in archive.getnames()} == {source.name, target.name}
        assert f"trials/{source.name}/adapter.safetensors" in archive.getnames()
        assert {member.mtime for member in archive} == {0}


def test_a_damaged_trial_is_left_out_of_a_tar(folder: Folder) -> None:
    path, other = folder.finish("waiting 0", "other 0")
    _changed(path / "predictions-all.npz")
    output = folder.runs.parent / "trials.tar"
    done = folder.call("export", "--output", output)
    assert done.return_value == 1 and "left out" in done.stderr
    with tarfile.open(output) as archive:
        assert {name.split("/")[1] for name in archive.getnames()} == {other.name}


def _hostile(source: Path, target: Path, key: str) -> None:
    """The tar with its members, and with others that must not be written."""
    with tarfile.open(source) as archive, tarfile.open(target, "w") as copy:
        for member in archive:
            copy.addfile(member, archive.extractfile(member))
        for name in (
            "/tmp/absolute",
            "../outside",
            f"trials/{key}/../../../outside",
            f"trials/{key}/stray",
            "trials/x/y",
        ):
            member = tarfile.TarInfo(name)
            member.size = 4
            copy.addfile(member, io.BytesIO(b"evil"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"trials/{key}/link{kind!r}")
            member.type, member.linkname = kind, "/etc/passwd"
            copy.addfile(member)


def test_other_members_of_a_tar_are_not_written(folder: Folder, into: Path, tmp_path: Path) -> None:
    (path,) = folder.finish("waiting 0")
    hostile = tmp_path / "hostile.tar"
    _hostile(tar_of(folder), hostile, path.name)
    before = {each for each in tmp_path.rglob("*") if not each.is_relative_to(into)}
    assert merge(into, hostile).return_value == 0
    assert {each.name for each in (into / "trials" / path.name).iterdir()} == set(files(path))
    assert {each for each in tmp_path.rglob("*") if not each.is_relative_to(into)} == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_recorded_file_that_is_a_link_in_the_tar_is_refused(
    folder: Folder, into: Path, tmp_path: Path, kind: bytes
) -> None:
    folder.finish("waiting 0")
    changed = tmp_path / "changed.tar"
    with tarfile.open(tar_of(folder)) as archive, tarfile.open(changed, "w") as copy:
        for member in archive:
            content = archive.extractfile(member)
            if member.name.endswith("details.json"):
                member.type, member.linkname, member.size, content = kind, "record.json", 0, None
            copy.addfile(member, content)
    done = merge(into, changed)
    assert done.return_value == 1 and "details.json" in done.stderr
    assert list((into / "trials").iterdir()) == []


@pytest.mark.parametrize("prefix", ["./", "runs/"])
def test_a_tar_without_trials_is_no_success(folder: Folder, into: Path, tmp_path: Path, prefix: str) -> None:
    folder.finish("waiting 0")
    other = tmp_path / "other.tar"  # as tar makes it of a folder of runs
    with tarfile.open(tar_of(folder)) as archive, tarfile.open(other, "w") as copy:
        for member in archive:
            content = archive.extractfile(member)
            member.name = prefix + member.name
            copy.addfile(member, content)
    with pytest.raises(StoreError, match="no trials in it as `petl-bench runs export` writes them"):
        merge(into, other)
    nothing = tmp_path / "text.csv"
    nothing.write_text("no tar\n")
    with pytest.raises(StoreError, match=r"nor a tar that can be read$"):
        merge(into, nothing)


def test_a_folder_without_finished_trials_is_said(folder: Folder, into: Path) -> None:
    done = merge(into, folder.runs)
    assert done.return_value == 0 and f"{folder.runs}: no finished trial in it" in done.stderr


def test_a_name_that_no_line_can_show_is_refused(folder: Folder, tmp_path: Path) -> None:
    for arguments in (("merge", folder.runs, "--into", tmp_path / "a\nb"), ("move", folder.runs, tmp_path / "a\x1bb")):
        with pytest.raises(UsageError, match="control character"):
            call("runs", *arguments)
    assert folder.runs.is_dir() and sorted(tmp_path.glob("a*b")) == []


def test_a_member_larger_than_recorded_is_not_unpacked(folder: Folder, into: Path, tmp_path: Path) -> None:
    folder.finish("waiting 0")
    changed = tmp_path / "changed.tar.gz"
    with tarfile.open(tar_of(folder)) as archive, tarfile.open(changed, "w:gz") as copy:
        for member in archive:
            content = archive.extractfile(member)
            if member.name.endswith(".npz"):
                member.size, content = 5_000_000, io.BytesIO(b"\0" * 5_000_000)
            copy.addfile(member, content)
    done = merge(into, changed)
    assert done.return_value == 1 and "5,000,000 bytes" in done.stderr
    assert list((into / "trials").iterdir()) == []


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_tar_that_is_cut_off_brings_nothing_half(folder: Folder, into: Path, tmp_path: Path, kept: float) -> None:
    folder.finish("waiting 0", "other 0", "waiting 1")
    whole = tar_of(folder).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: int(len(whole) * kept)])
    try:
        assert merge(into, cut).return_value in (0, 1)
    except StoreError as error:
        assert str(cut) in str(error)
    assert all(is_sound(path) for path in (into / "trials").iterdir())
    assert not list(into.glob(".*"))
