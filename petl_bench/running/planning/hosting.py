"""Which methods of a spec run on which backbone.

With `--backbone` all of them run there. Without it, a method that the default backbone does not host runs on the
backbone for methods that read single frames, if that one hosts it, beside the frozen model to compare with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.setting import Setting
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.values.named_folders import name_of
from petl_bench.errors import PetlBenchError
from petl_bench.running.planning.spec import ALL, DEFAULT_BACKBONE, FRAME_BACKBONE, Spec
from petl_bench.running.planning.values import Overrides, misfit_of, planned_method, training_values
from petl_bench.training.refusals import against_split_batches

#: The method that changes nothing, which the others on a backbone are compared with.
FROZEN = "zero_shot"


@dataclass(frozen=True)
class Hosted:
    """A spec once for each backbone that it needs, with the methods that run there; the methods that `all` left out,
    each with the reason; and notes for the user, which say both."""

    specs: list[Spec]
    left_out: dict[str, str]
    notes: list[str]


def by_backbone(spec: Spec, setting: Setting, overrides: Overrides) -> Hosted:
    """Which methods of a spec run on which backbone.

    `all` leaves out what does not fit, with a note. A named method that fits nowhere stays with the first backbone.
    Raises UsageError for an unknown name, and PluginError for a named plugin that cannot be loaded.
    """
    backbones = _backbones(spec)
    parts: dict[str, list[str]] = {name: [] for name in backbones}
    left_out = {}
    for name in _method_names(spec):
        reason = "" if name in spec.methods else _reason_against(name, spec, setting, backbones, overrides)
        if reason:
            left_out[name] = reason
        else:
            parts[_place(name, backbones)].append(name)
    notes = [f"{name} is left out: {reason}" for name, reason in left_out.items()]
    if spec.backbone is None and (guests := parts.get(FRAME_BACKBONE)):
        notes.append(
            f"{FRAME_BACKBONE}, with its own {FROZEN}, is planned for the methods that {DEFAULT_BACKBONE} does not "
            f"host: {', '.join(guests)}"
        )
        notes += _reasons(guests)
        guests.insert(0, FROZEN)
    specs = [replace(spec, backbone=name, methods=tuple(names)) for name, names in parts.items() if names]
    return Hosted(specs, left_out, notes)


def _reasons(guests: Iterable[str]) -> Iterator[str]:
    """Why the usual backbone does not host methods, a line for each reason."""
    methods: dict[str, list[str]] = defaultdict(list)
    for name in guests:
        methods[METHODS.get(name).hosted_by(BACKBONES.get(DEFAULT_BACKBONE))].append(name)
    return (f"not on {DEFAULT_BACKBONE}: {', '.join(names)}: {reason}" for reason, names in methods.items())


def _backbones(spec: Spec) -> list[str]:
    """The backbones that methods may be planned on, the usual one first. A weights file belongs to one backbone."""
    if spec.backbone is not None or spec.weights not in ("auto", "random"):
        return [spec.backbone_name]
    return [DEFAULT_BACKBONE, FRAME_BACKBONE]


def _method_names(spec: Spec) -> list[str]:
    """The names in `--methods`, each once, with `all` replaced by every registered method."""
    names = [name for word in spec.methods for name in (METHODS.names() if word == ALL else [word])]
    return list(dict.fromkeys(names))


def _place(method: str, backbones: list[str]) -> str:
    """The first backbone that hosts a method; the first one if none does."""
    plugin = METHODS.get(method)
    return next((name for name in backbones if not plugin.hosted_by(BACKBONES.get(name))), backbones[0])


def _reason_against(method: str, spec: Spec, setting: Setting, backbones: list[str], overrides: Overrides) -> str:
    """Why a method cannot be part of a spec; "" if it can."""
    try:
        placed = replace(spec, backbone=_place(method, backbones))
        if misfit := misfit_of(method, placed):
            return f"it {misfit.text}"
        planned = planned_method(placed, method, overrides)
    except PetlBenchError as error:
        return str(error)
    datasets = [type(overrides.dataset(name_of(each))) for each in spec.datasets]
    options = (TrainingOptions(**training_values(placed, planned, setting, each, overrides)) for each in datasets)
    return next((reason for each in options if (reason := against_split_batches(planned.method, each))), "")
