"""A world without torch for the tests of runs: a data set of a few files, a backbone, methods that only wait.

Its trials write down when they start and end.

Given to `--plugin`, also in worker processes, where it stands in for the training engine as well.
"""

import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from types import MappingProxyType

import petl_bench as pb
from petl_bench.api.trial import EvaluationResult, Progress, TrialResult
from petl_bench.errors import TrialError, TrialStopped

CLIPS = tuple(pb.Sample(f"clip_{number}.mp4", number % 2) for number in range(8))


@pb.register_dataset("toys")
class Toys(pb.Dataset):
    """Eight files that are never opened."""

    colour: str = pb.hyper("red", "nothing in particular")

    def root(self, data_root):
        return data_root

    def annotations(self, root):
        return pb.Annotations(classes=("left", "right"), train={1: CLIPS[:4]}, test={1: CLIPS[4:]})


@pb.register_setting("toy_setting")
class ToySetting(pb.Setting):
    """One evaluation of all test clips."""

    metrics = ("top1",)
    training = MappingProxyType({"epochs": 7, "learning_rate": 0.5, "weight_decay": 0.25})

    def cases(self, annotations, seeds, splits, shots):
        return [pb.Case("1", count, seed) for count in shots or [None] for seed in seeds]

    def task(self, annotations, case):
        evaluation = pb.Evaluation("all", annotations.classes, tuple(annotations.test[1]))
        return pb.Task(annotations.classes, tuple(annotations.train[1]), (evaluation,), "the list")

    def summarise(self, accuracies):
        return {"top1": accuracies["all"]["top1"]}


@pb.register_setting("toy_transfer")
class ToyTransfer(ToySetting):
    """Adapts on a source data set; each of two splits of the others starts from that adapter."""

    source: str = pb.hyper("toys", "data set to adapt on")

    @property
    def source_dataset(self):
        return self.source

    def cases(self, annotations, seeds, splits, shots):
        return [pb.Case(split, None, seed, "target") for split in splits or ("1", "2") for seed in seeds]

    def source_case(self, case):
        return pb.Case("1", None, case.seed, "source")


@pb.register_dataset("elsewhere")
class Elsewhere(Toys):
    """A data set with two published splits that is on no machine."""

    splits = (1, 2)

    def root(self, data_root):
        raise pb.DataError("elsewhere is not here")


@pb.register_backbone("toy_net")
class ToyNet(pb.Backbone):
    """A shape, never built."""

    config = pb.ViCLIPConfig(vision_width=8, vision_layers=1, text_width=8, text_layers=1, vocab_size=10)


class Waiting(pb.Method):
    """Waits for some steps; `mishap` is what happens in the middle: fail, leave, die once, die, stop once, long step,
    fill."""

    steps: int = pb.hyper(2, "steps of 20 ms", minimum=1)
    mishap: str = pb.hyper("", "what goes wrong")

    def attach(self, model):
        pass

    def expected_trainable(self, config):
        if self.mishap == "wide":
            raise pb.UsageError(f"{self.name}.mishap=wide: wider than {config.vision_width}")
        return 12345 // int(self.mishap != "divide")


@pb.register_method("waiting")
class WaitingMethod(Waiting):
    """Waits."""

    recipes = (
        pb.Recipe("toy_setting", training={"learning_rate": 0.25, "batch_size": 3}, hyper={"steps": 3}),
        pb.Recipe("toy_setting", backbone="toy_net", hyper={"steps": 1}, training={"batch_size": 5}),
        pb.Recipe("base2novel", hyper={"steps": 99}),
    )


@pb.register_method("other")
class OtherMethod(Waiting):
    """Waits as well."""


@pb.register_method("picky")
class Picky(Waiting):
    """Works elsewhere only."""

    settings = ("base2novel",)


def run_trial(trial, places, folder, notify, adapter=None, stop=lambda: ""):
    """Count up to `steps`, one checkpoint per step, and say so in the file named by TOY_LOG."""
    checkpoint = folder / "checkpoint.pt"
    first = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    steps, mishap = trial.hyper_parameters["steps"], trial.hyper_parameters["mishap"]
    if trial.start_from and adapter.read_text() != trial.start_from:
        raise TrialError(f"a wrong adapter: {adapter}")
    if trial.part == "source":
        (folder / "adapter.safetensors").write_text(trial.key)
    _say(f"start {trial.method} {trial.seed} {first}")
    print(f"hello from {trial.title}")
    for step in range(first, steps):
        time.sleep(0.02)
        if step == steps // 2:
            _go_wrong(mishap, folder, trial)
        temporary = folder / f".checkpoint.{os.getpid()}"
        temporary.write_text(json.dumps(step + 1))
        temporary.replace(checkpoint)
        notify(
            Progress(stage="training", epoch=step + 1, epochs=steps, step=step + 1, steps=steps, loss=1 / (step + 1))
        )
        if stop():
            raise TrialStopped(stop())
    _say(f"end {trial.method} {trial.seed}")
    scores = [[0.75, 0.25]] * 4
    result = EvaluationResult(
        classes=("left", "right"),
        clips=[sample.clip for sample in CLIPS[4:]],
        labels=[sample.label for sample in CLIPS[4:]],
        scores=scores,
        top1=50.0,
        top5=100.0,
        expected=4,
    )
    return TrialResult(
        metrics={"top1": 50.0},
        evaluations={"all": result},
        trainable_params=0,
        backbone_params=1,
        train_clips={"expected": 4, "missing": 0, "unreadable": 0, "used": 4},
        train_unreadable={},
        history=[],
        durations_s={"total": 0.1},
        environment={"device": "cpu"},
        notes=[],
        marks=[],
    )


def _go_wrong(mishap, folder, trial):
    if trial.seed != 0 or not mishap:
        return
    if mishap == "fail":
        raise TrialError("non-finite loss at step 7")
    if mishap == "stop once" and not (folder / "stopped").exists():
        (folder / "stopped").touch()
        raise TrialStopped("the job's time is up")
    if mishap == "leave":
        sys.exit(0)
    if mishap == "crash":
        raise ZeroDivisionError("an accident")
    if mishap == "die" or (mishap == "die once" and not (folder / "died").exists()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if mishap == "long step":
        (folder / "in a long step").touch()
        while not (folder / "end of the step").exists():
            time.sleep(0.02)
    if mishap == "fill":
        (folder / "big").write_bytes(b"\0" * 2**24)


def _say(line):
    with Path(os.environ["TOY_LOG"]).open("a") as file:
        file.write(line + "\n")


_engine = types.ModuleType("petl_bench.training.run_trial")
_engine.run_trial = run_trial
sys.modules["petl_bench.training.run_trial"] = _engine
