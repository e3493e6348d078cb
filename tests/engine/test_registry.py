"""The registry: names, clashes, near names, broken plugins, plugin files."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from petl_bench import registry as registry_module
from petl_bench.errors import PluginError, UsageError
from petl_bench.registry import KINDS, METHODS, Registry, load_plugin_file


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [])
    return Registry("thing", "things")


def test_every_builtin_of_every_kind_loads() -> None:
    assert {kind: registry.broken() for kind, registry in KINDS.items()} == {kind: {} for kind in KINDS}


def test_builtin_methods_are_there() -> None:
    expected = {"zero_shot", "full_finetune", "lora", "adaptformer", "vision_adapter", "text_adapter", "msta"}
    assert expected <= set(METHODS.names())


def test_decorator_registers_and_names(things: Registry) -> None:
    @things.register("spoon")
    class Spoon:
        pass

    assert things.get("spoon") is Spoon
    assert Spoon.name == "spoon"  # type: ignore[attr-defined]


def test_a_clash_is_refused_and_names_both_sources(things: Registry) -> None:
    things.register("spoon")(type("First", (), {"__module__": "kitchen"}))
    with pytest.raises(PluginError, match=r"kitchen:First.*drawer:Second"):
        things.register("spoon")(type("Second", (), {"__module__": "drawer"}))


def test_a_plugin_file_cannot_take_a_builtin_name(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("import petl_bench as pb\n@pb.register_method('lora')\nclass Mine(pb.Method):\n    pass\n")
    with pytest.raises(PluginError) as caught:
        load_plugin_file(plugin)
    assert "lora" in str(caught.value) and "LoRA" in str(caught.value) and "mine.py" in str(caught.value)


def test_two_entry_points_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("spoon", "kitchen:Spoon", "g"), EntryPoint("spoon", "drawer:Spoon", "g")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    with pytest.raises(PluginError, match=r"kitchen:Spoon.*drawer:Spoon"):
        Registry("thing", "things").names()


def test_an_unknown_name_gets_near_names_and_the_list_command() -> None:
    with pytest.raises(UsageError, match=r"did you mean lora\?.*petl-bench list methods"):
        METHODS.get("lorra")


def test_a_broken_plugin_is_named_and_the_others_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("bad", "no_such_module_here:Bad", "g"), EntryPoint("good", "pathlib:Path", "g")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    things = Registry("thing", "things")
    assert things.names() == ["bad", "good"]
    assert list(things.broken()) == ["bad"] and "no_such_module_here" in things.broken()["bad"]
    assert things.get("good") is Path


@pytest.mark.parametrize(("text", "line"), [("x = 1\ny = 1 / 0\n", 2), ("def broken(:\n", 1)])
def test_a_failing_plugin_file_is_reported_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    plugin = tmp_path / "broken_plugin.py"
    plugin.write_text(text)
    with pytest.raises(PluginError, match=rf"broken_plugin\.py, line {line}"):
        load_plugin_file(plugin)


def test_a_plugin_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_plugin_file(tmp_path / "nothing.py")


def test_a_plugin_file_is_loaded_once_and_its_names_returned(tmp_path: Path) -> None:
    plugin = tmp_path / "own_table.py"
    plugin.write_text("import petl_bench as pb\n@pb.register_table('own_table_for_a_test')\nclass Own:\n    'Mine.'\n")
    assert [name for _, name in load_plugin_file(plugin)] == ["own_table_for_a_test"]
    assert [name for _, name in load_plugin_file(plugin)] == ["own_table_for_a_test"]
