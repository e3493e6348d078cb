"""An error about an ambiguous trial shows what tells the candidates apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_records import make_trial

from petl_bench.errors import UsageError
from petl_bench.managing.lookup import find_trial, titles
from petl_bench.records.layout import trial_folder


def test_candidates_are_shown_with_keys_and_the_values_that_differ(tmp_path: Path) -> None:
    small = make_trial("lora", hyper_parameters={"rank": 4, "alpha": 16.0}, backbone="viclip-tiny")
    large = make_trial("lora", hyper_parameters={"rank": 8, "alpha": 16.0}, backbone="clip-tiny")
    for trial in (small, large):
        folder = trial_folder(tmp_path, trial.key)
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(json.dumps(trial.stored()))
    with pytest.raises(UsageError, match="'lora' means 2 trials") as caught:
        find_trial(titles(tmp_path), "lora", tmp_path)
    lines = str(caught.value).splitlines()[1:]
    for trial, values in ((small, "backbone=viclip-tiny, lora.rank=4"), (large, "backbone=clip-tiny, lora.rank=8")):
        (line,) = [line for line in lines if trial.key[:8] in line]
        assert line.endswith(f" ({values})")
