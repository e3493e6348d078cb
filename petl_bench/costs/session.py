"""From a request to records: every group measured, what is recorded already left alone, failures told and kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from petl_bench.api.backbone import Backbone
from petl_bench.api.marks import method_marks
from petl_bench.api.registry import describe
from petl_bench.api.trial import Trial
from petl_bench.costs import recording
from petl_bench.costs.device import (
    BUSY,
    CPU_LIMIT,
    Gpu,
    OthersOnCpu,
    describe_device,
    device_name,
    refuse_busy_gpu,
    refuse_precision,
)
from petl_bench.costs.measure import Group, MeasurementLimits, Tell, measure_group
from petl_bench.costs.subject import CannotMergeError, Item, MeasuredMethod, Workload
from petl_bench.errors import PetlBenchError, StoreError
from petl_bench.models.weights import ResolvedWeights
from petl_bench.records.judge import how_to_repeat
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.records.read import read_record


@dataclass(frozen=True)
class References:
    """The names of the methods that every other one is set in relation to."""

    frozen: str
    full: str


@dataclass(frozen=True)
class MeasurementRequest:
    """What is to be measured: every item in every group. The items hold the references, asked for or not."""

    items: Sequence[Item]
    groups: Sequence[Group]
    references: References
    setting_version: str
    backbone: Backbone
    weights: ResolvedWeights
    classes: int


@dataclass
class Report:
    """The trials of a request that have a record now, and one line for every one that failed."""

    recorded: list[Trial] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def trials_of(request: MeasurementRequest, device: torch.device) -> dict[tuple[Item, Group], Trial]:
    """The trial of every item in every group, as it is recorded on this device."""
    name, threads = device_name(device), torch.get_num_threads()
    return {
        (item, group): recording.trial_of(
            item.method,
            item.version,
            setting_version=request.setting_version,
            references={"frozen": request.references.frozen, "full": request.references.full},
            backbone=request.backbone.name,
            backbone_options=request.backbone.values(),
            weights=request.weights.label,
            weights_sha256=request.weights.sha256,
            device=name,
            threads=threads,
            precision=group.precision,
            batch=group.batch,
            classes=request.classes,
            merged=item.merged,
        )
        for group in request.groups
        for item in request.items
    }


def measure(
    request: MeasurementRequest, device: torch.device, output: Path, limits: MeasurementLimits, tell: Tell
) -> Report:
    """Measure and record what has no record in the output folder yet. Raises UsageError if the GPU is busy."""
    session = _Session(request, device, output, limits, tell)
    for group in request.groups:
        session.run(group)
    return session.report


class _Session:
    """The subjects of one request, built when they are first needed, and what was recorded or failed."""

    def __init__(
        self, request: MeasurementRequest, device: torch.device, output: Path, limits: MeasurementLimits, tell: Tell
    ) -> None:
        self.request, self.device, self.output, self.limits, self.tell = request, device, output, limits, tell
        self.report = Report()
        self._trials = trials_of(request, device)
        self._gpu = Gpu.of(device) if device.type == "cuda" else None
        self._gpu_note = refuse_busy_gpu(device, self._gpu)
        backbone = request.backbone
        self._workload = Workload(
            backbone.name, request.weights.path, device, request.classes, backbone.config_changes()
        )
        self._built: dict[Item, MeasuredMethod | None] = {}  #: None: it could not be built

    def run(self, group: Group) -> None:
        """Measure what lacks a record in this group, beside the references."""
        trials = {item: self._trials[item, group] for item in self.request.items}
        missing = [item for item in trials if not (trial_folder(self.output, trials[item].key) / RECORD).exists()]
        self._take(group, {item: trial for item, trial in trials.items() if item not in missing})
        if not missing:
            self.tell(f"{group.title}: recorded already; measured again only with --force")
            return
        try:
            refuse_precision(self.device, group.precision)
        except PetlBenchError as error:
            self._fail(f"every method, {group.title}", str(error))
            return
        wanted = [item for item in trials if item in missing or item.method.name in self._references]
        subjects = [subject for item in wanted if (subject := self._subject(item)) is not None]
        if any(subject.item in missing for subject in subjects):
            self._measure(group, subjects, {item: trials[item] for item in missing})

    def _take(self, group: Group, recorded: dict[Item, Trial]) -> None:
        """What is recorded already; a damaged record counts as failed, and is left as it is."""
        for item, trial in recorded.items():
            folder = trial_folder(self.output, trial.key)
            try:
                read_record(folder)
                self.report.recorded.append(trial)
            except StoreError as error:
                self._fail(f"{item.title}, {group.title}", f"{error}. {how_to_repeat(folder)}")

    @property
    def _references(self) -> tuple[str, str]:
        return self.request.references.frozen, self.request.references.full

    def _measure(self, group: Group, subjects: list[MeasuredMethod], missing: dict[Item, Trial]) -> None:
        started, others = time.monotonic(), OthersOnCpu()
        frozen, full = (
            next((each for each in subjects if each.item.method.name == name and not each.item.merged), None)
            for name in self._references
        )
        measured = measure_group(
            subjects,
            group,
            self.limits,
            self._gpu,
            frozen=frozen,
            full=full,
            tell=self.tell,
            fail=lambda subject, reason: self._fail(f"{subject.item.title}, {group.title}", reason),
        )
        notes, marks = self._of_device(others)
        seconds = time.monotonic() - started
        environment = describe_device(self.device, self._gpu)
        for subject, result in measured.items():
            if (trial := missing.get(subject.item)) is None:
                continue
            uncounted = [f"not counted as FLOPs: {result.uncounted}"] if result.uncounted else []
            recording.record(
                self.output,
                trial,
                metrics=result.metrics,
                absent=result.absent,
                rounds=result.rounds,
                trainable_params=subject.sizes.trainable_params,
                backbone_params=subject.sizes.backbone_params,
                environment=environment,
                seconds=seconds,
                notes=[*uncounted, *notes],
                marks=[*method_marks(subject.method, subject.model.config), *marks],
            )
            self.report.recorded.append(trial)

    def _subject(self, item: Item) -> MeasuredMethod | None:
        if item not in self._built:
            subject = MeasuredMethod(item, self._trials[item, self.request.groups[0]], self._workload)
            self._built[item] = subject
            self.tell(f"attaching {item.title} to {self.request.backbone.name}, counting")
            try:
                subject.build()
            except CannotMergeError as error:
                self._built[item] = None
                if item.optional:
                    self.tell(f"{item.title} is left out: {error}")
                else:
                    self._fail(item.title, str(error))
            except Exception as error:  # one method that cannot be had does not take the others down
                self._built[item] = None
                self._fail(item.title, str(error) if isinstance(error, PetlBenchError) else describe(error))
        return self._built[item]

    def _of_device(self, others: OthersOnCpu) -> tuple[list[str], list[str]]:
        """Notes and marks that say who else was at work."""
        if self.device.type == "cuda":
            return ([self._gpu_note] if self._gpu_note else []), []
        percent = others.percent()
        note = f"others took {percent:.0f} % of the processors' time while this was measured"
        if percent <= CPU_LIMIT:
            return [note], []
        self.tell(f"{note}: its times are marked {BUSY}")
        return [note], [BUSY]

    def _fail(self, what: str, reason: str) -> None:
        line = f"{what}, {self.request.backbone.name}: {' '.join(reason.split())}"
        self.report.failures.append(line)
        self.tell(f"failed: {line}")
