"""JSON: the whole table as it is, at full precision."""

from __future__ import annotations

import json
from dataclasses import asdict

from petl_bench.api.table import Table
from petl_bench.system.texts import escaped_json

#: Raised when a field changes its meaning.
SCHEMA = 2


def render(table: Table) -> str:
    """The fields of `petl_bench.api.table.Table`, nested, and the meaning of every mark that occurs.

    Controls and characters that are not seen are written as escapes, so that the document may go to a terminal.
    """
    values = {"schema": SCHEMA, **asdict(table), "marks": {mark.word: asdict(mark) for mark in table.marks()}}
    return escaped_json(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
