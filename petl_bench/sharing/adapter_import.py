"""Bringing an adapter that was trained elsewhere into a folder of runs (`petl_bench.sharing.imported`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from petl_bench.api.plugins.identity import code_version, plugin_version
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.trial import Trial
from petl_bench.errors import PetlBenchError, StoreError, UsageError, WeightsError
from petl_bench.inference.header import checked_use, refuse_foreign
from petl_bench.inference.merged import merged_header
from petl_bench.managing.folders import TRIALS, beside
from petl_bench.models.finite import not_finite
from petl_bench.models.weights import resolve_weights
from petl_bench.records.layout import ADAPTER, trial_folder
from petl_bench.sharing.claimed import fault_of_claim
from petl_bench.sharing.imported import (
    PROVENANCE,
    Imported,
    Provenance,
    imported_folder,
    is_usable,
    read_imported,
)
from petl_bench.sharing.peft_import import adapter_of_peft
from petl_bench.system.environment import package_version
from petl_bench.system.files import sha256_of_file
from petl_bench.system.texts import clean, name, shortened
from petl_bench.training.checkpoint import load_adapter

#: The largest file that is imported: a merged ViCLIP-L/14 has 2 GB.
LARGEST = 8 << 30


@dataclass(frozen=True)
class Found:
    """What a file holds. `key` is that of its trial; of a file that does not say how to use it, its sha256."""

    key: str
    title: str
    merged: bool
    trial: Trial | None
    claimed: Mapping[str, Any]


def import_adapter(file: Path, runs: Path) -> tuple[Imported | None, list[str]]:
    """Copy an adapter file, an exported one or a merged one into `DIR/imported/<key>/`, beside what is known of it.

    A file whose trial was run in this folder is compared with that trial's adapter, and not imported.

    Args:
        file: What `petl-bench export` wrote, a folder of PEFT too, or the adapter.safetensors of a trial.
        runs: A folder of runs; it is made if it is not there.

    Returns:
        The imported adapter, or None if its trial is here; and what there is to say, in words.

    Raises:
        StoreError: The file cannot be read, is no adapter, or cannot be written here.
        WeightsError: A tensor is not finite.
        UsageError: An adapter of the same trial with other tensors is here.
    """
    if file.is_dir():
        with TemporaryDirectory() as place:
            written = Path(place) / file.resolve().name
            written.write_bytes(adapter_of_peft(file))
            return import_adapter(written, runs)
    found = read_file(file)
    own = trial_folder(runs, found.key)
    if is_usable(own):
        return None, [_compared(file, found, own)]
    if there := read_imported(runs, found.key):
        return there, [_compared_with_import(file, found, there)]
    provenance = _provenance(file, found)
    return _written(file, runs, found, provenance), list(provenance.unverified)


def read_file(file: Path) -> Found:
    """Read a file as a whole, and check everything that it says. Raises as `import_adapter`."""
    _refuse_no_file(file)
    header = merged_header(file)
    if header is not None:
        if fault := not_finite(tensors_of(file)):
            raise WeightsError(f"{file}: {fault}")
        return _described(file, header, merged=True)
    header, _ = load_adapter(file)
    if "use" in header:
        return _described(file, header, merged=False)
    refuse_foreign(file, header)
    title = name(f"{header['method']} on {header['backbone']}")
    return Found(sha256_of_file(file), title, merged=False, trial=None, claimed={})


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises StoreError if it cannot be read."""
    try:
        with safe_open(file, framework="pt") as opened:
            return {each: opened.get_tensor(each) for each in opened.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise StoreError(f"{file}: cannot be read: {error}") from error


def _refuse_no_file(file: Path) -> None:
    try:
        size = file.stat().st_size if file.is_file() else None
    except (OSError, ValueError) as error:
        raise StoreError(f"{clean(str(file))}: cannot be read: {error}") from error
    if size is None:
        raise StoreError(f"{file}: no such file; name one that petl-bench export wrote, or an adapter.safetensors")
    if size > LARGEST:
        raise StoreError(f"{file}: larger than {LARGEST:,} bytes, which no adapter is")


def _described(file: Path, header: Mapping[str, Any], merged: bool) -> Found:
    trial = checked_use(file, header).trial
    claimed = header.get("record", {})
    if claimed != {} and (fault := fault_of_claim(claimed)):
        raise StoreError(
            f"{file}: not an adapter of petl-bench, for its header has a record {shortened(clean(fault), 300)}"
        )
    title = name(f"{trial.title} on {trial.backbone}{', merged' if merged else ''}")
    return Found(header["trial"], title, merged, trial, claimed)


# Comparing


def _compared(file: Path, found: Found, own: Path) -> str:
    """Raise UsageError if the adapter of the trial that is here has other tensors."""
    here = f"trial {found.key[:8]} is in this folder of runs, so nothing is imported"
    if found.merged:
        return f"{here}; its adapter was not compared with {file}, which is a merged model"
    mine = own / ADAPTER
    if found.trial is not None and found.trial.start_from:
        mine = trial_folder(own.parent.parent, found.trial.start_from) / ADAPTER
    if differing := _differing(file, mine):
        raise UsageError(
            f"{file}: {here}, and its adapter has other tensors ({differing}); use the file itself with --adapter FILE"
        )
    return f"{here}; its adapter has the same tensors"


def _compared_with_import(file: Path, found: Found, there: Imported) -> str:
    """Raise UsageError if what was imported under this key has other tensors."""
    what = f"{there.file} (imported from {clean(there.provenance.file)})"
    if sha256_of_file(file) == there.provenance.sha256:
        return f"{what} is this file already"
    if differing := _differing(file, there.file):
        raise UsageError(
            f"{file}: {what} is of the same trial {found.key[:8]} and has other tensors ({differing}); to take this "
            f"one, remove {there.file.parent}"
        )
    return f"{what} has the same tensors, and stays as it is"


def _differing(one: Path, other: Path) -> str:
    """The first tensor in which two files differ; "" if there is none. A file that is not there has no tensors."""
    first, second = (tensors_of(each) if each.is_file() else {} for each in (one, other))
    for each in sorted(first.keys() | second.keys()):
        if each not in first or each not in second or not torch.equal(first[each], second[each]):
            return shortened(clean(each), 100)
    return ""


# Writing


def _written(file: Path, runs: Path, found: Found, provenance: Provenance) -> Imported:
    target = imported_folder(runs, found.key)
    staged = beside(target.parent, "importing")
    try:
        (runs / TRIALS).mkdir(parents=True, exist_ok=True)  # that it is a folder of runs
        staged.mkdir(parents=True)
        shutil.copyfile(file, staged / ADAPTER)
        if sha256_of_file(staged / ADAPTER) != provenance.sha256:
            raise StoreError(f"{file}: it changed while it was read; try again")
        content = json.dumps(asdict(provenance), indent=1, ensure_ascii=False)
        (staged / PROVENANCE).write_text(content + "\n", encoding="utf-8")
        staged.rename(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Imported(found.key, target / ADAPTER, provenance)


def _provenance(file: Path, found: Found) -> Provenance:
    return Provenance(
        title=found.title,
        file=name(file.name),
        sha256=sha256_of_file(file),
        bytes=file.stat().st_size,
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
        petl_bench=package_version(),
        merged=found.merged,
        claimed=found.claimed,
        unverified=_unverified(found),
    )


def _unverified(found: Found) -> list[str]:
    """What cannot be verified here, in words."""
    if found.trial is None:
        return ["the file does not say how it was trained, nor how its trial reads clips and class names"]
    trial = found.trial
    metrics = ", ".join(f"{each} {value:.4g}" for each, value in found.claimed.get("metrics", {}).items())
    lines = [
        f"not measured here: {clean(shortened(metrics, 300))}" if metrics else "the file says no results",
        f"the data it was trained on are not compared: {clean(trial.dataset)}, manifest {trial.manifest_sha256[:12]}",
    ]
    if not found.merged:
        lines += _code_lines("method", METHODS, trial.method, trial.method_version, plugin_version)
        lines += _weights_lines(trial)
    return lines + _code_lines("backbone", BACKBONES, trial.backbone, trial.backbone_version, code_version)


def _code_lines(kind: str, registry: Any, plugin: str, version: str, version_of: Any) -> list[str]:
    """Whether the code of a plugin is that which it was trained with, if it is not."""
    shown = clean(shortened(plugin, 100))
    try:
        here = version_of(registry.get(plugin))
    except PetlBenchError:
        return [f"the {kind} {shown} is not installed here: name its file with --plugin"]
    if here == version:
        return []
    return [
        f"the code of the {kind} {shown} is another one here (version {here or 'packaged'}; it was trained with "
        f"{clean(shortened(version, 100)) or 'packaged'}): it cannot be used until that code is loaded"
    ]


def _weights_lines(trial: Trial) -> list[str]:
    """Whether the weights that it was trained on are found, if they are not."""
    with suppress(PetlBenchError):
        if resolve_weights(BACKBONES.get(trial.backbone), "auto").sha256 == trial.weights_sha256:
            return []
    label = clean(shortened(trial.weights, 100))
    return [f"the weights that it was trained on are not found by themselves: {label}, {trial.weights_sha256[:12]}"]
