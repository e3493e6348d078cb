"""Features as files that others read: NumPy's npz, and Parquet. N videos, V views, M texts, D channels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from petl_bench.api.trial import ENGINE_VERSION
from petl_bench.errors import UsageError
from petl_bench.inference.features import scores_note
from petl_bench.inference.model import AdaptedModel
from petl_bench.training.use import read_as

#: Raised when a name in the files changes its meaning.
SCHEMA = 1


@dataclass(frozen=True)
class FeatureTable:
    """Features of videos and texts, as unit vectors."""

    names: list[str]  #: of the N videos
    seconds: list[float | None]  #: their lengths; None if a file does not say, and for folders of frames
    features: np.ndarray  #: float32 [N, V, D]
    texts: list[str]
    text_features: np.ndarray  #: float32 [M, D]
    about: Mapping[str, Any]  #: plain values, see `about`


def about(model: AdaptedModel, unreadable: Mapping[str, str], cut: Mapping[str, str]) -> dict[str, Any]:
    """What a reader of the features must know, as plain values: the model, how clips were read, what was left out. No
    paths of this machine.

    Args:
        model: That encoded.
        unreadable: The videos that could not be read, with the reason.
        cut: What was read of the texts that are longer than the model's context.
    """
    subject = model.subject
    return {
        "schema": SCHEMA,
        "petl_bench": version("petl-bench"),
        "engine": ENGINE_VERSION,
        "model": subject.title,
        "trial": None if subject.trial is None else subject.trial.key,
        **subject.identity,
        "read": read_as(model.spec),
        "logit_scale": float(model.model.logit_scale),
        "scores": scores_note(subject.method) or "logit_scale times the cosine, averaged over views",
        "unreadable": dict(unreadable),
        "cut": dict(cut),
    }


def writer_for(output: Path) -> Callable[[FeatureTable], bytes]:
    """What makes the content of a file of that name. Raises UsageError for another kind of file, and for Parquet if
    pyarrow is not installed."""
    writers = {".npz": as_npz, ".parquet": as_parquet}
    if output.suffix not in writers:
        raise UsageError(f"--output {output}: expected FILE.npz or FILE.parquet")
    if output.suffix == ".parquet":
        _pyarrow()
    return writers[output.suffix]


def as_npz(table: FeatureTable) -> bytes:
    """The arrays `names`, `seconds` (NaN if not known), `features` [N, V, D], `texts`, `text_features` [M, D], and
    `about`, a JSON text; none of them a pickle."""
    content = io.BytesIO()
    np.savez(
        content,
        names=np.array(table.names, dtype=str),
        seconds=np.array([np.nan if each is None else each for each in table.seconds], dtype=np.float64),
        features=table.features,
        texts=np.array(table.texts, dtype=str),
        text_features=table.text_features,
        about=np.array(json.dumps(table.about, sort_keys=True)),
    )
    return content.getvalue()


def as_parquet(table: FeatureTable) -> bytes:
    """A row for each video and text: `kind` ("video" or "text"), `name`, `seconds` and `features` [D], of a video the
    mean over its views; the schema's metadata have `petl-bench`, a JSON text."""
    pa, parquet = _pyarrow()
    rows = np.concatenate([table.features.mean(axis=1), table.text_features]).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    videos, texts = len(table.names), len(table.texts)
    columns = {
        "kind": pa.array(["video"] * videos + ["text"] * texts),
        "name": pa.array([*table.names, *table.texts]),
        "seconds": pa.array([*table.seconds, *[None] * texts], pa.float64()),
        "features": vectors,
    }
    arrow = pa.table(columns, metadata={"petl-bench": json.dumps(table.about, sort_keys=True)})
    content = io.BytesIO()
    parquet.write_table(arrow, content)
    return content.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "FILE.parquet needs pyarrow, which is not installed: pip install 'petl-bench[parquet]', or name a FILE.npz"
        ) from None
    return pyarrow, pyarrow.parquet
