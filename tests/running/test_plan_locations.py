"""Where files lie is not part of a trial's key; what they hold is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder data set of two classes; planning hashes its files but does not decode them."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "videos"
    for name in ("archery", "surfing"):
        for index in range(6):
            clip = folder / name / f"{index}.mp4"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_bytes(f"{name} {index}".encode())
    return folder


def planned(folder: Path, *values: str, method: str = "lora") -> Plan:
    return plan(
        Spec(methods=(method,), datasets=("folder",), seeds=(0,), set=(f"folder.path={folder}", *values), output="none")
    )


def key(folder: Path, *values: str, method: str = "lora") -> str:
    (job,) = planned(folder, *values, method=method).jobs
    return job.trial.key


def test_the_same_data_elsewhere_has_the_same_key(videos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another place" / "videos"
    shutil.copytree(videos, elsewhere)
    assert key(videos) == key(elsewhere)


def test_a_path_is_spelt_as_one_likes(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(videos.parent)
    assert key(Path(videos.name)) == key(videos)


def test_other_data_has_another_key(videos: Path) -> None:
    before = key(videos)
    (videos / "archery" / "0.mp4").write_bytes(b"something else")
    assert key(videos) != before


def test_descriptions_enter_by_what_they_say(videos: Path, tmp_path: Path) -> None:
    def write(name: str, word: str) -> Path:
        file = tmp_path / name
        sentences = {kind: [f"{word} one.", f"{word} two."] for kind in ("spatial", "temporal")}
        file.write_text(json.dumps({"archery": sentences, "surfing": sentences}))
        return file

    keys = {
        name: key(videos, f"msta.descriptions={write(name, word)}", "msta.bottleneck_dim=8", method="msta")
        for name, word in [("a.json", "calm"), ("b.json", "calm"), ("c.json", "wild")]
    }
    assert keys["a.json"] == keys["b.json"] != keys["c.json"]


def test_the_trial_still_says_where_its_files_lay(videos: Path) -> None:
    (job,) = planned(videos).jobs
    assert job.trial.locations["folder"]["path"] == str(videos)
    assert "path" not in job.trial.dataset_options
