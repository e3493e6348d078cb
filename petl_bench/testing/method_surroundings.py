"""Checks of methods: what lies around a training and must not change it, and what a method says about itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from petl_bench.api.composition import compose, parts_of
from petl_bench.api.method import HOOKS, Method, hooks_of
from petl_bench.api.registry import METHODS
from petl_bench.errors import UsageError, describe
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.testing.checks import Failed, Skipped, require
from petl_bench.testing.harness import (
    CLASSES,
    CLIPS,
    CPU,
    bound,
    finish,
    learner_for,
    outputs,
    prepare,
    random_model,
    scores,
    take_step,
)
from petl_bench.testing.method_equalities import same_outputs
from petl_bench.testing.method_resume import seed_all
from petl_bench.testing.method_subject import MethodSubject, needs_parameters, settings, trainable
from petl_bench.training.seeding import random_state, restore_random_state


def declares_what_it_does(subject: MethodSubject) -> None:
    """What it declares agrees with the hooks that it defines."""
    plugin, hooks = subject.plugin, hooks_of(subject.plugin)
    for mine in vars(plugin):
        asked = callable(vars(plugin)[mine]) and not mine.startswith("_") and not hasattr(Method, mine)
        near = get_close_matches(mine, [*HOOKS, "load_extra_state"], 1, 0.85) if asked else []
        require(not near, f"it defines {mine}(); did you mean the hook {near[0] if near else ''}? Else rename it")
    decay = plugin.ema_decay
    require(decay is None or 0 < decay < 1, f"ema_decay = {decay}: expected a number between 0 and 1")
    version = plugin.version
    require(type(version) is int and version >= 1, f"version = {version!r}: expected a whole number from 1 on")
    require(plugin.mergeable == ("merge" in hooks), f"mergeable = {plugin.mergeable}: True with merge(), else False")
    both = ("extra_state" in hooks) == (plugin.load_extra_state is not Method.load_extra_state)
    require(both, "extra_state() and load_extra_state(): define both, or neither")
    added = [name for name, _ in subject.attached()[0].named_modules()]
    nothing_added = added == [name for name, _ in random_model(subject.config).named_modules()]
    require(
        plugin.in_place == nothing_added, f"in_place = {plugin.in_place}: True if attach() adds no module, else False"
    )
    if plugin.training_free:
        count = trainable_parameters(subject.attached()[0])
        require(not count, f"training_free = True, and {count:,} parameters train")


def runs_in_each_kind_of_task(subject: MethodSubject) -> None:
    """A training step, and scores of the right shape, in each kind of task that it declares.

    A plan refuses retrieval for methods that read descriptions of classes, or score their training classes alone.
    """
    needs_classes = bool(subject.create().description_count) or subject.plugin.novel != "text"
    kinds = [kind for kind in subject.plugin.tasks if kind == "classification" or not needs_classes]
    for kind in kinds:
        try:
            model, method = subject.trained(kind=kind)
            if trainable(model):
                take_step(learner_for(model.train(), method))
            found = scores(model.eval(), method)
        except Exception as error:
            why = describe(error, within=Path(inspect.getfile(subject.plugin)))
            others = tuple(each for each in subject.plugin.tasks if each != kind)
            hint = f"; if it is not made for {kind}, declare tasks = {others}" if others else ""
            raise Failed(f"{kind}: {why}{hint}") from error
        require(found.shape == (CLIPS, CLASSES), f"{kind}: scores of shape {tuple(found.shape)}")
        require(bool(found.isfinite().all()), f"{kind}: scores are not finite")


def evaluation_reaches_no_training(subject: MethodSubject) -> None:
    """Training goes on in the same way whether clips were scored in between or not; scored twice, they are the same."""
    model, method = subject.trained()
    first = outputs(model, method)
    same_outputs(outputs(model, method), first, "differ between two evaluations of the same weights")
    after_scoring = _losses(model, method, lambda: scores(model, method))
    alone = _losses(*subject.trained())
    require(after_scoring == alone, "training goes on with another loss if clips were scored before")


def variants_put_everything_back(subject: MethodSubject) -> None:
    """In each of its variants clips can be scored; afterwards every weight and score is what it was."""
    if "variants" not in hooks_of(subject.plugin):
        raise Skipped("it has no variants")
    model, method = subject.trained()
    finish(model, method)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = outputs(model, method)
    variants = method.variants(model)
    for name in list(variants):
        require(isinstance(name, str) and bool(name), f"variants(): the name {name!r} is no text")
        with variants[name]:
            require(bool(scores(model, method).isfinite().all()), f"variant {name}: scores are not finite")
        for tensor, value in model.state_dict().items():
            require(torch.equal(value, weights[tensor]), f"variant {name} leaves {tensor} changed")
    same_outputs(outputs(model, method), before, "differ after the variants")


def global_state_is_left_alone(subject: MethodSubject) -> None:
    """Attaching, training and scoring change no setting of torch, NumPy or the process, and seed no global generator
    anew."""
    before, states = settings(), []
    kept = random_state(CPU)
    failed: Exception | None = None
    try:
        states = [_state_after_a_life(subject, seed) for seed in (11, 12)]
    except Exception as error:  # perhaps because of a setting
        failed = error
    finally:
        restore_random_state(kept, CPU)
    changed = [name for name, value in settings().items() if value != before[name]]
    require(not changed, f"{', '.join(changed)} changed: put back what you change, or leave it alone")
    if failed is not None:
        raise failed
    one, other = states
    seeded = [name for name, where in _GENERATORS.items() if str(one[where]) == str(other[where])]
    require(
        not seeded,
        f"{' and '.join(seeded)} was seeded: every later draw of the trial is then another one; use a generator of "
        "your own, seeded by step.seed, or step.generator",
    )


def _state_after_a_life(subject: MethodSubject, seed: int) -> dict[str, Any]:
    """The global generators, seeded before the method is attached, after a step and an evaluation."""
    model, method = random_model(subject.config), subject.create()
    seed_all(seed)
    method.attach(model)
    prepare(model, method)
    if trainable(model):
        take_step(learner_for(model.train(), method))
    finish(model, method)
    scores(model.eval(), method)
    return random_state(CPU)


def models_do_not_share(subject: MethodSubject) -> None:
    """Two models in one process do not influence each other: their losses are those of one alone."""
    model, method = subject.trained()
    needs_parameters(model)
    alone = _losses(*subject.trained())
    other = subject.trained()
    beside = _losses(model, method, lambda: _losses(*other))
    again = _losses(*subject.trained())
    require(
        alone == beside == again,
        "a training has another loss if another model was trained in the process: keep what changes in the method or "
        "the model, not in a class or a module of Python",
    )


def composes_with_lora(subject: MethodSubject) -> None:
    """lora+NAME attaches, counts, trains and scores; skipped if both want the same places."""
    plugin = subject.plugin
    if plugin is METHODS.get("lora") or parts_of(plugin):
        raise Skipped("it is lora, or a composition itself")
    named: Any = plugin
    if not plugin.name:
        named = type(plugin.__name__, (plugin,), {"name": "unnamed", "__doc__": plugin.__doc__})
    parts: dict[str, type[Method]] = {"lora": METHODS.get("lora"), named.name: named}
    try:
        composed: Any = compose(f"lora+{named.name}", parts.__getitem__)
        values = {f"{named.name}.{field}": value for field, value in subject.create().values().items()}
        method = bound(composed(**values))
        model = random_model(subject.config)
        method.attach(model)
        prepare(model, method)
        _losses(model, method)
    except UsageError as error:
        raise Skipped(f"it does not go together with lora: {error}") from error
    expected, counted = method.expected_trainable(subject.config), trainable_parameters(model)
    require(expected == counted, f"lora+{named.name}: formula {expected:,}, in the model {counted:,}")
    require(bool(scores(model, method).isfinite().all()), f"lora+{named.name}: scores are not finite")


def _losses(model: DualEncoder, method: Method, between: Callable[[], Any] | None = None) -> list[float]:
    """The losses of two steps, each with the same draws; something else may be done before each."""
    found: list[float] = []
    if not trainable(model):
        return found
    learner = learner_for(model, method)
    for seed in (7, 8):
        if between is not None:
            between()
        model.train()
        torch.manual_seed(seed)
        found.append(take_step(learner).loss)
        model.eval()
    return found


#: Global generators, and their place in `random_state`.
_GENERATORS = {"Python's random": "python", "NumPy's global generator": "numpy", "torch's global generator": "cpu"}
