"""What `petl-bench tune` is asked for beside the options of `run`: flags, or the `[tuning]` table of a spec file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from petl_bench.api.options import text_of
from petl_bench.api.tuning import PARTITION_OF, Objective, partition_name
from petl_bench.api.values.fields import Count, Limits, convert, field_types, refuse_unknown
from petl_bench.errors import UsageError

_SEE = "petl-bench tune --help"
#: Proposals, partitions: more are a mistake of typing.
_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """The budget of every method, and how it is spent."""

    trials: Annotated[int, Limits(maximum=_MOST)]  #: proposals for each method, the recipe among them
    objective: Objective = "held-out"
    draws: Annotated[int, Limits(1, _MOST)] = 1  #: partitions of the training clips for each case
    round_size: Annotated[int, Limits(1, _MOST)] = 4  #: proposals that are made together
    seed: Count = 0  #: of the sampler
    tuning_seeds: tuple[Count, ...] | None = None  #: of the trials; none: as many as the run has, the next ones
    space: tuple[str, ...] = ()  #: NAME.FIELD=LOW..HIGH[:log|:linear] or NAME.FIELD=a,b,c

    def __post_init__(self) -> None:
        if self.trials < 2:
            raise UsageError(f"--trials {self.trials}: the first proposal is the recipe itself; give at least 2")
        if self.tuning_seeds == ():
            raise UsageError("--tuning-seeds: give at least one, e.g. --tuning-seeds 3-5")

    @property
    def partitions(self) -> tuple[str, ...]:
        """What the trials are made on (`Trial.tuning`)."""
        return tuple(partition_name(PARTITION_OF[self.objective], draw) for draw in range(self.draws))

    def arguments(self) -> Iterator[str]:
        """The flags that ask for the same."""
        for option in dataclasses.fields(self):
            value, flag = getattr(self, option.name), f"--{option.name.replace('_', '-')}"
            if option.name == "space":
                for each in value:
                    yield from (flag, each)
            elif value != option.default:
                yield from (flag, text_of(value))

    def seeds(self, of_run: Sequence[int]) -> tuple[int, ...]:
        """Seeds of the trials for a run with these seeds. The next ones by default: a value that was chosen on the
        very draws of training clips that the run trains on has an advantage over one that was not searched there."""
        after = max(of_run) + 1
        return self.tuning_seeds or tuple(range(after, after + len(of_run)))


def tuning_options(flags: Mapping[str, Any], table: Mapping[str, Any], file: Path | None) -> TuningOptions:
    """The options from flags that were given (those that are None were not), which win, and the table of a file.

    Raises UsageError for an unknown key, a value of the wrong kind, and without a number of trials.
    """
    refuse_unknown(table, TuningOptions, f"key in {file}, [tuning]", _SEE)
    values = {name: _space_texts(value, file) if name == "space" else value for name, value in table.items()}
    values |= {name: value for name, value in flags.items() if value is not None}
    if "trials" not in values:
        raise UsageError(f"no budget given: --trials N, the number of proposals for each method. See: {_SEE}")
    kinds = field_types(TuningOptions)
    converted = {name: convert(kinds[name], value, f"--{name.replace('_', '-')}") for name, value in values.items()}
    return TuningOptions(**converted)


def _space_texts(table: Any, file: Path | None) -> list[str]:
    if not isinstance(table, dict) or not all(isinstance(value, (str, list)) for value in table.values()):
        raise UsageError(f'{file}: tuning.space: expected texts or lists, such as {{ "lora.rank" = "4,8,16" }}')
    return [f"{name}={text_of(value)}" for name, value in table.items()]
