"""Kinetics-400 from its published lists: a small copy of every form, the real ones, and a list of full size."""

from __future__ import annotations

import random
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.api.setting import Case
from petl_bench.benchmarks.settings.base2novel import BaseToNovel
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import kinetics_lists as kinetics
from petl_bench.errors import DataError, UsageError

CLASSES = ["abseiling", "ice skating", "passing American football (not in game)", "petting animal (not cat)"]
FOLDERS = ["abseiling", "ice_skating", "passing_American_football_-not_in_game-", "petting_animal_-not_cat-"]


def k400(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("k400")(**fields)
    return created


def video(label: int, number: int) -> str:
    """An id that begins with `-` and holds `_`, as many do."""
    return f"-a_{label:04}_{number:03}"


def stem(label: int, number: int) -> str:
    return f"{video(label, number)}_000417_000427"


def write(root: Path, name: str, rows: list[str], end: str = "\n") -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(f"{row}{end}" for row in rows).encode())


def write_labels(root: Path, name: str = "kinetics_400_labels.csv", names: list[str] = CLASSES) -> None:
    write(root, f"labels/{name}", ["id,name", *(f"{i},{n}" for i, n in enumerate(names))], "\r\n")


def write_vificlip(root: Path) -> None:
    write_labels(root)
    write_labels(root, "kinetics_400_base_labels.csv", [CLASSES[3], CLASSES[1]])
    write_labels(root, "kinetics_400_novel_labels.csv", [CLASSES[2], CLASSES[0]])
    splits = root / "datasets_splits"
    full = [f"train/{stem(label, n)}.mp4 {label}" for label in range(4) for n in (7, 8, 9)]
    tiny = [f"train/{stem(label, n)}.mp4 {label}" for label in range(4) for n in (8, 9)]
    write(splits, "k400_splits/train.txt", full)
    write(splits, "k400_splits/train_tiny.txt", tiny, "\r\n")
    write(splits, "k400_splits/val.txt", [f"val/{stem(label, 1)}.mp4 {label}" for label in range(4)], "\r\n")
    base = splits / "base2novel_splits/k400_splits"
    write(base, "base_val.txt", [f"val/{stem(3, 1)}.mp4 0", f"val/{stem(1, 1)}.mp4 1"])
    write(base, "novel_val.txt", [f"val/{stem(2, 1)}.mp4 0", f"val/{stem(0, 1)}.mp4 1"])
    write(base, "fs_base_s1_train.txt", [f"train/{stem(3, 8)}.mp4 0", f"train/{stem(1, 9)}.mp4 1"])


def write_official(root: Path, part: str = "val", number: int = 1) -> None:
    rows = [f"{name},{video(label, number)},417,427,{part},0" for label, name in enumerate(CLASSES)]
    write(root, f"kinetics400/{part}.csv", ["label,youtube_id,time_start,time_end,split,is_cc", *rows])


def read(root: Path, **fields: Any) -> Annotations:
    return k400(**fields).annotations(root)


def samples(*numbers: int) -> tuple[Sample, ...]:
    return tuple(Sample(video(label, n), label) for label in range(4) for n in numbers)


# ---------------------------------------------------------------- names of clips

IDS = st.text(string.ascii_letters + string.digits + "-_", min_size=11, max_size=11)
TIMES = st.tuples(st.integers(0, 999_999), st.integers(0, 999_999)).map(lambda pair: f"_{pair[0]:06}_{pair[1]:06}")


@given(
    IDS | st.sampled_from(["-1_00041700", "_000417_000", "-----------", "a-_12_34567", "00000000000"]),
    st.sampled_from(["", "train/", "val/abseiling/", "a/b_000001_000011/"]),
    st.just("") | TIMES,
    st.sampled_from(["", ".mp4", ".MKV", ".webm"]),
)
def test_every_written_form_of_a_clip_is_its_id(video_id: str, folder: str, times: str, suffix: str) -> None:
    assert kinetics.clip_id(f"{folder}{video_id}{times}{suffix}") == video_id
    assert kinetics.identity(f"{video_id}{times}") == kinetics.identity(video_id)


@given(IDS, IDS)
def test_ids_stay_apart(first: str, second: str) -> None:
    if first.lstrip("-_") != second.lstrip("-_"):
        assert kinetics.identity(first) != kinetics.identity(second)


def test_letter_case_tells_clips_apart() -> None:
    assert k400().identity("AbCdEfGhIjK_000001_000011") != k400().identity("abcdefghijk_000001_000011")


@pytest.mark.parametrize(
    "layout",
    ["train/{stem}.mp4", "{id}.mp4", "{folder}/{id}.mkv", "compress/{name}/{stem}.webm", "all/{cut}.mp4"],
)
def test_clips_are_found_in_the_layouts_that_users_have(tmp_path: Path, layout: str) -> None:
    write_vificlip(tmp_path)
    for sample in (*samples(7, 8, 9), *samples(1)):
        file = layout.format(
            stem=f"{sample.clip}_000417_000427",
            id=sample.clip,
            cut=sample.clip.lstrip("-"),
            folder=FOLDERS[sample.label],
            name=CLASSES[sample.label],
        )
        write(tmp_path, file, [sample.clip])
    manifest = build_manifest(k400(), tmp_path, tmp_path / "cache")
    assert (len(manifest.found), manifest.missing, manifest.ambiguous) == (16, (), {})
    assert all(file.path.read_text().strip() == clip for clip, file in manifest.found.items())


# ---------------------------------------------------------------- forms


def test_vificlip_lists(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    found = read(tmp_path)
    assert found.classes == tuple(CLASSES)
    assert found.train == {1: samples(7, 8, 9)}
    assert found.test == {1: samples(1)}
    half = found.base_to_novel
    assert half is not None
    assert (half.base, half.novel, half.base_train) == ((3, 1), (2, 0), ())
    assert half.base_test == (Sample(video(3, 1), 3), Sample(video(1, 1), 1))
    assert half.draws == {0: (Sample(video(3, 8), 3), Sample(video(1, 9), 1))}
    assert [d.id for d in found.defects] == ["k400-validation-lists-differ", "k400-msta-base-to-novel-lists"]


def test_train_list(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    chosen = read(tmp_path, train_list="train_tiny")
    assert chosen.train == {1: samples(8, 9)}
    (tmp_path / "datasets_splits/k400_splits/train.txt").unlink()
    alone = read(tmp_path)
    assert alone.train == {1: samples(8, 9)}
    assert any("train_tiny.txt (8): no full training list" in note for note in alone.notes)
    assert not any("no full training list" in note for note in chosen.notes)
    write_official(tmp_path, "train", 7)
    assert read(tmp_path).train == {1: samples(7)}
    (tmp_path / "datasets_splits/k400_splits/train_tiny.txt").unlink()
    with pytest.raises(DataError, match=r"no train_tiny\.txt found below it"):
        read(tmp_path, train_list="train_tiny")


@pytest.mark.parametrize("labels", [True, False])
def test_official_csv(tmp_path: Path, labels: bool) -> None:
    write_official(tmp_path, "train", 7)
    write_official(tmp_path)
    if not labels:
        with pytest.raises(DataError, match="no class names found"):
            read(tmp_path)
        return
    write_labels(tmp_path)
    found = read(tmp_path)
    assert (found.train, found.test, found.defects) == ({1: samples(7)}, {1: samples(1)}, ())
    assert found == read(tmp_path, lists="official")


def test_official_csv_that_names_all_classes_needs_no_label_file(tmp_path: Path) -> None:
    names = sorted((f"action {i}" for i in range(400)), key=str.casefold)
    rows = [f"{name},{video(i, 1)},1,11,val" for i, name in reversed(list(enumerate(names)))]
    write(tmp_path, "kinetics-400_val.csv", ["label,youtube_id,time_start,time_end,split", *rows])
    found = read(tmp_path)
    assert found.classes == tuple(names)
    assert found.test[1][0] == Sample(video(399, 1), 399)


def test_official_test_list_has_no_labels(tmp_path: Path) -> None:
    write_labels(tmp_path)
    write(tmp_path, "kinetics400/test.csv", ["youtube_id,time_start,time_end,split", f"{video(0, 1)},1,11,test"])
    with pytest.raises(DataError, match=r"test\.csv, line 1: no column `label`.*validation list"):
        read(tmp_path, lists="official")
    write_official(tmp_path)
    assert read(tmp_path, lists="official").test == {1: samples(1)}


def test_text4vis_lists(tmp_path: Path) -> None:
    write_labels(tmp_path)
    frames = [f"{video(label, 1)} {250 + label} {label}" for label in range(4)]
    write(tmp_path, "lists/k400/kinetics_rgb_val_se320.txt", frames)
    assert read(tmp_path).test == {1: samples(1)}
    videos = [f"{video(label, 2)}.mp4 {label}" for label in range(4)]
    write(tmp_path, "lists/k400/kinetics_video_val_se320.txt", videos)
    assert read(tmp_path).test == {1: samples(2)}


def actionclip_rows(prefix: str = "/public/datasets/k400/frames") -> list[str]:
    return [f"{prefix}/{FOLDERS[label]}/{video(label, 1)} 250 {label}" for label in range(4)]


@pytest.mark.parametrize("prefix", ["/public/datasets/k400/frames", "D:\\data\\frames", "frames", "//server/../../etc"])
def test_actionclip_list_loses_the_path_of_its_authors(tmp_path: Path, prefix: str) -> None:
    write_labels(tmp_path)
    write(tmp_path, "lists/k4001/val_frames_re.txt", actionclip_rows(prefix), "\r\n")
    found = read(tmp_path)
    assert found.test == {1: samples(1)}
    assert [d.id for d in found.defects] == ["k400-validation-lists-differ", "k400-actionclip-ids"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("/data/ice_skating/abcdefghijk 250 0", r"the label says 'abseiling', .* says 'ice_skating'"),
        ("/data/../.. 250 0", "leaves the data root"),
        ("../ice_skating/abcdefghijk 250 0", "leaves the data root"),
        ("/ 250 0", "names no clip|absolute"),
        ("/data/ice_skating/abcdefghijk 1", "expected a clip and a number"),
        ("/data/ice_skating/abcdefghijk many 1", "the number of frames 'many' is not a whole number"),
    ],
)
def test_bad_actionclip_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    write_labels(tmp_path)
    write(tmp_path, "lists/k4001/val_frames_re.txt", [*actionclip_rows(), row], "\r\n")
    with pytest.raises(DataError, match=rf"val_frames_re\.txt, line 5: .*({message})") as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)


def test_mmaction2_lists(tmp_path: Path) -> None:
    write(tmp_path, "kinetics/label_map_k400.txt", CLASSES)
    frames = [f"{FOLDERS[label]}/{stem(label, 1)} 300 {label}" for label in range(4)]
    write(tmp_path, "kinetics400_val_list_rawframes.txt", frames)
    assert read(tmp_path).test == {1: samples(1)}
    write(tmp_path, "kinetics400_val_list_videos.txt", [f"{stem(label, 2)}.mp4 {label}" for label in range(4)])
    assert read(tmp_path, lists="mmaction2").test == {1: samples(2)}
    write(tmp_path, "kinetics400_val_list_videos.txt", [f"{stem(0, 2)}.mp4 0 3"])
    with pytest.raises(DataError, match=r"list_videos\.txt, line 1: several numbers follow the clip"):
        read(tmp_path)


def test_numbered_class_names(tmp_path: Path) -> None:
    write(tmp_path, "Kinetics-400_label_list.txt", [f"{i} {name.replace(' ', '_')}" for i, name in enumerate(CLASSES)])
    write(tmp_path, "val.txt", [f"{stem(label, 1)}.mp4 {label}" for label in range(4)])
    assert read(tmp_path).classes == tuple(CLASSES)
    write(tmp_path, "Kinetics-400_label_list.txt", ["0 abseiling", "2 ice_skating"])
    with pytest.raises(DataError, match=r"line 2: expected `1 <class name>`, found '2 ice_skating'"):
        read(tmp_path)


# ---------------------------------------------------------------- lists that do not fit


@pytest.mark.parametrize(
    ("file", "rows", "message"),
    [
        (
            "k400_splits/val.txt",
            ["val/{0}.mp4 0", "val/{1}.mp4 4"],
            r"val\.txt, line 2: label 4 .* outside",
        ),
        (
            "k400_splits/val.txt",
            ["val/{0}.mp4 0", "val/{0}_000001_000011.mp4 1"],
            "line 2: the video .* on line 1",
        ),
        ("k400_splits/val.txt", ["train/{9}.mp4 0"], "stands in the test list test 1 too"),
        ("k400_splits/val.txt", ["val/{1}.mp4 0"], "the two lists do not belong together"),
        ("k400_splits/val.txt", ["{0} 0 1 2"], r"val\.txt, line 1"),
        ("base2novel_splits/k400_splits/base_val.txt", ["val/{1}.mp4 2"], r"base_val\.txt, line 1: label 2"),
    ],
)
def test_lists_that_do_not_fit_are_one_line(tmp_path: Path, file: str, rows: list[str], message: str) -> None:
    write_vificlip(tmp_path)
    ids = [video(0, 9) if n == 9 else video(n, 1) for n in range(10)]
    write(tmp_path, f"datasets_splits/{file}", [row.format(*ids) for row in rows])
    with pytest.raises(DataError, match=message) as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["name,id"], r"line 1: expected the header label,youtube_id,time_start,time_end,split"),
        (["label,youtube_id,time_start,time_end,split"], "no clip is listed"),
        (["label,youtube_id,time_start,time_end,split", "abseiling,abc,1,11,val"], "line 2: 'abc' is no YouTube id"),
        (["label,youtube_id,time_start,time_end,split", "abseiling,../abcdefgh,1,11,val"], "is no YouTube id"),
        (
            ["label,youtube_id,time_start,time_end,split", "abseiling,abcdefghijk"],
            "line 2: expected 5 columns",
        ),
        (
            ["label,youtube_id,time_start,time_end,split", "flying,abcdefghijk,1,11,val"],
            "'flying' .* none of the",
        ),
    ],
)
def test_bad_official_csv(tmp_path: Path, rows: list[str], message: str) -> None:
    write_labels(tmp_path)
    write(tmp_path, "kinetics-400_val.csv", rows)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_csv_of_another_kind_is_not_taken_for_the_official_one(tmp_path: Path) -> None:
    write_vificlip(tmp_path)
    write(tmp_path, "train.csv", ["path,label", "a.mp4,0"])
    assert read(tmp_path).train == {1: samples(7, 8, 9)}


def test_data_root_must_be_given() -> None:
    with pytest.raises(DataError, match="k400 needs --data-root DIR"):
        k400().root(None)
    with pytest.raises(UsageError, match="train_list"):
        k400(train_list="tiny")


def test_contract() -> None:
    assert k400().views == (4, 3)
    assert len({defect.id for defect in k400().defects}) == 3


# ---------------------------------------------------------------- size


def test_lists_of_full_size_are_read_in_seconds(tmp_path: Path) -> None:
    draw = random.Random(0)
    letters = string.ascii_letters + string.digits + "-_"
    names = [f"action {i}" for i in range(400)]
    write_labels(tmp_path, names=names)
    ids = list({"".join(draw.choices(letters, k=11)) for _ in range(260_000)})
    train, val = ids[:240_000], ids[240_000:260_000]
    write(tmp_path, "k400_splits/train.txt", [f"train/{v}_000001_000011.mp4 {i % 400}" for i, v in enumerate(train)])
    write(tmp_path, "k400_splits/val.txt", [f"val/{v}_000001_000011.mp4 {i % 400}" for i, v in enumerate(val)])
    start = time.process_time()
    found = read(tmp_path)
    seconds = time.process_time() - start
    assert (len(found.train[1]), len(found.test[1])) == (240_000, len(val))
    assert seconds < 15, f"{seconds:.1f} s"  # about 3 s; a list read in quadratic time takes minutes


# ---------------------------------------------------------------- real files


def test_real_lists(real_data: Path) -> None:
    found = read(real_data)
    assert len(found.classes) == 400
    assert {split: len(rows) for split, rows in found.test.items()} == {1: 19_877}
    assert len(found.train[1]) == 4_000  # the sample of train_tiny.txt is cut
    assert sum(sample.clip.startswith("-") for sample in found.test[1]) == 643
    assert {len(sample.clip) for sample in (*found.train[1], *found.test[1])} == {11}
    half = found.base_to_novel
    assert half is not None
    assert [len(x) for x in (half.base, half.novel, half.base_train, half.base_test, half.novel_test)] == [
        200, 200, 0, 9_944, 9_933
    ]  # fmt: skip
    assert {draw: len(rows) for draw, rows in half.draws.items()} == {0: 3_200, 1: 3_200, 2: 3_200}
    assert {*half.base_test, *half.novel_test} == set(found.test[1])


def test_real_base_to_novel(real_data: Path) -> None:
    found = read(real_data)
    for seed in (0, 1, 2):
        task = BaseToNovel().task(found, Case("1", 16, seed))
        base, novel = task.evaluations
        assert (len(task.train_classes), len(base.classes), len(novel.classes)) == (200, 200, 200)
        assert (len(task.train), len(base.samples), len(novel.samples)) == (3_200, 9_944, 9_933)
        assert task.source.startswith(f"published draw {seed + 1};")


def test_real_official_list_says_what_the_numbered_lists_say(real_data: Path) -> None:
    official, vificlip = read(real_data, lists="official"), read(real_data, lists="vificlip")
    assert len(official.test[1]) == 3_999
    labels = {sample.clip: sample.label for sample in vificlip.test[1]}
    shared = [sample for sample in official.test[1] if sample.clip in labels]
    assert len(shared) > 3_900
    assert all(labels[sample.clip] == sample.label for sample in shared)


def test_real_actionclip_list(real_data: Path) -> None:
    found = read(real_data, lists="actionclip")
    assert len(found.test[1]) == 2_000  # the sample is cut
    assert sum(len(sample.clip) < 11 for sample in found.test[1]) == 85
    identity = k400().identity
    labels = {identity(sample.clip): sample.label for sample in read(real_data, lists="vificlip").test[1]}
    shared = [sample for sample in found.test[1] if identity(sample.clip) in labels]
    assert len(shared) > 1_980
    assert all(labels[identity(sample.clip)] == sample.label for sample in shared)


def test_real_identities_are_unique(real_data: Path) -> None:
    found = read(real_data)
    clips = {sample.clip for sample in (*found.train[1], *found.test[1])}
    assert len(set(map(k400().identity, clips))) == len(clips)


def test_real_class_files_agree(real_data: Path) -> None:
    annotations = real_data / "annotations"
    names = formats.read_classes(annotations / "vificlip/labels/kinetics_400_labels.csv")
    assert names == formats.read_classes(annotations / "text4vis/labels/kinetics_400_labels.csv")
    assert names == formats.read_classes(annotations / "mmaction2/label_maps/kinetics/label_map_k400.txt")
    assert names == tuple(sorted(names, key=str.casefold))
