"""`petl-bench show NAME`: one plugin, whatever its kind."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from petl_bench.api.method import Method, hooks_of
from petl_bench.api.options import Options, text_of
from petl_bench.api.registry import KINDS, Registry, load_plugin_file, named
from petl_bench.api.retrieval import RETRIEVAL_METRICS
from petl_bench.api.setting import Setting
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.tuning import RATE, RATE_FACTOR
from petl_bench.api.values.fields import field_types
from petl_bench.errors import unknown
from petl_bench.system.texts import lines


@click.command(name="show")
@click.argument("name")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(name: str, plugins: tuple[Path, ...]) -> None:
    """Explain the plugin NAME: meaning, paper, hyper-parameters with defaults, supported settings.

    A name that several kinds share is written KIND:NAME, e.g. tables:base2novel. NAME training explains how a trial
    trains; profiles:NAME prints a file that ships for --profile, layouts:NAME one for report --layout; published:NAME
    has all facts and rows of a table of published numbers, published:FILE.csv those of a file of your own.
    """
    for path in plugins:
        load_plugin_file(path)
    if name == TrainingOptions.name:
        click.echo("\n".join(_training_page()))
        return
    if name.startswith("profiles:"):
        click.echo(_profile(name.removeprefix("profiles:")), nl=False)
        return
    if name.startswith("layouts:"):
        click.echo(_layout(name.removeprefix("layouts:")), nl=False)
        return
    if name.startswith("published:"):
        click.echo(lines("\n".join(_published(name.removeprefix("published:")))))
        return
    for registry in KINDS.values():
        if name in registry.families():
            click.echo(lines("\n".join(_family_page(registry, name))))
            return
    for position, (registry, plain_name) in enumerate(named(name)):
        if position:
            click.echo("")
        click.echo(lines("\n".join(_page(registry, plain_name))))


def _training_page() -> Iterator[str]:
    yield "training  (what every trial has)"
    yield ""
    yield inspect.cleandoc(TrainingOptions.__doc__ or "")
    yield from _fields(TrainingOptions, TrainingOptions.name)


def _profile(name: str) -> str:
    from petl_bench.running.planning.profiles import SEE, profiles

    shipped = profiles()
    if name not in shipped:
        raise unknown("profile", name, shipped, SEE)
    return shipped[name].read_text(encoding="utf-8")


def _layout(name: str) -> str:
    from petl_bench.tables.layout_file import shipped_layout

    return shipped_layout(name).read_text(encoding="utf-8")


def _published(name: str) -> Iterator[str]:
    from petl_bench.cli.published import page

    return page(name)


def _family_page(registry: Registry, name: str) -> Iterator[str]:
    family = registry.family(name)
    yield f"{name}:{family.member}  (a family of {registry.plural})"
    yield ""
    yield from family.page()


def _page(registry: Registry, name: str) -> Iterator[str]:
    plugin = registry.get(name)
    yield f"{name}  ({registry.kind}, {registry.source(name)})"
    if (display := registry.display(name)) != name:
        yield f"In tables and figures: {display}"
    yield ""
    yield inspect.cleandoc(plugin.__doc__ or "no description")
    yield from _fields(plugin, name)
    yield from _facts(plugin)
    yield from _paper(getattr(plugin, "paper", None), registry.kind)


def _fields(plugin: Any, name: str) -> Iterator[str]:
    if not (isinstance(plugin, type) and issubclass(plugin, Options)):
        return
    fields = dataclasses.fields(plugin)  # type: ignore[arg-type]
    if not fields:
        return
    types = field_types(plugin)
    yield ""
    yield f"Fields (change with --set {name}.FIELD=VALUE):"
    for field in fields:
        yield f"  {field.name} = {_text(field.default)}  ({_type_name(types[field.name])}{_limits(field.metadata)})"
        yield f"      {field.metadata.get('meaning', '')}"


def _facts(plugin: Any) -> Iterator[str]:
    if config := getattr(plugin, "config", None):
        yield ""
        yield "Configuration:"
        for key, value in dataclasses.asdict(config).items():
            shown = f"{len(value)} ids" if isinstance(value, (tuple, list)) else value
            yield f"  {key} = {shown}"
    published = getattr(plugin, "published", ())  # of a table: a function, of published numbers
    if published and not callable(published):
        yield ""
        yield "Published weights (give one with --weights FILE, or --weights hf:REPO/FILE):"
        for weights in published:
            yield f"  {weights.file}"
            yield f"      where: {weights.where}; licence: {weights.licence}"
            if weights.note:
                yield f"      {weights.note}"
            for expectation in weights.expected:
                yield f"      expected: {expectation.figures} ({expectation.source})"
                yield f"          protocol: {expectation.protocol}"
    if getattr(plugin, "kind", "classification") != "classification":
        yield ""
        yield f"Kind of task: {plugin.kind}"
    for label in ("settings", "backbones", "metrics"):
        if isinstance(values := getattr(plugin, label, None), (tuple, list)) and values:
            yield ""
            yield f"{label.capitalize()}: {', '.join(values)}"
    if isinstance(plugin, type) and issubclass(plugin, Setting) and plugin.has_both_kinds():
        yield f"Metrics in retrieval: {', '.join(RETRIEVAL_METRICS)}"
    yield from _contract(plugin)
    yield from _space(plugin)
    for defect in getattr(plugin, "defects", ()):
        yield ""
        yield f"Known defect {defect.id}: {defect.what}"
        yield f"      effect: {defect.effect}"
    for recipe in getattr(plugin, "recipes", ()):
        where = recipe.setting + (f" with {recipe.backbone}" if recipe.backbone else "")
        values = ", ".join(f"{key}={_text(value)}" for key, value in {**recipe.training, **recipe.hyper}.items())
        yield ""
        yield f"Recipe for {where}: {values}"
        if recipe.source:
            yield f"      source: {recipe.source}"
        if recipe.training.get("learning_rate") and not recipe.tuned:
            yield "      numbers with this learning rate carry the mark untuned-rate"


_NOVEL: dict[str, str] = {
    "text": "scored through their text",
    "frozen": "scored by the frozen model",
    "none": "not scored",
}
_TEXT_VARIES: dict[str, str] = {"never": "nothing else", "step": "draws of the training step", "video": "the clip"}
#: What a method may declare: attribute -> what its value means. Those at their defaults are not shown.
_DECLARED: dict[str, Callable[[Any], str]] = {
    "tasks": lambda kinds: f"kinds of task: {', '.join(kinds)}",
    "novel": lambda how: f"classes without training clips: {_NOVEL.get(how, how)}",
    "text_varies": lambda by: f"text features of a class depend on {_TEXT_VARIES.get(by, by)}",
    "reads": lambda what: f"reads, besides features of clips and classes: {', '.join(what)}",
    "whole_batch": lambda _: "its objective compares the clips of a batch with each other",
    "reads_original": lambda _: "a frozen copy of the backbone is kept",
    "training_free": lambda _: "nothing is trained; what it needs is made from the training clips",
    "in_place": lambda _: "adds no module: costs at inference what the frozen model does",
    "needs_graph": lambda _: "trains without gradients through the blocks of the backbone, which keep no graph",
    "batch_statistics": lambda _: "in training the features of a clip depend on the others of its micro-batch",
    "decided_by": lambda names: f"numbers depend on the version of {', '.join(names)}, which enters keys of trials",
    "ema_decay": lambda decay: f"an average of the weights over steps is evaluated (decay {decay:g})",
    "identity_at_start": lambda _: "differs from the frozen model before training",
    "mergeable": lambda _: "can be merged into the backbone's weights",
}


def _contract(plugin: Any) -> Iterator[str]:
    """What a method declares, and the hooks that it defines."""
    if not (isinstance(plugin, type) and issubclass(plugin, Method)):
        return
    values = {name: getattr(plugin, name) for name in _DECLARED}
    declared = [
        f"{name} by the values of its fields" if isinstance(value, property) else _DECLARED[name](value)
        for name, value in values.items()
        if value != getattr(Method, name)
    ]
    if declared:
        yield ""
        yield "Declares:"
        yield from (f"  {line}" for line in declared)
    if hooks := hooks_of(plugin):
        yield ""
        yield f"Hooks that it defines: {', '.join(hooks)}"


def tuned_fields(method: type[Method]) -> dict[str, str]:
    """What `petl-bench tune` tries by default: field -> its values, in words; none if nothing is tuned."""
    fields = {RATE: f"{1 / RATE_FACTOR:g} to {RATE_FACTOR:g} times that of its recipe, on a logarithmic scale"}
    nothing_trains = method.recipes and all(recipe.training.get("epochs") == 0 for recipe in method.recipes)
    if method.training_free or nothing_trains:
        fields = {}
    return fields | {field: values.words() for field, values in method.space.items()}


def _space(plugin: Any) -> Iterator[str]:
    """What is tuned of a method."""
    if not (isinstance(plugin, type) and issubclass(plugin, Method)):
        return
    if fields := tuned_fields(plugin):
        yield ""
        yield "Tuned by petl-bench tune (--space changes it):"
        yield from (f"  {field}: {values}" for field, values in fields.items())


def _paper(paper: Any, kind: str) -> Iterator[str]:
    if paper is None:
        return
    what = "licence" if kind == KINDS["datasets"].kind else "licence of the published code"
    yield ""
    yield f"Paper: {paper.title}. {paper.venue}. {paper.url} ({what}: {paper.licence})"
    yield ""
    yield paper.bibtex.strip()


def _text(value: Any) -> str:
    return "none" if value == () else text_of(value)


def _type_name(kind: Any) -> str:
    """A type in words: `int`, `float or none`, `one of q, k, v`, `list of str`."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(text_of, arguments))
    if typing.get_origin(kind) is tuple:
        return f"list of {_type_name(arguments[0])}"
    if arguments:
        names = [_type_name(argument) for argument in arguments if argument is not type(None)]
        return " or ".join([*names, "none"])
    return str(kind.__name__)


def _limits(metadata: Any) -> str:
    parts = []
    if metadata.get("unit"):
        parts.append(str(metadata["unit"]))
    if metadata.get("minimum") is not None:
        parts.append(f"at least {metadata['minimum']:g}")
    if metadata.get("maximum") is not None:
        parts.append(f"at most {metadata['maximum']:g}")
    return "".join(f", {part}" for part in parts)
