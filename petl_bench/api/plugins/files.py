"""The code that a plugin file is: the file itself and every module of the user's own that it imports.

A module is the user's own if it lies beside the plugin file, or elsewhere outside the standard library, the installed
packages and petl-bench. Import statements are read, not run: those inside functions count, and those that never run
(`if TYPE_CHECKING`, `if __name__ == "__main__"`) do not. What a plugin imports by a name that it makes up while it runs
is not seen, nor are files that it reads.

Modules beside a plugin file can be imported by it, wherever the command is started; the standard library and installed
packages win over them. Each is hashed from the very bytes that are compiled, and a module that is imported late, in a
function, is refused if it was edited since the plugin was loaded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

from petl_bench.errors import PluginError

#: The name of the plugin file itself among the modules that make up its code.
ITSELF = ""
#: What the names of the modules of plugin files begin with.
PREFIX = "petl_bench_plugin_"
#: Endings of files of code.
CODE_SUFFIXES = (".py", ".so", ".pyd")
_PACKAGES = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class SourceFile:
    """One file of code, with the sha256 of its content."""

    file: Path
    sha256: str

    def place(self, module: str) -> str:
        """Where the file lies, relative to the folder from which `module` can be imported."""
        if module == ITSELF:
            return self.file.name
        parents = module.split(".") if self.file.name == "__init__.py" else module.split(".")[:-1]
        return "/".join([*parents, self.file.name])


#: The files that a plugin consists of, by module name; its own name is `ITSELF`.
Code = Mapping[str, SourceFile]


def code_of(path: Path) -> dict[str, SourceFile]:
    """The code of a plugin file as it lies on disk. Raises PluginError for a file that cannot be read."""
    found: dict[str, SourceFile] = {}
    waiting = [(ITSELF, path)]
    while waiting:
        name, file = waiting.pop()
        if name in found or (name != ITSELF and file == path):
            continue
        content = _content(file)
        found[name] = SourceFile(file, hashlib.sha256(content).hexdigest())
        if file.suffix == ".py":
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for imported in dict.fromkeys(_imports(content, package)):
                waiting.extend(_own_modules(imported, path.parent))
    return found


def hash_of(code: Code) -> str:
    """One hash of a plugin's code; of a plugin that is one file, that file's sha256."""
    if code.keys() == {ITSELF}:
        return code[ITSELF].sha256
    lines = "".join(f"{name}\0{code[name].sha256}\n" for name in sorted(code))
    return hashlib.sha256(lines.encode()).hexdigest()


def changed(before: Code, now: Code) -> list[Path]:
    """The files that are not what they were, that came, or that went."""
    names = sorted(before.keys() | now.keys())
    hashes = {name: [code[name].sha256 if name in code else "" for code in (before, now)] for name in names}
    return [(before.get(name) or now[name]).file for name in names if hashes[name][0] != hashes[name][1]]


def copies(code: Code) -> dict[str, bytes]:
    """The files of a plugin's code by their place beside it, for a copy that can be loaded elsewhere."""
    return {source.place(name): _content(source.file) for name, source in code.items()}


def code_files_below(folder: Path) -> Iterator[Path]:
    """Every file of code in a package's folder and below."""
    return (path for path in sorted(folder.rglob("*")) if path.suffix in CODE_SUFFIXES and path.is_file())


def load(module_name: str, path: Path) -> None:
    """Import a plugin file under this name, from the bytes that are hashed.

    Raises PluginError if a module that it imports is not the one that was loaded already under that name, or if a file
    is edited meanwhile; and whatever the file itself raises.
    """
    before = code_of(path)
    _importer.expect(before)
    content = _content(path)
    module = types.ModuleType(module_name)
    module.__file__ = str(path)
    module.__spec__ = importlib.util.spec_from_file_location(module_name, path)
    sys.modules[module_name] = module
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
        now = code_of(path)  # again: the file may have made more modules importable
        edited = [file for file in changed(before, now) if file in {source.file for source in before.values()}]
        if edited or hashlib.sha256(content).hexdigest() != now[ITSELF].sha256:
            raise PluginError(f"{edited[0] if edited else path} was edited while it was loaded; run the command again")
        _importer.expect(now)
        _refuse_other_modules(now)
    except BaseException:
        del sys.modules[module_name]
        raise
    _loaded[module_name] = now


def loaded_code(module_name: str) -> Code | None:
    """The code of the module with this name as it was when it was loaded; None for one without a file.

    For a module that `load` did not import, such as a script that registers plugins, it is that of the first call.
    """
    if module_name not in _loaded:
        file = getattr(sys.modules.get(module_name), "__file__", None)
        if file is None:
            return None
        _loaded[module_name] = code_of(Path(file).resolve())
    return _loaded[module_name]


def file_to_load(module_name: str) -> Path | None:
    """The plugin file that has to be loaded for what a module registers; None for one that no plugin file brought."""
    files = [
        code[ITSELF].file
        for name, code in _loaded.items()
        if name.startswith(PREFIX) and (name == module_name or module_name in code)
    ]
    return files[0] if files else None


_loaded: dict[str, Code] = {}


# Which modules a file imports


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PluginError(f"plugin code {file} cannot be read: {error.strerror}") from error


def _imports(content: bytes, package: str) -> Iterator[str]:
    """The full names of what a file imports, modules or not; nothing for one that cannot be parsed."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield from _imported_by(node, package)
        if isinstance(node, ast.If) and _never_runs(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, package)
        if base is not None:
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
            yield first.value


def _base(node: ast.ImportFrom, package: str) -> str | None:
    """The module that `from ... import` names; None for a relative one outside a package."""
    if node.level == 0:
        return node.module
    parents = package.split(".") if package else []
    if node.level > len(parents):
        return None
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _never_runs(test: ast.expr) -> bool:
    """Whether this is the test of a block that does not run when a plugin is imported."""
    if isinstance(test, ast.Attribute):
        return test.attr == "TYPE_CHECKING"
    if isinstance(test, ast.Name):
        return test.id == "TYPE_CHECKING"
    sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else []
    return any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)


def _own_modules(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The user's own modules that importing `name` loads, each with its file: the module and its parent packages."""
    first, *rest = name.split(".")
    spec = _top(first, folder)
    names = [first]
    while spec is not None:
        if spec.origin is not None and Path(spec.origin).suffix in CODE_SUFFIXES:
            yield ".".join(names), Path(spec.origin).resolve()
        if not rest or spec.submodule_search_locations is None:
            return
        names.append(rest.pop(0))
        spec = PathFinder.find_spec(".".join(names), list(spec.submodule_search_locations))


def _top(name: str, folder: Path) -> ModuleSpec | None:
    """Where a top-level module of the user's own is; None for the standard library, installed packages, petl-bench."""
    if name in sys.stdlib_module_names or name == "petl_bench":
        return None
    elsewhere = _found_by_python(name)
    if elsewhere is not None and _is_installed(elsewhere):
        return None
    beside = PathFinder.find_spec(name, [str(folder)])
    return elsewhere if beside is None or (beside.origin is None and elsewhere is not None) else beside


def _found_by_python(name: str) -> ModuleSpec | None:
    """Where Python itself would find a top-level module; nothing is imported."""
    finders = [finder for finder in sys.meta_path if finder is not _importer]
    specs = (finder.find_spec(name, None) for finder in finders if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def _is_installed(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or [])
    if spec.origin is not None and not spec.has_location:
        return True  # built in, or frozen
    return any(_is_library(Path(place).resolve()) for place in places)


def _is_library(path: Path) -> bool:
    return any(part in _PACKAGES for part in path.parts) or any(path.is_relative_to(root) for root in _libraries())


@cache
def _libraries() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [site.getusersitepackages(), *site.getsitepackages()]
    return tuple(Path(folder).resolve() for folder in folders)


# Importing them


class _Importer(MetaPathFinder):
    """Finds the user's own modules of the plugins that are loaded, and no others."""

    def __init__(self) -> None:
        self.expected: dict[str, SourceFile] = {}

    def expect(self, code: Code) -> None:
        """Let these modules be imported. Raises PluginError if another one has the name of one of them."""
        for name, source in code.items():
            known = self.expected.get(name)
            if name == ITSELF:
                continue
            if known is not None and known.sha256 != source.sha256:
                if known.file == source.file:
                    raise PluginError(f"{source.file} was edited after it was loaded; run the command again")
                raise PluginError(f"two plugins import modules named {name}: {known.file}, {source.file}; rename one")
            self.expected.setdefault(name, source)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """The place of an expected module, or of a folder that holds some of them."""
        source = self.expected.get(fullname)
        if source is not None and source.file.suffix == ".py":
            return importlib.util.spec_from_file_location(fullname, source.file, loader=_Loader(fullname, source))
        if source is not None:
            return importlib.util.spec_from_file_location(fullname, source.file)
        return self._folder(fullname)

    def _folder(self, name: str) -> ModuleSpec | None:
        below = [(module, source) for module, source in self.expected.items() if module.startswith(f"{name}.")]
        if not below:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        roots = [str(source.file).removesuffix(source.place(module)) for module, source in below]
        spec.submodule_search_locations = [str(Path(root, *name.split("."))) for root in dict.fromkeys(roots)]
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module from the bytes that are hashed, past any cached bytecode."""

    def __init__(self, name: str, source: SourceFile) -> None:
        super().__init__(name, str(source.file))
        self._source = source

    def get_code(self, fullname: str) -> types.CodeType:
        """The code of the module. Raises PluginError if it is not what it was when the plugin was loaded."""
        content = _content(self._source.file)
        if hashlib.sha256(content).hexdigest() != self._source.sha256:
            raise PluginError(f"{self._source.file} changed after the plugin that imports it; run the command again")
        code: types.CodeType = self.source_to_code(content, self.path)
        return code


def _refuse_other_modules(code: Code) -> None:
    """Raise PluginError if a module was loaded from another file than the one that is hashed."""
    for name in code.keys() & sys.modules.keys():
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and not _same(Path(file), code[name]):
            raise PluginError(f"a module named {name} is loaded from {file} already: rename {code[name].file}")


def _same(file: Path, source: SourceFile) -> bool:
    resolved = file.resolve()
    return resolved == source.file or hashlib.sha256(_content(resolved)).hexdigest() == source.sha256


_importer = _Importer()
sys.meta_path.insert(0, _importer)
