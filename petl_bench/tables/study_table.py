"""A table of studies: groups of rows that differ in one thing, such as a hyper-parameter; means over data sets.

A table plugin subclasses `StudyTable`, and says in `studies` which rows belong together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import case_displays, differences_in, values_in_words
from petl_bench.api.evidence import Evidence
from petl_bench.api.options import text_of
from petl_bench.api.registry import DATASETS
from petl_bench.api.table import Cell, Column, RowGroup, Table, TableSource
from petl_bench.errors import PluginError, UsageError
from petl_bench.tables.columns import MeasuredColumn, PublishedKey, ShownNumber, trained_columns
from petl_bench.tables.commands import commands
from petl_bench.tables.equal_sign import add_statistics
from petl_bench.tables.notes import (
    QUOTED,
    TRAINED,
    data_notes,
    data_provenance,
    listed,
    protocol_notes,
    ranks_note,
    seed_notes,
    training_provenance,
)
from petl_bench.tables.quoted import quoted_groups
from petl_bench.tables.quoted_notes import reading_notes, selected_on_test, stated_tables, with_selected
from petl_bench.tables.ranking import RankedRows
from petl_bench.tables.setting_table import refuse_nothing
from petl_bench.tables.tuned import tuning_notes

if TYPE_CHECKING:
    import pandas as pd

_NOTE = (
    "Means over the data sets that all rows of a group have, which its heading names, and over the seeds that a row "
    "has on all of them; ± over these seeds' own means. HM: harmonic mean of the mean base and the mean novel accuracy."
)


@dataclass(frozen=True, eq=False)
class Study:
    """Configurations that differ in one thing: a group of rows, in their order, each with its label.

    `title`: for readers; `displays`: the rows as readers see them, if that is something else than their labels.
    `published`: the rows' labels in the published table `table`, for those that it has.
    """

    title: str
    labels: Mapping[Configuration, str]
    displays: Mapping[Configuration, str] = field(default_factory=dict)
    table: str = ""
    published: Mapping[Configuration, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Configuration]:
        """The configurations."""
        return list(self.labels)


@dataclass(frozen=True)
class PublishedMeans:
    """What published means are over: the name of the mean as a data set in `published`, and its cases."""

    name: str
    datasets: tuple[str, ...]
    split: str
    shots: int

    def key(self, number: ShownNumber) -> PublishedKey:
        """Which published number the mean of a number is."""
        return self.name, 0, number.metric

    def are_over(self, cases: Sequence[ComparedCase]) -> bool:
        """Whether they are means over these cases."""
        same = all((case.split, case.shots, case.part) == (self.split, self.shots, "") for case in cases)
        return same and {case.dataset for case in cases} == set(self.datasets)


@dataclass(frozen=True, eq=False)
class DataSetMean:
    """Cases that differ in their data set only, and the header of the columns of their means, also for readers."""

    label: str
    display: str
    cases: tuple[ComparedCase, ...]

    def shared(self, comparison: Comparison, rows: Iterable[Configuration]) -> list[ComparedCase]:
        """The cases that all of these rows have runs on."""
        rows = list(rows)
        return [case for case in self.cases if all(comparison.of(row, case) for row in rows)]


class StudyTable(TableSource):
    """Base of tables of studies. Rows are ranked within their study; none is compared with a baseline."""

    setting: ClassVar[str]
    title: ClassVar[str]
    corner: ClassVar[str]
    numbers: ClassVar[tuple[ShownNumber, ...]]
    #: Format specifications of columns by their label, if they are not the usual one.
    formats: ClassVar[Mapping[str, str]] = {}
    #: What the user reads if there is no study in the records.
    no_study: ClassVar[str]
    published_means: ClassVar[PublishedMeans | None] = None
    #: Further words on quoted rows.
    quoted_note: ClassVar[str] = ""

    def studies(self, comparison: Comparison) -> list[Study]:
        """The groups of rows."""
        raise PluginError(f"{type(self).__name__} must define studies(self, comparison)")

    def build(self, evidence: Evidence) -> Table:
        """The table of all records of the setting. Raises UsageError if they hold no study, or if a baseline is asked
        for."""
        comparison = self.comparison(evidence.records)
        refuse_nothing(comparison)
        found = [(study, self.columns(comparison, study)) for study in self.studies(comparison)]
        if not found:
            raise UsageError(self.no_study)
        if evidence.baseline:
            raise UsageError(
                f"--baseline {evidence.baseline}: this table compares configurations of one method with each other; "
                f"leave it out, or see: petl-bench report --table {self.setting}"
            )
        groups = self._with_quoted(found, _run_groups(comparison, found, evidence), evidence.published)
        quoted = [study.table for study, _ in found if any(group.is_quoted for group in groups)]
        selected = selected_on_test(stated_tables(self.published_csv, quoted))
        cases = comparison.case_groups()
        return Table(
            name=self.name,
            title=self.title,
            corner=self.corner,
            columns=tuple(each.column for each in found[0][1]),
            groups=tuple(groups),
            footers=(
                *seed_notes(comparison),
                _NOTE,
                TRAINED,
                *tuning_notes(comparison, evidence.tunings),
                *protocol_notes(comparison, cases),
                *data_notes(comparison),
                *([with_selected(f"{QUOTED} {self.quoted_note}".strip(), selected)] if quoted else []),
            ),
            provenance=(
                ranks_note(comparison),
                *training_provenance(comparison),
                *data_provenance(comparison, cases),
                *reading_notes(self.published_csv, quoted),
            ),
            commands=tuple(commands(comparison)),
        )

    def comparison(self, records: pd.DataFrame) -> Comparison:
        """The runs of the setting."""
        return compare(records, self.setting, list(dict.fromkeys(one.name for each in self.numbers for one in each.of)))

    def columns(self, comparison: Comparison, study: Study) -> list[MeasuredColumn]:
        """The columns of a study: trained parameters; its numbers for each mean over data sets."""
        columns = trained_columns(comparison)
        for mean in data_set_means(comparison.cases):
            cases = mean.shared(comparison, study.rows)
            quoted = self.published_means if self.published_means and self.published_means.are_over(cases) else None
            columns += [
                MeasuredColumn(
                    column=Column(
                        number.label, mean.label, self.formats.get(number.label, ".1f"), group_display=mean.display
                    ),
                    cell=number.over_cases(comparison, cases) if cases else _no_data_set,
                    ranked=True,
                    published=quoted.key(number) if quoted else None,
                    measure=number.measure(cases) if cases else None,
                    by_seed=number.by_seed(comparison, cases),
                )
                for number in self.numbers
            ]
        return columns

    def _with_quoted(
        self,
        found: Sequence[tuple[Study, list[MeasuredColumn]]],
        groups: Sequence[RowGroup],
        published: pd.DataFrame | None,
    ) -> list[RowGroup]:
        """The groups of rows, those of one published table followed by its quoted rows."""
        shown: list[RowGroup] = []
        for table, some in groupby(zip(found, groups, strict=True), key=lambda pair: pair[0][0].table):
            of_table = list(some)
            shown += [group for _, group in of_table]
            if table and self.published_means is not None:
                shown += self._quoted(self.published_means, published, table, [own for (_, own), _ in of_table])
        return shown

    def _quoted(
        self,
        means: PublishedMeans,
        published: pd.DataFrame | None,
        table: str,
        columns: Sequence[Sequence[MeasuredColumn]],
    ) -> list[RowGroup]:
        """The rows of a published table, which say what they are a mean over.

        `columns`: those of each study of the table; if none of them has the mean that was published, its numbers stand
        in the first columns of a mean.
        """
        same = next((some for some in columns if any(each.published for each in some)), None)
        if same is None:
            first = [each for each in columns[0] if each.ranked][: len(self.numbers)]
            key_of = {id(each): means.key(number) for each, number in zip(first, self.numbers, strict=True)}
            same = [replace(each, published=key_of.get(id(each))) for each in columns[0]]
        over = f"mean over {listed(map(DATASETS.display, means.datasets))}, {means.shots} shots"
        groups = quoted_groups(published, table, same)
        return [replace(group, section=f"{group.section}, {over}") for group in groups]


def data_set_means(cases: Sequence[ComparedCase]) -> list[DataSetMean]:
    """The cases, gathered over data sets; a data set's other files, or other options of it, stand in a further mean."""
    found: dict[tuple[str, int], list[ComparedCase]] = defaultdict(list)
    for case in cases:
        text = json.dumps(_besides_data(case), sort_keys=True)
        copy = 0
        while any(other.dataset == case.dataset for other in found[text, copy]):
            copy += 1
        found[text, copy].append(case)
    settings = {place: {**json.loads(place[0]), "copy of the data": place[1] + 1} for place in found}
    differences = differences_in(settings, lambda _: "")
    return [
        DataSetMean(
            label=", ".join(["Mean", *[f"{name}={text_of(value)}" for name, value in differences[place].items()]]),
            display=", ".join(filter(None, ["Mean", values_in_words(differences[place])])),
            cases=tuple(some),
        )
        for place, some in found.items()
    ]


def _besides_data(case: ComparedCase) -> dict[str, object]:
    """Everything of a case but its data set and its files."""
    return {
        "split": case.split,
        "shots": case.shots or "all",
        **json.loads(case.setting_options),
        "protocol": case.setting_version,
        "part": case.part,
        "epoch selected on": case.selected,
    }


def _no_data_set(row: Configuration) -> Cell:
    return Cell(origin="absent", source="no data set that all rows of this group have")


def _run_groups(
    comparison: Comparison, found: Sequence[tuple[Study, Sequence[MeasuredColumn]]], evidence: Evidence
) -> list[RowGroup]:
    """The rows of these studies, ranked within each of them."""
    groups = [
        RankedRows(
            comparison,
            columns,
            study.rows,
            f"{study.title}, {_over(comparison, study.rows)}",
            evidence.outcomes,
            study.labels,
            study.displays,
        )
        for study, columns in found
    ]
    add_statistics(groups, comparison, evidence)
    return [group.finished() for group in groups]


def _over(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """Which data sets the means of these rows are over: once if all means have the same, else for each."""
    names = {}
    for mean in data_set_means(comparison.cases):
        displays = case_displays(mean.cases)
        names[mean.display] = listed(displays[case] for case in mean.shared(comparison, rows)) or "no common data set"
    if len(set(names.values())) == 1:
        return f"mean over {next(iter(names.values()))}"
    return "; ".join(f"{mean}: over {some}" for mean, some in names.items())
