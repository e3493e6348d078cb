"""Options that take one of a few words, and comma lists; a mistake is answered with near words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from petl_bench.api.flag_lists import whole_numbers
from petl_bench.errors import UsageError, unknown


class OneOf(click.ParamType):
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
            raise unknown(param.opts[0] if param else "word", str(value), self.words, _help(ctx))
        return str(value)


def _help(ctx: click.Context | None) -> str:
    return f"{_command(ctx)} --help"


def _command(ctx: click.Context | None) -> str:
    """What was typed, without options: `petl-bench runs list`."""
    names: list[str] = []
    while ctx is not None and ctx.parent is not None:
        names.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(["petl-bench", *names])


class NearGroup(click.Group):
    """A group of commands that answers an unknown one with near names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's own. Raises UsageError for a command that there is not."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown(f"{ctx.info_name} command", args[0], self.commands, _help(ctx))
        return super().resolve_command(ctx, args)


def names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """The names in a comma list. Raises UsageError for a list of none, which would let everything through."""
    found = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if text is not None and not found:
        raise UsageError(f"{parameter.opts[0]}: names nothing; leave it out, or say which. See: {_help(ctx)}")
    return found


def numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    """The whole numbers in a comma list, in which `0-2` are three."""
    return whole_numbers(names(ctx, parameter, text), parameter.opts[0])
