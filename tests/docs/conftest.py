"""A folder like a reader's: videos of their own, records to report on, and a `petl-bench` that trains for one epoch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from petl_bench.api.registry import DATASETS

Shell = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
#: What `run` gets in addition, since training takes time; a flag that stands in the page wins.
SHORTER = {"--epochs": "1", "--seeds": "0", "--workers": "1"}
WRAPPER = """#!{python}
import sys
words = sys.argv[1:]
if words[:1] == ["run"] and "--dry-run" not in words:
    given = " ".join(words)
    for flag, value in {shorter!r}.items():
        if flag not in words and not (flag == "--epochs" and "training.epochs" in given):
            words += [flag, value]
from petl_bench.cli import main
sys.argv[1:] = words
sys.exit(main())
"""


@pytest.fixture(scope="session")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with `petl-bench` and `python`."""
    folder = tmp_path_factory.mktemp("bin")
    wrapper = folder / "petl-bench"
    wrapper.write_text(WRAPPER.format(python=sys.executable, shorter=SHORTER), encoding="utf-8")
    wrapper.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    return folder


@pytest.fixture(scope="session")
def shell(binaries: Path) -> Shell:
    """Runs shell lines in a folder; standard output and error come back together."""

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=280,
        )

    return run


@pytest.fixture(scope="session")
def clips() -> Path:
    """Rendered clips of `motion`, in class folders."""
    return DATASETS.get("motion")().root(None)


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Path:
    """A folder with `runs`: three methods, two seeds, one epoch."""
    folder = tmp_path_factory.mktemp("records")
    done = shell("petl-bench run --methods zero_shot,lora,msta --seeds 0,1", folder)
    assert done.returncode == 0, done.stdout
    return folder / "runs"


@pytest.fixture
def folder(tmp_path: Path, clips: Path, records: Path) -> Path:
    """A reader's folder: `runs`, `my_videos`, `my_other_videos`, and what pages name beside them."""
    shutil.copytree(records, tmp_path / "runs")
    for name, classes in {"my_videos": ("growing", "falling"), "my_other_videos": ("swinging", "pulsing")}.items():
        for label in classes:
            (tmp_path / name / label).mkdir(parents=True)
            for clip in sorted((clips / label).glob("train_*.mp4"))[:6]:
                shutil.copy(clip, tmp_path / name / label)
    rows = [
        f"{clip.parent.name}/{clip.name},{clip.stem[:8]}" for clip in sorted((tmp_path / "my_videos").rglob("*.mp4"))
    ]
    (tmp_path / "groups.csv").write_text("\n".join(["clip,group", *rows]) + "\n")
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    return tmp_path
