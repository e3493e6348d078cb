"""Any folder of videos, without code: `--datasets folder --set folder.path=DIR`, or `--datasets kitchen=DIR`.

Labels come from lists if there are any, else from class folders whose layout is recognised as a whole (see
folder_layouts.py) or named with `folder.layout`; what could be read in two ways is refused. Without sides a seeded,
recorded part of each class is tested. Captions make it a data set of retrieval, with classes or without.
docs/folders.md shows what is read.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

from petl_bench.api.dataset import Annotations, Dataset
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.lists.folder_layouts import LayoutName
from petl_bench.data.lists.folder_reading import FolderOptions, FolderReader
from petl_bench.errors import DataError


@register_dataset("folder")
class Folder(Dataset):
    """A folder of your own videos with class names and lists, with one sub-folder per class, or with captions."""

    display = "Folder"
    needs_root = False
    licence = "your own"

    path: str = hyper("", "the folder; relative to the current directory or to --data-root", location=True)
    labels: str | None = hyper(
        None, "class names: id,name csv, or one name per line; default: labels.csv in the folder", location=True
    )
    train_list: str | None = hyper(
        None,
        "training list, rows of a clip and its label; default: the one train*.txt or train*.csv in the folder",
        location=True,
    )
    test_list: str | None = hyper(
        None,
        "test list, rows of a clip and its label; default: the one test*.txt or test*.csv in the folder, else val*",
        location=True,
    )
    base_classes: str | None = hyper(None, "base classes: names with commas between, or a file with one name per line")
    label_base: Literal["auto", "0", "1"] = hyper("auto", "whether labels in the lists count from 0 or 1")
    test_fraction: float = hyper(
        0.3,
        "part of each class (of all clips, if there are no classes) that is tested if there are no lists",
        minimum=0,
        maximum=1,
    )
    groups: str | None = hyper(
        None,
        "which clips come from one recording: csv with the columns clip and group, clips as lists or folders name "
        "them; intervals and tests draw whole groups",
        location=True,
        later=True,
    )
    split_seed: int = hyper(0, "seed of the split if there are no lists", minimum=0)
    layout: Literal["auto", LayoutName] = hyper(
        "auto",
        "what the folders above a clip are, from the top: class, side (train, val, test), group (clips of one "
        "recording, kept on one side); lists are then not used. auto: lists, else the one layout that fits",
        later=True,
    )
    test_side: Literal["auto", "val", "test"] = hyper(
        "auto", "which side or list is tested; auto: test, or val if there is no test", later=True
    )

    captions: str | None = hyper(
        None,
        "captions for retrieval: csv with the columns clip and caption, or json {clip: [captions]}; default: "
        "captions.csv or captions.json in the folder",
        location=True,
        later=True,
    )

    def root(self, data_root: Path | None) -> Path:
        """`path` under the current directory or the data root; the data root itself if `path` is not given."""
        if not self.path:
            if data_root is None:
                raise DataError("folder: which folder? Say --set folder.path=DIR, or --datasets NAME=DIR")
            return data_root
        places = [Path(self.path).expanduser()]
        if data_root is not None:
            places.append(data_root / places[0])
        found = {place.resolve() for place in places if place.is_dir()}
        if len(found) > 1:
            raise DataError(
                f"{self.name}.path={self.path}: exists in the current directory and under --data-root; "
                "write the whole path"
            )
        if not found:
            raise DataError(f"{self.name}.path={self.path}: no such folder (looked at {', '.join(map(str, places))})")
        return found.pop()

    def annotations(self, root: Path) -> Annotations:
        """Lists if there are any, else class folders of a layout that is recognised as a whole, or named."""
        options = FolderOptions(**{each.name: getattr(self, each.name) for each in fields(FolderOptions)})
        return FolderReader(root, options).annotations()
