"""`--adapter`, as several commands have it: a trial of `--runs`, an imported adapter, a file, or one of the Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.errors import UsageError
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.system.texts import clean, shortened

if TYPE_CHECKING:
    from petl_bench.inference.subject import Subject

#: Of adapter files and released checkpoints; no title of a trial ends with one.
_SUFFIXES = (".safetensors", ".pth", ".pt")


def adapter_option(*, required: bool) -> Callable[[Any], Any]:
    """`--adapter`; if it is not required, the frozen backbone is used without it."""
    without = "" if required else " Without it: the frozen backbone."
    return click.option(
        "--adapter",
        required=required,
        metavar="TRIAL|FILE",
        help="A trial of --runs (the beginning of its key, or words of its title), its folder, an adapter file, or "
        f"hf:USER/NAME.{without}",
    )


def subject_of(adapter: str, runs: Path, weights: str | None) -> Subject:
    """What `--adapter` means: a file, the folder of a trial, a trial of the runs, an imported one, or one of the Hub
    (hf:USER/NAME[@REVISION]), whose commit is noted."""
    from petl_bench.hub.address import is_address
    from petl_bench.inference.opening import adapted

    return _of_hub(adapter, weights) if is_address(adapter) else adapted(place_of(adapter, runs), weights)


def place_of(adapter: str, runs: Path) -> Path:
    """The file or the folder that `--adapter` means; a trial that is not here may be one that was imported."""
    from petl_bench.hub.address import is_address

    if is_address(adapter):
        from petl_bench.hub.download import adapter_file

        return adapter_file(adapter)[0]
    if place := _place(adapter):
        return place
    from petl_bench.managing.lookup import find_trial, titles
    from petl_bench.sharing.imported import adapters_by_key, is_usable

    imported = adapters_by_key(runs)
    known = titles(runs)
    key = find_trial({**{key: each.title for key, each in imported.items()}, **known}, adapter, runs)
    folder = trial_folder(runs, key)
    return imported[key].file if key in imported and not is_usable(folder) else folder


def subject_or_frozen(adapter: str | None, runs: Path, backbone: str, weights: str | None) -> Subject:
    """What `--adapter` means; without it the frozen backbone."""
    from petl_bench.inference.subject import frozen_backbone

    return frozen_backbone(backbone, weights) if adapter is None else subject_of(adapter, runs, weights)


def _of_hub(adapter: str, weights: str | None) -> Subject:
    from petl_bench.hub.download import adapter_file
    from petl_bench.inference.opening import adapted

    file, commit = adapter_file(adapter)
    subject = adapted(file, weights)
    return replace(subject, notes=(f"the adapter is {adapter}, commit {commit}", *subject.notes))


def _place(adapter: str) -> Path | None:
    """The adapter file, or the folder of a finished trial, at a path; None if this may be words of a title.

    Raises:
        UsageError: This can only be a path, and there is neither.
    """
    place = Path(adapter).expanduser()
    try:
        if place.is_file() or (place / RECORD).is_file():
            return place.resolve()
    except (OSError, ValueError):  # too long, or with a NUL
        pass
    if len(place.parts) > 1 or place.suffix in _SUFFIXES:
        name = clean(shortened(adapter, 200))
        raise UsageError(f"--adapter {name}: there is neither an adapter file nor the folder of a finished trial")
    return None
