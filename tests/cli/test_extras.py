"""What needs an extra that is not installed says so in one line, with what to type."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from petl_bench.errors import PetlBenchError


def _of(module: str) -> Any:
    return importlib.import_module(f"petl_bench.{module}")


NEEDED: dict[str, tuple[tuple[str, ...], Callable[[], object]]] = {
    "hub": (("huggingface_hub",), lambda: _of("hub.client").hub_client("push")),
    "onnx": (
        ("onnx", "onnxruntime", "onnxscript"),
        lambda: _of("sharing.tower_export")._Onnx.refuse_missing(),
    ),
    "parquet": (("pyarrow",), lambda: _of("inference.feature_files")._pyarrow()),
    "mteb": (
        ("mteb", "mteb.models.model_meta"),
        lambda: _of("inference.mteb_encoder").described_model(SimpleNamespace()),
    ),
    "tensorboard": (
        ("tensorboard",),
        lambda: _of("running.planning.trackers").refuse_missing_trackers(["tensorboard"]),
    ),
    "wandb": (("wandb",), lambda: _of("running.planning.trackers").refuse_missing_trackers(["wandb"])),
    "mlflow": (("mlflow",), lambda: _of("running.planning.trackers").refuse_missing_trackers(["mlflow"])),
}


@pytest.mark.parametrize(
    ("extra", "module"), [(extra, module) for extra, (modules, _) in NEEDED.items() for module in modules]
)
def test_a_missing_extra_is_one_line(extra: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)  # imported by another test
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PetlBenchError) as raised:
        NEEDED[extra][1]()
    said = str(raised.value)
    assert f"pip install 'petl-bench[{extra}]'" in said and module.split(".")[0] in said and "\n" not in said
