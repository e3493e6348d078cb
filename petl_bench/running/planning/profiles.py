"""Profiles of launchers: TOML files of fields. Some ship with the package, as commented examples."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from petl_bench.errors import PluginError, UsageError, unknown
from petl_bench.running.planning.spec import load_toml

SEE = "petl-bench list profiles"


def profiles() -> dict[str, Path]:
    """The profiles that ship with the package, by name."""
    spec = importlib.util.find_spec("petl_bench.slurm")
    if spec is None or not spec.submodule_search_locations:
        raise PluginError("the shipped profiles are not installed; install petl-bench again: pip install .")
    return {path.stem: path for path in sorted(Path(next(iter(spec.submodule_search_locations))).glob("*.toml"))}


def profile_path(text: str) -> Path:
    """The file that `--profile` means: the name of a shipped profile, or a path.

    Raises UsageError, with near names, if there is neither.
    """
    shipped = profiles()
    if text in shipped:
        return shipped[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.stem in shipped:
        raise UsageError(f"--profile {text}: no such file; the one that ships is named without a path: {path.stem}")
    if path.name != text or path.suffix:
        raise UsageError(f"--profile {text}: no such file. Profiles that ship: {', '.join(shipped)}. See: {SEE}")
    raise unknown("profile", text, shipped, SEE)


def profile_values(text: str) -> dict[str, Any]:
    """The fields in the profile that `--profile` means; tables such as [extra] as NAME=VALUE. Raises UsageError."""
    values = load_toml(profile_path(text), "--profile")
    for name, table in values.items():
        if isinstance(table, dict):
            values[name] = [f"{option}={_plain(value)}" for option, value in table.items()]
    return values


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def meaning(path: Path) -> str:
    """The first comment line of a profile, which says what it is for."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")
