"""`petl-bench data index`: find the files of a data set, whatever the folder layout, and write down what was found."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.cli.data.options import DatasetRequest, dataset_options
from petl_bench.system.texts import escaped_json


@click.command(name="index", short_help="Find the clips of a data set by name, and write what was found.")
@dataset_options
@click.option("--output", metavar="FILE.json", type=click.Path(path_type=Path), help="Default: in the cache folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written, and not the table.")
def index(request: DatasetRequest, output: Path | None, as_json: bool) -> None:
    """Find the clips that the lists of DATASET name, whatever the folder layout, and write a JSON manifest.

    It holds counts per list and class, the file of every clip found, what is missing and what is ambiguous, the
    annotation files with their hashes, and the known defects. Files that have not changed are not read again.
    """
    from petl_bench.cli.data.report import as_text, build_report, print_report
    from petl_bench.data.found.fingerprints import root_name
    from petl_bench.errors import StoreError
    from petl_bench.system.cache import cache_folder, make_private
    from petl_bench.system.files import write_atomically

    plugin, manifest, results = request.read()
    report = build_report(plugin, manifest, results.of(manifest.found))
    whole = {**report, "found": {clip: file.below_root for clip, file in manifest.found.items()}}
    text = as_text(whole)
    try:
        if output is None:
            output = cache_folder() / "manifests" / f"{manifest.dataset}-{root_name(manifest.root)}.json"
            make_private(output.parent)
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {output}: {error.strerror}") from error
    write_atomically(output, text.encode())
    if as_json:
        click.echo(escaped_json(text))
    else:
        print_report(report, per_class=False)
    click.echo(f"manifest: {output}", err=as_json)
