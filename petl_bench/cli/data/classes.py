"""The classes of a data set with their clips on each side, so that a wrong reading is seen at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Classes that are shown unless all are asked for.
SHOWN = 30


def print_classes(report: Mapping[str, Any], everything: bool) -> None:
    """A row for each class: its name and its clips in every training and test list. `report`: of `build_report`.

    Of many classes the first ones are shown, and between which counts the others lie. Nothing for a data set without
    such lists.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from petl_bench.system.texts import clean

    lists = [each for each in report["lists"] if each["name"].split()[0] in ("train", "test")]
    if not lists:
        return
    names: Sequence[str] = report["classes"]
    shown = names if everything else names[:SHOWN]
    table = Table(box=None, pad_edge=False)
    table.add_column("class", no_wrap=True)
    single = {each["name"] for each in lists} <= {"train 1", "test 1"}
    heads = [each["name"].split()[0] if single else each["name"] for each in lists]
    for head in heads:
        table.add_column(head, justify="right")
    for name in shown:
        table.add_row(Text(clean(name)), *(_count(each, name) for each in lists))
    console = Console(highlight=False, soft_wrap=True)
    console.width = max([console.width, *(len(name) + 16 * len(lists) for name in shown)])
    console.print(table)
    if len(shown) < len(names):
        ranges = ", ".join(f"{head}: {_range(each, names[SHOWN:])}" for head, each in zip(heads, lists, strict=True))
        rest = f"and {len(names) - SHOWN:,} more classes ({ranges}); all with --per-class or --json"
        console.print(Text(rest))


def _count(each: Mapping[str, Any], name: str) -> str:
    """The clips of a class in a list; those that are there, if they are fewer."""
    counts = each["classes"].get(name, {"expected": 0, "found": 0})
    listed, found = counts["expected"], counts["found"]
    return f"{listed:,}" if found == listed else f"{found:,} of {listed:,}"


def _range(each: Mapping[str, Any], names: Sequence[str]) -> str:
    counts = [each["classes"].get(name, {"expected": 0})["expected"] for name in names]
    return f"{min(counts):,} to {max(counts):,} clips" if min(counts) < max(counts) else f"{counts[0]:,} clips"
