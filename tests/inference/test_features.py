"""`petl-bench features`: what is written is what the model computes, and others read it without petl-bench."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import petl_bench as pb
from petl_bench.inference.opening import adapted
from petl_bench.searching.model import SearchModel
from tests.commands import petl_bench
from tests.searching.made_trials import Trained


def written(output: Path, *arguments: str | Path) -> dict[str, Any]:
    """The arrays of the file that the command wrote, and what it said."""
    done = petl_bench("features", *arguments, "--output", output)
    assert done.returncode == 0 and not done.stdout, done.stderr
    with np.load(output, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return {**arrays, "about": json.loads(str(arrays["about"])), "said": done.stderr}


def refused(*arguments: str | Path) -> str:
    """The one line that the command ends with; notes on the frozen backbone may stand before it."""
    done = petl_bench("features", *arguments)
    assert done.returncode == 2 and not done.stdout, done.stderr
    *_, line = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    return line


def test_features_are_those_of_the_model_and_rank_as_search_does(
    trained: Trained, videos: Path, tmp_path: Path
) -> None:
    folder, texts = trained.folder("retrieval", "lora"), ["growing", "it falls, slowly"]
    found = written(
        tmp_path / "f.npz", "--adapter", folder, "--videos", videos, "--texts", 'growing,"it falls, slowly"'
    )
    assert found["names"].tolist() == sorted(path.relative_to(videos).as_posix() for path in videos.rglob("*.mp4"))
    assert found["texts"].tolist() == texts and found["seconds"].tolist() == [1.0] * 6
    model = pb.load_adapter(folder, device="cpu")
    features = found["features"]
    assert features.dtype == np.float32 and features.shape[:2] == (6, 1)
    np.testing.assert_array_equal(features[:, 0], model.encode_videos([videos / name for name in found["names"]]))
    np.testing.assert_array_equal(found["text_features"], model.encode_texts(texts))
    search = SearchModel(adapted(folder), "cpu")
    kept = [row for batch in search.kept({n: videos / n for n in found["names"]}, 0) for row in batch.values()]
    np.testing.assert_allclose(
        found["text_features"] @ features.mean(1).T, search.similarities(texts, np.stack(kept)), atol=1e-5
    )
    about = found["about"]
    assert (about["schema"], about["trial"], about["method"]) == (1, trained.keys["retrieval", "lora"], "lora")
    assert (
        about["read"]["num_frames"] == 8
        and about["unreadable"] == {}
        and about["logit_scale"] == pytest.approx(float(model.model.logit_scale))
    )
    assert str(tmp_path) not in json.dumps(about)


def test_parquet_has_a_row_for_each_video_and_text(trained: Trained, videos: Path, tmp_path: Path) -> None:
    shutil.copy(next(videos.rglob("*.mp4")), videos / "not \udcff text.mp4")
    (videos / "page.mp4").write_text("<html>not found</html>")
    asked = ("--adapter", trained.folder("few_shot", "lora"), "--videos", videos, "--texts", "growing")
    arrays = written(tmp_path / "f.npz", *asked)
    done = petl_bench("features", *asked, "--output", tmp_path / "f.parquet")
    assert done.returncode == 0, done.stderr
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["kind", "name", "seconds", "features"]
    rows = table.to_pylist()
    assert [row["kind"] for row in rows] == ["video"] * 6 + ["text"]
    assert rows[0]["name"].startswith("falling/") and rows[-1]["name"] == "growing"
    assert (rows[0]["seconds"], rows[-1]["seconds"]) == (1.0, None)
    features = np.stack(table["features"].to_numpy())
    np.testing.assert_array_equal(features[:-1], arrays["features"].mean(axis=1))
    np.testing.assert_array_equal(features[-1:], arrays["text_features"])
    assert json.loads(table.schema.metadata[b"petl-bench"]) == arrays["about"]
    assert "the file is a web page" in arrays["about"]["unreadable"]["page.mp4"]
    assert set(arrays["about"]["unreadable"]) == {"page.mp4", "not \\udcff text.mp4"}
    assert "left out, cannot be read: page.mp4: the file is a web page" in arrays["said"]


def test_a_file_of_texts_and_a_single_video_and_no_adapter(videos: Path, tmp_path: Path) -> None:
    clip = next(videos.rglob("*.mp4"))
    (tmp_path / "texts.txt").write_bytes("\ufeffa dog, and a cat\r\n\r\nsurfing\r\n".encode())
    found = written(tmp_path / "f.npz", "--videos", clip, "--texts", tmp_path / "texts.txt")
    assert found["texts"].tolist() == ["a dog, and a cat", "surfing"]
    assert found["names"].tolist() == [str(clip)] and found["features"].shape[0] == 1
    assert "no --adapter: the frozen backbone viclip-tiny, zero-shot" in found["said"]
    without = written(tmp_path / "g.npz", "--videos", clip, "--backbone", "clip-tiny")
    assert without["text_features"].shape == (0, without["features"].shape[2]) and not without["texts"].size


def test_scores_that_are_no_cosine_of_features_are_noted(trained: Trained, videos: Path, tmp_path: Path) -> None:
    asked = ("--adapter", trained.folder("few_shot", "linear_probe"), "--videos", videos)
    found = written(tmp_path / "f.npz", *asked)
    assert "linear_probe has scores of its own: they are not the cosine of these features" in found["said"]
    line = refused(*asked, "--texts", "growing", "--output", tmp_path / "g.npz")
    assert "linear_probe scores the classes it was trained on alone, and no free texts" in line
    cocoop = ("--adapter", trained.folder("few_shot", "cocoop"), "--videos", videos, "--texts", "growing")
    assert "cocoop computes texts anew for every video" in refused(*cocoop, "--output", tmp_path / "g.npz")
    assert not (tmp_path / "g.npz").exists()


def test_a_long_text_is_cut_with_a_note(videos: Path, tmp_path: Path) -> None:
    text = "a red square that is growing " * 20
    found = written(tmp_path / "f.npz", "--videos", videos, "--texts", text)
    assert "is longer than the model's text context; what is read:" in found["said"]
    assert text.strip().startswith(found["about"]["cut"][text.strip()])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--videos", "none", "--output", "f.npz"), "--videos none: no such file or folder"),
        (("--videos", "empty", "--output", "f.npz"), "no video in it"),
        (("--videos", "pages", "--output", "f.npz"), "no video can be read, of 1. page.mp4: the file is a web page"),
        (("--videos", ".", "--output", "f.csv"), "--output f.csv: expected FILE.npz or FILE.parquet"),
        (("--videos", ".", "--output", "empty"), "--output empty: a folder; name a file in it"),
        (("--videos", ".", "--output", "none/f.npz"), "there is no folder none; make it"),
        (("--videos", ".", "--output", "f.npz", "--texts", " "), "no text in it"),
        (("--videos", ".", "--output", "f.npz", "--texts", "a\x1b[31m"), "has control characters"),
        (("--videos", ".", "--output", "f.npz", "--texts", "pages/page.bin"), "not a text in UTF-8 (byte 1)"),
        (("--videos", ".", "--output", "f.npz", "--adapter", "x", "--backbone", "y"), "--backbone is for features"),
        (("--videos", ".", "--output", "f.npz", "--adapter", "pages/page.bin"), "cannot read adapter"),
    ],
)
def test_wrong_use_is_one_line(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "pages"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pages" / "page.mp4").write_text("<html>not found</html>")
    (tmp_path / "pages" / "page.bin").write_bytes(b"\xff\xfe\xff")
    assert says in refused(*arguments)
    assert not list(tmp_path.glob("f.*"))


def test_without_pyarrow_it_is_said_what_to_install(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builtins.__import__

    def lacking(name: str, *more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return whole(name, *more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    line = refused("--videos", videos, "--output", tmp_path / "f.parquet")
    assert line.endswith("pip install 'petl-bench[parquet]', or name a FILE.npz")


def test_help_is_light() -> None:
    code = "import sys; from petl_bench.cli import cli; cli(['features', '--help'], standalone_mode=False); "
    code += "sys.exit(bool({'torch', 'pandas', 'numpy', 'pyarrow'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100).returncode == 0
