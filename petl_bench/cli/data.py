"""`petl-bench data`: what of a data set lies on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from petl_bench.data.manifest import Manifest
    from petl_bench.dataset import Dataset, Sample

#: Frames that `--decode` reads of every clip, spread over its length.
CHECKED_FRAMES = 8
#: Names shown of clips that are missing, ambiguous or unreadable; `--json` has all.
SHOWN = 5


@click.group(name="data")
def command() -> None:
    """Find, verify and count the clips of a data set."""


@command.command(name="status", short_help="Count what a data set's lists name, and what is there.")
@click.argument("dataset")
@click.option("--data-root", metavar="DIR", type=click.Path(path_type=Path), help="Folder with its lists and videos.")
@click.option("--set", "texts", multiple=True, metavar="NAME.FIELD=VALUE", help="A field of the data set. Repeatable.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE.py", help="A plugin file to load. Repeatable.")
@click.option("--per-class", is_flag=True, help="One row for every class of every list.")
@click.option("--decode", is_flag=True, help="Read frames of every clip found, and count the unreadable ones.")
@click.option("--json", "as_json", is_flag=True, help="Everything, one JSON document.")
def status(
    dataset: str,
    data_root: Path | None,
    texts: tuple[str, ...],
    plugins: tuple[str, ...],
    per_class: bool,
    decode: bool,
    as_json: bool,
) -> None:
    """Say how many clips the lists of DATASET name, and how many of them are found, missing and ambiguous.

    Ambiguous: several files of different content fit the name equally well; such a clip is not used.
    """
    from petl_bench.cache import cache_folder
    from petl_bench.data.manifest import build_manifest

    plugin = chosen_dataset(dataset, texts, plugins)
    root = plugin.root(None if data_root is None else data_root.expanduser())
    manifest = build_manifest(plugin, root, cache_folder())
    unreadable = _unreadable(manifest) if decode else None
    report = _report(manifest, unreadable)
    if as_json:
        click.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        _print(report, per_class)


def chosen_dataset(name: str, texts: Sequence[str], plugins: Sequence[str]) -> Dataset:
    """The data set of that name with its `--set` fields, after loading plugin files."""
    from petl_bench.registry import DATASETS, load_plugin_file

    for file in plugins:
        load_plugin_file(file)
    fields = {}
    for text in texts:
        target, equals, value = text.partition("=")
        owner, _, option = target.strip().rpartition(".")
        if not equals or owner != name:
            raise UsageError(f"--set {text}: expected {name}.FIELD=VALUE (petl-bench show {name})")
        fields[option] = value.strip()
    plugin: type[Dataset] = DATASETS.get(name)
    return plugin(**plugin.parse(fields))


def _unreadable(manifest: Manifest) -> dict[str, str]:
    """Clips of which frames spread over the whole length cannot be read, with the decoder's reason."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import track

    from petl_bench.data.decoding import read_clip
    from petl_bench.errors import DataError

    def reason(path: Path) -> str | None:
        try:
            read_clip(path, lambda frames: range(0, frames, max(1, frames // CHECKED_FRAMES)))
        except DataError as error:
            return str(error)
        return None

    console = Console(stderr=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        reasons = pool.map(reason, [file.path for file in manifest.found.values()])
        checked = zip(manifest.found, reasons, strict=True)
        tracked = track(checked, "reading clips", len(manifest.found), console=console, disable=not console.is_terminal)
        return {clip: why for clip, why in tracked if why is not None}


def _report(manifest: Manifest, unreadable: dict[str, str] | None) -> dict[str, Any]:
    from petl_bench.data.manifest import named_lists

    lists = dict(named_lists(manifest.annotations))
    every = [sample for samples in lists.values() for sample in samples]
    report = {
        "dataset": manifest.dataset,
        "root": str(manifest.root),
        "sha256": manifest.sha256,
        "classes": list(manifest.annotations.classes),
        "clips": _counts(every, manifest, unreadable),
        "lists": [
            {
                "name": name,
                **_counts(samples, manifest, unreadable),
                "classes": _by_class(samples, manifest, unreadable),
            }
            for name, samples in lists.items()
        ],
        "missing": list(manifest.missing),
        "ambiguous": {clip: list(files) for clip, files in manifest.ambiguous.items()},
        "files": dict(manifest.annotations.files),
        "notes": list(manifest.notes),
    }
    return report if unreadable is None else {**report, "unreadable": unreadable}


def _counts(samples: Sequence[Sample], manifest: Manifest, unreadable: dict[str, str] | None) -> dict[str, int]:
    from petl_bench.data.manifest import coverage

    cover = coverage(samples, manifest)
    counts = {
        "expected": cover.expected,
        "found": cover.found,
        "missing": len(cover.missing),
        "ambiguous": len(cover.ambiguous),
    }
    if unreadable is None:
        return counts
    return {**counts, "unreadable": len({sample.clip for sample in samples} & set(unreadable))}


def _by_class(
    samples: Sequence[Sample], manifest: Manifest, unreadable: dict[str, str] | None
) -> dict[str, dict[str, int]]:
    by_label: dict[int, list[Sample]] = {}
    for sample in samples:
        by_label.setdefault(sample.label, []).append(sample)
    names = manifest.annotations.classes
    return {names[label]: _counts(found, manifest, unreadable) for label, found in sorted(by_label.items())}


def _print(report: dict[str, Any], per_class: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{report['dataset']}: {len(report['classes'])} classes, under {report['root']}"))
    kinds = list(report["clips"])
    table = Table(box=None, pad_edge=False)
    for head in ("list", "class") if per_class else ("list",):
        table.add_column(head, no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right")
    for row in report["lists"]:
        classes = row["classes"].items() if per_class else ()
        for name, counts in classes:
            table.add_row(Text(row["name"]), Text(name), *(f"{counts[kind]:,}" for kind in kinds))
        table.add_row(Text(row["name"]), *(["all"] if per_class else []), *(f"{row[kind]:,}" for kind in kinds))
    total = [f"{report['clips'][kind]:,}" for kind in kinds]
    table.add_row("all clips, each once", *(["all"] if per_class else []), *total, style="bold")
    console.print(table)
    for kind in kinds[2:]:
        if report[kind]:
            console.print(Text(f"{kind}: {_some(report[kind])}"))
    for note in report["notes"]:
        console.print(Text(f"note: {note}"))
    console.print(Text(f"manifest sha256: {report['sha256']}"))


def _some(clips: dict[str, Any] | list[str]) -> str:
    shown = [f"{clip} ({_why(clips[clip])})" if isinstance(clips, dict) else clip for clip in list(clips)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(clips) - SHOWN:,} more; all with --json" if len(clips) > SHOWN else "")


def _why(reason: str | list[str]) -> str:
    return reason if isinstance(reason, str) else ", ".join(reason)
