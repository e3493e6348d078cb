"""A table of the records of one setting: a row for each configuration, columns for each case, quoted rows below.

A table plugin subclasses `SettingTable` and says what differs: the setting, a title, the numbers that it shows. It is
then in `petl-bench report`, in `petl-bench compare` and on the page.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import CaseGroup
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import MEAN_CLASS, Case
from petl_bench.api.table import Column, Table, TableSource
from petl_bench.api.tuning import metric_of
from petl_bench.errors import PluginError, UsageError
from petl_bench.tables import held_out, mean_class
from petl_bench.tables import notes as table_notes
from petl_bench.tables.columns import (
    CellOf,
    MeasuredColumn,
    MeasuredComparison,
    OfRuns,
    PublishedKey,
    ScoredMetric,
    ShownNumber,
    clips_column,
    over_seeds,
    trained_columns,
)
from petl_bench.tables.commands import commands
from petl_bench.tables.forgetting import forgetting_columns
from petl_bench.tables.quoted import own_rows, quoted_groups
from petl_bench.tables.quoted_notes import reading_notes, selected_on_test, stated_tables, with_selected
from petl_bench.tables.rows import baseline_notes, run_groups
from petl_bench.tables.split_means import SplitMeans
from petl_bench.tables.tuned import tuning_notes

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

TOP1 = ScoredMetric("top1", "test", mean_class=MEAN_CLASS)


class SettingTable(TableSource):
    """Base of tables of one setting. A subclass defines `setting` and `title`, and what else differs from the defaults.

    Rows are ranked if they share backbone, weights and views, and carry no mark that bars them (docs/marks.md).
    """

    #: Name of the setting whose records are shown.
    setting: ClassVar[str] = ""
    title: ClassVar[str] = ""
    #: The columns of every case; by default the metric `top1` of the evaluation "test".
    numbers: ClassVar[tuple[ShownNumber, ...]] = (ShownNumber("Top-1", (TOP1,), mean_class="Mean class"),)
    #: Only cases whose part (see `pb.Case`) starts with this are shown.
    part: ClassVar[str] = ""
    #: Flags of `petl-bench run` that ask for such cases, besides the setting.
    run_flags: ClassVar[tuple[str, ...]] = ()
    #: What the cases of one group of columns differ in: "": every case has a group of its own; "shots": one column for
    #: each number of shots; "split": one column, the mean over test splits.
    over: ClassVar[Literal["", "shots", "split"]] = ""
    #: What the seeds are of, if the means are over splits, such as " of the adaptation".
    seeds_of: ClassVar[str] = ""
    #: Lines under the table, after those on seeds.
    notes: ClassVar[tuple[str, ...]] = ()
    #: Further lines, for those who ask how the numbers were made.
    details: ClassVar[tuple[str, ...]] = ()
    #: Metrics that some records have, for columns of a subclass.
    optional: ClassVar[tuple[str, ...]] = ()
    #: Accuracy on the training clips that selected an epoch (`petl_bench.tables.held_out`): the metric, and the label
    #: of its column, with fields of its case in braces.
    held_out: ClassVar[tuple[str, str]] = (metric_of("held-out", "classification"), "Top-1")
    shows_own_ledger: ClassVar[bool] = True
    #: Tables of `published` whose rows are quoted, and the line under the table if some are.
    quoted_tables: ClassVar[tuple[str, ...]] = ()
    quoted_note: ClassVar[str] = table_notes.QUOTED

    def build(self, evidence: Evidence) -> Table:
        """The table of all records of the setting. Raises UsageError if there are none."""
        found = self.compared(evidence.records, evidence.outcomes)
        comparison, columns = found.comparison, found.columns
        quoted = [group for table in self.quoted_tables for group in quoted_groups(evidence.published, table, columns)]
        own = own_rows(evidence.ledger, (self.setting, self.name), columns)
        selected = (*(self._selected_on_test(columns) if quoted else ()), *own.selected)
        groups = comparison.case_groups(self.over)
        return Table(
            name=self.name,
            title=self.heading(comparison),
            corner="Method",
            columns=tuple(each.column for each in columns),
            groups=(*run_groups(comparison, columns, evidence), *quoted, *own.groups),
            footers=(
                *self._number_notes(comparison),
                *baseline_notes(comparison, evidence),
                *self.notes,
                *found.notes,
                table_notes.TRAINED,
                *mean_class.notes(comparison, columns),
                *held_out.notes(columns),
                *tuning_notes(comparison, evidence.tunings),
                *table_notes.protocol_notes(comparison, groups),
                *self.case_notes(comparison),
                *table_notes.data_notes(comparison),
                *([with_selected(self.quoted_note, selected)] if quoted or own.groups else []),
            ),
            provenance=(
                *self.details,
                table_notes.ranks_note(comparison, over_splits=self.over == "split"),
                *table_notes.training_provenance(comparison),
                *table_notes.hosting_notes(comparison, evidence.left_out_methods.get(self.setting, {})),
                *table_notes.data_provenance(comparison, groups),
                *(self.reading_notes(columns) if quoted else []),
                *own.provenance,
            ),
            commands=tuple(commands(comparison)),
        )

    def compared(self, records: pd.DataFrame, outcomes: OutcomeSource | None = None) -> MeasuredComparison:
        """The comparison and the columns behind the table. Raises UsageError if no record belongs to it.

        Args:
            records: see `petl_bench.load_records`.
            outcomes: per-clip predictions, for what older records lack.
        """
        if not self.setting:
            raise PluginError(f'{type(self).__name__} must define setting = "NAME", the setting whose records it shows')
        metrics = dict.fromkeys(metric for number in self.numbers for metric in number.of)
        comparison = compare(
            records,
            self.setting,
            [metric.name for metric in metrics],
            part=self.part,
            optional=[
                *self.optional,
                self.held_out[0],
                *(metric.mean_class for metric in metrics if metric.mean_class),
            ],
        )
        if not comparison.runs and self.part:
            _refuse_other_parts(records, self.setting, self.name)
        refuse_nothing(comparison, self.run_flags)
        elsewhere, notes = forgetting_columns(comparison, records, outcomes)
        return MeasuredComparison(comparison, [*self.columns(comparison, outcomes), *elsewhere], notes)

    def columns(self, comparison: Comparison, outcomes: OutcomeSource | None = None) -> list[MeasuredColumn]:
        """Trained parameters; then for each group of cases its numbers, further accuracies and coverage."""
        columns = self.trained_columns(comparison)
        for group in comparison.case_groups(self.over):
            columns += self.number_columns(comparison, group)
            columns += self._mean_class_columns(comparison, group, outcomes)
            columns += self._held_out_columns(comparison, group)
            columns += clips_column(comparison, group, added=self.over == "split")
        return columns

    def number_columns(self, comparison: Comparison, group: CaseGroup) -> list[MeasuredColumn]:
        """The columns of the numbers on one group of cases."""
        return [
            MeasuredColumn(
                column=_column_of(number, group, cases),
                cell=self._cell_of(comparison, group, cases, number.of_runs(comparison)),
                ranked=True,
                published=self.published_key(cases[0], number.metric),
                measure=number.measure(cases),
                by_seed=number.by_seed(comparison, cases),
                shows=(cases[0].dataset, cases[0].shots, number.metric),
            )
            for cases in self._cases_of_columns(group)
            for number in self.numbers
        ]

    # What a subclass may define besides

    def heading(self, comparison: Comparison) -> str:
        """The title above the table."""
        return self.title

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """Which published number stands in the column of a metric ("harmonic_mean" for that of two) on a case: data
        set, shots and metric as in `published`; None for none."""
        return None

    def trained_columns(self, comparison: Comparison) -> list[MeasuredColumn]:
        """The columns of trained parameters."""
        return trained_columns(comparison)

    def case_notes(self, comparison: Comparison) -> list[str]:
        """Lines under the table, before those that say what each group of columns stands for."""
        return []

    def reading_notes(self, columns: Sequence[MeasuredColumn]) -> list[str]:
        """The facts that change how the published results in these columns read."""
        return reading_notes(self.published_csv, self.quoted_tables, _published_keys(columns))

    # Parts

    def _selected_on_test(self, columns: Sequence[MeasuredColumn]) -> tuple[str, ...]:
        return selected_on_test(stated_tables(self.published_csv, self.quoted_tables), _published_keys(columns))

    def _cases_of_columns(self, group: CaseGroup) -> Sequence[tuple[ComparedCase, ...]]:
        return [group.cases] if self.over == "split" else [(case,) for case in group.cases]

    def _cell_of(
        self, comparison: Comparison, group: CaseGroup, cases: Sequence[ComparedCase], summary: OfRuns
    ) -> CellOf:
        if self.over == "split":
            return SplitMeans(comparison).cell(group, summary)
        return over_seeds(comparison, cases[0], summary)

    def _mean_class_columns(
        self, comparison: Comparison, group: CaseGroup, outcomes: OutcomeSource | None
    ) -> list[MeasuredColumn]:
        if not mean_class.is_shown(comparison, group.cases, self.numbers):
            return []
        return [
            mean_class.column(
                comparison,
                cases,
                number,
                _header(number.mean_class, group, cases),
                outcomes,
                partial(self._cell_of, comparison, group, cases),
            )
            for cases in self._cases_of_columns(group)
            for number in self.numbers
            if number.mean_class
        ]

    def _held_out_columns(self, comparison: Comparison, group: CaseGroup) -> list[MeasuredColumn]:
        metric, label = self.held_out
        if not held_out.is_shown(comparison, group.cases, metric):
            return []
        return [
            held_out.column(
                comparison,
                metric,
                _header(label, group, cases),
                partial(self._cell_of, comparison, group, cases),
            )
            for cases in self._cases_of_columns(group)
        ]

    def _number_notes(self, comparison: Comparison) -> list[str]:
        if self.over == "split":
            return SplitMeans(comparison).notes(self.seeds_of)
        return table_notes.seed_notes(comparison)


def _published_keys(columns: Sequence[MeasuredColumn]) -> set[PublishedKey]:
    return {column.published for column in columns if column.published and column.ranked}


def refuse_nothing(comparison: Comparison, run_flags: Sequence[str] = ()) -> None:
    """Raise UsageError if there is no record to make a table of; `run_flags`: see `SettingTable`."""
    if not comparison.runs:
        command = ["petl-bench", "run", "--methods", "zero_shot,lora", "--setting", comparison.setting, *run_flags]
        raise UsageError(f"no {comparison.setting} record here. Make some: {shlex.join(command)}")


def _refuse_other_parts(records: pd.DataFrame, setting: str, table: str) -> None:
    """Raise UsageError if other tables show the records of a setting."""
    if setting not in SETTINGS.names():
        return
    plugin = SETTINGS.get(setting)()
    parts = records.loc[records["setting"] == setting, "part"].unique()
    others = sorted({plugin.table_of(Case("1", None, 0, part)) for part in parts} - {table, ""})
    if others:
        commands = " and ".join(f"petl-bench report --table {other}" for other in others)
        raise UsageError(f"the table {table} shows none of the {setting} records here. These do: {commands}")


def _column_of(number: ShownNumber, group: CaseGroup, cases: Sequence[ComparedCase]) -> Column:
    header = _header(number.label, group, cases)
    return replace(
        header,
        group=f"{header.group} {number.heading}".strip(),
        group_display=f"{header.group_display} {number.heading}".strip(),
        lower_is_better=number.lower_is_better,
    )


def _header(label: str, group: CaseGroup, cases: Sequence[ComparedCase]) -> Column:
    try:
        return Column(label.format(case=cases[0]), group.label, group_display=group.display)
    except (AttributeError, LookupError, ValueError) as error:
        names = ", ".join(field.name for field in fields(ComparedCase))
        raise PluginError(f"the label {label!r} of a ShownNumber may have fields of a case: {names}") from error
