"""What a table compares: configurations (its rows) on cases (its column groups), and the runs behind every cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any

from petl_bench.api.marks import TRAINING_FREE

#: Backbone, weights, their sha256 (with the backbone's own code and options, if it has some), unusual views, unusual
#: source files: rows that share them are ranked together.
Comparable = tuple[str, str, str, str, str]
#: Kinds of methods, as the tables of papers group them; rows of one kind are ranked together.
FAMILIES = ("zero-shot", "training-free", "parameter-efficient", "full fine-tuning")


@dataclass(frozen=True, eq=False)
class Configuration:
    """A row: a method with everything that decides its numbers, except the case and the seed.

    One comparison makes one object of each, so that they are told apart by identity.
    """

    method: str
    hyper_parameters: str  #: canonical JSON, as in a frame of records
    training: str  #: canonical JSON, without views and crops, and without what changes no number
    method_version: str
    backbone: str
    weights: str
    weights_sha256: str
    decoder: str
    engine_version: int
    source_sha256: str  #: of the data that its adapter was trained on, only if others used other files of that source
    other_views: str  #: what sets its views apart, only if a data set was evaluated with several; see Run.views
    descriptions: str  #: sha256 of the class descriptions, only if a method was run with several on one case
    backbone_version: str  #: code of the backbone's plugin, if that is not petl-bench's own
    backbone_options: str  #: canonical JSON of the backbone's options that are not at their defaults

    @cached_property
    def training_values(self) -> dict[str, Any]:
        """The training options."""
        values: dict[str, Any] = json.loads(self.training)
        return values

    @cached_property
    def settable(self) -> dict[str, Any]:
        """Everything in which two configurations of one method can differ, by a name that a reader knows."""
        return {
            **{f"{self.method}.{name}": value for name, value in json.loads(self.hyper_parameters).items()},
            **{f"training.{name}": value for name, value in self.training_values.items()},
            "version": self.method_version,
            "decoder": self.decoder,
            "engine": self.engine_version,
            "source files": self.source_sha256[:8],
            "views": self.other_views,
            "descriptions": self.descriptions[:8],
            "backbone version": self.backbone_version,
            **{f"{self.backbone}.{name}": value for name, value in json.loads(self.backbone_options).items()},
        }

    def short(self, differences: Mapping[str, Any]) -> dict[str, Any]:
        """Some of these, with the hyper-parameters by their names without the method's."""
        return {name.removeprefix(f"{self.method}."): value for name, value in differences.items()}

    @cached_property
    def budget(self) -> float:
        """How often it trains on every training clip, mean over them; clips that select the epoch are held out."""
        values = self.training_values
        held_out = values.get("val_fraction", 0.0) if values.get("select") == "val" else 0.0
        return float(values.get("epochs", 0) * (1.0 - held_out))

    @cached_property
    def comparable(self) -> Comparable:
        """What rows must share to be ranked together."""
        options = "" if self.backbone_options == "{}" else self.backbone_options
        weights_sha256 = " ".join(filter(None, (self.weights_sha256, self.backbone_version, options)))
        return self.backbone, self.weights, weights_sha256, self.other_views, self.source_sha256


@dataclass(frozen=True, eq=False)
class ComparedCase:
    """What configurations are compared on: data, split, shots, protocol. One object of each in a comparison."""

    dataset: str
    split: str
    shots: int  #: 0: all clips
    setting: str
    setting_version: str
    setting_options: str  #: canonical JSON
    dataset_version: str
    dataset_options: str  #: canonical JSON
    manifest_sha256: str
    part: str
    selected: str  #: "test" if the epoch was selected on the test clips, which honest numbers never are; else ""
    dataset_plugin: str  #: what reads the data set, if its name is one that a user gave to a folder; else ""
    captions_sha256: str = ""  #: of the data set's captions, in a setting of retrieval; else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything in which two cases of one data set can differ, by a name that a reader knows."""
        return {
            "part": self.part,
            "split": self.split,
            "shots": self.shots or "all",
            **json.loads(self.dataset_options),
            **json.loads(self.setting_options),
            "protocol": self.setting_version,
            "data version": self.dataset_version,
            "files": self.manifest_sha256[:8],
            "captions": self.captions_sha256[:8],
            "epoch": f"best on {self.selected}" if self.selected else "",
            "read by": self.dataset_plugin,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """One trial of a configuration on a case."""

    trial: str  #: its key
    seed: int
    values: tuple[float, ...]  #: in the order of the metrics that were asked for; NaN for one that is absent
    marks: str
    coverage: str  #: JSON: evaluation -> counts of test clips
    train_clips: str  #: JSON: counts of training clips
    trainable_params: int
    backbone_params: int
    views: str  #: temporal clips x crops per test video
    source_missing: bool  #: it starts from the adapter of a trial whose record is not here
    all_training: str  #: canonical JSON of all training options
    locations: str  #: canonical JSON: plugin -> fields that name files
    source_fields: str  #: JSON: "data set.field" -> value, of the data that its adapter was trained on
    created: str  #: ISO 8601
    environment: tuple[tuple[str, str], ...]  #: what can change last bits: (name, value) of what its record knows
    test_classes: str = "{}"  #: JSON: evaluation -> how many classes have clips, and the least and most clips of one
    optional: tuple[float, ...] = ()  #: of the optional metrics that were asked for, NaN for what its record lacks
    tuned_by: str = ""  #: names of the tunings that chose its values, between spaces
    absent: str = "{}"  #: JSON: evaluation that its method cannot score -> reason

    @property
    def trains(self) -> bool:
        """Whether its method has anything to train."""
        return self.trainable_params > 0

    @property
    def family(self) -> str:
        """By what is trained: nothing (training clips may still be used), up to half of the backbone, or more."""
        zero_shot, training_free, efficient, full = FAMILIES
        if not self.trains:
            return training_free if TRAINING_FREE in self.marks.split() else zero_shot
        return efficient if self.trainable_params < self.backbone_params / 2 else full

    @property
    def absences(self) -> Mapping[str, str]:
        """The evaluations that its method cannot score, each with the reason."""
        return _mapping(self.absent)

    @property
    def uncovered(self) -> str:
        """Which clips it did not use, in words; empty if it used all."""
        return _uncovered(self.train_clips, self.coverage)

    @property
    def scored(self) -> tuple[int, int]:
        """Test clips scored and expected, over all evaluations."""
        return _scored(self.coverage)


def values_of(each: Configuration | ComparedCase, besides: str = "") -> tuple[Any, ...]:
    """The values of all fields, without that of the field `besides`."""
    return tuple(getattr(each, field.name) for field in fields(each) if field.name != besides)


@cache
def _mapping(text: str) -> Mapping[str, str]:
    values: dict[str, str] = json.loads(text)
    return values


@cache
def _uncovered(train_clips: str, coverage: str) -> str:
    parts = []
    train = json.loads(train_clips)
    if train["used"] < train["expected"]:
        parts.append(f"training: {train['used']:,} of {train['expected']:,} clips used")
    for evaluation, counts in json.loads(coverage).items():
        if counts["used"] < counts["expected"]:
            parts.append(
                f"{evaluation}: {counts['used']:,} of {counts['expected']:,} test clips scored "
                f"({counts['expected'] - counts['found']:,} not found, {counts['unreadable']:,} unreadable)"
            )
    return "; ".join(parts)


@cache
def _scored(coverage: str) -> tuple[int, int]:
    counts = json.loads(coverage).values()
    return sum(each["used"] for each in counts), sum(each["expected"] for each in counts)
