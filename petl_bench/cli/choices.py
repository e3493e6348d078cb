"""Options that take one of a few words, and comma lists; a mistake is answered with near words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from petl_bench.errors import UsageError, unknown


class OneOf(click.ParamType):
    """One of a few words. `kind`: what they are; `see`: what to type to learn more."""

    name = "word"

    def __init__(self, kind: str, words: Sequence[str], see: str) -> None:
        self.kind, self.words, self.see = kind, tuple(words), see

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The words, for `--help`."""
        return f"[{'|'.join(self.words)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word. Raises UsageError, with near words, for another one."""
        if value not in self.words:
            raise unknown(self.kind, str(value), self.words, self.see)
        return str(value)


def names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """The names in a comma list."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    """The whole numbers in a comma list."""
    try:
        return tuple(int(part) for part in names(ctx, parameter, text))
    except ValueError:
        raise UsageError(f"{parameter.opts[0]} {text}: expected whole numbers, e.g. 0,1,2") from None
