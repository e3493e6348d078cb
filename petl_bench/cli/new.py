"""`petl-bench new KIND NAME`: a plugin file to start from, which passes `petl-bench check` and runs as it is."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

import click

from petl_bench.api.options import LONGEST_DISPLAY
from petl_bench.api.registry import KINDS
from petl_bench.cli.choices import OneOf
from petl_bench.errors import PluginError, StoreError, UsageError

#: kind -> what to type after `petl-bench check`; {name} and {file} stand for the plugin and its file.
NEXT = {
    "method": ["run --plugin {file} --methods {name},adaptformer --setting base2novel"],
    "dataset": ["run --plugin {file} --datasets {name} --methods zero_shot,lora --setting few_shot --shots 4"],
    "setting": ["run --plugin {file} --setting {name} --methods zero_shot,lora --seeds 0"],
    "backbone": ["run --plugin {file} --backbone {name} --weights random --methods zero_shot,lora --seeds 0"],
    "table": [
        "run --methods zero_shot,lora --setting few_shot --shots 2 --seeds 0",
        "report --plugin {file} --table {name}",
    ],
    "tracker": ["run --plugin {file} --track {name} --methods zero_shot,lora --seeds 0"],
    "launcher": ["run --plugin {file} --launcher {name} --methods zero_shot,lora --seeds 0"],
}


@click.command(name="new")
@click.argument("kind", type=OneOf(list(NEXT)), metavar="KIND")
@click.argument("name")
def command(kind: str, name: str) -> None:
    """Write NAME.py into this folder: a working plugin to change into your own.

    KIND: method, dataset, setting, backbone, table, launcher or tracker. A file that exists is kept.
    """
    write(kind, name)


def write(kind: str, name: str) -> None:
    """Write the file, and say what to type next. Raises UsageError for a name that cannot be, is taken, or has a file;
    StoreError if the file cannot be written."""
    path = Path(f"{name}.py")
    _refuse(kind, name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render(kind, name))
    except FileExistsError:
        raise UsageError(f"{path} exists and is kept; choose another name, or move it away") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written into this folder: {error.strerror}") from error
    click.echo(f"wrote {path}")
    for number, line in enumerate([f"check {path}", *NEXT[kind]]):
        click.echo(f"{'       ' if number else 'Next:  '}petl-bench {line.format(name=name, file=path)}", err=True)


def render(kind: str, name: str) -> str:
    """The text of the plugin file for a plugin of that name."""
    text = files("petl_bench.testing.templates").joinpath(f"{kind}.py").read_text(encoding="utf-8")
    words = [word for word in name.split("_") if word]
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    for placeholder, value in (
        (f"template_{kind}", name),
        (f"Template{kind.capitalize()}", class_name),
        (f"Template {KINDS[f'{kind}s'].kind}", " ".join(words).capitalize()[:LONGEST_DISPLAY].rstrip()),
    ):
        text = text.replace(placeholder, value)
    return text


def _refuse(kind: str, name: str) -> None:
    registry = KINDS[f"{kind}s"]
    usable = name.isascii() and name.isidentifier() and name[0].isalpha() and name == name.lower()
    if not usable or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot name a {registry.kind}: use lower-case letters, digits and underscores, e.g. my_{kind}"
        )
    try:
        registry.refuse_name(name)
    except PluginError as error:
        raise UsageError(str(error)) from error
    if name in registry.names():
        raise UsageError(f"the {registry.kind} name {name!r} is taken ({registry.source(name)}); choose another one")
