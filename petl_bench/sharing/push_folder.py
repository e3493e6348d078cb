"""The folder of a trial that is pushed to the Hub: its adapter, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError, TrialError, UsageError
from petl_bench.models.peft_format import write_new_folder
from petl_bench.records.judge import adapter_fault, how_to_repeat, judge
from petl_bench.records.layout import ADAPTER, RECORD, trial_folder
from petl_bench.sharing.claimed import paths_in
from petl_bench.sharing.model_card import CardSource, model_card
from petl_bench.training.checkpoint import load_adapter

CARD = "README.md"


def write_adapter_folder(runs: Path, key: str, folder: Path, repository: str, licence: str | None) -> None:
    """Write what of a trial is pushed into a new folder.

    Args:
        runs: The folder of runs.
        key: Of the trial.
        folder: Is made.
        repository: USER/NAME on the Hub, which the card names.
        licence: Of the adapter; None if it is not stated.

    Raises:
        TrialError: The trial is not finished or damaged, or its adapter is damaged or was not kept.
        UsageError: Nothing was trained, or on random weights; a value is a path; or the folder is there.
        StoreError: The folder cannot be written.
    """
    record = _record(trial_folder(runs, key))
    adapter = _adapter(trial_folder(runs, key), record)
    header, _ = load_adapter(adapter)
    _refuse_paths(record["trial"])
    card = model_card(CardSource(record, header, runs, repository, licence))
    try:
        content = adapter.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {adapter}: {error.strerror}") from error
    write_new_folder(folder, {ADAPTER: content, CARD: card.encode(errors="replace")})


def _record(folder: Path) -> dict[str, Any]:
    if not (folder / RECORD).exists():
        raise TrialError(f"trial {folder.name[:8]} is not finished; run its command again, or see petl-bench status")
    record, problem = judge(folder)
    if problem is not None:
        raise TrialError(f"{problem}. {how_to_repeat(folder)}")
    return record


def _adapter(folder: Path, record: Mapping[str, Any]) -> Path:
    """The adapter that a trial trained itself."""
    trial, key = record["trial"], folder.name[:8]
    if trial["weights_sha256"] == "random":
        raise UsageError(f"trial {key} was trained on random weights, and is of no use to others: it is not pushed")
    if start := trial.get("start_from"):
        raise UsageError(f"trial {key} trained nothing: push the trial that it starts from, {start[:8]}")
    if fault := adapter_fault(folder):
        raise TrialError(f"the adapter cannot be used: {fault}. {how_to_repeat(folder)}")
    if not (folder / ADAPTER).is_file():
        raise UsageError(f"trial {key} ({trial['method']}) trained nothing: it has no adapter to push")
    return folder / ADAPTER


def _refuse_paths(trial: Mapping[str, Any]) -> None:
    """Raise UsageError if a value that enters the trial's key, and so cannot be left out, is the path of a file."""
    for option, text in paths_in(trial):
        raise UsageError(
            f"{option} is the path of a file ({text}), which would be published: train with the values in place of "
            "the file"
        )
