"""What the user asked for: from flags, from a TOML file with the same names, or both (flags win)."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from petl_bench.api.options import text_of
from petl_bench.api.training_options import Precision, Select, TrainingOptions
from petl_bench.api.trial import KeepAdapters, canonical_json
from petl_bench.api.values.fields import TOO_LARGE, Limits, check_of, convert, field_types, refuse_unknown
from petl_bench.api.values.flag_lists import expand_ranges, join_list, set_value, split_list, whole_numbers
from petl_bench.api.values.named_folders import folders_of
from petl_bench.errors import UsageError
from petl_bench.system.commands import run_command, tune_command
from petl_bench.system.stored_json import SMALL
from petl_bench.system.texts import has_controls

#: Without `--backbone`: the backbone of a run, and the one of those methods that it does not host.
DEFAULT_BACKBONE, FRAME_BACKBONE = "viclip-tiny", "clip-tiny"
#: In `--methods`: every method that the setting supports and the backbone hosts.
ALL = "all"
SEE = "petl-bench run --help"
#: In a file, the table of what `petl-bench tune` is asked for besides.
_TUNING = "tuning"
#: Flags that say the same as `--set training.FIELD`.
_TRAINING_FLAGS = ("epochs", "batch_size", "select", "precision")

Decoder = Literal["auto", "decord", "pyav", "torchcodec"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run as the user asked for it. None means: not said, so recipes and defaults decide."""

    methods: tuple[str, ...] = ()
    setting: str = "base2novel"
    datasets: tuple[str, ...] = ("motion",)  #: names of data sets, and folders of one's own as NAME=DIR
    backbone: str | None = None
    weights: str = "auto"
    data_root: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    splits: tuple[str, ...] | None = None
    shots: tuple[int, ...] | None = None
    forgetting: tuple[str, ...] = ()  #: data sets (or NAME=DIR) that adapted models are evaluated on besides
    source: str | None = None  #: data set (or NAME=DIR) to adapt on, if the setting evaluates on others
    set: tuple[str, ...] = ()  #: NAME.FIELD=VALUE
    variants: tuple[tuple[str, ...], ...] = ()  #: alternatives, each with values of its own: NAME.FIELD=VALUE
    epochs: Annotated[int, Limits(0)] | None = None
    batch_size: Annotated[int, Limits(1)] | None = None
    select: Select | None = None
    precision: Precision | None = None
    decoder: Decoder = "auto"
    device: Device = "auto"
    launcher: str = "local"
    workers: Annotated[int, Limits(0)] | None = None
    profile: str | None = None
    plugin: tuple[str, ...] = ()
    output: str = "runs"
    keep_adapters: KeepAdapters = "all"
    track: tuple[str, ...] = ()  #: trackers that are told of progress and metrics
    force: bool = False

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError(f"no method given: --methods a,b (petl-bench list methods). See: {SEE}")
        if not self.seeds:
            raise UsageError("--seeds: give at least one, e.g. --seeds 0,1,2")
        if not self.datasets:
            raise UsageError("--datasets: give at least one (petl-bench list datasets)")
        for name, kind in field_types(Spec).items():
            if fault := check_of(kind)(getattr(self, name)):
                raise UsageError(f"{_flag(name)} {fault.removeprefix('=')}")
        if not all(0 <= seed < TOO_LARGE for seed in self.seeds):
            raise UsageError(f"--seeds: a seed is a whole number from 0 to {TOO_LARGE - 1}")
        if not self.output:
            raise UsageError("--output: the name is empty; for this folder itself: --output .")
        self._refuse_controls()
        self.folders()
        for part in self.parts():
            part._refuse_contradictions()

    @property
    def backbone_name(self) -> str:
        """The backbone that was said, or the default one."""
        return DEFAULT_BACKBONE if self.backbone is None else self.backbone

    def folders(self) -> dict[str, str]:
        """The folders of one's own among all of its data sets: name -> DIR. Raises UsageError."""
        found = folders_of(self.datasets)
        for flag, texts in (("--source", [self.source or ""]), ("--forgetting", self.forgetting)):
            for name, folder in folders_of(texts, flag).items():
                if found.setdefault(name, folder) != folder:
                    raise UsageError(f"{flag} {name}={folder}: --datasets gives the name {name!r} to {found[name]}")
        return found

    def parts(self) -> list[Spec]:
        """This spec once for each variant, with that variant's values; itself if it has none."""
        if not self.variants:
            return [self]
        return [dataclasses.replace(self, set=(*self.set, *variant), variants=()) for variant in self.variants]

    def overrides(self) -> dict[str, dict[str, str]]:
        """The values of `--set` as `{plugin: {field: text}}`; a later one wins."""
        return set_values(self.set)

    def _refuse_controls(self) -> None:
        """Raise UsageError for a name or value with a line end, an escape or NUL in it: none of ours has one."""
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            for text in _texts_in(value):
                if has_controls(text):
                    raise UsageError(
                        f"{_flag(option.name)} {text!r}: a line end or another control character cannot be in it"
                    )

    def _refuse_contradictions(self) -> None:
        """Raise UsageError if a flag and a value of `--set` say different things about one option."""
        overrides = self.overrides()
        for name in _TRAINING_FLAGS:
            text, flag = overrides.get("training", {}).get(name), getattr(self, name)
            if text is not None and flag is not None and TrainingOptions.parse({name: text})[name] != flag:
                raise _contradiction(f"{_flag(name)} {flag}", f"training.{name}={text}")
        source = overrides.get(self.setting, {}).get("source")
        if source is not None and self.source not in (None, source):
            raise _contradiction(f"--source {self.source}", f"{self.setting}.source={source}")

    def command(self) -> str:
        """The command that asks for the same run, with what differs from the defaults."""
        return run_command(self.arguments())

    @property
    def identity(self) -> str:
        """sha256 of everything that decides which trials there are; not of how they are run."""
        values = dataclasses.asdict(self)
        for name in ("device", "launcher", "workers", "profile", "output", "keep_adapters", "track", "force"):
            del values[name]
        if not self.forgetting:  # as in plans that were saved before it was there
            del values["forgetting"]
        return hashlib.sha256(canonical_json(values).encode()).hexdigest()

    def arguments(self) -> Iterator[str]:
        """The flags of that command."""
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            flag = _flag(option.name)
            if option.name == "force" or value == option.default:
                continue
            if option.name in ("set", "plugin"):
                for item in value:
                    yield from (flag, item)
            elif option.name == "variants":
                for variant in value:
                    yield from (flag, shlex.join(variant))
            else:
                yield from (flag, join_list(value) if isinstance(value, tuple) else text_of(value))


#: The fields that are lists, for which a file may have one value.
_LISTS = {
    name
    for name, kind in field_types(Spec).items()
    if tuple in [typing.get_origin(each) for each in (kind, *typing.get_args(kind))]
}


def _flag(name: str) -> str:
    """The flag of a field."""
    return "--variant" if name == "variants" else f"--{name.replace('_', '-')}"


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _texts_in(each)


def _contradiction(flag: str, value: str) -> UsageError:
    return UsageError(f"{flag} and {value} (in --set, --variant or the file) contradict each other: leave one out")


def set_values(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """NAME.FIELD=VALUE as `{name: {field: text}}`; a later one wins. Raises UsageError for a text of another form."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        name, option, value = set_value(text)
        found.setdefault(name, {})[option] = value
    return found


# A file


def read_spec(flags: Mapping[str, Any], file: Path | None) -> Spec:
    """A Spec from the flags that were given (those that are None were not) and a TOML file. Flags win; `set` adds up.

    Raises UsageError for a file that cannot be read, an unknown key, or a value of the wrong kind; and for one with a
    `[tuning]` table, which is not for `run`.
    """
    spec, tuning = read_tuning_spec(flags, file)
    if tuning:
        raise UsageError(f"{file}: it has a [tuning] table; type: {tune_command(['--spec', str(file)])}")
    return spec


def read_tuning_spec(flags: Mapping[str, Any], file: Path | None) -> tuple[Spec, dict[str, Any]]:
    """The same, and what the file's table `[tuning]` has, as it stands there."""
    given = {name: value for name, value in flags.items() if value is not None}
    table = {} if file is None else load_toml(file, "--spec")
    tuning = table.pop(_TUNING, {})
    if not isinstance(tuning, dict):
        raise UsageError(f"{file}: tuning: expected a table, [tuning] with trials = 8")
    values = _spec_values(table, file) if file else {}
    merged = {**values, **given}
    if "set" in values and "set" in given:
        merged["set"] = (*values["set"], *given["set"])
    return Spec(**merged), tuning


def _spec_values(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    refuse_unknown(table, Spec, f"key in {path}", SEE)
    taken_apart = {"set": _set_texts, "variants": _variants}
    return {
        name: tuple(taken_apart[name](value, path)) if name in taken_apart else _value(name, value, f"{path}: {name}")
        for name, value in table.items()
    }


def _variants(value: Any, path: Path) -> Iterator[tuple[str, ...]]:
    """`variants` is a list of tables with the form of `set`: `[[variants]]` with `lora.rank = 8`."""
    if not isinstance(value, list) or not all(isinstance(item, (dict, list)) for item in value):
        raise UsageError(f"{path}: variants: expected tables such as [[variants]] with lora.rank = 8")
    for item in value:
        yield tuple(_set_texts(item, path))


def parse_variants(texts: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The values of `--variant`: `NAME.FIELD=VALUE` with blanks between them, quoted as in a shell."""
    try:
        return tuple(tuple(shlex.split(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"--variant: {error}; expected NAME.FIELD=VALUE with blanks between") from error


def load_toml(path: Path, flag: str) -> dict[str, Any]:
    """The table in a TOML file that the user named with `flag`. Raises UsageError if it cannot be read."""
    try:
        with path.expanduser().open("rb") as file:  # which may be a pipe
            content = file.read(SMALL + 1)
        if len(content) > SMALL:
            raise UsageError(f"{flag} {path}: larger than {SMALL:,} bytes")
        return tomllib.loads(content.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path}: {getattr(error, 'strerror', None) or error}") from error
    except RecursionError as error:
        raise UsageError(f"{flag} {path}: nested too deeply") from error
    except ValueError as error:  # also a number of more digits than Python reads
        raise UsageError(f"{flag} {path}: not valid TOML: {error}") from error


def _set_texts(value: Any, path: Path) -> Iterator[str]:
    """`set` is a list of texts, or tables: `[set.lora]` with `rank = 8`, `[set.lora.training]` with `epochs = 3`."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield from value
        return
    if not isinstance(value, dict):
        raise UsageError(f"{path}: set: expected tables such as [set.lora], or a list of NAME.FIELD=VALUE")
    for name, setting in _flat(value):
        yield f"{name}={text_of(setting)}"


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of nested tables, by their names with dots between."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in _flat(value))
        else:
            yield name, value


def _value(name: str, value: Any, label: str) -> Any:
    """A TOML value as a Spec's field; a text for a list is what the flag takes."""
    if name in ("methods", "datasets", "forgetting", "seeds", "splits", "shots", "track") and isinstance(value, str):
        value = list(split_list(value, label))
    if name in ("seeds", "splits", "shots") and isinstance(value, list):
        value = [one for item in value for one in _numbers_in(item, label, texts=name == "splits")]
    if name in _LISTS and not isinstance(value, list):
        value = [value]
    return convert(field_types(Spec)[name], value, label)


def _numbers_in(item: Any, label: str, texts: bool) -> tuple[Any, ...]:
    if not isinstance(item, str):
        return (item,)
    return expand_ranges([item], label) if texts else whole_numbers([item], label)
