"""The ablation of descriptions, as it is typed: none, one kind, both, and N sentences, on the embedded data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.api.launcher import Job
from petl_bench.errors import DataError
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from petl_bench.training.run_trial import run_trial

pytestmark = pytest.mark.slow

OWN = "descriptions: the descriptions of motion"
TEMPLATES = "descriptions: templates: sentences made from the class names alone, which add no knowledge of the classes"


def planned(*values: str) -> Job:
    spec = Spec(methods=("msta",), seeds=(0,), epochs=1, set=tuple(f"msta.{value}" for value in values), output="none")
    (job,) = plan(spec).jobs
    return job


@pytest.mark.parametrize(
    ("values", "source"),
    [
        (["consistency_weight=0"], None),
        (["description_kinds=spatial", "descriptions_per_class=2"], OWN),
        (["description_kinds=temporal", "descriptions_per_class=4"], OWN),
        (["descriptions_per_class=8", "descriptions=templates"], TEMPLATES),
    ],
)
def test_each_row_trains_and_says_what_it_read(tmp_path: Path, values: list[str], source: str | None) -> None:
    job = planned(*values)
    result = run_trial(job.trial, job.places, tmp_path, lambda progress: None)
    assert 0 < result.metrics["harmonic_mean"] < 100
    assert [note for note in result.notes if note.startswith("descriptions:")] == ([source] if source else [])
    assert bool(job.trial.descriptions_sha256) == (source is not None)


def test_every_row_is_a_trial_of_its_own() -> None:
    kinds = [f"description_kinds={kind}" for kind in ("spatial", "temporal", "both")]
    rows = [["consistency_weight=0"], *([kind, f"descriptions_per_class={n}"] for kind in kinds for n in (2, 4))]
    trials = [planned(*row).trial for row in rows]
    assert len({trial.key for trial in trials}) == len({trial.descriptions_sha256 for trial in trials}) == 7


def test_more_sentences_than_motion_has_are_refused_before_anything_runs() -> None:
    message = (
        "the descriptions of motion: at most 4 spatial sentences per class, 8 asked for; "
        "take 4, name a file with more, or write msta.descriptions=templates"
    )
    with pytest.raises(DataError, match=message):
        planned("descriptions_per_class=8")
