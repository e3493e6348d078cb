"""The fields of PEFT's configurations, read from the text of its files: importing PEFT takes seconds, and loads torch.

PEFT declares each field of a configuration as `name: annotation = field(default=..., metadata={"help": ...})`, or as
`name: annotation = default`.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from petl_bench.errors import PluginError

_TYPE = re.compile(r"self\.peft_type = PeftType\.([A-Z0-9_]+)")
_UNIONS = (typing.Union, types.UnionType)
_SIMPLE = (bool, int, float, str)
_NOT_LITERAL = object()
#: What the annotations are made of; any other name is a class of PEFT's, which no flag can say.
_NAMES: dict[str, Any] = {"list": list, "dict": dict, "bool": bool, "int": int, "float": float, "str": str}
_NAMES |= {"typing": typing, "Optional": typing.Optional, "Union": typing.Union, "Literal": Literal}
_NAMES |= {"List": list, "Dict": dict, "Any": object}


@dataclass(frozen=True)
class PeftField:
    """One field of a configuration: the type that `hyper` takes (None: none does), its default, its meaning."""

    name: str
    kind: Any
    default: Any
    meaning: str


def installed_types() -> dict[str, Path]:
    """TYPE -> the file with its configuration, in alphabetical order. Raises PluginError if PEFT is not installed."""
    spec = importlib.util.find_spec("peft")
    if spec is None or not spec.submodule_search_locations:
        raise PluginError("peft:TYPE needs Hugging Face PEFT: pip install 'petl-bench[peft]'")
    return _types_below(Path(next(iter(spec.submodule_search_locations))))


@functools.cache
def _types_below(package: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (package / "tuners").glob("*/config.py"):
        found |= dict.fromkeys(_TYPE.findall(path.read_text(encoding="utf-8")), path)
    return dict(sorted(found.items()))


@functools.cache
def fields_of(peft_type: str) -> tuple[PeftField, ...]:
    """The fields that the configuration of a type declares itself, in its order."""
    path = installed_types()[peft_type]
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and peft_type in _TYPE.findall(ast.get_source_segment(text, node) or ""):
            return tuple(_fields(node))
    raise PluginError(f"peft:{peft_type}: its configuration in {path} is not of a form that can be read")


def _fields(node: ast.ClassDef) -> Iterator[PeftField]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            given = _given(line.value)
            default = given.get("default")
            kind = _sayable(ast.unparse(line.annotation), default)
            yield PeftField(line.target.id, kind, _plain(default), _first_sentence(given.get("metadata")))


def _given(value: ast.expr) -> dict[str, Any]:
    """The arguments of `field(...)`, as far as they are literals; of anything else, itself as the default."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field")):
        return {"default": _literal(value)}
    return {word.arg: _literal(word.value) for word in value.keywords if word.arg}


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        return _NOT_LITERAL


def _plain(default: Any) -> Any:
    return tuple(default) if isinstance(default, list) else default


def _first_sentence(metadata: Any) -> str:
    words = metadata.get("help", "") if isinstance(metadata, dict) else ""
    sentence = re.split(r"(?<=[a-z0-9)'`])\.\s", " ".join(str(words).split()) + " ")[0]
    return sentence.strip(' .("') or "see PEFT's documentation"


def _sayable(annotation: str, default: Any) -> Any:
    """The type of `hyper` that an annotation stands for; None if it, or the default, cannot be said in a flag."""
    if default is _NOT_LITERAL:
        return None
    try:
        kind = eval(annotation, {"__builtins__": {}}, _Names(_NAMES))
    except Exception:  # whatever an annotation may raise: the field is left out, and `show` says so
        return None
    parts = _alternatives(kind)
    optional = type(None) in parts or default is None
    chosen = _one_of([each for each in parts if each is not type(None)])
    return None if chosen is None else (chosen | None if optional else chosen)


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return type(name, (), {})


def _alternatives(kind: Any) -> list[Any]:
    if typing.get_origin(kind) in _UNIONS:
        return [each for part in typing.get_args(kind) for each in _alternatives(part)]
    return [kind]


def _one_of(parts: list[Any]) -> Any:
    """One type for several alternatives: a list for one or a list, a choice for a switch or a choice."""
    lists = [each for each in parts if typing.get_origin(each) is list]
    choices = [value for each in parts if typing.get_origin(each) is Literal for value in typing.get_args(each)]
    simple = [each for each in parts if each in _SIMPLE]
    if lists:
        inner = typing.get_args(lists[0])[0]
        return tuple[inner, ...] if inner in _SIMPLE else None  # type: ignore[valid-type]
    if choices:
        return Literal[*(True, False) if bool in simple else (), *choices]
    if float in simple:
        return float
    return simple[0] if simple else None
