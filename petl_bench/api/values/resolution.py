"""Which values a run has if its command gives none: defaults, setting, views, recipes, backbone. Without torch.

`petl_bench.running.planning.values` puts what the command line gives over them; reports compare records with them, to
say in a command only what has to be said.
"""

from __future__ import annotations

from typing import Any

from petl_bench.api.backbone import Backbone
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

    The later one wins: the setting, the data set's published views (multi-view settings), the method's recipe for the
    setting, the backbone, the method's recipe for both.
    """
    training: dict[str, Any] = dict(setting.training)
    if setting.multi_view:
        training["views"], training["crops"] = dataset.views
    for recipe in _recipes(method, setting.name, None):
        training |= recipe.training
    training |= backbone.training
    for recipe in _recipes(method, setting.name, backbone.name):
        training |= recipe.training
    return training


def _recipes(method: type[Method], setting: str, backbone: str | None) -> list[Recipe]:
    return [recipe for recipe in method.recipes if recipe.setting == setting and recipe.backbone == backbone]
