"""Layout files: TOML, read strictly. Some ship with the package."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petl_bench.api.values.fields import convert, field_types
from petl_bench.errors import PluginError, UsageError, unknown
from petl_bench.system.texts import is_reference, is_shown
from petl_bench.tables.layout_choices import OwnGroup, OwnRow, TableLayout
from petl_bench.tables.published_file import read_toml

SEE = "docs/tables.md#layouts"
_SHIPPED = "petl-bench list layouts"
#: Letters of a text, and entries of a list.
_LONGEST, _MOST = 500, 500


def shipped_layouts() -> dict[str, Path]:
    """The layouts that ship with the package, by name."""
    spec = importlib.util.find_spec("petl_bench.reports")
    places = spec.submodule_search_locations if spec else None
    found = sorted((Path(next(iter(places))) / "layouts").glob("*.toml")) if places else []
    if not found:
        raise PluginError("the shipped layouts are not installed; install petl-bench again: pip install .")
    return {path.stem: path for path in found}


def layout_path(text: str) -> Path:
    """The file that `--layout` means: a path, or the name of a layout that ships. Raises UsageError, with near names,
    if there is neither."""
    path = Path(text).expanduser()
    if path.name != text or path.suffix:
        if not path.is_file():
            raise UsageError(f"--layout {text}: no such file. Layouts that ship: {', '.join(shipped_layouts())}")
        return path
    return shipped_layout(text)


def shipped_layout(name: str) -> Path:
    """The layout of this name that ships. Raises UsageError, with near names, if there is none."""
    shipped = shipped_layouts()
    if name not in shipped:
        raise unknown("layout", name, shipped, _SHIPPED)
    return shipped[name]


def meaning(path: Path) -> str:
    """The first line of a shipped layout, which says what it is for."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def read_layout(path: Path) -> TableLayout:
    """A layout. Raises UsageError, in one line that names file and field, for whatever is not one."""
    values = read_toml(path)
    found = _fields(TableLayout, values, f"{path}: ")
    for name, kind in (("groups", OwnGroup), ("own_rows", OwnRow)):
        entries = enumerate(values.get(name, []))
        found[name] = tuple(kind(**_fields(kind, entry, f"{path}: {name}[{at}].")) for at, entry in entries)
    label = found.get("label")
    if label is not None and not is_reference(label):
        raise UsageError(f"{path}: label={label}: only letters a-z, digits and : . _ / + - are safe in \\ref")
    return TableLayout(**found, file=str(path))


def _fields(kind: type, values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The fields of a dataclass in a table of TOML, each of its type. `label`: stands before their names."""
    known = [name for name in field_types(kind) if name != "file"]
    for name in values:
        if name not in known:
            raise UsageError(f"{label}{unknown('field', name, known, SEE)}")
    found = {name: convert(field_types(kind)[name], value, label + name) for name, value in values.items()}
    for name, value in found.items():
        _check(value, label + name)
    return found


def _check(value: Any, label: str) -> None:
    """Raise UsageError unless every text is one line of what can be seen, and every list has some entries."""
    if isinstance(value, str) and not (is_shown(value) and value.strip() and len(value) <= _LONGEST):
        raise UsageError(f"{label}: expected one line of 1 to {_LONGEST} letters")
    if isinstance(value, (tuple, Mapping)):
        if not 0 < len(value) <= _MOST:
            raise UsageError(f"{label}: expected 1 to {_MOST} entries, not {len(value)}")
        for each in value:
            if isinstance(each, str):
                _check(each, label)
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check(each, f"{label}.{name}")
