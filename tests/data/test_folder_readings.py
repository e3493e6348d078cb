"""Folders made at random: each clip has the label of its list, or the one that the only reading gives, or no label."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from petl_bench.api.dataset import Annotations
from petl_bench.api.registry import DATASETS
from petl_bench.errors import DataError

SIDES = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
CLASSES = ["Run", "Walk", "sit_down", "Push Up", "001", "7", "Ä-b", "it's"]
NOISE = [*CLASSES, "walk", "Sit Down", "train", "TEST", "Val", "Training", "videos", "s1", "s2", "train_videos"]
quickly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
thoroughly = settings(quickly, max_examples=1000)


@dataclass
class ListFile:
    """A list as written: its name, and rows of a clip and a label as text; `first`: what class 0 is called in it."""

    name: str
    rows: dict[str, str]
    form: str = "blank"
    first: int | None = None  #: the number of the first class; None if labels are names

    def text(self) -> str:
        if self.form == "blank":
            return "".join(f"{clip} {label}\n" for clip, label in self.rows.items())
        out = io.StringIO()
        separator = {"comma": ",", "semicolon": ";", "tab": "\t", "header": ","}[self.form]
        writer = csv.writer(out, delimiter=separator, lineterminator="\r\n")
        writer.writerows([["path", "label"]] if self.form == "header" else [])
        writer.writerows(self.rows.items())
        return out.getvalue()


@dataclass
class Made:
    """What lies in a folder: clips, links (from a path to another one), lists, and the names in labels.csv."""

    clips: list[str]
    links: dict[str, str] = field(default_factory=dict)
    lists: list[ListFile] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> None:
        for clip in self.clips:
            place = root / clip
            if place.suffix:  # a video; without suffix, a folder of frames
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(clip)
            else:
                place.mkdir(parents=True, exist_ok=True)
                (place / "img_00001.jpg").write_text(clip)
        for link, target in self.links.items():
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(root / target)
        for each in self.lists:
            (root / each.name).write_text(each.text())
        if self.names:
            rows = "".join(f'{at},"{name}"\n' for at, name in enumerate(self.names))
            (root / "labels.csv").write_text(f"id,name\n{rows}")


def read(root: Path, options: dict[str, Any]) -> Annotations:
    return DATASETS.get("folder")(path=str(root), **options).annotations(root)


def clips_below(folder: Path, root: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Every path that leads to a clip, over links too; loops are left out."""
    inside = sorted(folder.iterdir())
    if folder != root and any(entry.name.startswith("img_") for entry in inside):
        yield folder.relative_to(root).as_posix()
        return
    for entry in inside:
        if entry.is_dir() and entry.resolve() not in (*above, folder.resolve()):
            yield from clips_below(entry, root, (*above, folder.resolve()))
        elif entry.suffix == ".mp4":
            yield entry.relative_to(root).as_posix()


# ---------------------------------------------------------------- what must be read

LAYOUTS = ["class", "class/group", "group/class", "side/class", "class/side", "side/class/group", "side/group/class"]
#: Those that no other layout looks like.
PLAIN = ["class", "side/class", "class/side"]


@st.composite
def of_layout(draw: st.DrawFn, layouts: list[str]) -> tuple[str, Made, dict[str, tuple[str, str, str]]]:
    """A layout, a folder of it, and side, class and group of each clip."""
    layout = draw(st.sampled_from(layouts))
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=3, unique=True))
    test = draw(st.sampled_from(["test", "Test", "TESTING", "val", "Validation", "dev"]))
    sides = [draw(st.sampled_from(["train", "Train", "training", "TRAIN"])), test] if "side" in layout else [""]
    groups = ["g1", "g2", "g3"] if "group" in layout else [""]
    above = draw(st.lists(st.sampled_from(["videos", "data"]), max_size=2))
    kind = draw(st.sampled_from([".mp4", ""]))
    truth = {}
    for side in sides:
        for name in classes:
            for group in groups:
                for number in range(draw(st.integers(2, 3))):
                    parts = {"side": side, "class": name, "group": group}
                    folders = [*above, *(parts[part] for part in layout.split("/"))]
                    clip = "/".join([*folders, f"{side}{name}{group}{number}{kind}"])
                    truth[clip] = (SIDES.get(side.casefold(), ""), name, group)
    return layout, Made(list(truth)), truth


def check_layout(case: tuple[str, Made, dict[str, tuple[str, str, str]]], told: bool) -> None:
    layout, made, truth = case
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        found = read(Path(folder), {"layout": layout} if told else {})
    assert {s.clip: found.classes[s.label] for s in (*found.train[1], *found.test[1])} == {
        clip: name for clip, (_, name, _) in truth.items()
    }
    assert f"layout {layout} " in found.notes[0]
    if "side" in layout:
        assert {s.clip for s in found.train[1]} == {clip for clip, (side, _, _) in truth.items() if side == "train"}
    if "group" in layout:
        groups = {(found.groups[clip], group) for clip, (_, _, group) in truth.items()}
        assert len({name for name, _ in groups}) == len(groups), "a group that is called for two"
        if "side" not in layout:
            assert {found.groups[s.clip] for s in found.train[1]}.isdisjoint(
                found.groups[s.clip] for s in found.test[1]
            )


@quickly
@given(of_layout(PLAIN))
def test_a_layout_that_is_the_only_one_is_recognised(case: tuple[str, Made, dict[str, tuple[str, str, str]]]) -> None:
    check_layout(case, told=False)


@quickly
@given(of_layout(LAYOUTS))
def test_a_layout_that_is_told_is_taken(case: tuple[str, Made, dict[str, tuple[str, str, str]]]) -> None:
    check_layout(case, told=True)


@quickly
@given(of_layout([layout for layout in LAYOUTS if layout not in PLAIN]))
def test_a_layout_with_groups_is_refused_with_the_options_that_choose(
    case: tuple[str, Made, dict[str, tuple[str, str, str]]],
) -> None:
    layout, made, _ = case
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        with pytest.raises(DataError) as refused:
            read(Path(folder), {})
    assert f"--set folder.layout={layout} " in str(refused.value)


@st.composite
def listed(draw: st.DrawFn) -> Made:
    """A folder of some layout with a training and a test list of one form, whose labels agree with nothing."""
    _, made, _ = draw(of_layout(LAYOUTS))
    names = draw(st.lists(st.sampled_from(["Alpha", "Beta beta", "Gamma, or C", "Delta"]), min_size=2, unique=True))
    form = draw(st.sampled_from(["blank", "comma", "semicolon", "tab", "header"]))
    numbers = draw(st.booleans())
    if numbers or draw(st.booleans()):
        made.names = names
    first = draw(st.sampled_from([0, 1])) if numbers else None
    half = len(made.clips) // 2
    for side, clips in (("train", made.clips[:half]), ("test", made.clips[half:])):
        labels = [names[(at + draw(st.integers(0, 1))) % len(names)] for at in range(len(clips))]
        labels[0], labels[-1] = names[0], names[-1]  # the first and the last class show where numbers start
        texts = [str(names.index(label) + first) if first is not None else label for label in labels]
        suffix = draw(st.sampled_from([".csv", ".txt"]))
        made.lists.append(ListFile(side + suffix, dict(zip(clips, texts, strict=True)), form, first))
    return made


def check_lists(made: Made, found: Annotations) -> None:
    """Every clip has the label of its row."""
    train, test = made.lists
    for each, samples in ((train, found.train[1]), (test, found.test[1])):
        assert {sample.clip for sample in samples} == set(each.rows)
        for sample in samples:
            label = each.rows[sample.clip]
            name = label if each.first is None else made.names[int(label) - each.first]
            assert found.classes[sample.label] == name


@quickly
@given(listed())
def test_lists_of_every_usual_form_are_read(made: Made) -> None:
    if any(each.form == "blank" and each.first is None for each in made.lists) and not all(
        clip.endswith(".mp4") for clip in made.clips
    ):
        return  # nothing tells where the name of a frame folder ends and that of a class begins
    with tempfile.TemporaryDirectory() as folder:
        made.write(Path(folder))
        check_lists(made, read(Path(folder), {}))


# ---------------------------------------------------------------- what must never happen


@st.composite
def disturbed(draw: st.DrawFn) -> Made:
    """A folder of a layout, or with lists, to which up to three things were done that make it fit less well."""
    made = draw(st.one_of(listed(), of_layout(LAYOUTS).map(lambda case: case[1])))
    for _ in range(draw(st.integers(0, 3))):
        DISTURBANCES[draw(st.sampled_from(sorted(DISTURBANCES)))](draw, made)
    return made


def _stray_clip(draw: st.DrawFn, made: Made) -> None:
    folders = draw(st.lists(st.sampled_from(NOISE), max_size=4))
    made.clips.append("/".join([*folders, "stray.mp4"]))


def _renamed_folder(draw: st.DrawFn, made: Made) -> None:
    old = draw(st.sampled_from(sorted({part for clip in made.clips for part in clip.split("/")[:-1]} or {"none"})))
    new = draw(st.sampled_from(NOISE))
    count = draw(st.integers(1, len(made.clips)))  # of the first clips alone, or of all
    made.clips = [
        re.sub(rf"(?<![^/]){re.escape(old)}/", f"{new}/", clip) if at < count else clip
        for at, clip in enumerate(made.clips)
    ]


def _lost_clips(draw: st.DrawFn, made: Made) -> None:
    kept = draw(st.integers(1, len(made.clips)))
    made.clips = made.clips[-kept:]


def _link(draw: st.DrawFn, made: Made) -> None:
    folders = sorted({str(PurePosixPath(clip).parent) for clip in made.clips} - {"."})
    target = draw(st.sampled_from([*folders, "."]))
    where = draw(st.sampled_from(["", *(f"{folder}/" for folder in folders)]))
    made.links[f"{where}{draw(st.sampled_from(['train', 'Walk', 'other', 'link']))}_l"] = target


def _another_list(draw: st.DrawFn, made: Made) -> None:
    name = draw(st.sampled_from(["val.csv", "train.csv", "testlist01.txt", "split.csv", "lists/test.csv", "x.tsv"]))
    label = draw(st.sampled_from(["0", "1", "Run", "2.5"]))
    if name.startswith("lists/"):
        made.clips.append("lists/Run.mp4")
    made.lists.append(ListFile(name, dict.fromkeys(made.clips[:3], label), draw(st.sampled_from(["blank", "comma"]))))


def _class_names(draw: st.DrawFn, made: Made) -> None:
    made.names = draw(st.lists(st.sampled_from(CLASSES), min_size=2, unique=True))


def _option(draw: st.DrawFn, made: Made) -> None:
    made.options["test_side"] = draw(st.sampled_from(["val", "test"]))


DISTURBANCES = {
    "a stray clip": _stray_clip,
    "a folder renamed": _renamed_folder,
    "clips lost": _lost_clips,
    "a link": _link,
    "another list": _another_list,
    "class names": _class_names,
    "an option": _option,
}


def check_reading(made: Made) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            made.write(root)
        except OSError:
            return  # a clip and a folder of one name
        there = list(clips_below(root, root))
        try:
            found = read(root, made.options)
        except DataError as refused:
            event("refused")
            text = str(refused)
            assert "\n" not in text
            assert re.search(
                r"--set folder\.|\.csv|\.txt|folder with videos|folders with videos|put their clips together", text
            ), text
            return
    event(found.notes[0].split(":")[0])
    if found.notes[0].startswith("read from lists"):
        _check_listed(made, found)
    else:
        _check_only_reading(made, found, there)


def _check_listed(made: Made, found: Annotations) -> None:
    """The lists that the note names are on their sides, and their rows say the labels."""
    match = re.match(r"read from lists: (\S+) trains, (\S+) is tested", found.notes[0])
    assert match is not None
    by_name = {each.name: each for each in made.lists}
    for side, name, samples in (("train", match[1], found.train[1]), ("test", match[2], found.test[1])):
        each = by_name[name]
        assert name.startswith(side) or (side == "test" and name.startswith("val"))
        assert {sample.clip for sample in samples} == set(each.rows)
        starts = set()
        for sample in samples:
            label = each.rows[sample.clip]
            if not re.fullmatch("[0-9]+", label):
                assert plain(found.classes[sample.label]) == plain(label)
            elif made.names:
                starts.add(int(label) - sample.label)
            else:
                assert found.classes[sample.label] in sample.clip.split("/"), "named by its folder"
        assert len(starts) <= 1
        assert starts <= {0, 1}
        assert not made.names or list(found.classes) == made.names


def plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _check_only_reading(made: Made, found: Annotations, there: list[str]) -> None:
    """No list lay there, all clips lie at one depth, and one level alone can be the class."""
    assert not made.lists
    folders = [clip.split("/")[:-1] for clip in there]
    assert len({len(above) for above in folders}) == 1
    levels = [set(names) for names in zip(*folders, strict=True)]
    side_levels = [at for at, names in enumerate(levels) if all(name.casefold() in SIDES for name in names)]
    class_levels = [at for at, names in enumerate(levels) if len(names) > 1 and at not in side_levels]
    assert len(side_levels) <= 1
    assert len(class_levels) == 1
    others = [names for at, names in enumerate(levels) if at not in side_levels]
    assert not any(name.casefold() in SIDES for names in others for name in names)
    samples = {sample.clip: found.classes[sample.label] for sample in (*found.train[1], *found.test[1])}
    for clip, name in samples.items():
        assert plain(name) == plain(clip.split("/")[class_levels[0]])
    sides = {clip: SIDES[clip.split("/")[side_levels[0]].casefold()] for clip in there} if side_levels else {}
    assert {s.clip for s in found.train[1]} >= {clip for clip, side in sides.items() if side == "train"}
    if sides:
        assert all(sides[s.clip] == "train" for s in found.train[1])
        assert len({sides[s.clip] for s in found.test[1]} - {"train"}) == 1
    else:
        assert set(samples) == set(there)
    unused = set(there) - set(samples)
    assert len({sides[clip] for clip in unused}) <= 1
    assert not unused or any(f"{len(unused)} clips of the side" in note for note in found.notes)
    assert len({plain(name) for name in found.classes}) == len(found.classes)


@quickly
@given(disturbed())
def test_no_folder_is_read_in_silence(made: Made) -> None:
    check_reading(made)


@pytest.mark.drill
@thoroughly
@given(disturbed())
def test_no_folder_of_thousands_is_read_in_silence(made: Made) -> None:
    check_reading(made)


@pytest.mark.drill
@thoroughly
@given(st.one_of(of_layout(PLAIN)), listed())
def test_thousands_that_can_be_read_are_read(
    case: tuple[str, Made, dict[str, tuple[str, str, str]]], lists: Made
) -> None:
    check_layout(case, told=False)
    if all(clip.endswith(".mp4") for clip in lists.clips):
        with tempfile.TemporaryDirectory() as folder:
            lists.write(Path(folder))
            check_lists(lists, read(Path(folder), {}))


#: What lists are made of, in any order.
PIECES = [*"01,;\t \"'\n\r/\\\0", "a.mp4", "Run/a.mp4", "path", "label", "C:", "..", "Run"]


@quickly
@given(st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(lambda some: "".join(some).encode()))
def test_any_text_is_a_list_or_gets_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Made(["Run/a.mp4", "Run/b.mp4", "Walk/a.mp4", "Walk/b.mp4"])
        made.write(Path(folder))
        (Path(folder) / "train.csv").write_bytes(content)
        (Path(folder) / "test.csv").write_text("Run/b.mp4,Run\n")
        try:
            found = read(Path(folder), {})
        except DataError as refused:
            assert "train.csv" in str(refused)
            return
    assert found.train[1]
    assert {sample.clip for sample in found.train[1]}.isdisjoint({"Run/b.mp4"})
