"""Draws the packages of petl-bench and their imports, and counts what makes a code base easy or hard to read.

    make structure          (python docs/pictures/draw_structure.py SOURCE --picture FILE.svg [--document FILE.md])

SOURCE is a folder with the package `petl_bench` as a wheel has it: methods, benchmarks and reports inside. The picture
has a box for each package and an arrow for each pair of packages of which one imports the other; what imports against
the direction, or in a circle, is red. The document gets the counts, between two marker lines.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import grimp
import matplotlib.pyplot as plt
import networkx
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = "petl_bench"
#: Modules in the root that every package uses, or that use every package: what others import through them is no circle.
FACADE = {ROOT, f"{ROOT}.__main__"}
#: The other modules that lie in the root beside the packages, drawn as one box.
LOOSE = "(root)"
MARKERS = "<!-- counts: begin -->", "<!-- counts: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder that holds the package petl_bench as a wheel has it")
    parser.add_argument("--picture", type=Path, required=True, help="the SVG file to write")
    parser.add_argument("--document", type=Path, help="Markdown file whose marked part gets the counts")
    options = parser.parse_args()
    sys.path.insert(0, str(options.source.resolve()))
    modules = imports_of(options.source)
    draw(modules, packages_of(modules), options.source, options.picture)
    table = "\n".join(
        [
            "| What | Count |",
            "|---|---:|",
            *(f"| {what} | {count} |" for what, count in counts(options.source, modules)),
        ]
    )
    print(table)
    if options.document:
        write_between(options.document, table)


def imports_of(source: Path) -> networkx.DiGraph:
    """Every module with its `package`, and an edge to each module that it imports, for type checking and within
    functions too."""
    graph = grimp.build_graph(ROOT, cache_dir=None)
    found = networkx.DiGraph()
    for module in graph.modules:
        found.add_node(module, package=package_of(source, module))
    for module in list(found):
        found.add_edges_from((module, other) for other in graph.find_modules_directly_imported_by(module))
    return found


def package_of(source: Path, module: str) -> str:
    """The package below the root that a module lies in; "errors", or LOOSE for other modules of the root itself."""
    parts = module.split(".")
    in_package = len(parts) > 2 or (len(parts) == 2 and file_of(source, module).name == "__init__.py")
    return parts[1] if in_package or module == f"{ROOT}.errors" else LOOSE


def packages_of(modules: networkx.DiGraph) -> networkx.DiGraph:
    """Every package, with an edge to each package that it imports from; `weight` counts the imports."""
    package = modules.nodes(data="package")
    inside = modules.subgraph(module for module in modules if module not in FACADE)
    found = networkx.DiGraph()
    found.add_nodes_from(package[module] for module in inside)
    weights = Counter((package[a], package[b]) for a, b in inside.edges if package[a] != package[b])
    found.add_weighted_edges_from((a, b, weight) for (a, b), weight in weights.items())
    return found


def floors(packages: networkx.DiGraph) -> dict[str, int]:
    """The floor of every package: one above the highest that it imports from; packages of one circle share theirs."""
    condensed = networkx.condensation(packages)
    height: dict[int, int] = {}
    for node in reversed(list(networkx.topological_sort(condensed))):
        height[node] = max((height[below] + 1 for below in condensed.successors(node)), default=0)
    return {name: height[node] for node, data in condensed.nodes(data=True) for name in data["members"]}


def circles(graph: networkx.DiGraph) -> list[set[str]]:
    """Groups of modules or packages each of which reaches all others of its group."""
    return [found for found in networkx.strongly_connected_components(graph) if len(found) > 1]


def draw(modules: networkx.DiGraph, packages: networkx.DiGraph, source: Path, picture: Path) -> None:
    """Write the picture: floors from the bottom up, a box per package, arrows to what it imports from."""
    floor, in_circle = floors(packages), set().union(*circles(packages)) if circles(packages) else set()
    rows: dict[int, list[str]] = defaultdict(list)
    for name in sorted(packages, key=lambda each: (floor[each], each)):
        rows[floor[name]].append(name)
    split = [(level, row[at : at + 6]) for level, row in sorted(rows.items()) for at in range(0, len(row), 6)]
    plt.rcParams.update({"svg.hashsalt": ROOT, "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(figsize=(11, 0.95 * len(split) + 0.3))
    place = {
        name: ((at + 1) * 12 / (len(row) + 1), 1.0 * index)
        for index, (_, row) in enumerate(split)
        for at, name in enumerate(row)
    }
    for a, b, weight in packages.edges(data="weight"):
        bad = a in in_circle and b in in_circle and any({a, b} <= circle for circle in circles(packages))
        arrow = FancyArrowPatch(
            place[a], place[b], arrowstyle="-|>", mutation_scale=7, shrinkA=16, shrinkB=16, zorder=2 if bad else 1,
            color="#c0392b" if bad else "#7f8c8d", alpha=0.75 if bad else 0.45, linewidth=0.5 + min(weight, 40) / 25,
            connectionstyle="arc3,rad=0.08",
        )  # fmt: skip
        axes.add_patch(arrow)
    for name, (x, y) in place.items():
        inside = [module for module, package in modules.nodes(data="package") if package == name]
        lines = sum(len(file_of(source, module).read_text(encoding="utf-8").splitlines()) for module in inside)
        edge = "#c0392b" if name in in_circle else "#2c3e50"
        axes.add_patch(
            FancyBboxPatch(
                (x - 0.72, y - 0.21), 1.44, 0.42, boxstyle="round,pad=0.02", facecolor="white", edgecolor=edge, zorder=3
            )
        )
        axes.text(x, y + 0.07, name, ha="center", va="center", fontsize=9, weight="bold", zorder=4)
        axes.text(
            x, y - 0.11, f"{len(inside)} modules, {lines:,} lines", ha="center", va="center", fontsize=6, zorder=4
        )
    axes.set(xlim=(0, 12), ylim=(-0.5, len(split) - 0.5))
    axes.axis("off")
    figure.savefig(picture, metadata={"Date": None}, bbox_inches="tight")


def counts(source: Path, modules: networkx.DiGraph) -> Iterable[tuple[str, str]]:
    """What is counted, each with its number as text."""
    files = {module: file_of(source, module) for module in modules}
    trees = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in files.items()}
    length = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in files.items()}
    plugins = ("methods", "benchmarks", "reports")
    engine = [module for module, package in modules.nodes(data="package") if package not in plugins]
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    classes = Counter(node.name for tree in trees.values() for node in tree.body if isinstance(node, ast.ClassDef))
    folders = Counter(module.rpartition(".")[0] for module in modules if files[module].name != "__init__.py")
    packages = packages_of(modules)
    yield "modules in the root", str(sum(package in (LOOSE, "errors") for _, package in modules.nodes(data="package")))
    yield "packages and rooms", str(sum(file.name == "__init__.py" for file in files.values()))
    yield "modules", str(len(modules))
    yield "lines of the engine", f"{sum(length[each] for each in engine):,}"
    yield "lines of methods, benchmarks and reports", f"{sum(length[each] for each in modules if each not in engine):,}"
    yield "modules in the fullest folder", str(max(folders.values()))
    yield "lines of the longest module", str(max(length.values()))
    yield "lines of the median function", str(round(statistics.median(functions)))
    yield "imports among modules", f"{modules.number_of_edges():,}"
    yield "import circles of modules, those for type checking among them", str(len(circles(modules)))
    yield "packages in import circles", str(sum(map(len, circles(packages))))
    yield "floors of packages", str(max(floors(packages).values()) + 1)
    yield "class names with two meanings", str(sum(count > 1 for count in classes.values()))


def file_of(source: Path, module: str) -> Path:
    """The file of a module; for a package its `__init__.py`."""
    path = source.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def write_between(document: Path, table: str) -> None:
    """Put the table between the two marker lines of a document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(MARKERS[0])
    after = rest.partition(MARKERS[1])[2]
    document.write_text(f"{before}{MARKERS[0]}\n{table}\n{MARKERS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
