"""What `petl-bench predict` gives, in each of its formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.cli.options import tell
from petl_bench.cli.progress import showing_progress
from petl_bench.render.csv import text, written
from petl_bench.render.flat import distinct
from petl_bench.system.texts import clean, escaped_json
from petl_bench.system.words import columns, several

if TYPE_CHECKING:
    import numpy as np

    from petl_bench.inference.predictions import Outcomes, Predictions
    from petl_bench.inference.videos import Videos

#: Raised when a field of the JSON document changes its meaning.
SCHEMA = 1
#: Frames of a video on the page, and videos on it with pictures.
_PICTURES, _SHOWN = 3, 500


def as_terminal(predictions: Predictions, top: int) -> bytes:
    """A line for each video with its best classes, then how many videos each class has."""
    count = min(top, len(predictions.classes))
    further = [cell for place in range(2, count + 1) for cell in (f"class {place}", "")]
    rows = [["file", "class", "probability", *further]]
    for name in predictions.probabilities:
        best = predictions.best(name, count)
        rows.append([clean(name), *(cell for label, value in best for cell in (clean(label), f"{value:.3f}"))])
    lines = [_about(predictions), "", *columns(rows), "", "videos  class"]
    lines += [f"{len(names):6,}  {clean(label)}" for label, names in predictions.by_class().items()]
    if predictions.unreadable:
        lines += ["", f"{several(len(predictions.unreadable), 'video')} that cannot be read:"]
        lines += [clean(f"{name}: {reason}") for name, reason in predictions.unreadable.items()]
    return ("\n".join(lines) + "\n").encode(errors="replace")


def _about(predictions: Predictions) -> str:
    labelled, classes = several(len(predictions.probabilities), "video"), len(predictions.classes)
    return f"{labelled} labelled with one of {classes} classes by {clean(predictions.model)}"


def as_json(predictions: Predictions) -> bytes:
    """A document with all probabilities; a video in every line."""
    about = {
        "schema": SCHEMA,
        "model": predictions.model,
        "trial": predictions.trial,
        "classes": predictions.classes,
        "prompts": dict(zip(predictions.classes, predictions.prompts, strict=True)),
        "counts": {label: len(names) for label, names in predictions.by_class().items()},
        "unreadable": predictions.unreadable,
    }
    videos = []
    for name, values in predictions.probabilities.items():
        ((label, probability),) = predictions.best(name, 1)
        video = {"file": name, "class": label, "probability": probability, "probabilities": values.tolist()}
        videos.append(json.dumps(video, ensure_ascii=False, allow_nan=False))
    head = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    return (escaped_json(f'{head},\n "videos": [\n  ' + ",\n  ".join(videos) + "\n ]\n}") + "\n").encode()


def as_csv(predictions: Predictions) -> bytes:
    """A row for each video with all probabilities; those that cannot be read come last."""
    outcomes: Outcomes = {**predictions.probabilities, **predictions.unreadable}
    return _rows(predictions.classes, outcomes, header=True)


def _rows(classes: Sequence[str], outcomes: Outcomes, header: bool = False) -> bytes:
    rows = [_row(classes, name, outcome) for name, outcome in outcomes.items()]
    names = distinct(map(text, ("file", "class", "probability", "unreadable", *classes)))
    return written([names, *rows] if header else rows).encode(errors="replace")


def _row(classes: Sequence[str], name: str, outcome: np.ndarray | str) -> list[str | float | None]:
    if isinstance(outcome, str):
        return [text(name), None, None, text(outcome), *([None] * len(classes))]
    values = outcome.tolist()
    best = int(outcome.argmax())
    return [text(name), text(classes[best]), values[best], None, *values]


@contextmanager
def written_meanwhile(table: Path | None, classes: Sequence[str]) -> Iterator[Callable[[Outcomes], None]]:
    """A way to write rows to a CSV file as they come; a file of that name is replaced when all are there.

    If the block is left before, by Ctrl-C or by an error, the labelled videos stay in `FILE.part`, which is told.

    Raises:
        StoreError: The file cannot be written.
    """
    if table is None:
        yield lambda outcomes: None
        return
    part = table.with_name(f"{table.name}.part")
    rows = 0
    with _writing(table), part.open("wb") as file:
        file.write(_rows(classes, {}, header=True))

        def write(outcomes: Outcomes) -> None:
            nonlocal rows
            with _writing(table):
                file.write(_rows(classes, outcomes))
                file.flush()
            rows += sum(not isinstance(outcome, str) for outcome in outcomes.values())

        try:
            yield write
        except BaseException:
            if rows:
                tell(f"not finished; labelled so far: {several(rows, 'video')}, in {part}")
            else:
                part.unlink(missing_ok=True)
            raise
    with _writing(table):
        part.replace(table)


@contextmanager
def _writing(table: Path) -> Iterator[None]:
    from petl_bench.errors import StoreError

    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {table}: {error.strerror}") from error


def as_html(predictions: Predictions, videos: Videos, top: int) -> bytes:
    """A page: a section for each class with its videos, of which so many have pictures that the page stays small."""
    from petl_bench.cli.thumbnails import pictures_of, reading_process
    from petl_bench.page.predicted import predicted_page

    with reading_process() as pool, showing_progress() as notify:
        done = 0

        def pictures(name: str) -> list[bytes] | str:
            nonlocal done
            done += 1
            notify("reading pictures", done, None)
            return pictures_of(pool, videos.paths[name], _PICTURES)

        return predicted_page(predictions, pictures, most=_SHOWN, top=top)
