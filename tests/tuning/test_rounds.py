"""What a tuning makes of trials: equal budgets, rounds that follow from finished ones, the choice, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petl_bench.api.launcher import Job
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.records.tunings import read_tuning, read_tunings
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import read_spec
from petl_bench.tuning.final_run import write_final_spec
from petl_bench.tuning.options import TuningOptions
from petl_bench.tuning.rounds import tune
from tests.tuning.conftest import MadeUp, World

RATE = "training.learning_rate"


def test_every_method_has_the_same_budget_and_the_best_proposal_is_chosen(world: World) -> None:
    lora, adaptformer = world.tune("zero_shot", "lora", "adaptformer")
    for tuning in (lora, adaptformer):
        assert [each.number for each in tuning.proposals] == list(range(6))
        assert [each.round for each in tuning.proposals] == [0, 0, 0, 0, 1, 1]
        assert all(len(each.trials) == 2 for each in tuning.proposals), "one for each seed"
        assert tuning.best is not None
        assert tuning.best.objective == max(each.objective or 0 for each in tuning.proposals)
        assert tuning.trainings == 12
    assert lora.proposals[0].values == {RATE: plan(world.spec("lora")).jobs[0].trial.training["learning_rate"]}
    assert lora.proposals[1].values != adaptformer.proposals[1].values
    assert [len(jobs) for jobs in world.launch.rounds] == [16, 8]
    assert {job.trial.tuning for job in world.launch.jobs} == {"held-out/0"}
    assert {job.places.keep_adapter for job in world.launch.jobs} == {"none"}
    assert any("best so far" in line for line in world.told)


def test_the_same_command_again_trains_nothing_and_changes_no_file(world: World) -> None:
    world.tune("lora")
    files, trained = world.files(), len(world.launch.rounds)
    world.tune("lora")
    assert (world.files(), len(world.launch.rounds)) == (files, trained)
    world.tune("lora", "adaptformer")
    assert {job.trial.method for jobs in world.launch.rounds[trained:] for job in jobs} == {"adaptformer"}
    assert {name: world.files()[name] for name in files} == files


@pytest.mark.parametrize("after", [1, 2])
def test_a_tuning_that_was_stopped_goes_on_to_the_same_files(world: World, tmp_path: Path, after: int) -> None:
    world.tune("lora", "adaptformer", options=TuningOptions(trials=6, round_size=2))
    undisturbed = world.files()
    other = World(tmp_path / "other", world.squares)

    def stopped(planned: Plan) -> list[object]:
        if len(other.launch.rounds) == after:
            raise KeyboardInterrupt
        return list(other.launch(planned))

    search = other.prepare("lora", "adaptformer", options=TuningOptions(trials=6, round_size=2))
    with pytest.raises(KeyboardInterrupt):
        tune(search, stopped, other.told.append)  # type: ignore[arg-type]
    under_way = list(read_tunings(other.runs))
    assert [each.chosen for each in under_way] == [None, None]
    assert {len(each.proposals) for each in under_way} == {2 * after + 2}
    other.tune("lora", "adaptformer", options=TuningOptions(trials=6, round_size=2))
    assert other.files() == undisturbed


def test_a_failed_trial_costs_its_proposal_and_is_not_tried_again(world: World) -> None:
    def fails(job: Job) -> str:
        return "the loss is not finite" if job.trial.training["learning_rate"] > 0.01 and job.trial.seed else ""

    world.launch.failing = fails
    (tuning,) = world.tune("lora", options=TuningOptions(trials=8))
    failed = [each for each in tuning.proposals if each.fault]
    assert failed and all(each.objective is None and "not finite" in each.fault for each in failed)
    assert len(tuning.proposals) == 8 and tuning.best not in failed
    trained, files = len(world.launch.rounds), world.files()
    world.launch.failing = lambda job: ""
    world.tune("lora", options=TuningOptions(trials=8))
    assert (len(world.launch.rounds), world.files()) == (trained, files)


def test_without_any_objective_nothing_is_chosen(world: World) -> None:
    world.launch.failing = lambda job: "no memory"
    with pytest.raises(TrialError, match=r"lora: none of its 6 proposals has an objective.*no memory"):
        world.tune("lora")


def test_a_stopped_trial_is_no_failure(world: World) -> None:
    world.launch.failing, world.launch.state = lambda job: "stopped on request", "interrupted"
    with pytest.raises(TrialStopped, match=r"have not ended.*stopped on request"):
        world.tune("lora")
    assert not any(each.fault for tuning in read_tunings(world.runs) for each in tuning.proposals)


def test_ties_go_to_the_first_proposal(world: World) -> None:
    class Equal(MadeUp):
        def __call__(self, plan: Plan) -> list[object]:  # type: ignore[override]
            return [type(each)(**{**vars(each), "metrics": {"val_top1": 50.0}}) for each in super().__call__(plan)]

    world.launch = Equal()
    assert world.tune("lora")[0].chosen == 0


def test_the_harmonic_mean_is_that_of_the_mean_accuracies(world: World) -> None:
    (tuning,) = world.tune("lora", options=TuningOptions(trials=2, objective="pseudo-hm", draws=2))
    recipe = tuning.proposals[0]
    assert len(recipe.trials) == 4, "two seeds, two draws"
    base, novel = recipe.metrics["val_base_top1"], recipe.metrics["val_novel_top1"]
    assert novel == 60.0, "of the seeds 2 and 3, which follow those of the run"
    assert recipe.objective == recipe.metrics["val_harmonic_mean"] == pytest.approx(2 * base * novel / (base + novel))


def test_trials_are_shared_between_tunings(world: World) -> None:
    """The recipe's trials are the same ones in a tuning with another seed of the sampler."""
    (first,) = world.tune("lora")
    (second,) = world.tune("lora", options=TuningOptions(trials=6, seed=1))
    assert first.proposals[0].trials == second.proposals[0].trials
    assert first.identity != second.identity and first.proposals[1].values != second.proposals[1].values


def test_the_final_run_has_what_was_chosen(world: World) -> None:
    """Its spec plans trials with the chosen values, on the whole training clips, that the file recognises as tuned."""
    search = world.prepare("zero_shot", "lora", set=("lora.rank=8", "training.warmup_epochs=0"))
    (tuning,) = tune(search, world.launch, world.told.append)
    assert tuning.best is not None
    path = write_final_spec(search)
    jobs = {job.trial.method: job.trial for job in plan(read_spec({}, path)).jobs}
    assert jobs.keys() == {"zero_shot", "lora"}
    trial = jobs["lora"]
    assert (trial.tuning, trial.hyper_parameters["rank"], trial.training["warmup_epochs"]) == ("", 8, 0)
    assert trial.training["learning_rate"] == tuning.best.values[RATE]
    stored = read_tuning(next((world.runs / "tunings").glob("*.json")))
    assert stored.gave(trial.stored()) and not stored.gave(jobs["zero_shot"].stored())
    assert not stored.gave({**trial.stored(), "training": {**trial.training, "learning_rate": 0.5}})


def test_a_tuning_says_nothing_of_when_and_where(world: World) -> None:
    world.tune("lora", launcher="slurm", workers=3)
    (path,) = (world.runs / "tunings").glob("*.json")
    values = json.loads(path.read_text())
    assert str(world.runs) not in path.read_text() and "slurm" not in path.read_text()
    assert values["command"].startswith("petl-bench tune --methods lora")


def test_spaces_of_the_command_line(world: World) -> None:
    """A field of one method, a training value of all, and a range that is linear."""
    space = ("lora.rank=4,8", "training.weight_decay=0..0.1", "lora.training.learning_rate=1e-3..2e-3")
    lora, adaptformer = world.tune("lora", "adaptformer", options=TuningOptions(trials=6, space=space))
    assert lora.space == {
        **{RATE: "0.001..0.002:log", "training.weight_decay": "0..0.1:linear", "rank": "4,8"},
    }
    assert adaptformer.space.keys() == {RATE, "training.weight_decay"}
    assert {each.values["rank"] for each in lora.proposals[1:]} == {4, 8}
    for job in world.launch.jobs:
        assert job.trial.training["learning_rate"] is not None
    assert {job.trial.hyper_parameters["rank"] for job in world.launch.jobs if job.trial.method == "lora"} >= {4, 8}


def test_a_space_with_few_points_is_tried_out(world: World) -> None:
    """A method with less different proposals than the budget is no obstacle for the others."""
    space = ("lora.training.learning_rate=0.001,0.003",)
    lora, adaptformer = world.tune("lora", "adaptformer", options=TuningOptions(trials=6, space=space))
    assert len(lora.proposals) <= 3 and len(adaptformer.proposals) == 6
    assert lora.best is not None


def test_a_method_without_training_has_no_training_values_in_its_space(world: World) -> None:
    space = ("tip_adapter.alpha=0.5..2", "training.weight_decay=0..0.1", "tip_adapter.training.learning_rate=0.1,0.2")
    search = world.prepare("tip_adapter", "lora", options=TuningOptions(trials=4, space=space))
    spaces = {each.method: each.tuning.space.keys() for each in search.tuned}
    assert "alpha" in spaces["tip_adapter"] and not any(name.startswith("training.") for name in spaces["tip_adapter"])
    assert {RATE, "training.weight_decay"} <= spaces["lora"]


def test_the_fields_of_a_composition_are_tuned_under_its_name(world: World) -> None:
    method = "lora+text_adapter"
    (tuning,) = world.tune(method, options=TuningOptions(trials=3, space=(f"{method}.lora.rank=4,8",)))
    assert tuning.space.keys() >= {RATE, "lora.rank"}
    assert {job.trial.hyper_parameters["lora.rank"] for job in world.launch.jobs} == {256, 4, 8}, "the recipe too"
