"""Data sets of the Hub in a spec: fetched before planning, so that trials read an ordinary folder wherever they run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from petl_bench.hub.address import is_address
from petl_bench.hub.datasets import data_folder
from petl_bench.running.planning.spec import Spec


def with_local_data(spec: Spec) -> Spec:
    """The spec with folders of the Hub's cache in place of `hf:datasets/USER/NAME`; each data set is fetched once.

    Raises UsageError or DataError if one cannot be fetched.
    """
    local = cache(_local)

    def with_folder(text: str) -> str:
        name, equals, place = text.partition("=")
        return f"{name}={local(place.strip())}" if equals else text

    return replace(
        spec,
        datasets=tuple(map(with_folder, spec.datasets)),
        forgetting=tuple(map(with_folder, spec.forgetting)),
        source=None if spec.source is None else with_folder(spec.source),
        data_root=None if spec.data_root is None else local(spec.data_root),
    )


def _local(place: str) -> str:
    return str(data_folder(place)) if is_address(place) else place


def local_root(root: Path | None) -> Path | None:
    """The folder of `--data-root`, which may be a data set of the Hub. Raises as `with_local_data`."""
    return None if root is None else Path(_local(str(root))).expanduser()
