"""From folders of runs to the evidence that tables are built from. Never loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.errors import UsageError
from petl_bench.evidence import Evidence
from petl_bench.outcomes import StoredOutcomes
from petl_bench.records import RecordReader

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 8
#: With more trials than this, intervals and tests are worked out only where they are asked for.
MANY_TRIALS = 3_000


def gather(
    folders: tuple[Path, ...], *, statistics: bool | None = None, baseline: str = "", quoted: pd.DataFrame | None = None
) -> Evidence:
    """The records under these folders, and what became of their clips; says on stderr what was left out.

    `statistics`: whether intervals and tests are worked out; None: unless there are very many trials.
    Raises UsageError where there is no record, or none of the baseline.
    """
    records, left_out = _records(folders)
    if baseline and baseline not in set(records["method"]):
        known = ", ".join(sorted(set(records["method"])))
        raise UsageError(f"--baseline {baseline}: no record of such a method here. There are: {known}")
    if statistics is None:
        trials = records["trial"].nunique()
        statistics = trials <= MANY_TRIALS
        if not statistics:
            click.echo(f"{trials:,} trials: without intervals and tests; --statistics works them out", err=True)
    return Evidence(records, quoted, StoredOutcomes(folders) if statistics else None, baseline, left_out)


def _records(folders: tuple[Path, ...]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    reader = RecordReader(folders)
    records = reader.frame()
    for problem in reader.problems[:_SHOWN]:
        click.echo(f"left out: {problem}", err=True)
    if len(reader.problems) > _SHOWN:
        click.echo(f"left out: {len(reader.problems) - _SHOWN} more records, for reasons such as these", err=True)
    if records.empty:
        where = ", ".join(map(str, folders))
        raise UsageError(f"no record of a finished trial under {where}. See: petl-bench status --runs {folders[0]}")
    return records, tuple(map(str, reader.problems))
