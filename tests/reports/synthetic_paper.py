"""The MSTA paper's tables as records: what a run would leave that measured exactly the published numbers.

Nothing here was measured: every record carries the mark "synthetic", and weights of that name. To look at the tables:

    python tests/reports/synthetic_paper.py DIR
    petl-bench report --runs DIR/methods --table base2novel      few_shot, zero_shot, fully_supervised
    petl-bench report --runs DIR/ablations --table ablation      descriptions
    petl-bench report --runs DIR/run_here --table reproduction

`methods` holds every row of Tables 2 to 5 under the paper's name of the method, grouped as in the paper; `ablations`
Tables 6 and 7 as configurations of msta; `run_here` the rows of Tables 2 to 7 that this benchmark has methods for.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import EvaluationResult, Trial, TrialResult
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record

PUBLISHED = Path(__file__).parents[2] / "reports" / "published" / "msta_tables.csv"
CREATED = "2026-01-02T03:04:05+00:00"
FOUR = ("k400", "hmdb51", "ucf101", "ssv2")
#: Per evaluation: the first of these that gives the accuracies exactly, for metrics must follow from predictions.
CLIPS = (1_000, 10_000)
#: No factor of any of them: which clips are right is spread over them, the same ones first for every method.
SPREAD = 7_919
CLASSES = 60  #: so many that the lowest of the paper's accuracies is told from guessing
#: Parameters of the backbone; more than twice the largest count of Table 5, whose rows are one group in the paper.
BACKBONE = 400_000_000
#: The paper's groups as backbones and trained parameters, by which tables here group their rows.
GROUPS = {
    "zero-shot": ("clip-b16", 0),
    "adapting": ("clip-b16, adapted", BACKBONE),
    "tuning": ("b16, tuned", BACKBONE),
    "efficient-transfer": ("viclip-b16", 8_700_000),
    "": ("viclip-b16", 8_700_000),
}
DEFAULTS: dict[str, Any] = {
    "bottleneck_dim": 256,
    "first_layer": 1,
    "last_layer": None,
    "scale": 0.005,
    "towers": "both",
    "shared": True,
    "consistency_weight": 1.0,
    "description_kinds": "both",
    "descriptions_per_class": 2,
}
#: The rows of Tables 6 and 7: label in the paper -> fields that are not the default.
ABLATIONS: dict[str, dict[str, Any]] = {
    "variant=only_l_adapter": {"towers": "text"},
    "variant=only_v_adapter": {"towers": "video"},
    "variant=without_shared_layers": {"shared": False},
    "variant=full": {},
    **{f"dims={dims}": {"bottleneck_dim": dims} for dims in (64, 128, 256, 512)},
    **{f"lambda={scale:g}": {"scale": scale} for scale in (0.001, 0.005, 0.01, 0.05)},
    **{f"alpha={weight}": {"consistency_weight": weight} for weight in (0.1, 1.0, 5.0)},
    **{f"N={count}": {"descriptions_per_class": count} for count in (2, 4, 8)},
    **{f"layers={first}-12": {"first_layer": first, "last_layer": 12} for first in (7, 8, 10)},
    "layers=1-6": {"last_layer": 6},
    "layers=1-12": {},
    "descriptions=without_descriptions": {"consistency_weight": 0.0},
    "descriptions=without_spatial": {"description_kinds": "temporal"},
    "descriptions=without_temporal": {"description_kinds": "spatial"},
    "descriptions=full": {},
}
#: The rows that this benchmark has methods for, with their hyper-parameters.
RUN_HERE: dict[str, tuple[str, dict[str, Any]]] = {
    "Zero-ViCLIP": ("zero_shot", {}),
    "ViCLIP": ("full_finetune", {}),
    "AdaptFormer": ("adaptformer", {}),
    "LoRA": ("lora", {}),
    "MSTA": ("msta", {**DEFAULTS, "consistency_weight": 0.0}),
    "MSTA + L_CC": ("msta", DEFAULTS),
}


def published(*tables: str) -> list[dict[str, str]]:
    """The published numbers of these tables, one per line."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["table"] in tables]


def write_paper(folder: Path) -> None:
    """All records: `methods`, `ablations` and `run_here` below this folder."""
    for label, kind, fields, metrics, trained in _of_methods():
        _write(folder / "methods", label, {}, fields, metrics, backbone=GROUPS[kind][0], trained=trained)
        if label in RUN_HERE and kind in ("efficient-transfer", "", "tuning"):
            method, hyper = RUN_HERE[label]
            _write(folder / "run_here", method, hyper, fields, metrics, backbone="viclip-b16", trained=trained)
    for hyper, fields, metrics in _of_ablations():
        _write(folder / "ablations", "msta", hyper, fields, metrics, backbone="viclip-b16", trained=8_700_000)


# The records of Tables 2 to 5: label, group, fields of the trial, metrics, trained parameters


def _of_methods() -> Iterator[tuple[str, str, dict[str, Any], dict[str, float], int]]:
    for (table, kind, label, dataset, shots), values in _rows("2", "3", "4", "5").items():
        trained = GROUPS[kind][1]
        fields: dict[str, Any] = {"dataset": dataset, "split": "1", "shots": int(shots) if shots else None}
        if table == "2":
            fields |= {"setting": "base2novel", "shots": 16}
            base, novel = with_harmonic_mean(
                *(values[name][0] for name in ("base_top1", "novel_top1", "harmonic_mean"))
            )
            yield label, kind, fields, {"base_top1": base, "novel_top1": novel}, trained
        elif table == "3":
            yield label, kind, {**fields, "setting": "few_shot"}, {"top1": values["top1"][0]}, trained
        elif table == "4":
            transfer = {"setting": "zero_shot_transfer", "setting_options": {"source": "k400"}, "part": "target"}
            mean, std = values["top1"]
            # The sample standard deviation of these three is `std`.
            for split, top1 in enumerate((mean - std, mean, mean + std), start=1):
                yield label, kind, {**fields, **transfer, "split": str(split)}, {"top1": top1}, trained
        else:
            metrics = {name: values[name][0] for name in ("top1", "top5")}
            millions = values["tunable_params_m"][0]
            yield label, kind, {**fields, "setting": "fully_supervised"}, metrics, round(1e6 * millions)


def _rows(*tables: str) -> dict[tuple[str, str, str, str, str], dict[str, tuple[float, float]]]:
    """Table, group, method, data set, shots -> metric -> value and standard deviation (0 where none is printed)."""
    found: dict[tuple[str, str, str, str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for line in published(*tables):
        place = (line["table"], line["group"], line["method"], line["dataset"], line["shots"])
        found[place][line["metric"]] = (float(line["value"]), float(line["std"] or 0))
    return found


def _of_ablations() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, float]]]:
    """Hyper-parameters, fields of the trial, metrics; the default, which stands in every table, once."""
    seen = set()
    # Table 7 first: its harmonic means have two decimals.
    for table in ("7", "6a", "6b", "6c", "6d", "6e", "6f"):
        for (_, _, method, _, _), values in _rows(table).items():
            hyper = {**DEFAULTS, **ABLATIONS[method.partition("[")[2].rstrip("]")]}
            if repr(hyper) in seen:
                continue
            seen.add(repr(hyper))
            printed = [values[name][0] for name in ("base_top1", "novel_top1", "harmonic_mean")]
            base, novel = with_harmonic_mean(*printed, decimals=2 if table == "7" else 1)
            for dataset in FOUR:
                fields = {"setting": "base2novel", "dataset": dataset, "split": "1", "shots": 16}
                yield hyper, fields, {"base_top1": base, "novel_top1": novel}


def with_harmonic_mean(base: float, novel: float, printed: float, decimals: int = 1) -> tuple[float, float]:
    """Accuracies of two decimals that are printed as these and have this harmonic mean; the nearest such ones.

    Raises ValueError where rounding alone cannot explain the printed mean.
    """
    steps = sorted(np.arange(-4, 5) / 100, key=abs)
    for one, other in sorted(itertools.product(steps, steps), key=lambda pair: abs(pair[0]) + abs(pair[1])):
        if f"{harmonic_mean(base + one, novel + other):.{decimals}f}" == f"{printed:.{decimals}f}":
            return float(base + one), float(novel + other)
    raise ValueError(f"no accuracies that are printed as {base} and {novel} have a harmonic mean of {printed}")


# One record


def _write(
    runs: Path,
    method: str,
    hyper: dict[str, Any],
    fields: dict[str, Any],
    metrics: dict[str, float],
    *,
    backbone: str,
    trained: int,
) -> None:
    trial = _trial(method, hyper, fields, backbone)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    write_record(folder, trial, _result(metrics, trained, trial.part or "test"), created=CREATED)


def _trial(method: str, hyper: dict[str, Any], fields: dict[str, Any], backbone: str) -> Trial:
    values: dict[str, Any] = {
        "method": method,
        "method_version": "1",
        "hyper_parameters": hyper,
        "setting_version": "1",
        "setting_options": {},
        "dataset_version": "1",
        "dataset_options": {},
        "manifest_sha256": "0" * 64,
        "seed": 0,
        "backbone": backbone,
        "weights": "synthetic",
        "weights_sha256": "0" * 64,
        "training": TrainingOptions().values(),
        "decoder": "auto",
    }
    return Trial(**{**values, **fields})


def _result(metrics: dict[str, float], trained: int, evaluation: str) -> TrialResult:
    names = {"base_top1": "base", "novel_top1": "novel", "top1": evaluation}
    if "top1" in metrics:
        metrics = {"top5": 100.0, **metrics}
    evaluations = {
        name: _evaluation(metrics[metric], metrics.get("top5", 100.0))
        for metric, name in names.items()
        if metric in metrics
    }
    if "novel_top1" in metrics:
        metrics = {**metrics, "harmonic_mean": harmonic_mean(metrics["base_top1"], metrics["novel_top1"])}
    return TrialResult(
        metrics=metrics,
        evaluations=evaluations,
        trainable_params=trained,
        backbone_params=BACKBONE,
        train_clips={"expected": 16, "missing": 0, "unreadable": 0, "used": 16},
        train_unreadable={},
        history=[],
        durations_s={"total": 0.0},
        environment={"device": "none: synthetic", "prompt_template": "a video of {}."},
        notes=["synthetic: a published number written down as a record; nothing was run"],
        marks=["synthetic"],
    )


def _evaluation(top1: float, top5: float) -> EvaluationResult:
    """Clips of which `top1` and `top5` percent are right."""
    count = next(count for count in CLIPS if all(_is_whole(percent / 100 * count) for percent in (top1, top5)))
    labels = np.arange(count) % CLASSES
    order = np.arange(count) * SPREAD % count
    first, among_five = (order < round(percent / 100 * count) for percent in (top1, top5))
    # The place of the label among the scores; the other classes follow each other in a circle.
    rank = np.where(first, 1, np.where(among_five, 2, CLASSES))
    places = (np.arange(CLASSES)[None, :] - labels[:, None] + rank[:, None] - 1) % CLASSES
    scores = (1 - places / CLASSES).astype(np.float32)
    return EvaluationResult(
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        clips=[f"clip_{number}.mp4" for number in range(count)],
        labels=labels.tolist(),
        scores=scores,
        top1=top1,
        top5=top5,
        expected=count,
    )


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6


def main(arguments: Sequence[str]) -> int:
    """Write the records below the folder that is named."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    write_paper(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
