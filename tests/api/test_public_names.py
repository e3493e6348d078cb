"""`petl_bench` itself: every public name is there, nothing is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import petl_bench as pb
from petl_bench.api.registry import KINDS


def test_every_public_name_is_there() -> None:
    names = dir(pb)
    assert names == sorted(pb.__all__)
    assert len(names) > 60
    for name in names:
        assert getattr(pb, name) is not None


def test_the_base_class_of_every_kind_is_public() -> None:
    for registry in KINDS.values():
        base = registry.base_class()
        assert getattr(pb, base.__name__) is base
        assert f"register_{registry.plural[:-1]}" in dir(pb)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = pb.no_such_name  # type: ignore[attr-defined]


def test_authors_of_plugins_without_models_load_no_torch() -> None:
    code = (
        "import sys, petl_bench as pb\n"
        "homes = {name: pb._homes().get(name, '') for name in dir(pb)}\n"
        "names = [name for name, home in homes.items() if not {'models', 'inference'} & set(home.split('.'))]\n"
        "assert len(names) > 60 and [getattr(pb, name) for name in names]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
