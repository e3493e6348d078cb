"""HMDB-51 from its published lists, and the known defect of its published label names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Dataset
from petl_bench.api.registry import DATASETS
from petl_bench.benchmarks.datasets.hmdb51 import stated_class
from petl_bench.data.found.listed import named_lists
from petl_bench.data.found.manifest import build_manifest
from petl_bench.errors import DataError

#: What the label csv says, and what the lists mean.
PUBLISHED = ["brush hair", "kick ball", "kick", "sword exercise", "sword"]
MEANT = ["brush hair", "kick", "kick ball", "sword", "sword exercise"]


def hmdb51(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("hmdb51")(**fields)
    return created


def clip(label: int, number: int) -> str:
    return f"A_#_(film)_[2]_{MEANT[label].replace(' ', '_')}_u_nm_np10_ba_med_{number}.avi"


def write(root: Path, name: str, rows: list[str], end: str = "\n") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{row}{end}" for row in rows).encode())


def write_labels(root: Path, name: str, names: list[str]) -> None:
    write(root, f"labels/{name}", ["id,name", *(f"{i},{n}" for i, n in enumerate(names))], "\r\n")


@pytest.fixture
def vificlip(tmp_path: Path) -> Path:
    write_labels(tmp_path, "hmdb_51_labels.csv", PUBLISHED)
    write_labels(tmp_path, "hmdb_51_base_labels.csv", ["sword exercise", "sword", "brush hair"])
    write_labels(tmp_path, "hmdb_51_novel_labels.csv", ["kick ball", "kick"])
    write(tmp_path, "hmdb_splits/val1.txt", [f"{clip(label, n)} {label}" for label in range(5) for n in (1, 2)])
    base = [f"{clip(3, 8)} 0", f"{clip(4, 8)} 1", f"{clip(0, 8)} 2"]
    write(tmp_path, "base2novel_splits/hmdb_splits/base_train.txt", base)
    write(tmp_path, "base2novel_splits/hmdb_splits/base_val.txt", [row.replace("_8.avi", "_1.avi") for row in base])
    write(tmp_path, "base2novel_splits/hmdb_splits/novel_val.txt", [f"{clip(1, 1)} 0", f"{clip(2, 1)} 1"])
    write(tmp_path, "base2novel_splits/hmdb_splits/fs_base_s1_train.txt", base)
    return tmp_path


def read(root: Path, **fields: Any) -> Annotations:
    return hmdb51(**fields).annotations(root)


def named(annotations: Annotations) -> dict[str, str]:
    """The class name that every clip is given."""
    return {s.clip: annotations.classes[s.label] for _, samples in named_lists(annotations) for s in samples}


def test_published_names_are_kept_and_the_swap_is_reported(vificlip: Path) -> None:
    found = read(vificlip)
    assert found.classes == tuple(PUBLISHED)
    assert all(named(found)[clip(label, 1)] == PUBLISHED[label] for label in range(5))
    (note,) = [str(defect) for defect in found.defects if defect.id == "swapped-names"]
    assert "hmdb_51_labels.csv swaps 4 of 5 class names against its lists" in note
    assert "8 of 10 clips of each test split" in note
    assert "kept as published (label_names=published)" in note


def test_corrected_names_are_those_of_the_files(vificlip: Path) -> None:
    found = read(vificlip, label_names="corrected")
    assert found.classes == tuple(MEANT)
    assert all(named(found)[clip(label, 1)] == MEANT[label] for label in range(5))
    assert any("corrected here" in defect.effect for defect in found.defects)


@pytest.mark.parametrize("names", ["published", "corrected"])
def test_base_to_novel_labels_are_those_of_the_full_lists(vificlip: Path, names: str) -> None:
    found = read(vificlip, label_names=names)
    half = found.base_to_novel
    assert half is not None
    assert (half.base, half.novel) == ((3, 4, 0), (1, 2))
    expected = PUBLISHED if names == "published" else MEANT
    assert all(found.classes[s.label] == expected[s.label] for s in (*half.base_train, *half.base_test))
    labels = {sample.clip: sample.label for sample in found.test[1]}
    assert all(labels[sample.clip] == sample.label for sample in (*half.base_test, *half.novel_test))


def test_names_and_choice_enter_the_hash(vificlip: Path) -> None:
    hashes = {
        build_manifest(hmdb51(label_names=n), vificlip, vificlip / "c").sha256 for n in ("published", "corrected")
    }
    assert len(hashes) == 2


def test_lists_without_the_defect_have_no_note(tmp_path: Path) -> None:
    write_labels(tmp_path, "hmdb51_labels.csv", MEANT)
    rows = [f"{MEANT[label].replace(' ', '_')}/{clip(label, 1)[:-4]} 438 {label}" for label in range(5)]
    write(tmp_path, "hmdb51/val_rgb_split_1.txt", rows)
    for names in ("published", "corrected"):
        found = read(tmp_path, label_names=names)
        assert found.classes == tuple(MEANT)
        assert not any(defect.id == "swapped-names" for defect in found.defects)


@pytest.mark.parametrize("form", ["{} 163 {}", "{} 0 163 {}"])
def test_mmaction2_lists_of_frame_folders(tmp_path: Path, form: str) -> None:
    write(tmp_path, "hmdb51/label_map.txt", [name.replace(" ", "_") for name in MEANT])
    rows = [form.format(f"{MEANT[i].replace(' ', '_')}/{clip(i, 1)[:-4]}", i) for i in range(5)]
    write(tmp_path, "hmdb51_val_split_2_rawframes.txt", rows)
    found = read(tmp_path)
    assert (found.classes, [s.clip for s in found.test[2]]) == (tuple(MEANT), [clip(i, 1) for i in range(5)])


def test_actionclip_lists_carry_the_defect_too(tmp_path: Path) -> None:
    write_labels(tmp_path, "hmdb51_labels.csv", PUBLISHED)
    rows = [f"/public/frames/{MEANT[i].replace(' ', '_')}/{clip(i, 1)[:-4]} 163 {i}" for i in range(5)]
    write(tmp_path, "lists/hmdb51/val_rgb_split1.txt", rows, "\r\n")
    found = read(tmp_path)
    assert named(found) == {clip(i, 1): PUBLISHED[i] for i in range(5)}
    assert [defect.id for defect in found.defects] == ["swapped-names"]


def test_full_list_is_a_test_split_of_its_own(vificlip: Path) -> None:
    write_labels(vificlip, "hmdb51_labels.csv", MEANT)
    rows = [f"{MEANT[i].replace(' ', '_')}/{clip(i, n)[:-4]} 0 {i}" for i in range(5) for n in range(4)]
    write(vificlip, "hmdb51/hmdb_full_for_zeroshot.txt", rows)
    full = read(vificlip, lists="text4vis_full")
    assert (full.train, list(full.test), len(full.test[1])) == ({}, [1], 20)
    assert full.classes == tuple(MEANT)
    assert len(read(vificlip).test[1]) == 10


def test_corrected_and_swapped_label_files_beside_each_other(vificlip: Path) -> None:
    """Training clips from Text4Vis, whose csv is right, and test clips from ViFi-CLIP: a clip's content decides."""
    write_labels(vificlip, "hmdb51_labels.csv", MEANT)
    rows = [f"{MEANT[i].replace(' ', '_')}/{clip(i, 9)[:-4]} 438 {i}" for i in range(5)]
    write(vificlip, "hmdb51/train_rgb_split_1.txt", rows)
    for names, classes in (("published", PUBLISHED), ("corrected", MEANT)):
        found = read(vificlip, label_names=names)
        assert [named(found)[clip(i, 9)] for i in range(5)] == classes
        assert [named(found)[clip(i, 1)] for i in range(5)] == classes


def test_defects_that_apply_are_told(vificlip: Path) -> None:
    assert [d.id for d in read(vificlip).defects] == [d.id for d in hmdb51().defects]
    manifest = build_manifest(hmdb51(), vificlip, vificlip / "cache")
    assert any(
        note.startswith("known defect swapped-names: hmdb_51_labels.csv swaps 4 of 5") for note in manifest.notes
    )


def test_single_wrong_label_is_refused(vificlip: Path) -> None:
    write(vificlip, "hmdb_splits/val1.txt", [f"{clip(0, 1)} 0", f"{clip(0, 2)} 1", f"{clip(1, 1)} 1"])
    with pytest.raises(DataError, match=r"val1\.txt, line 2: the label says 'kick ball', .* says 'brush hair'"):
        read(vificlip)


def test_milnce_and_official_lists(tmp_path: Path) -> None:
    rows = [
        f"{clip(label, n)},{MEANT[label].replace(' ', '_')}_test,{n},0,{3 - n}" for label in range(5) for n in (1, 2)
    ]
    write(tmp_path / "a", "milnce/hmdb51.csv", ["video_id,label,split1,split2,split3", *rows])
    for label, name in enumerate(MEANT):
        for split, first in ((1, 1), (3, 2)):
            content = [f"{clip(label, 1)} {first} ", f"{clip(label, 2)} {3 - first} ", f"{clip(label, 3)} 0 "]
            write(tmp_path / "b", f"testTrainMulti/{name.replace(' ', '_')}_test_split{split}.txt", content)
    milnce, official = (read(tmp_path / folder) for folder in "ab")
    assert milnce.classes == official.classes == tuple(MEANT)
    assert {k: set(v) for k, v in milnce.train.items()} == {k: set(v) for k, v in official.train.items()}
    assert {k: set(v) for k, v in milnce.test.items()} == {k: set(v) for k, v in official.test.items()}
    assert sorted(milnce.test) == [1, 3]
    assert all(named(milnce)[clip(label, 1)] == MEANT[label] for label in range(5))


def test_named_lists_take_the_labels_that_numbered_lists_use(vificlip: Path) -> None:
    rows = [f"{clip(label, 7)},{MEANT[label].replace(' ', '_')}_test,1,1,1" for label in range(5)]
    write(vificlip, "hmdb51.csv", ["video_id,label,split1,split2,split3", *rows])
    for names, classes in (("published", PUBLISHED), ("corrected", MEANT)):
        found = read(vificlip, label_names=names)
        assert [sample.label for sample in found.train[1]] == [0, 1, 2, 3, 4]
        assert [named(found)[clip(label, 7)] for label in range(5)] == classes


def test_odd_file_names_are_found(vificlip: Path) -> None:
    for label in range(5):
        write(vificlip, f"videos/{MEANT[label].replace(' ', '_')}/{clip(label, 1)}", ["x"])
    found = build_manifest(hmdb51(), vificlip, vificlip / "cache").found
    assert set(found) == {clip(label, 1) for label in range(5)}


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("Goalkeeper_Training_Day_#_2_catch_f_cm_np1_ri_med_0.avi", "catch"),
        ("BATMAN_BEGINS_sword_exercise_f_cm_np2_ba_med_3.avi", "sword exercise"),
        ("draw_sword_u_nm_np1_fr_goo_1", "draw sword"),
        ("sword_u_nm_np10_fr_goo_11.mp4", "sword"),
        ("renamed.avi", None),
        ("sword.avi", None),
    ],
)
def test_class_in_a_file_name(name: str, stated: str | None) -> None:
    assert stated_class(("catch", "sword", "draw sword", "sword exercise"), name) == stated


# ---------------------------------------------------------------- real files


def test_real_lists(real_data: Path) -> None:
    found = read(real_data)
    assert len(found.classes) == 51
    assert {split: len(samples) for split, samples in found.train.items()} == {1: 3570, 2: 3570, 3: 3570}
    assert {split: len(samples) for split, samples in found.test.items()} == {1: 1530, 2: 1530, 3: 1530}
    half = found.base_to_novel
    assert half is not None
    assert [len(x) for x in (half.base, half.novel, half.base_train, half.base_test, half.novel_test)] == [
        26, 25, 1820, 780, 750
    ]  # fmt: skip
    (note,) = [str(defect) for defect in found.defects if defect.id == "swapped-names"]
    assert "4 of 51 class names" in note
    assert "120 of 1,530 clips of each test split" in note


def test_real_names_after_correction_are_those_of_every_file(real_data: Path) -> None:
    found = read(real_data, label_names="corrected")
    wrong = [c for c, name in named(found).items() if stated_class(found.classes, c) not in (name, None)]
    assert wrong == []
    assert found.classes == read(real_data, lists="text4vis").classes == read(real_data, lists="milnce").classes


def test_real_few_shot_lists_train_and_are_not_nested(real_data: Path) -> None:
    found = read(real_data)
    assert {key: len(samples) for key, samples in found.few_shot.items()} == {
        (1, 2): 102, (1, 4): 204, (1, 8): 408, (1, 16): 816
    }  # fmt: skip
    for samples in found.few_shot.values():
        assert set(samples) <= set(found.train[1])
    for fewer, more in ((2, 4), (4, 8), (8, 16)):
        assert not set(found.few_shot[1, fewer]) <= set(found.few_shot[1, more])


def test_real_base_classes_are_the_last_of_the_alphabet(real_data: Path) -> None:
    half = read(real_data).base_to_novel
    assert half is not None
    assert sorted(half.base) == list(range(25, 51))


def test_real_awkward_names_are_read_and_found(real_data: Path, tmp_path: Path) -> None:
    clips = {sample.clip for _, samples in named_lists(read(real_data)) for sample in samples}
    with (real_data / "annotations/milnce/hmdb51.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6_766
    assert clips == {row["video_id"] for row in rows if {row[f"split{split}"] for split in (1, 2, 3)} != {"0"}}
    assert set("()[]!#&+;~@") <= set("".join(clips))
    assert any("_np10_" in clip for clip in clips)
    found = build_manifest(hmdb51(), real_data, tmp_path).found
    assert "Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi" in found


def test_real_mmaction2_label_map_fits_the_lists(real_data: Path, tmp_path: Path) -> None:
    names = (real_data / "annotations/mmaction2/label_maps/hmdb51/label_map.txt").read_text().splitlines()
    write(tmp_path, "hmdb51/label_map.txt", names)
    samples = read(real_data).test[1]
    write(tmp_path, "hmdb51_val_split_1_videos.txt", [f"{names[s.label]}/{s.clip} {s.label}" for s in samples])
    found = read(tmp_path)
    assert found.test[1] == samples
    assert found.classes == read(real_data, label_names="corrected").classes


def test_real_forms_agree(real_data: Path) -> None:
    vificlip, milnce = (read(real_data, lists=name, label_names="corrected") for name in ("vificlip", "milnce"))
    for split in (1, 2, 3):
        assert set(vificlip.test[split]) == set(milnce.test[split])
