"""What a trial spends beside the model and reading clips. To reach: less than 2 % of a trial of 60 s, that is 1.2 s.

Seconds of processor time of msta on motion with ViCLIP-tiny, from a trial that was planned to its result, in a process
that has just started; the model's forward and backward passes, the optimiser and `prepare` (decoding, sampling,
augmentation) are taken off.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

TRIAL = """
import json, sys, tempfile, time
from pathlib import Path

import torch

from petl_bench.data.loading import batches as loading
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from petl_bench.training.run_trial import run_trial

(job,) = plan(Spec(methods=("msta",), seeds=(0,), epochs=int(sys.argv[1]), output="none")).jobs
spent = 0.0

def timed(function):
    def run(*arguments, **keywords):
        global spent
        started = time.process_time()
        try:
            return function(*arguments, **keywords)
        finally:
            spent += time.process_time() - started
    return run

for owner, name in ((DualEncoder, "encode_video"), (DualEncoder, "encode_text"), (loading, "prepare"),
                    (torch.Tensor, "backward"), (torch.optim.AdamW, "step")):
    setattr(owner, name, timed(getattr(owner, name)))
started = time.process_time()
run_trial(job.trial, job.places, Path(tempfile.mkdtemp()), lambda progress: None)
total = time.process_time() - started
print(json.dumps({"total": total, "overhead": total - spent}))
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("epochs", [1, 11])
def test_overhead_of_a_trial(benchmark: Any, epochs: int) -> None:
    def trial() -> dict[str, float]:
        done = subprocess.run([sys.executable, "-c", TRIAL, str(epochs)], capture_output=True, text=True, check=True)
        seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return seconds

    trial()  # renders the clips where that was never done
    seconds = benchmark.pedantic(trial, rounds=1)
    told = f"{seconds['overhead']:.2f} s of {seconds['total']:.1f} s; of 60 s: {seconds['overhead'] / 60:.1%}"
    benchmark.extra_info["overhead"] = told
    print(f"\n{epochs} epochs: overhead {told}")
