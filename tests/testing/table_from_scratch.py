"""Mine: what it shows, of which records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import petl_bench as pb

if TYPE_CHECKING:
    import pandas as pd


@pb.register_table("mine")
class Mine(pb.TableSource):
    """Mean and spread over seeds of the first metric of every setting, for each method and data set."""

    def build(self, evidence: pb.Evidence) -> pb.Table:
        """A table from evidence.records: a frame with one row per trial and metric; see pb.load_records."""
        records = evidence.records[evidence.records["dataset"] != ""]
        first = records.groupby("setting")["metric"].transform("first")
        shown = records[records["metric"] == first]
        if shown.empty:
            raise pb.UsageError("mine: no record of a trial on a data set. See: petl-bench status")
        columns = sorted(set(zip(shown["setting"], shown["dataset"], shown["metric"], strict=True)))
        return pb.Table(
            name="mine",
            title="Every method, data set and setting, in percent",
            corner="Method",
            columns=tuple(pb.Column(f"{dataset} {metric}", group=setting) for setting, dataset, metric in columns),
            groups=(pb.RowGroup("Run here", tuple(self.rows(shown, columns))),),
            footers=("Mean and standard deviation over trials: seeds, splits and numbers of shots together.",),
        )

    def rows(self, shown: pd.DataFrame, columns: Sequence[tuple[str, str, str]]) -> Iterator[pb.Row]:
        """One row per method, one cell per column."""
        for method, part in shown.groupby("method"):
            of = list(zip(part["setting"], part["dataset"], part["metric"], strict=True))
            cells = (self.cell(part[[each == column for each in of]]) for column in columns)
            yield pb.Row(str(method), tuple(cells))

    def cell(self, part: pd.DataFrame) -> pb.Cell:
        """A cell says where its number is from: the keys of its trials; or why there is none."""
        if part.empty:
            return pb.Cell(origin="absent", source="not run")
        spread = float(part["value"].std()) if len(part) > 1 else None
        return pb.Cell(float(part["value"].mean()), std=spread, n=len(part), trials=tuple(part["trial"].sort_values()))

    # A picture beside it: def figure(self, evidence: pb.Evidence) -> pb.Figure; see pb.Series and pb.Point.
