"""Measure all subjects of one group (precision, batch size) against each other, in interleaved rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from petl_bench.api.registry import describe
from petl_bench.costs.device import Gpu
from petl_bench.costs.memory import is_out_of_memory, memory_told, refuse_too_much
from petl_bench.costs.subject import MeasuredMethod, Passes
from petl_bench.costs.timing import Samples, interleave, paired_ratio, percentiles, time_calls
from petl_bench.errors import PetlBenchError, TrialError

#: A turn repeats a pass until about so many milliseconds are over, and at most so often.
TURN_MS, MOST_REPEATS = 100.0, 50
#: A pass that takes longer is not warmed up twice.
SLOW_MS = 1000.0
#: Rounds of a group if their number is not given: at most so many, as many as end within so many seconds.
MOST_ROUNDS, GROUP_SECONDS = 20, 200.0
#: Passes before every turn on a GPU, whose clocks and caches cool down between turns. A CPU is warmed up once.
CUDA_WARM_UP = 3
#: Where the search for the largest batch ends.
LARGEST = {"cpu": 16, "cuda": 4096}

MIB = 2**20
BatchSize = int | Literal["largest"]


@dataclass(frozen=True)
class Group:
    """What all subjects of a comparison have in common."""

    precision: str
    batch: BatchSize

    @property
    def title(self) -> str:
        """For progress lines and failures."""
        return f"{self.precision}, {'largest batch' if self.batch == 'largest' else f'batch {self.batch}'}"


@dataclass(frozen=True)
class MeasurementLimits:
    """How long is measured. `rounds`: None for as many as MOST_ROUNDS and GROUP_SECONDS allow."""

    rounds: int | None = None
    largest: int | None = None  #: where the search for the largest batch ends; None: LARGEST


@dataclass
class Measured:
    """Metrics, why others are absent, and one row per round with the medians of its turns."""

    metrics: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    uncounted: str = ""  #: operators that no FLOP counter counts


Tell = Callable[[str], None]
Fail = Callable[[MeasuredMethod, str], None]


def measure_group(
    subjects: Sequence[MeasuredMethod],
    group: Group,
    limits: MeasurementLimits,
    gpu: Gpu | None,
    *,
    frozen: MeasuredMethod | None,
    full: MeasuredMethod | None,
    tell: Tell,
    fail: Fail,
) -> dict[MeasuredMethod, Measured]:
    """What every subject costs. `frozen` and `full` are those among them that the others are set in relation to.

    One that fails is told to `fail` in one line and left out; the others are measured all the same.
    """
    started = time.monotonic()
    contestants: dict[MeasuredMethod, _Contestant] = {}
    for subject in subjects:
        tell(f"{group.title}: warming up {subject.item.title}")
        try:
            contestants[subject] = _Contestant.prepare(subject, group, limits, gpu)
        except Exception as error:
            fail(subject, _line(error))
    given = interleave(
        {subject: contestant.turn for subject, contestant in contestants.items()},
        rounds=limits.rounds,
        most=MOST_ROUNDS,
        seconds=GROUP_SECONDS - (time.monotonic() - started),
        dropped=lambda subject, error: fail(subject, _line(error)),
        on_round=lambda done: tell(f"{group.title}: round {done} done"),
    )
    measured = {subject: _summarise(contestants[subject], rounds) for subject, rounds in given.items()}
    _relate(measured, frozen, "throughput_vs_frozen", _throughputs, "the frozen backbone")
    _relate(measured, full, "train_step_vs_full", _train_steps, "full fine-tuning")
    return measured


def _line(error: Exception) -> str:
    return str(error) if isinstance(error, PetlBenchError) else describe(error)


@dataclass
class _Contestant:
    """One subject in a group: its batch, how often a turn repeats each pass, and what was found while warming up."""

    subject: MeasuredMethod
    group: Group
    gpu: Gpu | None
    batch: int
    trains: bool
    repeats: dict[str, int] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    kept: dict[int, Passes] = field(default_factory=dict)  #: by batch; on the CPU alone

    @classmethod
    def prepare(cls, subject: MeasuredMethod, group: Group, limits: MeasurementLimits, gpu: Gpu | None) -> _Contestant:
        """Warm up, and take the peaks of memory on the way. Raises TrialError if the batch does not fit."""
        with subject.on_device():
            batch = _largest(subject, group, limits) if group.batch == "largest" else group.batch
            self = cls(subject, group, gpu, batch, trains=subject.trains and group.batch != "largest")
            refuse_too_much(subject.workload.device, subject.model.config, batch, self.trains)
            with memory_told(subject.workload.device, batch):
                self._warm_up()
        return self

    def _warm_up(self) -> None:
        passes = self._passes(self.batch)
        self._warm("inference", passes.infer, passes.peak_of_inference, "inference_memory_mib")
        if self.batch > 1:
            self._warm("latency", self._passes(1).infer)
        self._warm("text", passes.encode_text)
        if self.trains:
            with passes.training():
                self._warm("train", passes.train, passes.peak_of_training, "peak_memory_mib")

    def _warm(
        self, name: str, call: Callable[[], None], peak: Callable[[], int] | None = None, metric: str = ""
    ) -> None:
        """Run a pass, the first time for its peak of memory if that is asked for; settle how often it is repeated.

        What takes long is run once: its first pass is as good as its second.
        """
        started = time.perf_counter()
        if peak is None:
            call()
        else:
            self.memory[metric] = peak() / MIB
        self.repeats[name] = 1
        if 1000 * (time.perf_counter() - started) < SLOW_MS:
            took = time_calls(self.subject.workload.device, call, 2)[-1]
            self.repeats[name] = max(1, min(MOST_REPEATS, math.ceil(TURN_MS / max(took, 1e-3))))

    def turn(self) -> Samples:
        """Milliseconds of every pass, and joules of those whose energy the device reports."""
        device, samples = self.subject.workload.device, Samples()
        with self.subject.on_device(), memory_told(device, self.batch):
            passes = self._passes(self.batch)
            self._time(samples, "inference", passes.infer, per=self.batch)
            if self.batch > 1:
                self._time(samples, "latency", self._passes(1).infer)
            self._time(samples, "text", passes.encode_text)
            if self.trains:
                with passes.training():
                    self._time(samples, "train", passes.train)
        return samples

    def _time(self, samples: Samples, name: str, call: Callable[[], None], per: int = 1) -> None:
        device, count = self.subject.workload.device, self.repeats[name]
        if device.type == "cuda":
            for _ in range(CUDA_WARM_UP):
                call()
            torch.cuda.synchronize(device)
        before = self.gpu.energy_mj() if self.gpu else None
        samples[name] = time_calls(device, call, count)
        after = self.gpu.energy_mj() if self.gpu else None
        if before is not None and after is not None:
            samples[f"{name}_j"] = [(after - before) / 1000 / count / per]

    def _passes(self, batch: int) -> Passes:
        if self.subject.workload.device.type == "cuda":
            return Passes(self.subject, batch, self.group.precision)
        if batch not in self.kept:
            self.kept[batch] = Passes(self.subject, batch, self.group.precision)
        return self.kept[batch]


def largest_batch(fits: Callable[[int], bool], bound: int) -> int:
    """The largest number from 1 to `bound` that fits; 0 if none. What is smaller than one that fits must fit too.

    Doubles until something does not fit, or the bound is reached, then halves the gap until nothing is left in it.
    """
    low, high = 0, 1
    while high < bound and fits(high):
        low, high = high, min(2 * high, bound)
    if high == bound and fits(high):
        return bound
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _largest(subject: MeasuredMethod, group: Group, limits: MeasurementLimits) -> int:
    """The largest batch that inference fits with; training is measured with fixed batches."""
    device = subject.workload.device

    def fits(batch: int) -> bool:
        try:
            refuse_too_much(device, subject.model.config, batch, training=False)
            if device.type == "cuda":
                Passes(subject, batch, group.precision).infer()
                torch.cuda.synchronize(device)
        except TrialError:
            return False
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    found = largest_batch(fits, limits.largest or LARGEST[device.type])
    if not found:
        raise TrialError("not even a batch of 1 fits")
    return found


def _summarise(contestant: _Contestant, rounds: Sequence[Samples]) -> Measured:
    sizes, result = contestant.subject.sizes, Measured()
    metrics = result.metrics
    metrics["batch_size"] = contestant.batch
    metrics["rounds"] = len(rounds)
    metrics["trainable_params"] = sizes.trainable_params
    metrics["trainable_percent"] = 100 * sizes.trainable_params / sizes.backbone_params
    metrics["total_params"] = sizes.total_params
    _add_counts(contestant, result)
    metrics |= contestant.memory
    flat = {name: [value for row in rounds for value in row[name]] for name in rounds[0]}
    latency = flat.get("latency", flat["inference"])
    metrics["throughput_videos_per_s"] = 1000 * contestant.batch / median(flat["inference"])
    _add_times(result, "latency_ms", latency)
    metrics["text_ms"] = median(flat["text"])
    if "train" in flat:
        _add_times(result, "train_step_ms", flat["train"])
    else:
        reason = _why_untrained(contestant)
        result.absent |= dict.fromkeys(("train_step_ms", "peak_memory_mib"), reason)
    _add_energy(contestant, result, flat)
    result.rounds = [
        {"round": number, **{name: median(values) for name, values in row.items()}}
        for number, row in enumerate(rounds, start=1)
    ]
    return result


def _add_counts(contestant: _Contestant, result: Measured) -> None:
    sizes = contestant.subject.sizes
    if sizes.video.macs is None:
        result.absent |= dict.fromkeys(("macs_g", "flops_g"), sizes.video.reason)
    else:
        result.metrics["macs_g"] = sizes.video.macs / 1e9
        result.metrics["flops_g"] = 2 * sizes.video.macs / 1e9
        result.uncounted = ", ".join(f"{name} {count}" for name, count in (sizes.video.uncounted or {}).items())
    if sizes.text.macs is None:
        result.absent["text_macs_g"] = sizes.text.reason
    else:
        result.metrics["text_macs_g"] = sizes.text.macs / 1e9
    if sizes.adapter_bytes:
        result.metrics["adapter_mb"] = sizes.adapter_bytes / 1e6
    else:
        result.absent["adapter_mb"] = "nothing trains, so there is no file"


def _add_times(result: Measured, name: str, values: Sequence[float]) -> None:
    middle, low, high = percentiles(values)
    result.metrics[name] = middle
    if len(values) > 1:
        result.metrics |= {f"{name}_p10": low, f"{name}_p90": high}
    else:
        result.absent |= dict.fromkeys((f"{name}_p10", f"{name}_p90"), "measured once; more with --rounds")


def _add_energy(contestant: _Contestant, result: Measured, flat: Samples) -> None:
    names = {"inference": "inference_energy_j_per_video"}
    if contestant.trains:
        names["train"] = "train_step_energy_j"
    for name, metric in names.items():
        if f"{name}_j" in flat:
            result.metrics[metric] = median(flat[f"{name}_j"])
        else:
            result.absent[metric] = "the device reports no energy"


def _why_untrained(contestant: _Contestant) -> str:
    if contestant.subject.item.merged:
        return "it trains unmerged"
    if contestant.group.batch == "largest":
        return "the largest batch is that of inference; training is measured with fixed batches"
    return "nothing trains"


def _throughputs(measured: Measured) -> list[float]:
    return [measured.metrics["batch_size"] / row["inference"] for row in measured.rounds]


def _train_steps(measured: Measured) -> list[float]:
    return [row["train"] for row in measured.rounds if "train" in row]


def _relate(
    measured: dict[MeasuredMethod, Measured],
    reference: MeasuredMethod | None,
    metric: str,
    series: Callable[[Measured], list[float]],
    name: str,
) -> None:
    """The ratio of every subject to the reference, from rounds in which both were measured."""
    other = series(measured[reference]) if reference in measured else []
    for result in measured.values():
        own = series(result)
        if not own:
            result.absent[metric] = result.absent["train_step_ms"]
        elif not other:
            result.absent[metric] = f"{name} was not measured in the same run"
        else:
            result.metrics[metric], interval = paired_ratio(own, other)
            if interval is None:
                result.absent |= dict.fromkeys((f"{metric}_low", f"{metric}_high"), "fewer than three rounds")
            else:
                result.metrics |= {f"{metric}_low": interval[0], f"{metric}_high": interval[1]}
