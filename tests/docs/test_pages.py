"""What the README and the pages of docs/ tell a reader to type or to save works as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .conftest import Shell
from .pages import ERROR, NEEDS, PAGES, ROOT, commands, fences, parse

RUNNABLE = [page for page in PAGES if any(fence.language in ("sh", "python") for fence in fences(page))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", RUNNABLE)
def test_blocks_work_as_they_stand(page: str, folder: Path, shell: Shell) -> None:
    if page == "docs/runs.md":  # a folder and a tar of somebody else's
        shutil.copytree(folder / "runs", folder / "alice" / "runs")
        assert shell("petl-bench runs export --output bob.tar.gz").status == 0
    for number, fence in enumerate(fences(page)):
        place = f"{page}, line {fence.line}"
        if fence.title and fence.language != "sh":
            (folder / fence.title).write_text(fence.text, encoding="utf-8")
        elif fence.language == "python":
            (folder / f"script_{number}.py").write_text(fence.text, encoding="utf-8")
            assert shell.script(f"script_{number}.py").status == 0, place
        elif fence.language == "sh" and fence.title not in NEEDS:
            done = shell(fence.text)
            assert done.status == (2 if fence.title else 0), f"{place}\n{done.output}"
            assert fence.title.removeprefix(ERROR) in done.output, f"{place}\n{done.output}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_cannot_run_here_are_spelled_rightly(page: str) -> None:
    for fence in fences(page):
        if fence.language == "sh" and fence.title in NEEDS:
            for words in commands(fence.text):
                parse(words)


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        for fence in fences(page):
            place = f"{page}, line {fence.line}"
            assert fence.language in ("sh", "python", "toml", "text"), f"{place}: {fence.language!r}"
            if fence.language == "sh" and fence.title:
                assert fence.title in NEEDS or fence.title.startswith(ERROR), f"{place}: {fence.title!r}"


def test_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/method_reference.md"])
def test_messages_of_a_page_are_in_the_program(page: str) -> None:
    sources = [path for folder in ("petl_bench", "methods", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    program = "".join(path.read_text(encoding="utf-8") for path in sources)
    program = re.sub(r'"\s*\n\s*f?"', "", program)  # literals that continue on the next line
    text = PAGES[page].read_text(encoding="utf-8")
    text = text.partition("\n## Messages\n")[2] or text
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", text, re.MULTILINE)
    messages = [piece.strip() for row in rows for span in re.findall(r"`([^`]+)`", row) for piece in span.split("...")]
    missing = [piece for piece in messages if piece.removesuffix("FILE").strip() not in program]
    assert messages and not missing
