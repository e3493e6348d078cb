"""The account of a data root as JSON values and as tables: what stands there, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from petl_bench.system import texts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from petl_bench.data.found.accounting import Account

#: Rows of a table that are shown.
_SHOWN = 20


def account_values(account: Account) -> dict[str, Any]:
    """The account as JSON values."""
    whole = asdict(account)
    return {
        **whole["entries"],
        "clips": whole["clips"],
        "perhaps_clips": {name: asdict(some) for name, some in account.entries.perhaps_clips.items()},
        "coverage": {"used": account.used, "of": account.seen + account.unknown},
    }


def print_account(account: Mapping[str, Any], console: Console) -> None:
    """Every entry under the root by its kind, every clip among them by its use, and how many are used."""
    from petl_bench.data.found.accounting import USES
    from petl_bench.data.found.entries import KINDS

    kinds = {KINDS[kind]: account["kinds"][kind] for kind in KINDS if kind in account["kinds"]}
    console.print(_counts("under the root", kinds, "all entries", account["total"]))
    parts = {extension or "no extension": some for extension, some in account["other_files"].items()}
    if account["outside"]:
        parts["links that lead out of the root (followed)"] = account["outside"]
    if parts:
        console.print(_counts("of these", parts))
    uses = {USES[use]: some for use, some in account["clips"].items()}
    console.print(_counts("clips under the root", uses, "all clips", sum(some["count"] for some in uses.values())))
    coverage = account["coverage"]
    click.echo(f"coverage: {coverage['used']:,} of {coverage['of']:,} things under the root that may be clips are used")


def _counts(head: str, counts: Mapping[str, Mapping[str, Any]], total: str = "", number: int = 0) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(head, box=None, pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("for example")
    for name, some in list(counts.items())[:_SHOWN]:
        table.add_row(Text(texts.name(name)), f"{some['count']:,}", Text(texts.name(some["example"])))
    if len(counts) > _SHOWN:
        rest = sum(some["count"] for some in list(counts.values())[_SHOWN:])
        table.add_row(f"{len(counts) - _SHOWN} kinds more, with --json", f"{rest:,}", "")
    if total:
        table.add_row(total, f"{number:,}", "", style="bold")
    return table
