"""A manifest as a report: counts per list and class, what is missing, ambiguous, unreadable, known defects, and an
account of everything under the root."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from petl_bench.system import texts
from petl_bench.system.texts import clean
from petl_bench.system.words import several

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from petl_bench.api.dataset import Dataset, Sample
    from petl_bench.data.found.accounting import Account
    from petl_bench.data.found.manifest import Manifest
    from petl_bench.data.found.scan_results import ScanResult

#: Names shown of clips that are missing, ambiguous or unreadable; `--json` has all.
SHOWN = 5
#: Rows of the account, and classes, that are shown unless all are asked for.
_ROWS, _CLASSES = 20, 30
#: Tables are not squeezed below so many columns: a wrapped row can be read, half a word cannot.
LEAST_WIDTH = 160
#: What is counted only if clips were scanned.
_SCANNED = ("readable", "unreadable", "not_scanned")


def build_report(dataset: Dataset, manifest: Manifest, scanned: Mapping[str, ScanResult]) -> dict[str, Any]:
    """Everything that is known of a data set on this machine, as JSON values.

    Each list and class, and all clips together, have the counts expected, found, missing, ambiguous, and of those found
    readable, unreadable and not_scanned (by the results of `petl-bench data scan`). `account` counts every entry under
    the root by its kind, and every clip on disk by its use.
    """
    from petl_bench.data.found.listed import named_lists

    count, captions = _Counter(manifest, scanned), manifest.annotations.captions
    lists = dict(named_lists(manifest.annotations))
    defects = {defect.id: {**asdict(defect), "applies": False} for defect in dataset.defects}
    defects |= {defect.id: {**asdict(defect), "applies": True} for defect in manifest.annotations.defects}
    told = {str(defect) for defect in manifest.annotations.defects}
    return {
        "dataset": manifest.dataset,
        "root": str(manifest.root),
        "sha256": manifest.sha256,
        "classes": list(manifest.annotations.classes),
        "captions": {"clips": len(captions), "texts": sum(map(len, captions.values()))},
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
    return {names[label]: count(found) for label, found in sorted(by_label.items())} if names else {}


def print_report(report: Mapping[str, Any], per_class: bool) -> None:
    """The report for people, on stdout; the columns of the scan only if clips were scanned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    scanned = report["clips"]["not_scanned"] < report["clips"]["found"]
    kinds = [kind for kind in report["clips"] if scanned or kind not in _SCANNED]
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, LEAST_WIDTH)
    console.print(Text(clean(f"{report['dataset']}: {_texts(report)}, under {report['root']}")))
    table = Table(box=None, pad_edge=False)
    for head in ("list", "class") if per_class else ("list",):
        table.add_column(head, no_wrap=True)
    for kind in kinds:
        table.add_column(kind.replace("_", " "), justify="right")
    for row in report["lists"]:
        for name, counts in (*(row["classes"].items() if per_class else ()), ("all", row)):
            names = [row["name"], name] if per_class else [row["name"]]
            table.add_row(*(Text(texts.name(each)) for each in names), *(f"{counts[kind]:,}" for kind in kinds))
    total = [f"{report['clips'][kind]:,}" for kind in kinds]
    table.add_row("all clips, each once", *(["all"] if per_class else []), *total, style="bold")
    console.print(table)
    print_account(report["account"], console)
    for warning in report["warnings"]:
        click.echo(f"WARNING: {clean(warning)}")
    for kind in ("missing", "ambiguous"):
        if report[kind]:
            click.echo(f"{kind}: {first_few(report[kind])}")
    print_reasons("unreadable", report["unreadable"])
    for defect in report["defects"]:
        where = "" if defect["applies"] else " (not in the lists that were read)"
        click.echo(clean(f"known defect {defect['id']}{where}: {defect['what']}; {defect['effect']}"))
    for note in report["notes"]:
        if note not in report["warnings"]:
            click.echo(f"note: {clean(note)}")
    click.echo(f"manifest sha256: {report['sha256']}")


def _texts(report: Mapping[str, Any]) -> str:
    """What clips are described by: how many classes, or captions."""
    classes, captions = len(report["classes"]), report["captions"]
    if classes:
        return f"{classes} classes"
    return f"{several(captions['texts'], 'caption')} of {several(captions['clips'], 'clip')}"


def print_classes(report: Mapping[str, Any], everything: bool) -> None:
    """A row for each class: its name and its clips in every training and test list. `report`: of `build_report`.

    Of many classes the first ones are shown, and between which counts the others lie. Nothing for a data set without
    classes, or without such lists.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lists = [each for each in report["lists"] if each["name"].split()[0] in ("train", "test")]
    if not lists or not report["classes"]:
        return
    names: Sequence[str] = report["classes"]
    shown = names if everything else names[:_CLASSES]
    table = Table(box=None, pad_edge=False)
    table.add_column("class", no_wrap=True)
    single = {each["name"] for each in lists} <= {"train 1", "test 1"}
    heads = [each["name"].split()[0] if single else each["name"] for each in lists]
    for head in heads:
        table.add_column(head, justify="right")
    for name in shown:
        table.add_row(Text(clean(name)), *(_clips_of(each, name) for each in lists))
    console = Console(highlight=False, soft_wrap=True)
    console.width = max([console.width, *(len(name) + 16 * len(lists) for name in shown)])
    console.print(table)
    if len(shown) < len(names):
        ranges = ", ".join(f"{head}: {_range(each, names[_CLASSES:])}" for head, each in zip(heads, lists, strict=True))
        rest = f"and {len(names) - _CLASSES:,} more classes ({ranges}); all with --per-class or --json"
        console.print(Text(rest))


def _clips_of(each: Mapping[str, Any], name: str) -> str:
    """The clips of a class in a list; those that are there, if they are fewer."""
    counts = each["classes"].get(name, {"expected": 0, "found": 0})
    listed, found = counts["expected"], counts["found"]
    return f"{listed:,}" if found == listed else f"{found:,} of {listed:,}"


def _range(each: Mapping[str, Any], names: Sequence[str]) -> str:
    counts = [each["classes"].get(name, {"expected": 0})["expected"] for name in names]
    return f"{min(counts):,} to {max(counts):,} clips" if min(counts) < max(counts) else f"{counts[0]:,} clips"


# ---------------------------------------------------------------- account of the root


def account_values(account: Account) -> dict[str, Any]:
    """The account as JSON values."""
    whole = asdict(account)
    return {
        **whole["entries"],
        "clips": whole["clips"],
        "perhaps_clips": {name: asdict(some) for name, some in account.entries.perhaps_clips.items()},
        "coverage": {"used": account.used, "of": account.seen + account.unknown},
    }


def print_account(account: Mapping[str, Any], console: Console) -> None:
    """Every entry under the root by its kind, every clip among them by its use, and how many are used."""
    from petl_bench.data.found.accounting import USES
    from petl_bench.data.found.entries import KINDS

    kinds = {KINDS[kind]: account["kinds"][kind] for kind in KINDS if kind in account["kinds"]}
    console.print(_counts("under the root", kinds, "all entries", account["total"]))
    parts = {extension or "no extension": some for extension, some in account["other_files"].items()}
    if account["outside"]:
        parts["links that lead out of the root (followed)"] = account["outside"]
    if parts:
        console.print(_counts("of these", parts))
    uses = {USES[use]: some for use, some in account["clips"].items()}
    console.print(_counts("clips under the root", uses, "all clips", sum(some["count"] for some in uses.values())))
    coverage = account["coverage"]
    click.echo(f"coverage: {coverage['used']:,} of {coverage['of']:,} things under the root that may be clips are used")


def _counts(head: str, counts: Mapping[str, Mapping[str, Any]], total: str = "", number: int = 0) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(head, box=None, pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("for example")
    for name, some in list(counts.items())[:_ROWS]:
        table.add_row(Text(texts.name(name)), f"{some['count']:,}", Text(texts.name(some["example"])))
    if len(counts) > _ROWS:
        rest = sum(some["count"] for some in list(counts.values())[_ROWS:])
        table.add_row(f"{len(counts) - _ROWS} kinds more, with --json", f"{rest:,}", "")
    if total:
        table.add_row(total, f"{number:,}", "", style="bold")
    return table


# ---------------------------------------------------------------- lists of clips


def first_few(clips: Mapping[str, Sequence[str]] | Sequence[str]) -> str:
    """The first few clips, with the files of each if there are any, and how many more there are."""

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
