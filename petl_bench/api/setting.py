"""The contract of a setting: which classes and clips train, which evaluate, and which metrics come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.options import Options
from petl_bench.api.paper import Paper
from petl_bench.api.plugins.contracts import Returns, check_returns, instance_of, list_of, member
from petl_bench.api.step import Kind
from petl_bench.errors import PluginError

#: Mean over the classes of their top-1, in percent: what top-1 would be if all classes had as many test clips. If they
#: have, it is top-1, and no record has it. Metrics that follow from it have `mean_class` in their names; records from
#: before it was there lack them.
MEAN_CLASS = "mean_class_top1"


def came_with_mean_class(metric: str) -> bool:
    """Whether a metric follows from mean-class accuracies: older records lack it, and those of equal classes."""
    return "mean_class" in metric


@dataclass(frozen=True)
class Case:
    """One run of a setting on one data set: which split, how many shots, which seed.

    `part` tells apart the cases of a setting that has several kinds of them, such as adapting on a source data set.
    """

    split: str
    shots: int | None
    seed: int
    part: str = ""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: labels of `samples` index into `classes` (the names that compete with each other)."""

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def candidates(self) -> tuple[str, ...]:
        """What every clip is scored against: the classes; in retrieval the texts."""
        return self.classes


@dataclass(frozen=True)
class Task:
    """What a trial trains and evaluates. Labels of `train` index into `train_classes`.

    `source` says where the draw comes from (a published list, or a seeded draw). A case that starts from the adapter
    of another one has nothing to train.
    """

    train_classes: tuple[str, ...]
    train: tuple[Sample, ...]
    evaluations: tuple[Evaluation, ...]
    source: str


class Setting(Options):
    """Base of every setting plugin. `version` is raised when the protocol changes; it is part of every trial's key.

    `metrics` are those that every record of it has, except for evaluations that the method cannot score; what follows
    from mean-class accuracies comes beside them.
    """

    paper: ClassVar[Paper | None] = None
    version: ClassVar[int] = 1
    #: What its tasks ask for: classification (`pb.Task`), or retrieval (`pb.RetrievalTask`). A setting with tasks of
    #: both kinds gives that of most of them, and overrides `kind_of`.
    kind: ClassVar[Kind] = "classification"
    metrics: ClassVar[Sequence[str]] = ()
    #: Training values of this setting (see `TrainingOptions`), before a method's recipes.
    training: ClassVar[Mapping[str, Any]] = {}
    #: Evaluate with the temporal clips and crops that are published for each data set (`Dataset.views`).
    multi_view: ClassVar[bool] = False
    #: The table that shows this setting; "" is the one of the same name. A setting whose cases are shown by several
    #: tables overrides `table_of`.
    table: ClassVar[str] = ""
    #: The command that measures this setting, if that is not `petl-bench run`; it then has no cases and no tasks.
    command: ClassVar[str] = ""
    #: The option of `petl-bench run` that plans its trials after those of another setting; `--setting` then refuses it.
    option_of_run: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_returns(cls)

    @member(list_of(Case, "a list of pb.Case"), required=True)
    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """The cases to run.

        Args:
            annotations: what the data set's annotation files say.
            seeds: those asked for; one case per seed.
            splits: test splits asked for, as texts; None leaves them to the setting.
            shots: training clips per class asked for; None leaves them to the setting.

        Raises:
            UsageError: for a split or a number of shots that the data set, or the setting, does not have.
        """
        raise NotImplementedError

    @property
    def source_dataset(self) -> str | None:
        """The data set that methods are adapted on, if that is not the one that they are evaluated on; else None."""
        return None

    def source_case(self, case: Case) -> Case | None:
        """The case on the source data set whose adapter `case` starts from; None if it trains by itself."""
        return None

    def kind_of(self, case: Case) -> Kind:
        """What the task of a case asks for."""
        return self.kind

    def table_of(self, case: Case) -> str:
        """The table that shows a case; "" if none does, as of an adaptation that others start from."""
        return self.table or self.name

    @classmethod
    def has_both_kinds(cls) -> bool:
        """Whether it has tasks of classification and of retrieval, by case."""
        return cls.kind_of is not Setting.kind_of

    @member(instance_of(Task, "pb.Task"), required=True)
    def task(self, annotations: Annotations, case: Case) -> Task:
        """The training clips and evaluations of one case; equal for equal arguments.

        Raises:
            UsageError: if the data set lacks what this setting needs, such as a list of training clips.
        """
        raise NotImplementedError

    @member(Returns("the metrics by name, finite numbers", lambda value: _are_metrics(value)), required=True)
    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Metrics of a trial from `{evaluation name: {"top1": percent, "top5": percent}}`, all finite.

        An evaluation with unequal classes has `mean_class_top1` too; a metric that follows from it has `mean_class` in
        its name. An evaluation of retrieval has `pb.RETRIEVAL_METRICS` instead.

        A method may be unable to score some evaluations (`Method.novel`). These are not among the keys, and the metrics
        that need them are left out. A setting that raises KeyError for one of them cannot be run with such a method.
        """
        raise NotImplementedError


def summarised(
    setting: Setting, accuracies: Mapping[str, Mapping[str, float]], absent: Mapping[str, str]
) -> dict[str, float]:
    """The metrics of a trial of which some evaluations may be absent.

    Args:
        setting: whose metrics.
        accuracies: as for `Setting.summarise`, of the evaluations that were scored.
        absent: evaluation that was not scored -> reason.

    Raises:
        PluginError: if the setting asks for an evaluation that is absent.
    """
    try:
        return setting.summarise(accuracies)
    except PluginError as error:  # of whatever a plugin's summarise() raised
        lacking = error.__cause__ if isinstance(error.__cause__, KeyError) else None
        evaluation = str(lacking.args[0]) if lacking is not None and lacking.args else ""
        if evaluation not in absent:
            raise
        raise PluginError(
            f"the setting {setting.name} has no metrics without the evaluation {evaluation!r}, which is absent: "
            f"{absent[evaluation]}. Its summarise() must leave out the metrics that need an absent evaluation"
        ) from error


def _are_metrics(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(number, (int, float)) and math.isfinite(number)
        for name, number in value.items()
    )
