"""`petl-bench list KIND`: every plugin of one kind, with one line of meaning."""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.errors import PluginError
from petl_bench.registry import KINDS, Registry, load_plugin_file


@click.command(name="list")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(kind: str, plugins: tuple[Path, ...]) -> None:
    """List the plugins of one KIND."""
    for path in plugins:
        load_plugin_file(path)
    registry = KINDS[kind]
    names = registry.names()
    width = max(map(len, names), default=0)
    for name in names:
        click.echo(f"{name:<{width}}  {_meaning(registry, name)}")
    click.echo("More about one: petl-bench show NAME", err=True)


def _meaning(registry: Registry, name: str) -> str:
    try:
        plugin = registry.get(name)
    except PluginError as error:
        return f"BROKEN: {error}"
    return (plugin.__doc__ or "").strip().split("\n")[0]
