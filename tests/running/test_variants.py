"""Alternatives in one plan, on the command line and in a spec file; plans that are only rehearsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petl_bench.errors import DataError, UsageError
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.running.planning.spec import Spec, parse_variants, read_spec
from tests.running.test_plan import spec_of


def steps(spec: Spec) -> list[tuple[str, int]]:
    return [(job.trial.method, job.trial.hyper_parameters["steps"]) for job in plan(spec).jobs]


def test_each_variant_is_run_and_what_they_share_is_run_once(toy_here: Any) -> None:
    variants = parse_variants(["waiting.steps=4", "waiting.steps=5 toys.colour=red"])
    spec = spec_of(toy_here, methods=("waiting", "other"), variants=variants)
    assert steps(spec) == [("waiting", 4), ("other", 2), ("waiting", 5)]


def test_a_variant_wins_over_a_value_for_all(toy_here: Any) -> None:
    variants = parse_variants(["waiting.steps=4", ""])
    assert steps(spec_of(toy_here, set=("waiting.steps=9",), variants=variants)) == [("waiting", 4), ("waiting", 9)]


def test_variants_in_a_file_are_those_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(
        'methods = ["lora"]\n[[variants]]\nlora.rank = 4\nlora.targets = ["q", "v"]\n[[variants]]\nlora.rank = 8\n'
    )
    spec = read_spec({}, file)
    assert spec.variants == (("lora.rank=4", "lora.targets=q,v"), ("lora.rank=8",))
    assert "--variant 'lora.rank=4 lora.targets=q,v' --variant lora.rank=8" in spec.command()


@pytest.mark.parametrize("content", ["variants = 3", "variants = [3]", "[variants]\nlora.rank = 4"])
def test_variants_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(f'methods = ["lora"]\n{content}\n')
    with pytest.raises(UsageError, match="variants: expected tables"):
        read_spec({}, file)


def test_a_misspelt_field_of_a_variant_is_refused(toy_here: Any) -> None:
    with pytest.raises(UsageError, match="step"):
        plan(spec_of(toy_here, variants=parse_variants(["waiting.step=4"])))
    with pytest.raises(UsageError, match=r"expected NAME\.FIELD=VALUE"):
        spec_of(toy_here, variants=parse_variants(["steps"]))


def test_a_rehearsal_counts_trials_without_data_and_weights(toy_here: Any) -> None:
    spec = spec_of(toy_here, setting="toy_transfer", datasets=("elsewhere",), weights="auto", seeds=(0, 1))
    with pytest.raises(DataError, match="not here"):
        plan(spec_of(toy_here, datasets=("elsewhere",)))
    planned = plan(spec, rehearsal=True)
    assert len(planned.jobs) == 6, "two adaptations, two splits of two seeds"
    assert any("elsewhere: not on this machine" in note for note in planned.notes)
    assert any("names no published weights" in warning for warning in planned.warnings)
    lines = list(plan_lines(planned))
    assert all(line.startswith("-  ") for line in lines[1:7]), "no key without files"
    assert "6 trials" in lines[8]
