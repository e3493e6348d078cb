"""ActivityNet from its published lists, whose label files number the same classes in different orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.benchmarks.datasets.activitynet import clip_name, video_of
from petl_bench.data.found.manifest import build_manifest
from petl_bench.errors import DataError

TEXT4VIS = ["Applying sunscreen", "Archery", "Arm wrestling", "Zumba"]
MMACTION2 = ["Applying sunscreen", "Arm wrestling", "Zumba", "Archery"]
#: Two ids differ in letter case alone, one starts with a hyphen.
TEST = tuple(
    Sample(video, label) for label, video in enumerate(["wONwHYy59Tc", "-DG--pjY5gg", "wonwhyy59tc", "ycA2gq_hPGk"])
)
TRAIN = tuple(Sample(f"FWbCX1wBVo{label}_{instance}", label) for label in range(4) for instance in (0, 11))


def activitynet(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("activitynet")(**fields)
    return created


def read(root: Path, **fields: Any) -> Annotations:
    return activitynet(**fields).annotations(root)


def write(root: Path, name: str, rows: list[str]) -> None:
    """The rows without final newline, as published."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows))


def write_text4vis(root: Path) -> None:
    write(root, "lists/anet1.3_labels.csv", ["id,name", *(f"{i},{name}" for i, name in enumerate(TEXT4VIS))])
    write(root, "lists/anet/anet_val_video_fps1.txt", [f"{s.clip} 193 {s.label}" for s in TEST])
    write(root, "lists/anet/anet_train_instance_fps1.txt", [f"{s.clip} 12 {s.label}" for s in TRAIN])


def write_mmaction2(root: Path, first: int = 0) -> None:
    write(root, "activitynet/label_map.txt", MMACTION2)
    rows = [f"v_{s.clip} 5790 {MMACTION2.index(TEXT4VIS[s.label]) + first}" for s in TEST]
    write(root, "anet_val_video.txt", rows)


def test_text4vis_lists(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    found = read(tmp_path)
    assert (found.classes, found.train, found.test) == (tuple(TEXT4VIS), {1: TRAIN}, {1: TEST})
    assert "lists read: text4vis" in found.notes
    assert [defect.id for defect in found.defects] == ["two-label-orders"]


@pytest.mark.parametrize("first", [0, 1])
def test_mmaction2_lists_take_their_own_label_file(tmp_path: Path, first: int) -> None:
    write_mmaction2(tmp_path, first)
    found = read(tmp_path)
    assert found.classes == tuple(MMACTION2)
    assert {s.clip: found.classes[s.label] for s in found.test[1]} == {s.clip: TEXT4VIS[s.label] for s in TEST}


def test_numbers_of_two_label_files_are_never_mixed(tmp_path: Path) -> None:
    """Training clips from one form, test clips from the other: each list's numbers mean its own label file."""
    write_text4vis(tmp_path)
    write_mmaction2(tmp_path)
    (tmp_path / "lists/anet/anet_val_video_fps1.txt").unlink()
    found = read(tmp_path)
    assert found.classes == tuple(TEXT4VIS)
    assert (found.train, found.test) == ({1: TRAIN}, {1: TEST})
    assert set(found.files) >= {"lists/anet1.3_labels.csv", "activitynet/label_map.txt"}


def test_list_without_its_own_label_file_is_refused(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    write_mmaction2(tmp_path)
    (tmp_path / "activitynet/label_map.txt").unlink()
    with pytest.raises(DataError, match=r"anet_val_video\.txt: its label file activitynet/label_map\.txt is not there"):
        read(tmp_path)
    assert read(tmp_path, lists="text4vis").test == {1: TEST}
    (tmp_path / "lists/anet1.3_labels.csv").unlink()
    with pytest.raises(DataError, match=r"fps1\.txt: its label file anet1\.3_labels\.csv is not there"):
        read(tmp_path, lists="text4vis")


def test_label_files_of_other_classes_are_refused(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    write_mmaction2(tmp_path)
    write(tmp_path, "activitynet/label_map.txt", ["Applying sunscreen", "Arm wrestling", "Zumba", "Abseiling"])
    (tmp_path / "lists/anet/anet_val_video_fps1.txt").unlink()
    with pytest.raises(DataError, match=r"label_map\.txt: 'Abseiling' of its label file is none of the classes"):
        read(tmp_path)


def test_full_list_is_a_test_split_of_its_own(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    rows = [f"activitynet_train_resize//{s.clip} 141 {s.label}" for s in TEST]
    write(tmp_path, "lists/anet/anet_full_for_zeroshot.txt", [*rows, "val/sJFgo9H6zNo 141 0"])
    found = read(tmp_path, lists="text4vis_full")
    assert (found.train, found.test) == ({}, {1: (*TEST, Sample("sJFgo9H6zNo", 0))})
    assert read(tmp_path).test == {1: TEST}


def test_parts_of_a_frame_folder_are_refused(tmp_path: Path) -> None:
    write_mmaction2(tmp_path)
    rows = ["v_-DG--pjY5gg 0 80 1", "v_ycA2gq_hPGk 120 60 2"]
    write(tmp_path, "anet_train_clip.txt", rows)
    with pytest.raises(DataError, match=r"anet_train_clip\.txt, line 2: .* 'v_ycA2gq_hPGk': .* from frame 120 on"):
        read(tmp_path)


def test_instance_of_a_test_video_is_refused(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    write(tmp_path, "lists/anet/anet_train_instance_fps1.txt", ["FWbCX1wBVo1_0 12 0", "-DG--pjY5gg_3 12 1"])
    with pytest.raises(
        DataError, match=r"'-DG--pjY5gg_3' of the training list train 1 stands in the test list test 1 too"
    ):
        read(tmp_path)


def test_label_outside_the_label_file_is_refused(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    write(tmp_path, "lists/anet/anet_val_video_fps1.txt", ["wONwHYy59Tc 193 0", "ycA2gq_hPGk 20 4"])
    with pytest.raises(DataError, match=r"line 2: label 4 .* outside the 4 classes"):
        read(tmp_path)


def test_videos_are_found_by_id_and_letter_case(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    for name in (
        "v_wONwHYy59Tc.mp4",
        "wonwhyy59tc.mkv",
        "v_-DG--pjY5gg.mp4",
        "v_FWbCX1wBVo1_11.mp4",
        "YCA2GQ_HPGK.mp4",
    ):
        write(tmp_path, f"videos/{name}", [name])
    found = build_manifest(activitynet(), tmp_path, tmp_path / "cache").found
    assert {clip: file.path.name for clip, file in found.items()} == {
        "wONwHYy59Tc": "v_wONwHYy59Tc.mp4",
        "wonwhyy59tc": "wonwhyy59tc.mkv",
        "-DG--pjY5gg": "v_-DG--pjY5gg.mp4",
        "FWbCX1wBVo1_11": "v_FWbCX1wBVo1_11.mp4",
    }


def test_instances_and_videos_as_folders_of_frames_are_found(tmp_path: Path) -> None:
    write_text4vis(tmp_path)
    for clip in ("v_-DG--pjY5gg", "wONwHYy59Tc", "FWbCX1wBVo1_0", "FWbCX1wBVo1_11"):
        write(tmp_path, f"frames/{clip}/img_00001.jpg", [clip])
    found = build_manifest(activitynet(), tmp_path, tmp_path / "cache").found
    assert set(found) == {"-DG--pjY5gg", "wONwHYy59Tc", "FWbCX1wBVo1_0", "FWbCX1wBVo1_11"}


IDS = st.text("abcXYZ019_-", min_size=11, max_size=11).filter(lambda video: not video.startswith("v_"))


@given(IDS, st.sampled_from(["", "_0", "_12"]), st.sampled_from(["", ".mp4", ".webm"]), st.sampled_from(["", "x/"]))
def test_an_id_has_one_name(video: str, instance: str, suffix: str, folder: str) -> None:
    assert clip_name(f"{folder}v_{video}{instance}{suffix}") == f"{video}{instance}"
    assert clip_name(f"{folder}{video}{instance}{suffix}") == f"{video}{instance}"
    assert activitynet().identity(f"v_{video}{instance}") == f"{video}{instance}"
    assert video_of(f"{video}{instance}") == video


def test_other_names_stay_as_they_are() -> None:
    assert (clip_name("my clip.mp4"), video_of("my clip")) == ("my clip", "my clip")


# ---------------------------------------------------------------- real files


def test_real_lists(real_data: Path) -> None:
    found = read(real_data)
    assert (len(found.classes), found.classes[1]) == (200, "Archery")
    assert len(found.test[1]) == len({sample.clip for sample in found.test[1]}) == 4_926
    assert {sample.label for sample in found.test[1]} == set(range(200))
    assert sum(sample.clip.startswith("-") for sample in found.test[1]) == 78
    assert found.test[1][-1] == Sample("ycA2gqWhPGk", 192)


def test_real_label_files_agree_on_names_but_not_on_numbers(real_data: Path, tmp_path: Path) -> None:
    text4vis = read(real_data)
    label_map = real_data / "annotations/mmaction2/label_maps/activitynet/label_map.txt"
    names = label_map.read_text().splitlines()
    write(tmp_path, "activitynet/label_map.txt", names)
    rows = [f"v_{s.clip} 100 {names.index(text4vis.classes[s.label])}" for s in text4vis.test[1]]
    write(tmp_path, "anet_val_video.txt", rows)
    mmaction2 = read(tmp_path)
    assert set(mmaction2.classes) == set(text4vis.classes)
    assert sum(a == b for a, b in zip(mmaction2.classes, text4vis.classes, strict=True)) == 1
    assert {s.clip: mmaction2.classes[s.label] for s in mmaction2.test[1]} == {
        s.clip: text4vis.classes[s.label] for s in text4vis.test[1]
    }
