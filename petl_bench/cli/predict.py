"""`petl-bench predict`: videos, labelled with a trained adapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.adapters import adapter_option, subject_of
from petl_bench.cli.choices import OneOf
from petl_bench.cli.given_videos import NAMED, device_option, places_option, videos_at, workers_for, workers_option
from petl_bench.cli.options import plugin_option, refuse_output, runs_option, tell
from petl_bench.cli.progress import showing_progress
from petl_bench.errors import UsageError

if TYPE_CHECKING:
    from petl_bench.inference.predictions import Labeller, Predictions
    from petl_bench.inference.videos import Videos


@click.command(name="predict")
@adapter_option(required=True)
@runs_option
@places_option
@click.option("--classes", metavar="A,B,...|FILE", help="Names of classes with commas between, or a file with one in "
              "every line.  [those that the trial evaluated]")  # fmt: skip
@click.option("--template", metavar="T", help="What the names are put into: a text with {}, several with | between, or "
              "@FILE.  [that of the trial]")  # fmt: skip
@click.option("--format", "output_format", type=OneOf(["terminal", "csv", "json", "html"]), default="terminal",
              help="A list, a table or a document with all probabilities, or a page with pictures.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there; html needs it.")
@click.option("--top", type=click.IntRange(min=1), default=2, show_default=True, metavar="K",
              help="In terminal and html: classes of a video.")  # fmt: skip
@workers_option
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Views in one forward pass.  [as in the "
              "trial's evaluation]")  # fmt: skip
@click.option("--weights", metavar="W", help="Where the backbone's weights are: a file, or hf:REPO/FILE.")
@plugin_option
def command(
    adapter: str,
    runs: Path,
    places: tuple[Path, ...],
    classes: str | None,
    template: str | None,
    output_format: str,
    output: Path | None,
    top: int,
    workers: int | None,
    device: str,
    batch_size: int | None,
    weights: str | None,
) -> None:
    """Label videos with a trained adapter.

    Clips are read and scored as in the evaluation of its trial.

    Example: petl-bench predict --adapter 1a2b3c4d --videos my_videos --format csv --output labels.csv
    """
    if output_format == "html" and output is None:
        raise UsageError("--format html is a file: type --output FILE.html")
    if output is not None:
        refuse_output(output)
    from petl_bench.inference.predictions import Labeller, question
    from petl_bench.inference.videos import classes_of

    names = None if classes is None else classes_of(classes)
    videos = videos_at(places)
    if output is not None and output.resolve() in videos.paths.values():
        raise UsageError(f"--output {output}: one of the videos; name another file")
    subject = subject_of(adapter, runs, weights)
    labeller = Labeller(subject, question(subject, names, template), device, batch_size)
    for note in labeller.notes:
        tell(note)
    table = output if output_format == "csv" else None
    predictions = _predicted(labeller, videos, workers_for(videos, workers), table)
    _tell_of(predictions)
    _show(predictions, videos, output_format, output, top)


def _predicted(labeller: Labeller, videos: Videos, workers: int, table: Path | None) -> Predictions:
    """Label all videos. `table`: a CSV file that is written meanwhile."""
    from petl_bench.cli.predicted import written_meanwhile

    predictions, total = labeller.nothing_yet(), len(videos.paths)
    with showing_progress() as notify, written_meanwhile(table, predictions.classes) as write:
        notify("labelling videos", 0, total)
        for outcomes in labeller.outcomes(videos, workers):
            predictions.add(outcomes)
            write(outcomes)
            done = len(predictions.probabilities) + len(predictions.unreadable)
            notify("labelling videos", min(done, total), total)
    return predictions


def _tell_of(predictions: Predictions) -> None:
    """Videos that cannot be read, on stderr."""
    unreadable = predictions.unreadable
    for name, reason in list(unreadable.items())[:NAMED]:
        tell(f"cannot be read: {name}: {reason}")
    if len(unreadable) > NAMED:
        tell(f"cannot be read: {len(unreadable) - NAMED:,} more; every --format names all")
    if unreadable:
        all_of_them = len(predictions.probabilities) + len(unreadable)
        tell(f"{len(unreadable):,} of {all_of_them:,} videos cannot be read, and have no label")


def _show(predictions: Predictions, videos: Videos, output_format: str, output: Path | None, top: int) -> None:
    from petl_bench.cli.predicted import as_csv, as_html, as_json, as_terminal
    from petl_bench.system.files import write_atomically

    if output_format == "html":
        content = as_html(predictions, videos, top)
    elif output_format == "terminal":
        content = as_terminal(predictions, top)
    else:
        content = {"csv": as_csv, "json": as_json}[output_format](predictions)
    if output is None:
        click.echo(content.decode(), nl=False)
        return
    if output_format != "csv":
        write_atomically(output, content)
    tell(f"wrote {output}")
