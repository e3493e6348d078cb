"""`petl-bench data status`: how many clips there should be, are there, and can be read."""

from __future__ import annotations

import shlex

import click

from petl_bench.cli.data.options import DatasetRequest, dataset_options


@click.command(name="status", short_help="Count what a data set's lists name, and what is there.")
@dataset_options
@click.option("--per-class", is_flag=True, help="One row for every class of every list.")
@click.option("--json", "as_json", is_flag=True, help="Everything, one JSON document.")
def status(request: DatasetRequest, per_class: bool, as_json: bool) -> None:
    """Say how many clips the lists of DATASET name, and how many of them are found, missing and ambiguous.

    Ambiguous: several files of different content fit the name equally well; such a clip is not used. Which of the clips
    found can be read is known once `petl-bench data scan` has read them.
    """
    from petl_bench.cli.data.report import as_text, build_report, print_classes, print_report

    plugin, manifest, results = request.read()
    scanned = results.of(manifest.found)
    report = build_report(plugin, manifest, scanned)
    if as_json:
        click.echo(as_text({**report, "scan": str(results.file) if scanned else None}))
        return
    print_report(report, per_class)
    print_classes(report, everything=per_class)
    if manifest.quarantined:
        click.echo(
            f"runs leave out the {len(manifest.quarantined):,} unreadable clips; they are listed in {results.file}"
        )
        click.echo("remove that file, or use `petl-bench data scan --fresh`, to try them again")
    elif manifest.found and not scanned:
        click.echo(
            f"whether the clips can be read: petl-bench data scan {shlex.quote(request.text)} (with the same options)"
        )
