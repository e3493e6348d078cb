"""What the commands of `petl-bench data` have in common: which data set, under which root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from petl_bench.api.dataset import Dataset
    from petl_bench.data.found.manifest import Manifest

_OPTIONS = (
    click.argument("dataset", metavar="DATASET|NAME=DIR"),
    click.option("--data-root", metavar="DIR", type=click.Path(path_type=Path), help="Folder with lists and videos."),
    click.option(
        "--set", "texts", multiple=True, metavar="NAME.FIELD=VALUE", help="A field of the data set. Repeatable."
    ),
    click.option("--plugin", "plugins", multiple=True, metavar="FILE.py", help="A plugin file to load. Repeatable."),
)


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument DATASET and the options that say how it is read."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_manifest(
    text: str, data_root: Path | None, texts: Sequence[str], plugins: Sequence[str]
) -> tuple[Dataset, Manifest]:
    """The data set (or NAME=DIR) and what of it is there, with progress on stderr. Raises UsageError, DataError."""
    from petl_bench.cli.progress import showing_progress
    from petl_bench.data.found.manifest import build_manifest
    from petl_bench.system.cache import cache_folder

    dataset = chosen_dataset(text, texts, plugins)
    root = dataset.root(None if data_root is None else data_root.expanduser())
    with showing_progress() as notify:
        return dataset, build_manifest(dataset, root, cache_folder(), notify)


def chosen_dataset(text: str, texts: Sequence[str], plugins: Sequence[str]) -> Dataset:
    """The data set, or the folder in NAME=DIR, with its `--set` fields and with plugins loaded.

    Raises UsageError, PluginError.
    """
    from petl_bench.api.named_folders import PLUGIN, folders_of, name_of
    from petl_bench.api.registry import load_plugin_file
    from petl_bench.running.planning.spec import Spec
    from petl_bench.running.planning.values import Overrides

    for file in plugins:
        load_plugin_file(file)
    name, folders = name_of(text), folders_of([text], "data set")
    shown = PLUGIN if folders else name
    for each in texts:
        owner, dot, _ = each.partition("=")[0].strip().rpartition(".")
        if "=" not in each or not dot or owner not in {name, shown}:
            raise UsageError(f"--set {each}: expected {name}.FIELD=VALUE (petl-bench show {shown})")
    # A spec without methods is none; which they are plays no part here.
    return Overrides(Spec(methods=("any",), datasets=(text,), set=tuple(texts))).dataset(name)
