"""`petl-bench runs list`: every trial of a folder of runs, with its state and its size."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import chosen_trials, plugin_option, runs_option, trial_filters
from petl_bench.system.texts import clean
from petl_bench.system.words import columns, human, several

if TYPE_CHECKING:
    from petl_bench.managing.trials import KnownTrial
    from petl_bench.sharing.imported import Imported

_PARTS = ("adapter", "predictions", "checkpoint", "log", "other")
_HEADINGS = ["key", "trial", "state", "finished (UTC)", "size", *_PARTS[:4], "engine"]
_FIRST_NUMBER = _HEADINGS.index("size")
_NEW = "a run would do it anew"


@click.command(name="list", short_help="Every trial with its state and its size.")
@click.argument("trials", nargs=-1, metavar="[TRIAL ...]")
@runs_option
@trial_filters
@click.option("--sort", type=OneOf(["size", "date"]), help="Largest first, or newest first.")
@click.option("--format", "output_format", type=OneOf(["terminal", "csv", "json"]), default="terminal",
              show_default=True, help="csv and json hold everything, in bytes.")  # fmt: skip
@click.option("--outdated", is_flag=True, help="Say what this version of petl-bench would do anew, and why.")
@plugin_option
def list_(
    trials: tuple[str, ...],
    runs: Path,
    sort: str | None,
    output_format: str,
    outdated: bool,
    **filters: Any,
) -> None:
    """List the trials of a folder of runs, or the TRIALs named (a key, its beginning, or a title); nothing is written.

    With --outdated: whether a `run` that asks for the same trial now would find it done, or what differs: versions of
    the engine and of plugins, plugins and fields that are missing, the cost protocol, the format of a checkpoint. Files
    of data sets and weights of one's own are not compared.
    """
    from petl_bench.managing.outdated import whats_outdated
    from petl_bench.managing.selection import select

    known, chosen = chosen_trials(runs, trials, filters)
    found = _sorted(select(known, chosen, runs), sort)
    why = whats_outdated()
    reasons = {trial.key: why(trial) for trial in found} if outdated else None
    if output_format == "json":
        click.echo(json.dumps(_document(runs, found, reasons), indent=1))
    elif output_format == "csv":
        click.echo(_csv([_values(trial, reasons) for trial in found]), nl=False)
    else:
        _print(runs, found, reasons)


def _sorted(found: list[KnownTrial], by: str | None) -> list[KnownTrial]:
    if by == "size":
        return sorted(found, key=lambda trial: -trial.sizes.total)
    return sorted(found, key=lambda trial: trial.finished, reverse=True) if by == "date" else found


def _document(runs: Path, found: Sequence[KnownTrial], reasons: dict[str, str] | None) -> dict[str, Any]:
    total = sum(trial.sizes.total for trial in found)
    imported = [{"key": each.key, **asdict(each.provenance)} for each in _imported(runs)]
    values = {"runs": str(runs), "bytes": total, "trials": [_values(trial, reasons) for trial in found]}
    return {**values, "imported": imported} if imported else values


def _values(trial: KnownTrial, reasons: dict[str, str] | None) -> dict[str, Any]:
    values = {
        "key": trial.key,
        "title": trial.title,
        "state": trial.state,
        "detail": trial.detail,
        **{name: trial.fields.get(name) for name in ("method", "setting", "dataset", "split", "shots", "seed")},
        "finished": trial.finished,
        "bytes": trial.sizes.total,
        **{f"{part}_bytes": getattr(trial.sizes, part) for part in _PARTS},
        "adapter_kept": not trial.let_go,
        "start_from": trial.start_from,
        "tuning": str(trial.fields.get("tuning") or ""),
        "engine_version": trial.fields.get("engine_version"),
        "petl_bench": trial.version,
    }
    return values if reasons is None else {**values, "anew": reasons[trial.key]}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    from petl_bench.managing.exporting import cell

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(rows[0] if rows else ["key"])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return buffer.getvalue()


# For people


def _print(runs: Path, found: Sequence[KnownTrial], reasons: dict[str, str] | None) -> None:
    if found:
        _print_lines(found, reasons or {})
    _print_sums(runs, found)
    _print_tunings(runs)
    _print_replaced(runs)
    _print_imported(runs)
    if reasons is not None:
        anew = sum(map(bool, reasons.values()))
        click.echo(f"{several(len(found) - anew)} as this version has them, {anew} that a run would do anew")


def _print_lines(found: Sequence[KnownTrial], reasons: dict[str, str]) -> None:
    """Columns, and behind the last one why a run would do the trial anew."""
    why = ["", *(reasons.get(trial.key, "") for trial in found)]
    for line, reason in zip(columns([_HEADINGS, *map(_row, found)], _FIRST_NUMBER), why, strict=True):
        click.echo(f"{line}  {_NEW}: {clean(reason)}" if reason else line)


def _row(trial: KnownTrial) -> list[str]:
    parts = [human(size) if (size := getattr(trial.sizes, part)) else "-" for part in _PARTS[:4]]
    if trial.let_go and not trial.sizes.adapter:
        parts[0] = "not kept"
    total = human(trial.sizes.total) if trial.sizes.total else "-"
    engine = str(trial.fields.get("engine_version", "-"))
    finished = trial.finished[:16].replace("T", " ")
    return [clean(text) for text in (trial.short, trial.title, trial.state, finished, total, *parts, engine)]


def _print_sums(runs: Path, found: Sequence[KnownTrial]) -> None:
    from petl_bench.managing.folders import TrialSizes

    states = ", ".join(f"{count} {state}" for state, count in Counter(trial.state for trial in found).items())
    sizes = sum((trial.sizes for trial in found), TrialSizes())
    parts = ", ".join(f"{part} {human(getattr(sizes, part))}" for part in _PARTS)
    click.echo(f"{runs}: {several(len(found))}{f' ({states})' if states else ''}, {human(sizes.total)}: {parts}")
    of_tunings = sum(bool(trial.fields.get("tuning")) for trial in found)
    if of_tunings:
        click.echo(f"of tunings, on training clips alone and in no table of results: {several(of_tunings)}")


def _print_tunings(runs: Path) -> None:
    from petl_bench.managing.tunings import words
    from petl_bench.records.tunings import read_tunings

    for each in read_tunings(runs):
        click.echo(clean(words(each)))


def _imported(runs: Path) -> Sequence[Imported]:
    from petl_bench.sharing.imported import adapters_by_key

    return list(adapters_by_key(runs).values())


def _print_imported(runs: Path) -> None:
    """Adapters that were trained elsewhere: no trials of this folder, and in none of its numbers."""
    for each in _imported(runs):
        source = f"{each.provenance.file}, {human(each.provenance.bytes)}, {each.provenance.imported[:10]}"
        click.echo(clean(f"imported, not run here: {each.key[:8]} {each.title} ({source})"))


def _print_replaced(runs: Path) -> None:
    from petl_bench.managing.folders import size_below
    from petl_bench.records.judge import REPLACED

    size = size_below(runs / REPLACED)
    if size:
        click.echo(f"beside them, what was moved aside: {human(size)} in {runs / REPLACED}")
