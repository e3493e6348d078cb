"""A manifest as a report: counts per list and class, what is missing, ambiguous, unreadable, known defects, and an
account of everything under the root."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.data.account import account_values, print_account
from petl_bench.system import texts
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    from petl_bench.api.dataset import Dataset, Sample
    from petl_bench.data.found.scan_results import ScanResult
    from petl_bench.data.found.manifest import Manifest

#: Names shown of clips that are missing, ambiguous or unreadable; `--json` has all.
SHOWN = 5
#: Tables are not squeezed below so many columns: a wrapped row can be read, half a word cannot.
LEAST_WIDTH = 160
#: What is counted only where clips were scanned.
_SCANNED = ("readable", "unreadable", "not_scanned")


def build_report(dataset: Dataset, manifest: Manifest, scanned: Mapping[str, ScanResult]) -> dict[str, Any]:
    """Everything that is known of a data set on this machine, as JSON values.

    Each list and class, and all clips together, have the counts expected, found, missing, ambiguous, and of those found
    readable, unreadable and not_scanned (by the results of `petl-bench data scan`). `account` counts every entry under
    the root by its kind, and every clip on disk by its use.
    """
    from petl_bench.data.found.manifest import named_lists

    count = _Counter(manifest, scanned)
    lists = dict(named_lists(manifest.annotations))
    defects = {defect.id: {**asdict(defect), "applies": False} for defect in dataset.defects}
    defects |= {defect.id: {**asdict(defect), "applies": True} for defect in manifest.annotations.defects}
    told = {str(defect) for defect in manifest.annotations.defects}
    return {
        "dataset": manifest.dataset,
        "root": str(manifest.root),
        "sha256": manifest.sha256,
        "classes": list(manifest.annotations.classes),
        "clips": count([sample for samples in lists.values() for sample in samples]),
        "lists": [
            {"name": name, **count(samples), "classes": _by_class(samples, manifest, count)}
            for name, samples in lists.items()
        ],
        "missing": list(manifest.missing),
        "ambiguous": {clip: list(files) for clip, files in manifest.ambiguous.items()},
        "unreadable": dict(manifest.quarantined),
        "files": dict(manifest.annotations.files),
        "defects": list(defects.values()),
        "notes": [note for note in manifest.notes if note not in told],
        "warnings": list(manifest.account.warnings()),
        "account": account_values(manifest.account),
    }


def as_text(report: Mapping[str, Any]) -> str:
    """The report as JSON text; what is not to be seen, or no UTF-8, has escapes, as JSON has them."""
    return texts.escaped_json(json.dumps(report, indent=1, ensure_ascii=False))


class _Counter:
    """Counts the clips of a list, each once."""

    def __init__(self, manifest: Manifest, scanned: Mapping[str, ScanResult]) -> None:
        self._found, self._ambiguous = manifest.found.keys(), manifest.ambiguous.keys()
        self._scanned = scanned.keys()
        self._unreadable = manifest.quarantined.keys()

    def __call__(self, samples: Sequence[Sample]) -> dict[str, int]:
        clips = {sample.clip for sample in samples}
        found, ambiguous = len(clips & self._found), len(clips & self._ambiguous)
        scanned, unreadable = len(clips & self._scanned), len(clips & self._unreadable)
        return {
            "expected": len(clips),
            "found": found,
            "missing": len(clips) - found - ambiguous,
            "ambiguous": ambiguous,
            "readable": scanned - unreadable,
            "unreadable": unreadable,
            "not_scanned": found - scanned,
        }


def _by_class(samples: Sequence[Sample], manifest: Manifest, count: _Counter) -> dict[str, dict[str, int]]:
    by_label: dict[int, list[Sample]] = {}
    for sample in samples:
        by_label.setdefault(sample.label, []).append(sample)
    names = manifest.annotations.classes
    return {names[label]: count(found) for label, found in sorted(by_label.items())}


def print_report(report: Mapping[str, Any], per_class: bool) -> None:
    """The report for people, on stdout; the columns of the scan only where clips were scanned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    scanned = report["clips"]["not_scanned"] < report["clips"]["found"]
    kinds = [kind for kind in report["clips"] if scanned or kind not in _SCANNED]
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, LEAST_WIDTH)
    console.print(Text(clean(f"{report['dataset']}: {len(report['classes'])} classes, under {report['root']}")))
    table = Table(box=None, pad_edge=False)
    for head in ("list", "class") if per_class else ("list",):
        table.add_column(head, no_wrap=True)
    for kind in kinds:
        table.add_column(kind.replace("_", " "), justify="right")
    for row in report["lists"]:
        classes = row["classes"].items() if per_class else ()
        for name, counts in classes:
            table.add_row(
                Text(texts.name(row["name"])), Text(texts.name(name)), *(f"{counts[kind]:,}" for kind in kinds)
            )
        table.add_row(
            Text(texts.name(row["name"])), *(["all"] if per_class else []), *(f"{row[kind]:,}" for kind in kinds)
        )
    total = [f"{report['clips'][kind]:,}" for kind in kinds]
    table.add_row("all clips, each once", *(["all"] if per_class else []), *total, style="bold")
    console.print(table)
    print_account(report["account"], console)
    for warning in report["warnings"]:
        click.echo(f"WARNING: {clean(warning)}")
    for kind in ("missing", "ambiguous"):
        if report[kind]:
            click.echo(f"{kind}: {some(report[kind])}")
    print_reasons("unreadable", report["unreadable"])
    for defect in report["defects"]:
        where = "" if defect["applies"] else " (not in the lists that were read)"
        click.echo(clean(f"known defect {defect['id']}{where}: {defect['what']}; {defect['effect']}"))
    for note in report["notes"]:
        if note not in report["warnings"]:
            click.echo(f"note: {clean(note)}")
    click.echo(f"manifest sha256: {report['sha256']}")


def some(clips: Mapping[str, Sequence[str]] | Sequence[str]) -> str:
    """The first few clips, with the files of each where there are any, and how many more there are."""

    def one(clip: str) -> str:
        files = clips[clip][:SHOWN] if isinstance(clips, Mapping) else ()
        more = ", ..." if isinstance(clips, Mapping) and len(clips[clip]) > SHOWN else ""
        return texts.name(f"{clip} ({', '.join(files)}{more})" if files else clip)

    shown = [one(clip) for clip in list(clips)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(clips) - SHOWN:,} more; all with --json" if len(clips) > SHOWN else "")


def print_reasons(kind: str, clips: Mapping[str, str]) -> None:
    """A line for each of the first few clips with what is said of it, and how many more there are."""
    for clip in list(clips)[:SHOWN]:
        click.echo(f"{kind}: {texts.name(clip)}: {clean(clips[clip])}")
    if len(clips) > SHOWN:
        click.echo(f"{kind}: {len(clips) - SHOWN:,} more; all with --json")
