"""What several commands share: options, lists that they take, and lines that they print."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.api.values.flag_lists import split_list, whole_numbers
from petl_bench.errors import StoreError, UsageError
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    from petl_bench.managing.selection import Chosen
    from petl_bench.managing.trials import KnownTrial

ALL_WELL, SOME_LEFT = 0, 1
#: Trials that are named one by one; of more, their number is told.
SHOWN = 20


def tell(line: str) -> None:
    """One line on standard error, made safe to show."""
    click.echo(clean(line), err=True)


def show(lines: Sequence[str]) -> None:
    """The first of some lines on standard output, and how many more there are."""
    for line in lines[:SHOWN]:
        click.echo(clean(line))
    if len(lines) > SHOWN:
        click.echo(f"and {len(lines) - SHOWN:,} more like these")


def refuse_output(output: Path) -> None:
    """Raise UsageError if no file can be written there: known before hours of work."""
    from petl_bench.data.found.tree import is_folder

    if is_folder(output):
        raise UsageError(f"--output {output}: a folder; name a file in it")
    if not is_folder(output.parent):
        raise UsageError(f"--output {output}: there is no folder {output.parent}; make it, or name another place")
    with contextlib.suppress(OSError):  # too long, or not to be looked at: writing will tell
        if output.exists() and not output.is_file():  # it would be replaced, /dev/null too
            raise UsageError(f"--output {output}: a device or a pipe; name a file")


def make_folder(output: Path) -> None:
    """Make a folder to write to. Raises StoreError if it cannot be made."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--output {output}: the folder cannot be made ({error.strerror})") from error


def _names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """The names in a comma list. Raises UsageError for a list of none, which would let everything through."""
    found = split_list(text or "", parameter.opts[0])
    if text is not None and not found:
        raise UsageError(
            f"{parameter.opts[0]}: names nothing; leave it out, or say which. See: {ctx.command_path} --help"
        )
    return found


def _numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    """The whole numbers in a comma list, in which `0-2` are three."""
    return whole_numbers(_names(ctx, parameter, text), parameter.opts[0])


def _load_plugins(ctx: click.Context, parameter: click.Parameter, files: Sequence[Path]) -> None:
    from petl_bench.api.registry import load_plugin_file

    for file in files:
        load_plugin_file(file)


#: The folder of runs that a command looks at, as `runs: Path`.
runs_option = click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, metavar="DIR",
    help="The folder that `run --output` wrote to.",
)  # fmt: skip
#: The folders of runs that a command reads together, as `folders: tuple[Path, ...]`.
folders_option = click.option(
    "--runs", "folders", multiple=True, default=("runs",), show_default=True, type=click.Path(path_type=Path),
    help="Output folder of `petl-bench run`; may be given several times.",
)  # fmt: skip
#: Plugin files, which are loaded before the command begins; it gets no argument of them.
plugin_option = click.option(
    "--plugin", multiple=True, type=click.Path(path_type=Path), callback=_load_plugins, expose_value=False,
    help="A plugin file to load first.",
)  # fmt: skip
_FILTERS = (
    click.option("--methods", metavar="A,B", callback=_names, help="Trials of these methods."),
    click.option("--settings", metavar="S,...", callback=_names, help="Trials of these settings."),
    click.option("--datasets", metavar="D,...", callback=_names, help="Trials on these data sets."),
    click.option("--seeds", metavar="0,1,2", callback=_numbers, help="Trials with these seeds."),
    click.option("--state", "states", metavar="S,...", callback=_names,
                 help="done, running, queued, failed, interrupted, cancelled, missing, damaged."),
    click.option("--set", "values", multiple=True, metavar="NAME.FIELD=VALUE",
                 help="Trials with this value. Repeatable."),
)  # fmt: skip


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
