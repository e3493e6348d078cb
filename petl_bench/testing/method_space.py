"""The check of a method's space: what `petl-bench tune` tries of it by default."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from petl_bench.api.tuning import outermost, training_field
from petl_bench.errors import PetlBenchError
from petl_bench.models.dual_encoder import trainable_parameters
from petl_bench.testing.checks import Failed, Skipped, require
from petl_bench.testing.harness import finish, outputs
from petl_bench.testing.method_subject import MethodSubject, train_steps


def space_can_be_tuned(subject: MethodSubject) -> None:
    """With every choice and both ends of every range of its `space` it trains a step, its scores are finite, and the
    number of trained parameters stays."""
    plugin = subject.plugin
    fields = [field for field in plugin.space if not training_field(field)]
    if not fields:
        raise Skipped("its space has no field of its own")
    defaults = {field.name: field.default for field in dataclasses.fields(plugin)}
    expected = trainable_parameters(subject.attached()[0])
    for field in fields:
        for value in outermost(plugin.space[field], defaults[field]):
            try:
                _require_usable(subject, field, value, expected)
            except (Failed, PetlBenchError) as error:
                raise Failed(f"space, {field}={value}: {error}") from error


def _require_usable(subject: MethodSubject, field: str, value: Any, expected: int) -> None:
    """Raise Failed, or the training loop's error, if a value cannot be compared with the others in a tuning."""
    model, method = subject.prepared(**{field: value})
    counted = trainable_parameters(model)
    require(
        counted == expected,
        f"{counted:,} parameters train, and {expected:,} with the values used: methods are compared at their sizes; "
        f"leave it out of the space (petl-bench tune --space {subject.name}.{field}=... tunes it)",
    )
    train_steps(model, method, 1)
    finish(model.eval(), method)
    with torch.no_grad():
        require(bool(outputs(model, method).scores.isfinite().all()), "scores are not finite after a step")
