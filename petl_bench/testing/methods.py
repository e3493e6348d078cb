"""What every method promises, as one small function per check.

Each check gets a `MethodSubject` (the method, and small random models to try it on), says what it means in its
docstring, raises `Failed` with the reason if the promise is broken, and `Skipped` if it does not apply.
"""

from __future__ import annotations

import inspect
import itertools
import math
import tempfile
from pathlib import Path

import torch

from petl_bench.api.method import Method, hooks_of
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.values.fields import refuse_unknown
from petl_bench.errors import describe
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.finite import tensors_in
from petl_bench.testing.checks import Failed, Given, Skipped, documented, paper, require
from petl_bench.testing.harness import (
    CLASSES,
    NOVEL,
    TRAINED,
    batch_for,
    bound,
    features,
    finish,
    learner_for,
    outputs,
    random_model,
    scores,
    take_step,
)
from petl_bench.testing.method_declarations import (
    keeps_a_graph_as_declared,
    require_no_cost,
    require_refused_as_declared,
)
from petl_bench.testing.method_equalities import (
    batch_changes_nothing,
    checkpointed_blocks_change_nothing,
    class_order_changes_nothing,
    declares_batch_statistics,
    frozen_outputs,
    half_precision_is_close,
    micro_batches_change_nothing,
    padding_changes_nothing,
    processes_change_nothing,
    require_equal,
    same_outputs,
    training_scores_are_those_of_evaluation,
)
from petl_bench.testing.method_resume import other_python_state, trained_with_a_stop, trained_without_a_stop
from petl_bench.testing.method_space import space_can_be_tuned
from petl_bench.testing.method_subject import (
    MethodSubject,
    frozen_tensors,
    needs_parameters,
    parameter_shapes,
    train_steps,
    trainable,
    training_loss,
)
from petl_bench.testing.method_surroundings import (
    composes_with_lora,
    declares_what_it_does,
    evaluation_reaches_no_training,
    global_state_is_left_alone,
    models_do_not_share,
    runs_in_each_kind_of_task,
    variants_put_everything_back,
)
from petl_bench.training.checkpoint import adapter_content, load_adapter
from petl_bench.training.state import load_state, state_of

SUBJECT = MethodSubject


def fits_a_small_model(subject: MethodSubject) -> None:
    """The defaults, or else the values of some recipe, fit a model of widths 64 and 48; the other checks use them."""
    assert subject.values is not None


def identity_at_start(subject: MethodSubject) -> None:
    """Before training, the adapted model equals the frozen one: features and scores."""
    if not subject.plugin.identity_at_start:
        raise Skipped("the method declares identity_at_start = False")
    model, method = subject.prepared()
    frozen = frozen_outputs(subject.config, method.task.kind)
    same_outputs(outputs(model, method), frozen, "differ from the frozen model's", relative=1e-5)


def attaching_changes_no_weight(subject: MethodSubject) -> None:
    """attach(model) leaves the values of the model's own weights and buffers as they are."""
    model = random_model(subject.config)
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
    """expected_trainable(config) equals the count in the model: every shape, every switch and choice, other classes."""
    for name, config in subject.configs.items():
        _require_count(*subject.attached(config), name)
    for changes, model, method in subject.variants():
        _require_count(model, method, f"{next(iter(subject.configs))} with {changes}")
    other, method = random_model(subject.config), bound(subject.create(), classes=TRAINED + NOVEL)
    method.attach(other)
    _require_count(other, method, f"{len(TRAINED + NOVEL)} classes")


def _require_count(model: DualEncoder, method: Method, what: str) -> None:
    expected, counted = method.expected_trainable(model.config), trainable_parameters(model)
    require(expected == counted, f"{what}: formula {expected:,}, in the model {counted:,}")


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
    for name, gradient in take_step(learner_for(model.train(), method)).gradients.items():
        if gradient is None or not gradient.any():
            raise Failed(f"{name} gets no gradient; it can never learn")
        require(bool(gradient.isfinite().all()), f"{name} gets a gradient that is not finite")


def learns(subject: MethodSubject) -> None:
    """A few steps on one batch lower the loss."""
    model, method = subject.prepared()
    needs_parameters(model)
    first = training_loss(model, method)
    train_steps(model, method, 8)
    last = training_loss(model.eval(), method)
    require(last < first, f"the loss went from {first:.4f} to {last:.4f} in 8 steps")


def saved_adapter_equals_trained(subject: MethodSubject) -> None:
    """The adapter file holds what was trained, buffers and extra state, nothing else that is frozen; loaded into a new
    model it gives equal features and scores."""
    model, method = subject.trained()
    train_steps(model, method, 2)
    finish(model, method)
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
    same_outputs(
        outputs(other, of_other),
        outputs(model.eval(), method),
        "differ after saving and loading; what they depend on must be a parameter that trains, a persistent buffer, or "
        "in extra_state()",
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
    """merge() gives the same features and scores, and the backbone's own parameters and FLOPs back."""
    if not subject.plugin.mergeable:
        raise Skipped("the method declares mergeable = False")
    model, method = subject.trained()
    unmerged = outputs(model, method)
    method.merge(model)
    same_outputs(outputs(model, method), unmerged, "differ after merge()", relative=1e-4)
    names = [name for name, _ in model.named_parameters()]
    own = [name for name, _ in random_model(subject.config).named_parameters()]
    require(names == own, f"parameters left behind by merge(): {sorted(set(names) ^ set(own))[:4]}")
    require_no_cost(model)


def distinct_from_every_other(subject: MethodSubject) -> None:
    """No other registered method with the same hooks trains the same parameters to the same features and scores."""
    model, method = subject.trained()
    mine, signature = outputs(model, method).named(), parameter_shapes(model)
    for name in METHODS.names():
        # `template_method` is what a new method begins as (petl-bench new method).
        if name in (subject.plugin.name, "template_method"):
            continue
        theirs = _outputs_or_none(name, subject, signature)
        if theirs is not None and all(torch.equal(one, two) for (_, one), (_, two) in zip(mine, theirs, strict=True)):
            raise Failed(f"cannot be told from {name}: same parameters, same features and scores")


def _outputs_or_none(
    name: str, subject: MethodSubject, signature: dict[str, tuple[int, ...]]
) -> list[tuple[str, torch.Tensor]] | None:
    """What another registered method computes if it has the same hooks and parameters; None if it does not, or fails:
    its own check says what is wrong with it."""
    try:
        other = MethodSubject("method", METHODS.get(name), Given())
        alike = hooks_of(other.plugin) == hooks_of(subject.plugin) and other.config == subject.config
        if not alike or parameter_shapes(other.attached()[0]) != signature:
            return None
        return outputs(*other.trained()).named()
    except Exception:
        return None


def finite_in_bf16(subject: MethodSubject) -> None:
    """Features, scores, loss and gradients are finite under autocast to bfloat16."""
    model, method = subject.trained()
    if trainable(model):
        taken = take_step(learner_for(model.train(), method, precision="bf16", learning_rate=0.0))
        for name, gradient in taken.gradients.items():
            finite = gradient is None or bool(gradient.isfinite().all())
            require(finite, f"{name} gets a gradient that is not finite")
    for what, values in outputs(model.eval(), method, "bf16").named():
        require(bool(values.isfinite().all()), f"{what} are not finite")


def same_seed_same_numbers(subject: MethodSubject) -> None:
    """Two runs with one seed have the same initial adapter and, dropout included, the same trained one."""
    states = []
    for _ in range(2):
        model, method = subject.prepared()
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
    original = random_model(subject.config)
    trains_the_backbone = set(trainable(model)) & {name for name, _ in original.named_parameters()}
    frozen = features(original, subject.config)
    if method.reads_original:
        kept = features(model.original, subject.config)
        require_equal(kept, frozen, "features of model.original differ from the frozen model's")
    if trains_the_backbone:
        raise Skipped("the method trains the backbone's own parameters")
    adapted = outputs(model, method)
    with model.adapters_off():
        require_equal(features(model, subject.config), frozen, "features differ from the frozen model's")
    same_outputs(outputs(model, method), adapted, "differ after adapters_off() ended")


def switching_modes_changes_nothing(subject: MethodSubject) -> None:
    """eval() and train() round trips leave every weight, the features and the scores as they were."""
    model, method = subject.trained()
    weights, before = {name: value.clone() for name, value in model.state_dict().items()}, outputs(model, method)
    for _ in range(2):
        model.train()
        model.eval()
    for name, value in model.state_dict().items():
        require(torch.equal(value, weights[name]), f"{name} changed when switching between train() and eval()")
    same_outputs(outputs(model, method), before, "differ after switching between train() and eval()")


def works_on_every_backbone(subject: MethodSubject) -> None:
    """Forward, loss and backward on ViCLIP and CLIP shapes, one frame to six, towers of unequal depth; a frame-wise
    backbone scores clips of other numbers of frames, too. What `hosted_by` refuses, attach() refuses."""
    require_refused_as_declared(subject)
    for name, config in subject.configs.items():
        try:
            model, method = subject.trained(config)
            loss = training_loss(model.train(), method)
            found = outputs(model.eval(), method)
            others = [] if config.joint_space_time else [_scores_of(model, method, count) for count in (1, 6)]
        except Exception as error:
            where = Path(inspect.getfile(subject.plugin))
            raise Failed(f"{name}: {describe(error, within=where)}") from error
        shape = tuple(found.text.shape[-2:])
        require(shape == (CLASSES, config.embed_dim), f"{name}: text features of shape {tuple(found.text.shape)}")
        require(math.isfinite(loss), f"{name}: the loss is {loss}")
        for values in (found.video, found.text, found.scores, *others):
            require(bool(values.isfinite().all()), f"{name}: features or scores are not finite")


def _scores_of(model: DualEncoder, method: Method, count: int) -> torch.Tensor:
    """Scores of the seeded clips with another number of frames."""
    return scores(model, method, frames=batch_for(model.config.with_(num_frames=count)).frames)


#: In this order; if no values fit a small model, the others say nothing.
CHECKS = (
    fits_a_small_model,
    recipes_can_be_run,
    attaching_changes_no_weight,
    documented,
    paper,
    declares_what_it_does,
    identity_at_start,
    formula_equals_count,
    only_declared_parameters_train,
    gradients_reach_every_parameter,
    learns,
    keeps_a_graph_as_declared,
    saved_adapter_equals_trained,
    goes_on_after_a_stop,
    merged_equals_unmerged,
    distinct_from_every_other,
    finite_in_bf16,
    half_precision_is_close,
    batch_changes_nothing,
    padding_changes_nothing,
    class_order_changes_nothing,
    declares_batch_statistics,
    micro_batches_change_nothing,
    processes_change_nothing,
    checkpointed_blocks_change_nothing,
    training_scores_are_those_of_evaluation,
    evaluation_reaches_no_training,
    variants_put_everything_back,
    global_state_is_left_alone,
    models_do_not_share,
    same_seed_same_numbers,
    adapters_off_is_the_frozen_model,
    switching_modes_changes_nothing,
    works_on_every_backbone,
    runs_in_each_kind_of_task,
    composes_with_lora,
    space_can_be_tuned,
)
