"""Descriptions: published files in their own order, files keyed by class, a data set's own, and templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petl_bench.api.dataset import Dataset
from petl_bench.api.registry import DATASETS
from petl_bench.data.lists.descriptions import descriptions_for, template_descriptions
from petl_bench.errors import DataError

CLASSES = ["Typing", "BasketballDunk", "brush hair"]


class Plain(Dataset):
    """A data set without descriptions."""

    name = "plain"


class Described(Dataset):
    """A data set with its own descriptions."""

    name = "described"

    def descriptions(self, classes: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[str]]] | None:
        return {name: {"spatial": ["s1", "s2", "s3"], "temporal": ["t1", "t2"]} for name in classes}


def pair(
    folder: Path, names: Sequence[str], count: int = 2, start: str = "2", end: str = "description_ucf_101.json"
) -> Path:
    """A published pair of files for these classes; returns its pattern."""
    spatial = {str(i): [f"A video about {n} {k}." for k in range(count)] for i, n in enumerate(names)}
    temporal = {
        str(i): [f"A video of {n.lower()} generally involves the following step: {k}." for k in range(count)]
        for i, n in enumerate(names)
    }
    (folder / f"{start}_s_{end}").write_text(json.dumps(spatial))
    (folder / f"{start}_t_{end}").write_text(json.dumps(temporal))
    return folder / f"{start}_{{kind}}_{end}"


def save(folder: Path, content: Any, name: str = "mine.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_published_pair_is_read_in_the_order_of_the_classes(tmp_path: Path) -> None:
    found = descriptions_for(Plain(), CLASSES, 1, pair(tmp_path, CLASSES))
    assert found.spatial == {name: [f"A video about {name} 0."] for name in CLASSES}
    assert [texts[0].split(" generally")[0] for texts in found.temporal.values()] == [
        "A video of typing", "A video of basketballdunk", "A video of brush hair"
    ]  # fmt: skip
    assert set(found.files) == {"2_s_description_ucf_101.json", "2_t_description_ucf_101.json"}
    assert all(digest[:12] in found.source for digest in found.files.values())


def test_file_for_all_classes_serves_some_of_them(tmp_path: Path) -> None:
    pattern = pair(tmp_path, CLASSES)
    found = descriptions_for(Plain(), ["brush hair", "Typing"], 2, pattern, CLASSES)
    assert list(found.spatial) == ["brush hair", "Typing"]
    assert found.spatial["brush hair"][0] == "A video about brush hair 0."
    with pytest.raises(DataError, match="3 entries keyed by index for 2 classes"):
        descriptions_for(Plain(), ["brush hair", "Typing"], 2, pattern)


def test_another_order_of_the_classes_is_refused(tmp_path: Path) -> None:
    pattern = pair(tmp_path, ["brush hair", "Typing", "BasketballDunk"])
    with pytest.raises(DataError, match=r"2_t_.*: the entry for 'Typing' speaks of 'brush hair'"):
        descriptions_for(Plain(), CLASSES, 2, pattern)


def test_files_keyed_by_class(tmp_path: Path) -> None:
    content = {name: {"spatial": [f"{name} s"], "temporal": [f" {name} t ", ""]} for name in CLASSES}
    content["brush_hair"] = content.pop("brush hair")
    found = descriptions_for(Plain(), CLASSES, 1, save(tmp_path, content))
    assert found.temporal == {name: [f"{name} t"] for name in CLASSES}
    assert found.notes == ()
    for kind in ("spatial", "temporal"):
        save(tmp_path, {name: [f"{name} {kind}"] for name in CLASSES}, f"my_{kind}.json")
    found = descriptions_for(Plain(), CLASSES, 1, str(tmp_path / "my_{kind}.json"))
    assert found.spatial["Typing"] == ["Typing spatial"]


def test_classes_named_by_numbers_are_not_taken_for_indices(tmp_path: Path) -> None:
    content = {name: {"spatial": [f"number {name}"], "temporal": ["t"]} for name in ("0", "1")}
    assert descriptions_for(Plain(), ["1", "0"], 1, save(tmp_path, content)).spatial["1"] == ["number 1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", r"mine\.json: not JSON"),
        ([], r"mine\.json: expected"),
        ({}, r"mine\.json: expected"),
        ({"Typing": ["one kind only"]}, r"mine\.json: holds sentences of one kind only.*\{kind\}"),
        ({"Typing": {"spatial": ["s"]}}, r"entry 'Typing' has no list of temporal sentences"),
        ({"Typing": {"spatial": ["s"], "temporal": [3]}}, r"entry 'Typing' has no list of temporal sentences"),
        ({"Typing": {"spatial": [" "], "temporal": ["t"]}}, r"entry 'Typing' is empty"),
        ({"Typing": {"spatial": ["s"], "temporal": ["t"]}}, "2 of 3 classes have no entry, e.g. 'BasketballDunk'"),
    ],
)
def test_bad_files_get_one_clear_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        descriptions_for(Plain(), CLASSES, 1, save(tmp_path, content))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope\.json: no such file or folder"):
        descriptions_for(Plain(), CLASSES, 1, tmp_path / "nope.json")
    with pytest.raises(DataError, match="no pair of files"):
        descriptions_for(Plain(), CLASSES, 1, tmp_path / "2_{kind}_nope.json")


def test_irregular_entries_are_reported(tmp_path: Path) -> None:
    pattern = pair(tmp_path, CLASSES)
    temporal = json.loads((tmp_path / "2_t_description_ucf_101.json").read_text())
    temporal["1"][1] = "The next step involves hands."
    temporal["2"].pop()
    save(tmp_path, temporal, "2_t_description_ucf_101.json")
    found = descriptions_for(Plain(), CLASSES, 2, pattern)
    assert found.notes == (
        "1 classes have fewer than 2 temporal sentences, e.g. 'brush hair' has 1",
        "1 classes have temporal sentences that do not name their class, e.g. 'BasketballDunk'",
        "1 classes are named by words written together in their temporal sentences, e.g. 'basketballdunk' for "
        "'basketball dunk'",
        "1 temporal sentences of 1 classes do not begin 'A video of', e.g. 'The next step' of 'BasketballDunk'",
        "1 temporal sentences: continues another sentence, e.g. of 'BasketballDunk': 'The next step involves hands.'",
    )


def test_folder_of_published_pairs_gives_the_one_that_fits(tmp_path: Path) -> None:
    ucf101 = DATASETS.get("ucf101")()
    other = ["a", "b", "c"]
    pair(tmp_path, other, end="description_hmdb.json")
    pair(tmp_path, other, end="description_ucf_101_novel.json")
    pair(tmp_path, CLASSES, end="description_ucf_101_base.json")
    pair(tmp_path, [*CLASSES, *other], count=8, start="8")
    assert "2_s_description_ucf_101_base.json" in descriptions_for(ucf101, CLASSES, 2, tmp_path).files
    assert "2_s_description_ucf_101_novel.json" in descriptions_for(ucf101, other, 2, tmp_path).files
    found = descriptions_for(ucf101, CLASSES, 4, tmp_path, [*CLASSES, *other])
    assert "8_s_description_ucf_101.json" in found.files
    assert [len(texts) for texts in found.temporal.values()] == [4, 4, 4]
    with pytest.raises(
        DataError, match=r"no spatial and temporal file with 9 or more sentences for 3 classes of ucf101"
    ):
        descriptions_for(ucf101, CLASSES, 9, tmp_path)


@pytest.mark.parametrize("order", [["kick ball", "kick"], ["kick", "kick ball"]])
def test_swapped_label_names_get_their_own_descriptions(tmp_path: Path, order: list[str]) -> None:
    hmdb51 = DATASETS.get("hmdb51")()
    pattern = pair(tmp_path, ["run", "kick ball", "kick"], end="description_hmdb.json")
    found = descriptions_for(hmdb51, ["run", *order], 1, pattern)
    assert found.spatial["kick"] == ["A video about kick 0."]
    assert found.spatial["kick ball"] == ["A video about kick ball 0."]


def test_own_descriptions_come_before_templates() -> None:
    found = descriptions_for(Described(), CLASSES, 2)
    assert found.spatial["Typing"] == ["s1", "s2"]
    assert found.source == "the descriptions of described"
    assert found.notes == ()


def test_more_sentences_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the descriptions of described: at most 2 temporal sentences per class, 3 ask"):
        descriptions_for(Described(), CLASSES, 3)
    assert descriptions_for(Described(), CLASSES, 3, kinds=["spatial"]).spatial["Typing"] == ["s1", "s2", "s3"]
    with pytest.raises(
        DataError, match=r"2_s_description_ucf_101.json.*: at most 2 spatial sentences per class, 4 ask"
    ):
        descriptions_for(Plain(), CLASSES, 4, pair(tmp_path, CLASSES))


def test_only_the_kinds_that_are_read_are_needed(tmp_path: Path) -> None:
    pattern = pair(tmp_path, CLASSES)
    both = descriptions_for(Plain(), CLASSES, 2, pattern)
    (tmp_path / "2_t_description_ucf_101.json").unlink()
    with pytest.raises(DataError, match="no pair of files"):
        descriptions_for(Plain(), CLASSES, 2, pattern)
    with pytest.raises(DataError, match="no temporal file"):
        descriptions_for(Plain(), CLASSES, 2, pattern, kinds=["temporal"])
    ucf101 = DATASETS.get("ucf101")()
    for path in (pattern, tmp_path / "2_s_description_ucf_101.json", tmp_path):
        found = descriptions_for(ucf101, CLASSES, 2, path, kinds=["spatial"])
        assert found.sentences == {"spatial": both.spatial}
        assert list(found.files) == ["2_s_description_ucf_101.json"]
        assert found.sha256 != both.sha256
    with pytest.raises(DataError, match="by its name it does not hold the temporal sentences"):
        descriptions_for(ucf101, CLASSES, 2, tmp_path / "2_s_description_ucf_101.json", kinds=["temporal"])


def test_two_entries_that_changed_places_are_refused(tmp_path: Path) -> None:
    """Most of the file fits; still, an entry that states another class of the list is in the wrong place."""
    names = [f"action {word}" for word in ("one", "two", "three", "four", "five", "six")]
    pattern = pair(tmp_path, [names[1], names[0], *names[2:]])
    with pytest.raises(DataError, match=r"2_t_.*: the entry for 'action one' speaks of 'action two'.*another order"):
        descriptions_for(Plain(), names, 2, pattern)


def test_a_class_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path, '{"Typing": {"spatial": ["a"], "temporal": ["b"]}, "Typing": {}}')
    with pytest.raises(DataError, match=r"mine\.json: not JSON \(two entries 'Typing'\)"):
        descriptions_for(Plain(), ["Typing"], 1, file)


def test_templates_are_a_stand_in_that_says_so() -> None:
    found = descriptions_for(Plain(), ["ApplyEyeMakeup", "brush_hair"], 8)
    assert found.source.startswith("templates")
    for kind in (found.spatial, found.temporal):
        assert all("apply eye makeup" in text for text in kind["ApplyEyeMakeup"])
        assert all("brush hair" in text for text in kind["brush_hair"])
        assert len(set(kind["brush_hair"])) == 8
    assert found.spatial["brush_hair"] != found.temporal["brush_hair"]
    assert (
        descriptions_for(Plain(), ["run"], 2).spatial["run"] == template_descriptions(["run"], "spatial", 8)["run"][:2]
    )
    with pytest.raises(DataError, match="1 to 8 spatial sentences per class, not 9"):
        descriptions_for(Plain(), ["run"], 9)


_TEXTS = st.lists(st.text(max_size=8) | st.integers(), max_size=3)
_ENTRIES = st.dictionaries(
    st.sampled_from([*CLASSES, "0", "1", "2", "brush_hair"]),
    _TEXTS | st.dictionaries(st.sampled_from(["spatial", "temporal"]), _TEXTS) | st.none(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | _ENTRIES.map(lambda content: json.dumps(content).encode()))
def test_any_file_is_read_or_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.json"
    file.write_bytes(content)
    for kinds in (["spatial", "temporal"], ["spatial"]):
        try:
            found = descriptions_for(Plain(), CLASSES, 1, file, kinds=kinds)
        except DataError as error:
            assert "any.json" in str(error)
        else:
            assert [list(found.sentences[kind]) for kind in kinds] == [CLASSES for _ in kinds]
