"""What `--dry-run` says of the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petl_bench.running.planning import capacity
from petl_bench.running.planning.capacity import disk_lines, needed
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.system.words import human
from tests.managing.conftest import Folder
from tests.running.test_plan import spec_of

PARAMETERS = 12345  # of the toy's methods
ADAPTER = 4 * PARAMETERS


def test_sizes_follow_from_formulas(toy_here: Any) -> None:
    found = needed(plan(spec_of(toy_here, seeds=(0, 1, 2), workers=2)))
    assert found.adapters == 3 * ADAPTER
    assert found.checkpoints == 2 * 3 * ADAPTER, "parameters and two moments of the optimiser"
    assert found.predictions == 3 * (4 * 2 * 4 + 4 * 64), "four clips, two classes"
    selected = needed(plan(spec_of(toy_here, select="val", workers=1)))
    assert selected.checkpoints == 4 * ADAPTER


def test_what_is_not_kept_or_not_trained_or_done_takes_nothing(transfer: Folder, toy_here: Any) -> None:
    assert needed(transfer.plan).adapters == ADAPTER, "those that start from it train nothing"
    none = plan(spec_of(toy_here, setting="toy_transfer", keep_adapters="none"))
    assert needed(none).adapters == ADAPTER, "others start from it"
    assert needed(plan(spec_of(toy_here, keep_adapters="none"))).adapters == 0
    transfer.finish("waiting source 0", "waiting target 1 0", "waiting target 2 0")
    assert list(disk_lines(plan(transfer.plan.spec))) == []


@pytest.mark.parametrize(("free", "warns"), [(10**12, False), (1000, True)])
def test_a_disk_that_is_too_small_is_told(
    toy_here: Any, monkeypatch: pytest.MonkeyPatch, free: int, warns: bool
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=free))
    text = "\n".join(plan_lines(plan(spec_of(toy_here, output=str(toy_here.folder / "a" / "b")))))
    assert f"{human(free)} are free" in text and f"adapters {human(ADAPTER)}" in text
    assert ("does not fit" in text) == warns
    assert asked == [toy_here.folder], "the nearest folder that is there"


def test_a_dry_run_does_without_torch(toy: Any) -> None:
    program = (
        "import sys; from petl_bench.cli import cli; cli(sys.argv[1:], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    arguments = ["run", *toy.flags, "--methods", "waiting", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=toy.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "disk: " in done.stdout and not toy.runs.exists()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (412_400_000, "412 MB"), (999_600, "1.0 MB"), (2.5e13, "25.0 TB")],
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert human(size) == text
