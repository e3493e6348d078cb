"""`petl-bench data index` and `data status`: exact counts on stdout, one clear line for wrong use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.registry import DATASETS, register_dataset
from petl_bench.cli.data import command
from petl_bench.data.found import listing
from petl_bench.errors import PetlBenchError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of four listed clips are there, one of them twice with different content."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "labels.csv").write_text("id,name\n0,Run [fast]\n1,Walk\n")
    (folder / "train.txt").write_text("a.mp4 0\nb.mp4 1\n")
    (folder / "test.txt").write_text("c.mp4 0\nd.mp4 1\n")
    for name in ("a.mp4", "b.mp4", "x/c.mp4", "y/c.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


#: What is counted of clips that were not scanned.
def unscanned(expected: int, found: int, missing: int, ambiguous: int) -> dict[str, int]:
    there = {"expected": expected, "found": found, "missing": missing, "ambiguous": ambiguous}
    return {**there, "readable": 0, "unreadable": 0, "not_scanned": found}


def status(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["status", *arguments])


def of_folder(root: Path, *arguments: str) -> Result:
    result = status("folder", "--set", f"folder.path={root}", *arguments)
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_counts_per_list(root: Path) -> None:
    result = of_folder(root)
    assert ["train", "1", "2", "2", "0", "0"] in rows(result)
    assert ["test", "1", "2", "0", "1", "1"] in rows(result)
    assert ["all", "clips,", "each", "once", "4", "2", "1", "1"] in rows(result)
    assert "missing: d.mp4" in result.stdout
    assert "ambiguous: c.mp4 (x/c.mp4, y/c.mp4)" in result.stdout


def test_counts_per_class(root: Path) -> None:
    found = rows(of_folder(root, "--per-class"))
    assert ["test", "1", "Run", "[fast]", "1", "0", "0", "1"] in found
    assert ["test", "1", "Walk", "1", "0", "1", "0"] in found


def test_classes_are_told_with_their_counts_per_side(root: Path) -> None:
    result = of_folder(root)
    assert ["class", "train", "test"] in rows(result)
    assert ["Run", "[fast]", "1", "0", "of", "1"] in rows(result)
    assert "note: read from lists: train.txt trains, test.txt is tested; class names from labels.csv" in result.stdout


def test_of_many_classes_the_first_are_told_and_all_if_asked_for(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "many"
    for label in range(40):
        for clip in range(3):
            file = folder / f"c{label:02}\x1b[31m" / f"{clip}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{label} {clip}")
    shown = of_folder(folder)
    assert ["c29", "[31m", "2", "1"] in rows(shown)
    assert "c30" not in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "and 10 more classes (train: 2 clips, test: 1 clips); all with --per-class" in shown.stdout
    assert ["c39", "[31m", "2", "1"] in rows(of_folder(folder, "--per-class"))


def test_json_has_everything(root: Path) -> None:
    report = json.loads(of_folder(root, "--json", "--set", "folder.base_classes=Walk").stdout)
    assert report["clips"] == unscanned(4, 2, 1, 1)
    assert [row["name"] for row in report["lists"]] == ["train 1", "test 1", "base_train", "base_test", "novel_test"]
    assert report["lists"][1]["classes"]["Walk"] == unscanned(1, 0, 1, 0)
    assert (report["missing"], report["ambiguous"]) == (["d.mp4"], {"c.mp4": ["x/c.mp4", "y/c.mp4"]})
    assert len(report["sha256"]) == 64
    assert set(report["files"]) == {"labels.csv", "train.txt", "test.txt"}


def test_clips_that_were_not_scanned_are_not_called_readable(root: Path) -> None:
    result = of_folder(root)
    assert "readable" not in result.stdout
    assert "whether the clips can be read: petl-bench data scan folder" in result.stdout
    assert json.loads(of_folder(root, "--json").stdout)["scan"] is None


def test_known_defects_have_lines_of_their_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @register_dataset("faulty")
    class Faulty(DATASETS.get("folder")):
        """A data set with a defect in the lists that are read, and one in others."""

        defects = (Defect("swap", "two names are swapped", "120 clips"), Defect("other", "rows twice", "none"))

        def annotations(self, root: Path) -> Annotations:
            return replace(super().annotations(root), defects=self.defects[:1], notes=("a note",))

    result = status("faulty", "--set", f"faulty.path={root}")
    assert "known defect swap: two names are swapped; 120 clips" in result.stdout.splitlines()
    assert "known defect other (not in the lists that were read): rows twice; none" in result.stdout.splitlines()
    assert "note: a note" in result.stdout.splitlines()
    assert result.stdout.count("two names are swapped") == 1
    report = json.loads(status("faulty", "--set", f"faulty.path={root}", "--json").stdout)
    assert report["defects"][0] == {
        "id": "swap", "what": "two names are swapped", "effect": "120 clips", "applies": True,
    }  # fmt: skip
    assert report["notes"] == ["a note"]


def index(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["index", "folder", "--set", f"folder.path={root}", *arguments])


def test_index_writes_what_was_found(root: Path, tmp_path: Path) -> None:
    result = index(root)
    assert result.exit_code == 0, result.output
    assert ["train", "1", "2", "2", "0", "0"] in rows(result)
    *_, last = result.stdout.splitlines()
    file = Path(last.removeprefix("manifest: "))
    assert file.is_relative_to(tmp_path / "cache")
    written = json.loads(file.read_text())
    assert written["clips"] == unscanned(4, 2, 1, 1)
    assert written["lists"][1]["classes"]["Walk"] == unscanned(1, 0, 1, 0)
    assert written["found"] == {"a.mp4": "a.mp4", "b.mp4": "b.mp4"}
    assert (written["missing"], written["ambiguous"]) == (["d.mp4"], {"c.mp4": ["x/c.mp4", "y/c.mp4"]})
    assert written["files"]["train.txt"] == hashlib.sha256((root / "train.txt").read_bytes()).hexdigest()
    assert {"defects", "notes", "sha256", "root"} <= set(written)


def test_index_to_a_file_and_as_json(root: Path, tmp_path: Path) -> None:
    result = index(root, "--output", str(tmp_path / "new" / "m.json"), "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "new" / "m.json").read_text())
    assert result.stderr == f"manifest: {tmp_path / 'new' / 'm.json'}\n"


def test_index_that_cannot_be_written_is_one_clear_line(root: Path) -> None:
    with pytest.raises(PetlBenchError, match=r"cannot write .*a\.mp4/m\.json") as error:
        CliRunner().invoke(
            command,
            ["index", "folder", "--set", f"folder.path={root}", "--output", str(root / "a.mp4" / "m.json")],
            catch_exceptions=False,
        )
    assert "\n" not in str(error.value)


def test_frames_beside_videos_and_frame_folders_are_told(root: Path) -> None:
    for folder in ("frames/a", "frames/d"):
        (root / folder).mkdir(parents=True)
        (root / folder / "img_00001.jpg").write_text(folder)
    report = json.loads(index(root, "--json").stdout)
    assert report["found"]["d.mp4"] == "frames/d"
    assert "1 clips have a video file and a folder of frames; the video is used" in report["notes"][-1]


def test_folders_that_cannot_be_listed_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "secret").mkdir()
    list_folder = listing.os.scandir

    def refuse(place: str) -> object:
        if place.endswith("/secret"):
            raise PermissionError(13, "Permission denied")
        return list_folder(place)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    assert "note: 1 files or folders cannot be read and count as missing, e.g. secret (the folder cannot" in (
        of_folder(root).stdout
    )


def test_everything_under_the_root_is_accounted_for(root: Path) -> None:
    for name in ("1.DAT", "2.dat", "3.dat", "notes.md", ".hidden", "extra.mp4"):
        (root / name).write_text(name)
    (root / "loop").symlink_to("loop")
    shown = of_folder(root).stdout.splitlines()
    assert "coverage: 2 of 8 things under the root that may be clips are used" in shown
    assert (
        "WARNING: 3 of 8 things that may be clips are of kinds that are not read, and are left out: 3 .dat (e.g. 1.DAT)"
    ) in shown
    assert "WARNING: 1 links lead back to themselves, and count as nothing else, e.g. loop" in shown
    assert ["all", "entries", "16"] in [line.split() for line in shown]
    assert ["all", "clips", "5"] in [line.split() for line in shown]
    report = json.loads(of_folder(root, "--json").stdout)
    account = report["account"]
    assert sum(kind["count"] for kind in account["kinds"].values()) == account["total"] == 16
    assert {use: some["count"] for use, some in account["clips"].items()} == {
        "used": 2, "ambiguous": 2, "in_no_list": 1,
    }  # fmt: skip
    assert account["coverage"] == {"used": 2, "of": 8}
    assert account["perhaps_clips"] == {".dat": {"count": 3, "example": "1.DAT"}}
    assert report["warnings"] == [line.removeprefix("WARNING: ") for line in shown if line.startswith("WARNING")]
    assert set(report["warnings"]) <= set(report["notes"])


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_names_of_any_kind_reach_the_terminal_as_text(root: Path, arguments: list[str]) -> None:
    (root / "train.txt").write_text("a.mp4 0\nb\x1b[31m\rred.mp4 1\n")
    (root / os.fsdecode(b"caf\xe9.mp4")).write_text("x")
    odd = root.with_name(os.fsdecode(b"d\xe9j\xe0"))
    root.rename(odd)
    out = of_folder(odd, *arguments).stdout
    assert ("d\\udce9j\\udce0" if arguments else "d?j?") in out
    assert "\x1b" not in out
    if arguments:
        assert json.loads(out)["missing"] == ["b\x1b[31m\rred.mp4", "d.mp4"]
        assert list(json.loads(out)["account"]["unreadable"]) == ["caf\\udce9.mp4"]
    else:
        assert "missing: b [31m red.mp4, d.mp4" in out


@pytest.mark.drill
def test_100000_files_are_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the clips are named by lists with a folder more than the root; every class has the same names."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for label in range(200):
        folder = tmp_path / "mine" / f"class_{label:03d}"
        folder.mkdir(parents=True)
        for number in range(500):
            name = f"{number:05d}.mp4"
            (folder / name).write_bytes(f"{label}/{number}".encode())
            prefix = "data/" if label % 2 else ""
            rows["test" if number % 5 == 0 else "train"].append(f"{prefix}{folder.name}/{name} {label}\n")
    root = tmp_path / "mine"
    (root / "labels.csv").write_text("id,name\n" + "".join(f"{n},class {n}\n" for n in range(200)))
    for part, lines in rows.items():
        (root / f"{part}.txt").write_text("".join(lines))
    for what in ("cold", "warm"):
        began = time.monotonic()
        report = json.loads(index(root, "--json").stdout)
        print(f"100,000 files indexed, {what}: {time.monotonic() - began:.1f} s")
        assert report["clips"] == unscanned(100_000, 100_000, 0, 0)
        assert report["account"]["total"] == 100_203
        assert report["account"]["coverage"] == {"used": 100_000, "of": 100_000}


@pytest.mark.parametrize("subcommand", ["index", "scan", "status"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folders"], "unknown data set 'folders'; did you mean folder"),
        (["ucf101"], "ucf101 needs --data-root DIR"),
        (["ucf101", "--data-root", "/nowhere/at/all"], "no such folder"),
        (["folder", "--set", "folder.pth=x"], "unknown field of folder 'pth'; did you mean path"),
        (["folder", "--set", "ucf101.lists=auto"], r"expected folder\.FIELD=VALUE"),
        (["folder", "--set", "folder.path"], r"expected folder\.FIELD=VALUE"),
        (["folder", "--plugin", "nowhere.py"], "no such file"),
    ],
)
def test_wrong_use_is_one_clear_line(subcommand: str, arguments: list[str], message: str) -> None:
    with pytest.raises(PetlBenchError, match=message) as error:
        CliRunner().invoke(command, [subcommand, *arguments], catch_exceptions=False)
    assert "\n" not in str(error.value)


def test_exit_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "petl_bench", "data", "status", "ucf101", "--data-root", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("petl-bench: ")
    assert "no annotation lists found" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_torch_is_not_loaded(root: Path) -> None:
    code = (
        "import sys; from petl_bench.cli.data import command;"
        f"command(['status', 'folder', '--set', 'folder.path={root}'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_real_ucf101_lists_with_some_of_the_clips(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path))
    result = status("ucf101", "--data-root", str(real_data))
    assert result.exit_code == 0
    assert ["test", "1", "3,783", "24", "3,759", "0"] in rows(result)
    assert ["all", "clips,", "each", "once", "13,320", "48", "13,272", "0"] in rows(result)


def test_real_text4vis_lists_with_frame_folders(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    shutil.copytree(real_data / "annotations" / "text4vis", root / "lists")
    for clip in ("v_Archery_g01_c01", "v_Archery_g01_c02", "v_Archery_g08_c01"):  # the last one is not in the list
        folder = root / "rawframes" / "Archery" / clip
        folder.mkdir(parents=True)
        (folder / "img_00001.jpg").write_text(clip)
    result = status("ucf101", "--data-root", str(root), "--set", "ucf101.lists=text4vis")
    assert result.exit_code == 0, result.output
    assert ["test", "1", "3,783", "2", "3,781", "0"] in rows(result)
