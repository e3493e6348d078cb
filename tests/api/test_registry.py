"""The registry: names, clashes, near names, broken plugins, plugin files."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api import registry as registry_module
from petl_bench.api.registry import KINDS, METHODS, Registry, load_plugin_file, named
from petl_bench.errors import DataError, PluginError, UsageError


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


@pytest.mark.parametrize("name", ["peft", "peft:OFT", "peft:X"])
def test_the_names_of_a_family_are_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"the method name '{name}' is taken: it belongs to the family peft"
    with pytest.raises(PluginError, match=told):
        METHODS.register(name)
    monkeypatch.setattr(METHODS, "_entries", {name: EntryPoint(name, "drawer:Mine", "g")})
    with pytest.raises(PluginError, match=told):
        METHODS.get(name)


def test_near_names_are_found_without_case() -> None:
    with pytest.raises(UsageError, match=r"unknown method 'LORA'; did you mean lora\?"):
        METHODS.get("LORA")
    for ask in (METHODS.get, named):
        with pytest.raises(UsageError, match=r"unknown method 'PEFT:LORA'; did you mean peft:LORA\?"):
            ask("PEFT:LORA")


def test_two_entry_points_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("spoon", "kitchen:Spoon", "g"), EntryPoint("spoon", "drawer:Spoon", "g")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    with pytest.raises(PluginError, match=r"kitchen:Spoon.*drawer:Spoon"):
        Registry("thing", "things").names()


def test_a_name_means_every_plugin_that_has_it_and_kinds_tell_them_apart() -> None:
    METHODS.register("own:lora")(type("Own", (METHODS.get("lora"),), {"__module__": "tests.own"}))
    assert [registry.kind for registry, _ in named("few_shot")] == ["setting", "table"]
    assert named("tables:few_shot") == [(KINDS["tables"], "few_shot")]
    assert named("own:lora") == [(METHODS, "own:lora")]
    with pytest.raises(UsageError, match="unknown kind 'table'; did you mean tables"):
        named("table:few_shot")
    with pytest.raises(UsageError, match="unknown setting 'lora'"):
        named("settings:lora")


MODULES = {
    "decorated": "@pb.register_method('{name}')\nclass Mine(pb.Method):\n",
    "plain": "class Mine(pb.Method):\n",
}


@pytest.mark.parametrize(
    ("how", "value", "says"),
    [
        ("decorated", "{module}", ""),
        ("decorated", "{module}:Mine", ""),
        ("plain", "{module}:Mine", ""),
        ("plain", "{module}", "is a module that registers no method of that name: write @pb.register_method"),
    ],
)
def test_an_entry_point_names_a_module_or_a_class(
    how: str, value: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{how}_{len(value)}"
    body = "    def attach(self, model): pass\n    def expected_trainable(self, config): return 0\n"
    (tmp_path / f"{name}.py").write_text("import petl_bench as pb\n" + MODULES[how].format(name=name) + body)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint(name, value.format(module=name), "petl_bench.methods")
    monkeypatch.setitem(METHODS._entry_points(), name, entry)
    if says:
        with pytest.raises(PluginError, match=says):
            METHODS.get(name)
        return
    plugin = METHODS.get(name)
    assert (plugin.__name__, plugin.name) == ("Mine", name)
    assert METHODS.get(name) is plugin
    del METHODS._registered[name]


def test_an_unknown_name_gets_near_names_and_the_list_command() -> None:
    with pytest.raises(UsageError, match=r"did you mean lora.*petl-bench list methods"):
        METHODS.get("lorra")


def test_a_broken_plugin_is_named_and_the_others_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("bad", "no_such_module_here:Bad", "g"), EntryPoint("good", "pathlib:Path", "g")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    things = Registry("thing", "things")
    assert things.names() == ["bad", "good"]
    assert list(things.broken()) == ["bad"] and "no_such_module_here" in things.broken()["bad"]
    assert things.get("good") is Path


@pytest.mark.parametrize(
    ("text", "line"), [("x = 1\ny = 1 / 0\n", 2), ("def broken(:\n", 1), ("raise SystemExit(0)\n", 1)]
)
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


@pytest.mark.parametrize("name", ["a,b=c.d e", "", "+cmd", "=1+1", "a.b", "a\x1b[31m", "x" * 65, "training", "all", 3])
def test_a_name_that_flags_cannot_say_is_refused(things: Registry, name: str) -> None:
    with pytest.raises(PluginError, match="cannot be the name of a thing"):
        things.register(name)


def test_an_installed_plugin_of_such_a_name_is_named_and_the_others_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("a b", "pathlib:PurePath", "g"), EntryPoint("good", "pathlib:Path", "g")]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries)
    things = Registry("thing", "things")
    assert "cannot be the name of a thing" in things.broken()["a b"]
    assert things.get("good") is Path


INCOMPLETE = """
from pathlib import Path
import petl_bench as pb

@pb.register_dataset("no_lists")
class NoLists(pb.Dataset): "Without annotations()."

@pb.register_backbone("no_config")
class NoConfig(pb.Backbone): "Without config."

@pb.register_setting("no_cases")
class NoCases(pb.Setting): "Without anything."

@pb.register_table("no_build")
class NoBuild(pb.TableSource): "Without build()."

@pb.register_launcher("no_run")
class NoRun(pb.Launcher): "Without run()."

@pb.register_method("no_method")
class NoMethod: "Of no base."

@pb.register_method("no_formula")
class NoFormula(pb.Method):
    "Without expected_trainable()."
    def attach(self, model): pass

@pb.register_dataset("lists_only")
class ListsOnly(pb.Dataset):
    "Its files lie where --data-root says."
    def annotations(self, root): return {"wrong": root.name}

@pb.register_dataset("failing")
class Failing(pb.Dataset):
    "Its code is wrong."
    def annotations(self, root): return root["classes"]

@pb.register_setting("wrong")
class Wrong(pb.Setting):
    "Returns what it must not."
    def cases(self, annotations, seeds, splits, shots): return ["1"]
    def task(self, annotations, case): return None
    def summarise(self, accuracies): return {"top1": float("nan")}

@pb.register_table("wrong")
class WrongTable(pb.TableSource):
    "Returns what it must not."
    def build(self, evidence): return [1]

@pb.register_launcher("wrong")
class WrongLauncher(pb.Launcher):
    "Returns what it must not."
    def run(self, jobs, store, watch): return None
"""


@pytest.fixture
def incomplete(tmp_path: Path) -> None:
    (tmp_path / "incomplete.py").write_text(INCOMPLETE)
    load_plugin_file(tmp_path / "incomplete.py")


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("datasets", "no_lists", r"must define annotations\(self, root\)"),
        ("backbones", "no_config", "must define config = pb.ViCLIPConfig"),
        ("settings", "no_cases", r"must define cases\(.*and task\(.*and summarise\("),
        ("tables", "no_build", r"must define build\(self, evidence\)"),
        ("methods", "no_method", r"must be a class that derives from pb.Method \(petl_bench.api.method\)"),
        ("methods", "no_formula", r"must define expected_trainable\(self, config\)"),
        ("launchers", "no_run", r"must define run\(self, jobs, store, watch\), which returns a list with one pb.Attem"),
    ],
)
@pytest.mark.usefixtures("incomplete")
def test_an_incomplete_plugin_says_what_its_author_must_write(kind: str, name: str, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        KINDS[kind].get(name)
    assert name in KINDS[kind].broken()


@pytest.mark.parametrize(
    ("kind", "name", "call", "says"),
    [
        ("datasets", "lists_only", ("annotations", Path("/x")), r"returned dict; it must return pb.Annotations"),
        (
            "datasets",
            "failing",
            ("annotations", Path("/x")),
            r"annotations\(\) fails: TypeError.*incomplete.py, line 36",
        ),
        ("settings", "wrong", ("cases", None, (), None, None), "returned list; it must return a list of pb.Case"),
        ("settings", "wrong", ("task", None, None), "returned NoneType; it must return pb.Task"),
        ("settings", "wrong", ("summarise", {}), "must return the metrics by name, finite"),
        ("tables", "wrong", ("build", None), "must return pb.Table"),
        ("launchers", "wrong", ("run", (), Path(), None), "must return a list with one pb.AttemptResult"),
    ],
)
@pytest.mark.usefixtures("incomplete")
def test_a_method_that_returns_something_else_says_so(kind: str, name: str, call: tuple[Any, ...], says: str) -> None:
    plugin = KINDS[kind].get(name)()
    with pytest.raises(PluginError, match=says):
        getattr(plugin, call[0])(*call[1:])


@pytest.mark.usefixtures("incomplete")
def test_a_data_set_with_nothing_but_its_lists_has_its_root_from_the_command_line(tmp_path: Path) -> None:
    dataset = KINDS["datasets"].get("lists_only")()
    assert dataset.root(tmp_path) == tmp_path
    with pytest.raises(DataError, match="lists_only: say where its files are with --data-root DIR"):
        dataset.root(None)


def test_a_name_for_readers_is_of_the_plugin_that_writes_it() -> None:
    lora = METHODS.get("lora")
    METHODS.register("own:unnamed")(type("Unnamed", (lora,), {"__module__": "tests.own"}))
    METHODS.register("own:named")(type("Named", (lora,), {"__module__": "tests.own", "display": "Mine"}))
    shown = {name: METHODS.display(name) for name in ("lora", "own:unnamed", "own:named", "lora+own:named", "gone")}
    assert shown == {
        "lora": "LoRA",
        "own:unnamed": "own:unnamed",
        "own:named": "Mine",
        "lora+own:named": "LoRA + Mine",
        "gone": "gone",
    }
    assert (METHODS.display("peft:OFT"), KINDS["tables"].display("base2novel")) == ("OFT (PEFT)", "base2novel")


@pytest.mark.parametrize("kind", ["methods", "settings", "datasets", "backbones"])
def test_every_builtin_has_a_name_for_readers_of_its_own(kind: str) -> None:
    registry = KINDS[kind]
    shown = [registry.get(name).display for name in registry.names() if registry.get(name).__module__ != "tests.own"]
    assert all(shown) and len(set(shown)) == len(shown)
    assert all(each[0].isupper() or each[0] == "(" for each in shown)
