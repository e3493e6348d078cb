"""What is tuned of every registered method by default: usable on every backbone, and fair in its size."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest

import petl_bench as pb
from petl_bench.api.backbone import Backbone
from petl_bench.api.method import Method, trainable_in
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.tuning import RATE, Range, outermost, rate_space, training_field
from petl_bench.api.values.resolution import recipe_values, usual_training
from petl_bench.cli.show import tuned_fields
from petl_bench.errors import PluginError
from petl_bench.methods._recipes import tuned_here

#: Values of recipes that lie in no range: none, which is a choice on training clips by the method itself.
CHOSEN_BY_THE_METHOD = {("tip_adapter", "alpha"), ("tip_adapter", "beta")}
WITH_FIELDS = [name for name in METHODS.names() if METHODS.get(name).space]


def hosts(method: type[Method]) -> Iterator[tuple[str, type[Backbone]]]:
    """Every setting and backbone that a method can be run in and on."""
    for setting in SETTINGS.names():
        if SETTINGS.get(setting).command or (method.settings is not None and setting not in method.settings):
            continue
        if SETTINGS.get(setting).kind not in method.tasks:
            continue
        for name in BACKBONES.names():
            if not method.hosted_by(BACKBONES.get(name)):
                yield setting, BACKBONES.get(name)


def test_the_headline_s_methods_are_tuned_by_their_rate_alone() -> None:
    for name in ("lora", "adaptformer", "msta", "full_finetune"):
        assert [*tuned_fields(METHODS.get(name))] == [RATE]


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_has_something_to_tune_or_nothing_that_trains(name: str) -> None:
    method = METHODS.get(name)
    fields = tuned_fields(method)
    assert len(fields.keys() - {RATE}) <= 2, "a budget of eight is spread thin"
    setting, backbone = next(hosts(method))
    made = method(**recipe_values(method, setting, backbone.name))
    assert (RATE in fields) == (trainable_in(made, backbone.config) > 0)
    assert bool(fields) == (name != "zero_shot")


@pytest.mark.parametrize("name", [name for name in METHODS.names() if RATE in tuned_fields(METHODS.get(name))])
def test_a_range_can_be_made_around_every_rate(name: str) -> None:
    method = METHODS.get(name)
    for setting, backbone in hosts(method):
        values = usual_training(method, SETTINGS.get(setting)(), backbone, DATASETS.get("motion"))
        rate = values.get("learning_rate", 1e-3)
        space = method.space.get(RATE, rate_space(rate))
        assert isinstance(space, Range) and space.low <= rate <= space.high, (setting, backbone.name)


@pytest.mark.parametrize("name", WITH_FIELDS)
def test_the_recipe_lies_inside_and_both_ends_train_as_many_parameters(name: str) -> None:
    method = METHODS.get(name)
    defaults = {field.name: field.default for field in dataclasses.fields(method)}
    fields = {field: space for field, space in method.space.items() if not training_field(field)}
    for setting, backbone in hosts(method):
        values = recipe_values(method, setting, backbone.name)
        count = trainable_in(method(**values), backbone.config)
        for field, space in fields.items():
            used = values.get(field, defaults[field])
            ends = outermost(space, defaults[field])
            if (name, field) in CHOSEN_BY_THE_METHOD:
                assert used is None
            else:
                assert space.low <= used <= space.high if isinstance(space, Range) else used in space.values
            for end in ends:
                assert trainable_in(method(**{**values, field: end}), backbone.config) == count, (field, end)


def test_the_space_of_a_composition_is_that_of_its_parts() -> None:
    composed = METHODS.get("convpass+taskres")
    convpass, taskres = METHODS.get("convpass").space, METHODS.get("taskres").space
    assert composed.space == {"convpass.scale": convpass["scale"], "taskres.scale": taskres["scale"]}
    assert METHODS.get("lora+adaptformer").space == {}


def test_a_method_made_of_another_has_its_own_space() -> None:
    assert METHODS.get("tip_adapter_f").space == {}
    assert not METHODS.get("vision_adapter").space


def test_whole_numbers_and_choices() -> None:
    assert outermost(Range(1, 8), 4) == (1, 8)
    assert [type(end) for end in outermost(Range(1, 8), 4)] == [int, int]
    assert outermost(pb.Choice(("relu", "gelu")), "relu") == ("relu", "gelu")


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"size": pb.Range(1, 2)}, "the space of Wrong: it has no field 'size'"),
        ({"training.select": pb.Choice(("last", "best-on-test"))}, "the space of Wrong: training.select decides what"),
        ({RATE: 3}, "the space of Wrong: training.learning_rate=3: expected Range(LOW, HIGH) or Choice"),
        ({"scale": pb.Range(-1, 2)}, "the space of Wrong, scale=-1..2: "),
        ({"training.epoch": pb.Range(1, 2)}, "the space of Wrong: it has no field 'training.epoch'"),
        ({"towers": pb.Choice(("both", "audio"))}, "the space of Wrong, towers=both,audio: "),
    ],
)
def test_a_space_that_the_fields_do_not_have_is_refused_in_one_line(
    space: dict[str, pb.Range | pb.Choice], says: str
) -> None:
    body = {
        "__annotations__": {"scale": float, "towers": pb.Towers},
        "scale": pb.hyper(1.0, "s", minimum=0.0),
        "towers": pb.hyper("both", "towers"),
        "space": space,
    }
    with pytest.raises(PluginError, match=re.escape(says)) as error:
        type("Wrong", (pb.Method,), body)
    assert "\n" not in str(error.value)


def test_a_recipe_of_a_tuning_names_its_budget() -> None:
    recipe = tuned_here(4e-3, 3e-3, {"rank": 8})
    assert (recipe.setting, recipe.backbone, recipe.tuned) == ("base2novel", "viclip-tiny", True)
    assert recipe.training == {"learning_rate": 4e-3}
    assert recipe.hyper == {"rank": 8}
    assert "of 8 proposals" in recipe.source and "pseudo-hm, 2 draws, training clips of seeds 3-5" in recipe.source
    assert "the former recipe's 0.003" in recipe.source
