"""What the header of an adapter file claims, checked before it is used: types, lengths, and the key of its trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from petl_bench.api.prompts import Prompts, template_fault
from petl_bench.api.step import Kind
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial, key_of
from petl_bench.api.values.fields import Count, Form, check_of, field_types, required_fields
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.schema import trial_fault
from petl_bench.system.texts import clean, shortened
from petl_bench.training.use import prompts_of

_Name = Annotated[str, Form(r"(?s).{1,1000}", "a text of 1 to 1000 characters")]
#: Classes, prompts and the like in one list.
_MOST = 100_000


@dataclass(frozen=True)
class _Prompts:
    templates: Sequence[_Name]
    cleaned: bool


@dataclass(frozen=True)
class _Use:
    trial: Mapping[str, Any]
    prompts: _Prompts
    evaluations: Mapping[_Name, Sequence[_Name]]
    clips: Mapping[str, Any]


@dataclass(frozen=True)
class _Task:
    kind: Kind
    support_clips: Count


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What every adapter file says; files of earlier versions say nothing else."""

    method: _Name
    hyper_parameters: Mapping[str, Any]
    backbone: _Name
    weights_sha256: _Name
    train_classes: Sequence[_Name]
    trial: str = ""
    task: _Task | None = None


@dataclass(frozen=True, kw_only=True)
class _HeaderWithUse(_Header):
    trial: str
    use: _Use


@dataclass(frozen=True)
class CheckedUse:
    """What a file says of its use (`petl_bench.training.use`), of the right types."""

    trial: Trial
    prompts: Prompts
    evaluations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def refuse_foreign(file: Path, header: Mapping[str, Any]) -> None:
    """Raise StoreError if the header of a file is not that of an adapter, of this or an earlier version."""
    kind = _HeaderWithUse if "use" in header else _Header
    lacking = [name for name in field_types(kind) if name in required_fields(kind) and name not in header]
    fault = check_of(kind)(dict(header))
    if fault:
        words = f"lacks {', '.join(lacking)}" if lacking else f"has {_shown(fault)}"
        raise StoreError(f"{file}: not an adapter of petl-bench, for its header {words}")


def checked_use(file: Path, header: Mapping[str, Any]) -> CheckedUse:
    """The trial, prompts and evaluations that the header of a file names under "use".

    Raises StoreError if anything in it is of another type, too long, or does not give the key of its trial.
    """
    if "use" not in header:
        raise StoreError(f"{file}: not an adapter of petl-bench, for its header does not say how it is used")
    refuse_foreign(file, header)
    if fault := _fault_of_use(header["use"]):
        raise StoreError(f"{file}: not an adapter of petl-bench, for its header has {_shown(fault)}")
    use = header["use"]
    key = key_of(use["trial"])
    if key != header["trial"]:
        named = clean(header["trial"])[:8]
        raise StoreError(f"{file}: its header was changed: it names trial {named}, not {key[:8]}")
    evaluations = {name: tuple(classes) for name, classes in use["evaluations"].items()}
    return CheckedUse(Trial.from_json(use["trial"]), prompts_of(use), evaluations)


def _shown(fault: str) -> str:
    return shortened(clean(fault.removeprefix(".")), 300)


def _fault_of_use(use: Mapping[str, Any]) -> str:
    """What is wrong with values of the right types; "" if nothing is."""
    trial = use["trial"]
    if fault := trial_fault(trial):
        return f"use.trial: {fault}"
    if trial.get("locations"):
        return "use.trial.locations: names files, which no adapter does"
    if strange := sorted(trial["training"].keys() - field_types(TrainingOptions).keys()):
        return f"use.trial.training.{strange[0]}: this version of petl-bench has no such option"
    if len(use["evaluations"]) > _MOST or any(len(classes) > _MOST for classes in use["evaluations"].values()):
        return f"use.evaluations: more than {_MOST:,} names"
    if not use["prompts"]["templates"]:
        return "use.prompts: no template"
    # Not `prompts.resolved`, which reads the file that a template with @ in front names.
    faults = filter(None, map(template_fault, use["prompts"]["templates"]))
    if fault := next(faults, ""):
        return f"use.prompts: {fault}"
    try:
        TrainingOptions(**trial["training"])
    except UsageError as error:
        return str(error)
    return ""
