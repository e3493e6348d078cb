"""The contract of a backbone: a named configuration, its published files, and what they should score."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import platformdirs

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.options import Options
from petl_bench.api.paper import Paper
from petl_bench.errors import PluginError


@dataclass(frozen=True)
class Expectation:
    """Figures that published weights should give: which, who says so, and the protocol that they belong to.

    `protocol`: prompts, class names, frames, preprocessing, views; and in what the protocol of this package differs.
    """

    figures: str
    source: str
    protocol: str


@dataclass(frozen=True)
class PublishedWeights:
    """One published checkpoint: its file name, where it is, what there is to know of it, and what it should score."""

    file: str
    where: str
    licence: str
    note: str = ""
    expected: Sequence[Expectation] = ()
    sha256: str = ""  #: of the file as it is published; "" if that is not known


class Backbone(Options):
    """Base of every backbone plugin. Images are normalised with `mean` and `std` after scaling to [0, 1].

    Its options, made with `hyper`, change fields of `config` (see `config_changes`), or the normalisation of images
    (see `normalised_with`).
    """

    paper: ClassVar[Paper | None] = None
    config: ClassVar[ViCLIPConfig]
    #: Training values for this size (see `TrainingOptions`); a method's recipe for this backbone wins over them.
    training: ClassVar[Mapping[str, Any]] = {}
    published: ClassVar[Sequence[PublishedWeights]] = ()
    #: The data set that the packaged weights were made for, if they serve to demonstrate; numbers on others are marked.
    demonstration_of: ClassVar[str] = ""
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(getattr(cls, "config", None), ViCLIPConfig | None):
            raise PluginError(f"{cls.__name__}.config: {type(cls.config).__name__}; it must be a pb.ViCLIPConfig")

    @classmethod
    def packaged_weights(cls) -> Path | None:
        """The weights file that ships with the plugin, or None."""
        return None

    def config_changes(self) -> Mapping[str, Any]:
        """What its options change in `config`: field -> value."""
        return {}

    @property
    def model_config(self) -> ViCLIPConfig:
        """`config` with what its options change: that of the model."""
        return self.config.with_(**self.config_changes())

    def normalised_with(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel that images are normalised with: `mean` and `std`, unless an option
        says otherwise."""
        return self.mean, self.std

    def assumptions(self, weights: str, sha256: str) -> Sequence[str]:
        """What is assumed of weights that do not say it themselves, in words, for a run's notes and its records.

        `weights`: "packaged", "random", a file's name, or hf:REPO/FILE; `sha256` of the file.
        """
        return ()


DIRECTORY_VARIABLE = "PETL_BENCH_WEIGHTS_DIR"


def weights_directories() -> list[Path]:
    """Where "auto" looks: $PETL_BENCH_WEIGHTS_DIR, then the user's data directory."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    own = Path(platformdirs.user_data_dir("petl-bench")) / "weights"
    return [Path(named).expanduser(), own] if named else [own]


def found_weights(backbone: type[Backbone]) -> Path | None:
    """The published file that "auto" finds for a backbone without packaged weights; None if there is none."""
    places = (directory / published.file for directory in weights_directories() for published in backbone.published)
    return next((path for path in places if path.is_file()), None)
