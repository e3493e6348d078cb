"""`--dry-run` tells every error that the run would, in the same words and with the same status, and the same counts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from petl_bench.api.registry import DATASETS
from petl_bench.cli import main
from petl_bench.data.found.known_manifests import new_manifest
from petl_bench.data.found.scan_results import ScanResult, ScanResults
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.running.planning.spec import Spec

CLASSES = ("bow", "jump", "turn", "wave")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with folders of clips that are never opened, and a cache and weights of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path / "weights"))
    for folder, names, count in (("good", CLASSES, 8), ("one", CLASSES[:1], 8), ("thin", CLASSES, 1)):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / folder / name / f"{number}.mp4").write_bytes(f"{folder} {name} {number}".encode())
    for folder in ("listed", "untrained", "untested", "unlabelled"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.csv").write_text("id,name\n0,bow\n1,jump\n")
        (tmp_path / folder / "train.txt").write_text("a.mp4 0\nb.mp4 1\n")
        (tmp_path / folder / "test.txt").write_text("c.mp4 0\nd.mp4 1\n")
    (tmp_path / "unlabelled" / "labels.csv").unlink()
    for clip in ("untrained/c.mp4", "untrained/d.mp4", "untested/a.mp4", "unlabelled/a.mp4"):
        (tmp_path / clip).write_text(clip)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "profile.toml").write_text("wokers = 1\n")
    (tmp_path / "half" / "trials").mkdir(parents=True)
    (tmp_path / "half" / "plans").touch()
    return tmp_path


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("--datasets ...", "--dry-run")`: petl-bench run in this process, to its end."""

    def to_its_end(command: str, *more: str) -> Ended:
        usual = ["run", "--setting", "few_shot", "--shots", "2", "--seeds", "0", "--methods", "zero_shot,lora"]
        monkeypatch.setattr(sys, "argv", ["petl-bench", *usual, *command.split(), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return to_its_end


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("--datasets one=one", "two classes at least"),
        ("--datasets folder --set folder.path=one", "two classes at least"),
        ("--datasets thin=thin", "two are needed, to train and to test"),
        ("--datasets folder --set folder.path=nowhere", "folder.path=nowhere: no such folder"),
        ("--datasets folder", "which folder?"),
        ("--datasets good=good,other=nowhere", "other.path=nowhere: no such folder"),
        ("--datasets good=good --source other=nowhere --setting zero_shot_transfer", "--shots"),
        ("--datasets good=empty", "0 folders with videos"),
        ("--datasets good=unlabelled", "no labels.csv beside the lists"),
        ("--datasets good=listed", "See: petl-bench data status good=/"),
        ("--datasets good=untested", "none of the 2 clips of evaluation 'test'"),
        ("--datasets good=untrained", "none of the 2 training clips"),
        ("--datasets good=good --set good.labels=none.csv", "good.labels=none.csv: no such file"),
        ("--datasets good=good --set good.test_fraction=2", "good.test_fraction=2.0: must be at most 1"),
        ("--datasets good=good --set good.test_fracton=0.2", "did you mean test_fraction"),
        ("--datasets good=good --set folder.split_seed=x", "folder.split_seed=x"),
        ("--datasets good=good --set goood.split_seed=1", "did you mean good"),
        ("--datasets good=good --set good.path=one", "--datasets says where good is"),
        ("--datasets good=good --splits 7", "7"),
        ("--datasets good=good --shots 0", "0"),
        ("--datasets good=good --set few_shot.draws=published", "no published list of 2 shots"),
        ("--datasets good=good --shots 1 --select val", "--select val needs at least two training clips"),
        ("--datasets good=good --setting fully_supervised", "--shots"),
        ("--datasets good=good,good=one", "'good' is given twice"),
        ("--datasets motion=good", "'motion' is a data set already"),
        ("--datasets lora=good", "'lora' is a method already"),
        ("--datasets training=good", "give the folder another name"),
        ("--datasets Good=good", "'Good' cannot name a folder"),
        ("--datasets good=", "which folder? Say good=DIR"),
        ("--datasets goood", "unknown data set 'goood'"),
        ("--datasets ucf101 --data-root nowhere", "--data-root nowhere: no such folder"),
        ("--datasets ucf101 --data-root empty", "empty"),
        ("--datasets ucf101 --data-root good", "good"),
        ("--datasets good=good --weights nowhere.pth", "--weights nowhere.pth: no such file"),
        ("--datasets good=good --weights hf:nowhere", "expected hf:OWNER/REPO"),
        ("--datasets good=good --output file", "--output file: cannot be written (Not a directory)"),
        ("--datasets good=good --output file/runs", "--output file/runs: cannot be written (Not a directory)"),
        ("--datasets good=good --output half", "--output half: cannot be written (File exists)"),
        ("--datasets good=good --launcher locl", "did you mean local"),
        ("--datasets good=good --profile profile.toml", "did you mean workers"),
        ("--datasets good=good --workers -1", "--workers -1: must be at least 0"),
        ("--datasets good=good --detach", "--detach: the local launcher runs trials itself"),
        ("--datasets good=good --seeds 2-0", "--seeds 2-0: this range runs down"),
        ("--datasets good=good --seeds 0-99999", "has more than 10,000 numbers"),
        ("--datasets good=good --seeds 0-x", "expected whole numbers, e.g. 0,1,2 or 0-2"),
        ("--datasets good=good --methods lroa", "did you mean lora"),
        ("--datasets good=good --plugin none.py", "none.py: no such file"),
    ],
)  # fmt: skip
def test_the_same_error_with_and_without(command: str, says: str, here: Path, run: Run) -> None:
    before = sorted(here.rglob("*"))
    rehearsed = run(command, "--dry-run")
    assert [path for path in sorted(here.rglob("*")) if "cache" not in path.parts] == before, "nothing was written"
    real = run(command)
    assert (rehearsed.status, real.status) == (2, 2), rehearsed.stderr + real.stderr
    assert says in rehearsed.stderr
    assert rehearsed.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]


def test_what_is_really_absent_is_counted_and_said(run: Run) -> None:
    command = "--datasets ucf101,good=good --backbone viclip-b16"
    rehearsed, real = run(command, "--dry-run"), run(command)
    assert real.status == 2
    assert rehearsed.status == 0, rehearsed.stderr
    assert "ucf101: not on this machine; its trials are counted by the splits that are published" in rehearsed.stderr
    assert "warning: no weights found" in rehearsed.stderr
    assert "4 trials" in rehearsed.stdout
    assert "without those of ucf101, whose data is not here" in rehearsed.stdout
    assert "predictions and cache are not known without the data of ucf101" in rehearsed.stdout
    assert run(f"{command} --set good.test_fraction=7", "--dry-run").status == 2, "what is here is looked at"


def test_a_rehearsal_counts_what_the_run_reads(here: Path) -> None:
    good = Spec(methods=("zero_shot", "lora"), setting="few_shot", datasets=("good=good",), shots=(2, 4), seeds=(0, 1))
    (here / "good" / "bow" / "0.mp4").unlink()
    assert list(plan_lines(plan(good))) == list(plan_lines(plan(good, rehearsal=True)))
    manifest = new_manifest(DATASETS.get("folder")(path="good"), here / "good", here / "cache")
    results = ScanResults(here / "cache", "folder", manifest.root)
    unreadable = manifest.annotations.test[1][0].clip
    file = manifest.found[unreadable]
    with results.adding() as add:
        add(ScanResult(file.file, file.fingerprint, "broken"))
    (clips, *_) = plan(good, rehearsal=True).clips.values()
    assert clips.test == clips.test_listed - 1, "a scan under another name counts as well"
