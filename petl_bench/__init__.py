"""petl-bench: honest comparison of parameter-efficient fine-tuning methods for video-language models.

The public API. Attributes are imported when first used, so that `import petl_bench` and the light commands never load
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    # plugin authors
    "Method": "petl_bench.method",
    "Paper": "petl_bench.method",
    "Recipe": "petl_bench.method",
    "Step": "petl_bench.method",
    "Towers": "petl_bench.models.config",
    "hyper": "petl_bench.options",
    "Options": "petl_bench.options",
    "Setting": "petl_bench.setting",
    "Case": "petl_bench.setting",
    "Task": "petl_bench.setting",
    "Evaluation": "petl_bench.setting",
    "Dataset": "petl_bench.dataset",
    "Annotations": "petl_bench.dataset",
    "Augmentation": "petl_bench.dataset",
    "HalfSplit": "petl_bench.dataset",
    "Sample": "petl_bench.dataset",
    "Backbone": "petl_bench.backbone",
    "Expectation": "petl_bench.backbone",
    "PublishedWeights": "petl_bench.backbone",
    "register_method": "petl_bench.registry",
    "register_setting": "petl_bench.registry",
    "register_dataset": "petl_bench.registry",
    "register_backbone": "petl_bench.registry",
    "register_table": "petl_bench.registry",
    "register_launcher": "petl_bench.registry",
    # models
    "ViCLIPConfig": "petl_bench.models.config",
    "CLIPConfig": "petl_bench.models.config",
    "DualEncoder": "petl_bench.models.dual_encoder",
    "create_model": "petl_bench.models.create",
    "create_method": "petl_bench.create",
    "trainable_parameters": "petl_bench.models.dual_encoder",
    "tokenize": "petl_bench.models.tokenizer",
    "Bottleneck": "petl_bench.models.adapters",
    "TemporalConv": "petl_bench.models.adapters",
    # results
    "harmonic_mean": "petl_bench.statistics",
    "load_records": "petl_bench.records",
    # errors
    "PetlBenchError": "petl_bench.errors",
    "UsageError": "petl_bench.errors",
    "DataError": "petl_bench.errors",
    "WeightsError": "petl_bench.errors",
    # modules
    "testing": "petl_bench",
}

__all__ = sorted([*_LAZY, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'petl_bench' has no attribute {name!r}")
    module = _LAZY[name]
    value = (
        importlib.import_module(f"{module}.{name}")
        if module == "petl_bench"
        else getattr(importlib.import_module(module), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from petl_bench.backbone import Backbone, Expectation, PublishedWeights
    from petl_bench.create import create_method
    from petl_bench.dataset import Annotations, Augmentation, Dataset, HalfSplit, Sample
    from petl_bench.errors import DataError, PetlBenchError, UsageError, WeightsError
    from petl_bench.method import Method, Paper, Recipe, Step
    from petl_bench.models.adapters import Bottleneck, TemporalConv
    from petl_bench.models.config import CLIPConfig, Towers, ViCLIPConfig
    from petl_bench.models.create import create_model
    from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
    from petl_bench.models.tokenizer import tokenize
    from petl_bench.options import Options, hyper
    from petl_bench.records import load_records
    from petl_bench.registry import (
        register_backbone,
        register_dataset,
        register_launcher,
        register_method,
        register_setting,
        register_table,
    )
    from petl_bench.setting import Case, Evaluation, Setting, Task
    from petl_bench.statistics import harmonic_mean
