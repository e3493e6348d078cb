"""The adapter of a finished trial, in the format of another library."""

from __future__ import annotations

from pathlib import Path

from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.trial import Trial
from petl_bench.errors import TrialError
from petl_bench.models.peft_format import peft_files, write_new_folder
from petl_bench.records.judge import adapter_fault, how_to_repeat, judge
from petl_bench.records.layout import ADAPTER, RECORD, trial_folder
from petl_bench.training.checkpoint import load_adapter


def write_peft_folder(runs: Path, key: str, output: Path) -> str:
    """Write the adapter of a trial, or of the trial that it starts from, as a folder of Hugging Face PEFT.

    Returns:
        The class of the model that PEFT loads it on, in words.

    Raises:
        TrialError: The trial is not finished or damaged, or its adapter is damaged or was not kept.
        UsageError: The method has no form in PEFT, or the folder is there.
        StoreError: The folder cannot be written.
    """
    folder = trial_folder(runs, key)
    if not (folder / RECORD).exists():
        raise TrialError(f"trial {key[:8]} is not finished; run its command again, or see petl-bench status")
    record, problem = judge(folder)
    if problem is not None:
        raise TrialError(f"{problem}. {how_to_repeat(folder)}")
    trial = Trial.from_json(record["trial"])
    source = trial_folder(runs, trial.start_from) if trial.start_from else folder
    if fault := adapter_fault(source):
        raise TrialError(f"the adapter cannot be used: {fault}. {how_to_repeat(source)}")
    config = BACKBONES.get(trial.backbone)(**trial.backbone_options).model_config
    method = METHODS.get(trial.method)(**trial.hyper_parameters, **trial.locations.get(trial.method, {}))
    state = load_adapter(source / ADAPTER)[1] if (source / ADAPTER).exists() else {}
    origin = {"trial": trial.key, "backbone": trial.backbone, "weights_sha256": trial.weights_sha256}
    write_new_folder(output, peft_files(method, config, state, origin))
    return "petl_bench.DualEncoder" if config.joint_space_time else "transformers.CLIPModel"
