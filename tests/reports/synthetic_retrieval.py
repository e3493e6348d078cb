"""The MV-Adapter paper's Tables 1 to 5 as records: what runs would leave that measured exactly the published numbers.

Nothing here was measured: every record carries the mark "synthetic", and weights of that name. To look at the tables:

    python tests/reports/synthetic_retrieval.py DIR
    petl-bench report --runs DIR/table1 --table retrieval      table2 to table5
    petl-bench report --runs DIR/run_here --table reproduction

`table1` to `table5` hold every row under the paper's name of the method, under three seeds if the paper has; `run_here`
the rows that this benchmark has methods for, of Table 1 under the same seeds, of the others under one.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import petl_bench as pb
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial, TrialResult
from petl_bench.records.layout import trial_folder
from petl_bench.records.retrieval import ranked_queries, retrieval_metrics
from petl_bench.records.write import write_record

PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "mv_adapter_tables.csv"
CREATED = "2026-01-02T03:04:05+00:00"
BACKBONE = 149_620_737
SEEDS = (0, 42, 123)
CLIPS = 1_000  #: every number of one decimal is exact
#: Ranks of queries that count for R@1, R@5, R@10 and none of them.
RANKS = (1, 2, 6, 11)
#: As many clips as a query of the last rank needs that are more similar to it than its own.
HUBS = RANKS[-1] - 1
METRICS = [f"{direction}_r{k}" for direction in ("t2v", "v2t") for k in (1, 5, 10)]
#: The rows that this benchmark has methods for.
RUN_HERE: dict[str, tuple[str, dict[str, Any]]] = {
    "Full Fine-tuning": ("full_finetune", {}),
    "Adapt_par": ("parallel_adapter", {"towers": "both"}),
    "Adapt_seq": ("houlsby", {"places": "feedforward", "layer_norms": False}),
    "Convpass": ("convpass", {"text": "sequential"}),
    "ST": ("st_adapter", {"text": "sequential"}),
    "CLIP4Clip seqTransf (frozen CLIP)": ("seq_transf", {}),
    "MV-Adapter": ("mv_adapter", {"tie": "down in"}),
}


def published(table: str) -> list[dict[str, str]]:
    """The published numbers of one table, one per line."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["table"] == f"MV-Adapter {table}"]


def write_paper(folder: Path) -> None:
    """All records: `table1` to `table5` and `run_here` below this folder."""
    for table in "12345":
        for method, values in rows_of(table).items():
            percent = values["tunable_percent"][0]
            for seed, metrics in zip(SEEDS, _seeds(values), strict=False):
                _write(folder / f"table{table}", method, {}, table, seed, metrics, percent)
                if method in RUN_HERE and (table == "1" or seed == 0):
                    _write(folder / "run_here", *RUN_HERE[method], table, seed, metrics, percent)


def rows_of(table: str) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Method -> metric -> value and standard deviation."""
    found: dict[str, dict[str, tuple[float, float | None]]] = defaultdict(dict)
    for line in published(table):
        found[line["method"]][line["metric"]] = (float(line["value"]), float(line["std"]) if line["std"] else None)
    return dict(found)


def _seeds(values: dict[str, tuple[float, float | None]]) -> list[dict[str, float]]:
    """The metrics under each seed: one, or three whose mean and sample standard deviation are as printed."""
    spread = [0] if values[METRICS[0]][1] is None else [0, -1, 1]
    return [{name: values[name][0] + step * (values[name][1] or 0) for name in METRICS} for step in spread]


def _write(
    runs: Path,
    method: str,
    hyper: dict[str, Any],
    table: str,
    seed: int,
    metrics: dict[str, float],
    percent: float,
) -> None:
    dataset = next(line["dataset"] for line in published(table) if line["dataset"])
    trial = Trial(
        method=method,
        method_version="1",
        hyper_parameters=hyper,
        setting="retrieval",
        setting_version="1",
        setting_options={},
        dataset=dataset,
        dataset_version="1",
        dataset_options={},
        manifest_sha256="0" * 64,
        captions_sha256="0" * 64,
        split="1",
        shots=None,
        seed=seed,
        backbone="clip-b16",
        weights="synthetic",
        weights_sha256="0" * 64,
        training=TrainingOptions().values(),
        decoder="auto",
    )
    evaluation = evaluation_of(metrics)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    result = TrialResult(
        metrics=dict(evaluation.accuracies),
        evaluations={"test": evaluation},
        trainable_params=round(percent / 100 * BACKBONE),
        backbone_params=BACKBONE,
        train_clips={"expected": 16, "missing": 0, "unreadable": 0, "used": 16},
        train_unreadable={},
        history=[],
        durations_s={"total": 0.0},
        environment={"device": "none: synthetic", "prompt_template": None},
        notes=["synthetic: published numbers written down as a record; nothing was run"],
        marks=["synthetic"],
    )
    write_record(folder, trial, result, created=CREATED)


def evaluation_of(metrics: dict[str, float]) -> pb.RetrievalResult:
    """Clips with one text each, of which so many are found by the first 1, 5 and 10.

    The first clips, the hubs, find their own in both directions. A query whose target has the rank r is more similar to
    r - 1 hubs than to its own, and these less similar to it than to their own.
    """
    similarities = np.zeros((CLIPS, CLIPS), dtype=np.float32)
    np.fill_diagonal(similarities, np.where(np.arange(CLIPS) < HUBS, 1.0, 0.5))
    for direction, of_direction in (("t2v", similarities.T), ("v2t", similarities)):  # rows of a view are queries
        bounds = [round(metrics[f"{direction}_r{k}"] / 100 * CLIPS) for k in (1, 5, 10)]
        ranks = np.array(RANKS)[np.searchsorted(bounds, np.arange(CLIPS), side="right")]
        of_direction[:, :HUBS][np.arange(HUBS) < ranks[:, None] - 1] = 0.75
    owners = list(range(CLIPS))
    found = {direction: each.ranks for direction, each in ranked_queries(similarities, owners).items()}
    return pb.RetrievalResult(
        clips=[f"video{clip}" for clip in owners],
        texts=[f"text {clip}" for clip in owners],
        owners=owners,
        similarities=similarities,
        accuracies=retrieval_metrics(found),
        expected=CLIPS,
        expected_texts=CLIPS,
        groups=[],
    )


def main(arguments: Sequence[str]) -> int:
    """Write the records below the folder that is named."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    write_paper(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
