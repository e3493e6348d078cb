"""Files of tunings as `petl-bench tune` leaves them, made on the spot."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from petl_bench.api.trial import Trial
from petl_bench.records.tunings import Applied, Proposal, Tuning, write_tuning


def key_of_proposal(method: str, number: int, seed: int) -> str:
    """A made-up key of a trial of a proposal."""
    return hashlib.sha256(f"{method}/{number}/{seed}".encode()).hexdigest()


def tuning_of(trial: Trial, *, budget: int = 4, done: int | None = None, trainings: int = 3, **values: Any) -> Tuning:
    """A tuning that chose the learning rate of a trial; proposal k has the objective 60 + k, the last one is chosen."""
    done = budget if done is None else done
    rate = trial.training["learning_rate"]
    proposals = [
        Proposal(
            number=number,
            round=number // 4,
            values={"training.learning_rate": rate if number == done - 1 else rate / (number + 2)},
            trials=[key_of_proposal(trial.method, number, seed) for seed in range(trainings)],
            objective=60.0 + number,
            metrics={"val_top1": 60.0 + number},
        )
        for number in range(done)
    ]
    ended = done == budget
    applied = [Applied(dataset=trial.dataset, hyper_parameters=trial.hyper_parameters, training=trial.training)]
    fields: dict[str, Any] = {
        "method": trial.method,
        "method_version": trial.method_version,
        "setting": trial.setting,
        "setting_options": {},
        "datasets": [trial.dataset],
        "backbone": trial.backbone,
        "backbone_options": {},
        "weights_sha256": trial.weights_sha256,
        "objective": "held-out",
        "budget": budget,
        "splits": ["1"],
        "shots": [16],
        "seeds": [0, 1, 2],
        "draws": 1,
        "round_size": 4,
        "sampler": "Sobol and TPE of optuna 5.0",
        "seed": 0,
        "space": {"training.learning_rate": "0.0001..0.01:log"},
        "proposals": proposals,
        "chosen": done - 1 if ended else None,
        "applied": applied if ended else (),
        "command": "petl-bench tune --methods lora --trials 4",
    }
    return Tuning(**{**fields, **values})


def tune(runs: Path, trial: Trial, **values: Any) -> Tuning:
    """Write `tuning_of` these into a folder of runs."""
    found = tuning_of(trial, **values)
    write_tuning(runs, found)
    return found
