"""What a method declares is looked at when its class is declared: a misspelt word would change a table silently."""

from __future__ import annotations

from typing import Any

import pytest

import petl_bench as pb


def declared(**values: Any) -> type[pb.Method]:
    return type("Mine", (pb.Method,), values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"novel": "nothing"}, r"Mine.novel = 'nothing': expected one of 'text', 'frozen', 'none'"),
        ({"text_varies": "clip"}, "Mine.text_varies = 'clip'"),
        ({"reads": ("frame",)}, "Mine.reads = .* a tuple of some of 'frames', 'tokens', 'pixels', 'prompts'"),
        ({"reads": "frames"}, "Mine.reads = 'frames': expected a tuple"),
        ({"tasks": "classification"}, "Mine.tasks = 'classification': expected a tuple"),
        ({"tasks": ()}, "Mine.tasks = "),
        ({"tasks": ("retrieve",)}, "Mine.tasks = "),
        ({"whole_batch": "yes"}, "Mine.whole_batch = 'yes': expected one of False, True"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(pb.PluginError, match=words):
        declared(**values)


def test_what_the_contract_knows_is_taken_and_a_property_is_left_to_the_method() -> None:
    kind = declared(
        novel="none", reads=("frames", "prompts"), tasks=("retrieval",), text_varies=property(lambda self: "video")
    )
    assert kind().text_varies == "video"
