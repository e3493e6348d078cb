"""What every table promises: tried on the user's records, or on made-up ones of every setting."""

from __future__ import annotations

import tempfile
import typing
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import MARKS
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.api.retrieval import RetrievalEvaluation
from petl_bench.api.setting import Case, Evaluation, Setting, Task
from petl_bench.api.table import Cell, Origin, Row, Table, TableSource
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import EvaluationResult, RetrievalResult, Trial, TrialResult
from petl_bench.errors import UsageError
from petl_bench.records.frame import frame
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.ranks import ranks_of
from petl_bench.records.read import load_records
from petl_bench.records.retrieval import ranked_queries, retrieval_metrics
from petl_bench.records.write import write_record
from petl_bench.render import FORMATS, render
from petl_bench.tables.ledger import read_ledger
from petl_bench.testing.checks import Given, Skipped, Subject, documented, require
from petl_bench.testing.settings import SettingSubject

#: So many methods, the first ones by name, have made-up records.
_METHODS = 4


class TableSubject(Subject):
    """A table under check, and the records that it is built from."""

    @property
    def source(self) -> TableSource:
        """The plugin."""
        found: TableSource = self.create()
        return found

    @cached_property
    def evidence(self) -> Evidence:
        """Records, and the published numbers that the table quotes."""
        if not self.source.needs_records and not (self.source.reads_records and self.given.runs):
            return Evidence(frame([]), self.source.published())
        folders = self.given.runs or (Path(_made_up_runs().name),)
        return Evidence(load_records(folders), self.source.published(), StoredOutcomes(folders))

    @cached_property
    def table(self) -> Table:
        """The table. Raises Skipped if no made-up record fits it."""
        try:
            return self.source.build(self.copied())
        except UsageError as error:
            if self.given.runs:
                raise
            raise Skipped(f"no made-up record fits it: give your own with --runs DIR ({error})") from error

    def copied(self) -> Evidence:
        """The evidence with records of its own: a table that changed them would not be noticed otherwise."""
        return replace(self.evidence, records=self.evidence.records.copy())

    def rows(self) -> Iterator[Row]:
        """Every row."""
        return (row for group in self.table.groups for row in group.rows)


SUBJECT = TableSubject


def builds_a_table(subject: TableSubject) -> None:
    """build(evidence) gives a table with a title, columns and rows, which is called like the plugin."""
    table = subject.table
    require(bool(table.title and table.columns and list(subject.rows())), "no title, no columns, or no rows")
    require(table.name == subject.name, f"Table.name is {table.name!r}: call it {subject.name!r}, as registered")


def says_if_nothing_fits(subject: TableSubject) -> None:
    """Without a record that fits, build() raises pb.UsageError, which says so."""
    if not subject.source.needs_records:
        raise Skipped("it needs no records")
    try:
        table = subject.source.build(Evidence(subject.evidence.records.iloc[:0]))
    except UsageError as error:
        require(bool(str(error).strip()), "the error says nothing")
    else:
        require(False, f"without records it builds a table of {sum(len(group.rows) for group in table.groups)} rows")


def is_a_pure_function(subject: TableSubject) -> None:
    """Built twice, the table is the same; the records are left as they were."""
    given = subject.copied()
    require(subject.table == subject.source.build(given), "built twice, the table differs")
    require(given.records.equals(subject.evidence.records), "build changes evidence.records: work on a copy of it")


def rows_fit_the_columns(subject: TableSubject) -> None:
    """Every row has a label, and one cell per column."""
    for row in subject.rows():
        require(bool(row.label.strip()), "a row has no label")
        count, columns = len(row.cells), len(subject.table.columns)
        require(count == columns, f"row {row.label!r} has {count} cells; there are {columns} columns")


def cells_know_their_origin(subject: TableSubject) -> None:
    """Each cell says who is quoted, or why it is empty; each row with numbers of runs names their trials."""
    known = set(subject.evidence.records["trial"])
    for row in subject.rows():
        for column, cell in zip(subject.table.columns, row.cells, strict=True):
            problem = _problem(cell, known)
            require(not problem, f"row {row.label!r}, column {column.label!r}: {problem}")
        numbers = [cell for cell in row.cells if cell.origin == "run" and isinstance(cell.value, float)]
        require(
            not numbers or not subject.source.needs_records or any(cell.trials for cell in numbers),
            f"row {row.label!r}: no cell names its trials: pb.Cell(..., trials=KEYS), from the column `trial`",
        )


def published_numbers_can_be_quoted(subject: TableSubject) -> None:
    """The files of published_csv, and the protocols beside them, are read without a fault."""
    if not subject.source.published_csv:
        raise Skipped("it quotes no published numbers")
    for file in subject.source.published_csv:
        try:
            read_ledger(file)
        except UsageError as error:
            require(False, str(error))


def renders_in_every_format(subject: TableSubject) -> None:
    """Every format prints it, twice the same."""
    for output_format in FORMATS:
        text = render(subject.table, output_format)
        require(bool(text.strip()), f"{output_format}: nothing is printed")
        require(text == render(subject.table, output_format), f"{output_format}: printed twice, it differs")


def figure_is_drawn(subject: TableSubject) -> None:
    """figure(evidence), if it has one, can be drawn."""
    assert subject.table
    figure = subject.source.figure(subject.evidence)
    if figure is None:
        raise Skipped("it has no figure")
    from petl_bench.render.figures import draw

    require(b"<svg" in draw(figure, "svg"), "no picture is drawn")


def _problem(cell: Cell, known: set[str]) -> str:
    """What is wrong with a cell; "" if nothing is."""
    if cell.origin not in typing.get_args(Origin):
        return f"origin {cell.origin!r}: expected one of {', '.join(typing.get_args(Origin))}"
    if cell.std is not None and not cell.std >= 0:
        return f"std {cell.std}: a standard deviation is at least 0"
    if cell.n is not None and not 0 <= cell.n <= (len(cell.trials) if cell.trials else cell.n):
        return f"n {cell.n}: the cell names {len(cell.trials)} trials"
    if cell.interval is not None and not cell.interval[0] <= cell.interval[1]:
        return f"interval {cell.interval}: its lower end comes first"
    if isinstance(cell.marks, str) or not set(cell.marks) <= MARKS.keys():
        return f"marks {cell.marks!r}: expected a tuple of {', '.join(MARKS)}"
    if cell.origin == "absent":
        return "" if cell.value is None and cell.source else "absent: value is None, and source says why there is none"
    if cell.origin == "quoted":
        return "" if cell.source else "quoted: source says where it stands"
    if cell.value is None:
        return "no value: make it pb.Cell(origin='absent', source='why there is none')"
    unknown = sorted(set(cell.trials) - known)
    return f"its trials are not among the records: {unknown[:2]}" if unknown else ""


@cache
def _made_up_runs() -> tempfile.TemporaryDirectory[str]:
    """A folder of records of some methods in every setting, on made-up annotations; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="petl-bench-made-up-")
    for name in SETTINGS.names():
        try:
            subject = SettingSubject("setting", SETTINGS.get(name), Given())
            tasks = subject.tasks
        except Exception:  # it has a command of its own, or is broken, which its own checks say
            continue
        for method in METHODS.names()[:_METHODS]:
            for (dataset, case), task in tasks.items():
                _record(Path(folder.name), method, subject.setting, dataset, case, task)
    return folder


def _record(folder: Path, method: str, setting: Setting, dataset: str, case: Case, task: Task) -> None:
    trial = Trial(
        method=method,
        method_version="1",
        hyper_parameters={},
        setting=setting.name,
        setting_version="1",
        setting_options=setting.values(),
        dataset=dataset,
        dataset_version="1",
        dataset_options={},
        manifest_sha256="a" * 64,
        split=case.split,
        shots=case.shots,
        seed=case.seed,
        part=case.part,
        backbone="viclip-tiny",
        weights="packaged",
        weights_sha256="b" * 64,
        training=TrainingOptions(**{}).values(),
        decoder="auto",
    )
    generator = np.random.default_rng(zlib.crc32(trial.key.encode()))
    evaluations = {each.name: _scored(each, generator) for each in task.evaluations}
    used = len(task.train)
    result = TrialResult(
        metrics=setting.summarise({name: each.accuracies for name, each in evaluations.items()}),
        evaluations=evaluations,
        trainable_params=1000 * (1 + len(method)),
        backbone_params=2_000_000,
        train_clips={"expected": used, "missing": 0, "unreadable": 0, "used": used},
        train_unreadable={},
        history=[],
        durations_s={"total": 1.0},
        environment={},
        notes=[],
        marks=["synthetic"],
    )
    place = trial_folder(folder, trial.key)
    place.mkdir(parents=True)
    write_record(place, trial, result)


def _scored(evaluation: Evaluation, generator: np.random.Generator) -> EvaluationResult | RetrievalResult:
    if isinstance(evaluation, RetrievalEvaluation):
        return _searched(evaluation, generator)
    labels = [sample.label for sample in evaluation.samples]
    scores = generator.random((len(labels), len(evaluation.classes)), dtype=np.float32)
    scores[np.arange(len(labels)), labels] += 0.5
    scores /= scores.sum(1, keepdims=True)
    ranks = ranks_of(labels, scores)
    return EvaluationResult(
        classes=evaluation.classes,
        clips=[sample.clip for sample in evaluation.samples],
        labels=labels,
        scores=scores,
        top1=100 * float(np.mean(ranks <= 1)),
        top5=100 * float(np.mean(ranks <= 5)),
        expected=len(labels),
    )


def _searched(evaluation: RetrievalEvaluation, generator: np.random.Generator) -> RetrievalResult:
    owners, texts = list(evaluation.owners), list(evaluation.texts)
    similarities = generator.random((len(evaluation.samples), len(texts)), dtype=np.float32)
    similarities[owners, np.arange(len(texts))] += 0.5
    ranks = {direction: each.ranks for direction, each in ranked_queries(similarities, owners).items()}
    return RetrievalResult(
        clips=[sample.clip for sample in evaluation.samples],
        texts=texts,
        owners=owners,
        similarities=similarities,
        accuracies=retrieval_metrics(ranks),
        expected=len(evaluation.samples),
        expected_texts=len(texts),
    )


#: In this order; if no table is built, the others say nothing.
CHECKS = (
    builds_a_table,
    documented,
    says_if_nothing_fits,
    is_a_pure_function,
    rows_fit_the_columns,
    cells_know_their_origin,
    published_numbers_can_be_quoted,
    renders_in_every_format,
    figure_is_drawn,
)
