"""Records become one page: every table that has records, its figures, and what lies behind the numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Figure
from petl_bench.api.table import Spread, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.page import tables
from petl_bench.page.assets import asset, json_block, packed, plotly, policy, script
from petl_bench.page.classes import classes_data
from petl_bench.page.costs import costs_block
from petl_bench.page.curves import curves_block
from petl_bench.page.details import StoredDetails
from petl_bench.page.downloads import Text, downloads_data, texts_of
from petl_bench.page.evaluations import evaluated
from petl_bench.page.misses import Misses, Thumbnail, misses_of
from petl_bench.page.overview import Fact, facts_of, facts_of_tunings
from petl_bench.page.plots import PlotBlock, figure_block
from petl_bench.page.provenance import Provenance, Texts
from petl_bench.page.queries import ranks_block, searched
from petl_bench.page.run_facts import StoredRunFacts
from petl_bench.page.summary import PageSummary, summary_of
from petl_bench.page.trials import cases_of, chosen_variants, trial_count
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.system.texts import clean, name, shortened
from petl_bench.tables.setting_table import SettingTable

#: Cells of all tables together, and trials whose folders are opened: what a page has room and a reader patience for.
_CELLS, _OPENED_TRIALS = 40_000, 1_000
_PROBLEMS, _LONGEST_PROBLEM = 50, 2_000


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    summary: PageSummary
    facts: tuple[Fact, ...]
    views: tuple[tables.TableView, ...]
    figures: tuple[PlotBlock, ...]
    curves: PlotBlock | None
    ranks: PlotBlock | None
    classes: list[dict[str, Any]]
    misses: list[Misses]
    costs: PlotBlock | None
    problems: tuple[str, ...]
    left_out: str
    downloads: dict[str, tuple[Text, ...]] = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    def view_id(self, table: str) -> str:
        """The id of the table of this name."""
        return next(view.id for view in self.views if view.table.name == table)

    @property
    def blocks(self) -> list[PlotBlock]:
        """All plots."""
        return [*self.figures, *[block for block in (self.curves, self.ranks, self.costs) if block is not None]]


def build_page(
    sources: Sequence[TableSource],
    evidence: Evidence,
    folders: Sequence[Path],
    *,
    quote: bool = True,
    spread: Spread = "std",
    thumbnail: Thumbnail | None = None,
) -> bytes:
    """The page as UTF-8. The same records, in folders of the same names, give the same bytes.

    `folders` are those the records were read from; `quote`: with published numbers; `spread`: what stands beside a
    number. Tables without records are not on it. Raises UsageError if none has any.
    """
    built = [
        replace(each, table=None if each.table is None else replace(each.table, spread=spread))
        for each in _built(sources, evidence, quote)
    ]
    if not any(each.table is not None for each in built):
        raise UsageError(f"no record here fits any of these tables: {', '.join(source.name for source in sources)}")
    page = _page(built, evidence, folders, thumbnail)
    # Names of files may hold what UTF-8 cannot.
    return _render(page).encode("utf-8", errors="replace")


@dataclass(frozen=True)
class _Built:
    """What one plugin makes; None if it has no records. `is_result`: its rows are methods under one setting."""

    table: Table | None
    figure: Figure | None
    is_result: bool


def _built(sources: Sequence[TableSource], evidence: Evidence, quote: bool) -> list[_Built]:
    found = []
    for source in sources:
        own = replace(evidence, published=source.published() if quote else None)
        table, figure = _or_none(source.build, own), _or_none(source.figure, own)
        found.append(_Built(table, figure, isinstance(source, SettingTable)))
    return found


def _or_none(make: Any, evidence: Evidence) -> Any:
    """A table or a figure; None if it has no records."""
    try:
        return make(evidence)
    except UsageError:
        return None


def _page(
    built: Sequence[_Built],
    evidence: Evidence,
    folders: Sequence[Path],
    thumbnail: Thumbnail | None,
) -> Page:
    records, details, texts = evidence.records, StoredDetails(folders), Texts()
    provenance = Provenance(records, details, texts, evidence.tunings)
    # Results first: the order of the page.
    shown = [each.table for each in built if each.table is not None and each.is_result]
    results = len(shown)
    shown += [each.table for each in built if each.table is not None and not each.is_result]
    views = tables.with_own_ids(
        tables.table_view(
            table, _CELLS // len(shown), folders, is_result=place < results, is_open=place < results or not results
        )
        for place, table in enumerate(shown)
    )
    table_data = [tables.table_data(view, part, texts, provenance.numbers) for view in views for part in view.parts]
    figures = tuple(
        figure_block(each.figure, (each.table or each.figure).title, provenance.numbers)
        for each in built
        if each.figure is not None
    )
    every_case = cases_of(records)
    cases = chosen_variants(every_case, _OPENED_TRIALS)
    outcomes = evidence.outcomes or StoredOutcomes(folders)
    found = list(evaluated(cases, records, outcomes))
    queries = list(searched(cases, records, outcomes, details))
    curves = curves_block(cases, details, provenance.numbers)
    ranks = ranks_block(queries, provenance.numbers)
    costs = costs_block(cases, records, details, provenance.numbers)
    classes = classes_data(found)
    blocks = [*figures, *[block for block in (curves, ranks, costs) if block is not None]]
    return Page(
        summary=summary_of(shown[:results], StoredRunFacts(records)),
        facts=(*facts_of(records), *facts_of_tunings(evidence.tunings, evidence.tuning_trials)),
        views=views,
        figures=figures,
        curves=curves,
        ranks=ranks,
        classes=classes,
        misses=misses_of(
            [*(each.missed_clips for each in found), *(each.missed_clips for each in queries)], records, thumbnail
        ),
        costs=costs,
        problems=_problems(evidence.left_out),
        left_out=_left_out(trial_count(cases), trial_count(every_case)),
        downloads=texts_of(shown, views),
        data={
            "tables": table_data,
            "plots": {block.id: block.data() for block in blocks},
            "classes": classes,
            "trials": provenance.data(),
            "texts": texts.all(),
        },
    )


def _problems(left_out: Sequence[str]) -> tuple[str, ...]:
    more = (f"and {len(left_out) - _PROBLEMS:,} more",) if len(left_out) > _PROBLEMS else ()
    return (*(shortened(clean(each), _LONGEST_PROBLEM) for each in left_out[:_PROBLEMS]), *more)


def _left_out(opened: int, trials: int) -> str:
    if opened == trials:
        return ""
    return (
        f"Learning curves, classes, missed clips and costs are of {opened:,} of the {trials:,} trials: the variants "
        "with the fewest trained parameters of every case. Limit the page with --runs to see others."
    )


def _render(page: Page) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("petl_bench.page", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "name": name}
    template = environment.get_template("page.html.jinja")
    code = script()
    return template.render(
        page=page,
        tables=tables,
        policy=policy(code),
        style=Markup(asset("page.css") + asset("downloads.css")),
        script=Markup(code),
        data=Markup(json_block(page.data)),
        plotly=Markup(plotly()),
        downloads=Markup(packed(json.dumps(downloads_data(page.downloads)))),
    )
