"""The source that runs is the source at submission: a copy of the package and the plugin files, made when jobs go out.

A snapshot is a folder `sources/<sha256[:16]>/` of the output folder. Its name follows from its content, so that many
submissions of one source share it, and it is never changed:

    petl_bench/      the package as a wheel has it, with methods, benchmarks, reports and trackers inside
    petl_bench-*.dist-info/   its version and its entry points
    start.py         starts a module with this folder first on Python's path
    plugins/         the files given with --plugin, each in a folder named after its code, beside the modules of the
                     user's own that it imports
    snapshot.json    the git state of the checkout that it was made from

Only a plugin's code is copied, not what it may read from beside itself; plugins that were installed as packages of
their own come from the environment, as every other library does.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from petl_bench.api.plugins import files as plugin_files
from petl_bench.errors import PetlBenchError, StoreError, UsageError
from petl_bench.system.environment import SNAPSHOT, git_state

FOLDER = "sources"
PACKAGE = "petl_bench"
#: Parts of the package that a checkout keeps in folders beside it (pyproject.toml: package-dir).
PARTS = ("methods", "benchmarks", "reports", "slurm", "trackers")
#: What lies in those folders of a checkout and is in no wheel.
_NOT_PACKAGED = {"__pycache__", "perf", "statistics", "local_cluster", "README.md"}
_METADATA = ("METADATA", "entry_points.txt")
START = "start.py"
_START = '''"""Run a module of this snapshot, or of what is installed: start.py MODULE ARGUMENT..."""

import os
import runpy
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["PYTHONSAFEPATH"] = "1"  # for the processes that it starts
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
'''


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy of the source. `plugins` are the copies of the plugin files, in the order in which they were given."""

    path: Path
    sha256: str
    plugins: tuple[Path, ...]


def command_in(source: Path) -> list[str]:
    """The command that a module's name and its arguments follow, and that runs it from the snapshot in `source`.

    PYTHONPATH could not name every folder (a colon ends a name there). `-P` keeps Python from looking into the working
    directory, which may be the checkout; `-u` is for logs that can be followed.
    """
    return [sys.executable, "-u", "-P", str(source / START)]


def take_snapshot(store: Path, plugins: Sequence[Path] = ()) -> Snapshot:
    """Copy the package in use and the plugin files into the output folder, unless that very source is there already.

    Raises UsageError for a plugin that is not there, and StoreError if the folder cannot be written.
    """
    files = dict(_package_files())
    copies = [_read_plugin(plugin) for plugin in plugins]
    for _, code in copies:
        files |= code
    files[START] = _START.encode()
    files[SNAPSHOT] = json.dumps({"git": git_state()}, indent=1).encode() + b"\n"
    sha256 = _hash(files)
    folder = (store / FOLDER / sha256[:16]).absolute()
    if not folder.is_dir():
        _write(folder, files)
    return Snapshot(path=folder, sha256=sha256, plugins=tuple(folder / name for name, _ in copies))


def _package_files() -> Iterator[tuple[str, bytes]]:
    """Every file of the installed package: its name in the snapshot and its content."""
    for name in (PACKAGE, *(f"{PACKAGE}.{part}" for part in PARTS)):
        folder = _folder_of(name)
        for path in _files_under(folder):
            yield f"{name.replace('.', '/')}/{path.relative_to(folder).as_posix()}", path.read_bytes()
    with contextlib.suppress(PackageNotFoundError):
        installed = distribution("petl-bench")
        for name in _METADATA:
            if (text := installed.read_text(name)) is not None:
                yield f"{PACKAGE}-{installed.version}.dist-info/{name}", text.encode()


def _folder_of(package: str) -> Path:
    """Where a package is, in a wheel's installation, an editable one or a snapshot. Nothing in it is imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PetlBenchError(f"the package {package} is not installed whole; install petl-bench again: pip install .")
    return Path(next(iter(spec.submodule_search_locations)))


def _files_under(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name not in _NOT_PACKAGED and not path.name.startswith("."):
            yield from _files_under(path) if path.is_dir() else (path,)


def _read_plugin(path: Path) -> tuple[str, dict[str, bytes]]:
    """Where the copy of a plugin file lies, and every file of its code by its place in the snapshot."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: No such file")
    code = plugin_files.code_of(path)
    folder = f"plugins/{plugin_files.hash_of(code)[:8]}"
    return f"{folder}/{path.name}", {f"{folder}/{name}": content for name, content in plugin_files.copies(code).items()}


def _hash(files: Mapping[str, bytes]) -> str:
    lines = (f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files so that the folder is there whole or not at all; another command may do the same meanwhile."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o444)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():  # else another command was first, with the same content
            raise StoreError(f"cannot write {folder}: {error.strerror}") from error
