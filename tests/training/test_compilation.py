"""training.compile: the same training up to rounding, the same bits every time, and one line where it cannot be had."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from petl_bench.api.trial import Places, Trial, TrialResult
from petl_bench.errors import TrialError
from petl_bench.training.run_trial import run_trial

HYPER = {"bottleneck_dim": 8, "dropout": 0.2}


@pytest.fixture
def run(places: Places, tmp_path: Path) -> Callable[[Trial], TrialResult]:
    def in_new_folder(trial: Trial) -> TrialResult:
        folder = tmp_path / f"trial {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return run_trial(trial, places, folder, lambda progress: None)

    return in_new_folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # a C++ compiler on a busy machine
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_trial_has_the_numbers_of_any_other(
    make_trial: Callable[..., Trial],
    run: Callable[[Trial], TrialResult],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    plain = make_trial("adaptformer", HYPER, epochs=2, learning_rate=1e-3)
    compiled = make_trial("adaptformer", HYPER, epochs=2, learning_rate=1e-3, compile=True)
    assert plain.key != compiled.key
    expected, first, second = run(plain), run(compiled), run(compiled)
    losses = [[row["loss"] for row in result.history] for result in (expected, first, second)]
    assert losses[1] == losses[2]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    for name, evaluation in expected.evaluations.items():
        np.testing.assert_allclose(first.evaluations[name].scores, evaluation.scores, atol=1e-4)
        assert np.array_equal(first.evaluations[name].scores, second.evaluations[name].scores)
    assert list((tmp_path / "compiled").iterdir())


def test_what_cannot_be_compiled_is_told_in_one_line(
    make_trial: Callable[..., Trial], run: Callable[[Trial], TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(function: object) -> object:
        raise RuntimeError("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for more")

    monkeypatch.setattr(torch, "compile", compiler)
    told = r"does not work for cpu here \(No working C\+\+ compiler found\)\. .*compile=true away"
    with pytest.raises(TrialError, match=told):
        run(make_trial("lora", {"rank": 2}, compile=True))
