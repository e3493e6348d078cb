"""Which clips come from one source video: by their names, by a list of one's own, and beside the predictions."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from petl_bench.api.registry import DATASETS
from petl_bench.errors import DataError


@pytest.mark.parametrize(
    ("dataset", "clip", "group"),
    [
        ("ucf101", "Archery/v_Archery_g03_c07.avi", "v_Archery_g03"),
        ("ucf101", "v_HandStandPushups_g25_c01", "v_HandStandPushups_g25"),
        ("ucf101", "my_own_clip.mp4", "my_own_clip.mp4"),
        ("hmdb51", "April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09"),
        ("hmdb51", "sword/TheBoondockSaints_draw_sword_f_cm_np1_ri_med_12.avi", "TheBoondockSaints"),
        ("hmdb51", "TheBoondockSaints_sword_f_cm_np2_ri_med_2.avi", "TheBoondockSaints"),
        ("hmdb51", "brush_hair.avi", "brush_hair.avi"),
        ("k400", "abseiling/-egPJubR-CE_000001_000011.mp4", "egPJubR-CE"),
        ("k600", "-egPJubR-CE.mp4", "egPJubR-CE"),
        ("activitynet", "val/v_7zJXYuFYhrs_2.mp4", "7zJXYuFYhrs"),
        ("ssv2", "78687.webm", "78687.webm"),
        ("motion", "spin/0001.mp4", "spin/0001.mp4"),
    ],
)
def test_the_group_follows_from_the_name(dataset: str, clip: str, group: str) -> None:
    assert DATASETS.get(dataset)().group_of(clip) == group


def test_published_lists_have_as_many_groups_as_they_have_sources(real_data: Path) -> None:
    ucf101 = DATASETS.get("ucf101")()
    lines = (real_data / "annotations/vificlip/datasets_splits/ucf_splits/val1.txt").read_text().split("\n")
    clips = [line.rsplit(" ", 1)[0] for line in lines if line.strip()]
    assert (len(clips), len({ucf101.group_of(clip) for clip in clips})) == (3783, 707)
    hmdb51 = DATASETS.get("hmdb51")()
    with (real_data / "annotations/milnce/hmdb51.csv").open() as file:
        names = [row["video_id"] for row in csv.DictReader(file) if row["split1"] == "2"]
    assert len(names) == 1530
    assert len({hmdb51.group_of(name) for name in names}) == 478


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of two classes and eight clips, cut from four films."""
    for name in ("run", "walk"):
        for number in range(4):
            file = tmp_path / name / f"{number}.mp4"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"")
    rows = [f"{name}/{number}.mp4,film {number // 2} of {name}" for name in ("run", "walk") for number in range(4)]
    (tmp_path / "films.csv").write_text("\n".join(["clip,group", *rows]) + "\n")
    return tmp_path


def test_a_folder_names_its_groups_in_a_column(films: Path) -> None:
    dataset = DATASETS.get("folder")(path=str(films), groups="films.csv")
    found = dataset.annotations(films)
    assert found.groups["run/3.mp4"] == "film 1 of run"
    assert len(set(found.groups.values())) == 4
    without = DATASETS.get("folder")(path=str(films))
    assert without.annotations(films).files == found.files, "groups change no manifest"
    assert without.values() == dataset.values(), "groups change no key"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("clip,film\nrun/0.mp4,a\n", "columns clip and group"),
        ("clip,group\n", "columns clip and group"),
        ("clip,group\nrun/9.mp4,a\n", "line 2: 'run/9.mp4' is none of the 8 clips"),
        ("clip,group\nrun/0.mp4,\n", "line 2: 'run/0.mp4' needs one group"),
        ("clip,group\nrun/0.mp4,a\nrun/0.mp4,b\n", "line 3: 'run/0.mp4' needs one group, here 'b'"),
    ],
)
def test_a_list_of_groups_that_cannot_be_used_names_the_line(films: Path, rows: str, words: str) -> None:
    (films / "films.csv").write_text(rows)
    with pytest.raises(DataError, match=r"films\.csv") as caught:
        DATASETS.get("folder")(path=str(films), groups="films.csv").annotations(films)
    assert words in str(caught.value)
