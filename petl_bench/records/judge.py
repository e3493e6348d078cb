"""The one judge of a trial's folder: is its record whole, and are the files beside it those that were recorded?

`report`, `compare`, `status`, `run`, `cost`, `runs verify` and the page ask it, so that none calls done what another
one cannot use:

- a record counts if its JSON is whole and finite, its fields are possible, its trial gives its key, and every file
  under its numbers is there in the size recorded (`judge`; a scan of many records leaves out only the key);
- a file that is read must have the content recorded (`petl_bench.records.files.read_recorded`);
- the accuracies that follow from the predictions must give the record's metrics (`metrics_fault`);
- the adapter is judged apart (`adapter_fault`), for no number of its own trial comes from it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import came_with_mean_class
from petl_bench.api.trial import key_of
from petl_bench.api.tuning import VAL, tuning_metrics
from petl_bench.errors import PetlBenchError
from petl_bench.records.files import file_fault, size_fault, was_let_go
from petl_bench.records.layout import ADAPTER, RECORD, TRIAL
from petl_bench.records.optional import of_variant, variants_of
from petl_bench.records.scan import Problem, read_one
from petl_bench.records.schema import trial_fault
from petl_bench.system.stored_json import LARGE, UnusableError, read_json
from petl_bench.system.texts import is_shown

#: Folder of runs that reports do not read: what was moved aside.
REPLACED = "replaced"
#: Two roundings of one metric may differ by this much.
_TOLERANCE = 1e-9

#: `{evaluation: {"top1": percent, "top5": percent, "mean_class_top1": percent}}`.
Accuracies = Mapping[str, Mapping[str, float]]


def judge(folder: Path) -> tuple[dict[str, Any], Problem | None]:
    """The record in a trial's folder, and the first thing that is wrong with it (None if nothing is).

    Contents of the files beside it are not read.
    """
    path = folder / RECORD
    values, fault = read_one(path)
    if fault:
        return {}, Problem(path, fault)
    if _key_of(values["trial"]) != values["key"]:
        return {}, Problem(path, "damaged: its trial does not give its key; it was changed after it was written")
    if found := size_fault(str(folder), values):
        return values, Problem(folder / found[0], found[1])
    return values, None


def adapter_fault(folder: Path) -> str:
    """Why the adapter that a finished trial left cannot be used, with the file; "" if it can, or if it left none.

    The file is read as a whole. It may serve though other files of its trial are damaged, if its record is whole.
    """
    path = folder / RECORD
    values, fault = read_one(path)
    if fault:
        return f"{path}: {fault}"
    if "files" in values and ADAPTER not in values["files"]:
        return ""
    fault = file_fault(folder, ADAPTER, values)
    if not fault and was_let_go(values) and not (folder / ADAPTER).exists():
        fault = "was not kept, to save space"
    return f"{folder / ADAPTER}: {fault}" if fault else ""


def _key_of(trial: Mapping[str, Any]) -> str | None:
    """The key of a trial as it was stored; None if it can have none."""
    try:
        return key_of(trial)
    except (ValueError, RecursionError):
        return None


def trial_values(folder: Path) -> dict[str, Any] | None:
    """The trial that a damaged folder was for, from its record or from `trial.json`; None if neither tells."""
    for name, field in ((RECORD, "trial"), (TRIAL, "")):
        try:
            values = read_json(folder / name, LARGE)
            trial = values[field] if field else values
            if isinstance(trial, dict) and trial_fault(trial) is None and _key_of(trial) == folder.name:
                return trial
        except (UnusableError, FileNotFoundError, KeyError, TypeError):
            continue
    return None


def metrics_fault(record: Mapping[str, Any], accuracies: Accuracies) -> str:
    """What is wrong with a record's metrics, given the accuracies of all its evaluations; "" if nothing is.

    Metrics that cannot be worked out here are taken as they stand, see `unverifiable`.
    """
    if unverifiable(record):
        return ""
    for variant, metrics in {"": record["metrics"], **variants_of(record)}.items():
        if fault := _metrics_fault(record["trial"], metrics, of_variant(accuracies, record, variant)):
            return f"variant {variant}: {fault}" if variant else fault
    return ""


def _metrics_fault(trial: Mapping[str, Any], metrics: Mapping[str, float], accuracies: Accuracies) -> str:
    try:
        found = _summarised(trial, accuracies)
    except Exception as error:  # what a plugin may raise when evaluations or options do not fit it
        return f"its evaluations do not fit the setting {trial['setting']} ({type(error).__name__}: {error})"
    if not trial.get("tuning"):  # of clips that selected the epoch, whose predictions are not kept
        metrics = {name: value for name, value in metrics.items() if name in found or not name.startswith(VAL)}
    if lost := sorted(name for name in metrics.keys() - found.keys() if not came_with_mean_class(name)):
        return f"its evaluations do not fit the setting {trial['setting']}: they give no {', '.join(lost)}"
    for name in sorted({*found, *metrics}):
        stored, own = metrics.get(name), found.get(name)
        if stored is None and came_with_mean_class(name):
            continue  # a record of an earlier version
        if stored is None or own is None or not close(stored, own):
            return f"{name} is recorded as {_shown(stored)}, and the predictions give {_shown(own)}"
    return ""


def _summarised(trial: Mapping[str, Any], accuracies: Accuracies) -> dict[str, float]:
    if trial.get("tuning"):
        return tuning_metrics(accuracies)
    found: dict[str, float] = SETTINGS.get(trial["setting"])(**trial["setting_options"]).summarise(accuracies)
    return found


def _may_lack(metric: str) -> bool:
    """Whether a record of an earlier version may lack a metric."""
    return came_with_mean_class(metric) or metric.startswith(VAL)


def unverifiable(record: Mapping[str, Any]) -> str:
    """Why the metrics of a record cannot be worked out from its accuracies here; "" if they can."""
    name, version = record["trial"]["setting"], record["trial"]["setting_version"]
    if not record["coverage"]:
        return f"the setting {name} has no predictions"
    try:
        plugin = SETTINGS.get(name)
    except PetlBenchError:
        return f"the setting {name} is not installed (a plugin file is named with --plugin)"
    if version != str(plugin.version):  # with "+sha256" for one from a file, which may have changed since
        return f"the setting {name} is of version {version[:12]} in the record"
    return ""


def close(one: float, other: float) -> bool:
    """Whether two values of a metric are equal but for rounding."""
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def same_metrics(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two records have the same numbers; one of an earlier version lacks what came later."""
    differ = one.keys() ^ other.keys()
    return all(map(_may_lack, differ)) and all(close(one[name], other[name]) for name in one.keys() & other)


def how_to_repeat(folder: Path) -> str:
    """What to type so that a trial with a damaged folder runs again and nothing is lost; `folder` is the trial's."""
    if not is_shown(str(folder)):
        return "To run the trial again, move its folder aside (its name has characters that are not shown)"
    target = unused(folder.parent.parent / REPLACED, folder.name)
    move = f"mkdir -p {shlex.quote(str(target.parent))} && mv {shlex.quote(str(folder))} {shlex.quote(str(target))}"
    return f"To run the trial again, move its folder aside and repeat the command: {move}"


def unused(replaced: Path, name: str) -> Path:
    """A path for one more folder that is moved aside."""
    number = 1
    while (target := replaced / f"{name}-{number}").exists():
        number += 1
    return target


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.12g}"
