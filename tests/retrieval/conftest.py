"""The made setting of retrieval."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.api.registry import load_plugin_file

PLUGIN = Path(__file__).with_name("made_retrieval.py")


@pytest.fixture
def plugin() -> Path:
    """The file of the made data set, setting and table, loaded."""
    load_plugin_file(PLUGIN)
    return PLUGIN
