"""Several methods as one: names, values, hooks, what they declare, clashes, and a run from the command line."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import petl_bench as pb
from petl_bench.analysis.commands import commands_of
from petl_bench.api.composition import compose, parts_of
from petl_bench.api.method import HOOKS, Method, Recipe, hooks_of
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import BACKBONES, METHODS, create_method, named
from petl_bench.api.values.resolution import recipe_notes
from petl_bench.errors import UsageError
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.values import Overrides, planned_method
from petl_bench.testing import check_method, example_clips
from petl_bench.testing.method_subject import CONFIGS, SMALL, random_model
from petl_bench.training.state import load_state, state_of
from tests.api.test_keys import trial_of
from tests.commands import petl_bench


class Part(pb.Method):
    """A shift of the output of every video block, for compositions."""

    weight: float = pb.hyper(1.0, "of the loss", minimum=0.0)

    def attach(self, model: DualEncoder) -> None:
        for block in model.blocks("video"):
            block.add_after(Shift(block.width))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return sum(config.block_widths("video"))


class Shift(nn.Module):
    """0 * y + shift, with the shift zero at the start: the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.shift.expand_as(y)


def register(name: str, **members: Any) -> type[Part]:
    """A method of that name, with members of its own."""
    made = type(name, (Part,), {"__doc__": "A part.", "__module__": __name__, **members})
    return pb.register_method(name)(made)


def planned(spec: Spec, name: str) -> Mapping[str, Any]:
    return planned_method(spec, name, Overrides(spec)).hyper_parameters


# Names


def test_a_composition_is_a_method_with_the_fields_of_its_parts() -> None:
    both = METHODS.get("lora+text_adapter")
    assert both is METHODS.get("lora+text_adapter") and both is not METHODS.get("text_adapter+lora")
    assert issubclass(both, Method) and both.name == "lora+text_adapter"
    assert [part.name for part in parts_of(both)] == ["lora", "text_adapter"]
    assert "lora+text_adapter" in METHODS and "lora+text_adapter" not in METHODS.names()
    assert named("lora+text_adapter") == named("methods:lora+text_adapter")
    method = create_method("lora+text_adapter", **{"lora.rank": 2})
    assert method.values()["lora.rank"] == 2 and method.values()["lora.targets"] == ["q", "v"]
    assert method.locations() == {"text_adapter.descriptions": None}
    assert method == create_method("lora+text_adapter", **{"lora.rank": 2}) != create_method("lora+text_adapter")
    assert plugin_version(both) == "lora 1, text_adapter 1"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lorra+msta", "unknown method 'lorra'; did you mean lora"),
        ("lora+lora", "lora is named twice"),
        ("lora+", "a method is missing"),
        ("+", "a method is missing"),
    ],
)
def test_names_that_are_no_composition(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why.replace("+", r"\+").replace("?", r"\?")):
        METHODS.get(name)


def test_values_outside_their_limits_name_the_part() -> None:
    with pytest.raises(UsageError, match=r"lora\.rank=0: must be at least 1"):
        create_method("lora+text_adapter", **{"lora.rank": 0})
    with pytest.raises(UsageError, match=r"unknown field of lora\+text_adapter 'rank'; did you mean lora.rank"):
        create_method("lora+text_adapter", rank=2)
    with pytest.raises(TypeError, match=r"lora\+text_adapter has no field 'msta\.rank'"):  # as any dataclass
        METHODS.get("lora+text_adapter")(**{"msta.rank": 2})


# Planning


def test_values_of_a_part_reach_it_and_those_of_the_composition_win() -> None:
    spec = Spec(methods=("lora", "lora+text_adapter"), set=("lora.rank=4", "lora+text_adapter.lora.alpha=3"))
    alone, both = planned(spec, "lora"), planned(spec, "lora+text_adapter")
    assert (alone["rank"], alone["alpha"]) == (4, 16.0)
    assert (both["lora.rank"], both["lora.alpha"]) == (4, 3.0)
    assert both["text_adapter.bottleneck_dim"] == 32, "of the part's own recipe"


def test_values_for_parts_and_compositions_that_do_not_run_are_said() -> None:
    spec = Spec(methods=("lora+text_adapter",), set=("lora.rank=4", "msta.scale=1", "lora+msta.lora.rank=2"))
    assert [line.partition(" has")[0] for line in Overrides(spec).unused(spec.methods)] == [
        "--set msta.scale",
        "--set lora+msta.lora.rank",
    ]
    with pytest.raises(UsageError, match="unknown method 'lorra'"):
        Overrides(Spec(methods=("lora",), set=("lorra+msta.lora.rank=2",)))


def test_where_recipes_disagree_the_first_part_wins_and_it_is_said() -> None:
    for name, first, other in (
        ("lora+text_adapter", "lora (text_adapter has 0.01)", 2e-3),
        ("text_adapter+lora", "text_adapter (lora has 0.002)", 1e-2),
    ):
        trial = trial_of(name, backbone="viclip-tiny")
        assert trial.training["learning_rate"] == other
        (note,) = recipe_notes(METHODS.get(name), trial.setting, trial.backbone, trial.training)
        assert note.startswith(f"{name}: learning_rate={other} is of the recipe of {first}")
    trial = trial_of("lora+text_adapter", set=("training.learning_rate=1e-5",))
    assert not list(recipe_notes(METHODS.get(trial.method), trial.setting, trial.backbone, trial.training))
    assert not list(recipe_notes(METHODS.get("lora"), trial.setting, trial.backbone, trial.training))
    assert not any(recipe.tuned for recipe in METHODS.get("lora+text_adapter").recipes)


def test_the_printed_command_plans_the_same_trial() -> None:
    trial = trial_of("lora+text_adapter", set=("lora.rank=4",))
    (command,) = commands_of([{**trial.stored(), "weights": "random"}])
    texts = [after for word, after in itertools.pairwise(shlex.split(command)) if word == "--set"]
    again = trial_of("lora+text_adapter", set=tuple(text for text in texts if text.startswith(("lora", "text"))))
    assert again.key == trial.key


# What it declares


def test_declarations_combine() -> None:
    register("one", reads=("frames", "pixels"), novel="frozen", settings=("few_shot", "base2novel"), whole_batch=True)
    register("two", reads=("pixels", "tokens"), text_varies="video", settings=("base2novel",), identity_at_start=False)
    both = METHODS.get("one+two")
    assert both.reads == ("frames", "pixels", "tokens")
    assert (both.novel, both.text_varies) == ("frozen", "video")
    assert both.settings == ("base2novel",) and both.backbones is None
    assert both.whole_batch and not both.identity_at_start and not both.training_free and not both.mergeable


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("settings", ("few_shot",), ("base2novel",)),
        ("backbones", ("viclip-tiny",), ("viclip-b16",)),
        ("tasks", ("classification",), ("retrieval",)),
    ],
)
def test_parts_with_nothing_in_common_are_refused(what: str, one: Any, other: Any) -> None:
    register("one", **{what: one})
    register("two", **{what: other})
    with pytest.raises(UsageError, match=rf"one\+two: its parts have no {what} in common \(one: {one[0]}; two: "):
        METHODS.get("one+two")


def test_recipes_of_one_place_become_one() -> None:
    register("one", recipes=(Recipe("few_shot", None, {"epochs": 3, "batch_size": 4}, {"weight": 2.0}, "here"),))
    register("two", recipes=(Recipe("few_shot", None, {"epochs": 5, "beta1": 0.5}, {"weight": 3.0}, "there"),))
    (recipe,) = METHODS.get("one+two").recipes
    assert recipe.training == {"epochs": 3, "batch_size": 4, "beta1": 0.5}
    assert recipe.hyper == {"one.weight": 2.0, "two.weight": 3.0}
    assert recipe.source == "one: here; two: there"


def test_parts_that_read_descriptions_must_read_the_same() -> None:
    same = create_method("text_adapter+vision_adapter", **{"vision_adapter.consistency_weight": 0})
    assert same.description_count == 2 and same.description_kinds_read == ("spatial", "temporal")
    assert create_method("lora+adaptformer").description_count == 0
    with pytest.raises(UsageError, match="msta and text_adapter read different class descriptions"):
        create_method("msta+text_adapter", **{"msta.descriptions_per_class": 1})


# Hooks


@pytest.mark.parametrize("hook", ["prompts", "choose", "scores", "objective", "averaging", "variants"])
def test_two_owners_of_a_hook_are_refused(hook: str) -> None:
    register("one", **{hook: lambda self, *arguments: "of one"})
    register("two", **{hook: lambda self, *arguments: "of two"})
    with pytest.raises(UsageError, match=rf"^lora\+one\+two: one and two both define {hook}, .*leave one of them out$"):
        METHODS.get("lora+one+two")
    owned = create_method("adaptformer+two")
    assert hooks_of(type(owned)) == [hook]
    assert getattr(owned, hook)(*[None] * (2 if hook == "averaging" else 1)) == "of two"


def test_an_average_of_weights_has_one_owner() -> None:
    register("one", ema_decay=0.9)
    register("two", averaging=lambda self, epoch, epochs: 1.0)
    assert METHODS.get("lora+one").ema_decay == 0.9
    with pytest.raises(UsageError, match="one and two both define averaging"):
        METHODS.get("one+two")


def test_hooks_that_no_part_defines_stay_undefined() -> None:
    assert hooks_of(METHODS.get("bitfit+adaptformer")) == []
    assert METHODS.get("bitfit+adaptformer").load_extra_state is Method.load_extra_state
    assert hooks_of(METHODS.get("bitfit+msta")) == ["loss"]
    assert hooks_of(METHODS.get("lora+msta")) == ["loss", "parameter_groups"]


class Remembering(Part):
    """What it keeps and what it was called for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kept, self.calls = torch.zeros(2), ""

    def prepare(self, support: Any) -> None:
        support.append(f"prepare {self.name}")

    def finish(self, model: DualEncoder, support: Any) -> None:
        support.append(f"finish {self.name}")

    def loss(self, step: Any) -> Any:
        return torch.tensor(self.weight) if self.weight else None

    def extra_state(self) -> Mapping[str, Any]:
        return {"kept": self.kept, "calls": self.calls}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.kept, self.calls = state["kept"], state["calls"]

    def parameter_groups(self, model: DualEncoder) -> Mapping[str, tuple[float, float]]:
        return {"*.blocks.0.*": (self.weight, 1.0), "*": (2 * self.weight, 0.0)}


def remembering(name: str) -> None:
    pb.register_method(name)(type(name, (Remembering,), {"__module__": __name__}))


def test_hooks_of_several_parts_add_up() -> None:
    remembering("one")
    remembering("two")
    method: Any = create_method("one+lora+two", **{"one.weight": 0.25, "two.weight": 0.5})
    calls: list[str] = []
    method.prepare(calls)
    method.finish(None, calls)
    assert calls == ["prepare one", "prepare two", "finish one", "finish two"]
    assert method.loss(None).item() == 0.75
    assert create_method("one+two", **{"one.weight": 0, "two.weight": 0}).loss(None) is None  # type: ignore[arg-type]


def test_factors_reach_the_parameters_of_their_own_part_only() -> None:
    remembering("one")
    remembering("two")
    method = create_method("one+lora+two", **{"one.weight": 3, "two.weight": 5})
    model = random_model(SMALL)
    method.attach(model)
    groups = method.parameter_groups(model)
    assert len(groups) == 2 * SMALL.vision_layers and all(name in dict(model.named_parameters()) for name in groups)
    assert groups["video.blocks.0.after.0.module.shift"] == (3.0, 1.0)
    assert groups["video.blocks.0.after.1.module.shift"] == (5.0, 1.0)
    assert groups["video.blocks.1.after.1.module.shift"] == (10.0, 0.0)


def test_lora_plus_in_a_composition() -> None:
    model = random_model(SMALL)
    method = create_method("adaptformer+lora", **{"lora.plus": 16.0})
    method.attach(model)
    groups = method.parameter_groups(model)
    assert groups.keys() == {name for name, _ in model.named_parameters() if name.endswith(".lora_B")}
    assert set(groups.values()) == {(16.0, 1.0)}


def test_extra_states_are_kept_apart() -> None:
    remembering("one")
    remembering("two")
    method: Any = create_method("one+two")
    model = random_model(SMALL)
    method.attach(model)
    method.parts[0].kept, method.parts[1].calls = torch.ones(2), "twice"
    state = state_of(model, method)
    assert sorted(state["extra"]) == ["one.calls", "one.kept", "two.calls", "two.kept"]
    other: Any = create_method("one+two")
    fresh = random_model(SMALL)
    other.attach(fresh)
    load_state(fresh, other, state)
    assert other.parts[0].kept.tolist() == [1, 1] and other.parts[1].calls == "twice"


def test_the_task_reaches_every_part() -> None:
    method: Any = create_method("lora+text_adapter")
    task = pb.MethodTask(classes=("left", "right"))
    method.bind(task)
    assert method.task is task and [part.task for part in method.parts] == [task, task]


# Attaching


@pytest.mark.parametrize(
    ("name", "values"),
    [("lora+text_adapter", {}), ("adaptformer+lora", {}), ("msta+lora", {"msta.bottleneck_dim": 32})],
)
def test_counts_add_up(name: str, values: dict[str, Any]) -> None:
    for config in CONFIGS.values():
        model, method = random_model(config), create_method(name, **values)
        method.attach(model)
        alone = [part.expected_trainable(config) for part in method.parts]  # type: ignore[attr-defined]
        assert trainable_parameters(model) == method.expected_trainable(config) == sum(alone)
        assert model.method is method


@pytest.mark.parametrize("name", ["lora+text_adapter", "adaptformer+lora", "msta+lora", "full_finetune+lora"])
def test_checks_pass(name: str) -> None:
    assert {result.status for result in check_method(name)} <= {"pass", "skip"}


def test_mergeable_parts_are_merged() -> None:
    pb.register_method("outer")(type("Outer", (METHODS.get("lora"),), {"__module__": __name__}))
    results = check_method(
        "lora+outer", **{"lora.targets": ("q",), "outer.targets": ("fc", "proj"), "outer.towers": "text"}
    )
    assert {result.name: result.status for result in results}["merged equals unmerged"] == "pass"


def refusal(name: str, **values: Any) -> str:
    with pytest.raises(UsageError) as caught:
        create_method(name, **values).attach(random_model(SMALL))
    return str(caught.value)


def test_the_checks_of_a_composition_name_its_clash() -> None:
    from petl_bench import testing

    (failed,) = [each for each in testing.run(testing.checks("lora+dora")) if each.status == "fail"]
    assert "its parts do not go together" in failed.why and "lora and dora cannot both be at" in failed.why


def test_clashes_name_both_parts_and_the_site() -> None:
    pb.register_method("outer")(type("Outer", (METHODS.get("lora"),), {"__module__": __name__}))
    assert refusal("lora+adaptformer+outer", **{"outer.targets": ("v",)}).startswith(
        "lora+adaptformer+outer: lora and outer cannot both be at video.blocks.0.attention.v: leave one of them out"
    )
    assert refusal("lora+full_finetune").startswith("lora+full_finetune: lora and full_finetune both train video.")


def test_a_part_that_adds_nothing_is_refused() -> None:
    assert refusal("zero_shot+lora") == "zero_shot+lora: zero_shot adds nothing to the model: leave it out"


def test_other_errors_of_a_part_pass_unchanged() -> None:
    def attach(self: Any, model: DualEncoder) -> None:
        raise UsageError("no such block")

    register("one", attach=attach)
    assert refusal("lora+one") == "no such block"


def test_every_hook_is_combined_or_of_one_part() -> None:
    names = [f"part_{hook}" for hook in HOOKS]
    for name, hook in zip(names, HOOKS, strict=True):
        register(name, **{hook: lambda self, *arguments: None}, mergeable=True)
    assert hooks_of(METHODS.get("+".join(names))) == list(HOOKS)


# A run


SECOND = """
import petl_bench as pb


@pb.register_method("second")
class Second(pb.Method):
    '''Another map behind every query map.'''

    def attach(self, model):
        from torch import nn

        for block in model.blocks("video"):
            site = block.attention.q
            site.replace(nn.Sequential(site.base, nn.Linear(block.width, block.width, bias=False)))

    def expected_trainable(self, config):
        return sum(width**2 for width in config.block_widths("video"))
"""


@pytest.mark.slow
def test_a_run_with_a_composition_and_a_clash(tmp_path: Path) -> None:
    plugin, runs = tmp_path / "second.py", tmp_path / "runs"
    plugin.write_text(SECOND)
    methods = "lora+text_adapter,lora,text_adapter+second"
    data = ("--datasets", f"clips={example_clips()}", "--output", runs)
    flags = ("--plugin", plugin, "--setting", "fully_supervised", "--seeds", "0", "--epochs", "1", *data)
    clash = petl_bench("run", "--methods", f"lora+second,{methods}", *flags)
    assert clash.returncode == 2 and not runs.exists()
    assert "lora and second cannot both be at video.blocks.0.attention.q" in clash.stderr
    done = petl_bench("run", "--methods", methods, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("learning_rate=0.003 is of the recipe of lora (text_adapter has 0.01)") == 1
    records = {each["trial"]["method"]: each for each in map(_read, runs.glob("trials/*/record.json"))}
    assert records.keys() == {"lora+text_adapter", "lora", "text_adapter+second"}
    both = records["lora+text_adapter"]
    assert both["trainable_params"] > records["lora"]["trainable_params"]
    assert both["notes"][0].startswith("lora+text_adapter: learning_rate=0.003 is of the recipe of lora")
    assert "untuned-rate" in both["marks"]
    assert records["text_adapter+second"]["trial"]["method_version"].startswith("text_adapter 1, second 1+")
    report = petl_bench("report", "--runs", runs, "--table", "fully_supervised", "--plugin", plugin)
    assert "LoRA + Text adapter" in report.stdout and report.returncode == 0
    (command,) = commands_of([records["text_adapter+second"]["trial"]])
    assert f"--plugin {plugin}" in command


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["tip_adapter+lora", "lora+tip_adapter"])
def test_a_cache_from_before_the_training_does_not_stand_beside_what_trains(name: str) -> None:
    with pytest.raises(UsageError, match="tip_adapter is made of the training clips before anything trains"):
        METHODS.get(name)


def test_what_a_part_is_not_hosted_by_hosts_no_composition_with_it() -> None:
    class Here(Part):
        """A part that no joint backbone hosts."""

        name = "here"

        @classmethod
        def hosted_by(cls, backbone: type[pb.Backbone]) -> str:
            return "it attends over frames" if backbone.config.joint_space_time else ""

    composed = compose("lora+here", {"lora": METHODS.get("lora"), "here": Here}.__getitem__)
    assert composed.hosted_by(BACKBONES.get("viclip-tiny")) == "here: it attends over frames"
    assert composed.hosted_by(BACKBONES.get("clip-tiny")) == ""
    frames = METHODS.get("lora+seq_transf").hosted_by(BACKBONES.get("viclip-tiny"))
    assert frames.startswith("it reads features of single frames")
