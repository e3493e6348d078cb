"""What the checks of methods are tried on: a method on small random models, as it is attached, prepared and trained."""

from __future__ import annotations

import logging
import os
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from petl_bench.api.backbone import Backbone
from petl_bench.api.composition import parts_of
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method, Recipe
from petl_bench.api.registry import BACKBONES
from petl_bench.api.step import Kind
from petl_bench.api.values.fields import field_types
from petl_bench.errors import UsageError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.testing import harness
from petl_bench.testing.checks import Failed, Skipped, Subject
from petl_bench.testing.harness import CONFIGS as CONFIGS
from petl_bench.testing.harness import SMALL as SMALL
from petl_bench.testing.harness import batch_for as batch_for
from petl_bench.testing.harness import bound, learner_for, take_step
from petl_bench.testing.harness import features as features
from petl_bench.testing.harness import random_model as random_model


class TorchSubject(Subject):
    """A plugin whose checks compute with small models."""

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The random state and the number of threads are left as they were."""
        threads = torch.get_num_threads()
        with torch.random.fork_rng():
            torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other
            try:
                yield
            finally:
                torch.set_num_threads(threads)


class MethodSubject(TorchSubject):
    """A method under check. Values: those given, else the defaults, else the first recipe that fits a small model."""

    needs_paper = True

    @cached_property
    def configs(self) -> dict[str, ViCLIPConfig]:
        """The shapes that it is tried on, by what they are; those of backbones that it does not support are left out.

        Raises Failed if none is left.
        """
        found = supported_configs(self)
        if not found:
            reasons = dict.fromkeys(refusal(self.plugin, config) for config in CONFIGS.values())
            raise Failed(f"hosted_by refuses every kind of backbone: {'; '.join(reasons)}")
        return found

    @cached_property
    def config(self) -> ViCLIPConfig:
        """The shape that most checks use: the first of `configs`."""
        return next(iter(self.configs.values()))

    @cached_property
    def values(self) -> dict[str, Any]:
        """The hyper-parameters used. Raises Failed if neither the defaults nor any recipe fits a small model."""
        given = self.given.hyper_parameters
        candidates = [given] if given is not None else [{}, *map(self._recipe_values, self.plugin.recipes)]
        reasons = []
        for values in candidates:
            try:
                bound(self.plugin(**values)).attach(random_model(self.config))
            except UsageError as error:
                reasons.append(str(error))
            else:
                return values
        if parts_of(self.plugin):
            raise Failed(f"its parts do not go together on a small model. {reasons[-1]}")
        raise Failed(f"no values fit a model of widths 64 and 48; add a recipe for a small backbone. {reasons[-1]}")

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """As for every plugin that computes; without warnings of words that the small models do not know, and with
        settings of the process put back that the method changes."""
        log = logging.getLogger("petl_bench")
        level, before = log.level, settings()
        log.setLevel(logging.ERROR)
        try:
            with super().surroundings():
                yield
        finally:
            log.setLevel(level)
            for name, value in settings().items():
                if value != before[name]:
                    _RESTORE[name](before[name])

    def create(self, **changes: Any) -> Method:
        """The method with the values used, some of them changed, for a made-up task."""
        return bound(self.plugin(**{**self.values, **changes}))

    def attached(
        self, config: ViCLIPConfig | None = None, *, seed: int = 1, kind: Kind | None = None, **changes: Any
    ) -> tuple[DualEncoder, Method]:
        """A small random model with the method attached; the same numbers for the same seed of the attachments."""
        method = bound(self.create(**changes), kind)
        model = random_model(config or self.config)
        torch.manual_seed(seed)
        method.attach(model)
        return model, method

    def prepared(
        self, config: ViCLIPConfig | None = None, *, kind: Kind | None = None, **changes: Any
    ) -> tuple[DualEncoder, Method]:
        """As `attached`, with what the method makes of the training clips: the model before its first step."""
        model, method = self.attached(config, kind=kind, **changes)
        harness.prepare(model, method)
        return model, method

    def trained(
        self, config: ViCLIPConfig | None = None, *, kind: Kind | None = None, **changes: Any
    ) -> tuple[DualEncoder, Method]:
        """As `prepared`, with noise on every trainable parameter: no zero initialisation hides a mistake."""
        model, method = self.prepared(config, kind=kind, **changes)
        perturb(model)
        return model, method

    def variants(self) -> Iterator[tuple[dict[str, Any], DualEncoder, Method]]:
        """Every change of one field that can be listed (a switch or a choice) and is accepted, as `attached` has it."""
        used = self.create()
        for field, kind in field_types(self.plugin).items():
            choices = (
                (True, False) if kind is bool else typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
            )
            for choice in choices:
                if choice == getattr(used, field):
                    continue
                try:
                    attached = self.attached(**{field: choice})
                except UsageError:
                    continue
                yield {field: choice}, *attached

    def _recipe_values(self, recipe: Recipe) -> dict[str, Any]:
        """As a plan resolves them: a backbone's recipe over the one for every backbone, in the same setting."""
        general = (r.hyper for r in self.plugin.recipes if r.setting == recipe.setting and r.backbone is None)
        return {key: value for hyper in (*general, recipe.hyper) for key, value in hyper.items()}


def perturb(model: DualEncoder) -> None:
    """Seeded noise on every trainable parameter, as training would leave it."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def trainable(model: DualEncoder) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def frozen_tensors(model: DualEncoder) -> dict[str, Tensor]:
    """What training must leave as it is, by name: frozen parameters, and buffers that are not saved."""
    saved = {id(tensor) for tensor in model.adapter_tensors().values()}
    mine = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in mine.items() if id(value) not in saved}


def train_steps(model: DualEncoder, method: Method, steps: int) -> None:
    """A few steps of the training loop on the seeded inputs; the model is left in training mode."""
    torch.manual_seed(5)
    model.train()
    if not trainable(model):
        return
    learner = learner_for(model, method)
    for _ in range(steps):
        take_step(learner)


def training_loss(model: DualEncoder, method: Method, **training: Any) -> float:
    """The loss of a training step that changes no weight, 0 if nothing trains; mode as the model has it."""
    if not trainable(model):
        return 0.0
    return take_step(learner_for(model, method, learning_rate=0.0, **training)).loss


def needs_parameters(model: DualEncoder) -> None:
    """Skip a check that means nothing without trainable parameters."""
    if not trainable(model):
        raise Skipped("nothing trains")


def parameter_shapes(model: DualEncoder) -> dict[str, tuple[int, ...]]:
    """Shape of every trainable parameter by name."""
    return {name: tuple(parameter.shape) for name, parameter in trainable(model).items()}


def supported_configs(subject: MethodSubject) -> dict[str, ViCLIPConfig]:
    """The shapes of the kinds of backbone that the method supports: joint space-time, frame by frame, or both."""
    return {name: config for name, config in CONFIGS.items() if not refusal(subject.plugin, config)}


def refusal(plugin: type[Method], config: ViCLIPConfig) -> str:
    """Why a method cannot be used on backbones of a shape, by its `hosted_by`; "" if it can."""
    names = [""] if plugin.backbones is None else plugin.backbones
    kind = config.joint_space_time
    alike = [name for name in names if not name or BACKBONES.get(name).config.joint_space_time == kind]
    if not alike:
        return f"it supports {', '.join(names)}"
    return plugin.hosted_by(type("Shape", (Backbone,), {"__doc__": "A shape.", "name": alike[0], "config": config}))


def settings() -> dict[str, Any]:
    """What belongs to the process and no method may change, by what reads it."""
    return {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.is_autocast_enabled('cpu')": torch.is_autocast_enabled("cpu"),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.is_anomaly_enabled()": torch.is_anomaly_enabled(),
        "np.geterr()": np.geterr(),
        "os.environ": dict(os.environ),
        "the working directory": Path.cwd(),
    }


def _put_back_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


#: How a setting is put back, so that one check's finding is not another one's.
_RESTORE: dict[str, Callable[[Any], Any]] = {
    "torch.get_default_dtype()": torch.set_default_dtype,
    "torch.get_default_device()": torch.set_default_device,
    "torch.get_num_threads()": torch.set_num_threads,
    "torch.is_grad_enabled()": torch.set_grad_enabled,
    "torch.is_autocast_enabled('cpu')": lambda value: torch.set_autocast_enabled("cpu", value),
    "torch.are_deterministic_algorithms_enabled()": torch.use_deterministic_algorithms,
    "torch.get_float32_matmul_precision()": torch.set_float32_matmul_precision,
    "torch.is_anomaly_enabled()": partial(torch.autograd.set_detect_anomaly),
    "np.geterr()": lambda value: np.seterr(**value),
    "os.environ": _put_back_environment,
    "the working directory": os.chdir,
}
