"""What published weights should score is printed with the protocol that it belongs to."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from petl_bench.api.registry import BACKBONES
from petl_bench.cli.show import command


@pytest.mark.parametrize("name", ["viclip-b16", "viclip-l14"])
def test_every_expected_figure_names_its_protocol(name: str) -> None:
    text = CliRunner().invoke(command, [name]).output
    lines = text.splitlines()
    expected = [index for index, line in enumerate(lines) if "expected:" in line]
    assert len(expected) == sum(len(weights.expected) for weights in BACKBONES.get(name).published) > 0
    for index in expected:
        assert lines[index + 1].strip().startswith("protocol: ")
        assert "Here" in lines[index + 1], "in what the protocol of this package differs"


def test_the_readmes_figure_is_that_of_sixteen_templates_cleaned_names_and_squashed_frames() -> None:
    lines = CliRunner().invoke(command, ["viclip-b16"]).output.splitlines()
    protocol = lines[next(index for index, line in enumerate(lines) if "58.52" in line) + 1]
    for part in ("16 ActionCLIP templates", "names in lower case, no punctuation", "squashed to 224 x 224"):
        assert part in protocol


def test_weights_without_figures_promise_none() -> None:
    text = CliRunner().invoke(command, ["clip-b16"]).output
    assert "expected" not in text
    assert "protocol" not in text
