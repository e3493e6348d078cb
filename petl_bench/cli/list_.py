"""`petl-bench list [KIND]`: every plugin of one kind, or every profile that ships, with one line of meaning.

Between them stands the name that readers of tables and figures see, if it is another one.
"""

from __future__ import annotations

from pathlib import Path

import click

from petl_bench.api.registry import KINDS, Registry, load_plugin_file
from petl_bench.cli.choices import OneOf
from petl_bench.errors import PluginError
from petl_bench.system.texts import clean

PROFILES, PUBLISHED, LAYOUTS = "profiles", "published", "layouts"


@click.command(name="list")
@click.argument("kind", type=OneOf([*KINDS, PROFILES, LAYOUTS, PUBLISHED]), required=False, metavar="[KIND]")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
def command(kind: str | None, plugins: tuple[Path, ...]) -> None:
    """List the plugins of one KIND: methods, settings, datasets, backbones, tables, launchers or trackers.

    `profiles` are the files that ship for --profile, `layouts` those for report --layout, `published` the tables of
    published numbers that can be quoted.
    Without KIND: how many there are of each.
    """
    for path in plugins:
        load_plugin_file(path)
    if kind is None:
        _print_kinds()
        return
    others = {PROFILES: _profiles, LAYOUTS: _layouts, PUBLISHED: _published}
    meanings = others[kind]() if kind in others else _plugins(KINDS[kind])
    displays = {} if kind in others else _displays(KINDS[kind])
    width, of_display = max(map(len, meanings), default=0), max(map(len, displays.values()), default=0)
    for name, meaning in meanings.items():
        shown = f"{displays.get(name, ''):<{of_display}}  " if of_display else ""
        click.echo(f"{name:<{width}}  {shown}{clean(meaning)}")
    click.echo(f"More about one: petl-bench show {f'{kind}:' if kind in others else ''}NAME", err=True)


def _print_kinds() -> None:
    counts = {kind: len(registry.names()) for kind, registry in KINDS.items()}
    counts |= {PROFILES: len(_profiles()), LAYOUTS: len(_layouts())}
    width = max(map(len, counts))
    for kind, count in counts.items():
        click.echo(f"{kind:<{width}}  {count:>3}  petl-bench list {kind}")
    click.echo(f"More about one: petl-bench show NAME. Published tables: petl-bench list {PUBLISHED}", err=True)


def _plugins(registry: Registry) -> dict[str, str]:
    return {name: _meaning(registry, name) for name in registry.names()} | _families(registry)


def _displays(registry: Registry) -> dict[str, str]:
    """Name -> what readers see in its place, for those that have something else."""
    displays = {name: registry.display(name) for name in registry.names()}
    return {name: display for name, display in displays.items() if display != name}


def _families(registry: Registry) -> dict[str, str]:
    found = {}
    for name in registry.families():
        try:
            family = registry.family(name)
        except PluginError as error:
            found[f"{name}:"] = f"BROKEN: {error}"
        else:
            found[f"{name}:{family.member}"] = family.meaning
    return found


def _profiles() -> dict[str, str]:
    from petl_bench.running.planning.profiles import meaning, profiles

    return {name: meaning(path) for name, path in profiles().items()}


def _layouts() -> dict[str, str]:
    from petl_bench.tables.layout_file import meaning, shipped_layouts

    return {name: meaning(path) for name, path in shipped_layouts().items()}


def _published() -> dict[str, str]:
    from petl_bench.cli.published import listed_tables

    return listed_tables()


def _meaning(registry: Registry, name: str) -> str:
    try:
        plugin = registry.get(name)
    except PluginError as error:
        return f"BROKEN: {error}"
    return (plugin.__doc__ or "").strip().split("\n")[0]
