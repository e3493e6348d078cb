"""Fields that a record has only if there is something to say, and what they change about the others.

- `absent`: an evaluation that the method cannot score -> the reason. It has no coverage, no predictions, no metric.
- `variants`: a further evaluation of one training (`petl_bench.api.method.Method.variants`, and
  `petl_bench.api.retrieval.BESIDE`) -> the setting's metrics.
  Its evaluations stand in `coverage` beside those of the trial, as "EVALUATION@VARIANT".
- `best_epochs`: of retrieval, the epoch (from 1) of each variant that is an epoch best on the test clips
  (`petl_bench.api.retrieval.BEST_EPOCHS`).
- `method_hooks`: what the method defines (`petl_bench.api.method.hooks_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from petl_bench.api.retrieval import BESIDE
from petl_bench.api.trial import TrialResult

T = TypeVar("T")
Record = Mapping[str, Any]


def optional_fields(result: TrialResult) -> dict[str, Any]:
    """The fields of a result's record, without those that are empty."""
    fields = {
        "absent": result.absent,
        "variants": result.variants,
        "best_epochs": result.best_epochs,
        "method_hooks": result.hooks,
    }
    return {name: value for name, value in fields.items() if value}


def absences_of(record: Record) -> dict[str, str]:
    """The evaluations that are absent from a record, each with the reason."""
    return dict(record.get("absent", {}))


def variants_of(record: Record) -> dict[str, dict[str, float]]:
    """The metrics of each variant; those of the trial itself are not among them."""
    return {name: dict(metrics) for name, metrics in record.get("variants", {}).items()}


def beside(record: Record) -> dict[str, float]:
    """The metrics of the engine's own variants of retrieval, by names such as "t2v_r1@dual_softmax"; "epoch@best_t2v"
    is the epoch of one that is best on the test clips. Variants of the method are not among them."""
    own = {name: metrics for name, metrics in record.get("variants", {}).items() if name in BESIDE}
    epochs = {f"epoch@{name}": float(epoch) for name, epoch in record.get("best_epochs", {}).items()}
    return {f"{metric}@{name}": value for name, metrics in own.items() for metric, value in metrics.items()} | epochs


def of_variant(by_evaluation: Mapping[str, T], record: Record, variant: str = "") -> dict[str, T]:
    """The values of one variant ("": of the trial itself), by evaluation without the variant's name."""
    placed = {name: _place(name, record.get("variants", ())) for name in by_evaluation}
    return {placed[name][0]: value for name, value in by_evaluation.items() if placed[name][1] == variant}


def optional_fault(record: Record) -> str:
    """How the optional fields contradict the evaluations that have predictions; "" if they do not."""
    coverage, variants = record["coverage"], record.get("variants", {})
    if both := record.get("absent", {}).keys() & coverage.keys():
        return f"{', '.join(sorted(both))} is absent, and has predictions"
    for name in coverage:
        evaluation, mark, variant = name.rpartition("@")
        if mark and evaluation in coverage and variant not in variants:
            return f"the evaluation {name} is of a variant that has no metrics"
    having = {_place(name, variants)[1] for name in coverage}
    if strange := sorted(record.get("best_epochs", {}).keys() - variants.keys()):
        return f"the best epoch of {strange[0]} has no metrics"
    if lacking := sorted(variants.keys() - having):
        return f"the variant {lacking[0]} has no predictions"
    return ""


def _place(name: str, variants: Iterable[str]) -> tuple[str, str]:
    """Evaluation and variant of the name of an evaluation."""
    evaluation, _, variant = name.rpartition("@")
    return (evaluation, variant) if evaluation and variant in variants else (name, "")
