"""Any folder of videos, without code: `--datasets folder --set folder.path=DIR`, or `--datasets kitchen=DIR`.

Class names, lists and base classes come from the fields; where these are not given, from `labels.csv` and the one
`train*.txt` and the one `test*.txt` in the folder; where there are no lists, every folder of videos is a class, and a
seeded, recorded part of each class is tested.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal

from petl_bench.data import annotation_formats as formats
from petl_bench.data.layout import scan
from petl_bench.dataset import Annotations, Dataset, HalfSplit, Sample
from petl_bench.errors import DataError
from petl_bench.options import hyper
from petl_bench.registry import register_dataset


@register_dataset("folder")
class Folder(Dataset):
    """A folder of your own videos with class names and lists, or with one sub-folder per class."""

    needs_root = False
    licence = "your own"

    path: str = hyper("", "the folder; relative to the current directory or to --data-root", location=True)
    labels: str | None = hyper(
        None, "class names: id,name csv, or one name per line; default: labels.csv in the folder", location=True
    )
    train_list: str | None = hyper(
        None, "training list, `<clip> <label>` rows; default: the one train*.txt in the folder", location=True
    )
    test_list: str | None = hyper(
        None, "test list, `<clip> <label>` rows; default: the one test*.txt in the folder", location=True
    )
    base_classes: str | None = hyper(None, "base classes: names with commas between, or a file with one name per line")
    label_base: Literal["auto", "0", "1"] = hyper("auto", "whether labels in the lists count from 0 or 1")
    test_fraction: float = hyper(
        0.3, "part of each class that is tested where there are no lists", minimum=0, maximum=1
    )
    groups: str | None = hyper(
        None,
        "which clips come from one recording: csv with the columns clip and group, clips as lists or folders name "
        "them; intervals and tests draw whole groups",
        location=True,
        later=True,
    )
    split_seed: int = hyper(0, "seed of the split where there are no lists", minimum=0)

    def root(self, data_root: Path | None) -> Path:
        """`path` under the current directory or the data root; the data root itself where `path` is not given."""
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
        """Lists where there are any, else class folders."""
        found = self._lists_or_folders(root)
        groups = self._file(root, "groups")
        return found if groups is None else replace(found, groups=_groups(groups, found))

    def _lists_or_folders(self, root: Path) -> Annotations:
        labels = self._file(root, "labels") or _only(root, "labels", ".csv")
        train_list = self._file(root, "train_list") or _only(root, "train", ".txt")
        test_list = self._file(root, "test_list") or _only(root, "test", ".txt")
        if train_list is None and test_list is None:
            return self._from_class_folders(root, labels)
        if labels is None or train_list is None or test_list is None:
            absent = {"labels": labels, "train_list": train_list, "test_list": test_list}
            field = next(field for field, file in absent.items() if file is None)
            usual = {"labels": "labels.csv", "train_list": "train*.txt", "test_list": "test*.txt"}[field]
            raise DataError(f"{root}: no {usual} beside the lists; name the file with --set {self.name}.{field}=FILE")
        return self._from_lists(root, labels, train_list, test_list)

    def _from_lists(self, root: Path, labels: Path, train_list: Path, test_list: Path) -> Annotations:
        classes = formats.read_classes(labels)
        lists = [formats.read_list(train_list), formats.read_list(test_list)]
        base = formats.label_base(lists, classes) if self.label_base == "auto" else int(self.label_base)
        train, test = (formats.labelled(clip_list, classes, base) for clip_list in lists)
        formats.refuse_overlap({train_list.name: train}, {test_list.name: test})
        return Annotations(
            classes=classes,
            train={1: train},
            test={1: test},
            base_to_novel=self._halves(root, classes, train, test),
            files=formats.sha256_of([labels, train_list, test_list], root),
        )

    def _from_class_folders(self, root: Path, labels: Path | None) -> Annotations:
        videos = scan(root).videos
        folders = {video: _class_folder(root, video) for video in videos}
        classes = formats.read_classes(labels) if labels else tuple(sorted(set(folders.values())))
        if len(classes) < 2:
            raise DataError(
                f"{root}: {len(classes)} folders with videos; one is needed for each class, and two classes at least"
            )
        find = formats.class_finder(classes)
        samples = []
        for video, folder in folders.items():
            label = find(folder)
            if label is None:
                raise DataError(f"{root}: the folder {folder!r} ({video}) is none of the classes in {labels}")
            samples.append(Sample(video, label))
        train, test, note = self._split(root, classes, samples)
        return Annotations(
            classes=classes,
            train={1: train},
            test={1: test},
            base_to_novel=self._halves(root, classes, train, test),
            files=formats.sha256_of([labels] if labels else [], root),
            notes=(note,),
        )

    def _split(
        self, root: Path, classes: Sequence[str], samples: Sequence[Sample]
    ) -> tuple[tuple[Sample, ...], tuple[Sample, ...], str]:
        """Training and test clips with a note on how they were told apart."""
        sides = {sample.clip.partition("/")[0] for sample in samples}
        if sides in ({"train", "test"}, {"train", "val"}):
            train, test = (tuple(s for s in samples if s.clip.startswith("train/") is side) for side in (True, False))
            return train, test, f"no lists: trains on the folder train, tests on the folder {max(sides - {'train'})}"
        train, test = self._drawn(root, classes, samples)
        return (
            train,
            test,
            f"no lists: {self.test_fraction:g} of each class is tested, drawn with seed {self.split_seed}; clips cut "
            "from one recording may lie on both sides",
        )

    def _drawn(
        self, root: Path, classes: Sequence[str], samples: Sequence[Sample]
    ) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
        """Order each class by a seeded hash of its clips' names and test the first part, one clip at least."""
        train: list[Sample] = []
        test: list[Sample] = []
        for label, name in enumerate(classes):
            drawn = sorted((s for s in samples if s.label == label), key=lambda s: self._rank(s.clip))
            if len(drawn) < 2:
                raise DataError(f"{root}: class {name!r} has {len(drawn)} clips; two are needed, to train and to test")
            count = min(max(round(self.test_fraction * len(drawn)), 1), len(drawn) - 1)
            test.extend(drawn[:count])
            train.extend(drawn[count:])
        return tuple(sorted(train)), tuple(sorted(test))

    def _rank(self, clip: str) -> str:
        return hashlib.sha256(f"{self.split_seed}:{clip}".encode()).hexdigest()

    def _halves(
        self, root: Path, classes: Sequence[str], train: Sequence[Sample], test: Sequence[Sample]
    ) -> HalfSplit | None:
        if self.base_classes is None:
            return None
        base = self._base_labels(root, classes)
        novel = tuple(label for label in range(len(classes)) if label not in base)
        if not novel:
            raise DataError(f"{self.name}.base_classes names every class; one at least must be left as novel")
        return HalfSplit(
            base=base,
            novel=novel,
            base_train=tuple(sample for sample in train if sample.label in base),
            base_test=tuple(sample for sample in test if sample.label in base),
            novel_test=tuple(sample for sample in test if sample.label in novel),
            draws={},
            source="folder.base_classes",
        )

    def _base_labels(self, root: Path, classes: Sequence[str]) -> tuple[int, ...]:
        text = self.base_classes or ""
        file = next((place for place in (root / text, Path(text).expanduser()) if text and place.is_file()), None)
        names = formats.read_classes(file) if file else [part.strip() for part in text.split(",") if part.strip()]
        find = formats.class_finder(classes)
        labels: dict[int, None] = {}
        for name in names:
            label = find(name)
            if label is None:
                near = get_close_matches(name, classes, n=3) or list(classes)[:10]
                raise DataError(f"{self.name}.base_classes: {name!r} is none of the classes; near: {', '.join(near)}")
            labels[label] = None
        if not labels:
            raise DataError(f"{self.name}.base_classes names no class")
        return tuple(labels)

    def _file(self, root: Path, field: str) -> Path | None:
        """The file that a field names: below the folder, or from the current directory."""
        text = getattr(self, field)
        if text is None:
            return None
        places = (root / text, Path(text).expanduser())
        for place in places:
            if place.is_file():
                return place.resolve()
        raise DataError(
            f"{self.name}.{field}={text}: no such file (looked at {', '.join(str(place) for place in places)})"
        )


def _groups(file: Path, annotations: Annotations) -> dict[str, str]:
    """Clip -> group. Raises DataError for a file without these columns, an empty group, or a clip that no list has."""
    rows = list(csv.DictReader(io.StringIO(formats.read_text(file))))
    if not rows or not {"clip", "group"} <= rows[0].keys():
        raise DataError(f"{file}: expected a csv with the columns clip and group, and a row for each clip")
    clips = {sample.clip for some in (annotations.train, annotations.test) for each in some.values() for sample in each}
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        clip, group = (row["clip"] or "").strip(), (row["group"] or "").strip()
        if clip not in clips:
            raise DataError(f"{file}, line {number}: {clip!r} is none of the {len(clips)} clips of this data set")
        if not group or groups.setdefault(clip, group) != group:
            raise DataError(f"{file}, line {number}: {clip!r} needs one group, here {group!r}")
    return groups


def _only(root: Path, start: str, suffix: str) -> Path | None:
    """The one file of that name pattern in the folder; `labels.csv` must be called exactly so."""
    if start == "labels":
        return root / "labels.csv" if (root / "labels.csv").is_file() else None
    found = sorted(p for p in root.iterdir() if p.name.startswith(start) and p.suffix == suffix and p.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root}: several {start} lists ({names}); name one with --set folder.{start}_list=FILE")
    return found[0] if found else None


def _class_folder(root: Path, video: str) -> str:
    folder = PurePosixPath(video).parent.name
    if not folder:
        raise DataError(
            f"{root}: {video} lies in no class folder and there are no lists; make one folder per class, or give "
            "labels.csv, train.txt and test.txt"
        )
    return folder
