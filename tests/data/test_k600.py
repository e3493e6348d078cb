"""Kinetics-600: the zero-shot sets in every form, the full lists, and the real sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.errors import DataError

#: All classes of the label file; the sets name some of them, in an order of their own.
CLASSES = ["abseiling", "acting in play", "arguing", "baking cookies", "yoga", "zumba"]
SETS = {1: ["acting in play", "arguing"], 2: ["zumba", "arguing"], 3: ["baking cookies", "acting in play"]}


def k600(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("k600")(**fields)
    return created


def video(name: str) -> str:
    """An id of 11 characters, the same in every set that has the class."""
    return f"_-{CLASSES.index(name):09}"


def stem(name: str) -> str:
    return f"{video(name)}_000010_000020"


def write(root: Path, name: str, rows: list[str], end: str = "\n") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(end.join(rows).encode())


def write_labels(root: Path, name: str, names: list[str], end: str = "\n") -> None:
    write(root, f"labels/{name}", ["id,name", *(f"{i},{n}" for i, n in enumerate(names))], end)


def write_sets(root: Path, form: str = "vificlip", *, with_classes: bool = True) -> None:
    for split, names in SETS.items():
        label_file = f"k160_labels_split{split}.csv" if form == "text4vis" else f"ZS_split{split}_K600.csv"
        write_labels(root, label_file, names)
        list_file = {
            "vificlip": f"datasets_splits/k600_splits/ZS_split{split}_K600_eval.txt",
            "ost": f"datasets_splits/k600_splits/ZS_split{split}_K600_eval_filtered.txt",
            "text4vis": f"lists/k600/test_split{split}_exist.txt",
        }[form]
        parts = ("train/", "test/") if form == "vificlip" else ("", "")
        rows = [f"{parts[i]}{stem(name)}.mp4 {i}" for i, name in enumerate(names)]
        write(root, list_file, rows)
    if with_classes:
        write_labels(root, "kinetics_600_labels.csv", CLASSES, "\r\n")


def write_official(root: Path, part: str, names: list[str]) -> None:
    rows = [f"{name},{video(name)},10,20,{part}" for name in names]
    write(root, f"kinetics600/{part}.csv", ["label,youtube_id,time_start,time_end,split", *rows])


def read(root: Path, **fields: Any) -> Annotations:
    return k600(**fields).annotations(root)


def expected(classes: list[str]) -> dict[int, tuple[Sample, ...]]:
    return {split: tuple(Sample(video(n), classes.index(n)) for n in names) for split, names in SETS.items()}


@pytest.mark.parametrize("form", ["vificlip", "ost", "text4vis"])
def test_sets_in_every_form(tmp_path: Path, form: str) -> None:
    write_sets(tmp_path, form)
    found = read(tmp_path)
    assert found == read(tmp_path, lists=form)
    assert found.classes == tuple(CLASSES)
    assert found.test == expected(CLASSES)
    assert found.candidates == {1: (1, 2), 2: (5, 2), 3: (3, 1)}
    assert (found.train, found.few_shot, found.base_to_novel) == ({}, {}, None)
    assert len(found.files) == 7
    assert [defect.id for defect in found.defects] == [defect.id for defect in k600().defects]


def test_without_label_file_the_classes_are_those_of_the_sets(tmp_path: Path) -> None:
    write_sets(tmp_path, with_classes=False)
    found = read(tmp_path)
    union = ["acting in play", "arguing", "baking cookies", "zumba"]
    assert found.classes == tuple(union)
    assert found.test == expected(union)
    assert found.candidates == {1: (0, 1), 2: (3, 1), 3: (2, 0)}
    assert any(note.startswith("4 classes (those that the sets name together") for note in found.notes)


def test_label_map_of_mmaction2_names_the_classes(tmp_path: Path) -> None:
    write_sets(tmp_path, with_classes=False)
    write(tmp_path, "kinetics/label_map_k600.txt", CLASSES)
    assert read(tmp_path).classes == tuple(CLASSES)


def test_sets_win_over_full_lists_which_would_train_on_them(tmp_path: Path) -> None:
    write_sets(tmp_path)
    write_official(tmp_path, "train", CLASSES[:3])
    write_official(tmp_path, "validate", CLASSES[3:])
    assert read(tmp_path).train == {}
    full = read(tmp_path, lists="official")
    assert full.train == {1: tuple(Sample(video(name), i) for i, name in enumerate(CLASSES[:3]))}
    assert full.test == {1: tuple(Sample(video(name), i) for i, name in enumerate(CLASSES[3:], start=3))}
    assert (full.candidates, full.defects) == ({}, ())


def test_full_lists_alone(tmp_path: Path) -> None:
    write(tmp_path, "kinetics/label_map_k600.txt", CLASSES)
    rows = [f"{name.replace(' ', '_')}/{stem(name)}.mp4 {i}" for i, name in enumerate(CLASSES)]
    write(tmp_path, "kinetics600_val_list_videos.txt", rows)
    found = read(tmp_path)
    assert found.test == {1: tuple(Sample(video(name), i) for i, name in enumerate(CLASSES))}
    assert found == read(tmp_path, lists="mmaction2")


def test_one_set_is_enough(tmp_path: Path) -> None:
    write_sets(tmp_path)
    for split in (1, 3):
        (tmp_path / f"datasets_splits/k600_splits/ZS_split{split}_K600_eval.txt").unlink()
    found = read(tmp_path)
    assert (sorted(found.test), sorted(found.candidates)) == ([2], [2])


@pytest.mark.parametrize("layout", ["train/{stem}.mp4", "{id}.mp4", "{name}/{stem}.mkv", "videos/{id}.webm"])
def test_clips_are_found(tmp_path: Path, layout: str) -> None:
    write_sets(tmp_path)
    names = {name for names in SETS.values() for name in names}
    for name in names:
        write(tmp_path, layout.format(stem=stem(name), id=video(name), name=name), [name])
    manifest = build_manifest(k600(), tmp_path, tmp_path / "cache")
    assert (set(manifest.found), manifest.missing) == ({video(name) for name in names}, ())
    assert any("known defect k600-217-classes" in note for note in manifest.notes)


# ---------------------------------------------------------------- what does not fit


def test_label_outside_its_set(tmp_path: Path) -> None:
    write_sets(tmp_path)
    write(tmp_path, "datasets_splits/k600_splits/ZS_split2_K600_eval.txt", [f"train/{stem('zumba')}.mp4 2"])
    with pytest.raises(DataError, match=r"ZS_split2_K600_eval\.txt, line 1: label 2 .* outside the 2 classes"):
        read(tmp_path)


def test_sets_that_disagree(tmp_path: Path) -> None:
    write_sets(tmp_path)
    rows = [f"train/{stem('zumba')}.mp4 1", f"val/{stem('arguing')}.mp4 0"]
    write(tmp_path, "datasets_splits/k600_splits/ZS_split2_K600_eval.txt", rows)
    with pytest.raises(DataError, match=r"the list test 1 says 'arguing', the list test 2 says 'zumba'"):
        read(tmp_path)


def test_label_file_of_a_set_is_missing(tmp_path: Path) -> None:
    write_sets(tmp_path)
    (tmp_path / "labels/ZS_split3_K600.csv").unlink()
    with pytest.raises(DataError, match=r"ZS_split3_K600_eval\.txt: its labels count within .* ZS_split3_K600\.csv"):
        read(tmp_path)


def test_label_file_of_another_data_set(tmp_path: Path) -> None:
    write_sets(tmp_path)
    write_labels(tmp_path, "kinetics_600_labels.csv", ["abseiling", "yoga"])
    with pytest.raises(DataError, match=r"ZS_split1_K600\.csv: 'acting in play' is none of the 2 classes"):
        read(tmp_path)


@pytest.mark.parametrize("form", ["auto", "ost", "official", "mmaction2"])
def test_no_lists(tmp_path: Path, form: str) -> None:
    write_labels(tmp_path, "kinetics_600_labels.csv", CLASSES)
    with pytest.raises(DataError, match="no annotation lists found below it"):
        read(tmp_path, lists=form)


def test_unlabelled_test_list(tmp_path: Path) -> None:
    write_labels(tmp_path, "kinetics_600_labels.csv", CLASSES)
    write(tmp_path, "kinetics600/test.csv", ["youtube_id,time_start,time_end,split", f"{video('yoga')},1,11,test"])
    with pytest.raises(DataError, match=r"test\.csv, line 1: no column `label`"):
        read(tmp_path, lists="official")


def test_data_root_must_be_given() -> None:
    with pytest.raises(DataError, match="k600 needs --data-root DIR"):
        k600().root(None)


# ---------------------------------------------------------------- real files


def test_real_sets(real_data: Path) -> None:
    found = read(real_data)
    assert {split: len(rows) for split, rows in found.test.items()} == {1: 14_084, 2: 13_978, 3: 14_136}
    assert len({sample.clip for rows in found.test.values() for sample in rows}) == 19_058
    assert len(found.classes) == 600
    assert {split: len(labels) for split, labels in found.candidates.items()} == {1: 160, 2: 160, 3: 160}
    assert len({label for labels in found.candidates.values() for label in labels}) == 217
    for split, rows in found.test.items():
        assert {sample.label for sample in rows} == set(found.candidates[split])
    clips = {sample.clip for rows in found.test.values() for sample in rows}
    assert len(set(map(k600().identity, clips))) == len(clips)


def test_real_sets_have_no_class_of_kinetics_400(real_data: Path) -> None:
    found = read(real_data)
    k400 = formats.read_classes(real_data / "annotations/vificlip/labels/kinetics_400_labels.csv")
    assert not {found.classes[label] for labels in found.candidates.values() for label in labels} & set(k400)


def test_real_sets_without_the_label_file_of_all_classes(real_data: Path, tmp_path: Path) -> None:
    vificlip = real_data / "annotations/vificlip"
    for file in (*vificlip.glob("labels/ZS_*"), *vificlip.glob("datasets_splits/k600_splits/*")):
        (tmp_path / file.name).symlink_to(file)
    found, full = read(tmp_path), read(real_data)
    assert len(found.classes) == 217
    for split in (1, 2, 3):
        names = [[(sample.clip, each.classes[sample.label]) for sample in each.test[split]] for each in (found, full)]
        assert names[0] == names[1]


def test_real_mixture_of_official_parts(real_data: Path) -> None:
    file = real_data / "annotations/vificlip/datasets_splits/k600_splits/ZS_split1_K600_eval.txt"
    parts = [row.clip.partition("/")[0] for row in formats.read_list(file).rows]
    assert {part: parts.count(part) for part in set(parts)} == {"train": 11_930, "val": 211, "test": 1_943}


def test_real_label_files_agree(real_data: Path) -> None:
    annotations = real_data / "annotations"
    for split in (1, 2, 3):
        ours = formats.read_classes(annotations / f"vificlip/labels/ZS_split{split}_K600.csv")
        assert ours == formats.read_classes(annotations / f"text4vis/labels/k160_labels_split{split}.csv")
    names = formats.read_classes(annotations / "vificlip/labels/kinetics_600_labels.csv")
    assert names == formats.read_classes(annotations / "mmaction2/label_maps/kinetics/label_map_k600.txt")
    assert names == tuple(sorted(names, key=str.casefold))


def test_real_official_list(real_data: Path) -> None:
    found = read(real_data, lists="official")
    assert (len(found.classes), len(found.test[1])) == (600, 3_999)  # the sample is cut
