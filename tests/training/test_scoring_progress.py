"""What is told while several evaluations are scored: one count over all of them, which never goes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from petl_bench.api.dataset import Sample
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import Progress
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.scoring import _tells


def test_progress_counts_over_all_evaluations() -> None:
    told: list[Progress] = []
    prepared: Any = SimpleNamespace(found=list, notify=told.append)
    evaluations = [
        Evaluation(name, ("a class",), tuple(Sample(f"{name}/{number}", 0) for number in range(count)))
        for name, count in (("base", 3), ("novel", 2))
    ]
    tells = _tells(cast(PreparedTrial, prepared), evaluations)
    for name, done in (("base", 2), ("base", 4), ("novel", 1), ("novel", 2)):
        tells[name](done)
    assert [(each.stage, each.step, each.steps) for each in told] == [("evaluating", step, 5) for step in (2, 3, 4, 5)]
