"""`--videos`, `--workers` and `--device`, as the commands have them that use a model on videos."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import tell

if TYPE_CHECKING:
    from petl_bench.inference.videos import Videos

#: Files that cannot be read and are named one by one, and processes that decode.
NAMED, MOST_WORKERS = 20, 8
#: So many videos do not pay for processes.
_FEW = 16

places_option = click.option(
    "--videos", "places", required=True, multiple=True, type=click.Path(path_type=Path), metavar="FILE|DIR",
    help="A video, a folder of frames, or a folder: every video below it. Repeatable.",
)  # fmt: skip
workers_option = click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode; 0: none beside.  "
    f"[one for each CPU, {MOST_WORKERS} at most; 0 for {_FEW} videos or less]",
)  # fmt: skip
device_option = click.option(
    "--device", type=OneOf(["auto", "cpu", "cuda"]), default="auto", help="Where to compute.  [auto]"
)


def videos_at(places: tuple[Path, ...]) -> Videos:
    """The videos that `--videos` names; what there is to say of their folders is told."""
    from petl_bench.inference.videos import videos_of
    from petl_bench.system.cache import cache_folder

    videos = videos_of(places, cache_folder())
    for note in videos.notes:
        tell(note)
    return videos


def workers_for(videos: Videos, asked: int | None) -> int:
    """Processes that decode: as many as were asked for, else as pay."""
    if asked is not None:
        return asked
    return 0 if len(videos.paths) <= _FEW else min(MOST_WORKERS, os.cpu_count() or 1)
