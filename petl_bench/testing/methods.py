"""What every method promises, as one small function per check.

Each check gets a `MethodSubject` (the method, and small random models to try it on), says what it means in its
docstring, raises `Failed` with the reason if the promise is broken, and `Skipped` if it does not apply.
"""

from __future__ import annotations

import inspect
import itertools
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method, hooks_of
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.values.fields import refuse_unknown
from petl_bench.errors import describe
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.finite import tensors_in
from petl_bench.testing.checks import Failed, Skipped, documented, paper, require
from petl_bench.testing.method_resume import other_python_state, trained_with_a_stop, trained_without_a_stop
from petl_bench.testing.method_subject import (
    CLASSES,
    CLIPS,
    SMALL,
    MethodSubject,
    batch_for,
    class_features,
    features,
    frozen_tensors,
    needs_parameters,
    parameter_shapes,
    random_model,
    scores,
    supported_configs,
    train_steps,
    trainable,
    trained_or_none,
    training_loss,
)
from petl_bench.training.checkpoint import adapter_content, load_adapter
from petl_bench.training.state import load_state, state_of

SUBJECT = MethodSubject


def require_equal(one: Tensor, other: Tensor, why: str, atol: float = 0.0) -> None:
    """Raise Failed with the reason and the largest difference unless the tensors agree."""
    difference = (one - other).abs().max().item()
    require(difference <= atol, f"{why}: largest difference {difference:.2g}, allowed {atol:.2g}")


def outputs(model: DualEncoder, method: Method) -> tuple[Tensor, Tensor]:
    """Features [B + C, D] and scores [B, C] of the seeded inputs."""
    return features(model), scores(model, method)


def fits_a_small_model(subject: MethodSubject) -> None:
    """The defaults, or else the values of some recipe, fit a model of widths 64 and 48; the other checks use them."""
    assert subject.values is not None


def identity_at_start(subject: MethodSubject) -> None:
    """Before training, the adapted model equals the frozen one."""
    if not subject.plugin.identity_at_start:
        raise Skipped("the method declares identity_at_start = False")
    model, _ = subject.attached()
    require_equal(features(model), features(random_model(SMALL)), "features differ from the frozen model's", atol=1e-5)


def attaching_changes_no_weight(subject: MethodSubject) -> None:
    """attach(model) leaves the values of the model's own weights and buffers as they are."""
    model = random_model(SMALL)
    tensors = dict(itertools.chain(model.named_parameters(), model.named_buffers()))
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    subject.create().attach(model)
    changed = [name for name, tensor in tensors.items() if not torch.equal(tensor, before[name])]
    require(not changed, f"attach changed {', '.join(changed[:4])}")


def recipes_can_be_run(subject: MethodSubject) -> None:
    """Each recipe names a setting, and values of training options and hyper-parameters within their limits."""
    for recipe in subject.plugin.recipes:
        label = f"the recipe for {recipe.setting}"
        require(recipe.setting in SETTINGS.names(), f"{label}: no such setting; known: {', '.join(SETTINGS.names())}")
        refuse_unknown(recipe.training, TrainingOptions, f"training option in {label}", "petl-bench show training")
        refuse_unknown(recipe.hyper, subject.plugin, f"hyper-parameter in {label}", f"petl-bench show {subject.name}")
        TrainingOptions(**recipe.training)
        subject.plugin(**recipe.hyper)


def formula_equals_count(subject: MethodSubject) -> None:
    """expected_trainable(config) equals the count in the model: every shape, every switch and choice."""
    tried: list[tuple[str, ViCLIPConfig, dict[str, Any]]]
    tried = [(name, config, {}) for name, config in supported_configs(subject).items()]
    tried += [("ViCLIP, 4 frames", SMALL, changes) for changes in subject.variants()]
    for name, config, changes in tried:
        model, method = subject.attached(config, **changes)
        expected, counted = method.expected_trainable(config), trainable_parameters(model)
        with_changes = f" with {changes}" if changes else ""
        require(expected == counted, f"{name}{with_changes}: formula {expected:,}, in the model {counted:,}")


def only_declared_parameters_train(subject: MethodSubject) -> None:
    """Frozen weights get no gradient and stay as they are, to the bit, through training steps."""
    model, method = subject.prepared()
    before = {name: value.clone() for name, value in frozen_tensors(model).items()}
    train_steps(model, method, 2)
    buffers = dict(model.named_buffers())
    for name, value in frozen_tensors(model).items():
        require(value.grad is None, f"frozen {name} received a gradient")
        why = (
            f"{name} changed in training and is not saved; register this buffer with persistent=True"
            if name in buffers
            else f"frozen {name} changed in training"
        )
        require(name in before and torch.equal(value, before[name]), why)


def gradients_reach_every_parameter(subject: MethodSubject) -> None:
    """Every trainable parameter gets a finite gradient that is not zero."""
    model, method = subject.trained()
    needs_parameters(model)
    model.train()
    torch.autograd.backward(training_loss(model, method))
    for name, parameter in trainable(model).items():
        if parameter.grad is None or not parameter.grad.any():
            raise Failed(f"{name} gets no gradient; it can never learn")
        require(bool(parameter.grad.isfinite().all()), f"{name} gets a gradient that is not finite")


def learns(subject: MethodSubject) -> None:
    """A few steps on one batch lower the loss."""
    model, method = subject.prepared()
    needs_parameters(model)
    first = training_loss(model, method).item()
    train_steps(model, method, 8)
    last = training_loss(model.eval(), method).item()
    require(last < first, f"the loss went from {first:.4f} to {last:.4f} in 8 steps")


def saved_adapter_equals_trained(subject: MethodSubject) -> None:
    """The adapter file holds what was trained, buffers and extra state, nothing else that is frozen; loaded into a new
    model it gives equal features and scores."""
    model, method = subject.trained()
    train_steps(model, method, 2)
    buffers = dict(model.named_buffers())
    for name in model.adapter_state():
        require(name in trainable(model) or name in buffers, f"adapter_state() holds the frozen {name}")
    missing = sorted(set(trainable(model)) - set(model.adapter_state()))
    require(not missing, f"adapter_state() lacks {', '.join(missing[:4])}")
    # Another seed: what attach() draws, and does not save, is another one in a trial that starts from this adapter.
    other, of_other = subject.attached(seed=7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        path.write_bytes(adapter_content({}, state_of(model, method)))
        header, tensors = load_adapter(path)
    load_state(other, of_other, {"tensors": tensors, "extra": header["extra_state"]})
    saved, loaded = outputs(model.eval(), method), outputs(other, of_other)
    for what, before, after in zip(("features", "scores"), saved, loaded, strict=True):
        require_equal(
            after,
            before,
            f"{what} differ after saving and loading; what they depend on must be a parameter that trains, a "
            "persistent buffer, or in extra_state()",
        )


def goes_on_after_a_stop(subject: MethodSubject) -> None:
    """Stopped after a checkpoint, and gone on with in a new model: bit for bit what an uninterrupted run leaves."""
    needs_parameters(subject.attached()[0])
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        whole, stopped = trained_without_a_stop(subject, Path(first)), trained_with_a_stop(subject, Path(second))
    keep = "return it from extra_state() and take it back in load_extra_state(), or make it a persistent buffer"
    different = other_python_state(whole, stopped)
    require(not different, f"{different}; {keep}")
    require(whole.losses == stopped.losses, f"the loss of an epoch differs: something is lost at a stop; {keep}")
    ours, theirs = (dict(tensors_in(left.state)) for left in (whole, stopped))
    for name, tensor in ours.items():
        require(name in theirs and torch.equal(tensor, theirs[name]), f"{name} differs after a stop; {keep}")


def merged_equals_unmerged(subject: MethodSubject) -> None:
    """merge() gives the same features and the backbone's own structure back."""
    if not subject.plugin.mergeable:
        raise Skipped("the method declares mergeable = False")
    model, method = subject.trained()
    unmerged = features(model)
    method.merge(model)
    require_equal(features(model), unmerged, "features differ after merge()", atol=1e-4)
    names, own = (
        [name for name, _ in model.named_parameters()],
        [name for name, _ in random_model(SMALL).named_parameters()],
    )
    require(names == own, f"parameters left behind by merge(): {sorted(set(names) ^ set(own))[:4]}")


def distinct_from_every_other(subject: MethodSubject) -> None:
    """No other registered method with the same hooks trains the same parameters to the same features and scores."""
    model, method = subject.trained()
    mine, signature = outputs(model, method), parameter_shapes(model)
    for name in METHODS.names():
        if hooks_of(METHODS.get(name)) != hooks_of(subject.plugin):
            continue
        # `template_method` is what a new method begins as (petl-bench new method).
        other = None if name in (subject.plugin.name, "template_method") else trained_or_none(name)
        if other is not None and parameter_shapes(other[0]) == signature:
            same = all(map(torch.equal, outputs(*other), mine))
            require(not same, f"cannot be told from {name}: same parameters, same features and scores")


def finite_in_bf16(subject: MethodSubject) -> None:
    """Features, loss and gradients are finite under autocast to bfloat16."""
    model, method = subject.trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        require(bool(features(model).isfinite().all()), "features are not finite")
        loss = training_loss(model.train(), method)
    require(bool(loss.isfinite()), f"the loss is {loss.item()}")
    if loss.requires_grad:
        torch.autograd.backward(loss)
    for name, parameter in trainable(model).items():
        require(
            parameter.grad is None or bool(parameter.grad.isfinite().all()),
            f"{name} gets a gradient that is not finite",
        )


def batch_changes_nothing(subject: MethodSubject) -> None:
    """A clip's and a prompt's features do not depend on what else is in the batch."""
    model, _ = subject.trained()
    batch = batch_for(SMALL)
    with torch.no_grad():
        video = torch.cat([model.encode_video(batch.frames[i : i + 1]) for i in range(CLIPS)])
        text = torch.cat([class_features(model, batch.tokens[i : i + 1], video) for i in range(CLASSES)], dim=-2)
    one_by_one = torch.cat([video, text.flatten(0, -2)])
    require_equal(one_by_one, features(model), "features depend on the batch", atol=1e-4)


def same_seed_same_numbers(subject: MethodSubject) -> None:
    """Two runs with one seed have the same initial adapter and, dropout included, the same trained one."""
    states = []
    for _ in range(2):
        model, method = subject.attached()
        initial = {name: value.clone() for name, value in model.adapter_state().items()}
        train_steps(model, method, 2)
        states.append((initial, model.adapter_state()))
    for when, first, second in zip(("initial", "trained"), *states, strict=True):
        for name in first:
            require(
                torch.equal(first[name], second[name]), f"{when} {name} differs between two runs with the same seed"
            )


def adapters_off_is_the_frozen_model(subject: MethodSubject) -> None:
    """With adapters off the model is the frozen one, to the bit; with them on again it is the adapted one. The original
    that is kept is it, too."""
    model, method = subject.trained()
    trains_the_backbone = set(trainable(model)) & {name for name, _ in random_model(SMALL).named_parameters()}
    frozen = features(random_model(SMALL))
    if method.reads_original:
        require_equal(features(model.original), frozen, "features of model.original differ from the frozen model's")
    if trains_the_backbone:
        raise Skipped("the method trains the backbone's own parameters")
    adapted = features(model)
    with model.adapters_off():
        require_equal(features(model), frozen, "features differ from the frozen model's")
    require_equal(features(model), adapted, "features differ after adapters_off() ended")


def switching_modes_changes_nothing(subject: MethodSubject) -> None:
    """eval() and train() round trips leave every weight and the features as they were."""
    model, _ = subject.trained()
    weights, before = {name: value.clone() for name, value in model.state_dict().items()}, features(model)
    for _ in range(2):
        model.train()
        model.eval()
    for name, value in model.state_dict().items():
        require(torch.equal(value, weights[name]), f"{name} changed when switching between train() and eval()")
    require_equal(features(model), before, "features differ after switching between train() and eval()")


def works_on_every_backbone(subject: MethodSubject) -> None:
    """Forward, loss and backward on ViCLIP and CLIP shapes, one frame to six, towers of unequal depth."""
    for name, config in supported_configs(subject).items():
        try:
            model, method = subject.trained(config)
            loss = training_loss(model.train(), method, config)
            shape = tuple(features(model.eval(), config).shape)
        except Exception as error:
            where = Path(inspect.getfile(subject.plugin))
            raise Failed(f"{name}: {describe(error, within=where)}") from error
        texts = CLASSES * (CLIPS if subject.plugin.text_varies == "video" else 1)
        require(shape == (CLIPS + texts, config.embed_dim), f"{name}: features of shape {shape}")
        require(bool(loss.isfinite()), f"{name}: the loss is {loss.item()}")


#: In this order; if no values fit a small model, the others say nothing.
CHECKS = (
    fits_a_small_model,
    recipes_can_be_run,
    attaching_changes_no_weight,
    documented,
    paper,
    identity_at_start,
    formula_equals_count,
    only_declared_parameters_train,
    gradients_reach_every_parameter,
    learns,
    saved_adapter_equals_trained,
    goes_on_after_a_stop,
    merged_equals_unmerged,
    distinct_from_every_other,
    finite_in_bf16,
    batch_changes_nothing,
    same_seed_same_numbers,
    adapters_off_is_the_frozen_model,
    switching_modes_changes_nothing,
    works_on_every_backbone,
)
