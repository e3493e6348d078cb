"""The commands that reports print run the very trials that they are printed for."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from petl_bench.analysis.commands import commands_of
from petl_bench.api.registry import DATASETS
from petl_bench.cli.run import command as run
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("setting", ["base2novel", "few_shot", "fully_supervised", "zero_shot_transfer", "retrieval"])
def test_the_command_of_a_trial_plans_that_trial(setting: str, everything: bool, tmp_path: Path) -> None:
    shots = (2,) if setting == "few_shot" else None
    chosen = ("training.views=2", "training.crops=3", "lora.rank=2")
    spec = Spec(methods=("zero_shot", "lora", "msta"), setting=setting, seeds=(0, 1), shots=shots, set=chosen)
    jobs = plan(spec).jobs
    commands = commands_of([asdict(job.trial) for job in jobs], everything=everything)
    assert len(commands) <= len(jobs) / 2 + 1, "one for both seeds"
    planned = ""
    for command in commands:
        done = CliRunner().invoke(run, [*shlex.split(command)[2:], "--output", str(tmp_path), "--dry-run"])
        assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
        planned += done.stdout
    assert [job.trial.title for job in jobs if job.trial.key[:12] not in planned] == []
    assert all(flag in " ".join(commands) for flag in chosen)


def test_defaults_are_left_out_of_a_short_command() -> None:
    trial = asdict(plan(Spec(methods=("lora",), seeds=(0,), set=("lora.rank=2",))).jobs[0].trial)
    (short,), (long,) = commands_of([trial], everything=False), commands_of([trial])
    assert "--set lora.rank=2" in short
    assert short.count("--set") < long.count("--set") / 3


def test_where_files_lie_is_left_for_the_user_to_fill_in() -> None:
    trial = asdict(plan(Spec(methods=("lora",), seeds=(0,))).jobs[0].trial)
    (installed,) = commands_of([trial])
    assert "DIR" not in installed
    assert "--plugin" not in installed
    options = DATASETS.get("ucf101")().values()
    (elsewhere,) = commands_of([{**trial, "method": "mine", "dataset": "ucf101", "dataset_options": options}])
    assert "--datasets ucf101 --data-root DIR --plugin FILE.py --backbone" in elsewhere


def test_a_trial_of_another_version_has_a_reason_in_place_of_a_command() -> None:
    trial = asdict(plan(Spec(methods=("lora",), seeds=(0,))).jobs[0].trial)
    assert commands_of([{**trial, "method_version": "0"}]) == [
        "# no command makes this again: lora was version 0 then, and is version 1 here"
    ]


def test_an_adaptation_is_made_by_the_commands_of_its_targets(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "down").mkdir()
    for number in range(8):
        (tmp_path / "up" / f"u{number}.mp4").write_bytes(b"u%d" % number)
        (tmp_path / "down" / f"d{number}.mp4").write_bytes(b"d%d" % number)
    chosen = (f"folder.path={tmp_path}", "folder.split_seed=4")
    spec = Spec(methods=("lora",), setting="zero_shot_transfer", source="folder", seeds=(0,), set=chosen)
    source, target = (asdict(job.trial) for job in plan(spec).jobs)
    assert "its adapter is made by the commands of the trials that start from it" in commands_of([source])[0]
    (command,) = commands_of([target], {target["start_from"]: source})
    assert "--set folder.split_seed=4" in command and f"--set folder.path={tmp_path}" in command
