"""`petl-bench tune` as a user types it: bad input in one line, real trials that read no test clip, what is printed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from petl_bench.api.dataset import Sample
from petl_bench.cli import run
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.data.loading.clip_preparation import ClipRequest
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.records.tunings import Proposal, read_tunings, write_tuning
from tests.commands import petl_bench
from tests.tuning.conftest import World

BAD = {
    ("--methods", "lora"): "no budget given: --trials N",
    ("--methods", "lora", "--trials", "1"): "--trials 1: the first proposal is the recipe itself; give at least 2",
    ("--methods", "lora", "--trials", "x"): "'x' is not a valid integer",
    ("--methods", "zero_shot", "--trials", "4"): "zero_shot has nothing to tune: it trains nothing",
    ("--methods", "lora", "--trials", "4", "--epochs", "0"): "lora has nothing to tune",
    ("--methods", "lora", "--trials", "4", "--draws", "0"): "--draws",
    ("--methods", "lora", "--trials", "4", "--round-size", "0"): "--round-size",
    ("--methods", "lora", "--trials", "4", "--seed", "-1"): "--seed",
    ("--methods", "lora", "--trials", "4", "--select", "best-on-test"): "a tuning never looks at test clips",
    ("--methods", "lora", "--trials", "4", "--set", "training.select=best-on-test"): "looks at test clips",
    ("--methods", "lora", "--trials", "4", "--forgetting", "squares"): "the run trains on it",
    ("--methods", "lora", "--trials", "4", "--force"): "No such option",
    ("--methods", "lora", "--trials", "4", "--variant", "lora.rank=8"): "No such option",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank"): "expected NAME.FIELD=LOW..HIGH",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=8"): "at least two different values",
    ("--methods", "lora", "--trials", "99999999999"): "--trials=99999999999: must be at most 10000",
    ("--methods", "lora", "--trials", "4", "--draws", "1000000000"): "--draws=1000000000: must be at most",
    ("--methods", "lora", "--trials", "4", "--tuning-seeds", ""): "--tuning-seeds: give at least one",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=8..4"): "the first smaller than the second",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=1..inf"): "expected finite numbers",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=1..1e30"): "lora, rank=1..1e+30: 1e+30 is too large",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=4,04"): "rank=4,04: it must have at least two",
    ("--methods", "lora", "--trials", "4", "--space", "lora.training.learning_rate=1e-3,0.001"): "at least two",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=a..b"): "expected two numbers",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=1.5..3"): "the space of lora, rank=1.5..3",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=0..4"): "the space of lora, rank=0..4",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rank=4..8:cubic"): "a scale is log or linear",
    ("--methods", "lora", "--trials", "4", "--space", "lora.rnk=4,8"): "it has no field 'rnk'",
    ("--methods", "lora", "--trials", "4", "--space", "training.learning_rate=0..1:log"): "must begin above 0",
    ("--methods", "lora", "--trials", "4", "--space", "training.val_fraction=0.1..0.5"): "and is not tuned",
    ("--methods", "lora", "--trials", "4", "--space", "training.select=last,best-on-test"): "and is not tuned",
    ("--methods", "lora", "--trials", "4", "--space", "msta.scale=1,2"): "msta is not tuned here; name one of",
    ("--methods", "linear_probe", "--trials", "4", "--objective", "pseudo-hm"): "linear_probe has nothing to tune",
    ("--methods", "lora", "--trials", "4", "--setting", "base2novel", "--objective", "pseudo-hm", "--set",
     "squares.base_classes=red square,green square"): "too few for a pseudo-base",
}  # fmt: skip


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_clear_line(world: World, arguments: tuple[str, ...]) -> None:
    done = petl_bench("tune", *world.flags, *arguments)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert BAD[arguments] in last and "Traceback" not in done.stderr
    assert not (world.runs / "tunings").exists()


def test_a_table_of_a_spec_says_what_is_tuned(world: World, tmp_path: Path) -> None:
    """Flags win over it; `run` says which command takes the file."""
    spec = tmp_path / "tuned.toml"
    spec.write_text(
        'methods = ["zero_shot", "lora"]\n[tuning]\ntrials = 6\nround_size = 3\nspace = { "lora.rank" = "4,8" }\n'
    )
    done = petl_bench("run", *world.flags, "--spec", spec)
    assert (done.returncode, done.stderr) == (2, f"petl-bench: {spec}: it has a [tuning] table; type: petl-bench tune "
                                              f"--spec {spec}\n")  # fmt: skip
    done = petl_bench("tune", *world.flags, "--spec", spec, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "zero_shot is not tuned: it trains nothing" in done.stderr
    assert "lora    6          12" in done.stdout and "rank=4,8" in done.stdout
    assert "12 trainings into" in done.stdout and "estimate: at most" in done.stdout
    done = petl_bench("tune", *world.flags, "--spec", spec, "--trials", "4", "--dry-run")
    assert "8 trainings into" in done.stdout
    assert not world.runs.exists()
    spec.write_text('methods = "lora"\n[tuning]\ntrials = 6\nbudget = 3\n')
    assert "[tuning]" in petl_bench("tune", *world.flags, "--spec", spec).stderr


@pytest.mark.slow
def test_real_trials_read_no_test_clip(
    small_backbone: object, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first trial to the choice, the loader is asked for training clips alone, and records have no others.
    Test clips are no videos until the final run."""
    world = World(tmp_path, shutil.copytree(squares, tmp_path / "squares"))
    test_clips = {path: path.read_bytes() for path in world.squares.glob("*/test_*")}
    assert test_clips
    for path, content in test_clips.items():
        path.write_bytes(b"?" * len(content))
    asked: set[str] = set()
    request = ClipLoader._request

    def spying(loader: ClipLoader, sample: Sample, epoch: int | None) -> ClipRequest:
        asked.add(sample.clip)
        return request(loader, sample, epoch)

    monkeypatch.setattr(ClipLoader, "_request", spying)
    flags = (*world.flags, "--epochs", "1", "--batch-size", "4", "--workers", "1", "--set", "training.warmup_epochs=0")
    done = petl_bench("tune", *flags, "--methods", "lora", "--trials", "2", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert asked and all("/train_" in clip for clip in asked)
    for path in world.runs.glob("trials/*/record.json"):
        record = json.loads(path.read_text())
        assert set(record["coverage"]) == {"val"}
        assert record["metrics"].keys() == {"val_top1", "val_top5"}
        assert not (path.parent / "adapter.safetensors").exists()
    tunings = list(read_tunings(world.runs))
    assert [len(each.proposals) for each in tunings] == [2]
    for each in tunings:
        assert each.best is not None and f"{each.best.objective:.2f}" in done.stdout
    (spec,) = (world.runs / "tunings").glob("*.toml")
    assert f"petl-bench run --spec {spec}" in done.stderr
    told = petl_bench("status", "--runs", world.runs)
    assert "tuning of lora, fully_supervised, squares, held-out: 2 of 2 proposals, chosen" in told.stdout
    asked.clear()
    for path, content in test_clips.items():
        path.write_bytes(content)
    final = petl_bench("run", "--spec", spec, "--workers", "1")
    assert final.returncode == 0, final.stderr
    assert any("/test_" in clip for clip in asked)


def test_status_says_how_a_tuning_goes_on(world: World) -> None:
    """A file that was left under way; its command is shown for the folder where it lies."""
    tuned = world.prepare("lora").tuned[0]
    values = Proposal(number=0, round=0, values=dict(tuned.recipe), objective=50.0)
    (world.runs / "trials").mkdir(parents=True)
    write_tuning(world.runs, replace(tuned.tuning, proposals=(values,)))
    told = petl_bench("status", "--runs", world.runs).stdout
    assert "1 of 6 proposals, go on with: petl-bench tune --methods lora" in told and f"--output {world.runs}" in told
    write_tuning(world.runs, replace(tuned.tuning, command="rm -r /"))
    assert "rm -r" not in petl_bench("status", "--runs", world.runs).stdout


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what is done is kept. Go on with: petl-bench tune --methods lora"),
        (TrialStopped("2 trials of the tuning have not ended"), 1, "not ended. Go on with: petl-bench tune --methods"),
        (TrialError("lora: none of its 4 proposals has an objective"), 1, "none of its 4 proposals"),
    ],
)
def test_a_tuning_that_does_not_end_says_how_to_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch, ending: BaseException, status: int, said: str
) -> None:
    def ended(*_: object) -> None:
        raise ending

    monkeypatch.setattr(run, "launch", ended)
    done = petl_bench("tune", *world.flags, "--methods", "lora", "--trials", "4", "--space", "lora.rank=4,8")
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr and "Traceback" not in done.stderr
    told = petl_bench("status", "--runs", world.runs).stdout
    assert "tuning of lora, fully_supervised, squares, held-out: 0 of 4 proposals, go on with: petl-bench tune" in told
    commands = [line for line in told.splitlines() if line.startswith("fill the rest with: petl-bench tune")]
    assert len(commands) == 1 and "--space lora.rank=4,8" in commands[0]


@pytest.mark.slow
def test_an_edited_objective_is_judged_anew(world: World) -> None:
    """What the records of its trials contradict is not believed: the same choice, and the same file."""
    flags = (*world.flags, "--epochs", "1", "--batch-size", "4", "--workers", "1", "--set", "training.warmup_epochs=0")
    tuning = ("tune", *flags, "--methods", "lora", "--trials", "2", "--seeds", "0")
    table = petl_bench(*tuning).stdout
    ((name, content),) = ((name, found) for name, found in world.files().items() if name.endswith(".json"))
    (stored,) = read_tunings(world.runs)
    recipe = replace(stored.proposals[0], objective=99.9)
    write_tuning(world.runs, replace(stored, proposals=(recipe, stored.proposals[1])))
    again = petl_bench(*tuning)
    assert (again.returncode, again.stdout, world.files()[name]) == (0, table, content)
    assert "proposal 0 has the objective 99.9, its trials give" in again.stderr
