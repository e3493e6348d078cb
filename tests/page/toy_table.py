"""A table that no builtin one is like: every kind of cell, and a figure with a Pareto front."""

from __future__ import annotations

from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Axis, Figure, Point, Series
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource


class ToyTable(TableSource):
    """Harmonic means with intervals, deltas and trials; one quoted row."""

    name = "toy"
    label = "MSTA"  #: of the quoted row and point

    def build(self, evidence: Evidence) -> Table:
        found = evidence.records[evidence.records["metric"] == "harmonic_mean"]
        rows = [
            Row(
                method,
                (
                    Cell(float(part["trainable_params"].iloc[0]), trials=tuple(part["trial"])),
                    Cell(
                        float(part["value"].mean()),
                        1.5,
                        len(part),
                        interval=(40.25, 60.75),
                        delta=2.5,
                        alike=method == "lora",
                        rank="best" if method == "msta" else "",
                        marks=("partial-seeds",) if method == "lora" else (),
                        trials=tuple(part["trial"]),
                    ),
                ),
            )
            for method, part in found.groupby("method")
        ]
        absent = Cell(origin="absent", source="not in the paper")
        quoted = Row(self.label, (absent, Cell(81.25, origin="quoted", source="Table 2")), marks=("quoted",))
        return Table(
            name=self.name,
            title="Toy results",
            corner="Method",
            columns=(Column("Trained", format=",.0f", lower_is_better=True), Column("HM", "All")),
            groups=(RowGroup("Run here", tuple(rows)), RowGroup("Quoted: a paper", (quoted,))),
            footers=("A footer.",),
            commands=("petl-bench run --methods missing",),
        )

    def figure(self, evidence: Evidence) -> Figure:
        found = evidence.records[evidence.records["metric"] == "harmonic_mean"]
        series = [
            Series(
                method,
                (
                    Point(
                        float(part["trainable_params"].iloc[0]) + 1,
                        float(part["value"].mean()),
                        method,
                        (40.0, 60.0),
                        tuple(part["trial"]),
                    ),
                ),
                key=method,
            )
            for method, part in found.groupby("method")
        ]
        quoted = Series(self.label, (Point(1e6, 81.25, self.label),), origin="quoted")
        return Figure(
            name="toy",
            title="Toy trade-off",
            x=Axis("Trained parameters", logarithmic=True),
            y=Axis("Harmonic mean (%)"),
            series=(*series, quoted),
            front=((1.0, 30.0), (54_322.0, 70.0)),
            name_points=True,
            notes=("Bars: a range.",),
        )
