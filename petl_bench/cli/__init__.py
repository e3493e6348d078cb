"""The command line. One thin module per command, imported only when that command is used."""

from __future__ import annotations

import importlib
import io
import os
import sys
from difflib import get_close_matches

import click

from petl_bench.cli.last_resort import explanation, wants_traceback
from petl_bench.errors import PetlBenchError
from petl_bench.system.texts import lines

#: command -> (module under petl_bench.cli, one line for --help)
COMMANDS = {
    "run": ("run", "Train and evaluate methods in a setting; nothing done is done twice."),
    "tune": ("tune", "Search values for methods with the same budget each, on training clips alone."),
    "report": ("report", "Turn records into a table: terminal, Markdown, LaTeX, CSV, JSON or HTML."),
    "compare": ("compare", "Is the difference between two methods real, and what would settle it?"),
    "plan-power": ("plan_power", "How many seeds and test clips show a difference, before anything is run."),
    "status": ("status", "What is done, running, queued, failed or missing, and the command that fills the rest."),
    "runs": ("runs", "Look after folders of runs: list, verify, delete, merge, move, export."),
    "logs": ("logs", "The log of one trial, wherever it ran."),
    "cancel": ("cancel", "Take the trials of a folder of runs back, wherever they wait or run."),
    "list": ("list_", "List methods, settings, data sets, backbones, tables, launchers, trackers or profiles."),
    "show": ("show", "Explain one plugin: meaning, paper, hyper-parameters, supported settings."),
    "check": ("check", "Check what a plugin promises: a method, data set, setting, backbone, table or launcher."),
    "new": ("new", "Write a plugin file to start from, of any kind."),
    "new-method": ("new_method", "Short for: new method NAME."),
    "cost": ("cost", "What methods cost: parameters, FLOPs, time, memory, energy, measured side by side."),
    "data": ("data", "Find, verify and count the clips of a data set."),
    "predict": ("predict", "Label videos with a trained adapter: the probabilities of classes."),
    "features": ("features", "Write the features of videos and texts into a file: npz or Parquet."),
    "search": ("search", "Rank the videos of a folder by a text, with an adapter or a frozen backbone."),
    "export": ("export", "The adapter of a trial for others: one file, a merged model, Hugging Face PEFT."),
    "import": ("import_", "Bring an adapter that was trained elsewhere into a folder of runs."),
    "push": ("push", "The adapter of a trial to the Hugging Face Hub, with a model card."),
    "describe": ("describe", "Have a language model describe the classes of a data set."),
    "doctor": ("doctor", "Is this machine fit: versions, decoders, devices, weights."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"petl_bench.cli.{COMMANDS[name][0]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"no such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="petl-bench", prog_name="petl-bench")
def cli() -> None:
    """Compare parameter-efficient fine-tuning methods for video-language models.

    Try it: petl-bench run --methods msta,lora --setting base2novel
    """
    from petl_bench.system.stored_json import tell_unusable

    tell_unusable.cache_clear()  # once in a command, and there may be several in one process


def main() -> None:
    """Entry point: errors for people become one message and exit status 2; everything else keeps its traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it: an alphabet that lacks a letter
    try:
        status = cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        status = 130
    except click.ClickException as error:
        error.show()
        status = 2
    except PetlBenchError as error:
        click.echo(f"petl-bench: {lines(str(error))}", err=True)
        status = 2
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): leave quietly, without a second error at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:
        words = explanation(error)
        if not words or wants_traceback():
            raise
        click.echo(f"petl-bench: {lines(words)}", err=True)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)
