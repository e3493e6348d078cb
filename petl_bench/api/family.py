"""A family of plugins, which are made when they are asked for: `FAMILY:MEMBER`, such as `peft:OFT`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class Family:
    """Base of every family. Its entry point stands in the group `petl_bench.method_families`, under the family's name.

    Members are in no list of names: `--methods all` does not run them. Making one must import nothing heavy, since
    reports and `show` ask for its fields and recipes.
    """

    meaning: str = ""  #: one line, for `list`
    member: str = "MEMBER"  #: what stands behind the colon, in words
    example: str = ""  #: the name of one member

    def members(self) -> Sequence[str]:
        """The members that can be used, as they stand behind the colon."""
        raise NotImplementedError

    def make(self, member: str) -> Any:
        """The plugin of that name. Raises UsageError, with near names, for an unknown one or one that cannot be used,
        and PluginError if something is not installed."""
        raise NotImplementedError

    def page(self) -> Iterator[str]:
        """The lines that `show` prints about the family."""
        raise NotImplementedError
