"""petl-bench: honest comparison of parameter-efficient fine-tuning methods for video-language models.

The public API. Names are imported when first used, so that `import petl_bench` and the light commands never load torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one list of public names: read by type checkers, and by `_homes` at run time
    from petl_bench import testing as testing
    from petl_bench.analysis.averages import harmonic_mean as harmonic_mean
    from petl_bench.api.backbone import Backbone as Backbone
    from petl_bench.api.backbone import Expectation as Expectation
    from petl_bench.api.backbone import PublishedWeights as PublishedWeights
    from petl_bench.api.config import CLIPConfig as CLIPConfig
    from petl_bench.api.config import Towers as Towers
    from petl_bench.api.config import ViCLIPConfig as ViCLIPConfig
    from petl_bench.api.dataset import Annotations as Annotations
    from petl_bench.api.dataset import Augmentation as Augmentation
    from petl_bench.api.dataset import Dataset as Dataset
    from petl_bench.api.dataset import Defect as Defect
    from petl_bench.api.dataset import HalfSplit as HalfSplit
    from petl_bench.api.dataset import Sample as Sample
    from petl_bench.api.evidence import ClipOutcomes as ClipOutcomes
    from petl_bench.api.evidence import Evidence as Evidence
    from petl_bench.api.evidence import OutcomeSource as OutcomeSource
    from petl_bench.api.figure import Axis as Axis
    from petl_bench.api.figure import Figure as Figure
    from petl_bench.api.figure import Point as Point
    from petl_bench.api.figure import Series as Series
    from petl_bench.api.figure import joined as joined
    from petl_bench.api.figure import pareto_front as pareto_front
    from petl_bench.api.launcher import AttemptResult as AttemptResult
    from petl_bench.api.launcher import Job as Job
    from petl_bench.api.launcher import Launcher as Launcher
    from petl_bench.api.launcher import Watcher as Watcher
    from petl_bench.api.marks import Mark as Mark
    from petl_bench.api.method import Method as Method
    from petl_bench.api.method import Recipe as Recipe
    from petl_bench.api.method import Support as Support
    from petl_bench.api.options import Options as Options
    from petl_bench.api.options import hyper as hyper
    from petl_bench.api.paper import Paper as Paper
    from petl_bench.api.peft_format import PeftFormat as PeftFormat
    from petl_bench.api.registry import create_method as create_method
    from petl_bench.api.registry import load_plugin_file as load_plugin_file
    from petl_bench.api.registry import register_backbone as register_backbone
    from petl_bench.api.registry import register_dataset as register_dataset
    from petl_bench.api.registry import register_launcher as register_launcher
    from petl_bench.api.registry import register_method as register_method
    from petl_bench.api.registry import register_setting as register_setting
    from petl_bench.api.registry import register_table as register_table
    from petl_bench.api.registry import register_tracker as register_tracker
    from petl_bench.api.retrieval import RETRIEVAL_METRICS as RETRIEVAL_METRICS
    from petl_bench.api.retrieval import RetrievalEvaluation as RetrievalEvaluation
    from petl_bench.api.retrieval import RetrievalTask as RetrievalTask
    from petl_bench.api.retrieval import retrieval_evaluation as retrieval_evaluation
    from petl_bench.api.retrieval import retrieval_pairs as retrieval_pairs
    from petl_bench.api.setting import Case as Case
    from petl_bench.api.setting import Evaluation as Evaluation
    from petl_bench.api.setting import Setting as Setting
    from petl_bench.api.setting import Task as Task
    from petl_bench.api.splits import chosen_shots as chosen_shots
    from petl_bench.api.splits import chosen_splits as chosen_splits
    from petl_bench.api.splits import halves_of as halves_of
    from petl_bench.api.splits import names_of as names_of
    from petl_bench.api.splits import refuse_shots as refuse_shots
    from petl_bench.api.splits import relabel as relabel
    from petl_bench.api.splits import seeded_draw as seeded_draw
    from petl_bench.api.splits import training_list as training_list
    from petl_bench.api.step import Frozen as Frozen
    from petl_bench.api.step import MethodTask as MethodTask
    from petl_bench.api.step import Step as Step
    from petl_bench.api.table import Cell as Cell
    from petl_bench.api.table import Column as Column
    from petl_bench.api.table import Row as Row
    from petl_bench.api.table import RowGroup as RowGroup
    from petl_bench.api.table import Table as Table
    from petl_bench.api.table import TableSource as TableSource
    from petl_bench.api.tracker import TrackedTrial as TrackedTrial
    from petl_bench.api.tracker import Tracker as Tracker
    from petl_bench.api.training_options import TrainingOptions as TrainingOptions
    from petl_bench.api.trial import EvaluationResult as EvaluationResult
    from petl_bench.api.trial import Places as Places
    from petl_bench.api.trial import Progress as Progress
    from petl_bench.api.trial import RetrievalResult as RetrievalResult
    from petl_bench.api.trial import Trial as Trial
    from petl_bench.api.trial import TrialResult as TrialResult
    from petl_bench.api.tuning import Choice as Choice
    from petl_bench.api.tuning import Range as Range
    from petl_bench.data.lists.annotation_formats import read_counted_list as read_counted_list
    from petl_bench.data.lists.annotation_formats import read_list as read_list
    from petl_bench.data.lists.list_forms import form_reader as form_reader
    from petl_bench.data.lists.published_dataset import PublishedDataset as PublishedDataset
    from petl_bench.errors import DataError as DataError
    from petl_bench.errors import PetlBenchError as PetlBenchError
    from petl_bench.errors import PluginError as PluginError
    from petl_bench.errors import StoreError as StoreError
    from petl_bench.errors import TrialError as TrialError
    from petl_bench.errors import UsageError as UsageError
    from petl_bench.errors import WeightsError as WeightsError
    from petl_bench.inference.loading import LoadedAdapter as LoadedAdapter
    from petl_bench.inference.loading import load_adapter as load_adapter
    from petl_bench.inference.mteb_encoder import MTEBEncoder as MTEBEncoder
    from petl_bench.models.adapters import Bottleneck as Bottleneck
    from petl_bench.models.adapters import TemporalConv as TemporalConv
    from petl_bench.models.create import create_model as create_model
    from petl_bench.models.dual_encoder import DualEncoder as DualEncoder
    from petl_bench.models.dual_encoder import trainable_parameters as trainable_parameters
    from petl_bench.models.grid import Grid as Grid
    from petl_bench.models.grid import from_volume as from_volume
    from petl_bench.models.grid import to_volume as to_volume
    from petl_bench.models.peft_format import load_peft_adapter as load_peft_adapter
    from petl_bench.models.peft_format import save_peft_adapter as save_peft_adapter
    from petl_bench.models.tokenizer import tokenize as tokenize
    from petl_bench.models.towers import VideoOutput as VideoOutput
    from petl_bench.models.transformer import Block as Block
    from petl_bench.records.read import load_records as load_records
    from petl_bench.running.attempts.execute import execute as execute
    from petl_bench.tables.columns import MeasuredColumn as MeasuredColumn
    from petl_bench.tables.columns import ScoredMetric as ScoredMetric
    from petl_bench.tables.columns import ShownNumber as ShownNumber
    from petl_bench.tables.retrieval_table import RetrievalTable as RetrievalTable
    from petl_bench.tables.setting_table import TOP1 as TOP1
    from petl_bench.tables.setting_table import SettingTable as SettingTable
    from petl_bench.tables.study_table import Study as Study
    from petl_bench.tables.study_table import StudyTable as StudyTable


@cache
def _homes() -> dict[str, str]:
    """Public name -> the module that has it, from the import statements above."""
    import ast

    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(Path(__file__).read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == __name__
        for alias in node.names
    }


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("petl-bench")
    if name == "__all__":
        return __dir__()
    if name.startswith("_") or name not in _homes():
        raise AttributeError(f"module 'petl_bench' has no attribute {name!r}")
    home = _homes()[name]
    is_module = home == __name__
    value = importlib.import_module(f"{home}.{name}") if is_module else getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_homes(), "__version__"])
