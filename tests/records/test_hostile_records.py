"""Records whose values were changed so that they still fit their key, and records of names without end."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from petl_bench.api.trial import key_of
from petl_bench.cli import cli
from petl_bench.errors import PetlBenchError
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_record
from petl_bench.records.write import write_record
from tests.reports.synthetic_records import make_result, make_trial

#: What no field of a record is, or only some are.
STRANGE: list[Any] = [None, True, 3, -1, 10**30, 1e308, -0.5, "", "x", "²", "9" * 6_000, [], ["a", 1], [None], [[1]]]
STRANGE += [{}, {"": ""}, {"a": {"b": [1]}}, {"a": None}]
COMMANDS = [("status",), ("runs", "verify"), ("compare", "lora", "msta")]
COMMANDS += [("report", "--table", table) for table in ("base2novel", "ablation", "tradeoff", "reproduction")]
COMMANDS += [("report", "--table", "base2novel", "--format", kind) for kind in ("csv", "json", "latex")]


def made(runs: Path, *seeds: int) -> None:
    for seed in seeds:
        for method in ("lora", "msta"):
            trial = make_trial(method, seed)
            folder = trial_folder(runs, trial.key)
            folder.mkdir(parents=True)
            write_record(folder, trial, make_result(75.0, 50.0, trainable=5))


def run(*arguments: str) -> str:
    """A command to its end, and what it prints; it may refuse, and must not fail otherwise."""
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, (PetlBenchError, SystemExit)):
        raise result.exception
    return result.stdout


def places(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place in nested mappings."""
    if place:
        yield place
    if isinstance(value, dict):
        for name in value:
            yield from places(value[name], (*place, name))


def changed(record: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The record with another value in that place, and the key that it then has."""
    record = copy.deepcopy(record)
    within = record
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = value
    if isinstance(record.get("trial"), dict):
        record["key"] = key_of(record["trial"])
    return record


def replace_record(folder: Path, record: dict[str, Any]) -> None:
    """Put the record into a folder of its key."""
    (folder / "record.json").write_text(json.dumps(record))
    key = record.get("key")
    if isinstance(key, str) and len(key) == 64:
        folder.rename(folder.with_name(key))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("trial", "method"), ["x"]),
        (("trial", "seed"), 10**30),
        (("trial", "locations"), [1]),
        (("trial", "training", "epochs"), "many"),
        (("metrics", "base_top1"), 10**400),
        (("marks",), [3]),
        (("marks",), ["two words"]),
        (("notes",), [None]),
        (("environment", "device"), ["cpu"]),
        (("trainable_params",), 10**30),
        (("coverage", "base", "used"), True),
        (("coverage",), {"../base": {"expected": 1, "found": 1, "unreadable": 0, "used": 1}}),
    ],
)
def test_a_value_of_another_type_is_named_and_the_record_left_out(
    tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    made(tmp_path, 0)
    folder = next(iter(sorted((tmp_path / "trials").iterdir())))
    replace_record(folder, changed(read_record(folder), place, value))
    shown = CliRunner().invoke(cli, ["status", "--runs", str(tmp_path)]).stdout
    assert "1 done, 1 damaged" in shown
    assert run("report", "--runs", str(tmp_path), "--table", "base2novel")


@pytest.mark.drill
@pytest.mark.parametrize("seed", range(8))
def test_no_record_that_fits_its_key_makes_a_command_fail(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    made(tmp_path / "sound", 0, 1)
    for number in range(25):
        runs = tmp_path / str(number)
        shutil.copytree(tmp_path / "sound", runs)
        folder = draw.choice(sorted((runs / "trials").iterdir()))
        record = read_record(folder)
        replace_record(folder, changed(record, draw.choice(list(places(record))), draw.choice(STRANGE)))
        for arguments in draw.sample(COMMANDS, 3):
            run(*arguments, "--runs", str(runs))
        if number % 5 == 0:
            run("report", "--runs", str(runs), "--output", f"{runs}/site/")


@pytest.mark.drill
def test_a_thousand_classes_and_clips_of_five_thousand_letters(tmp_path: Path) -> None:
    for method in ("lora", "msta"):
        trial = make_trial(method, dataset="d" * 5_000, hyper_parameters={"x": "v" * 5_000})
        result = make_result(50.0, 25.0, trainable=5)
        for evaluation in result.evaluations.values():
            evaluation.classes = tuple(f"{name} {'c' * 5_000}" for name in evaluation.classes)
            evaluation.clips = [f"{name} {'k' * 5_000}" for name in evaluation.clips]
        folder = trial_folder(tmp_path / "runs", trial.key)
        folder.mkdir(parents=True)
        write_record(folder, trial, result)
    report = ("report", "--runs", str(tmp_path / "runs"))
    for output_format in ("terminal", "markdown", "latex", "html"):
        assert "d" * 2_001 not in run(*report, "--table", "base2novel", "--format", output_format)
    assert "d" * 5_000 in run(*report, "--table", "base2novel", "--format", "csv")
    run(*report, "--output", f"{tmp_path}/site/")
    page = (tmp_path / "site" / "index.html").read_text()
    assert len(page) < 6e6
    assert "c" * 300 not in page
    assert "k" * 300 not in page
