"""The base-to-novel table: base top-1, novel top-1 and their harmonic mean for every method and data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import Summary, harmonic_mean_over_seeds
from petl_bench.analysis.cells import Measure, ScoredOn
from petl_bench.analysis.comparison import CaseKey, Comparison, Run, bundles, case_labels
from petl_bench.analysis.from_records import compare
from petl_bench.api.table import Column, Table, TableSource
from petl_bench.reports.published_numbers import FROSTER, FROSTER_TABLE, SELECTED_ON_TEST, published_numbers
from petl_bench.tables import mean_class, table_parts
from petl_bench.tables import notes as table_notes
from petl_bench.tables.mean_class import Side
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

SETTING = "base2novel"
METRICS = ("base_top1", "novel_top1")
_BY_CLASS = ("base_mean_class_top1", "novel_mean_class_top1")
#: The case that the paper's Table 2 shows: the published lists (split 1) with 16 shots.
_PUBLISHED_TABLE, _PUBLISHED_SPLIT, _PUBLISHED_SHOTS = "2", "1", 16
_HARMONIC_MEAN = "HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own harmonic means."


@pb.register_table("base2novel")
class BaseToNovelTable(TableSource):
    """Base-to-novel generalisation: base and novel top-1 and their harmonic mean, mean and spread over seeds.

    A row is a method with its hyper-parameters, training options, backbone and weights; rows are ranked where they
    share backbone, weights and views, and carry no mark that bars them (docs/marks.md). The harmonic mean is that of
    the mean base and the mean novel accuracy. Quoted: Table 2 of the MSTA paper (CVPR 2025) and Table 1 of FROSTER's
    README (ICLR 2024), which has Open-VCLIP too, for their data sets, 16 shots, split 1.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper and of FROSTER, one per line, with the table they stand in."""
        return published_numbers(FROSTER)

    def compared(self, records: pd.DataFrame) -> Compared:
        """The records of this setting, and the columns. Raises UsageError where there are none."""
        return _compared(records, None)

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError where there are none."""
        found = _compared(evidence.records, evidence.outcomes)
        comparison, spots = found.comparison, found.spots
        quoted = [
            group
            for table in (_PUBLISHED_TABLE, FROSTER_TABLE)
            for group in table_parts.quoted_groups(evidence.published, table, spots)
        ]
        return Table(
            name="base2novel",
            title=f"Base-to-novel generalisation: top-1 accuracy in percent{_shots(comparison.cases)}",
            corner="Method",
            columns=tuple(spot.column for spot in spots),
            groups=(*table_parts.run_groups(comparison, spots, evidence), *quoted),
            footers=(
                *table_notes.seed_notes(comparison),
                _HARMONIC_MEAN,
                table_notes.RANKS,
                table_notes.TRAINED,
                *mean_class.notes(comparison, spots),
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST}"] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )


def _harmonic_mean(runs: Sequence[Run]) -> Summary:
    base, novel = zip(*[run.values for run in runs], strict=True)
    return harmonic_mean_over_seeds(base, novel)


#: What stands under every data set: label, published metric, how it follows from the runs, and of which evaluations.
_SHOWN: tuple[tuple[str, str, Callable[[Sequence[Run]], Summary], tuple[str, ...]], ...] = (
    ("Base", "base_top1", table_parts.mean_of(0), ("base",)),
    ("Novel", "novel_top1", table_parts.mean_of(1), ("novel",)),
    ("HM", "harmonic_mean", _harmonic_mean, ("base", "novel")),
)


def _compared(records: pd.DataFrame, outcomes: OutcomeSource | None) -> Compared:
    comparison = compare(records, SETTING, METRICS, optional=_BY_CLASS)
    table_parts.refuse_nothing(comparison, SETTING)
    return Compared(comparison, [*table_parts.trained(comparison), *_accuracies(comparison, outcomes)])


def _accuracies(comparison: Comparison, outcomes: OutcomeSource | None) -> list[Spot]:
    spots = []
    for case, label in case_labels(comparison.cases).items():
        spots += [
            Spot(
                column=Column(name, label),
                cell=table_parts.over_seeds(comparison, case, summary),
                ranked=True,
                published=_published(case, metric),
                measure=Measure(tuple((ScoredOn(case, evaluation),) for evaluation in evaluations)),
                own=table_parts.by_seed(comparison, [case], summary),
            )
            for name, metric, summary, evaluations in _SHOWN
        ]
        spots += _by_class(comparison, case, label, outcomes)
        spots += table_parts.clips(comparison, label, [case])
    return spots


def _by_class(comparison: Comparison, case: CaseKey, label: str, outcomes: OutcomeSource | None) -> list[Spot]:
    """Base, novel and their harmonic mean with every class of the same weight, if one half has unequal classes."""
    base, novel = (Side(at, (ScoredOn(case, name),)) for at, name in enumerate(("base", "novel")))
    if not mean_class.is_shown(comparison, base.places + novel.places):
        return []
    cell_of = partial(table_parts.over_seeds, comparison, case)
    shown = (("Base", [base]), ("Novel", [novel]), ("HM", [base, novel]))
    return [mean_class.spot(Column(f"{name}, mean class", label), sides, outcomes, cell_of) for name, sides in shown]


def _published(case: CaseKey, metric: str) -> Published | None:
    shown = case.split == _PUBLISHED_SPLIT and case.shots == _PUBLISHED_SHOTS
    return (case.dataset, 0, metric) if shown else None  # Table 2 has 16 shots throughout, and does not say so


def _shots(cases: Sequence[CaseKey]) -> str:
    shots = {case.shots for case in cases}
    return f", {shots.pop()} shots" if len(shots) == 1 and 0 not in shots else ""
