"""`petl-bench features`: the features of videos and texts, in a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.adapters import adapter_option, subject_or_frozen
from petl_bench.cli.given_videos import NAMED, device_option, places_option, videos_at, workers_for, workers_option
from petl_bench.cli.options import plugin_option, refuse_output, runs_option, tell
from petl_bench.cli.progress import showing_progress
from petl_bench.errors import UsageError
from petl_bench.system.texts import shortened
from petl_bench.system.words import several

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.inference.feature_files import FeatureTable
    from petl_bench.inference.model import AdaptedModel
    from petl_bench.inference.videos import Videos

_BACKBONE = "viclip-tiny"


@click.command(name="features")
@places_option
@click.option("--texts", metavar="A,B,...|FILE", help="Texts with commas between, or a file with one in every line: "
              "they are encoded too, as they are.")  # fmt: skip
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="FILE.npz, or FILE.parquet (extra parquet).")  # fmt: skip
@adapter_option(required=False)
@runs_option
@click.option("--backbone", metavar="B", help=f"Without --adapter: petl-bench list backbones.  [{_BACKBONE}]")
@click.option("--weights", metavar="W", help="auto, a file, or hf:REPO/FILE; with --adapter, where its weights are.")
@workers_option
@device_option
@plugin_option
def command(
    places: tuple[Path, ...],
    texts: str | None,
    output: Path,
    adapter: str | None,
    runs: Path,
    backbone: str | None,
    weights: str | None,
    workers: int | None,
    device: str,
) -> None:
    """Write the features of videos, and of texts, into a file.

    Clips are read as in the evaluation of the adapter's trial. Features are unit vectors.

    Example: petl-bench features --adapter 1a2b3c4d --videos my_videos --texts "archery,surfing" --output features.npz
    """
    if adapter is not None and backbone is not None:
        raise UsageError("--backbone is for features without --adapter; an adapter has its own backbone")
    refuse_output(output)
    from petl_bench.inference.feature_files import writer_for
    from petl_bench.inference.features import refuse_no_text_features, scores_note, texts_of
    from petl_bench.inference.model import AdaptedModel
    from petl_bench.system.files import write_atomically

    content_of = writer_for(output)
    wanted = [] if texts is None else texts_of(texts)
    videos = videos_at(places)
    subject = subject_or_frozen(adapter, runs, backbone or _BACKBONE, weights)
    if wanted:
        refuse_no_text_features(subject.method)
    model = AdaptedModel(subject, device)
    for note in filter(None, [*model.notes, scores_note(subject.method)]):
        tell(note)
    table = _table(model, videos, wanted, workers_for(videos, workers))
    write_atomically(output, content_of(table))
    tell(f"wrote {output}: features of {several(len(table.names), 'video')} and {several(len(wanted), 'text')}")


def _table(model: AdaptedModel, videos: Videos, texts: list[str], workers: int) -> FeatureTable:
    """The features of all videos and texts. Raises DataError if no video can be read."""
    import numpy as np

    from petl_bench.inference.feature_files import FeatureTable, about
    from petl_bench.inference.features import text_features
    from petl_bench.searching.index import length_s

    cut = {text: read for text in texts if (read := model.read_of(text)) is not None}
    for text, read in cut.items():
        tell(f"{shortened(text, 60)!r} is longer than the model's text context; what is read: {read!r}")
    of_texts = text_features(model, texts).numpy() if texts else np.zeros((0, model.model.config.embed_dim), np.float32)
    found, unreadable = _encoded(model, videos, workers)
    return FeatureTable(
        names=list(found),
        seconds=[length_s(videos.paths[name]) for name in found],
        features=np.stack([feature.numpy() for feature in found.values()]),
        texts=texts,
        text_features=of_texts,
        about=about(model, unreadable, cut),
    )


def _encoded(model: AdaptedModel, videos: Videos, workers: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The features [V, D] of each readable video, and the reason why others cannot be read, which is told."""
    from petl_bench.inference.features import video_features
    from petl_bench.inference.videos import none_readable

    found: dict[str, Tensor] = {}
    unreadable, total, done = dict(videos.unreadable), len(videos.paths), 0
    with showing_progress() as notify:
        for features, unread in video_features(model, videos.paths, workers):
            found.update(features)
            unreadable.update(unread)
            done += len(features) + len(unread)
            notify("encoding videos", done, total)
    for name, reason in list(unreadable.items())[:NAMED]:
        tell(f"left out, cannot be read: {name}: {reason}")
    if len(unreadable) > NAMED:
        tell(f"left out: {len(unreadable) - NAMED:,} more that cannot be read; the file names all")
    if not found:
        raise none_readable(len(unreadable), *next(iter(unreadable.items())))
    return found, unreadable
