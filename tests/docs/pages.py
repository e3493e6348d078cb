"""The fenced blocks of the README and of docs/: what a reader would type or save, in order.

The info string says what a block is:

- `sh`: commands, which must succeed as they stand, one block after the other in one folder per page;
- `sh title="Error: TEXT"`: commands that must fail, and print TEXT;
- `sh title="needs ..."`: commands that need more than there is here (NEEDS): names and options are checked;
- `python title="FILE"` and `toml title="FILE"`: a file, written before the blocks that follow;
- `python`: a script, which is run;
- `text` and others: shown, not checked.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from petl_bench.cli import cli

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PAGES = {path.relative_to(ROOT).as_posix(): path for path in FILES}
NEEDS = {
    f"needs {what}"
    for what in (
        "the data",
        "the weights",
        "a cluster",
        "a GPU",
        "the network",
        "a language model",
        "a checkout",
        "time",
    )
}
ERROR = "Error: "

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]*)"')


@dataclass(frozen=True)
class Fence:
    """One fenced block: its language, its title or "", its text, and its first line in the page."""

    language: str
    title: str
    text: str
    line: int


def fences(page: str) -> list[Fence]:
    """The blocks of a page, in order."""
    content = PAGES[page].read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(content):
        info, indent, title = match["info"].strip(), match["indent"], _TITLE.search(match["info"])
        text = "".join(line.removeprefix(indent) for line in match["text"].splitlines(keepends=True))
        line = content.count("\n", 0, match.start()) + 1
        found.append(Fence(info.partition(" ")[0], title[1] if title else "", text, line))
    return found


def commands(text: str) -> list[list[str]]:
    """The words of every `petl-bench` command of a block of shell lines."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if "$(" not in line]
    return [line[1:] for line in words if line[:1] == ["petl-bench"]]


def parse(words: list[str]) -> None:
    """Parse a command without running it. Raises click.UsageError for a name or an option that does not exist."""
    command: click.Command = cli
    context = click.Context(cli, info_name="petl-bench")
    rest = list(words)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"no command {name}"
        context = click.Context(command, info_name=name, parent=context)
    redirected = next((number for number, word in enumerate(rest) if word in (">", "|", "&&")), len(rest))
    command.make_parser(context).parse_args(rest[:redirected])
