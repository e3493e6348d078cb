"""The profiles that ship: every one can be used as it stands, and is found by name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from petl_bench.api.registry import LAUNCHERS
from petl_bench.api.values.fields import field_types
from petl_bench.errors import UsageError
from petl_bench.running.planning.profiles import meaning, profile_path, profiles
from tests.running.fake_scheduler import petl_bench

NAMES = ("cpu_many_small_trials", "one_gpu", "preemptible", "several_gpus_per_trial")


def uncommented(path: Path) -> str:
    """A profile with its commented-out fields in force."""
    lines = path.read_text().splitlines()
    field = re.compile(r'# (\w[\w-]* = .*|\[extra\]|    "[^"]*",|\])$')
    return "\n".join(found[1] if (found := field.match(line)) else line for line in lines)


def test_all_profiles_are_listed_with_their_meaning() -> None:
    lines = dict(line.split(None, 1) for line in petl_bench("list", "profiles").stdout.splitlines())
    assert tuple(lines) == NAMES
    assert all(len(text) > 30 for text in lines.values())
    assert lines == {name: meaning(path) for name, path in profiles().items()}


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_the_file(name: str) -> None:
    assert petl_bench("show", f"profiles:{name}").stdout == profiles()[name].read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("read", [Path.read_text, uncommented], ids=["as it stands", "with its comments in force"])
def test_every_field_is_one_of_the_launcher(name: str, read) -> None:
    values = tomllib.loads(read(profiles()[name]))
    launcher = LAUNCHERS.get("slurm")
    extra = [f"{option}={value}" for option, value in values.pop("extra", {}).items()]
    assert set(values) <= set(field_types(launcher))
    made = launcher(**values, extra=extra)
    assert {field: getattr(made, field) for field in values if field != "setup"} == {
        field: value for field, value in values.items() if field != "setup"
    }


def test_the_comments_name_fields() -> None:
    """The test above finds what is commented out: else it would check nothing."""
    fields = tomllib.loads(uncommented(profiles()["one_gpu"]))
    assert {"partition", "account", "qos", "constraint", "exclude", "setup", "extra"} <= set(fields)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_names_the_profile(name: str) -> None:
    assert f"--profile {name}" in profiles()[name].read_text()


def test_a_profile_is_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").touch()
    assert profile_path("one_gpu") == profiles()["one_gpu"]
    assert profile_path("mine.toml") == Path("mine.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("one_gpus", "unknown profile 'one_gpus'; did you mean one_gpu"),
        ("elsewhere/one_gpu.toml", "named without a path: one_gpu"),
        ("elsewhere/mine.toml", "no such file. Profiles that ship: cpu_many_small_trials, one_gpu"),
    ],
)
def test_what_is_neither_gets_near_names(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        profile_path(text)


def test_show_knows_near_names() -> None:
    with pytest.raises(UsageError, match="did you mean preemptible"):
        petl_bench("show", "profiles:preemptable")
