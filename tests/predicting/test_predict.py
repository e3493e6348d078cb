"""Videos labelled with trained adapters: to the bit what the trial's evaluation gave, in every format."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petl_bench.inference.predictions import Labeller
from tests.commands import petl_bench
from tests.searching.made_trials import Trained

CLASSIFIED = [
    *(("base2novel", method) for method in ("zero_shot", "lora", "msta", "cocoop", "clip_adapter")),
    *(("few_shot", method) for method in ("lora", "linear_probe", "taskres", "tip_adapter")),
]
TEN = "growing,falling,shrinking,swinging,pulsing,blinking,zigzagging,bouncing,shaking,appearing"


def predicted(*arguments: str | Path) -> dict[str, Any]:
    """The JSON document of a prediction."""
    done = petl_bench("predict", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def refused(*arguments: str | Path) -> str:
    """The one line that a prediction ends with; notes on the model may stand before it."""
    done = petl_bench("predict", *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    *notes, line = done.stderr.strip().splitlines()
    assert all(note.startswith(("viclip-tiny", "no --classes", "--classes: ", "links that")) for note in notes), notes
    return line


def scores_of(document: dict[str, Any]) -> np.ndarray:
    return np.array([video["probabilities"] for video in document["videos"]])


# ---------------------------------------------------------------- the evaluation of the trial


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "method"), CLASSIFIED)
def test_test_clips_of_a_trial_get_its_stored_scores_to_the_bit(
    trained: Trained, videos: Path, setting: str, method: str
) -> None:
    folder = trained.folder(setting, method)
    adapters = [folder] if method in ("zero_shot", "lora") else []
    if method != "zero_shot":  # it has no adapter
        adapters.append(shutil.copy(folder / "adapter.safetensors", videos.parent / "mine.safetensors"))
    stored_files = sorted(folder.glob("predictions-*.npz"))
    assert stored_files
    for file in stored_files:
        with np.load(file, allow_pickle=False) as stored:
            clips, classes, expected = stored["clips"].tolist(), stored["classes"].tolist(), stored["scores"]
        names = videos.parent / "classes.txt"
        names.write_text("\n".join(classes))
        asked = [word for clip in clips for word in ("--videos", str(trained.clips / clip))]
        for adapter in adapters:
            document = predicted("--adapter", adapter, "--classes", names, *asked)
            np.testing.assert_array_equal(scores_of(document), expected.astype(np.float64))
            assert document["classes"] == classes
            assert document["trial"] == folder.name
            assert [video["class"] for video in document["videos"]] == [classes[best] for best in expected.argmax(1)]


def test_folders_files_and_their_order_give_the_same_within_rounding(trained: Trained, videos: Path) -> None:
    adapter = trained.folder("few_shot", "lora")
    whole = predicted("--adapter", adapter, "--videos", videos, "--workers", "2")
    files = [video["file"] for video in whole["videos"]]
    assert files == sorted(files)
    assert files[0] == "falling/train_000.mp4"
    asked = [word for file in reversed(files) for word in ("--videos", str(videos / file))]
    reverse = predicted("--adapter", adapter, *asked, *asked, "--batch-size", "6")
    assert [video["file"] for video in reverse["videos"]] == [str(videos / file) for file in reversed(files)]
    np.testing.assert_allclose(scores_of(reverse)[::-1], scores_of(whole), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores_of(whole).sum(1), 1, rtol=1e-5)


def test_an_adapter_of_retrieval_needs_classes_and_puts_them_into_prompts(trained: Trained, videos: Path) -> None:
    adapter = trained.folder("retrieval", "lora")
    assert "was trained on texts, and has no classes" in refused("--adapter", adapter, "--videos", videos)
    done = petl_bench("predict", "--adapter", adapter, "--videos", videos, "--classes", "growing,falling")
    assert done.returncode == 0
    assert "the names of classes are put into prompts: a video of {}." in done.stderr


# ---------------------------------------------------------------- classes and prompts


def test_classes_by_default_are_those_of_the_trial_which_is_told(trained: Trained, videos: Path) -> None:
    done = petl_bench("predict", "--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--format",
                      "json")  # fmt: skip
    document = json.loads(done.stdout)
    assert len(document["classes"]) == 32
    assert "no --classes: the 32 classes of its trial: " in done.stderr
    assert document["prompts"]["growing"] == ["a video of growing."]


def test_a_template_replaces_that_of_the_trial(trained: Trained, videos: Path) -> None:
    adapter = ("--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--classes", "growing,falling")
    plain = predicted(*adapter)
    same = predicted(*adapter, "--template", "a video of {}.")
    other = predicted(*adapter, "--template", "it is {}|a clip: {}")
    assert same == plain
    assert other["prompts"] == {name: [f"it is {name}", f"a clip: {name}"] for name in ("growing", "falling")}
    assert not np.array_equal(scores_of(other), scores_of(plain))


def test_names_from_a_file_may_hold_commas_and_are_read_whatever_its_line_ends(trained: Trained, videos: Path) -> None:
    names = videos.parent / "names.txt"
    names.write_bytes("\ufeffgrowing, and then falling\r\n\r\n  falling  \r\nça growing".encode())
    document = predicted("--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--classes", names)
    assert document["classes"] == ["growing, and then falling", "falling", "ça growing"]


def test_names_that_are_nearly_a_class_or_cut_are_taken_as_they_are_with_a_note(trained: Trained, videos: Path) -> None:
    long = "something that is growing " * 20
    done = petl_bench("predict", "--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--classes",
                      f"Growing,moving_left,fallin,surfing,{long}", "--format", "json")  # fmt: skip
    assert json.loads(done.stdout)["classes"] == ["Growing", "moving_left", "fallin", "surfing", long.strip()]
    notes = [line for line in done.stderr.splitlines() if line.startswith("--classes: ")]
    assert notes == [
        f"--classes: {typed!r} is taken as it is; the trial has a class {trained!r}"
        for typed, trained in (("Growing", "growing"), ("moving_left", "moving left"), ("fallin", "falling"))
    ]
    assert "1 of 5 prompts are longer than the text context" in done.stderr
    assert "the first that was cut: 'a video of something that is growing" in done.stderr


# ---------------------------------------------------------------- formats


def test_the_terminal_names_the_best_classes_and_counts_them(trained: Trained, videos: Path) -> None:
    (videos / "broken\x1b[31m.mp4").write_bytes(b"nothing")
    adapter = trained.folder("few_shot", "lora")
    done = petl_bench("predict", "--adapter", adapter, "--videos", videos, "--classes", TEN, "--top", "3")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("6 videos labelled with one of 10 classes by lora motion")
    assert lines[2].split() == ["file", "class", "probability", "class", "2", "class", "3"]
    assert [line.split()[0] for line in lines[3:9]] == [
        f"{label}/train_{number:03d}.mp4" for label in ("falling", "growing") for number in range(3)
    ]
    counts = lines[lines.index("videos  class") + 1 : lines.index("1 video that cannot be read:") - 1]
    assert sum(int(line.split()[0]) for line in counts) == 6
    assert lines[-1].startswith("broken [31m.mp4: ")
    assert "1 of 7 videos cannot be read, and have no label" in done.stderr


def test_csv_has_every_probability_and_no_formula(trained: Trained, videos: Path) -> None:
    (videos / "=cmd.mp4").write_bytes(b"nothing")
    adapter = ("--adapter", trained.folder("few_shot", "lora"), "--videos", videos, "--classes",
               "unreadable,=growing,falling")  # fmt: skip
    table = videos.parent / "labels.csv"
    table.write_text("old")
    assert petl_bench("predict", *adapter, "--format", "csv", "--output", table).returncode == 0
    header, *rows = csv.reader(table.read_text().splitlines())
    assert header == ["file", "class", "probability", "unreadable", "unreadable (2)", "'=growing", "falling"]
    document = predicted(*adapter)
    by_name = {row[0]: row for row in rows}
    assert len(rows) == 7
    for video in document["videos"]:
        row = by_name[video["file"]]
        assert [float(value) for value in row[4:]] == video["probabilities"]
        assert (row[1].removeprefix("'"), float(row[2]), row[3]) == (video["class"], video["probability"], "")
    assert by_name["'=cmd.mp4"][1:3] == ["", ""]
    assert by_name["'=cmd.mp4"][3] == document["unreadable"]["=cmd.mp4"]
    assert not table.with_name("labels.csv.part").exists()
    stdout = petl_bench("predict", *adapter, "--format", "csv").stdout
    assert sorted(csv.reader(stdout.splitlines())) == sorted([header, *rows])


@pytest.mark.parametrize("done", [0, 1])
def test_rows_that_are_done_stay_after_ctrl_c(
    trained: Trained, videos: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    outcomes = Labeller.outcomes

    def interrupted(self: Labeller, *arguments: Any) -> Any:
        yield from list(outcomes(self, *arguments))[:done]
        raise KeyboardInterrupt

    monkeypatch.setattr(Labeller, "outcomes", interrupted)
    table = videos.parent / "labels.csv"
    table.write_text("old")
    ended = petl_bench("predict", "--adapter", trained.folder("few_shot", "lora"), "--videos", videos,
                       "--batch-size", "24", "--format", "csv", "--output", table)  # fmt: skip
    part = table.with_name("labels.csv.part")
    assert ended.returncode == 130
    assert table.read_text() == "old"
    assert part.exists() == bool(done)
    assert (f"not finished; labelled so far: 4 videos, in {part}" in ended.stderr) == bool(done)
    if done:
        assert len(part.read_text().splitlines()) == 5


def test_the_page_has_pictures_of_the_most_probable_and_nothing_from_elsewhere(
    trained: Trained, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petl_bench.cli.predicted._SHOWN", 4)
    (videos / "growing" / "<script>alert(1)<").mkdir()
    shutil.copy(next(videos.rglob("*.mp4")), videos / "growing" / "<script>alert(1)<" / "x.mp4")
    (videos / "<b>.mp4").write_bytes(b"nothing")
    page = videos.parent / "labels.html"
    done = petl_bench("predict", "--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--classes",
                      "growing,<img src=http://example.org/x.png>", "--format", "html", "--output", page)  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    classes = text.count('aria-labelledby="class-')
    shown = text.count("<li>\n<span")
    assert text.count("data:image/jpeg;base64,") == 3 * shown
    assert classes <= shown <= 4
    assert f"{shown} of the videos are shown, of each class the most probable ones" in text
    assert "<script" not in text
    assert "&lt;b&gt;.mp4" in text
    assert 'src="http' not in text
    assert "default-src 'none'" in text


# ---------------------------------------------------------------- which videos


def test_links_frames_and_unreadable_files(trained: Trained, videos: Path, make_frames: Path) -> None:
    elsewhere = videos.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(next(videos.rglob("*.mp4")), elsewhere / "linked.mp4")
    (videos / "there").symlink_to(elsewhere)
    (videos / "loop").symlink_to(videos)
    (videos / "text.mp4").write_text("no video")
    (videos / "dangling.mp4").symlink_to(videos.parent / "gone.mp4")
    os.mkfifo(videos / "pipe.mp4")
    shutil.copytree(make_frames, videos / "frames")
    asked = ("--adapter", trained.folder("base2novel", "zero_shot"), "--classes", "growing,falling")
    done = petl_bench("predict", *asked, "--videos", videos, "--format", "json")
    document = json.loads(done.stdout)
    assert {"there/linked.mp4", "frames"} <= {video["file"] for video in document["videos"]}
    assert len(document["videos"]) == 8
    assert set(document["unreadable"]) == {"text.mp4", "dangling.mp4", "pipe.mp4"}
    assert document["unreadable"]["dangling.mp4"] == "a link to nothing"
    assert "links that lead out of the folder, and are followed: 1; the first: there" in done.stderr
    assert "cannot be read: text.mp4: " in done.stderr
    assert "3 of 11 videos cannot be read, and have no label" in done.stderr
    several = predicted(*asked, "--videos", "videos/frames", "--videos", "videos/growing", "--videos", "elsewhere",
                        "--videos", "videos/growing/train_000.mp4")  # fmt: skip
    assert [video["file"] for video in several["videos"]] == [
        "videos/frames",
        *(f"videos/growing/train_{number:03d}.mp4" for number in range(3)),
        "elsewhere/linked.mp4",
    ]


@pytest.fixture
def make_frames(videos: Path) -> Path:
    """A folder of numbered images."""
    from PIL import Image

    folder = videos.parent / "made_frames"
    folder.mkdir()
    for number in range(8):
        Image.new("RGB", (64, 64), (30 * number, 0, 0)).save(folder / f"img_{number:05d}.png")
    return folder


def test_nothing_to_label_is_one_line(trained: Trained, videos: Path) -> None:
    asked = ("--adapter", trained.folder("base2novel", "lora"), "--videos")
    empty = videos.parent / "empty"
    assert f"--videos {empty}: no such file or folder" in refused(*asked, empty)
    assert "no such file or folder" in refused(*asked, "x" * 5000)
    empty.mkdir()
    assert f"--videos {empty}: no video in it" in refused(*asked, empty)
    (empty / "text.mp4").write_text("no video")
    (empty / "empty.mp4").write_bytes(b"")
    line = refused(*asked, empty, "--format", "csv", "--output", videos.parent / "x.csv")
    assert "no video can be read, of 2. empty.mp4: the file is empty (0 bytes)" in line
    assert not list(videos.parent.glob("x.csv*"))
    assert "no video can be read, of 1" in refused(*asked, empty / "text.mp4")
    (empty / "shard.tar").write_bytes(b"")
    assert "shard.tar: a tar shard; name the folder that it lies in" in refused(*asked, empty / "shard.tar")
    os.mkfifo(videos.parent / "pipe.mp4")
    assert "neither a file nor a folder" in refused(*asked, videos.parent / "pipe.mp4")


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("growing", "'growing' is no file, and the only class; name two or more"),
        ("names.txt", "'names.txt' is no file, and the only class"),
        (" , ", "no class in it; name two or more"),
        ("growing,falling,growing", "the class 'growing', twice"),
        ("growing,???", "the class '???': the text tower of viclip-tiny has no words for it"),
        ("growing,日本", "the class '日本': the text tower of viclip-tiny has no words for it"),
        (b"growing\n\nfalling\ngrowing\n", "line 4: the class 'growing', as in line 1"),
        (b"growing\n", "'growing' is the only class in "),
        (b"\n \n", "no class in it"),
        (b"growing\nfall\x00ing\n", "line 2: 'fall ing': control characters or broken text"),
        (b"growing\nfall\xff", "not a text in UTF-8 (byte 13)"),
        (b"growing," + b"x" * 5_000_000, "larger than 4,000,000 bytes"),
    ],
)
def test_classes_that_cannot_be_meant_are_one_line(
    trained: Trained, videos: Path, classes: str | bytes, says: str
) -> None:
    given: str | Path = videos.parent / "given.txt"
    if isinstance(classes, bytes):
        Path(given).write_bytes(classes)
    else:
        given = classes
    line = refused("--adapter", trained.folder("base2novel", "lora"), "--videos", videos, "--classes", given)
    assert line.startswith(("petl-bench: --classes", "petl-bench: the class"))
    assert says in line


@pytest.mark.parametrize(
    ("method", "arguments", "says"),
    [
        ("lora", ("--format", "html"), "--format html is a file: type --output FILE.html"),
        ("lora", ("--output", "videos"), "a folder; name a file in it"),
        ("lora", ("--output", "pipe.csv", "--format", "csv"), "--output pipe.csv: a device or a pipe; name a file"),
        ("lora", ("--output", "none/x.csv"), "there is no folder none"),
        ("lora", ("--template", "no place"), "--template='no place': expected one {}"),
        ("lora", ("--output", "videos/falling/train_000.mp4"), "one of the videos; name another file"),
        ("linear_probe", ("--classes", "growing,surfing"), "alone, and 'surfing' is none of them"),
        ("linear_probe", ("--template", "it is {}"), "--template: linear_probe does not read it"),
    ],
)
def test_wrong_use_is_one_line(
    trained: Trained, videos: Path, method: str, arguments: tuple[str, ...], says: str
) -> None:
    os.mkfifo("pipe.csv")
    assert says in refused("--adapter", trained.folder("few_shot", method), "--videos", "videos", *arguments)


def test_unknown_adapters_are_one_line(trained: Trained, videos: Path) -> None:
    asked = ("--videos", videos, "--runs", trained.runs, "--adapter")
    assert "unknown trial 'nothing'" in refused(*asked, "nothing")
    assert "cannot read adapter" in refused(*asked, __file__)


def test_help_is_light() -> None:
    code = "import sys; from petl_bench.cli import cli; cli(['predict', '--help'], standalone_mode=False); "
    code += "sys.exit(bool({'torch', 'pandas', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100).returncode == 0
