"""What the user asks for: flags, a file, and both."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.values.flag_lists import join_list, split_list, whole_numbers
from petl_bench.errors import UsageError
from petl_bench.running.planning.spec import Spec, read_spec
from petl_bench.system.commands import made_anew

FILE = """
methods = ["msta", "lora"]
seeds = [3, 4]
epochs = 2
splits = [1]
precision = "bf16"

[set.lora]
rank = 8
towers = "video"

[set.folder]
base_classes = ["Archery", "Diving"]
"""


def test_defaults_are_those_of_the_interface() -> None:
    spec = read_spec({"methods": ("lora",)}, None)
    assert (spec.setting, spec.datasets, spec.backbone_name, spec.weights) == (
        "base2novel",
        ("motion",),
        "viclip-tiny",
        "auto",
    )
    assert (spec.seeds, spec.output, spec.launcher, spec.decoder) == ((0, 1, 2), "runs", "local", "auto")


def test_flags_win_over_the_file_and_set_adds_up(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(FILE)
    spec = read_spec({"methods": ("adaptformer",), "set": ("lora.rank=16",), "epochs": None}, file)
    assert spec.methods == ("adaptformer",)
    assert (spec.seeds, spec.epochs, spec.splits, spec.precision) == ((3, 4), 2, ("1",), "bf16")
    assert spec.overrides()["lora"] == {"rank": "16", "towers": "video"}
    assert spec.overrides()["folder"] == {"base_classes": "Archery,Diving"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metods = ['lora']", "did you mean methods"),
        ("seeds = ['a']", "seeds"),
        ("epochs = 1.5", "whole number"),
        ("epochs = true", "whole number"),
        ("precision = 'fp64'", "fp32, bf16, fp16"),
        ("set = 3", "NAME.FIELD=VALUE"),
        ("methods = [", "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"spec\.toml") as caught:
        read_spec({"methods": ("lora",)}, file)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seeds = '0-2'", "seeds", (0, 1, 2)),
        ("seeds = '0-2,5'", "seeds", (0, 1, 2, 5)),
        ("seeds = ['0-2', 5]", "seeds", (0, 1, 2, 5)),
        ("seeds = 3", "seeds", (3,)),
        ("splits = '1-3'", "splits", ("1", "2", "3")),
        ("splits = [1, 'own']", "splits", ("1", "own")),
        ("shots = '2,4-5'", "shots", (2, 4, 5)),
        ("datasets = 'ucf101,kitchen=a b'", "datasets", ("ucf101", "kitchen=a b")),
        ("datasets = ['kitchen=a, b', 'ucf101']", "datasets", ("kitchen=a, b", "ucf101")),
        ("methods = 'lora,msta'", "methods", ("lora", "msta")),
    ],
)
def test_a_text_in_a_file_is_what_the_flag_takes(tmp_path: Path, text: str, field: str, value: object) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(text)
    given = {} if field == "methods" else {"methods": ("lora",)}
    assert getattr(read_spec(given, file), field) == value


@given(st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1).map(str.strip).filter(bool), min_size=1))
def test_lists_are_read_back_as_they_are_written(parts: list[str]) -> None:
    assert split_list(join_list(parts), "--datasets") == tuple(parts)


@pytest.mark.parametrize("text", ["2-0", "0-x", "-1-2", "0-10000", "1.5", "0-2-4"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--seeds {text}"):
        whole_numbers([text], "--seeds")


def test_a_quote_that_does_not_end_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--datasets .*stands in double quotes"):
        split_list('"kitchen=a,b', "--datasets")


def test_a_source_and_a_data_set_of_one_name_are_one_folder() -> None:
    same = Spec(methods=("lora",), datasets=("kitchen=a", "street=b"), source="kitchen=a")
    assert same.folders() == {"kitchen": "a", "street": "b"}
    with pytest.raises(UsageError, match="--source kitchen=c: --datasets gives the name 'kitchen' to a"):
        Spec(methods=("lora",), datasets=("kitchen=a",), source="kitchen=c")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml.*No such file"):
        read_spec({"methods": ("lora",)}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "--methods a,b"),
        ({"methods": ("lora",), "seeds": ()}, "--seeds"),
        ({"methods": ("lora",), "seeds": (-1,)}, "--seeds"),
        ({"methods": ("lora",), "datasets": ()}, "--datasets"),
        ({"methods": ("lora",), "batch_size": 0}, "--batch-size 0: must be at least 1"),
        ({"methods": ("lora",), "set": ("rank=8",)}, "NAME.FIELD=VALUE"),
        ({"methods": ("lora",), "set": ("lora.rank",)}, "NAME.FIELD=VALUE"),
    ],
)
def test_bad_values_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_spec(values, None)
    assert says in str(caught.value)


def test_the_command_says_what_differs_from_the_defaults() -> None:
    spec = Spec(methods=("msta", "lora"), seeds=(0, 5), set=("lora.rank=8",), output="my runs", force=True)
    assert spec.command() == "petl-bench run --methods msta,lora --seeds 0,5 --set lora.rank=8 --output 'my runs'"


@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4),
    epochs=st.none() | st.integers(0, 9),
    output=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=9),
    value=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5),
)
def test_the_command_asks_for_the_same_run(seeds: list[int], epochs: int | None, output: str, value: str) -> None:
    spec = Spec(methods=("lora",), seeds=tuple(seeds), epochs=epochs, output=output, set=(f"lora.towers={value}",))
    words = shlex.split(spec.command())
    assert words[:4] == ["petl-bench", "run", "--methods", "lora"]
    given_words = dict(zip(words[2::2], words[3::2], strict=True))
    assert given_words.get("--seeds", "0,1,2") == ",".join(map(str, seeds))
    assert given_words.get("--epochs") == (None if epochs is None else str(epochs))
    assert given_words.get("--output", "runs") == output
    assert given_words["--set"] == f"lora.towers={value}"


def test_how_it_is_run_is_not_part_of_the_identity() -> None:
    spec = Spec(methods=("lora",))
    assert spec.identity == Spec(methods=("lora",), workers=4, device="cpu", output="elsewhere").identity
    assert spec.identity != Spec(methods=("lora",), epochs=3).identity


CONTRADICTIONS = [("epochs", 3, 7), ("batch_size", 4, 8), ("select", "val", "last"), ("precision", "fp16", "bf16")]


@pytest.mark.parametrize(("name", "flag", "other"), CONTRADICTIONS)
def test_a_flag_and_a_value_that_contradict_each_other_are_refused(
    tmp_path: Path, name: str, flag: Any, other: Any
) -> None:
    told = f"training.{name}={other}"
    file = tmp_path / "spec.toml"
    file.write_text(f"[set.training]\n{name} = {other!r}\n")
    for flags, path in (({"set": (told,)}, None), ({"variants": ((told,),)}, None), ({}, file)):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {flag} and {told} .* contradict each other"):
            read_spec({"methods": ("lora",), name: flag, **flags}, path)
    assert read_spec({"methods": ("lora",), name: flag, "set": (f"training.{name}={flag}",)}, None).set
    file.write_text(f"{name} = {other!r}\n")
    assert getattr(read_spec({"methods": ("lora",), name: flag}, file), name) == flag  # a flag wins over its own key


def test_two_sources_are_refused() -> None:
    values = {"setting": "zero_shot_transfer", "set": ("zero_shot_transfer.source=ucf101",)}
    with pytest.raises(UsageError, match=r"--source motion and zero_shot_transfer\.source=ucf101"):
        Spec(methods=("lora",), source="motion", **values)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [('seeds = "0"', (0,)), ('seeds = "0, 2"', (0, 2)), ("seeds = 3", (3,)), ("seeds = [0, 1]", (0, 1))],
)
def test_a_list_in_a_file_may_be_written_as_in_a_flag(tmp_path: Path, text: str, seeds: tuple[int, ...]) -> None:
    (tmp_path / "spec.toml").write_text(f'methods = "lora,msta"\n{text}\n')
    spec = read_spec({}, tmp_path / "spec.toml")
    assert (spec.methods, spec.seeds) == (("lora", "msta"), seeds)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'seeds = "a"', r"seeds a: expected whole numbers, e\.g\. 0,1,2 or 0-2"),
        (b"x = " + b"[" * 5_000, "nested too deeply"),
        (b"x = " + b"{a = " * 5_000, "nested too deeply"),
        (b"x = " + b"9" * 5_000, "not valid TOML"),
        (b"\xff", "can't decode"),
        (b"#" * (1 << 21), "larger than"),
        (b'output = "a\\u0000b"', "control character"),
    ],
)
def test_a_spec_file_that_cannot_be_one_is_refused_in_a_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read_spec({"methods": ("lora",)}, tmp_path / "spec.toml")


@pytest.mark.parametrize("name", ["output", "data_root", "weights", "profile", "backbone"])
@pytest.mark.parametrize("control", ["\n", "\0", "\x1b", "\x9b"])
def test_a_name_with_a_control_character_is_refused(name: str, control: str) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} '.*': a line end or another control character"):
        Spec(methods=("lora",), **{name: f"a{control}b"})


@given(
    output=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=9).filter(str.strip),
    plugin=st.lists(st.sampled_from(["a b.py", "'.py", "$(x).py", "--force.py", "ü.py"]), max_size=3),
)
def test_a_command_that_a_plan_keeps_is_made_anew(output: str, plugin: list[str]) -> None:
    command = Spec(methods=("lora",), output=output, plugin=tuple(plugin), epochs=3).command()
    assert made_anew(command) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        "touch pwned",
        "petl-bench run --methods lora; touch pwned",
        "petl-bench run --methods lora && touch pwned",
        "petl-bench run --methods lora\ntouch pwned",
        "petl-bench run --methods lora \x1b[2J",
        "petl-bench run --methods \u202elora",
        "petl-bench run --methods 'lora",
        "petl-bench delete --runs /",
        "petl-bench run " + "--methods lora " * 10_000,
    ],
)
def test_another_command_is_not(text: str) -> None:
    assert made_anew(text) == ""


def test_what_a_shell_would_run_is_quoted() -> None:
    assert made_anew("petl-bench run --output $(x)") == "petl-bench run --output '$(x)'"
