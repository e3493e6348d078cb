"""A short training on made-up data with the harness's own loop: never stopped, or stopped and gone on with anew."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from petl_bench.api.method import Method
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.loading.batches import ClipLoader, Findings
from petl_bench.errors import TrialStopped
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.testing.harness import (
    CLIPS,
    CPU,
    clip_batch,
    encoded,
    finish,
    made_up_descriptions,
    positives,
    prepare,
    training_texts,
)
from petl_bench.testing.method_subject import MethodSubject
from petl_bench.training.checkpoint import Pace
from petl_bench.training.fit import Fit, fit
from petl_bench.training.hooks import overrides
from petl_bench.training.seeding import random_state, restore_random_state
from petl_bench.training.state import State, state_of

EPOCHS, STEPS = 2, 3
#: The checkpoint is written after this step of all; one whole epoch and a part of the next lie before it.
STOPPED_AFTER = 4

#: What torch itself keeps in a module; its buffers are compared one by one.
_OF_TORCH = set(vars(nn.Module()))


@dataclass
class Left:
    """What a training leaves."""

    model: DualEncoder
    method: Method
    losses: list[float]

    @property
    def state(self) -> State:
        """What is saved of it."""
        return state_of(self.model, self.method)


def trained_without_a_stop(subject: MethodSubject, folder: Path) -> Left:
    """Trained in one go."""
    with _random_state_kept():
        return _train(subject, folder)


def trained_with_a_stop(subject: MethodSubject, folder: Path) -> Left:
    """Stopped after a checkpoint, and gone on with as a new process would: with another model, method and random
    state."""
    with _random_state_kept():
        with suppress(TrialStopped):
            _train(subject, folder, stop_after=STOPPED_AFTER)
        return _train(subject, folder, seed=99)


def other_python_state(one: Left, other: Left) -> str:
    """The first attribute of the method, or of a module, that differs between two trainings: what it is in each of
    them, in words. "" if none does. Only numbers, texts, tensors and containers of them are compared."""
    pairs = [("the method", vars(one.method), vars(other.method))]
    modules = dict(other.model.named_modules())
    for name, module in one.model.named_modules():
        if name in modules:
            pairs.append((name, _attributes(module), _attributes(modules[name])))
    for owner, ours, theirs in pairs:
        for attribute, value in ours.items():
            if not _same(value, theirs.get(attribute)):
                return f"{attribute} of {owner} {_difference(value, theirs.get(attribute))}"
    return ""


def _train(subject: MethodSubject, folder: Path, *, seed: int = 5, stop_after: int = 0) -> Left:
    seed_all(seed)
    model, method = subject.attached()
    seed_all(seed)
    asked = 0

    def stop() -> str:
        nonlocal asked
        asked += 1
        return "the check stops here" if asked == stop_after else ""

    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": CLIPS, "warmup_epochs": 0.0, "learning_rate": 1e-3}
    run = Fit(
        model=model,
        method=method,
        options=TrainingOptions(**options),
        batches=lambda epoch, start: repeat(clip_batch(model.config), STEPS - start),
        loader=cast(ClipLoader, _NoClipsToLoad()),
        clips=CLIPS * STEPS,
        texts=training_texts(model, method),
        classes=method.task.classes,
        descriptions=made_up_descriptions(method, model.config),
        device=CPU,
        checkpoint=folder / "checkpoint.pt",
        notify=lambda progress: None,
        encode=partial(encoded, method),
        positives=positives(model, method),
        prepare=partial(prepare, model, method) if overrides(method, "prepare") else None,
        pace=Pace(math.inf),
        stop=stop,
    )
    fit(run)
    finish(model, method)
    return Left(model.eval(), method, [row["loss"] for row in run.history])


class _NoClipsToLoad:
    """In the place of the loader: the batches are made up, so that nothing is ever found out about a clip."""

    def findings(self) -> Findings:
        """Nothing."""
        return {}, {}

    def learn(self, unreadable: Mapping[str, str], remarks: Mapping[str, str]) -> None:
        """Nothing is known, nothing is learned."""


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leaves Python's, NumPy's and torch's generators as they were."""
    before = random_state(CPU)
    try:
        yield
    finally:
        restore_random_state(before, CPU)


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(module).items() if name not in _OF_TORCH}
    return {**own, **module._buffers}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, (bool, int, float, str, set, frozenset, type(None))):
        return bool(one == other)
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, Sequence):
        same_length = isinstance(other, Sequence) and len(one) == len(other)
        return same_length and all(_same(*pair) for pair in zip(one, other, strict=True))
    return True  # of a kind that cannot be compared


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, (bool, int, float, str)) and isinstance(other, (bool, int, float, str)):
        return f"is {one} without the stop and {other} with it"
    return "is another one without the stop than with it"
