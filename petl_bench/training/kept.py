"""Scores and features of lists of clips that a trial has computed so far, in a file for the next attempt.

A list is cut into batches before anything is read (data/loading/batches.py), and what is kept of it are whole batches,
from the first one on. So every batch is computed together with the clips that it has in a trial that was never stopped,
and its values are the same, bit for bit. A clip counts as what it was when its batch was computed: it has values, or it
could not be read, and is not tried again.

N rows of a list, W numbers for each: scores of classes, or a feature.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.dataset import Sample
from petl_bench.api.trial import Stop, canonical_json
from petl_bench.data.loading.batches import ClipLoader, Findings
from petl_bench.errors import TrialStopped
from petl_bench.training.checkpoint import Pace, adapter_content, decide, remove_parts, save_checkpoint
from petl_bench.training.distributed import Team, Then
from petl_bench.training.state import State

#: Raised when the content of the file changes.
FORMAT = 1

#: So many values of this process wait until those of all processes are put together (32 MiB).
_MOST_WAITING = 2**23
#: What a clip's name, and the reason why it cannot be read, may take in the file.
_BYTES_PER_CLIP = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The values [N, W] of those rows of a list that could be read, in its first `batches` batches.

    They are never copied as a whole: there is room behind them for the values that follow.
    """

    batches: int
    rows: list[int]
    values: Tensor

    def and_then(self, parts: Iterable[Part], batches: int, count: int = 0) -> Part:
        """This part, and what all processes computed of the batches that follow; there is room for `count` rows."""
        parts = [part for part in parts if part.rows]
        rows = [*self.rows, *(row for part in parts for row in part.rows)]
        values = self.values
        for part in parts:
            values = _extended(values, part.values, max(count, len(rows)))
        return Part(self.batches + batches, rows, values)

    def in_order(self) -> Part:
        """The same in the order of the list; the values are moved within their memory, some columns at a time."""
        order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
        if order != list(range(len(order))):
            for columns in self.values.split(1024, dim=1):
                columns.copy_(columns[order])
        return Part(self.batches, [self.rows[place] for place in order], self.values)

    def stored(self) -> Tensor:
        """The values without the room behind them, which would be saved too."""
        storage = self.values.untyped_storage()[: self.values.nbytes]
        return self.values.new_empty(0).set_(storage, 0, self.values.shape, self.values.stride())


def _extended(values: Tensor, more: Tensor, count: int) -> Tensor:
    """`values` with `more` rows behind them: in their memory, if there is room, else in new memory for `count` rows."""
    first, last = len(values), len(values) + len(more)
    if not first or values.untyped_storage().nbytes() < last * more[0].nbytes:
        room = more.new_empty(count, *more.shape[1:])
        if first:
            room[:first] = values
    else:
        room = values.as_strided((last, *values.shape[1:]), values.stride())
    room[first:last] = more
    return room[:last]


@dataclass(frozen=True)
class Listed:
    """A list of clips that is gone through, and W."""

    samples: Sequence[Sample]
    width: int
    classes: Sequence[str] = ()  #: those of an evaluation

    @property
    def sha256(self) -> str:
        """Of the clips, their labels and the classes."""
        content = [[[sample.clip, sample.label] for sample in self.samples], list(self.classes)]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def nothing() -> None:
    """Nothing else is to be written first."""


def merged(findings: Iterable[Findings]) -> Findings:
    """What all processes found out about clips, as one: the unreadable ones with the reason, and remarks."""
    unreadable: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for of_process in findings:
        unreadable |= of_process[0]
        remarks |= of_process[1]
    return unreadable, remarks


def state_sha256(state: State) -> str:
    """Hash of what training leaves: of the bytes that its adapter file would have."""
    return hashlib.sha256(adapter_content({}, state)).hexdigest()


@dataclass
class Kept:
    """Goes through lists of clips, and keeps what was computed when the trial is stopped, and at its pace.

    The file holds for one trial, purpose and state; another one's is not used. Every process of `team` makes the same
    calls, and all of them meet after every batch; the first one reads and writes the file, and decides when.
    """

    path: Path
    trial: str  #: its key
    purpose: str  #: e.g. "evaluation": what the lists are gone through for
    lists: Mapping[str, Listed]
    loader: ClipLoader  #: behind the batches; what it found out about clips is kept with them
    pace: Pace
    state: Callable[[], str]  #: hash of what else the values depend on; asked when the file is read or written
    stop: Stop
    team: Team
    before: Callable[[], None] = nothing  #: called in every process before anything is written
    keep_whole: bool = False  #: whether a list is kept as soon as all of it was gone through
    earlier_s: float = 0.0  #: seconds that earlier attempts spent, up to what was kept
    _parts: dict[str, Part] | None = None  #: None until the file was looked for
    _on_disk: bool = False  #: whether anything was kept
    _started: float = field(default_factory=time.monotonic)

    def go_through(
        self, name: str, batches: Callable[[int], Iterable[Part]], tell: Callable[[int], None] = lambda rows: None
    ) -> Part:
        """The values of the whole list `name`, in its order: in the first process, those of all processes.

        `batches(k)` computes the batches from the k-th on, each a Part of this process's rows alone. `tell` is given
        the number of rows that are done. Raises TrialStopped, in all processes, after what was computed was kept.
        """
        part = self._earlier(name)
        new: list[Part] = []
        done, waiting = len(part.rows), 0
        for batch in batches(part.batches):
            new.append(batch)
            done += len(batch.rows) * self.team.seat.count
            tell(done)
            waiting += batch.values.numel()
            then, reason, full = self.team.share((*decide(self.team, self.stop, self.pace), waiting > _MOST_WAITING))
            if then == Then.GO_ON and not full:
                continue
            part, new = self._gathered(name, part, new), []
            done, waiting = len(part.rows), 0
            if then == Then.GO_ON:
                continue
            self._keep()
            if then == Then.STOP:
                raise TrialStopped(reason)
        if new:
            part = self._gathered(name, part, new)
            # If a part had to be kept, the whole is worth keeping too.
            if self.team.share(self.keep_whole or self._on_disk):
                self._keep()
        assert self._parts is not None
        self._parts[name] = part.in_order()
        return self._parts[name]

    def _earlier(self, name: str) -> Part:
        """What earlier attempts computed of a list; in the other processes, only how many batches."""
        if self._parts is None:
            content = self._read() if self.team.first else None
            self._on_disk = content is not None
            self._parts = {} if content is None else _parts_of(content)
            self.earlier_s = 0.0 if content is None else content["seconds"]
            found: Findings = ({}, {}) if content is None else (content["unreadable"], content["remarks"])
            batches = {name: part.batches for name, part in self._parts.items()}
            batches, found = self.team.share((batches, found))
            if not self.team.first:
                self._parts = {name: _empty(count) for name, count in batches.items()}
            self.loader.learn(*found)
        return self._parts.get(name, _empty(0))

    def _read(self) -> dict[str, Any] | None:
        remove_parts(self.path)
        return _read(self.path, self._expected(), self.lists) if self.path.is_file() else None

    def _gathered(self, name: str, part: Part, new: Sequence[Part]) -> Part:
        """The part with what all processes computed since; in the other processes, only how many batches it has."""
        assert self._parts is not None
        of_process = new if self.team.seat.count == 1 else [_empty(0).and_then(new, len(new))]
        everyone = [each for parts in self.team.gather(of_process) for each in parts]
        self._parts[name] = part.and_then(everyone, len(new), len(self.lists[name].samples))
        return self._parts[name]

    def _keep(self) -> None:
        self.before()
        unreadable, remarks = merged(self.team.gather(self.loader.findings()))
        if not self.team.first:
            return
        assert self._parts is not None
        lists = {
            name: {
                "clips": self.lists[name].sha256,
                "batches": part.batches,
                "rows": torch.tensor(part.rows, dtype=torch.int64),
                "values": part.stored(),
            }
            for name, part in self._parts.items()
        }
        with self.pace.writing():
            save_checkpoint(
                self.path,
                {
                    **self._expected(),
                    "lists": lists,
                    "unreadable": unreadable,
                    "remarks": remarks,
                    "seconds": self.earlier_s + time.monotonic() - self._started,
                },
            )
        self._on_disk = True

    def _expected(self) -> dict[str, Any]:
        """What the file must say in order to be this one's."""
        return {"kept": FORMAT, "trial": self.trial, "purpose": self.purpose, "state": self.state()}


def _empty(batches: int) -> Part:
    return Part(batches, [], torch.empty(0))


def _read(path: Path, expected: Mapping[str, Any], lists: Mapping[str, Listed]) -> dict[str, Any] | None:
    """The content of the file, or None if it cannot be used; what is wrong with it is logged."""
    try:
        most = 2**20 + sum(len(each.samples) * (8 * each.width + _BYTES_PER_CLIP) for each in lists.values())
        if path.stat().st_size > most:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, and at most {most:,} are expected")
        content = _loaded(path)
        if not isinstance(content, dict):
            raise ValueError("it holds something else")
        if any(content.get(name) != expected[name] for name in ("kept", "trial")):
            raise ValueError("it belongs to another trial, or another version of petl-bench wrote it")
        if any(content.get(name) != value for name, value in expected.items()):
            return None  # of an earlier epoch: what usually lies here
        _refuse_unfit(content, lists)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is not used, and what it holds is computed anew: %s", path, error)
        return None
    return content


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # there is no end to what torch raises for damaged files
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"it is damaged ({first_line or type(error).__name__})") from error


def _refuse_unfit(content: Mapping[str, Any], lists: Mapping[str, Listed]) -> None:
    """Raise ValueError, KeyError or TypeError if the content is not what is written here."""
    for name in ("unreadable", "remarks"):
        if not isinstance(content[name], dict) or not all(isinstance(text, str) for text in _texts(content[name])):
            raise ValueError(f"{name!r} is damaged")
    if not isinstance(content["seconds"], float) or not 0 <= content["seconds"] < float("inf"):
        raise ValueError("'seconds' is damaged")
    if not isinstance(content["lists"], dict) or not content["lists"].keys() <= lists.keys():
        raise ValueError("it holds other lists of clips")
    for name, values in content["lists"].items():
        _refuse_unfit_list(name, values, lists[name])


def _texts(mapping: Mapping[Any, Any]) -> Iterable[Any]:
    return [*mapping.keys(), *mapping.values()]


def _refuse_unfit_list(name: str, of: Mapping[str, Any], listed: Listed) -> None:
    rows, values, count = of["rows"], of["values"], len(listed.samples)
    if of["clips"] != listed.sha256:
        raise ValueError(f"{name} has other clips")
    if type(of["batches"]) is not int or not 0 <= of["batches"] <= count:
        raise ValueError(f"{name} has no such number of batches")
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.ndim != 1:
        raise ValueError(f"the rows of {name} are damaged")
    if len(rows) and (rows.min() < 0 or rows.max() >= count or len(rows.unique()) < len(rows)):
        raise ValueError(f"the rows of {name} are not those of its list")
    if not isinstance(values, Tensor) or not values.is_floating_point() or len(values) != len(rows):
        raise ValueError(f"the values of {name} are damaged")
    if len(rows) and values.shape != (len(rows), listed.width):
        raise ValueError(f"the values of {name} have the shape {tuple(values.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"a value of {name} is not finite")


def _parts_of(content: Mapping[str, Any]) -> dict[str, Part]:
    return {name: Part(of["batches"], of["rows"].tolist(), of["values"]) for name, of in content["lists"].items()}
