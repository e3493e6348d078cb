"""The learning rate against the MSTA authors' own logs, and its properties."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler

from petl_bench.training.schedule import learning_rate


@given(st.integers(1, 400), st.integers(0, 100), st.floats(1e-6, 1.0))
def test_it_rises_to_the_peak_and_falls_to_the_end(total: int, warmup: int, peak: float) -> None:
    warmup = min(warmup, total)
    rates = [
        learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total, final_ratio=0.01)
        for step in range(total)
    ]
    assert all(0.0 <= rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_the_first_step_of_a_warm_up_runs_at_zero() -> None:
    assert learning_rate(0, peak=1e-3, warmup_steps=5, total_steps=50, final_ratio=0.01) == 0.0


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert learning_rate(0, peak=1e-3, warmup_steps=0, total_steps=50, final_ratio=0.01) == pytest.approx(1e-3)


@given(st.integers(2, 400), st.integers(0, 100), st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
def test_it_is_timms_cosine_to_the_bit_and_its_warm_up_to_the_last_bit(
    total: int, warmup: int, peak: float, final_ratio: float
) -> None:
    warmup = min(warmup, total)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    timms = CosineLRScheduler(optimizer, t_initial=total, lr_min=final_ratio * peak, warmup_t=warmup, t_in_epochs=False)
    for step in range(total):
        timms.step_update(step)
        ours = learning_rate(step, peak=peak, warmup_steps=warmup, total_steps=total, final_ratio=final_ratio)
        assert optimizer.param_groups[0]["lr"] == (ours if step >= warmup else pytest.approx(ours, rel=1e-15))


LOGS = json.loads((Path(__file__).parents[1] / "goldens" / "msta_author_logs.json").read_text())
TRAINED = {name: log for name, log in LOGS.items() if log["lr_after_first_iter_of_epoch"]}


@pytest.mark.parametrize("name", TRAINED)
def test_it_equals_every_rate_that_the_msta_authors_logged(name: str) -> None:
    log = TRAINED[name]
    per_epoch, epochs, peak = int(log["iters_per_epoch"]), int(log["epochs"]), float(log["lr"])
    for epoch, logged in log["lr_after_first_iter_of_epoch"]:
        ours = learning_rate(
            epoch * per_epoch, peak=peak, warmup_steps=5 * per_epoch, total_steps=epochs * per_epoch, final_ratio=0.01
        )
        assert ours == pytest.approx(logged, abs=5e-10)  # the logs print nine decimals
