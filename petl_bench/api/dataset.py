"""The contract of a data set: which annotation files it has, what they say, and where its clips lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from petl_bench.api.options import Options, hyper
from petl_bench.api.paper import Paper
from petl_bench.api.plugins.contracts import check_returns, instance_of, member
from petl_bench.api.prompts import Prompts, resolved, split_templates
from petl_bench.errors import DataError


@dataclass(frozen=True, order=True)
class Sample:
    """One row of a list: the clip as the list names it (a relative path), and its label (index into the classes).

    In a data set without classes every label is 0.
    """

    clip: str
    label: int


@dataclass(frozen=True)
class HalfSplit:
    """Published base-to-novel lists, labels as indices into the data set's full classes.

    `draws` maps a draw (0, 1, 2: s1, s2, s3) to its few-shot training samples.
    """

    base: tuple[int, ...]
    novel: tuple[int, ...]
    base_train: tuple[Sample, ...]
    base_test: tuple[Sample, ...]
    novel_test: tuple[Sample, ...]
    draws: Mapping[int, tuple[Sample, ...]]
    source: str


@dataclass(frozen=True)
class Defect:
    """A known defect of published annotations: a short name, what is wrong, and what it does to numbers."""

    id: str
    what: str
    effect: str

    def __str__(self) -> str:
        return f"known defect {self.id}: {self.what}; {self.effect}"


@dataclass(frozen=True)
class Annotations:
    """What a data set's annotation files say. `train` and `test` map a split number (1, 2, 3) to its samples.

    There are `classes`, or `captions`, or both: a data set of retrieval may have no classes, `classes=()`.
    `few_shot` maps (split, shots) to a published draw. `candidates` maps a test split to the labels that compete in it,
    if those are not all classes (the three sets of 160 classes of Kinetics-600). `groups` maps a clip to the group
    that its list puts it in, for lists that say so (see `Dataset.group_of`). `captions` maps a clip to the texts that
    describe it, for retrieval; `spans` one that is a part of its file to that part's start and end, in seconds. `files`
    maps every file that was read to its sha256. `defects` are the known ones of the lists that were read; they and
    `notes` (choices made while reading) stand in every record of this data set. `dataset` is filled in by
    `build_manifest`.
    """

    classes: tuple[str, ...]
    train: Mapping[int, tuple[Sample, ...]]
    test: Mapping[int, tuple[Sample, ...]]
    few_shot: Mapping[tuple[int, int], tuple[Sample, ...]] = field(default_factory=dict)
    base_to_novel: HalfSplit | None = None
    candidates: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()
    dataset: str = ""


_TEMPLATE = (
    "prompt of a class, {} standing for its name; several with | between them, or @FILE with one per line, are an "
    "ensemble: cosines are averaged over its prompts"
)


@dataclass(frozen=True)
class Augmentation:
    """Training-time augmentation, one draw of parameters per clip (never per frame)."""

    crop_scale: tuple[float, float] = (0.5, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    jitter_strength: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    grey: float = 0.2


class Dataset(Options):
    """Base of every data set plugin.

    `needs_root` says whether `--data-root` must be given; a data set that makes its own files overrides `root`.
    `splits` are its published ones; what lies on a machine may be less.
    `views` are the temporal clips and spatial crops per test video of the published multi-view evaluation.
    `frames_per_second` is the rate at which the published protocol of retrieval takes frames; None: it takes them of
    all frames.
    `published_tests` are the sizes of its published test lists of split 1, for plans without its files: "test", "base"
    or "novel", clips, and groups of clips from one source video.
    `defects` are all known defects of its published annotations; `annotations` repeats those that apply.
    `template` may be given as a plain class attribute, which is then the default of that option.
    """

    paper: ClassVar[Paper | None] = None
    licence: ClassVar[str] = ""
    version: ClassVar[int] = 1
    needs_root: ClassVar[bool] = True
    augmentation: ClassVar[Augmentation] = Augmentation()
    splits: ClassVar[Sequence[int]] = (1,)
    views: ClassVar[tuple[int, int]] = (1, 1)
    frames_per_second: ClassVar[float | None] = None
    published_tests: ClassVar[Sequence[tuple[str, int, int]]] = ()
    defects: ClassVar[Sequence[Defect]] = ()

    template: str = hyper("a video of {}.", _TEMPLATE, later=True)
    prompt_text: Literal["as_written", "cleaned"] = hyper(
        "as_written",
        "prompts as they are written, or cleaned as in ViCLIP's zero-shot evaluation: lower case, without "
        ", . ' ! ? \" ( ) * # : ; ~, and with blanks for - and /",
        later=True,
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        default = vars(cls).get("template")
        if isinstance(default, str):  # Options knows fields only
            cls.template = hyper(default.strip(), _TEMPLATE, later=True)
            cls.__annotations__ = {**get_annotations(cls), "template": "str"}
        super().__init_subclass__(**kwargs)
        check_returns(cls)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.template = resolved(self.template, f"{self._label()}.template")

    @classmethod
    def called(cls, name: str, **values: Any) -> Self:
        """This data set with values, under a name that a user gave it: messages, records and tables say that one."""
        dataset = cls.__new__(cls)
        vars(dataset)["name"] = name
        cls.__init__(dataset, **values)
        return dataset

    @property
    def prompts(self) -> Prompts:
        """The prompts of this data set's classes."""
        return Prompts(split_templates(self.template), cleaned=self.prompt_text == "cleaned")

    def identity(self, stem: str) -> str:
        """What two names of one clip have in common. `stem`: a name without folders and without video extension.

        A listed clip is found in files of the same identity. Override it where lists or downloaders put more into a
        name than the clip (times after a YouTube id), or if letter case tells clips apart.
        """
        return stem.casefold()

    def group_of(self, clip: str) -> str:
        """What a clip (as a list names it) shares with the clips that were cut from the same source video.

        Clips of one group are not independent: intervals and tests draw whole groups. Default: every clip by itself.
        """
        return clip

    @member(instance_of(Path | None, "a pathlib.Path, the folder with its files, or None if it has none"))
    def root(self, data_root: Path | None) -> Path:
        """The folder that holds this data set's files: `--data-root` itself. Raises DataError if none was given."""
        if data_root is None:
            raise DataError(f"{self._label()}: say where its files are with --data-root DIR")
        return data_root

    @member(instance_of(Annotations, "pb.Annotations"), required=True)
    def annotations(self, root: Path) -> Annotations:
        """Read the annotation files under `root`. Raises DataError, naming file and line, if they cannot be used."""
        raise NotImplementedError

    def descriptions(self, classes: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[str]]] | None:
        """This data set's own descriptions: class -> {"spatial": [...], "temporal": [...]}; None if it has none."""
        return None
