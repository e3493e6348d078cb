"""`petl-bench cost`: what methods cost, measured side by side and recorded; and a check against a stored run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.run_options import listed_names, repeated
from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.system.texts import lines

if TYPE_CHECKING:
    from petl_bench.api.backbone import Backbone
    from petl_bench.costs.measure import BatchSize, Group
    from petl_bench.costs.session import MeasurementRequest, Report
    from petl_bench.costs.stored import Stored
    from petl_bench.costs.subject import Item
    from petl_bench.running.planning.spec import Spec
    from petl_bench.running.planning.values import Overrides

ALL_DONE, SOME_FAILED = 0, 1
PRECISIONS = ("fp32", "bf16", "fp16")
FORMATS = ("terminal", "markdown", "latex", "csv", "json", "html", "pytest-benchmark")
#: What a stored run says itself, so that it is not given beside --compare.
_OF_STORED = ("backbone", "weights", "batch_sizes", "precision", "classes", "merged", "overrides")
_DEFAULTS = {"backbone": "viclip-tiny", "weights": "random", "precision": ("fp32",), "classes": 26, "merged": "auto"}


def _batches(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[BatchSize, ...] | None:
    names = listed_names(ctx, parameter, text)
    if names is None:
        return None
    return tuple("largest" if name == "largest" else _batch(name, text) for name in names)


def _batch(name: str, text: str | None) -> int:
    if not name.isdecimal() or int(name) < 1:
        raise UsageError(f"--batch-sizes {text}: expected whole numbers from 1, or largest, e.g. 1,32,largest")
    return int(name)


def _precisions(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    names: tuple[str, ...] | None = listed_names(ctx, parameter, text)
    for name in names or ():
        if name not in PRECISIONS:
            raise UsageError(f"--precision {text}: expected one or several of {', '.join(PRECISIONS)}")
    return names


@click.command(name="cost")
@click.option(
    "--methods", metavar="A,B", callback=listed_names, help="Methods to measure, or all (petl-bench list methods)."
)
@click.option("--backbone", metavar="B", help="Backbone (petl-bench list backbones).  [viclip-tiny]")
@click.option("--weights", metavar="W", help="auto, random, a file, or hf:REPO/FILE; no cost depends on it.  [random]")
@click.option("--device", type=OneOf(["auto", "cpu", "cuda"]), default="auto", help="What to measure.  [auto]")
@click.option("--batch-sizes", metavar="1,32,largest", callback=_batches,
              help="Videos per pass; largest is searched for.  [CPU: 1; CUDA: 32,largest]")  # fmt: skip
@click.option("--precision", metavar="P,...", callback=_precisions, help="fp32, bf16, fp16 (autocast).  [fp32]")
@click.option("--classes", type=click.IntRange(min=1), metavar="N", help="Prompts of the text side.  [26]")
@click.option("--merged", type=OneOf(["auto", "yes", "no"]),
              help="Also merged into the backbone: those that can be, every one, or none.  [auto]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), metavar="N",
              help="Rounds over all methods; without it, as many as a few minutes allow.")  # fmt: skip
@click.option("--largest-batch", type=click.IntRange(min=1), metavar="N",
              help="Where the search ends.  [CPU: 16; CUDA: 4096]")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="NAME.FIELD=VALUE", callback=repeated,
              help="A value of a method, the backbone or the setting cost. Repeatable.")  # fmt: skip
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py", help="A plugin file to load. Repeatable.")
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Where records go.  [runs]")
@click.option("--force", is_flag=True, help="Move existing records aside (DIR/replaced) and measure again.")
@click.option("--format", "output_format", type=OneOf(FORMATS), default="terminal", help="Of what is printed.")
@click.option("--compare", "stored", metavar="DIR|FILE", type=click.Path(path_type=Path),
              help="Measure a stored run again; say which ratios worsened.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="PERCENT",
              help="By how much a ratio may worsen in --compare.")  # fmt: skip
def command(
    methods: tuple[str, ...] | None,
    device: str,
    rounds: int | None,
    largest_batch: int | None,
    plugins: tuple[str, ...],
    output: Path | None,
    force: bool,
    output_format: str,
    stored: Path | None,
    tolerance: float,
    **asked: Any,
) -> int:
    """Measure what methods cost, beside the frozen backbone and full fine-tuning, and print the table.

    What has a record is not measured again. docs/cost_protocol.md says how every number is obtained.

    Example: petl-bench cost --methods lora,adaptformer,msta
    """
    # Read when torch is loaded: its profiler, which measures memory, would write lines of its own between ours.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from petl_bench.api.registry import load_plugin_file

    for plugin in plugins:
        load_plugin_file(plugin)
    if stored is None and not methods:
        raise UsageError("no method given: --methods a,b (petl-bench list methods). See: petl-bench cost --help")
    run = _HowMeasured(device, rounds, largest_batch, force)
    if stored is not None:
        return _compare(run, stored, methods, asked, output, tolerance)
    request = _request(methods or (), {**_DEFAULTS, **_given(asked)}, device)
    folder = (output or Path("runs")).expanduser()
    report = run.measure(request, folder)
    if report.recorded:
        _show(folder, report, output_format)
    return _summary(report)


@dataclass(frozen=True)
class _HowMeasured:
    """How to measure, whatever is measured."""

    device: str
    rounds: int | None
    largest_batch: int | None
    force: bool

    def measure(self, request: MeasurementRequest, output: Path) -> Report:
        from petl_bench.costs.device import find_device
        from petl_bench.costs.measure import MeasurementLimits
        from petl_bench.costs.session import measure
        from petl_bench.running.attempts.output import prepare_output

        device = find_device(self.device)
        prepare_output(output)
        if self.force:
            _move_aside(request, device, output)
        return measure(request, device, output, MeasurementLimits(self.rounds, self.largest_batch), _tell)


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


def _request(methods: Sequence[str], asked: dict[str, Any], device: str) -> MeasurementRequest:
    """What the flags ask for. Raises UsageError for unknown names, fields and values."""
    from dataclasses import replace

    from petl_bench.api.plugins.identity import plugin_version
    from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
    from petl_bench.costs.device import find_device
    from petl_bench.costs.measure import Group
    from petl_bench.costs.recording import SETTING
    from petl_bench.costs.session import MeasurementRequest, References
    from petl_bench.models.weights import resolve_weights
    from petl_bench.running.planning.spec import ALL, Spec
    from petl_bench.running.planning.values import Overrides

    for name in methods:
        if name != ALL:
            METHODS.get(name)
    batches = asked.get("batch_sizes") or ((32, "largest") if find_device(device).type == "cuda" else (1,))
    spec = Spec(methods=tuple(methods), backbone=asked["backbone"], set=asked.get("overrides", ()))
    overrides, backbone = Overrides(spec), BACKBONES.get(asked["backbone"])
    setting = overrides.build(SETTINGS.get(SETTING), SETTING)
    SETTINGS.get(setting.hyper_of)
    methods = _hosted(replace(spec, setting=setting.hyper_of), overrides)
    for line in overrides.unused([*methods, setting.frozen, setting.full, SETTING, asked["backbone"]]):
        _tell(f"warning: {line}")
    return MeasurementRequest(
        items=_items(methods, spec, overrides, setting, asked["merged"]),
        groups=[Group(precision, batch) for precision in asked["precision"] for batch in dict.fromkeys(batches)],
        references=References(setting.frozen, setting.full),
        setting_version=plugin_version(type(setting)),
        backbone=overrides.build(backbone, asked["backbone"]),
        weights=resolve_weights(backbone, asked["weights"]),
        classes=asked["classes"],
    )


def _hosted(spec: Spec, overrides: Overrides) -> tuple[str, ...]:
    """The methods of a spec; with `all` every registered one that its backbone hosts, and a line for each other one."""
    from petl_bench.api.registry import SETTINGS
    from petl_bench.running.planning.hosting import by_backbone

    hosted = by_backbone(spec, overrides.build(SETTINGS.get(spec.setting), spec.setting), overrides)
    for note in hosted.notes:
        _tell(note)
    return tuple(name for part in hosted.specs for name in part.methods)


def _items(methods: Sequence[str], spec: Any, overrides: Overrides, setting: Any, merged: str) -> list[Item]:
    """The references and the methods, with the values of the recipes for the setting that `cost.hyper_of` names."""
    from dataclasses import replace

    from petl_bench.costs.subject import Item
    from petl_bench.running.planning.values import planned_method

    items = []
    of_recipes = replace(spec, setting=setting.hyper_of)
    for name in dict.fromkeys((setting.frozen, setting.full, *methods)):
        planned = planned_method(of_recipes, name, overrides)
        items.append(Item(planned.method, planned.version))
        if name in methods and (merged == "yes" or (merged == "auto" and planned.method.mergeable)):
            items.append(Item(planned.method, planned.version, merged=True, optional=merged == "auto"))
    return items


def _move_aside(request: MeasurementRequest, device: Any, output: Path) -> None:
    from petl_bench.api.launcher import Job
    from petl_bench.api.trial import Places
    from petl_bench.costs.session import trials_of
    from petl_bench.records.judge import REPLACED
    from petl_bench.running.attempts.output import move_aside
    from petl_bench.system.cache import cache_folder

    places = Places(cache=cache_folder())
    moved = move_aside(output, [Job(trial=trial, places=places) for trial in trials_of(request, device).values()])
    _tell(f"{moved} records moved aside to {output / REPLACED}")


def _show(output: Path, report: Report, output_format: str) -> None:
    if output_format == "pytest-benchmark":
        from petl_bench.costs.exported import pytest_benchmark_json

        click.echo(pytest_benchmark_json(output, report.recorded), nl=False)
        return
    from petl_bench.cli import report as report_command
    from petl_bench.costs.recording import SETTING

    try:
        click.get_current_context().invoke(
            report_command.command, folders=(output,), name=SETTING, output_format=output_format
        )
    except PetlBenchError as error:
        _tell(f"no table: {error}")
    _tell(f"table: petl-bench report --runs {output} --table {SETTING}")


def _summary(report: Report) -> int:
    if not report.failures:
        return ALL_DONE
    _tell(f"{len(report.failures)} could not be measured:")
    for line in report.failures:
        _tell(f"  {line}")
    return SOME_FAILED


# A check against a stored run


def _compare(
    run: _HowMeasured,
    path: Path,
    methods: tuple[str, ...] | None,
    asked: dict[str, Any],
    output: Path | None,
    tolerance: float,
) -> int:
    """Measure what is stored again, in a folder of its own, and print what worsened."""
    from petl_bench.costs.stored import compare, read_stored
    from petl_bench.running.planning.spec import ALL

    given = [name for name in _OF_STORED if asked.get(name) is not None]
    if given:
        flags = ", ".join("--set" if name == "overrides" else f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{flags}: not together with --compare, which measures what is stored as it was measured")
    if output is not None and output.expanduser().resolve() == path.expanduser().resolve():
        raise UsageError(f"--output {output}: is the stored run itself; give another folder, or none")
    before = read_stored(path.expanduser())
    if methods is not None and ALL not in methods:
        before = [each for each in before if each.trial["method"] in methods]
    _refuse_other_device(before, run.device, path)
    failures: list[str] = []
    now: list[Stored] = []
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for request in _requests(before):
            failures += run.measure(request, folder.expanduser()).failures
        now += read_stored(folder.expanduser())
    found = compare(before, now, tolerance)
    for line in found.worsened:
        click.echo(line)
    if not found.worsened:
        click.echo(f"no ratio of {found.compared} is worse by more than {tolerance:g} %")
    for title in found.alone:
        _tell(f"not measured again: {title}")
    return SOME_FAILED if found.worsened or found.alone or failures or not found.compared else ALL_DONE


def _refuse_other_device(before: Sequence[Stored], device: str, path: Path) -> None:
    import torch

    from petl_bench.costs import PROTOCOL_VERSION
    from petl_bench.costs.device import device_name, find_device

    if not before:
        raise UsageError(f"--compare {path}: holds no measurement of the methods that were asked for")
    here = (device_name(find_device(device)), torch.get_num_threads(), PROTOCOL_VERSION)
    for each in before:
        options = each.trial["setting_options"]
        there = (options["device"], options["threads"], options["protocol"])
        if there != here:
            words = "{} with {} threads, protocol {}".format
            raise UsageError(f"--compare {path}: was measured on {words(*there)}; this is {words(*here)}")


def _requests(before: Sequence[Stored]) -> Iterable[MeasurementRequest]:
    """The stored measurements as requests: one for each backbone, number of classes and pair of references."""
    from petl_bench.api.registry import BACKBONES
    from petl_bench.api.trial import canonical_json

    shared: dict[tuple[Any, ...], list[Stored]] = {}
    for each in before:
        options = each.trial["setting_options"]
        of_backbone = each.trial["backbone"], canonical_json(each.trial.get("backbone_options", {}))
        key = (*of_backbone, options["classes"], options["frozen"], options["full"])
        shared.setdefault(key, []).append(each)
    for (name, values, classes, frozen, full), measured in shared.items():
        backbone = BACKBONES.get(name)(**json.loads(values))
        yield _stored_request(backbone, classes, frozen, full, measured)


def _stored_request(
    backbone: Backbone, classes: int, frozen: str, full: str, measured: Sequence[Stored]
) -> MeasurementRequest:
    from petl_bench.api.plugins.identity import plugin_version
    from petl_bench.api.registry import METHODS, SETTINGS
    from petl_bench.api.trial import canonical_json
    from petl_bench.costs.measure import Group
    from petl_bench.costs.recording import SETTING
    from petl_bench.costs.session import MeasurementRequest, References
    from petl_bench.costs.subject import Item
    from petl_bench.models.weights import resolve_weights

    items: dict[str, Item] = {}
    groups: dict[tuple[str, BatchSize], Group] = {}
    for each in measured:
        options, plugin = each.trial["setting_options"], METHODS.get(each.trial["method"])
        values = {**each.trial["hyper_parameters"], **each.trial["locations"].get(each.trial["method"], {})}
        item = Item(plugin(**values), plugin_version(plugin), options["merged"])
        items[canonical_json([each.trial["method"], each.trial["hyper_parameters"], options["merged"]])] = item
        groups[options["precision"], options["batch_size"]] = Group(options["precision"], options["batch_size"])
    present = {item.method.name for item in items.values()}
    missing = [METHODS.get(name) for name in (frozen, full) if name not in present]
    return MeasurementRequest(
        items=[*(Item(plugin(), plugin_version(plugin)) for plugin in missing), *items.values()],
        groups=list(groups.values()),
        references=References(frozen, full),
        setting_version=plugin_version(SETTINGS.get(SETTING)),
        backbone=backbone,
        weights=resolve_weights(type(backbone), "random"),
        classes=classes,
    )


def _tell(line: str) -> None:
    click.echo(lines(line), err=True)
    sys.stderr.flush()
