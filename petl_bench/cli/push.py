"""`petl-bench push`: the adapter of a trial to the Hugging Face Hub, with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from petl_bench.cli.options import plugin_option, runs_option, tell
from petl_bench.errors import UsageError
from petl_bench.system.texts import clean


@click.command(name="push")
@click.argument("trial", metavar="TRIAL")
@click.argument("repository", metavar="hf:USER/NAME")
@runs_option
@click.option("--private", is_flag=True, help="Only its owners see the repository.")
@click.option("--licence", metavar="SPDX", help="Of the adapter, e.g. Apache-2.0; it is stated on the card.")
@click.option("--revision", metavar="BRANCH", help="Push to this branch, which is made if it is not there.  [main]")
@click.option("--dry-run", is_flag=True, help="Write the folder, and push nothing: no network is used.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR",
              help="With --dry-run: is made; not replaced.  [NAME]")  # fmt: skip
@plugin_option
def command(
    trial: str,
    repository: str,
    runs: Path,
    private: bool,
    licence: str | None,
    revision: str | None,
    dry_run: bool,
    output: Path | None,
) -> None:
    """Push the adapter of a finished trial to the Hugging Face Hub, with a model card made from its record.

    TRIAL is a key, its beginning, or words of its title. Two files are pushed in one commit: adapter.safetensors and
    README.md; others in the repository stay. Look at them first with --dry-run.

    Example: petl-bench push 1a2b3c4d hf:me/lora-archery --dry-run
    """
    from petl_bench.hub.address import model_address
    from petl_bench.managing.lookup import find_trial, titles
    from petl_bench.sharing.model_card import refuse_licence
    from petl_bench.sharing.push_folder import write_adapter_folder

    if output is not None and not dry_run:
        raise UsageError("--output is for --dry-run: without it the folder goes to the Hub and nowhere else")
    address = model_address(repository, revision)
    if licence is not None:
        refuse_licence(licence)
    known = titles(runs)
    key = find_trial(known, trial, runs)
    if dry_run:
        folder = output or Path(address.repository.partition("/")[2])
        write_adapter_folder(runs, key, folder, address.repository, licence)
        click.echo(f"wrote {clean(known[key])} to {clean(str(folder))}; nothing was pushed")
        return
    from petl_bench.hub.upload import push_folder

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "push"
        write_adapter_folder(runs, key, folder, address.repository, licence)
        tell(f"pushing {known[key]} to hf:{address.repository}")
        message = f"Adapter and model card of trial {key[:8]}"
        pushed = push_folder(folder, address, private=private, message=message)
    if pushed.changed:
        click.echo(f"pushed to {clean(pushed.url)}, commit {clean(pushed.commit)}")
    else:
        click.echo(f"nothing changed: {clean(pushed.url)} has these files already, at commit {clean(pushed.commit)}")
