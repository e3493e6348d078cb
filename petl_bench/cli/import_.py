"""`petl-bench import`: an adapter that was trained elsewhere, into a folder of runs."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.cli.options import plugin_option, tell


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--runs", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="The folder of runs that it comes into; made if it is not there.")  # fmt: skip
@plugin_option
def command(file: Path, runs: Path) -> None:
    """Bring FILE, which `petl-bench export` wrote elsewhere (a folder of PEFT too), into a folder of runs.

    It is copied to DIR/imported/, beside import.json: where it comes from, what it claims, and what cannot be verified
    here. `--adapter` takes its key or title then, with --runs DIR. Reports, status and comparisons never count it.

    Example: petl-bench import my_adapter.safetensors --runs runs
    """
    from petl_bench.sharing.adapter_import import import_adapter

    imported, lines = import_adapter(file, runs)
    for line in lines:
        tell(line)
    if imported is not None:
        tell(f"{imported.title}: --adapter {imported.key[:8]} --runs {runs}")
