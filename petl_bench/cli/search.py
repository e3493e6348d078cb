"""`petl-bench search`: the videos of a folder, ranked by texts."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.adapters import adapter_option, subject_or_frozen
from petl_bench.cli.choices import OneOf
from petl_bench.cli.given_videos import MOST_WORKERS, NAMED, device_option
from petl_bench.cli.options import plugin_option, refuse_output, runs_option, tell
from petl_bench.cli.progress import showing_progress
from petl_bench.errors import UsageError
from petl_bench.system.texts import clean, escaped_json, shortened
from petl_bench.system.words import several

if TYPE_CHECKING:
    from collections.abc import Callable

    from petl_bench.data.found.tree import Tree
    from petl_bench.searching.rankings import SearchResult

#: Raised when a field of the JSON document changes its meaning.
SCHEMA = 1
_BACKBONE = "viclip-tiny"
#: Frames of a video on the page.
_PICTURES = 3


@click.command(name="search")
@click.option("--videos", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Every readable video below it is ranked.")  # fmt: skip
@click.option("--query", "queries", required=True, multiple=True, metavar="TEXT", help="What to look for. Repeatable.")
@adapter_option(required=False)
@runs_option
@click.option("--backbone", metavar="B", help=f"Without --adapter: petl-bench list backbones.  [{_BACKBONE}]")
@click.option("--weights", metavar="W", help="auto, a file, or hf:REPO/FILE; with --adapter, where its weights are.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Videos per query.")
@click.option("--format", "output_format", type=OneOf(["terminal", "json", "html"]), default="terminal",
              help="A list, a JSON document, or a page with pictures.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there; html needs it.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes that decode.  "
              f"[one for each CPU, {MOST_WORKERS} at most]")  # fmt: skip
@device_option
@plugin_option
def command(
    videos: Path,
    queries: tuple[str, ...],
    adapter: str | None,
    runs: Path,
    backbone: str | None,
    weights: str | None,
    top: int,
    output_format: str,
    output: Path | None,
    workers: int | None,
    device: str,
) -> None:
    """Rank the videos of a folder by how well they fit a text.

    Videos are encoded once: their features stay in the cache, and are renewed for changed files only.

    Example: petl-bench search --adapter 1a2b3c4d --videos my_videos --query "a dog catches a ball"
    """
    if output_format == "html" and output is None:
        raise UsageError("--format html is a file: type --output FILE.html")
    if adapter is not None and backbone is not None:
        raise UsageError("--backbone is for a search without --adapter; an adapter has its own backbone")
    if output is not None:
        refuse_output(output)
    from petl_bench.data.found.entries import folder_notes
    from petl_bench.inference.videos import videos_in
    from petl_bench.searching.model import SearchModel
    from petl_bench.searching.search import checked_queries, search
    from petl_bench.system.cache import cache_folder

    wanted, tree = checked_queries(queries), videos_in(videos)
    for note in folder_notes(tree.entries):
        tell(note)
    model = SearchModel(subject_or_frozen(adapter, runs, backbone or _BACKBONE, weights), device)
    for note in model.notes:
        tell(note)
    with showing_progress() as notify:
        result = search(
            model,
            tree,
            wanted,
            cache_folder(),
            top=top,
            workers=workers or min(MOST_WORKERS, os.cpu_count() or 1),
            progress=lambda done, total: notify("indexing videos", done, total),
        )
    _tell_of(result)
    _show(result, tree, output_format, output)


def _tell_of(result: SearchResult) -> None:
    """Files that were left out, and queries that were cut, on stderr."""
    for file, reason in list(result.unreadable.items())[:NAMED]:
        tell(f"left out, cannot be read: {file}: {reason}")
    if len(result.unreadable) > NAMED:
        tell(f"left out: {len(result.unreadable) - NAMED:,} more that cannot be read; --format json names all")
    for ranking in result.rankings:
        if ranking.read is not None:
            query = shortened(ranking.query, 60)
            tell(f"--query {query!r} is longer than the model's text context; what is read: {ranking.read!r}")


def _show(result: SearchResult, tree: Tree, output_format: str, output: Path | None) -> None:
    from petl_bench.system.files import write_atomically

    forms: dict[str, Callable[[SearchResult], bytes]] = {
        "terminal": _terminal,
        "json": _json,
        "html": partial(_html, tree=tree),
    }
    content = forms[output_format](result)
    if output is None:
        click.echo(content.decode(), nl=False)
        return
    write_atomically(output, content)
    click.echo(f"wrote {output}", err=True)


def _terminal(result: SearchResult) -> bytes:
    from petl_bench.page.found import length

    lines = [f"{several(result.indexed, 'video')} in {clean(result.folder)}, ranked by {clean(result.model)}"]
    for ranking in result.rankings:
        lines += ["", clean(ranking.query), "rank  similarity   length  file"]
        for hit in ranking.hits:
            lines.append(f"{hit.rank:4}  {hit.similarity:10.3f}  {length(hit.seconds):>7}  {clean(hit.file)}")
    return ("\n".join(lines) + "\n").encode(errors="replace")


def _json(result: SearchResult) -> bytes:
    values = {"schema": SCHEMA, **asdict(result)}
    return (escaped_json(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)) + "\n").encode()


def _html(result: SearchResult, tree: Tree) -> bytes:
    from petl_bench.cli.thumbnails import pictures_of, reading_process
    from petl_bench.page.found import found_page

    with reading_process() as pool:
        return found_page(result, lambda file: pictures_of(pool, tree.path(file), _PICTURES))
