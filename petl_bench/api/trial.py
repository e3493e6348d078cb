"""A trial: everything that decides its numbers, and the key made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from petl_bench.api.retrieval import Direction
from petl_bench.api.setting import MEAN_CLASS, Case
from petl_bench.api.values.fields import Count

#: Raised when the engine itself changes a trial's numbers (decoding, sampling, training loop, evaluation).
ENGINE_VERSION = 4


def _later(default: Any) -> Any:
    """A field of Trial that records from before do not have; a mapping is empty by default."""
    if default == {}:
        return field(default_factory=dict, metadata={"later": True})
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method x hyper-parameters x backbone x data set x split x seed. All but `locations` enters the key.

    A field that is added has a default and is made with `_later`: while it has its default it enters neither the key
    nor the record, so that the records from before stay what they are.
    """

    method: str
    method_version: str  #: the plugin's version; with its code, if that is not petl-bench's own (plugins/identity.py)
    hyper_parameters: Mapping[str, Any]
    setting: str
    setting_version: str
    setting_options: Mapping[str, Any]
    dataset: str
    dataset_version: str
    dataset_options: Mapping[str, Any]
    manifest_sha256: str
    split: str
    shots: Count | None
    seed: Count
    backbone: str
    weights: str  #: "packaged", "random", or the file name; what it contains is in `weights_sha256`
    weights_sha256: str
    training: Mapping[str, Any]  #: the fields of TrainingOptions
    decoder: str
    locations: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  #: plugin -> fields that name files; not in the key
    descriptions_sha256: str = ""  #: of the sentences that the method's loss reads; "" if it reads none
    part: str = ""  #: which kind of case of its setting, e.g. "source" or "target"
    start_from: str = ""  #: key of the trial whose adapter this one evaluates; it trains nothing itself
    source_sha256: str = ""  #: of the data that adapter was trained on (data set, version, options, files); else ""
    engine_version: Count = ENGINE_VERSION
    backbone_version: str = _later("")  #: code of the backbone's plugin, if that is not petl-bench's own
    backbone_options: Mapping[str, Any] = _later({})  #: those that are not at their defaults
    dataset_plugin: str = _later("")  #: what reads the data set, if `dataset` is the name that a user gave to a folder
    captions_sha256: str = _later("")  #: of the data set's captions, in a task of retrieval; else ""
    #: partition of the case's training clips, e.g. "held-out/0": it trains on one side and evaluates the other, and no
    #: test clip (`petl_bench.training.tuning_task`); "": its case as it is
    tuning: str = _later("")

    @cached_property
    def key(self) -> str:
        """sha256 of the trial's canonical JSON, as 64 hexadecimal digits."""
        # Not `asdict`, which copies every value deeply: a plan has thousands of trials, their fields are plain JSON.
        return key_of({each.name: getattr(self, each.name) for each in fields(self)})

    def stored(self) -> dict[str, Any]:
        """The trial as plain values for its record, without later fields at their defaults."""
        return _without_unused(asdict(self))

    @property
    def case(self) -> Case:
        """The setting's case that this trial runs."""
        return Case(split=self.split, shots=self.shots, seed=self.seed, part=self.part)

    @property
    def data_plugin(self) -> str:
        """The name of the data set plugin that reads its data."""
        return self.dataset_plugin or self.dataset

    @property
    def title(self) -> str:
        """Short name for progress lines, e.g. `msta motion seed 0 (1a2b3c4d)`."""
        dataset = f" {self.dataset}" if self.dataset else ""
        shots = f" {self.shots}-shot" if self.shots is not None else ""
        split = f" split {self.split}" if self.split else ""
        part = f" {self.part}" if self.part else ""
        tuning = f" tuning {self.tuning}" if self.tuning else ""
        return f"{self.method}{dataset}{part}{split}{shots}{tuning} seed {self.seed} ({self.key[:8]})"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Trial:
        """The inverse of `asdict` and of `stored`."""
        return cls(**values)


_LATER = {
    each.name: {} if each.default is MISSING else each.default for each in fields(Trial) if each.metadata.get("later")
}


def key_of(values: Mapping[str, Any]) -> str:
    """The key of a trial from its fields, as they are or as they were recorded: those that it has enter, save
    `locations` and later fields at their defaults. Raises ValueError if one of them is not finite."""
    entering = {name: value for name, value in _without_unused(values).items() if name != "locations"}
    return hashlib.sha256(canonical_json(entering).encode()).hexdigest()


def _without_unused(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}


#: Which adapters stay once their trial is done: every one, those of up to 64 MiB, or none; in every case those that
#: other trials start from (`petl_bench.records.write.stays`).
KeepAdapters = Literal["all", "small", "none"]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things lie on this machine. Nothing here changes a number, and nothing here enters a key."""

    cache: Path  #: clip cache, manifests, rendered data
    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    loader_workers: int = 0  #: processes that decode; 0 decodes in the trial's own process
    plugins: tuple[Path, ...] = ()
    keep_adapter: KeepAdapters = "all"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One report of a running trial, for the live table."""

    stage: str  #: "loading", "training" or "evaluating"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    accuracy: float | None = None  #: of the clips of this epoch so far, in percent
    accuracy_of: str = "accuracy"  #: its name
    seconds_left: float | None = None


Notify = Callable[[Progress], None]

#: Called again and again by a running trial: why it should stop now, or "" to go on.
Stop = Callable[[], str]


def go_on() -> str:
    """Default `stop`: never."""
    return ""


@dataclass(kw_only=True)
class EvaluationResult:
    """Per-clip outcome of one evaluation. N scored clips, C classes."""

    classes: tuple[str, ...]
    clips: list[str]
    labels: list[int]
    scores: Any  #: float32 numpy array [N, C]: probabilities, averaged over views
    top1: float  #: percent
    top5: float  #: percent
    expected: int  #: clips that the list names
    groups: list[str] = field(default_factory=list)  #: of the clips, see `Dataset.group_of`; [] if none are known
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  #: clip -> reason
    mean_class_top1: float | None = None  #: percent; None if all classes have as many clips, for then it is `top1`

    @property
    def accuracies(self) -> dict[str, float]:
        """What a setting summarises, in percent."""
        found = {"top1": self.top1, "top5": self.top5}
        return found if self.mean_class_top1 is None else {**found, MEAN_CLASS: self.mean_class_top1}


@dataclass(kw_only=True)
class RetrievalResult:
    """Outcome of one evaluation of retrieval. N clips that were scored, and the M texts that belong to them."""

    clips: list[str]
    texts: list[str]
    owners: list[int]  #: of each text, the place of its clip in `clips`
    #: float32 numpy array [N, M], averaged over views; None if they are too many, or were changed before ranking
    similarities: Any
    accuracies: dict[str, float]  #: what a setting summarises: `petl_bench.api.retrieval.RETRIEVAL_METRICS`
    #: direction -> `petl_bench.records.retrieval.Ranked`; if empty, they follow from the similarities
    queries: Mapping[Direction, Any] = field(default_factory=dict)
    expected: int  #: clips that the evaluation names
    expected_texts: int
    groups: list[str] = field(default_factory=list)  #: of the clips, see `Dataset.group_of`; [] if none are known
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  #: clip -> reason


@dataclass(kw_only=True)
class TrialResult:
    """What a finished trial hands to the record store."""

    metrics: dict[str, float]
    evaluations: Mapping[str, EvaluationResult | RetrievalResult]  #: variants: `variant_evaluation`
    trainable_params: int
    backbone_params: int
    train_clips: dict[str, int]  #: expected, missing, unreadable, used
    train_unreadable: dict[str, str]
    history: list[dict[str, float]]  #: one row per epoch: epoch, loss, train_accuracy, learning_rate, seconds
    durations_s: dict[str, float]
    environment: dict[str, Any]
    notes: list[str]
    marks: list[str]  #: e.g. "random-weights", "best-on-test", "incomplete-coverage"
    train_list: str = ""  #: the clips that trained, one `clip label` row each; stored beside the record with its sha256
    absent: dict[str, str] = field(default_factory=dict)  #: evaluation that the method cannot score -> reason
    hooks: list[str] = field(default_factory=list)  #: what the method defines; see `petl_bench.api.method.hooks_of`
    #: `Method.variants`, and those of `petl_bench.api.retrieval` -> the setting's metrics
    variants: dict[str, dict[str, float]] = field(default_factory=dict)
    best_epochs: dict[str, int] = field(default_factory=dict)  #: `api.retrieval.BEST_EPOCHS` -> epoch, from 1


def variant_evaluation(evaluation: str, variant: str) -> str:
    """The name under which an evaluation of a variant is stored, e.g. "novel@a=0.3"; "" is the headline."""
    return f"{evaluation}@{variant}" if variant else evaluation


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
