"""From folders of runs to the evidence that tables are built from. Never loads torch."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import METHODS
from petl_bench.cli.options import tell
from petl_bench.errors import UsageError
from petl_bench.records.layout import RECORD
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.read import RecordReader, damaged_trials
from petl_bench.records.scan import Problem
from petl_bench.running.planning.saved_plans import left_out

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 8
#: With more trials than this, intervals and tests are worked out only if they are asked for.
MANY_TRIALS = 3_000


def gather(
    folders: tuple[Path, ...], *, statistics: bool | None = None, baseline: str = "", quoted: pd.DataFrame | None = None
) -> Evidence:
    """The records under these folders and their per-clip predictions; says on stderr what was left out.

    `statistics`: whether intervals and tests are worked out; None: unless there are very many trials.
    Raises UsageError if there is no record, or none of the baseline.
    """
    reader, outcomes = RecordReader(folders), StoredOutcomes(folders)
    records = reader.frame()
    trials = records["trial"].unique()
    if statistics is None:
        statistics = len(trials) <= MANY_TRIALS
        if not statistics:
            tell(
                f"{len(trials):,} trials: without intervals and tests, and their predictions are not read "
                "(petl-bench runs verify does); --statistics works them out"
            )
    problems = list(reader.problems)
    if statistics or len(trials) <= MANY_TRIALS:
        damaged = outcomes.problems(trials)
        records = records[~records["trial"].isin([problem.trial for problem in damaged])]
        problems += damaged
    _name(problems)
    lost = damaged_trials(problems, records)
    trained_on = records["tuning"] != ""
    tuning_trials = records.loc[trained_on, "trial"].nunique()
    records = records[~trained_on]
    if records.empty and tuning_trials and not reader.tunings:
        where = ", ".join(map(str, folders))
        raise UsageError(f"{where}: all of its {tuning_trials} finished trials are of tunings, on training clips alone")
    if records.empty and not reader.tunings:
        raise UsageError(_nothing_under(folders))
    if baseline:
        baseline = _method_of(baseline, sorted(set(records["method"])))
    return Evidence(
        records=records,
        published=quoted,
        outcomes=outcomes if statistics else None,
        baseline=baseline,
        left_out=tuple(map(str, problems)),
        damaged=lost[lost["tuning"] == ""],
        tunings=tuple(reader.tunings),
        tuning_trials=tuning_trials,
        left_out_methods=_left_out_methods(folders),
    )


def _nothing_under(folders: Sequence[Path]) -> str:
    """What to say of folders without a record: the sub-folders that have some, and the command again with the largest.

    Looks one level down, and reads no record.
    """
    nothing = f"no record of a finished trial under {', '.join(map(str, folders))}"
    found = {below: count for folder in folders for below in _folders_in(folder) if (count := _finished(below))}
    if not found:
        return f"{nothing}. See: {shlex.join(['petl-bench', 'status', '--runs', str(folders[0])])}"
    by_count = sorted(found, key=lambda below: -found[below])
    more = f" and {len(by_count) - _SHOWN} more" if len(by_count) > _SHOWN else ""
    listed = ", ".join(f"{below} has {found[below]:,}" for below in by_count[:_SHOWN])
    return f"{nothing}; {listed}{more}. Type: {shlex.join(_again(by_count[0]))}"


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:
        return []


def _finished(runs: Path) -> int:
    """How many trials of a folder of runs have a record."""
    return sum((trial / RECORD).is_file() for trial in _folders_in(runs / "trials"))


def _again(runs: Path) -> list[str]:
    """The words of this command as it was typed, with another folder of runs."""
    name = str(click.get_current_context().info_name)
    typed = sys.argv[sys.argv.index(name) + 1 :] if name in sys.argv else []
    pairs = zip([None, *typed], typed, strict=False)
    others = [word for before, word in pairs if "--runs" not in (before, word) and not word.startswith("--runs=")]
    return ["petl-bench", name, "--runs", str(runs), *others]


def _method_of(baseline: str, methods: Sequence[str]) -> str:
    """The registered name of a baseline, which may be given as readers see it. Raises UsageError if there is none."""
    shown = [method for method in methods if METHODS.display(method).casefold() == baseline.casefold()]
    if baseline not in methods and len(shown) != 1:
        known = ", ".join(methods)
        raise UsageError(f"--baseline {baseline}: no record of such a method here. There are: {known}")
    return baseline if baseline in methods else shown[0]


def gather_if_any(folders: tuple[Path, ...], quoted: pd.DataFrame | None = None) -> Evidence:
    """As `gather`, without statistics; folders that are missing or hold no record are no error."""
    reader = RecordReader([folder for folder in folders if folder.is_dir()])
    records = reader.frame()
    _name(reader.problems)
    return Evidence(
        records[records["tuning"] == ""],
        quoted,
        left_out=tuple(map(str, reader.problems)),
        tunings=tuple(reader.tunings),
    )


def _left_out_methods(folders: tuple[Path, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for folder in folders:
        for setting, methods in left_out(folder).items():
            found.setdefault(setting, {}).update(methods)
    return found


def _name(problems: list[Problem]) -> None:
    for problem in problems[:_SHOWN]:
        tell(f"left out: {problem}")
    if len(problems) > _SHOWN:
        tell(f"left out: {len(problems) - _SHOWN} more records, for reasons such as these")
    if problems:
        see = shlex.join(["petl-bench", "runs", "verify", "--runs", str(problems[0].path.parents[2])])
        click.echo(f"every damaged trial, and what to type: {see}", err=True)
