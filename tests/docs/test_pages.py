"""What the README and the pages of docs/ tell a reader to type or to save works as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import Shell
from .pages import NEEDS, PAGES, commands, fences, parse

RUNNABLE = [page for page in PAGES if any(fence.language in ("sh", "python") for fence in fences(page))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RUNNABLE)
def test_blocks_work_as_they_stand(page: str, folder: Path, shell: Shell) -> None:
    if page == "docs/runs.md":  # a folder and a tar of somebody else's
        shutil.copytree(folder / "runs", folder / "alice" / "runs")
        assert shell("petl-bench runs export --output bob.tar.gz").status == 0
    for number, fence in enumerate(fences(page)):
        place = f"{page}, line {fence.line}"
        if "title" in fence.options:
            (folder / fence.options["title"]).write_text(fence.text, encoding="utf-8")
        elif fence.language == "python":
            (folder / f"script_{number}.py").write_text(fence.text, encoding="utf-8")
            assert shell.script(f"script_{number}.py").status == 0, place
        elif fence.language == "sh" and "needs" not in fence.options:
            done = shell(fence.text)
            if "fails" in fence.options:
                assert done.status == 2 and fence.options["fails"] in done.output, f"{place}\n{done.output}"
            else:
                assert done.status == 0, f"{place}\n{done.output}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_cannot_run_here_are_spelled_rightly(page: str) -> None:
    for fence in fences(page):
        if fence.language == "sh" and "needs" in fence.options:
            assert fence.options["needs"] in NEEDS, f"{page}, line {fence.line}"
            for words in commands(fence.text):
                parse(words)


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        for fence in fences(page):
            assert fence.language in ("sh", "python", "toml", "text"), f"{page}, line {fence.line}: {fence.language!r}"


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 150
