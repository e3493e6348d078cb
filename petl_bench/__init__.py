"""petl-bench: honest comparison of parameter-efficient fine-tuning methods for video-language models.

The public API. Attributes are imported when first used, so that `import petl_bench` and the light commands never load
torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

_LAZY = {
    # plugin authors
    "Method": "petl_bench.api.method",
    "Paper": "petl_bench.api.method",
    "Recipe": "petl_bench.api.method",
    "Step": "petl_bench.api.method",
    "Towers": "petl_bench.api.config",
    "hyper": "petl_bench.api.options",
    "Options": "petl_bench.api.options",
    "Setting": "petl_bench.api.setting",
    "Case": "petl_bench.api.setting",
    "Task": "petl_bench.api.setting",
    "Evaluation": "petl_bench.api.setting",
    "Dataset": "petl_bench.api.dataset",
    "Annotations": "petl_bench.api.dataset",
    "Augmentation": "petl_bench.api.dataset",
    "HalfSplit": "petl_bench.api.dataset",
    "Sample": "petl_bench.api.dataset",
    "Backbone": "petl_bench.api.backbone",
    "Expectation": "petl_bench.api.backbone",
    "PublishedWeights": "petl_bench.api.backbone",
    "register_method": "petl_bench.api.registry",
    "register_setting": "petl_bench.api.registry",
    "register_dataset": "petl_bench.api.registry",
    "register_backbone": "petl_bench.api.registry",
    "register_table": "petl_bench.api.registry",
    "register_launcher": "petl_bench.api.registry",
    # models
    "ViCLIPConfig": "petl_bench.api.config",
    "CLIPConfig": "petl_bench.api.config",
    "DualEncoder": "petl_bench.models.dual_encoder",
    "create_model": "petl_bench.models.create",
    "create_method": "petl_bench.api.registry",
    "trainable_parameters": "petl_bench.models.dual_encoder",
    "tokenize": "petl_bench.models.tokenizer",
    "Bottleneck": "petl_bench.models.adapters",
    "TemporalConv": "petl_bench.models.adapters",
    # results
    "harmonic_mean": "petl_bench.analysis.averages",
    "load_records": "petl_bench.records.read",
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
    if name == "__version__":
        return importlib.metadata.version("petl-bench")
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
    from petl_bench.analysis.averages import harmonic_mean
    from petl_bench.api.backbone import Backbone, Expectation, PublishedWeights
    from petl_bench.api.config import CLIPConfig, Towers, ViCLIPConfig
    from petl_bench.api.dataset import Annotations, Augmentation, Dataset, HalfSplit, Sample
    from petl_bench.api.method import Method, Paper, Recipe, Step
    from petl_bench.api.options import Options, hyper
    from petl_bench.api.registry import (
        create_method,
        register_backbone,
        register_dataset,
        register_launcher,
        register_method,
        register_setting,
        register_table,
    )
    from petl_bench.api.setting import Case, Evaluation, Setting, Task
    from petl_bench.errors import DataError, PetlBenchError, UsageError, WeightsError
    from petl_bench.models.adapters import Bottleneck, TemporalConv
    from petl_bench.models.create import create_model
    from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
    from petl_bench.models.tokenizer import tokenize
    from petl_bench.records.read import load_records
