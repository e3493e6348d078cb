"""The contract of a method: what a plugin author writes, and nothing else.

A method is a dataclass of hyper-parameters (see `options.hyper`) with `attach`. Register it with
`@register_method("name")`. This module does not import torch, so that `list` and `show` answer at once; method files
reach torch through `petl_bench`'s lazy attributes or inside their functions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.options import Options
from petl_bench.api.paper import Paper
from petl_bench.api.peft_format import PeftFormat
from petl_bench.api.plugins.contracts import member
from petl_bench.api.step import Kind, MethodTask, Step
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.tuning import Space, refuse_space
from petl_bench.errors import PluginError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.api.backbone import Backbone
    from petl_bench.models.dual_encoder import DualEncoder


#: What a method may ask for besides the features of clips and classes; see `Step`.
Reads = Literal["frames", "tokens", "pixels", "prompts"]


@dataclass(frozen=True)
class Recipe:
    """Values of a method for one setting: `training` overrides `TrainingOptions`, `hyper` the method's fields.

    A recipe with a backbone wins over one without and over the backbone's own training values; the command
    line over all.
    `source` is the origin of the values (a paper's table, or how they were chosen); `tuned` says whether the learning
    rate was chosen for this method in this setting, and not taken over from another method or setting.
    """

    setting: str
    backbone: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    hyper: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    tuned: bool = True


class Support(Protocol):
    """The training clips of a trial, after those that are held out, for `Method.prepare` and `Method.finish`."""

    @property
    def clips(self) -> int:
        """Number of training clips; those that cannot be read are missing from the steps."""

    def encode(self, passes: int = 1, augment: bool = False) -> Iterator[Step]:
        """Steps of all training clips, in every process of the trial: with labels and rows, in the order of the rows.

        The model is in evaluation mode, and nothing has gradients.

        Args:
            passes: How many times all clips are given.
            augment: Frames and augmentation are drawn anew in every pass, independently of training; else every pass
                gives the centre view.
        """


class Method(Options):
    """Base of every method.

    Class attributes a plugin sets: `paper`, `recipes`, `settings` and `backbones` it supports (None: all), `version`
    (raise it when results change), and declarations, each with its default below.

    Hooks are the methods below that have a default; those that a plugin does not define cost nothing. B clips, C
    classes, M texts, T frames, D embedding channels.
    """

    #: parts of its names for readers, and how LaTeX writes them: ("L_CC", r"$\mathcal{L}_{CC}$"); all else is escaped
    latex: ClassVar[Sequence[tuple[str, str]]] = ()
    paper: ClassVar[Paper | None] = None
    version: ClassVar[int] = 1
    recipes: ClassVar[Sequence[Recipe]] = ()
    settings: ClassVar[Sequence[str] | None] = None
    backbones: ClassVar[Sequence[str] | None] = None
    identity_at_start: ClassVar[bool] = True  #: the adapted model equals the frozen one before training
    mergeable: ClassVar[bool] = False  #: `merge` folds the adapter into the backbone's weights
    tasks: ClassVar[tuple[Kind, ...]] = ("classification", "retrieval")  #: the kinds of task it can be run in
    #: how classes without training clips are scored: through their text; by the frozen model; or not at all
    novel: ClassVar[Literal["text", "frozen", "none"]] = "text"
    #: what text features depend on besides the weights: nothing else; draws of the step; the clip
    text_varies: ClassVar[Literal["never", "step", "video"]] = "never"
    reads: ClassVar[tuple[Reads, ...]] = ()  #: what a step holds besides features of clips and classes
    whole_batch: ClassVar[bool] = False  #: the loss compares the clips of a batch with each other
    reads_original: ClassVar[bool] = False  #: `model.original`, a frozen copy of the backbone, is kept
    training_free: ClassVar[bool] = False  #: nothing trains; `prepare` computes its state from the training clips
    in_place: ClassVar[bool] = False  #: no module is added: it trains weights of the backbone itself, or nothing
    #: training takes gradients through blocks of the backbone, which keep a graph; else they run without one. False by
    #: itself if nothing is trained (`training_free`)
    needs_graph: ClassVar[bool] = True
    batch_statistics: ClassVar[bool] = False  #: in training a clip's features depend on the others of its micro-batch
    peft_format: ClassVar[PeftFormat | None] = None  #: how its adapter is said in the terms of Hugging Face PEFT
    #: installed distributions besides petl-bench that decide its numbers: their versions enter keys of trials. Its
    #: count of parameters may need them, so that light commands do not ask for it
    decided_by: ClassVar[tuple[str, ...]] = ()
    #: what is worth tuning: a field, or "training.FIELD" -> its range or choice. The learning rate of a method that
    #: trains is always tuned: from a tenth to ten times that of its recipe, unless this says otherwise
    space: ClassVar[Mapping[str, Space]] = {}
    ema_decay: ClassVar[float | None] = None  #: decay of an average of the weights over steps, which is then evaluated

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _refuse_undeclarable(cls)
        _refuse_latex(cls)
        _refuse_space(cls)
        if cls.training_free and "needs_graph" not in vars(cls):
            cls.needs_graph = False
        if "attach" in vars(cls):
            cls.attach = _freezing(vars(cls)["attach"])  # type: ignore[method-assign]

    @classmethod
    def display_of(cls, values: Mapping[str, Any]) -> str:
        """The name for readers of a configuration, if papers name it by the values of some fields: "MSTA + L_CC".

        Fields that are alike under one such name are not said again in tables.

        Args:
            values: of its fields, as records hold them; a record from before a field was declared lacks it.
        """
        return cls.display

    @classmethod
    def hosted_by(cls, backbone: type[Backbone]) -> str:
        """Why it cannot be used on a backbone, in words; "" if it can."""
        if cls.backbones is not None and backbone.name not in cls.backbones:
            return f"it supports {', '.join(cls.backbones)}"
        if "frames" in cls.reads and backbone.config.joint_space_time:
            return "it reads features of single frames, and this backbone encodes all frames of a clip together"
        return ""

    @classmethod
    def adapted_for(cls, config: ViCLIPConfig) -> str:
        """In what it departs from its paper on backbones of this shape, in words; "" if in nothing.

        For a method that was published for backbones of another kind: its numbers carry the mark adapted-method.
        """
        return ""

    @member(required=True)
    def attach(self, model: DualEncoder) -> None:
        """Put this method's modules at the model's sites, or unfreeze parameters of the backbone.

        Everything is frozen before; parameters of added modules train. Modules that `scores` computes with belong into
        `model.heads`, under this method's name.
        """

    @member(required=True)
    def expected_trainable(self, config: ViCLIPConfig) -> int:
        """Number of trainable parameters by the method's own formula; must equal the count in the model.

        `self.task` is there, if the count depends on the number of classes or clips.
        """
        raise NotImplementedError

    @property
    def task(self) -> MethodTask:
        """The task that the method is adapted to; available from `attach` on. Raises UsageError before `bind`."""
        bound: MethodTask | None = vars(self).get("_task")
        if bound is None:
            label = self.name or type(self).__name__
            raise UsageError(f"{label} depends on the task: call method.bind(pb.MethodTask(...)) before attach(model)")
        return bound

    def bind(self, task: MethodTask) -> None:
        """Set the task, before `attach`; the engine does it. Raises UsageError for a kind that is not supported."""
        if task.kind not in self.tasks:
            label = self.name or type(self).__name__
            raise UsageError(f"{label} is not for {task.kind}, but for {' and '.join(self.tasks)}")
        vars(self)["_task"] = task  # no field: it is not a hyper-parameter

    def prompts(self, classes: Sequence[str]) -> Sequence[Sequence[str]] | None:
        """The prompts of every class, at least one each, in the order of `classes`; None: the data set's template.

        Called for the training classes and for the classes of each evaluation; not in retrieval.
        """
        return None

    def choose(self, step: Step) -> Tensor | None:
        """Which prompts are encoded in this training step, int64 [M], as places among all of them; None: all.

        `step` has labels, rows, epoch and generator, and no features yet. In evaluation all prompts are encoded.
        """
        return None

    def prepare(self, support: Support) -> None:
        """Compute from the training clips what is not trained: a cache, initial values.

        Called once, before the first step, also if nothing trains. What it leaves in persistent buffers, parameters
        that train and `extra_state` is saved: it is called neither again after a stop, nor if a trial starts from
        another one's adapter.
        """

    def scores(self, step: Step) -> Tensor:
        """Logits [B, C] for the classes of the step, in training and evaluation; in retrieval similarities [B, M].

        Called outside of autocast: features may be bf16, so compute with `.float()`. Over several views of a test clip,
        the softmax of logits is averaged, and similarities as they are.
        """
        return step.cosine_logits()

    def objective(self, step: Step) -> Tensor:
        """The loss, a scalar: cross-entropy of `step.logits`; in retrieval symmetric, over `step.positive`.

        A mean over clips, or a comparison of all clips of the batch with `whole_batch = True`.
        """
        return symmetric_cross_entropy(step) if step.positive is not None else cross_entropy(step)

    def loss(self, step: Step) -> Tensor | None:
        """An extra term, added to the objective; None for no term.

        Args:
            step: the model and the features of one training step; see `Step` for the shapes.

        Returns:
            A scalar, or None.
        """
        return None

    def parameter_groups(self, model: DualEncoder) -> Mapping[str, tuple[float, float]]:
        """Factors of learning rate and weight decay by pattern of parameter names (`*.lora_B`); the first that fits
        counts, and 1 for the others."""
        return {}

    def averaging(self, epoch: int, epochs: int) -> float | None:
        """The weight of an epoch (from 0) in an average of epochs, which is then selected and evaluated; None: no
        average is kept, or the epoch is no part of it."""
        return None

    def finish(self, model: DualEncoder, support: Support) -> None:
        """Called after training, with the selected weights, before the adapter is written.

        If the trial stops later, the next attempt calls it again, on the weights before it.
        """

    def variants(self, model: DualEncoder) -> Mapping[str, AbstractContextManager[None]]:
        """Further evaluations of one training, by name: each inside its context, which puts back what it changed.

        The trial's metrics are those outside of any context.
        """
        return {}

    def extra_state(self) -> Mapping[str, Any]:
        """State of this method besides trained parameters and persistent buffers, by name: a counter, a memory.

        Tensors, and values that JSON gives back as they were (numbers, texts, lists, dictionaries with texts as keys);
        all finite. It goes into checkpoints, the selected epoch and the adapter file. If several processes
        share a trial, the others take over the first one's after every step.
        """
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `extra_state` gave, after `attach`; tensors come on the CPU. Define both, or neither."""
        if state:
            raise PluginError(
                f"{self.name or type(self).__name__} keeps {', '.join(state)} (extra_state), but has no "
                "load_extra_state(self, state) to take it back"
            )

    def merge(self, model: DualEncoder) -> None:
        """Fold the adapter into the backbone's weights; only called if `mergeable`."""
        raise PluginError(f"{type(self).__name__} cannot be merged into the backbone")

    @property
    def description_count(self) -> int:
        """Sentences of each kind per class that `loss` needs; 0 if it needs none."""
        return 0

    @property
    def description_kinds_read(self) -> tuple[str, ...]:
        """The kinds of descriptions that `loss` reads, if it needs any; files of another kind are not read."""
        return ("spatial", "temporal")


def cross_entropy(step: Step) -> Tensor:
    """Cross-entropy of a step's logits [B, C] and its labels, a scalar."""
    from torch.nn import functional

    return functional.cross_entropy(step.logits, step.labels)


def symmetric_cross_entropy(step: Step) -> Tensor:
    """Mean of the cross-entropies from clips to texts and from texts to clips, a scalar (CLIP; Radford et al., 2021).

    A clip with several texts in the batch, and a text with several clips, counts each of them equally.
    """
    assert step.positive is not None
    logits, positive = step.logits, step.positive.to(step.logits.dtype)
    to_text = -(positive * logits.log_softmax(1)).sum(1) / positive.sum(1)
    to_video = -(positive * logits.log_softmax(0)).sum(0) / positive.sum(0)
    return (to_text.mean() + to_video.mean()) / 2


#: The values that a declaration may have, alone or in a tuple.
_DECLARABLE: dict[str, tuple[Any, ...]] = {
    "tasks": get_args(Kind),
    "reads": get_args(Reads),
    "novel": ("text", "frozen", "none"),
    "text_varies": ("never", "step", "video"),
    **dict.fromkeys(
        (
            "identity_at_start",
            "mergeable",
            "whole_batch",
            "reads_original",
            "training_free",
            "needs_graph",
            "batch_statistics",
            "in_place",
        ),
        (False, True),
    ),
}


def _refuse_undeclarable(cls: type[Method]) -> None:
    """Raise PluginError for a declaration with a value that it cannot have; one that is a property is not looked at."""
    for name, allowed in _DECLARABLE.items():
        value = vars(cls).get(name)
        several = name in ("tasks", "reads")
        if value is None or isinstance(value, property):
            continue
        values = value if several and isinstance(value, (tuple, list)) else [value]
        wrong = any(each not in allowed for each in values) or (name == "tasks" and not values)
        if wrong or (several and not isinstance(value, (tuple, list))):
            expected = f"{'a tuple of some of ' if several else 'one of '}{', '.join(map(repr, allowed))}"
            raise PluginError(f"{cls.__name__}.{name} = {value!r}: expected {expected}")


def _refuse_space(cls: type[Method]) -> None:
    """Raise PluginError for a space that its fields do not have."""
    if "space" not in vars(cls):
        return
    try:
        refuse_space(cls.space, cls, TrainingOptions)
    except UsageError as error:
        raise PluginError(f"{cls.__name__}: {error}") from error


def _refuse_latex(cls: type[Method]) -> None:
    """Raise PluginError for forms of LaTeX that are no pairs of texts in one line, the second one in plain ASCII and
    such that it ends what it begins: else the rest of a table's row would be lost in it."""
    listed = isinstance(cls.latex, (tuple, list))
    if not listed or not all(isinstance(pair, (tuple, list)) and _is_form(*pair) for pair in cls.latex):
        raise PluginError(
            f"{cls.__name__}.latex = {cls.latex!r:.200}: expected pairs of a part of the name for readers and how "
            r'LaTeX writes it, in ASCII, with closed $ and braces, such as ("L_CC", r"$\mathcal{L}_{CC}$")'
        )


def _is_form(part: object = None, form: object = None, *more: object) -> bool:
    if more or not isinstance(part, str) or not isinstance(form, str):
        return False
    special = re.sub(r"\\.", "", form)  # without what a backslash escapes
    closed = special.count("$") % 2 == 0 and special.count("{") == special.count("}") and not form.endswith("\\")
    in_one_line = part.isprintable() and form.isprintable() and form.isascii()
    return bool(part.strip()) and in_one_line and closed and not set("%&#") & set(special)


#: What a method may define besides `attach` and its formula; what it does define is part of a trial's record.
HOOKS = (
    "prompts",
    "choose",
    "prepare",
    "scores",
    "objective",
    "loss",
    "parameter_groups",
    "averaging",
    "finish",
    "variants",
    "merge",
    "extra_state",
)


def trainable_in(method: Method, config: ViCLIPConfig, task: MethodTask | None = None) -> int:
    """Trainable parameters by the method's formula in a task, to which it is bound.

    Without a task, in one of a single class and clip: more than 0 if anything trains in any task.
    """
    method.bind(task or MethodTask(method.tasks[0], ("a class",), 1))
    return method.expected_trainable(config)


def hooks_of(method: type[Method]) -> list[str]:
    """The hooks that a method defines, in the order of HOOKS."""
    return [name for name in HOOKS if getattr(method, name) is not getattr(Method, name)]


def _freezing(attach: Any) -> Any:
    """Freeze the model before the outermost `attach` runs, so that a method says only what it trains.

    Afterwards the new modules are in the model's own mode: no dropout in a model that is in evaluation mode.
    """

    @functools.wraps(attach)
    def wrapper(self: Method, model: DualEncoder) -> None:
        model.begin_attach(self)
        attach(self, model)
        model.train(model.training)

    return wrapper


def has_tuned_rate(
    method: type[Method], setting: str, backbone: str, learning_rate: float, values: Mapping[str, Any] | None = None
) -> bool:
    """Whether a method's recipe gives this learning rate, as tuned; a recipe for the backbone wins over one for all.

    `values`: of the method's fields, those without a value at their defaults. A field that is declared with `rate` must
    have the recipe's value.
    """
    found: Recipe | None = None
    for wanted in (None, backbone):
        for recipe in method.recipes:
            if (recipe.setting, recipe.backbone) == (setting, wanted) and "learning_rate" in recipe.training:
                found = recipe
    if found is None or not found.tuned or found.training["learning_rate"] != learning_rate:
        return False
    deciding = {each.name: each.default for each in fields(method) if each.metadata.get("rate")}
    tuned, used = deciding | dict(found.hyper), deciding | dict(values or {})
    return all(used[name] == tuned[name] for name in deciding)
