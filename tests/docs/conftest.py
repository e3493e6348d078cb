"""A folder like a reader's: videos of their own, records to report on, and a shell that takes little time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.cli import main

ROOT = Path(__file__).parents[2]
#: Sets `motion` up for a patch, and gives its cache.
SmallMotion = Callable[[pytest.MonkeyPatch], Path]
#: What `run` gets in addition, since training takes time; a flag that stands in the page wins.
SHORTER = {"--epochs": "1", "--seeds": "0", "--workers": "1"}


@dataclass
class Done:
    """How shell lines ended: the exit status of the first that failed, or 0; and what all of them printed."""

    status: int
    output: str


class Shell:
    """Runs shell lines as they stand, in the present folder.

    `petl-bench` and scripts run in this process, which has loaded torch already; all else is given to bash. A plugin
    file is checked once in a session.
    """

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def __call__(self, text: str) -> Done:
        output = ""
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                done = self._run(words, line)
                output += done.output
                if done.status:
                    return Done(done.status, output)
        return Done(0, output)

    def _run(self, words: list[str], line: str) -> Done:
        if words[:2] == ["petl-bench", "check"] and self._is_checked(Path(words[2])):
            return Done(0, "")
        if words[0] == "petl-bench":
            return self._petl_bench(words[1:])
        if words[0] == "python" and words[1].endswith(".py"):
            return self.script(words[1])
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=280)
        return Done(done.returncode, done.stdout + done.stderr)

    def script(self, file: str) -> Done:
        """Run a Python script."""
        return _captured(lambda: runpy.run_path(file, run_name="__main__"))

    def _petl_bench(self, words: list[str]) -> Done:
        target = None
        if ">" in words:
            *words, _, target = words
        if words[0] == "run" and "--dry-run" not in words:
            words = words + [word for flag, value in SHORTER.items() if flag not in words for word in (flag, value)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["petl-bench", *words])
            done = _captured(main)
        if target:
            Path(target).write_text(done.output, encoding="utf-8")
        if words[0] == "check" and done.status == 0:
            self._checked.add(_hash(Path(words[1])))
        return done

    def _is_checked(self, file: Path) -> bool:
        return file.is_file() and _hash(file) in self._checked


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _captured(action) -> Done:
    output, status = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            action()
        except SystemExit as end:
            status = int(end.code or 0)
    return Done(status, output.getvalue())


@pytest.fixture(scope="session")
def small_motion(tmp_path_factory: pytest.TempPathFactory) -> SmallMotion:
    """`motion` with few test clips, in a cache of its own."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)

    def small_motion(patch: pytest.MonkeyPatch) -> Path:
        patch.setattr(motion, "CLIPS", {"train": 16, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        patch.setenv("COLUMNS", "120")
        return cache

    return small_motion


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, small_motion: SmallMotion) -> Path:
    """A reader's folder: `runs` with three methods and two seeds, the same in `runs/demo`, as `make demo` leaves it,
    `my_videos`, and what pages name beside them."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        cache = small_motion(patch)
        patch.chdir(folder)
        done = Shell()("petl-bench run --methods zero_shot,lora,msta --seeds 0,1")
    assert done.status == 0, done.output
    shutil.copytree(folder / "runs", folder / "demo")
    (folder / "demo").rename(folder / "runs" / "demo")
    clips = next(cache.glob("motion-*"))
    for name, classes in {"my_videos": ("growing", "falling"), "my_other_videos": ("swinging", "pulsing")}.items():
        for label in classes:
            (folder / name / label).mkdir(parents=True)
            for clip in sorted((clips / label).glob("train_*.mp4"))[:6]:
                shutil.copy(clip, folder / name / label)
    videos = sorted((folder / "my_videos").rglob("*.mp4"))
    groups = [f"{clip.parent.name}/{clip.name},{clip.parent.name} {index // 2}" for index, clip in enumerate(videos)]
    (folder / "groups.csv").write_text("\n".join(["clip,group", *groups]) + "\n")
    shutil.copy(videos[-1], folder / "clip.mp4")
    (folder / "specs").symlink_to(ROOT / "specs")
    return folder


@pytest.fixture(scope="session")
def shell() -> Shell:
    """A shell for all pages."""
    return Shell()


@pytest.fixture
def folder(tmp_path: Path, template: Path, small_motion: SmallMotion, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `template` for one page, which is the present folder; `motion` is the small one."""
    small_motion(monkeypatch)
    copied = Path(shutil.copytree(template, tmp_path / "reader", symlinks=True))
    monkeypatch.chdir(copied)
    return copied
