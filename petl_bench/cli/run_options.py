"""The options of `petl-bench run`, which other commands that plan trials share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from petl_bench.api.values.flag_lists import expand_ranges, split_list, whole_numbers
from petl_bench.cli.choices import OneOf
from petl_bench.errors import UsageError


def _listed(convert: Callable[[tuple[str, ...], str], Any] = lambda parts, flag: parts) -> Callable[..., Any]:
    """What makes a value of a comma list; None if the option was not given."""

    def callback(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        flag = parameter.opts[0]
        return None if text is None else convert(split_list(text, flag), flag)

    return callback


#: What options call with their values.
listed_names, _splits, numbers = _listed(), _listed(expand_ranges), _listed(whole_numbers)


def _variants(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    from petl_bench.running.planning.spec import parse_variants

    return parse_variants(texts) or None


def repeated(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The values of an option that may be given several times; None if it was not."""
    return texts or None


def _runs(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> None:
    ctx.meta["runs"] = folder


def _output(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> str | None:
    """The folder of --output, or of --runs, which is eager. Raises UsageError if they name two."""
    runs: str | None = ctx.meta["runs"]
    if None not in (folder, runs) and folder != runs:
        raise UsageError(f"--output {folder} and --runs {runs} mean the same folder: give one of them")
    return runs if folder is None else folder


_OPTIONS = (
    click.option(
        "--methods", metavar="A,B", callback=listed_names, help="Methods to compare, or all (petl-bench list methods)."
    ),
    click.option("--setting", metavar="S", help="Protocol (petl-bench list settings).  [base2novel]"),
    click.option(
        "--datasets",
        metavar="D,NAME=DIR,...",
        callback=listed_names,
        help="Data sets (petl-bench list datasets); NAME=DIR is a folder of your own.  [motion]",
    ),
    click.option("--backbone", metavar="B", help="Backbone (petl-bench list backbones).  [viclip-tiny]"),
    click.option("--weights", metavar="W", help="auto, random, a file, or hf:REPO/FILE.  [auto]"),
    click.option(
        "--data-root", metavar="DIR", help="Folder with the data sets' lists and videos, or hf:datasets/USER/NAME."
    ),
    click.option("--seeds", metavar="0-2,5", callback=numbers, help="One trial per seed.  [0,1,2]"),
    click.option("--splits", metavar="...", callback=_splits, help="Official splits, if the setting has a choice."),
    click.option(
        "--shots", metavar="2,4,8,16", callback=numbers, help="Training clips per class, if the setting has a choice."
    ),
    click.option(
        "--forgetting",
        metavar="D,NAME=DIR,...",
        callback=listed_names,
        help="Other data sets, on which what was adapted is compared with the frozen backbone.",
    ),
    click.option("--source", metavar="D", help="Data set, or NAME=DIR, to adapt on (zero_shot_transfer)."),
    click.option(
        "--set",
        multiple=True,
        metavar="NAME.FIELD=VALUE",
        callback=repeated,
        help="A value of a method, setting, data set or backbone, or training.FIELD. Repeatable.",
    ),
    click.option(
        "--variant",
        "variants",
        multiple=True,
        metavar="'NAME.FIELD=VALUE ...'",
        callback=_variants,
        help="An alternative with these values. Repeatable: each one is run.",
    ),
    click.option(
        "--epochs", type=int, metavar="N", help="Passes over the training clips (retrieval: pairs), for every method."
    ),
    click.option(
        "--batch-size", type=int, metavar="N", help="Clips (retrieval: pairs) per optimiser step, for every method."
    ),
    click.option("--select", type=OneOf(["last", "val", "best-on-test"]), help="Which epoch is evaluated.  [last]"),
    click.option("--decoder", type=OneOf(["auto", "decord", "pyav", "torchcodec"]), help="Video decoder.  [auto]"),
    click.option("--precision", type=OneOf(["fp32", "bf16", "fp16"]), help="fp32, or autocast.  [fp32]"),
    click.option("--device", type=OneOf(["auto", "cpu", "cuda"]), help="Where to compute.  [auto]"),
    click.option("--launcher", metavar="L", help="Where trials run (petl-bench list launchers).  [local]"),
    click.option("--workers", type=int, metavar="N", help="Trials at the same time; without it, the launcher chooses."),
    click.option("--profile", metavar="FILE.toml", help="Fields of the launcher."),
    click.option(
        "--spec",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        help="A file with these names; flags win over it.",
    ),
    click.option(
        "--plugin", multiple=True, metavar="FILE.py", callback=repeated, help="A plugin file to load. Repeatable."
    ),
    click.option("--output", metavar="DIR", callback=_output, help="Where records go.  [runs]"),
    click.option(
        "--runs", metavar="DIR", callback=_runs, expose_value=False, is_eager=True, help="The same as --output."
    ),
    click.option(
        "--keep-adapters",
        type=OneOf(["all", "small", "none"]),
        help="Which stay once a trial is done; small: up to 64 MiB.  [all]",
    ),
    click.option(
        "--track",
        metavar="A,B",
        callback=listed_names,
        help="Trackers that show running trials (petl-bench list trackers).",
    ),
    click.option("--detach", is_flag=True, help="Hand the trials to the scheduler and come back at once."),
    click.option("--dry-run", is_flag=True, help="Print the plan with keys, counts and an estimate; run nothing."),
    click.option(
        "--force", is_flag=True, default=None, help="Move existing records aside (DIR/replaced) and run again."
    ),
)


def run_options(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of `run`, save those with these flags, as one decorator."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(_OPTIONS):
            function = option(function)
        options: Any = function  # click keeps them in an attribute
        options.__click_params__ = [each for each in options.__click_params__ if not set(each.opts) & set(without)]
        return function

    return decorate
