"""What an exported file says of the record of its trial. It is written to be shared: no paths, machines or clips."""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from petl_bench.api.registry import BACKBONES, DATASETS
from petl_bench.api.trial import Trial
from petl_bench.api.values.fields import Count, Form, Limits, check_of
from petl_bench.errors import PetlBenchError
from petl_bench.records.layout import TRAIN_LIST
from petl_bench.records.read import read_predictions

_Text = Annotated[str, Form(r"(?s).{0,2000}", "a text of at most 2000 characters")]
_Number = Annotated[float, Limits(-1e300, 1e300)]
#: Fields of a record that are taken as they are.
_AS_RECORDED = ("metrics", "marks", "coverage", "train_clips", "trainable_params", "created", "petl_bench")
#: Parts of notes that name a clip or a recording as an example (`petl_bench.training.preparation`).
_NAMING_A_CLIP = ("the first: ", "clips were read with a remark")
_ENVIRONMENT = ("python", "software", "device")


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The form of a claimed record, for checks of files that others wrote."""

    metrics: Mapping[_Text, _Number]
    marks: tuple[_Text, ...]
    coverage: Mapping[_Text, Mapping[_Text, Count]]
    train_clips: Mapping[_Text, Count]
    trainable_params: Count
    created: _Text
    petl_bench: _Text
    notes: tuple[_Text, ...]
    environment: Mapping[_Text, _Text]
    licences: Mapping[_Text, _Text]
    adapter_sha256: _Text
    variants: Mapping[_Text, Mapping[_Text, _Number]] = field(default_factory=dict)


def claimed(folder: Path, record: Mapping[str, Any], trial: Trial, adapter_sha256: str) -> dict[str, Any]:
    """What a finished trial's record says, for a file that leaves this machine.

    Args:
        folder: Of the trial.
        record: Its record.
        trial: The same.
        adapter_sha256: Of its adapter; "" if it trained nothing.
    """
    environment = {name: record["environment"][name] for name in _ENVIRONMENT if name in record["environment"]}
    values = {
        **{name: record[name] for name in _AS_RECORDED},
        "environment": environment,
        "notes": shareable_notes(record["notes"], _clips(folder, record)),
        "licences": licences(trial),
        "adapter_sha256": adapter_sha256,
    }
    return {**values, "variants": record["variants"]} if "variants" in record else values


def fault_of_claim(values: Any) -> str:
    """Why values are no claimed record, to be put after its name; "" if they are one."""
    return check_of(Claimed)(values)


def shareable_notes(notes: Iterable[str], clips: Iterable[str]) -> list[str]:
    """The notes that name no path, machine, user or clip."""
    people = [rf"\b{re.escape(each)}\b" for each in (platform.node(), _user()) if each]
    private = re.compile("|".join([r"[/\\]", *_NAMING_A_CLIP, *people]))
    kept = [note for note in notes if not private.search(note)]
    named = set(clips) if kept else set()
    return [note for note in kept if not any(clip in note for clip in named)]


def paths_in(trial: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values of a trial that enter its key, and are paths of files, each with the name of its option."""
    for option, text in _texts({name: values for name, values in trial.items() if name != "locations"}):
        if _is_path(text):
            yield option, text


def licences(trial: Trial) -> dict[str, str]:
    """The licences of the trial's data set and of its weights, as far as their plugins state them."""
    found = {}
    with suppress(PetlBenchError):
        found["data set"] = DATASETS.get(trial.data_plugin).licence
    with suppress(PetlBenchError):
        published = BACKBONES.get(trial.backbone).published
        found["weights"] = next((each.licence for each in published if _is(each, trial)), "")
    return {name: licence for name, licence in found.items() if licence}


def _is(published: Any, trial: Trial) -> bool:
    return bool(published.sha256 == trial.weights_sha256 or published.file == trial.weights.rpartition("/")[2])


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return ""


def _clips(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """The names of the trial's clips."""
    names: list[str] = []
    for evaluation in record["coverage"]:
        names += map(str, read_predictions(folder, evaluation)["clips"])
    train = folder / TRAIN_LIST
    if train.is_file():
        names += [line.rpartition(" ")[0] for line in train.read_text(encoding="utf-8").splitlines()]
    return [name for name in names if name]


def _texts(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain values, with the field that it is in."""
    if isinstance(values, str):
        yield name, values
    elif isinstance(values, Mapping):
        for part, value in values.items():
            yield from _texts(value, f"{name}.{part}".removeprefix("."))
    elif isinstance(values, list):
        for value in values:
            yield from _texts(value, name)


def _is_path(text: str) -> bool:
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or text.startswith("~")
    return absolute or (("/" in text or "." in text) and _is_file(text))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False
