"""What this machine is: versions, processor, memory, git state. Does not import torch."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

#: Beside the package if it runs from a snapshot (`petl_bench.running.attempts.snapshot`): what it was made from.
SNAPSHOT = "snapshot.json"

LIBRARIES = ("torch", "torchvision", "decord", "av", "numpy", "loralib", "open_clip_torch", "safetensors", "pandas")
#: Those of them that a trial computes with: another version may change the last bits of a number.
_COMPUTING = ("torch", "torchvision", "numpy", "av", "decord")


def computing_versions() -> str:
    """The versions of the libraries that trials compute with, as one text."""
    versions = library_versions()
    return ", ".join(f"{library} {versions[library]}" for library in _COMPUTING if library in versions)


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that can change a number; what is not installed is left out."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def describe_machine() -> dict[str, Any]:
    """Python, platform, processor, cores, memory (GiB), library versions, and the git state of the checkout in use."""
    return {
        "petl_bench": version("petl-bench"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": _affinity(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "libraries": library_versions(),
        "git": git_state(),
    }


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group."""
    cores = _affinity() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        allowed, _, period = quota.read_text().strip().partition(" ")
        if allowed != "max":
            cores = min(cores, max(1, round(int(allowed) / int(period))))
    return cores


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor_name() -> str:
    """The processor's name as the system tells it, or the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_version() -> str:
    """The version of petl-bench that is installed; `pyproject.toml` alone has it."""
    return version("petl-bench")


def git_state() -> dict[str, Any] | None:
    """Commit and whether the work tree is dirty, of the checkout that the package runs from; None elsewhere.

    In a job that runs from a snapshot: those of the checkout that was submitted, at that time.
    """
    home = Path(__file__).parents[2]
    if (home / SNAPSHOT).is_file():
        state: dict[str, Any] | None = json.loads((home / SNAPSHOT).read_text(encoding="utf-8"))["git"]
        return state
    if not (home / ".git").exists():
        return None
    try:
        commit = _git(home, "rev-parse", "HEAD")
        dirty = bool(_git(home, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
