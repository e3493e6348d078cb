"""The setting of retrieval: its tasks, its recipes, and every method in it or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import petl_bench as pb
from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.api.retrieval import RetrievalTask
from petl_bench.api.setting import Case, Setting
from petl_bench.api.trial import TrialResult
from petl_bench.errors import UsageError
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.running.planning.spec import Spec
from petl_bench.training.run_trial import run_trial

MakeAnnotations = Callable[..., Annotations]
CASE = Case("1", None, 0)
FEW = Path(__file__).parents[1] / "retrieval" / "made_retrieval.py"


def setting(name: str = "retrieval", **values: str) -> Setting:
    created: Setting = SETTINGS.get(name)(**values)
    return created


def with_captions(annotations: Annotations) -> Annotations:
    """Two captions for every clip, but none for the first training and test clips; all clips share one of them."""
    clips = [sample.clip for lists in (annotations.train, annotations.test) for sample in lists[1][1:]]
    return replace(annotations, captions={clip: (f"this is {clip}", "a clip") for clip in clips})


def spec_of(*methods: str, **more: object) -> Spec:
    return Spec(methods=methods, **{"setting": "retrieval", "seeds": (0,), "device": "cpu"} | more)  # type: ignore[arg-type]


def test_every_caption_is_a_pair_and_clips_without_captions_take_no_part(make: MakeAnnotations) -> None:
    annotations = with_captions(make([2, 2]))
    task = setting().task(annotations, CASE)
    assert isinstance(task, RetrievalTask)
    assert len(task.train) == 2 * 3 and len(task.train_texts) == 3 + 1  # an equal caption is one text
    (test,) = task.evaluations
    assert [sample.clip for sample in test.samples] == [sample.clip for sample in annotations.test[1][1:]]
    assert len(test.texts) == 2 * len(test.samples)
    assert "every captioned training clip" in task.source


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_lists_without_captions_are_refused(make: MakeAnnotations, lacking: str) -> None:
    annotations = make([2, 2])
    other = annotations.test if lacking == "train" else annotations.train
    captions = {sample.clip: ("text",) for sample in other[1]}
    which = "training" if lacking == "train" else "test"
    with pytest.raises(UsageError, match=f"made: none of its {which} clips has a caption"):
        setting().task(replace(annotations, captions=captions), CASE)


def test_shots_are_refused(make: MakeAnnotations) -> None:
    with pytest.raises(UsageError, match="--shots 4: retrieval"):
        setting().cases(make([2]), [0], None, [4])


def test_the_budget_is_that_of_the_field() -> None:
    (job,) = plan(spec_of("lora", backbone="clip-b16", weights="random")).jobs
    training = job.trial.training
    assert (training["epochs"], training["batch_size"], training["warmup_epochs"]) == (5, 128, 0.5)


def test_a_plan_counts_pairs() -> None:
    found = plan(spec_of("lora", "zero_shot"))
    lines = "\n".join(plan_lines(found))
    assert "1383 pairs x 5" in lines and "6,915 pairs through training" in lines


@pytest.mark.parametrize("backbone", ["viclip-tiny", "clip-tiny", "clip-b16", "viclip-b16"])
@pytest.mark.parametrize("method", ["msta", "text_adapter", "vision_adapter", "lora", "adaptformer", "full_finetune"])
def test_methods_run_with_their_recipes_without_classes(method: str, backbone: str) -> None:
    (job,) = plan(spec_of(method, backbone=backbone, weights="random")).jobs
    assert job.trial.descriptions_sha256 == "" and job.trial.captions_sha256
    assert job.trial.hyper_parameters.get("consistency_weight", 0.0) == 0.0 or method == "vision_adapter"


def test_a_loss_over_classes_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"msta reads descriptions of classes, .*set its fields so that it reads none"):
        plan(spec_of("msta", set=("msta.consistency_weight=1",)))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four training and three test clips of two classes alone have captions."""
    from petl_bench.benchmarks.datasets.motion import Motion

    whole = Motion.annotations

    def some(self: Motion, root: Path) -> Annotations:
        found = whole(self, root)
        kept = [clip for clip in found.captions if clip.startswith(("bouncing/", "falling/"))]
        train, test = ([clip for clip in kept if f"/{part}_" in clip] for part in ("train", "test"))
        return replace(found, captions={clip: found.captions[clip] for clip in (*train[:4], *train[-4:], *test)})

    monkeypatch.setattr(Motion, "annotations", some)


def outcomes(planned: Plan, folder: Path) -> list[TrialResult]:
    """The trials of a plan, one after the other, each from the adapter of the one that it starts from."""
    found = []
    for job in planned.jobs:
        own, start = folder / job.trial.key, job.trial.start_from
        own.mkdir()
        adapter = folder / start / "adapter.safetensors" if start else None
        found.append(run_trial(job.trial, job.places, own, lambda progress: None, adapter=adapter))
    return found


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("absent", [{}, {1: ()}])
def test_without_a_training_list_the_frozen_model_is_scored_and_nothing_trains(
    absent: dict[int, tuple[Sample, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from petl_bench.benchmarks.datasets.motion import Motion

    few = Motion.annotations
    monkeypatch.setattr(Motion, "annotations", lambda self, root: replace(few(self, root), train=absent))
    planned = plan(spec_of("zero_shot"))
    assert "\n".join(plan_lines(planned))
    (result,) = outcomes(planned, tmp_path)
    assert "training clips: none, there is no list of them" in result.notes
    for method in ("lora", "full_finetune"):
        with pytest.raises(UsageError, match="retrieval needs a list of all training clips of motion, split 1, and"):
            plan(spec_of("zero_shot", method))
    with pytest.raises(UsageError, match="post_processing=qb_norm needs a list of all training clips"):
        plan(spec_of("zero_shot", set=("retrieval.post_processing=all",)))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_runs_or_is_refused_in_one_line(method: str, tmp_path: Path) -> None:
    try:
        planned = plan(spec_of(method, epochs=1))
    except UsageError as error:
        assert method in str(error) and "\n" not in str(error) and "petl-bench show" in str(error)
        plugin = METHODS.get(method)
        assert "retrieval" not in plugin.tasks or plugin.novel != "text" or plugin.settings is not None
        return
    for result in outcomes(planned, tmp_path):
        assert set(result.metrics) == set(pb.RETRIEVAL_METRICS)
        if planned.jobs[0].trial.training["epochs"]:
            assert any("smaller than batch_size=32" in note for note in result.notes)


def transfer(method: str, *values: str) -> Spec:
    given = tuple(f"zero_shot_transfer.{value}" for value in values)
    return spec_of(method, setting="zero_shot_transfer", epochs=1, set=given)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ((), ("", "")),
        (("task_of_targets=retrieval",), ("", "retrieval")),
        (("source_task=retrieval",), ("retrieval", "")),
        (("source_task=retrieval", "task_of_targets=retrieval"), ("retrieval", "retrieval")),
    ],
)
def test_an_adapter_goes_from_one_kind_of_task_to_the_other(
    values: tuple[str, ...], kinds: tuple[str, str], tmp_path: Path
) -> None:
    planned = plan(transfer("lora", *values))
    assert [bool(job.trial.captions_sha256) for job in planned.jobs] == [bool(kind) for kind in kinds]
    if not any(kinds):
        return  # classification alone runs in tests/methods/test_matrix.py
    source, target = outcomes(planned, tmp_path)
    expected = set(pb.RETRIEVAL_METRICS) if kinds[1] else {"top1", "top5"}
    assert set(target.metrics) == expected
    names = {"source_top1"} if not kinds[0] else {f"source_{name}" for name in pb.RETRIEVAL_METRICS}
    assert set(source.metrics) == names


def test_a_retrieval_source_refuses_methods_of_classes() -> None:
    with pytest.raises(UsageError, match="msta reads descriptions of classes"):
        plan(transfer("msta", "source_task=retrieval"))
    with pytest.raises(UsageError, match="taskres does not work with the setting"):
        plan(transfer("taskres", "task_of_targets=retrieval"))


def test_targets_are_of_the_kind_that_they_have(make: MakeAnnotations) -> None:
    plain = make([2, 2])
    captioned = with_captions(plain)
    without_classes = replace(captioned, classes=())
    within = setting("zero_shot_transfer", source="k400")
    parts = [within.cases(each, [0], None, None)[0].part for each in (plain, captioned, without_classes)]
    assert parts == ["target", "target", "retrieval"]
    case = within.cases(without_classes, [0], None, None)[0]
    assert within.kind_of(case) == "retrieval" and within.source_case(case) == Case("1", None, 0, "source")
    task = within.task(without_classes, case)
    assert isinstance(task, RetrievalTask) and task.train == () and task.evaluations[0].name == "target"
    other = setting("zero_shot_transfer", source="k400", source_task="retrieval")
    start = other.source_case(Case("1", None, 0, "target"))
    assert start == Case("1", None, 0, "source-retrieval") and other.kind_of(start) == "retrieval"


def test_within_one_data_set_no_class_is_trained_and_searched(make: MakeAnnotations) -> None:
    annotations = with_captions(make([5, 30, 20, 40]))
    within = setting("zero_shot_transfer", source="made", source_task="retrieval", task_of_targets="retrieval")
    (case,) = within.cases(annotations, [0], None, None)
    start = within.source_case(case)
    assert (case.part, start) == ("retrieval-novel", Case("1", None, 0, "source-base-retrieval"))
    label_of = {sample.clip: sample.label for lists in (annotations.train, annotations.test) for sample in lists[1]}

    def labels(samples: tuple[Sample, ...]) -> set[int]:
        return {label_of[sample.clip] for sample in samples}

    assert start is not None
    source, target = within.task(annotations, start), within.task(annotations, case)
    assert labels(source.train) == labels(source.evaluations[0].samples) == {1, 3}
    assert labels(target.evaluations[0].samples) == {0, 2}
