"""What the commands of `petl-bench data` have in common: which data set, under which root, and what is there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from petl_bench.api.dataset import Dataset
    from petl_bench.data.found.manifest import Manifest
    from petl_bench.data.found.scan_results import ScanResults

_OPTIONS = (
    click.argument("dataset", metavar="DATASET|NAME=DIR"),
    click.option(
        "--data-root",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Folder with lists and videos, or hf:datasets/USER/NAME.",
    ),
    click.option(
        "--set", "texts", multiple=True, metavar="NAME.FIELD=VALUE", help="A field of the data set. Repeatable."
    ),
    click.option("--plugin", "plugins", multiple=True, metavar="FILE.py", help="A plugin file to load. Repeatable."),
)


@dataclass(frozen=True)
class DatasetRequest:
    """What the user typed: DATASET (or NAME=DIR), `--data-root`, and the values of `--set` and `--plugin`."""

    text: str
    data_root: Path | None
    texts: Sequence[str]
    plugins: Sequence[str]

    def read(self) -> tuple[Dataset, Manifest, ScanResults]:
        """The data set, what of it is there (with progress on stderr), and the results of its scans.

        Raises:
            UsageError: An option is wrong.
            DataError: The data set cannot be read.
        """
        from petl_bench.cli.progress import showing_progress
        from petl_bench.data.found.manifest import build_manifest
        from petl_bench.data.found.scan_results import ScanResults
        from petl_bench.running.planning.hub_data import local_root
        from petl_bench.system.cache import cache_folder

        dataset = chosen_dataset(self.text, self.texts, self.plugins)
        root = dataset.root(local_root(self.data_root))
        with showing_progress() as notify:
            manifest = build_manifest(dataset, root, cache_folder(), notify)
        return dataset, manifest, ScanResults(cache_folder(), type(dataset).name, manifest.root)


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument DATASET and the options that say how it is read, as one `DatasetRequest`."""

    @functools.wraps(command)
    def with_request(
        dataset: str, data_root: Path | None, texts: Sequence[str], plugins: Sequence[str], **others: Any
    ) -> Any:
        return command(DatasetRequest(dataset, data_root, texts, plugins), **others)

    for option in reversed(_OPTIONS):
        with_request = option(with_request)
    return with_request


def chosen_dataset(text: str, texts: Sequence[str], plugins: Sequence[str]) -> Dataset:
    """The data set, or the folder in NAME=DIR, with its `--set` fields and with plugins loaded.

    Raises UsageError, PluginError.
    """
    from petl_bench.api.registry import load_plugin_file
    from petl_bench.api.values.named_folders import PLUGIN, folders_of, name_of
    from petl_bench.running.planning.hub_data import with_local_data
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
    # A spec needs a method; which one plays no part here.
    return Overrides(with_local_data(Spec(methods=("any",), datasets=(text,), set=tuple(texts)))).dataset(name)
