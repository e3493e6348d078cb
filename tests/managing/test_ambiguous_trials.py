"""An error about an ambiguous trial shows what tells the candidates apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from petl_bench.errors import UsageError
from petl_bench.managing.lookup import find_trial, titles
from petl_bench.records.layout import trial_folder
from tests.managing.conftest import Folder


def test_candidates_are_shown_with_keys_and_the_values_that_differ(folder: Folder) -> None:
    planned = folder.jobs["waiting 0"].trial
    faster = replace(planned, backbone="clip-tiny", training={**planned.training, "learning_rate": 0.5})
    place = trial_folder(folder.runs, faster.key)
    place.mkdir(parents=True)
    (place / "trial.json").write_text(json.dumps(faster.stored()))
    text = planned.title.partition(" (")[0]
    with pytest.raises(UsageError, match="means 2 trials") as caught:
        find_trial(titles(folder.runs), text, folder.runs)
    lines = {line.split("(")[1][:8]: line for line in str(caught.value).splitlines()[1:]}
    assert lines[faster.key[:8]].endswith(" (backbone=clip-tiny, training.learning_rate=0.5)")
    rate = planned.training["learning_rate"]
    assert lines[planned.key[:8]].endswith(f" (backbone={planned.backbone}, training.learning_rate={rate})")
