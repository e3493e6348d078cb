"""What `petl-bench tune` leaves in a folder of runs: one file per tuned method in `tunings/`.

Being tuned changes no key of a trial: whether the values of a trial were chosen by a tuning is asked here. Without
torch and pandas.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petl_bench.api.training_options import WITHOUT_EFFECT
from petl_bench.api.trial import canonical_json
from petl_bench.api.tuning import Objective, training_field
from petl_bench.api.values.fields import Count, Form, Limits
from petl_bench.records.schema import fields_of
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, read_json, tell_unusable

#: The folder of these files, below a folder of runs.
TUNINGS = "tunings"
#: Raised when the meaning of a field changes; readers refuse what they do not know.
SCHEMA = 1

#: Training options in which a trial with chosen values may differ from what its tuning names: they train nothing else.
_BESIDES = (*WITHOUT_EFFECT, "views", "crops")
#: Fields of a trial that must be those of its tuning, besides the configuration.
_SAME = ("method", "setting", "backbone", "weights_sha256")

_Key = Annotated[str, Form("[0-9a-f]{64}", "the key of a trial")]
_Percent = Annotated[float, Limits(0, 100)]
_Single = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One point of a method's space, and what it came to on held-out training clips."""

    number: Count  #: from 0; 0 is the recipe
    round: Count  #: from 0; the proposals of a round are made together, from finished rounds alone
    #: field of the method, or "training.FIELD" -> value
    values: Mapping[str, _Single | Sequence[_Single]]
    trials: Sequence[_Key] = ()  #: keys of its trials: one for each case and draw
    objective: _Percent | None = None  #: percent; None if it is not finished, or failed
    metrics: Mapping[str, _Percent] = dataclasses.field(default_factory=dict)  #: means over its trials, in percent
    fault: str = ""  #: why it has no objective, if its trials ended


@dataclass(frozen=True, kw_only=True)
class Applied:
    """One configuration that the chosen values give: a trial with it, of any split and seed, is a tuned one."""

    dataset: str
    hyper_parameters: Mapping[str, Any]
    training: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The tuning of one method: what decides it, how far it is, and what was chosen."""

    method: str
    method_version: str
    setting: str
    setting_options: Mapping[str, Any]
    datasets: Sequence[str]
    backbone: str
    backbone_options: Mapping[str, Any]
    weights_sha256: str
    objective: Objective
    budget: Annotated[int, Limits(2)]  #: proposals, the recipe among them
    splits: Sequence[str]
    shots: Sequence[Count]
    seeds: Sequence[Count]  #: of its trials; every proposal is trained on each of them
    draws: Annotated[int, Limits(1)]  #: partitions of the training clips for each case
    round_size: Annotated[int, Limits(1)]
    sampler: str  #: what makes the proposals, with its version
    seed: Count  #: of the sampler
    space: Mapping[str, str]  #: name -> range or choice, as `--space` takes it
    base: str = ""  #: identity of everything else that decides its trials
    proposals: Sequence[Proposal] = ()
    chosen: Count | None = None  #: number of the proposal with the best objective; None before the tuning has ended
    applied: Sequence[Applied] = ()  #: what the chosen values give
    command: str = ""  #: that made it

    @property
    def identity(self) -> str:
        """sha256 of what decides the proposals and what they come to."""
        progress = ("proposals", "chosen", "applied", "command")
        values = {name: value for name, value in vars(self).items() if name not in progress}
        return hashlib.sha256(canonical_json(values).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What its file is called, without the suffix."""
        return self.identity[:16]

    @property
    def best(self) -> Proposal | None:
        """The proposal that was chosen; None before the tuning has ended."""
        return next((each for each in self.proposals if each.number == self.chosen), None)

    @property
    def trainings(self) -> int:
        """How many trials were trained for it so far."""
        return len({key for each in self.proposals for key in each.trials})

    def gave(self, trial: Mapping[str, Any]) -> bool:
        """Whether a trial (its fields, as recorded) has the values that were chosen here, in the same setting, data
        set and backbone; its split, shots and seed may be others."""
        found = Applied(
            dataset=trial["dataset"], hyper_parameters=trial["hyper_parameters"], training=trial["training"]
        )
        options = canonical_json(trial.get("backbone_options", {}))
        return (*(trial[name] for name in _SAME), options, _plain(found)) in self.places

    @property
    def places(self) -> set[tuple[str, ...]]:
        """What trials must have for its values to be theirs: the fields of `_SAME`, the backbone's
        options, and one of what is applied."""
        if self.chosen is None:
            return set()
        own = (*(getattr(self, name) for name in _SAME), canonical_json(self.backbone_options))
        return {(*own, _plain(each)) for each in self.applied}


#: Fields of a tuning that are lists of dataclasses.
_PARTS = {"proposals": Proposal, "applied": Applied}


def tuning_file(runs: Path, tuning: Tuning) -> Path:
    """Where a tuning is stored."""
    return runs / TUNINGS / f"{tuning.name}.json"


def write_tuning(runs: Path, tuning: Tuning) -> None:
    """Store a tuning as far as it is. Raises StoreError if it cannot be written."""
    parts = {name: [vars(each) for each in getattr(tuning, name)] for name in _PARTS}
    values = {"schema": SCHEMA, **vars(tuning), **parts}
    path = tuning_file(runs, tuning)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())


def read_tunings(runs: Path) -> Iterator[Tuning]:
    """The tunings of a folder of runs, in the order of their files; what cannot be used is named, and left out."""
    for path in sorted((runs / TUNINGS).glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            yield read_tuning(path)
        except (UnusableError, FileNotFoundError) as error:
            tell_unusable(path, str(error))


def read_tuning(path: Path) -> Tuning:
    """The tuning in a file. Raises UnusableError, and FileNotFoundError if there is none."""
    return parse_tuning(read_json(path, LARGE), path.stem)


def parse_tuning(values: Any, name: str) -> Tuning:
    """The tuning of this name from the values of its file. Raises UnusableError if they are none."""
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise UnusableError("not a tuning that this version of petl-bench reads")
    fields = fields_of(values, Tuning, without=_PARTS)
    for part, kind in _PARTS.items():
        found = values.get(part, [])
        if not isinstance(found, list):
            raise UnusableError(f"damaged: {part} is no list")
        fields[part] = tuple(kind(**fields_of(each, kind)) for each in found)
    tuning = Tuning(**fields)
    try:
        own = tuning.name
    except (RecursionError, UnicodeEncodeError) as error:
        raise UnusableError("damaged: nested too deeply, or with a text that is none") from error
    if own != name:
        raise UnusableError("it belongs to another name: a copied or changed file is not read")
    if fault := _fault(tuning):
        raise UnusableError(f"damaged: {fault}")
    return tuning


def _fault(tuning: Tuning) -> str:
    """How proposals and choice contradict each other; "" if they do not."""
    numbers = [each.number for each in tuning.proposals]
    if len(set(numbers)) < len(numbers) or len(numbers) > tuning.budget:
        return f"{len(numbers)} proposals, some with the same number or beyond the budget of {tuning.budget}"
    if tuning.chosen is None:
        return "it applies values that were not chosen" if tuning.applied else ""
    objectives = [each.objective for each in tuning.proposals if each.objective is not None]
    if tuning.best is None or tuning.best.objective is None or tuning.best.objective < max(objectives):
        return f"proposal {tuning.chosen} is chosen, which is not there, or not the best"
    if not all(_has(each, tuning.best.values) for each in tuning.applied):
        return "the values that it applies are not those that were chosen"
    return ""


def _has(applied: Applied, values: Mapping[str, Any]) -> bool:
    """Whether a configuration has these values; one that lacks a field has its default."""
    for name, value in values.items():
        option = training_field(name)
        own = applied.training if option else applied.hyper_parameters
        if own.get(option or name, value) != value:
            return False
    return True


def read_distinct(folders: Iterable[Path]) -> list[Tuning]:
    """Each tuning of some folders of runs once, in the order of their names: the copy that is furthest, of equal ones
    the first. Copies that it does not go on from are named, and left out."""
    copies = [(tuning_file(folder, each), each) for folder in folders for each in read_tunings(folder)]
    furthest: dict[str, Tuning] = {}
    for _, each in copies:
        known = furthest.setdefault(each.name, each)
        if _progress(each) > _progress(known):
            furthest[each.name] = each
    for path, each in copies:
        if not extends(furthest[each.name], each):
            tell_unusable(path, "another copy of this tuning is read, with other proposals or objectives")
    return [furthest[name] for name in sorted(furthest)]


def extends(one: Tuning, other: Tuning) -> bool:
    """Whether a copy of a tuning holds all that another copy of it holds: the same proposals, as far as that one is,
    and the same choice, if that one has made it."""
    own = {each.number: each for each in one.proposals}
    same = all(each.number in own and _continues(own[each.number], each) for each in other.proposals)
    return same and other.chosen in (None, one.chosen) and all(each in one.applied for each in other.applied)


def chosen_values(tunings: Iterable[Tuning]) -> Mapping[tuple[str, ...], Sequence[str]]:
    """The names of the tunings that chose some values, by what `place_of` gives for a trial that has these values."""
    found: dict[tuple[str, ...], list[str]] = {}
    for each in tunings:
        for place in each.places:
            found.setdefault(place, []).append(each.name)
    return found


@functools.lru_cache(maxsize=10_000)  # trials of one configuration, and the metrics of a trial, share theirs
def place_of(
    method: str,
    setting: str,
    backbone: str,
    weights_sha256: str,
    backbone_options: str,
    dataset: str,
    hyper_parameters: str,
    training: str,
) -> tuple[str, ...]:
    """The key of a trial in `chosen_values`, from the columns of a frame of records (options and values are canonical
    JSON)."""
    applied = Applied(dataset=dataset, hyper_parameters=json.loads(hyper_parameters), training=json.loads(training))
    return method, setting, backbone, weights_sha256, backbone_options, _plain(applied)


def _plain(applied: Applied) -> str:
    training = {name: value for name, value in applied.training.items() if name not in _BESIDES}
    return canonical_json({**vars(applied), "training": training})


def _progress(tuning: Tuning) -> tuple[int, bool, int]:
    ended = sum(each.objective is not None or bool(each.fault) for each in tuning.proposals)
    return ended, tuning.chosen is not None, len(tuning.applied)


def _continues(one: Proposal, other: Proposal) -> bool:
    """Whether a proposal is another copy of the same one, at least as far."""
    if one.values != other.values or one.round != other.round:
        return False
    ended = other.objective is not None or bool(other.fault)
    return not ended or (one.objective, one.fault) == (other.objective, other.fault)
