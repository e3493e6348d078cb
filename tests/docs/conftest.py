"""A folder like a reader's: videos of their own, records to report on, and a `petl-bench` that takes little time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Shell = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
#: `petl-bench` as the pages' commands find it. They are what is tested, and not training: `motion` is smaller, `run`
#: trains for one epoch with one seed unless the page says otherwise, and a plugin file is checked once in a session.
WRAPPER = """#!{python}
import hashlib, pathlib, sys
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.cli import main

motion.CLIPS.update(train=16, test=2)
words = sys.argv[1:]
if words[:1] == ["run"] and "--dry-run" not in words:
    for flag, value in {{"--epochs": "1", "--seeds": "0", "--workers": "1"}}.items():
        if flag not in words:
            sys.argv += [flag, value]
if words[:1] == ["check"]:
    content = pathlib.Path(words[1]).read_bytes()
    checked = pathlib.Path({folder!r}, hashlib.sha256(content).hexdigest())
    if checked.exists():
        sys.exit(0)
try:
    main()
except SystemExit as end:
    if words[:1] == ["check"] and not end.code:
        checked.touch()
    raise
"""


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs shell lines in a folder; standard output and error come back together."""
    base = tmp_path_factory.mktemp("reader")
    binaries, cache, checked = base / "bin", base / "cache", base / "checked"
    for folder in (binaries, cache, checked):
        folder.mkdir(mode=0o700)
    wrapper = binaries / "petl-bench"
    wrapper.write_text(WRAPPER.format(python=sys.executable, folder=str(checked)), encoding="utf-8")
    wrapper.chmod(0o755)
    (binaries / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    (binaries / "python").chmod(0o755)
    path = f"{binaries}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PETL_BENCH_CACHE": str(cache), "NO_COLOR": "1", "COLUMNS": "120"}

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
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
def template(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Path:
    """A reader's folder: `runs` with three methods and two seeds, `my_videos`, and what pages name beside them."""
    folder = tmp_path_factory.mktemp("template")
    done = shell("petl-bench run --methods zero_shot,lora,msta --seeds 0,1; echo $PETL_BENCH_CACHE", folder)
    assert done.returncode == 0, done.stdout
    clips = next(Path(done.stdout.splitlines()[-1]).glob("motion-*"))
    for name, classes in {"my_videos": ("growing", "falling"), "my_other_videos": ("swinging", "pulsing")}.items():
        for label in classes:
            (folder / name / label).mkdir(parents=True)
            for clip in sorted((clips / label).glob("train_*.mp4"))[:6]:
                shutil.copy(clip, folder / name / label)
    videos = sorted((folder / "my_videos").rglob("*.mp4"))
    rows = [f"{clip.parent.name}/{clip.name},{clip.parent.name} {number // 2}" for number, clip in enumerate(videos)]
    (folder / "groups.csv").write_text("\n".join(["clip,group", *rows]) + "\n")
    (folder / "specs").symlink_to(ROOT / "specs")
    return folder


@pytest.fixture
def folder(tmp_path: Path, template: Path) -> Path:
    """A copy of `template` for one page."""
    return Path(shutil.copytree(template, tmp_path / "reader", symlinks=True))
