"""Published numbers, and how their authors obtained them.

A file of published numbers, such as `rows.csv`, may have a file `rows.toml` beside it that states the protocol of its
tables. `petl_bench.tables.ledger` reads both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

#: Stands for a fact that no source states.
NOT_STATED = "not stated"
#: Which epoch was evaluated: as `petl-bench run --select` has it, or unknown.
Selection = Literal["last", "val", "best-on-test", "not stated"]
SELECTION_WORDS: Mapping[str, str] = {
    "last": "last epoch",
    "val": "best on held-out training clips",
    "best-on-test": "best on the test clips",
    NOT_STATED: NOT_STATED,
}


@dataclass(frozen=True)
class Protocol:
    """How published numbers were obtained. Each fact is one line of text.

    `rerun_by`: who ran others' methods again for this table; "no" for rows that are their authors' own.
    """

    backbone: str = NOT_STATED
    data: str = NOT_STATED
    frames: str = NOT_STATED
    resolution: str = NOT_STATED
    views: str = NOT_STATED
    training: str = NOT_STATED
    seeds: str = NOT_STATED
    spread: str = NOT_STATED
    selection: Selection = "not stated"
    selection_evidence: str = NOT_STATED
    rerun_by: str = NOT_STATED

    def facts(self) -> dict[str, str]:
        """Every fact by the name that readers see, in order; the selection in words."""
        values = {each.name: str(getattr(self, each.name)) for each in fields(self)}
        values["selection"] = SELECTION_WORDS[self.selection]
        if self.rerun_by == "no":
            values["rerun_by"] = "nobody, these are their authors' own rows"
        return {MEANINGS[name]: value for name, value in values.items()}


#: Field of a Protocol -> what readers see.
MEANINGS: Mapping[str, str] = {
    "backbone": "backbone",
    "data": "data and lists",
    "frames": "frames per view",
    "resolution": "resolution",
    "views": "views (clips x crops)",
    "training": "training",
    "seeds": "seeds",
    "spread": "spread is over",
    "selection": "epoch evaluated",
    "selection_evidence": "by what is that known",
    "rerun_by": "run again by",
}


@dataclass(frozen=True)
class PublishedNumber:
    """One number of a published table.

    `shots`: 0 for all clips, or if the table does not say; `printed`: value and spread as they stand in the file;
    `line`: of the file.
    """

    source: str
    table: str
    setting: str
    group: str
    method: str
    venue: str
    dataset: str
    shots: int
    frames: str
    metric: str
    value: float
    std: float | None = None
    printed: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def key(self) -> tuple[object, ...]:
        """What it is of; two numbers of one key contradict or repeat each other."""
        return self.source, self.table, self.setting, self.row, self.dataset, self.shots, self.metric

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What tells rows of one table apart: group, method, venue, frames."""
        return self.group, self.method, self.venue, self.frames


@dataclass(frozen=True)
class PublishedTable:
    """A published table: its numbers, where it stands, and its protocol.

    Attributes:
        name: for `petl-bench show published:NAME`.
        table: as in the column `table` of the file of numbers.
        sources: as in the column `source`, more than one if the table was gathered from several publications.
        where: address or paper, and place in it.
        protocol: of all rows.
        exceptions: method -> the protocol of its rows, if it differs.
        caveats: further facts that change how the numbers read, each one short sentence without a full stop.
        numbers: in the order of the file.
        file: the file that they were read from.
    """

    name: str
    table: str
    sources: tuple[str, ...]
    where: str
    protocol: Protocol
    exceptions: Mapping[str, Protocol]
    caveats: tuple[str, ...]
    numbers: tuple[PublishedNumber, ...]
    file: Path

    @property
    def setting(self) -> str:
        """The setting of its numbers."""
        return self.numbers[0].setting

    @property
    def datasets(self) -> list[str]:
        """Its data sets, in order; numbers that are of none, such as trained parameters, aside."""
        return list(dict.fromkeys(number.dataset for number in self.numbers if number.dataset))

    @property
    def methods(self) -> list[str]:
        """Its methods, in order."""
        return list(dict.fromkeys(number.method for number in self.numbers))

    def rows(self) -> dict[tuple[str, str, str, str], list[PublishedNumber]]:
        """The numbers by row, in order."""
        found: dict[tuple[str, str, str, str], list[PublishedNumber]] = {}
        for number in self.numbers:
            found.setdefault(number.row, []).append(number)
        return found

    def protocol_of(self, method: str) -> Protocol:
        """How the rows of a method were obtained."""
        return self.exceptions.get(method, self.protocol)

    def by_fact(self, name: str, methods: Iterable[str] | None = None) -> dict[str, list[str]]:
        """The values of one field of the protocol, each with the methods that have it; `methods`: of these alone."""
        found: dict[str, list[str]] = {}
        for method in self.methods if methods is None else methods:
            found.setdefault(str(getattr(self.protocol_of(method), name)), []).append(method)
        return found
