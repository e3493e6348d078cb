"""Options and groups of commands that take one of a few words; a mistake is answered with near words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from petl_bench.errors import unknown


class OneOf(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """One of a few words."""

    name = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The words, for `--help`."""
        return f"[{'|'.join(self.words)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word. Raises UsageError, with near words, for another one."""
        if value not in self.words:
            raise unknown(param.opts[0] if param else "word", str(value), self.words, help_of(ctx))
        return str(value)


def help_of(ctx: click.Context | None) -> str:
    """The command that explains what was typed: `petl-bench runs list --help`."""
    names: list[str] = []
    while ctx is not None and ctx.parent is not None:
        names.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(["petl-bench", *names, "--help"])


class NearGroup(click.Group):
    """A group of commands that answers an unknown one with near names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's own. Raises UsageError for a command that there is not."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown(f"{ctx.info_name} command", args[0], self.commands, help_of(ctx))
        return super().resolve_command(ctx, args)
