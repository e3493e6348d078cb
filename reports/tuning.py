"""The tables of tunings: what was searched for each method, by how much, what was chosen. No test clip is in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import petl_bench as pb
from petl_bench.analysis.labels import dataset_display
from petl_bench.api.evidence import Evidence
from petl_bench.api.options import text_of
from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.records.tunings import Proposal, Tuning
from petl_bench.system.commands import made_anew
from petl_bench.system.words import several
from petl_bench.tables.notes import listed
from petl_bench.tables.tuned import chosen_text, search_notes

_NONE = "no tuning here. Make one: petl-bench tune --methods lora,adaptformer --trials 8"
_OBJECTIVE = "Objective"
_COLUMNS = (
    Column("Chosen"),
    Column("chosen", _OBJECTIVE),
    Column("recipe", _OBJECTIVE),
    Column("lowest", _OBJECTIVE),
    Column("highest", _OBJECTIVE),
    Column("done", "Proposals"),
    Column("failed", "Proposals", ".0f"),
    Column("Trainings", format=".0f"),
)
_NO_TEST_CLIP = "No number here is of a test clip: proposals are compared on training clips that were held out."


@pb.register_table("tuning")
class TuningTable(TableSource):
    """What `petl-bench tune` searched and chose: a row for each tuned method.

    Rows of a group share setting, data sets, backbone, objective and budget. The objective is the mean over the
    trainings of a proposal, on held-out training clips; nothing is ranked.
    """

    def build(self, evidence: Evidence) -> Table:
        """The table of all tunings. Raises UsageError if there are none."""
        tunings = _tunings(evidence)
        groups: dict[str, list[Tuning]] = defaultdict(list)
        for each in tunings:
            groups[f"{_title(each)}, {several(each.budget, 'proposal')}"].append(each)
        return Table(
            name="tuning",
            title="Tunings: objectives on held-out training clips, in percent; no number of a test clip",
            corner="Method",
            columns=_COLUMNS,
            groups=tuple(RowGroup(title, tuple(_rows(some))) for title, some in groups.items()),
            footers=(
                _NO_TEST_CLIP,
                "Recipe: proposal 0, the values that a run has without being told. Lowest and highest: over proposals.",
                *(f"Chosen: {line}" for line in search_notes((METHODS.display(each.method), each) for each in tunings)),
                *(_unfinished(each) for each in tunings if each.best is None),
            ),
            spread="none",
        )


@pb.register_table("tuning_proposals")
class TuningProposalsTable(TableSource):
    """Every proposal of every tuning: its values, its objective and other metrics on held-out training clips."""

    def build(self, evidence: Evidence) -> Table:
        """A group of rows for each tuning. Raises UsageError if there is none."""
        tunings = _tunings(evidence)
        values = list(dict.fromkeys(name for each in tunings for one in each.proposals for name in one.values))
        metrics = list(dict.fromkeys(name for each in tunings for one in each.proposals for name in one.metrics))
        return Table(
            name="tuning_proposals",
            title="Proposals of tunings: metrics on held-out training clips, in percent; no number of a test clip",
            corner="Proposal",
            columns=(
                *(Column(name, "Values") for name in values),
                Column(_OBJECTIVE),
                *(Column(name, "Held-out training clips") for name in metrics),
                Column("Trainings", format=".0f"),
                Column("Round", format=".0f"),
            ),
            groups=tuple(
                RowGroup(
                    f"{METHODS.display(each.method)}: {_title(each)}",
                    tuple(_proposal_row(each, one, values, metrics) for one in each.proposals),
                    f"tuning {each.name}",
                )
                for each in tunings
                if each.proposals
            ),
            footers=(_NO_TEST_CLIP,),
            spread="none",
        )


def _tunings(evidence: Evidence) -> Sequence[Tuning]:
    if not evidence.tunings:
        raise pb.UsageError(_NONE)
    return sorted(evidence.tunings, key=lambda each: (_title(each), each.budget, each.method, each.name))


def _title(tuning: Tuning) -> str:
    """What rows of a group share, for readers, except for the budget."""
    data = listed((dataset_display(each, "") for each in tuning.datasets), 6)
    shots = f", {listed(tuning.shots)} shots" if tuning.shots else ""
    where = f"{SETTINGS.display(tuning.setting)} on {data}{shots}"
    return f"{where}, {BACKBONES.display(tuning.backbone)}, {tuning.objective}"


def _rows(tunings: Sequence[Tuning]) -> Iterable[Row]:
    counts = Counter(each.method for each in tunings)
    for each in tunings:
        own = f" ({each.name[:8]})" if counts[each.method] > 1 else ""
        yield Row(
            f"{each.method}{own}",
            _cells(each),
            display=f"{METHODS.display(each.method)}{own}",
            facts=(*_facts(each), ("budget", str(each.budget))),
        )


def _facts(tuning: Tuning) -> tuple[tuple[str, str], ...]:
    return (
        ("method", tuning.method),
        ("backbone", tuning.backbone),
        ("setting", tuning.setting),
        ("objective", tuning.objective),
        ("tuning", tuning.name),
    )


def _cells(tuning: Tuning) -> tuple[Cell, ...]:
    ended = [each for each in tuning.proposals if each.objective is not None or each.fault]
    objectives = [each.objective for each in ended if each.objective is not None]
    not_ended = f"not ended: {len(ended)} of {several(tuning.budget, 'proposal')}"
    recipe = next((each for each in tuning.proposals if each.number == 0), None)
    return (
        _absent(not_ended) if tuning.best is None else Cell(chosen_text(tuning), trials=tuple(tuning.best.trials)),
        _objective(tuning.best, not_ended),
        _objective(recipe, "not trained yet"),
        _number(min(objectives, default=None)),
        _number(max(objectives, default=None)),
        Cell(f"{len(ended)}/{tuning.budget}"),
        Cell(float(sum(bool(each.fault) for each in ended))),
        Cell(float(tuning.trainings)),
    )


def _objective(proposal: Proposal | None, why_not: str) -> Cell:
    """The objective of a proposal, over as many trainings as the cell says."""
    if proposal is None or proposal.objective is None:
        return _absent(why_not if proposal is None else proposal.fault or "not trained yet")
    return Cell(float(proposal.objective), n=len(proposal.trials), trials=tuple(proposal.trials))


def _number(value: float | None) -> Cell:
    return _absent("no proposal has an objective") if value is None else Cell(float(value))


def _absent(why: str) -> Cell:
    return Cell(origin="absent", source=why)


def _unfinished(tuning: Tuning) -> str:
    command = made_anew(tuning.command)  # the file may come from elsewhere
    how = f"; to go on: {command}" if command else ""
    return f"{METHODS.display(tuning.method)}: the tuning {tuning.name} has not ended{how}"


def _proposal_row(tuning: Tuning, proposal: Proposal, values: Sequence[str], metrics: Sequence[str]) -> Row:
    words = {0: "recipe", tuning.chosen: "chosen"} if tuning.chosen != 0 else {0: "recipe, chosen"}
    said = f" ({words[proposal.number]})" if proposal.number in words else ""
    given = [
        Cell(text_of(proposal.values[name])) if name in proposal.values else _absent("not in its space")
        for name in values
    ]
    found = [_number_of(proposal, name) for name in metrics]
    return Row(
        f"{proposal.number}{said}",
        (
            *given,
            _objective(proposal, ""),
            *found,
            Cell(float(len(proposal.trials))),
            Cell(float(proposal.round)),
        ),
        facts=_facts(tuning),
    )


def _number_of(proposal: Proposal, metric: str) -> Cell:
    value = proposal.metrics.get(metric)
    return _absent(proposal.fault or "not trained yet") if value is None else Cell(float(value))
