"""Several registered methods on one model, as one method: `lora+text_adapter`.

The parts are attached in the order of the name. A field of a part is a field of the composition, `lora.rank`, so that
keys, records, `--set`, labels and `show` treat a composition as any other method. A hook is defined only if a part
defines it: a composition costs what its parts cost.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import HOOKS, Method, Recipe, Support, hooks_of
from petl_bench.api.paper import Paper
from petl_bench.api.step import MethodTask, Step
from petl_bench.api.tuning import training_field
from petl_bench.api.values.fields import field_types
from petl_bench.api.values.flag_lists import PLUS, part_names
from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from petl_bench.api.backbone import Backbone
    from petl_bench.models.dual_encoder import DualEncoder

#: Hooks that only one part may define.
_OF_ONE = ("prompts", "choose", "scores", "objective", "averaging", "variants")
#: From what restricts a comparison least to what restricts it most.
_NOVEL = ("text", "frozen", "none")
_TEXT_VARIES = ("never", "step", "video")


def parts_of(method: type) -> tuple[type[Method], ...]:
    """The methods that a composition consists of, in order; () for any other class."""
    return method.part_classes if issubclass(method, Composition) else ()


class Composition(Method):
    """Base of every composition; `compose` makes them."""

    part_classes: ClassVar[tuple[type[Method], ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Declare no dataclass: the fields are those of the parts, which `_declare_fields` adds."""

    def __init__(self, **values: Any) -> None:
        """Make the parts with these values, named `PART.FIELD`; the others have their defaults.

        Raises UsageError for a value outside its limits, or parts that read different descriptions.
        """
        by_part: dict[str, dict[str, Any]] = {part.name: {} for part in self.part_classes}
        for field, value in values.items():
            part, _, name = field.partition(".")
            if part not in by_part:
                raise TypeError(f"{self.name} has no field {field!r}")
            by_part[part][name] = value
        self.parts = tuple(part(**by_part[part.name]) for part in self.part_classes)
        self._describing = self._part_with_descriptions()

    def __getattr__(self, name: str) -> Any:
        """The value of a field, `PART.FIELD`."""
        part, dot, field = name.partition(".")
        for each in self.parts if dot else ():
            if each.name == part:
                return getattr(each, field)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Composition) and other.parts == self.parts

    def _values(self, location: bool, unchanged_later: bool = False) -> dict[str, Any]:
        return {
            f"{part.name}.{field}": value
            for part in self.parts
            for field, value in part._values(location, unchanged_later).items()
        }

    @classmethod
    def display_of(cls, values: Mapping[str, Any]) -> str:
        """What the parts are called, with a plus between them."""
        return _together(cls.part_classes, lambda part: part.display_of(_of_part(part, values)))

    @classmethod
    def hosted_by(cls, backbone: type[Backbone]) -> str:
        """Why not by what all parts declare; else what the first part says that cannot be used there."""
        of_parts = (f"{part.name}: {why}" for part in cls.part_classes if (why := part.hosted_by(backbone)))
        return super().hosted_by(backbone) or next(of_parts, "")

    @classmethod
    def adapted_for(cls, config: ViCLIPConfig) -> str:
        """What the parts say."""
        return "; ".join(f"{part.name}: {words}" for part in cls.part_classes if (words := part.adapted_for(config)))

    # Attaching

    def bind(self, task: MethodTask) -> None:
        """Bind every part to the task."""
        super().bind(task)
        for part in self.parts:
            part.bind(task)

    def attach(self, model: DualEncoder) -> None:
        """Attach the parts in order; each sees a frozen model, as if it were alone.

        Raises UsageError, naming both parts, if two of them claim a site that takes one module, or train the same
        parameter; and for a part that adds nothing.
        """
        modules: dict[str, str] = {}  # name of a module that was added -> its part
        trained: dict[nn.Parameter, str] = {}
        self._replacing: set[str] = set()
        for part in self.parts:
            before = {name for name, _ in model.named_modules()}
            model.requires_grad_(False)
            with self._naming_clashes(part, model, modules), _as_if_alone(part, model):
                part.attach(model)
            added = [name for name, _ in model.named_modules() if name not in before]
            mine = {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}
            for parameter, name in mine.items():
                if parameter in trained:
                    raise UsageError(
                        f"{self.name}: {trained[parameter]} and {part.name} both train {name}: leave one of them out"
                    )
            if not (added or mine or hooks_of(type(part))):
                raise UsageError(f"{self.name}: {part.name} adds nothing to the model: leave it out")
            modules |= dict.fromkeys(added, part.name)
            if any(name.endswith(".replacement") for name in added):
                self._replacing.add(part.name)
            trained |= dict.fromkeys(mine, part.name)
        for parameter in trained:
            parameter.requires_grad_(True)
        names = {parameter: name for name, parameter in model.named_parameters()}
        self._part_that_trains = {names[parameter]: part for parameter, part in trained.items()}
        self._refuse_training_beside_side(model, modules)

    def _refuse_training_beside_side(self, model: DualEncoder, modules: Mapping[str, str]) -> None:
        """Raise UsageError if a part has a side network beside a tower, and another one would train in this tower."""
        for tower, module in (("video", model.video), ("text", model.text)):
            for name in module.trained_beside_side():
                side, part = modules[f"{tower}.side"], self._part_that_trains[f"{tower}.{name}"]
                raise UsageError(
                    f"{self.name}: with the side network of {side} the {tower} tower runs without gradients, and "
                    f"{part} cannot train {tower}.{name}: leave one of them out"
                )

    @contextmanager
    def _naming_clashes(self, part: Method, model: DualEncoder, modules: Mapping[str, str]) -> Iterator[None]:
        """Add the site and both parts to an error that a site raises; other errors pass unchanged."""
        try:
            yield
        except UsageError as error:
            site = _site_that_raised(error.__traceback__, model)
            others = {owner for name, owner in modules.items() if name.startswith(f"{site}.")}
            if site is None or not others:
                raise
            names = " and ".join([*sorted(others), part.name])
            raise UsageError(
                f"{self.name}: {names} cannot both be at {site}: leave one of them out ({error})"
            ) from error

    def expected_trainable(self, config: ViCLIPConfig) -> int:
        """The sum over the parts."""
        return sum(part.expected_trainable(config) for part in self.parts)

    # Descriptions

    def _part_with_descriptions(self) -> Method | None:
        reading = [part for part in self.parts if part.description_count]
        for other in reading[1:]:
            if _description_needs(other) != _description_needs(reading[0]):
                raise UsageError(
                    f"{self.name}: {reading[0].name} and {other.name} read different class descriptions; give both "
                    f"the same values (petl-bench show {self.name})"
                )
        return reading[0] if reading else None

    @property
    def descriptions(self) -> str | None:
        """Where the descriptions lie, as the part that reads them was told."""
        found: str | None = getattr(self._describing, "descriptions", None)
        return found

    @property
    def description_count(self) -> int:
        """That of the part that reads descriptions."""
        return self._describing.description_count if self._describing else 0

    @property
    def description_kinds_read(self) -> tuple[str, ...]:
        """Those of the part that reads descriptions."""
        return self._describing.description_kinds_read if self._describing else ()


class _Combined:
    """The hooks that several parts may define, for a composition; `_hooks` takes those that a part defines."""

    parts: tuple[Method, ...]
    _part_that_trains: Mapping[str, str]
    _replacing: Collection[str]  # the parts whose modules compute in the place of the backbone's linears

    def prepare(self, support: Support) -> None:
        """Prepare the parts, in order."""
        for part in self.parts:
            part.prepare(support)

    def loss(self, step: Step) -> Tensor | None:
        """The sum of the parts' terms; None if none has one."""
        terms = [term for part in self.parts if (term := part.loss(step)) is not None]
        return functools.reduce(lambda left, right: left + right, terms) if terms else None

    def parameter_groups(self, model: DualEncoder) -> Mapping[str, tuple[float, float]]:
        """The factors of each part, for the parameters that this part trains and no others."""
        found: dict[str, tuple[float, float]] = {}
        for part in self.parts:
            mine = [name for name, owner in self._part_that_trains.items() if owner == part.name]
            for pattern, factors in part.parameter_groups(model).items():
                fitting = [name for name in mine if fnmatchcase(name, pattern)]
                found = dict.fromkeys(fitting, factors) | found
        return found

    def finish(self, model: DualEncoder, support: Support) -> None:
        """Finish the parts, in order."""
        for part in self.parts:
            part.finish(model, support)

    def merge(self, model: DualEncoder) -> None:
        """Merge the parts that replace linears, then those whose modules stand around what is merged then, in order.

        Behind one linear or norm, the module of the part that is named first is the first one: next to the weights.
        """
        for part in sorted(self.parts, key=lambda part: part.name not in self._replacing):
            part.merge(model)

    def extra_state(self) -> Mapping[str, Any]:
        """The parts' extra states, as `PART.NAME`."""
        return {f"{part.name}.{name}": value for part in self.parts for name, value in part.extra_state().items()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Hand each part its own state."""
        for part in self.parts:
            own = {name.partition(".")[2]: value for name, value in state.items() if name.split(".")[0] == part.name}
            part.load_extra_state(own)


# Making a composition


def compose(name: str, part: Callable[[str], type[Method]]) -> type[Composition]:
    """The composition of that name, `a+b`; the same class for the same parts.

    Args:
        name: the names of the parts with a plus between them; their order is part of what the composition is.
        part: gives the method of a name, and raises for an unknown one.

    Raises:
        UsageError: for a part that is there twice, or parts that do not go together.
    """
    names = part_names(name)
    for each in names:
        if not each:
            raise UsageError(f"{name!r}: a method is missing beside a {PLUS}; write e.g. lora{PLUS}text_adapter")
        if names.count(each) > 1:
            raise UsageError(f"{name}: {each} is named twice; a composition takes each method once")
    return _composition(tuple(map(part, names)))


@functools.cache
def _composition(parts: tuple[type[Method], ...]) -> type[Composition]:
    name = PLUS.join(part.name for part in parts)
    body = {"name": name, "part_classes": parts, "__module__": __name__, "__doc__": _meaning(parts)}
    body["display"] = _together(parts, lambda part: part.display)
    composition = type(name, (Composition,), body | _declared(name, parts) | _hooks(name, parts))
    _refuse_free_beside_trained(name, parts)
    _declare_fields(composition, parts)
    return composition


def _declare_fields(composition: Any, parts: Sequence[Any]) -> None:
    """Declare the fields of the parts as `PART.FIELD`: no identifiers, so that `dataclass` cannot do it."""
    types: dict[str, Any] = {}
    fields: dict[str, dataclasses.Field[Any]] = {}
    for part in parts:
        for each in dataclasses.fields(part):
            field = copy.copy(each)
            field.name = f"{part.name}.{each.name}"
            fields[field.name], types[field.name] = field, field_types(part)[each.name]
    composition.__annotations__, composition.__dataclass_fields__ = types, fields


def _together(parts: Iterable[type[Method]], display: Callable[[type[Method]], str]) -> str:
    """The names for readers of the parts; of one that has none its registered name."""
    return " + ".join(display(part) or part.name for part in parts)


def _of_part(part: type[Method], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields of one part, `PART.FIELD`, by the names that they have in the part."""
    own = f"{part.name}."
    return {name.removeprefix(own): value for name, value in values.items() if name.startswith(own)}


def _field_of(part: type[Method], field: str) -> str:
    """A name of a part's space in the space of the composition."""
    return field if training_field(field) else f"{part.name}.{field}"


def _meaning(parts: Sequence[type[Method]]) -> str:
    lines = [f"{part.name}: {(part.__doc__ or '').strip().partition(chr(10))[0]}" for part in parts]
    return "\n\n".join([f"{len(parts)} methods on one model, attached in this order.", *lines])


def _refuse_free_beside_trained(name: str, parts: Sequence[type[Method]]) -> None:
    """Raise UsageError if what one part makes of the training clips is made before the others train."""
    free = [part.name for part in parts if part.training_free]
    if free and len(free) < len(parts):
        raise UsageError(
            f"{name}: {free[0]} is made of the training clips before anything trains, and would not fit the model "
            "afterwards: leave one of them out"
        )


def _declared(name: str, parts: Sequence[type[Method]]) -> dict[str, Any]:
    """What a composition declares: everything that a part needs, and only what all parts allow."""
    return {
        "latex": tuple(form for part in parts for form in part.latex),
        "paper": _papers(parts),
        "recipes": tuple(_recipe(parts, *place) for place in _recipe_places(parts)),
        "settings": _allowed_by_all(name, parts, "settings"),
        "backbones": _allowed_by_all(name, parts, "backbones"),
        "tasks": _allowed_by_all(name, parts, "tasks"),
        "identity_at_start": all(part.identity_at_start for part in parts),
        "mergeable": all(part.mergeable for part in parts),
        "training_free": all(part.training_free for part in parts),
        "whole_batch": any(part.whole_batch for part in parts),
        "reads_original": any(part.reads_original for part in parts),
        "in_place": all(part.in_place for part in parts),
        "needs_graph": any(part.needs_graph for part in parts),
        "batch_statistics": any(part.batch_statistics for part in parts),
        "space": {_field_of(part, field): values for part in parts for field, values in part.space.items()},
        "decided_by": tuple(dict.fromkeys(name for part in parts for name in part.decided_by)),
        "reads": tuple(dict.fromkeys(read for part in parts for read in part.reads)),
        "novel": max((part.novel for part in parts), key=_NOVEL.index),
        "text_varies": max((part.text_varies for part in parts), key=_TEXT_VARIES.index),
        "ema_decay": next((part.ema_decay for part in parts if part.ema_decay is not None), None),
    }


def _allowed_by_all(name: str, parts: Sequence[type[Method]], what: str) -> tuple[str, ...] | None:
    """What every part supports, of its settings, backbones or tasks; None if no part says anything.

    Raises UsageError if there is nothing that all of them support.
    """
    said = {part.name: tuple(allowed) for part in parts if (allowed := getattr(part, what)) is not None}
    if not said:
        return None
    first, *others = said.values()
    common = tuple(each for each in first if all(each in other for other in others))
    if not common:
        lists = "; ".join(f"{part}: {', '.join(allowed)}" for part, allowed in said.items())
        raise UsageError(f"{name}: its parts have no {what} in common ({lists})")
    return common


def _papers(parts: Sequence[type[Method]]) -> Paper | None:
    """The papers of the parts in one entry."""
    found = list(dict.fromkeys(part.paper for part in parts if part.paper))
    if not found:
        return None
    return Paper(
        title=" + ".join(paper.title for paper in found),
        venue="; ".join(dict.fromkeys(paper.venue for paper in found)),
        url=" ".join(paper.url for paper in found),
        bibtex="\n\n".join(paper.bibtex.strip() for paper in found),
        licence="; ".join(dict.fromkeys(paper.licence for paper in found)),
    )


# Recipes


def _recipe_places(parts: Sequence[type[Method]]) -> list[tuple[str, str | None]]:
    """The settings and backbones that a part has a recipe for."""
    return list(dict.fromkeys((recipe.setting, recipe.backbone) for part in parts for recipe in part.recipes))


def _recipe(parts: Sequence[type[Method]], setting: str, backbone: str | None) -> Recipe:
    """The recipes of the parts as one. Of the training values that they name, those of the first part count.

    No learning rate in it was chosen for the composition.
    """
    training: dict[str, Any] = {}
    hyper: dict[str, Any] = {}
    sources: list[str] = []
    for part in reversed(parts):
        of_part = [recipe for recipe in part.recipes if (recipe.setting, recipe.backbone) == (setting, backbone)]
        values = {name: value for recipe in of_part for name, value in recipe.hyper.items()}
        hyper = {f"{part.name}.{name}": value for name, value in values.items()} | hyper
        sources = [f"{part.name}: {recipe.source}" for recipe in of_part] + sources
        for recipe in of_part:
            training |= recipe.training
    return Recipe(setting, backbone, training, hyper, "; ".join(sources), tuned=False)


# Hooks


def _hooks(name: str, parts: Sequence[type[Method]]) -> dict[str, Any]:
    """The hooks of a composition: those that a part defines. Raises UsageError for two owners of one that has one."""
    found: dict[str, Any] = {}
    for hook in HOOKS:
        owners = [part for part in parts if _owns(part, hook)]
        if hook in _OF_ONE and len(owners) > 1:
            names = " and ".join(part.name for part in owners)
            raise UsageError(f"{name}: {names} both define {hook}, which one part alone can do: leave one of them out")
        defining = [part for part in parts if hook in hooks_of(part)]
        if hook in _OF_ONE and defining:
            found[hook] = _by_part(hook, parts.index(defining[0]))
        elif defining and (hook != "merge" or all(part.mergeable for part in parts)):
            found[hook] = vars(_Combined)[hook]
    if "extra_state" in found:
        found["load_extra_state"] = _Combined.load_extra_state
    return found


def _owns(part: type[Method], hook: str) -> bool:
    return hook in hooks_of(part) or (hook == "averaging" and part.ema_decay is not None)


def _by_part(hook: str, place: int) -> Callable[..., Any]:
    """A hook that one part defines."""

    @functools.wraps(getattr(Method, hook))
    def of_part(self: Composition, *arguments: Any) -> Any:
        return getattr(self.parts[place], hook)(*arguments)

    return of_part


# Attaching


@contextmanager
def _as_if_alone(part: Method, model: DualEncoder) -> Iterator[None]:
    """Inside, the part is the model's method, so that its `attach` does not freeze what is attached already."""
    whole, model.method = model.method, part
    try:
        yield
    finally:
        model.method = whole


def _site_that_raised(traceback: TracebackType | None, model: DualEncoder) -> str | None:
    """The name of the module of the model in which an error arose; None if it arose elsewhere."""
    names = {id(module): name for name, module in model.named_modules()}
    found: str | None = None
    while traceback is not None:
        found = names.get(id(traceback.tb_frame.f_locals.get("self"))) or found
        traceback = traceback.tb_next
    return found


def _description_needs(part: Method) -> tuple[int, tuple[str, ...], str | None]:
    return part.description_count, part.description_kinds_read, getattr(part, "descriptions", None)
