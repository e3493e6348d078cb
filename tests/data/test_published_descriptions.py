"""The published description files: counts, defects, and which of them a folder gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from petl_bench.api.dataset import Dataset
from petl_bench.api.registry import DATASETS
from petl_bench.data.lists.annotation_formats import read_class_csv
from petl_bench.data.lists.descriptions import descriptions_for
from petl_bench.errors import DataError


class Plain(Dataset):
    """A data set without descriptions."""

    name = "plain"


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
@pytest.mark.parametrize("label_names", ["published", "corrected"])
def test_real_descriptions_fit_base_novel_and_all_classes(real_data: Path, name: str, label_names: str) -> None:
    dataset = DATASETS.get(name)(**({"label_names": label_names} if name == "hmdb51" else {}))
    annotations = dataset.annotations(real_data)
    half = annotations.base_to_novel
    folder = real_data / "annotations" / "msta_descriptions"
    for labels, end in ((half.base, "_base"), (half.novel, "_novel"), (range(len(annotations.classes)), "")):
        classes = [annotations.classes[label] for label in labels]
        found = descriptions_for(dataset, classes, 2, folder)
        assert all(file.endswith(("_101" + end + ".json", "_hmdb" + end + ".json")) for file in found.files)
        assert all(len(texts) == 2 for texts in (*found.spatial.values(), *found.temporal.values()))
        assert all("sword exercise" in texts[0] for c, texts in found.temporal.items() if c == "sword exercise")
        assert all("kick ball" not in texts[0] for c, texts in found.temporal.items() if c == "kick")


#: Published file: entries, sentences, and the notes that reading all of it gives.
SQUASHED = (
    "are named by words written together in their temporal sentences, e.g. 'applyeyemakeup' for 'apply eye makeup'"
)
PUBLISHED: dict[str, tuple[int, int, list[str]]] = {
    "2_s_description_hmdb": (51, 102, []),
    "2_s_description_hmdb_base": (26, 52, []),
    "2_s_description_hmdb_novel": (25, 50, []),
    "2_s_description_k400": (400, 800, []),
    "2_s_description_k400_base": (200, 400, []),
    "2_s_description_k400_novel": (200, 400, []),
    "2_s_description_ssv2": (174, 348, []),
    "2_s_description_ssv2_base": (87, 174, []),
    "2_s_description_ssv2_novel": (87, 174, []),
    "2_s_description_ucf_101": (101, 202, []),
    "2_s_description_ucf_101_base": (51, 102, []),
    "2_s_description_ucf_101_novel": (50, 100, []),
    "2_t_description_hmdb": (51, 102, ["2 temporal sentences: continues another sentence, e.g. of 'clap'"]),
    "2_t_description_hmdb_base": (26, 52, ["2 classes are named otherwise in their temporal sentences, e.g. 'situp'"]),
    "2_t_description_hmdb_novel": (
        25,
        50,
        ["2 classes have temporal sentences that do not name their class, e.g. 'cl"],
    ),
    "2_t_description_k400": (400, 800, ["26 classes are named otherwise in their temporal sentences"]),
    "2_t_description_k400_base": (200, 400, ["9 classes are named otherwise in their temporal sentences"]),
    "2_t_description_k400_novel": (200, 400, ["17 classes are named otherwise in their temporal sentences"]),
    "2_t_description_ssv2": (174, 348, ["1 classes are named otherwise", "42 temporal sentences: holds brackets"]),
    "2_t_description_ssv2_base": (87, 174, ["14 temporal sentences: holds brackets"]),
    "2_t_description_ssv2_novel": (87, 174, ["28 temporal sentences: holds brackets"]),
    "2_t_description_ucf_101": (101, 202, [f"77 classes {SQUASHED}"]),
    "2_t_description_ucf_101_base": (51, 102, ["35 classes are named by words written together"]),
    "2_t_description_ucf_101_novel": (50, 100, ["42 classes are named by words written together"]),
    "8_s_description_k400": (
        400,
        3193,
        [
            "1 classes have fewer than 8 spatial sentences, e.g. 'kicking field goal' has 1",
            "98 spatial sentences of 14 classes do not begin 'A video about'",
            "8 spatial sentences: repeats the instruction, e.g. of 'tickling'",
            "8 spatial sentences: holds brackets, mark-up or line breaks, e.g. of 'snowboarding'",
            "9 spatial sentences: holds several sentences, e.g. of 'kicking field goal'",
        ],
    ),
    "8_s_description_ssv2": (
        174,
        1392,
        ["8 spatial sentences: repeats the instruction, e.g. of 'Pulling something from l"],
    ),
    "8_s_description_ucf_101": (101, 808, ["21 spatial sentences of 3 classes do not begin 'A video about'"]),
    "8_t_description_ssv2": (174, 1392, []),
    "8_t_description_ucf_101": (101, 808, [f"77 classes {SQUASHED}"]),
}
LABELS = {"hmdb": "hmdb_51", "k400": "kinetics_400", "ssv2": "ssv2_174", "ucf_101": "ucf_101"}


def published_classes(real_data: Path, name: str, half: str) -> list[str]:
    file = "ssv2_labels.csv" if (name, half) == ("ssv2", "") else f"{LABELS[name]}{half}_labels.csv"
    return list(read_class_csv(real_data / "annotations" / "vificlip" / "labels" / file))


def parts(stem: str) -> tuple[int, str, str, str]:
    """Count, kind, data set and half of a published name."""
    match = re.fullmatch(r"(\d)_([st])_description_(.+?)(_base|_novel)?", stem)
    assert match is not None
    return int(match[1]), {"s": "spatial", "t": "temporal"}[match[2]], match[3], match[4] or ""


def test_every_published_file_is_expected(real_data: Path) -> None:
    found = {file.stem for file in (real_data / "annotations" / "msta_descriptions").glob("*.json")}
    assert found == set(PUBLISHED)


@pytest.mark.parametrize("stem", PUBLISHED)
def test_published_file_with_its_counts_and_defects(real_data: Path, stem: str) -> None:
    count, kind, name, half = parts(stem)
    entries, sentences, notes = PUBLISHED[stem]
    file = real_data / "annotations" / "msta_descriptions" / f"{stem}.json"
    classes = published_classes(real_data, name, half)
    found = descriptions_for(Plain(), classes, count, file, kinds=[kind])
    assert len(found.sentences[kind]) == len(classes) == entries
    assert sum(map(len, found.sentences[kind].values())) == sentences
    for note in notes:
        assert any(line.startswith(note) for line in found.notes), (note, found.notes)
    if not notes:
        assert found.notes == ()


@pytest.mark.parametrize("stem", PUBLISHED)
def test_published_file_for_other_classes_or_in_another_order(real_data: Path, stem: str) -> None:
    """Rotated by one place, or given the other half: refused, but where hardly a sentence names its class."""
    count, kind, name, half = parts(stem)
    file = real_data / "annotations" / "msta_descriptions" / f"{stem}.json"
    classes = published_classes(real_data, name, half)
    others = [[*classes[1:], classes[0]]]
    if half:
        others.append(published_classes(real_data, name, "_novel" if half == "_base" else "_base"))
    if kind == "spatial" and name == "hmdb" and half:
        assert "spatial" in descriptions_for(Plain(), others[0], count, file, kinds=[kind]).sentences
        return
    for other in others:
        with pytest.raises(DataError, match=f"{stem}.json: .*the file belongs to other classes"):
            descriptions_for(Plain(), other, count, file, kinds=[kind])


@pytest.mark.parametrize("kinds", [("spatial", "temporal"), ("spatial",), ("temporal",)])
@pytest.mark.parametrize("half", ["", "_base", "_novel"])
@pytest.mark.parametrize("name", ["k400", "ssv2", "ucf101", "hmdb51"])
def test_the_folder_gives_the_published_files_of_each_data_set(
    real_data: Path, name: str, half: str, kinds: tuple[str, ...]
) -> None:
    dataset = DATASETS.get(name)()
    published = {"ucf101": "ucf_101", "hmdb51": "hmdb"}.get(name, name)
    folder = real_data / "annotations" / "msta_descriptions"
    every = published_classes(real_data, published, "")
    found = descriptions_for(dataset, published_classes(real_data, published, half), 2, folder, every, kinds)
    letters = {"spatial": "s", "temporal": "t"}
    assert list(found.files) == [f"2_{letters[kind]}_description_{published}{half}.json" for kind in kinds]


def test_eight_sentences_of_k400_are_spatial_alone(real_data: Path) -> None:
    dataset = DATASETS.get("k400")()
    folder = real_data / "annotations" / "msta_descriptions"
    classes = published_classes(real_data, "k400", "")
    for count in (4, 8):
        found = descriptions_for(dataset, classes, count, folder, classes, ["spatial"])
        assert list(found.files) == ["8_s_description_k400.json"]
        assert len(found.spatial["kicking field goal"]) == 1 and len(found.spatial["abseiling"]) == count
    with pytest.raises(DataError, match="no spatial and temporal file with 8 or more sentences for 400 or 400 classes"):
        descriptions_for(dataset, classes, 8, folder, classes)
