"""`petl-bench data scan`: read every clip once, and remember which cannot be read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.data.options import DatasetRequest, dataset_options
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    from petl_bench.data.found.fingerprints import FoundFile
    from petl_bench.data.found.manifest import Manifest
    from petl_bench.data.found.scan_results import ScanResults


@click.command(name="scan", short_help="Read every clip, and list those that cannot be read.")
@dataset_options
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Read N clips, drawn with --seed; default: all."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw of --sample.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes; default: one for each CPU.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              help="Seconds after which a clip is given up.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Forget what earlier scans of this data set found.")
@click.option("--json", "as_json", is_flag=True, help="Everything, one JSON document.")
def scan(
    request: DatasetRequest,
    sample: int | None,
    seed: int,
    workers: int | None,
    timeout_s: float,
    fresh: bool,
    as_json: bool,
) -> None:
    """Read every frame of the clips of DATASET that are there, and say which cannot be read or are odd.

    Results are kept as they come: after Ctrl-C the same command goes on, and a later scan reads what is new or has
    changed. Runs leave unreadable clips out and count them. A clip is short with fewer frames than 8; runs repeat
    frames of it.
    """
    from petl_bench.cli.data.report import as_text

    _, manifest, results = request.read()
    if fresh:
        results.forget()
    clips = _drawn(manifest.found, sample, seed)
    before = {clip: result for clip, result in results.of(clips).items() if not result.gave_up}
    files = {file.file: file for clip, file in clips.items() if clip not in before}
    if before:
        click.echo(f"{len(before):,} clips were scanned before and have not changed", err=True)
    _read(files, results, workers or _cpus(), timeout_s)
    report = _report(manifest, clips, results)
    if as_json:
        click.echo(as_text(report))
    else:
        _print(report)


def _drawn(found: Mapping[str, FoundFile], sample: int | None, seed: int) -> dict[str, FoundFile]:
    """All clips, or `sample` of them by a seeded hash of their names: a larger sample holds the smaller one."""
    if sample is None:
        return dict(found)
    drawn = sorted(found, key=lambda clip: hashlib.sha256(f"scan/{seed}/{clip}".encode()).digest())[:sample]
    return {clip: found[clip] for clip in sorted(drawn)}


def _read(files: Mapping[str, FoundFile], results: ScanResults, workers: int, timeout_s: float) -> None:
    from petl_bench.cli.progress import showing_progress
    from petl_bench.data.found.scanning import scan_clips

    done = unreadable = 0
    try:
        with showing_progress() as notify:
            for result in scan_clips(files, results, workers=min(workers, max(len(files), 1)), timeout_s=timeout_s):
                done += 1
                unreadable += bool(result.reason)
                notify("clips read", done, len(files), f"{unreadable:,} unreadable")
    except KeyboardInterrupt:
        click.echo(
            f"stopped after {done:,} of {len(files):,} clips, which are kept; the same command goes on", err=True
        )
        raise


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _report(manifest: Manifest, clips: Mapping[str, FoundFile], results: ScanResults) -> dict[str, Any]:
    scanned = results.of(clips)
    readable = {clip: result for clip, result in scanned.items() if not result.reason}
    unreadable = {clip: result.reason for clip, result in scanned.items() if result.reason}
    short = {clip: result.num_frames for clip, result in readable.items() if result.short}
    uneven = [clip for clip, result in readable.items() if result.variable_rate]
    odd = {clip: list(result.remarks) for clip, result in readable.items() if result.remarks}
    return {
        "dataset": manifest.dataset,
        "root": str(manifest.root),
        "scan": str(results.file),
        "clips": {
            "found": len(manifest.found),
            "scanned": len(scanned),
            "readable": len(readable),
            "unreadable": len(unreadable),
            "short": len(short),
            "variable_rate": len(uneven),
            "odd": len(odd),
        },
        "unreadable": unreadable,
        "short": short,
        "variable_rate": uneven,
        "odd": odd,
    }


#: What the table says of each count.
_MEANINGS = {
    "found": "clips of the lists whose file is there",
    "scanned": "read in this scan, or before and unchanged since",
    "readable": "frames of the whole length can be had",
    "unreadable": "the quarantine list: runs leave them out, and count them",
    "short": "of the readable: fewer than 8 frames; runs repeat some",
    "variable_rate": "of the readable: frames are not evenly spaced in time; runs sample by number",
    "odd": "of the readable: sizes, rotation, wrong headers, damage, another decoder",
}


def _print(report: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from petl_bench.cli.data.report import LEAST_WIDTH, first_few, print_reasons

    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, LEAST_WIDTH)
    click.echo(clean(f"{report['dataset']}, under {report['root']}"))
    table = Table("clips", box=None, pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("meaning")
    for kind, count in report["clips"].items():
        table.add_row(kind.replace("_", " "), f"{count:,}", _MEANINGS[kind])
    console.print(table)
    print_reasons("unreadable", report["unreadable"])
    print_reasons("short", {clip: f"{count} frames" for clip, count in report["short"].items()})
    if report["variable_rate"]:
        click.echo(f"variable rate: {first_few(report['variable_rate'])}")
    print_reasons("odd", {clip: "; ".join(remarks) for clip, remarks in report["odd"].items()})
    click.echo(f"results: {report['scan']} (remove the file, or use --fresh, to forget them)")
