"""From a spec to trials: which values win, what is refused, and what enters the key."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petl_bench.errors import DataError, PetlBenchError, UsageError
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec, read_spec


def spec_of(toy: Any, **changes: Any) -> Spec:
    values: dict[str, Any] = {
        "methods": ("waiting",),
        "setting": "toy_setting",
        "datasets": ("toys",),
        "backbone": "toy_net",
        "weights": "random",
        "data_root": str(toy.data),
        "plugin": (str(toy.plugin),),
        "output": str(toy.runs),
        "seeds": (0,),
    }
    return Spec(**{**values, **changes})


def only_trial(toy: Any, **changes: Any) -> Any:
    (job,) = plan(spec_of(toy, **changes)).jobs
    return job.trial


def test_later_sources_of_a_value_win(toy_here: Any) -> None:
    trial = only_trial(toy_here)
    assert trial.training["weight_decay"] == 0.25, "from the setting"
    assert trial.training["learning_rate"] == 0.25, "from the recipe for the setting, over the setting"
    assert trial.training["batch_size"] == 5, "from the recipe for the backbone, over that for the setting"
    assert trial.training["beta1"] == 0.9, "the default"
    assert trial.hyper_parameters["steps"] == 1, "from the recipe for the backbone"
    changed = only_trial(
        toy_here, set=("waiting.steps=4", "training.learning_rate=0.1", "toys.colour=blue"), batch_size=9, epochs=1
    )
    assert changed.hyper_parameters["steps"] == 4
    assert (changed.training["learning_rate"], changed.training["batch_size"], changed.training["epochs"]) == (
        0.1,
        9,
        1,
    )
    assert changed.dataset_options == {"colour": "blue"}


def test_a_method_without_recipe_takes_the_settings_values(toy_here: Any) -> None:
    trial = only_trial(toy_here, methods=("other",))
    assert (trial.training["learning_rate"], trial.hyper_parameters["steps"]) == (0.5, 2)


def test_the_key_changes_with_whatever_decides_the_numbers(toy_here: Any) -> None:
    base = only_trial(toy_here).key
    assert only_trial(toy_here, output="elsewhere", device="cpu", workers=2).key == base
    for change in (
        {"seeds": (1,)},
        {"epochs": 3},
        {"precision": "bf16"},
        {"decoder": "pyav"},
        {"set": ("toys.colour=blue",)},
        {"set": ("toys.template=a photo of {}.",)},
        {"set": ("toys.prompt_text=cleaned",)},
        {"set": ("training.eval_resize=squash",)},
    ):
        assert only_trial(toy_here, **change).key != base, change
    for default in ("toys.template=a video of {}.", "toys.prompt_text=as_written", "training.eval_resize=crop"):
        assert only_trial(toy_here, set=(default,)).key == base, default
    (toy_here.data / "clip_3.mp4").write_bytes(b"another clip")
    assert only_trial(toy_here).key != base


def test_a_plugin_files_source_is_part_of_its_methods_version(toy_here: Any, tmp_path: Path) -> None:
    version = only_trial(toy_here).method_version
    assert version.startswith("1+")
    assert len(version) == 2 + 64


def test_trials_start_seed_by_seed_so_that_methods_can_be_compared_early(toy_here: Any) -> None:
    planned = plan(spec_of(toy_here, methods=("waiting", "other", "waiting"), seeds=(0, 1, 0)))
    assert [(job.trial.seed, job.trial.method) for job in planned.jobs] == [
        (0, "waiting"),
        (0, "other"),
        (1, "waiting"),
        (1, "other"),
    ]


def test_values_for_what_does_not_run_are_told(toy_here: Any) -> None:
    planned = plan(spec_of(toy_here, set=("other.steps=5",)))
    assert planned.warnings == ("--set other.steps has no effect: other is not part of this run",)


def test_missing_clips_are_counted(toy_here: Any) -> None:
    (toy_here.data / "clip_0.mp4").unlink()
    (toy_here.data / "clip_7.mp4").unlink()
    planned = plan(spec_of(toy_here))
    assert planned.notes[0].startswith("toys: 8 clips expected, 6 found, 2 missing under ")
    (clips,) = planned.clips.values()
    assert (clips.train, clips.train_listed, clips.test, clips.test_listed) == (3, 4, 3, 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ("wating",)}, "did you mean waiting"),
        ({"setting": "toy_seting"}, "did you mean toy_setting"),
        ({"datasets": ("toy",)}, "did you mean toys"),
        ({"backbone": "toynet"}, "did you mean toy_net"),
        ({"set": ("waiting.step=3",)}, "did you mean steps"),
        ({"set": ("wating.steps=3",)}, "did you mean waiting"),
        ({"set": ("other.step=3",)}, "did you mean steps"),
        ({"set": ("waiting.steps=three",)}, "waiting.steps=three"),
        ({"set": ("waiting.steps=0",)}, "must be at least 1"),
        ({"set": ("training.learning_rat=1",)}, "did you mean learning_rate"),
        ({"set": ("training.learning_rate=nan",)}, "not a number"),
        ({"set": ("toy_net.frames=3",)}, "field of toy_net"),
        ({"set": ("waiting.mishap=wide",)}, "waiting.mishap=wide: wider than 8"),
        ({"set": ("waiting.mishap=divide",)}, "parameter formula of waiting fails: ZeroDivisionError"),
        ({"methods": ("picky",)}, "picky does not work with the setting 'toy_setting' (it supports base2novel)"),
        ({"data_root": None}, "--data-root"),
        ({"data_root": "/nonexistent/place"}, "/nonexistent/place: no such folder"),
        ({"weights": "nowhere.pth"}, "nowhere.pth"),
        ({"plugin": ("nowhere.py",)}, "nowhere.py"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(toy_here: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PetlBenchError) as caught:
        plan(spec_of(toy_here, **changes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not toy_here.runs.exists()


def test_a_data_root_without_the_clips_is_refused(toy_here: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="none of the 8 clips"):
        plan(spec_of(toy_here, data_root=str(empty)))


def test_test_clips_that_are_all_missing_are_refused(toy_here: Any) -> None:
    for number in range(4, 8):
        (toy_here.data / f"clip_{number}.mp4").unlink()
    with pytest.raises(DataError, match="none of the 4 clips of evaluation 'all'"):
        plan(spec_of(toy_here))


def test_a_recipe_with_an_unknown_field_is_named(toy_here: Any) -> None:
    from petl_bench.api.registry import METHODS, load_plugin_file

    load_plugin_file(toy_here.plugin)
    method = METHODS.get("waiting")
    method.recipes = (dataclasses.replace(method.recipes[0], training={"lr": 1.0}),)
    with pytest.raises(UsageError, match="recipe of waiting, training"):
        plan(spec_of(toy_here))


def test_a_dry_run_prints_the_plan_and_touches_nothing(toy: Any) -> None:
    done = toy.run("--methods", "waiting,other", "--seeds", "0,1", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "4 trials, 0 done, 4 to run" in done.stdout
    assert "4 x 7" in done.stdout
    assert "12,345" in done.stdout
    assert "at most 112 clips through training, 16 views through evaluation" in done.stdout
    assert not toy.runs.exists()
    assert toy.executions("start") == []


def test_planning_does_not_load_torch(toy: Any) -> None:
    code = (
        "import sys\nfrom petl_bench.cli import cli\n"
        f"cli({['run', '--methods', 'waiting', *toy.flags, '--dry-run']!r}, standalone_mode=False)\n"
        f"cli(['status', '--runs', {str(toy.data)!r}], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=toy.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_training_values_of_one_method(tmp_path: Path) -> None:
    """`METHOD.training.FIELD` reaches that method alone, wins over what is said for all, and is a key of its own."""
    spec = tmp_path / "spec.toml"
    spec.write_text("[set.lora]\nrank = 4\n[set.lora.training]\nlearning_rate = 0.004\n")
    flags = {"methods": ("lora", "msta"), "seeds": (0,), "set": ("msta.training.epochs=3",), "epochs": 2}
    trials = {job.trial.method: job.trial for job in plan(read_spec(flags, spec)).jobs}
    assert trials["lora"].training["learning_rate"] == 0.004
    assert trials["msta"].training["learning_rate"] != 0.004
    assert (trials["lora"].training["epochs"], trials["msta"].training["epochs"]) == (2, 3)
    assert "training.learning_rate" not in trials["lora"].hyper_parameters
    plain = plan(Spec(methods=("lora",), seeds=(0,), epochs=2, set=("lora.rank=4", "training.learning_rate=0.004")))
    assert plain.jobs[0].trial.key == trials["lora"].key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lorax.training.epochs=1", "unknown method 'lorax'"),
        ("motion.training.epochs=1", "motion is no method"),
        ("lora.training.epoch=1", "did you mean epochs"),
        ("lora.training.epochs=-1", "must be at least 0"),
    ],
)
def test_training_values_of_what_has_none_are_refused(text: str, says: str) -> None:
    """One line, with near names."""
    with pytest.raises(UsageError, match=says):
        plan(Spec(methods=("lora",), set=(text,)))


def test_a_value_of_a_method_that_is_not_run_has_no_effect() -> None:
    """It is named, as others are."""
    found = plan(Spec(methods=("lora",), seeds=(0,), set=("msta.training.epochs=1",)))
    assert any("--set msta.training.epochs has no effect" in warning for warning in found.warnings)


def test_a_plan_on_training_clips_reads_no_test_clip() -> None:
    """Trials on a partition have keys of their own; of zero_shot_transfer the adaptation alone is planned."""
    spec = Spec(methods=("lora",), seeds=(0, 1))
    usual, tuning = plan(spec), plan(spec, tuning=("held-out/0", "pseudo-halves/0"))
    assert len(tuning.jobs) == 4
    assert {job.trial.key for job in usual.jobs}.isdisjoint(job.trial.key for job in tuning.jobs)
    assert {tuning.clips[job.trial.key].train + tuning.clips[job.trial.key].test for job in tuning.jobs} == {256}
    transfer = plan(Spec(methods=("lora",), seeds=(0,), setting="zero_shot_transfer"), tuning=("held-out/0",))
    assert [job.trial.part for job in transfer.jobs] == ["source-base"]
