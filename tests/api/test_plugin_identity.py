"""A plugin is the code that ran: what enters its version, and what is refused when a trial starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from petl_bench.api.plugins.files import changed, code_of, hash_of
from petl_bench.api.plugins.identity import plugin_version, refuse_changed_plugins
from petl_bench.api.registry import METHODS
from petl_bench.errors import PluginError, TrialError
from petl_bench.running.attempts.snapshot import take_snapshot
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec

METHOD = """
import petl_bench as pb
{imports}

@pb.register_method("{name}")
class Mine(pb.Method):
    '''Trains nothing.'''

    def attach(self, model):
        {late}

    def expected_trainable(self, config):
        return 0
"""


def write_method(path: Path, imports: str = "", late: str = "pass", name: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(METHOD.format(imports=imports, late=late, name=name))
    return path


def names(path: Path) -> list[str]:
    return sorted(code_of(path))


def in_a_new_process(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


VERSION = """
import sys
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import METHODS, load_plugin_file
load_plugin_file(sys.argv[1])
print(plugin_version(METHODS.get("mine")))
"""


def test_a_file_that_imports_nothing_beside_it_is_its_own_hash(tmp_path: Path) -> None:
    plugin = write_method(tmp_path / "mine.py", "import json, torch\nfrom pathlib import Path")
    (tmp_path / "other.py").write_text("not imported")
    expected = f"1+{hashlib.sha256(plugin.read_bytes()).hexdigest()}"
    assert in_a_new_process(VERSION, str(plugin)) == expected


@pytest.mark.parametrize(
    ("imports", "late", "found"),
    [
        ("import helper", "pass", ["helper"]),
        ("from helper import x as y", "pass", ["helper"]),
        ("", "import helper", ["helper"]),
        ("", "from parts.deep import thing", ["parts", "parts.deep", "parts.near"]),
        ("import parts.deep as deep", "pass", ["parts", "parts.deep", "parts.near"]),
        ("from parts import deep", "pass", ["parts", "parts.deep", "parts.near"]),
        ("import loose.one", "pass", ["loose.one"]),
        ("import importlib", "importlib.import_module('helper')", ["helper"]),
        ("import chain", "pass", ["chain", "helper"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import helper", "pass", []),
        ("if __name__ == '__main__':\n    import helper", "pass", []),
        ("import random, numpy", "pass", []),
    ],
)
def test_what_a_plugin_file_imports_from_beside_it_is_its_code(
    imports: str, late: str, found: list[str], tmp_path: Path
) -> None:
    files = {
        "helper.py": "x = 1\n",
        "chain.py": "def f():\n    import helper\n",
        "parts/__init__.py": "",
        "parts/deep.py": "from .near import thing\n",
        "parts/near.py": "from . import deep\nthing = 1\n",
        "loose/one.py": "",
        "random.py": "raise SystemExit('the standard library wins')\n",
        "numpy.py": "raise SystemExit('installed packages win')\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    plugin = write_method(tmp_path / "mine.py", imports, late)
    assert names(plugin) == ["", *found]
    version = in_a_new_process(VERSION, str(plugin))
    assert version == f"1+{hash_of(code_of(plugin))}"
    for name in found:
        file = code_of(plugin)[name].file
        text = file.read_text()
        file.write_text(text + "# edited\n")
        assert in_a_new_process(VERSION, str(plugin)) != version, f"{name} was edited"
        file.write_text(text)
    assert in_a_new_process(VERSION, str(plugin)) == version


def test_a_module_of_pythonpath_is_the_users_own_too(tmp_path: Path) -> None:
    plugin = write_method(tmp_path / "plugins" / "mine.py", "import lib_of_mine")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "lib_of_mine.py").write_text("x = 1\n")
    path = str(tmp_path / "lib")
    before = in_a_new_process(VERSION, str(plugin), PYTHONPATH=path)
    (tmp_path / "lib" / "lib_of_mine.py").write_text("x = 2\n")
    assert in_a_new_process(VERSION, str(plugin), PYTHONPATH=path) != before


def test_a_class_that_a_helper_registers_is_known_by_the_helpers_code(tmp_path: Path) -> None:
    write_method(tmp_path / "adapters_of_mine.py")
    plugin = tmp_path / "all.py"
    plugin.write_text("import adapters_of_mine\n")
    before = in_a_new_process(VERSION, str(plugin))
    assert before == f"1+{hashlib.sha256((tmp_path / 'adapters_of_mine.py').read_bytes()).hexdigest()}"


def test_a_module_that_is_imported_late_is_the_one_that_was_hashed(tmp_path: Path) -> None:
    plugin = write_method(tmp_path / "mine.py", late="import late_of_mine")
    (tmp_path / "late_of_mine.py").write_text("x = 1\n")
    code = (
        "import sys\nfrom pathlib import Path\nfrom petl_bench.api.registry import METHODS, load_plugin_file\n"
        "load_plugin_file(sys.argv[1])\nPath(sys.argv[2]).write_text('x = 2\\n')\n"
        "try:\n    import late_of_mine\nexcept Exception as error:\n    print(error)\n"
    )
    said = in_a_new_process(code, str(plugin), str(tmp_path / "late_of_mine.py"))
    assert said.endswith("late_of_mine.py changed after the plugin that imports it; run the command again")


def test_two_plugins_with_different_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_method(tmp_path / folder / f"{folder}.py", "import helper_of_both", name=folder)
        (tmp_path / folder / "helper_of_both.py").write_text(f"x = '{folder}'\n")
    code = (
        "import sys\nfrom petl_bench.api.registry import load_plugin_file\nload_plugin_file(sys.argv[1])\n"
        "try:\n    load_plugin_file(sys.argv[2])\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    said = in_a_new_process(code, str(tmp_path / "one" / "one.py"), str(tmp_path / "two" / "two.py"))
    assert said.startswith("PluginError") and "two plugins import modules named helper_of_both" in said
    assert "\n" not in said


def test_a_snapshot_holds_what_a_plugin_imports(tmp_path: Path) -> None:
    plugin = write_method(tmp_path / "mine.py", "import parts.deep", "import helper")
    (tmp_path / "parts").mkdir()
    for name in ("parts/__init__.py", "parts/deep.py", "helper.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    (copy,) = take_snapshot(tmp_path / "runs", [plugin]).plugins
    assert {str(path.relative_to(copy.parent)) for path in copy.parent.rglob("*.py")} == {
        "mine.py",
        "helper.py",
        "parts/__init__.py",
        "parts/deep.py",
    }
    before = in_a_new_process(VERSION, str(plugin))
    assert in_a_new_process(VERSION, str(copy), PYTHONPATH=str(tmp_path)) == before
    (tmp_path / "helper.py").write_text("# edited after submission\n")
    assert in_a_new_process(VERSION, str(copy), PYTHONPATH=str(tmp_path)) == before, "its own copy wins"


def test_builtin_plugins_keep_their_declared_version() -> None:
    assert {plugin_version(METHODS.get(name)) for name in ("lora", "msta", "zero_shot")} == {"1"}


def test_plugins_of_another_distribution_are_known_by_its_code(tmp_path: Path) -> None:
    package = tmp_path / "site" / "their_adapters"
    write_method(package / "__init__.py")
    (package / "maths.py").write_text("x = 1\n")
    info = tmp_path / "site" / "their_adapters-3.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-adapters\nVersion: 3.2\n")
    (info / "entry_points.txt").write_text("[petl_bench.methods]\nmine = their_adapters:Mine\n")
    (info / "RECORD").write_text("their_adapters/__init__.py,,\ntheir_adapters/maths.py,,\n")
    code = (
        "from petl_bench.api.plugins.identity import plugin_version\nfrom petl_bench.api.registry import METHODS\n"
        "print(plugin_version(METHODS.get('mine')), plugin_version(METHODS.get('lora')))\n"
    )
    before = in_a_new_process(code, PYTHONPATH=str(tmp_path / "site"))
    assert before.startswith("1+their-adapters 3.2 ") and before.endswith(" 1")
    (info / "RECORD").write_text("")  # an editable installation lists no code
    assert in_a_new_process(code, PYTHONPATH=str(tmp_path / "site")) == before
    (package / "maths.py").write_text("x = 2\n")
    assert in_a_new_process(code, PYTHONPATH=str(tmp_path / "site")) != before


# Checked again when a trial starts


def test_every_kind_of_plugin_is_checked_when_a_trial_starts() -> None:
    trial = plan(Spec(methods=("lora",), seeds=(0,))).jobs[0].trial
    refuse_changed_plugins(trial)
    for field, value in (
        ("method_version", "2"),
        ("setting_version", "2"),
        ("dataset_version", "2"),
        ("backbone_version", "1+abc"),
    ):
        with pytest.raises(TrialError, match="changed since this trial was planned; run the command again"):
            refuse_changed_plugins(dataclasses.replace(trial, **{field: value}))


def test_the_files_that_changed_are_named(tmp_path: Path) -> None:
    plugin = write_method(tmp_path / "mine.py", "import helper")
    (tmp_path / "helper.py").write_text("x = 1\n")
    before = code_of(plugin)
    (tmp_path / "helper.py").write_text("x = 2\n")
    assert changed(before, code_of(plugin)) == [tmp_path / "helper.py"]


def test_a_plugin_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"nothing\.py cannot be read"):
        code_of(tmp_path / "nothing.py")


def test_a_backbone_of_a_plugin_file_enters_the_key(tmp_path: Path) -> None:
    plugin = tmp_path / "net.py"
    text = (
        "import petl_bench as pb\n\n@pb.register_backbone('net_of_mine')\nclass Net(pb.Backbone):\n    '''Small.'''\n"
        "    config = pb.ViCLIPConfig(vision_width=8, vision_layers=1, text_width=8, text_layers=1, vocab_size=10)\n"
    )
    code = (
        "import json, sys\nfrom petl_bench.running.planning.plan import plan\n"
        "from petl_bench.running.planning.spec import Spec\n"
        "given = {'backbone': 'net_of_mine', 'weights': 'random', 'seeds': (0,), 'plugin': (sys.argv[1],)}\n"
        "spec = Spec(methods=('zero_shot',), **given)\n"
        "trial = plan(spec).jobs[0].trial\nprint(json.dumps([trial.key, trial.backbone_version]))\n"
    )
    plugin.write_text(text)
    first = json.loads(in_a_new_process(code, str(plugin)))
    plugin.write_text(text.replace("vision_layers=1", "vision_layers=2"))
    second = json.loads(in_a_new_process(code, str(plugin)))
    assert first[0] != second[0]
    assert first[1] == f"1+{hashlib.sha256(text.encode()).hexdigest()}"
