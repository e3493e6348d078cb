"""UCF-101 from its published lists: a small copy of every form, and the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.data.found.manifest import build_manifest
from petl_bench.errors import DataError

CLASSES = ["Archery", "BasketballDunk", "HandstandPushups", "Typing"]
#: UCF-101 spells this class differently in its file names.
IN_FILE_NAMES = ["Archery", "BasketballDunk", "HandStandPushups", "Typing"]


def ucf101(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("ucf101")(**fields)
    return created


def clip(label: int, group: int) -> str:
    return f"v_{IN_FILE_NAMES[label]}_g{group:02}_c01.avi"


def write(root: Path, name: str, rows: list[str], end: str = "\n") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{row}{end}" for row in rows).encode())


def write_official(root: Path) -> None:
    write(root, "ucfTrainTestlist/classInd.txt", [f"{i + 1} {name}" for i, name in enumerate(CLASSES)], "\r\n")
    train = [f"{CLASSES[label]}/{clip(label, group)} {label + 1}" for label in range(4) for group in (8, 9)]
    test = [f"{CLASSES[label]}/{clip(label, 1)}" for label in range(4)]
    write(root, "ucfTrainTestlist/trainlist01.txt", train, "\r\n")
    write(root, "ucfTrainTestlist/testlist01.txt", test, "\r\n")


def write_vificlip(root: Path) -> None:
    def labels(name: str, names: list[str]) -> None:
        write(root, f"labels/{name}", ["id,name", *(f"{i},{n}" for i, n in enumerate(names))], "\r\n")

    labels("ucf_101_labels.csv", CLASSES)
    labels("ucf_101_base_labels.csv", ["Typing", "BasketballDunk"])
    labels("ucf_101_novel_labels.csv", ["HandstandPushups", "Archery"])
    splits = root / "datasets_splits"
    write(splits, "ucf_splits/val1.txt", [f"{clip(label, 1)} {label}" for label in range(4)])
    write(
        splits, "ucf_splits/train1_few_shot_2.txt", [f"{clip(label, g)} {label}" for label in range(4) for g in (8, 9)]
    )
    base = splits / "base2novel_splits" / "ucf_splits"
    write(base, "base_train.txt", [f"{clip(3, 8)} 0", f"{clip(3, 9)} 0", f"{clip(1, 8)} 1", f"{clip(1, 9)} 1"])
    write(base, "base_val.txt", [f"{clip(3, 1)} 0", f"{clip(1, 1)} 1"])
    write(base, "novel_val.txt", [f"{clip(2, 1)} 0", f"{clip(0, 1)} 1"])
    write(base, "fs_base_s1_train.txt", [f"{clip(3, 8)} 0", f"{clip(1, 9)} 1"])
    write(base, "fs_base_s3_train.txt", [f"{clip(3, 9)} 0", f"{clip(1, 8)} 1"])


def read(root: Path, **fields: Any) -> Annotations:
    return ucf101(**fields).annotations(root)


OFFICIAL_TRAIN = tuple(Sample(clip(label, group), label) for label in range(4) for group in (8, 9))
TEST = tuple(Sample(clip(label, 1), label) for label in range(4))


def test_official_lists_alone(tmp_path: Path) -> None:
    write_official(tmp_path)
    found = read(tmp_path)
    assert found.classes == tuple(CLASSES)
    assert found.train == {1: OFFICIAL_TRAIN}
    assert found.test == {1: TEST}
    assert found.base_to_novel is None
    assert set(found.files) == {f"ucfTrainTestlist/{name}01.txt" for name in ("trainlist", "testlist")} | {
        "ucfTrainTestlist/classInd.txt"
    }


def test_vificlip_lists_alone(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    found = read(tmp_path)
    assert found.train == {}
    assert found.test == {1: TEST}
    assert found.few_shot == {(1, 2): OFFICIAL_TRAIN}
    half = found.base_to_novel
    assert half is not None
    assert ([CLASSES[i] for i in half.base], [CLASSES[i] for i in half.novel]) == (
        ["Typing", "BasketballDunk"],
        ["HandstandPushups", "Archery"],
    )
    assert half.base_test == (Sample(clip(3, 1), 3), Sample(clip(1, 1), 1))
    assert half.novel_test == (Sample(clip(2, 1), 2), Sample(clip(0, 1), 0))
    assert half.draws == {
        0: (Sample(clip(3, 8), 3), Sample(clip(1, 9), 1)),
        2: (Sample(clip(3, 9), 3), Sample(clip(1, 8), 1)),
    }


def test_every_list_comes_from_the_first_form_that_has_it(tmp_path: Path) -> None:
    write_official(tmp_path)
    write_vificlip(tmp_path)
    found = read(tmp_path)
    assert (found.train, found.test, found.few_shot) == ({1: OFFICIAL_TRAIN}, {1: TEST}, {(1, 2): OFFICIAL_TRAIN})
    assert found.base_to_novel is not None
    assert "lists read: vificlip, official" in found.notes
    assert read(tmp_path, lists="official").base_to_novel is None
    assert read(tmp_path, lists="vificlip").train == {}


def test_text4vis_and_mmaction2_lists(tmp_path: Path) -> None:
    write(tmp_path, "labels/ucf_labels.csv", ["id,name", *(f"{i},{name}" for i, name in enumerate(CLASSES))], "\r\n")
    stems = [f"{CLASSES[label]}/{clip(label, 1)[:-4]} 163 {label}" for label in range(4)]
    write(tmp_path, "lists/ucf101/val_rgb_split_1.txt", stems)
    assert read(tmp_path).test == {1: TEST}
    write(tmp_path, "ucf101/label_map.txt", CLASSES)
    write(tmp_path, "ucf101/ucf101_val_split_1_videos.txt", [f"{CLASSES[i]}/{clip(i, 1)} {i}" for i in range(4)])
    assert read(tmp_path, lists="mmaction2").test == {1: TEST}


@pytest.mark.parametrize("form", ["{} 163 {}", "{} 0 163 {}"])
def test_mmaction2_lists_of_frame_folders(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ucf101/label_map.txt", CLASSES)
    rows = [form.format(f"{CLASSES[i]}/{clip(i, 1)[:-4]}", i) for i in range(4)]
    write(tmp_path, "ucf101/ucf101_val_split_1_rawframes.txt", rows)
    assert read(tmp_path).test == read(tmp_path, lists="mmaction2").test == {1: TEST}


def test_mmaction2_lists_with_several_labels_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "ucf101/label_map.txt", CLASSES)
    rows = [f"{CLASSES[0]}/{clip(0, 1)} 0", f"{CLASSES[1]}/{clip(1, 1)} 1 3"]
    write(tmp_path, "ucf101/ucf101_val_split_1_videos.txt", rows)
    with pytest.raises(DataError, match=r"videos\.txt, line 2: several numbers .* one label per clip"):
        read(tmp_path)


def test_actionclip_lists_with_absolute_paths(tmp_path: Path) -> None:
    write(tmp_path, "lists/ucf_labels.csv", ["id,name", *(f"{i},{name}" for i, name in enumerate(CLASSES))], "\r\n")
    rows = [f"/public/frames/{CLASSES[i]}/{clip(i, 1)[:-4]} 163 {i}" for i in range(4)]
    write(tmp_path, "lists/ucf101/val_rgb_split1.txt", rows, "\r\n")
    assert read(tmp_path).test == read(tmp_path, lists="actionclip").test == {1: TEST}


def test_copies_of_the_same_lists_count_once(tmp_path: Path) -> None:
    """X-CLIP and OST publish ViFi-CLIP's files under the same names."""
    for folder in ("ViFi-CLIP", "VideoX/X-CLIP", "OST"):
        write_vificlip(tmp_path / folder)
    assert (read(tmp_path).test, read(tmp_path).few_shot) == ({1: TEST}, {(1, 2): OFFICIAL_TRAIN})
    write(tmp_path, "OST/labels/ucf_101_labels.csv", ["id,name", "0,Archery", "1,Typing"])
    with pytest.raises(DataError, match=r"several different files are called ucf_101_labels\.csv: OST/"):
        read(tmp_path)


def test_full_list_is_a_test_split_of_its_own(tmp_path: Path) -> None:
    write_official(tmp_path)
    write(tmp_path, "labels/ucf_labels.csv", ["id,name", *(f"{i},{name}" for i, name in enumerate(CLASSES))])
    samples = (*OFFICIAL_TRAIN, *TEST)
    rows = [f"{CLASSES[s.label]}/{s.clip[:-4]} 163 {s.label}" for s in samples]
    write(tmp_path, "lists/ucf101/ucf_full_for_zeroshot.txt", rows)
    full = read(tmp_path, lists="text4vis_full")
    assert (full.train, full.test) == ({}, {1: samples})
    assert read(tmp_path).test == {1: TEST}


def test_numbers_mean_the_label_file_that_came_with_the_list(tmp_path: Path) -> None:
    write_official(tmp_path)
    names = ["Typing", "Archery", "HandstandPushups", "BasketballDunk"]
    write(tmp_path, "ucf101/label_map.txt", names)
    rows = [f"{clip(i, 1)} {names.index(CLASSES[i])}" for i in range(4)]
    write(tmp_path, "ucf101/ucf101_val_split_1_videos.txt", rows)
    (tmp_path / "ucfTrainTestlist/testlist01.txt").unlink()
    found = read(tmp_path)
    assert found.classes == tuple(CLASSES)
    assert (found.train, found.test) == ({1: OFFICIAL_TRAIN}, {1: TEST})
    write(tmp_path, "ucf101/label_map.txt", [*names[:3], "Surfing"])
    with pytest.raises(DataError, match=r"label_map\.txt: 'Surfing' of its label file is none of the classes"):
        read(tmp_path)


def test_defects_that_apply_are_told(tmp_path: Path) -> None:
    write_official(tmp_path / "official")
    write_vificlip(tmp_path / "vificlip")
    official, vificlip = ([d.id for d in read(tmp_path / form).defects] for form in ("official", "vificlip"))
    assert official == ["handstand-spelling"]
    assert vificlip == ["handstand-spelling", "msta-one-draw", "msta-own-lists"]
    assert [defect.id for defect in ucf101().defects] == vificlip
    notes = build_manifest(ucf101(), tmp_path / "official", tmp_path / "cache").notes
    assert any(note.startswith("known defect handstand-spelling: ") for note in notes)


def test_published_views() -> None:
    assert (ucf101().views, DATASETS.get("hmdb51")().views, DATASETS.get("ssv2")().views) == ((5, 3), (10, 3), (2, 3))


@pytest.mark.parametrize("layout", ["{name}", "UCF-101/{folder}/{name}", "{folder}/{stem}.mp4", "a/b/{name}"])
def test_clips_are_found_in_the_layouts_that_users_have(tmp_path: Path, layout: str) -> None:
    write_official(tmp_path)
    write_vificlip(tmp_path)
    for sample in (*OFFICIAL_TRAIN, *TEST):
        file = layout.format(name=sample.clip, stem=sample.clip[:-4], folder=CLASSES[sample.label])
        write(tmp_path, file, [sample.clip])
    manifest = build_manifest(ucf101(), tmp_path, tmp_path / "cache")
    assert (len(manifest.found), manifest.missing, manifest.ambiguous) == (12, (), {})


def test_zero_based_official_lists_are_detected(tmp_path: Path) -> None:
    write_official(tmp_path)
    rows = [f"{CLASSES[sample.label]}/{sample.clip} {sample.label}" for sample in OFFICIAL_TRAIN]
    write(tmp_path, "ucfTrainTestlist/trainlist01.txt", rows)
    assert read(tmp_path).train == {1: OFFICIAL_TRAIN}


def test_label_that_contradicts_the_file_name_is_refused(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    rows = [f"{clip(0, 1)} 1", f"{clip(1, 1)} 0"]
    write(tmp_path, "datasets_splits/ucf_splits/val1.txt", rows)
    with pytest.raises(DataError, match=r"val1\.txt, line 1: the label says 'BasketballDunk', .* says 'Archery'"):
        read(tmp_path)


def test_clip_in_train_and_test_is_refused_across_forms(tmp_path: Path) -> None:
    write_official(tmp_path)
    write_vificlip(tmp_path)
    write(tmp_path, "datasets_splits/ucf_splits/val1.txt", [f"{clip(0, 8)} 0"])
    with pytest.raises(DataError, match=r"'v_Archery_g08_c01\.avi' of the training list"):
        read(tmp_path)


def test_incomplete_base_to_novel_lists_are_named(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    (tmp_path / "labels" / "ucf_101_novel_labels.csv").unlink()
    (tmp_path / "datasets_splits/base2novel_splits/ucf_splits/novel_val.txt").unlink()
    with pytest.raises(DataError, match=r"incomplete: novel_val\.txt, ucf_101_novel_labels\.csv not found"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("remove", "message"),
    [("trainlist01.txt testlist01.txt classInd.txt", "no annotation lists"), ("classInd.txt", "no class names")],
)
def test_root_without_lists_or_names(tmp_path: Path, remove: str, message: str) -> None:
    write_official(tmp_path)
    for name in remove.split():
        (tmp_path / "ucfTrainTestlist" / name).unlink()
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_data_root_must_be_given_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ucf101 needs --data-root DIR"):
        ucf101().root(None)
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        ucf101().root(tmp_path / "nowhere")


# ---------------------------------------------------------------- real files


def test_real_lists(real_data: Path) -> None:
    found = read(real_data)
    assert len(found.classes) == 101
    assert {split: len(samples) for split, samples in found.train.items()} == {1: 9537, 2: 9586, 3: 9624}
    assert {split: len(samples) for split, samples in found.test.items()} == {1: 3783, 2: 3734, 3: 3696}
    assert {key: len(samples) for key, samples in found.few_shot.items()} == {
        (1, 2): 202, (1, 4): 404, (1, 8): 808, (1, 16): 1616
    }  # fmt: skip
    half = found.base_to_novel
    assert half is not None
    assert [len(x) for x in (half.base, half.novel, half.base_train, half.base_test, half.novel_test)] == [
        51, 50, 5385, 2088, 1695
    ]  # fmt: skip
    assert {draw: len(samples) for draw, samples in half.draws.items()} == {0: 816, 1: 816, 2: 816}
    assert [found.classes[label] for label in half.base[:2]] == ["Typing", "BasketballDunk"]
    for samples in half.draws.values():
        assert set(samples) <= set(half.base_train) <= set(found.train[1])
    assert {*half.base_test, *half.novel_test} == set(found.test[1])


def test_real_few_shot_lists_train_and_are_not_nested(real_data: Path) -> None:
    found = read(real_data)
    for samples in found.few_shot.values():
        assert set(samples) <= set(found.train[1])
    for fewer, more in ((2, 4), (4, 8), (8, 16)):
        assert not set(found.few_shot[1, fewer]) <= set(found.few_shot[1, more])
    half = found.base_to_novel
    assert half is not None
    assert len({*found.few_shot[1, 16]} & {*half.draws[0]}) == 112


def test_real_class_and_file_names_differ_in_a_letter(real_data: Path) -> None:
    found = read(real_data)
    label = found.classes.index("HandstandPushups")
    clips = [sample.clip for sample in found.test[1] if sample.label == label]
    assert clips
    assert all(clip.startswith("v_HandStandPushups_") for clip in clips)


def test_real_mmaction2_label_map_fits(real_data: Path, tmp_path: Path) -> None:
    names = (real_data / "annotations/mmaction2/label_maps/ucf101/label_map.txt").read_text().splitlines()
    write(tmp_path, "ucf101/label_map.txt", names)
    samples = read(real_data).test[1]
    rows = [f"{names[s.label]}/{s.clip[:-4]} 163 {s.label}" for s in samples]
    write(tmp_path, "ucf101_val_split_1_rawframes.txt", rows)
    assert read(tmp_path).test[1] == samples


def test_real_forms_agree(real_data: Path) -> None:
    forms = {name: set(read(real_data, lists=name).test[1]) for name in ("vificlip", "official", "text4vis")}
    assert forms["vificlip"] == forms["official"] == forms["text4vis"]


def test_real_clips_are_counted(real_data: Path, tmp_path: Path) -> None:
    manifest = build_manifest(ucf101(), real_data, tmp_path)
    assert (manifest.expected, len(manifest.found), len(manifest.ambiguous)) == (13_320, 48, 0)
