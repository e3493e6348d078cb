"""Which values a run has if its command gives none: defaults, setting, views, recipes, backbone. Without torch.

`petl_bench.running.planning.values` puts what the command line gives over them; reports compare records with them, to
say in a command only what has to be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from petl_bench.api.backbone import Backbone
from petl_bench.api.composition import parts_of
from petl_bench.api.dataset import Dataset
from petl_bench.api.method import Method, Recipe
from petl_bench.api.setting import Setting


def recipe_values(method: type[Method], setting: str, backbone: str) -> dict[str, Any]:
    """The fields of a method that its recipes set."""
    values: dict[str, Any] = {}
    for recipe in [*_recipes(method, setting, None), *_recipes(method, setting, backbone)]:
        values |= recipe.hyper
    return values


def usual_training(
    method: type[Method], setting: Setting, backbone: type[Backbone], dataset: type[Dataset]
) -> dict[str, Any]:
    """The training options that are not at their defaults, for a method in a setting on one data set.

    The later one wins: the setting, the data set's published views (multi-view settings) or frames per second
    (retrieval), the method's recipe for the setting, the backbone, the method's recipe for both.
    """
    training: dict[str, Any] = dict(setting.training)
    if setting.multi_view:
        training["views"], training["crops"] = dataset.views
    if setting.kind == "retrieval" and dataset.frames_per_second is not None:
        training["frames_per_second"] = dataset.frames_per_second
    for recipe in _recipes(method, setting.name, None):
        training |= recipe.training
    training |= backbone.training
    for recipe in _recipes(method, setting.name, backbone.name):
        training |= recipe.training
    return training


def recipe_notes(method: type[Method], setting: str, backbone: str, training: Mapping[str, Any]) -> Iterator[str]:
    """A line for each training value that is of the recipe of one part of a composition, if another part's recipe says
    otherwise. `training`: the values that are used."""
    said = {part.name: _recipe_training(part, setting, backbone) for part in parts_of(method)}
    for option in dict.fromkeys(option for values in said.values() for option in values):
        values = {name: found[option] for name, found in said.items() if option in found}
        owner = next((name for name, value in values.items() if value == training.get(option)), None)
        others = [f"{name} has {value}" for name, value in values.items() if value != training.get(option)]
        if owner and others:
            yield (
                f"{method.name}: {option}={training[option]} is of the recipe of {owner} ({', '.join(others)}); to "
                f"choose another one: --set training.{option}=VALUE"
            )


def _recipe_training(method: type[Method], setting: str, backbone: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for recipe in [*_recipes(method, setting, None), *_recipes(method, setting, backbone)]:
        values |= recipe.training
    return values


def _recipes(method: type[Method], setting: str, backbone: str | None) -> list[Recipe]:
    return [recipe for recipe in method.recipes if recipe.setting == setting and recipe.backbone == backbone]
