"""What the commands of `petl-bench runs` have in common: which folder, which of its trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.choices import names, numbers

if TYPE_CHECKING:
    from petl_bench.managing.selection import Chosen
    from petl_bench.managing.trials import KnownTrial

ALL_WELL, SOME_LEFT = 0, 1
#: Trials that are named one by one; of more, their number is told.
SHOWN = 20

runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="The folder that `run --output` wrote to.",
)
plugin_option = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="A plugin file to load first."
)
_FILTERS = (
    click.option("--methods", metavar="A,B", callback=names, help="Trials of these methods."),
    click.option("--settings", metavar="S,...", callback=names, help="Trials of these settings."),
    click.option("--datasets", metavar="D,...", callback=names, help="Trials on these data sets."),
    click.option("--seeds", metavar="0,1,2", callback=numbers, help="Trials with these seeds."),
    click.option(
        "--state",
        "states",
        metavar="S,...",
        callback=names,
        help="done, running, queued, failed, interrupted, cancelled, missing, damaged.",
    ),
    click.option(
        "--set", "values", multiple=True, metavar="NAME.FIELD=VALUE", help="Trials with this value. Repeatable."
    ),
)


def trial_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose trials, for `chosen_trials`."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def chosen_trials(runs: Path, trials: tuple[str, ...], filters: dict[str, Any]) -> tuple[list[KnownTrial], Chosen]:
    """The trials of a folder of runs, and what was chosen among them."""
    from petl_bench.managing.selection import Chosen
    from petl_bench.managing.trials import known_trials

    return known_trials(runs), Chosen(trials=trials, **filters)


def load_plugins(files: Sequence[Path]) -> None:
    """Load the plugin files that were given. Raises UsageError, PluginError."""
    from petl_bench.api.registry import load_plugin_file

    for file in files:
        load_plugin_file(file)


def tell(line: str) -> None:
    """One line for people, on standard error, whatever a name in it holds."""
    from petl_bench.system.texts import clean

    click.echo(clean(line), err=True)


def show(lines: Sequence[str]) -> None:
    """The first of some lines on standard output, and how many more there are."""
    from petl_bench.system.texts import clean

    for line in lines[:SHOWN]:
        click.echo(clean(line))
    if len(lines) > SHOWN:
        click.echo(f"and {len(lines) - SHOWN:,} more like these")


def several(count: int, what: str = "trial") -> str:
    """A number of things in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
