"""The pictures of docs/method_sites.md: what they name exists, nothing overlaps, and the files are up to date."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.method import HOOKS
from petl_bench.models.grid import Grid
from petl_bench.models.sites import Chained, LinearSite, Site
from petl_bench.models.towers import TextTower, VideoTower
from petl_bench.models.transformer import Attention, Block
from petl_bench.testing.method_subject import SMALL

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


def script() -> ModuleType:
    """docs/pictures/draw_sites.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("draw_sites", FOLDER / "draw_sites.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["draw_sites"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAW = script()
PICTURES: Mapping[str, Any] = {name: draw() for name, draw in DRAW.PICTURES.items()}
NAMED = {name for picture in PICTURES.values() for name in picture.names}


@pytest.fixture(scope="module")
def roots() -> dict[str, Any]:
    """What the first part of a name stands for."""
    model = pb.DualEncoder(SMALL)
    return {"model": model, "block": model.blocks("video")[0], "grid": Grid(1, 2, 2, True), "method": pb.Method}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_name_exists(roots: dict[str, Any], name: str) -> None:
    root, *path = name.split(".")
    reduce(getattr, path, roots[root])


def test_every_hook_is_drawn() -> None:
    life = PICTURES["trial_life"].names
    assert {f"method.{hook}" for hook in (*HOOKS, "attach", "expected_trainable", "load_extra_state")} <= set(life)


@pytest.mark.parametrize("site", [Site, Chained, LinearSite, Attention, Block, VideoTower, TextTower, pb.DualEncoder])
def test_every_way_to_attach_is_drawn(site: type) -> None:
    """A public method whose first argument is a module, and which gives nothing back."""
    kinds = {name: getattr(function, "__annotations__", {}) for name, function in vars(site).items()}
    takes_module = {name for name, types in kinds.items() if list(types.items())[:1] == [("module", "nn.Module")]}
    ways = {name for name in takes_module if name[0] != "_" and kinds[name]["return"] == "None"}
    assert ways
    assert ways <= {name.rpartition(".")[2] for name in NAMED}


@pytest.mark.parametrize("name", PICTURES)
def test_boxes_do_not_overlap_and_texts_fit(name: str) -> None:
    picture = PICTURES[name]
    for one, other in itertools.combinations(picture.boxes, 2):
        apart = any(
            one[axis] + one[axis + 2] <= other[axis] or other[axis] + other[axis + 2] <= one[axis] for axis in (0, 1)
        )
        assert apart, (one, other)
    for x, y, size, anchor, text in re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)"[^>]*font-size="([\d.]+)"[^>]*text-anchor="(\w+)"[^>]*>([^<]*)<', picture.svg()
    ):
        width = 0.58 * float(size) * len(text) * (0.5 if anchor == "middle" else 1)
        assert float(x) + width <= picture.width - 4, text
        assert float(y) < picture.height


@pytest.mark.parametrize("name", PICTURES)
def test_the_file_is_what_is_drawn(name: str) -> None:
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == PICTURES[name].svg(), "make pictures"
