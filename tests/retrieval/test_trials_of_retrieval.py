"""Trials of retrieval from the command to the record: training in whole batches, all clips against all texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.api.dataset import Sample
from petl_bench.api.launcher import Job
from petl_bench.api.method import symmetric_cross_entropy
from petl_bench.api.prompts import Prompts
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.api.retrieval import retrieval_evaluation, retrieval_pairs
from petl_bench.api.training_options import TrainingOptions
from petl_bench.cli import cli
from petl_bench.errors import PluginError, TrialStopped, UsageError
from petl_bench.models.towers import VideoOutput
from petl_bench.records.verify import verify
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from petl_bench.training import evaluate, text
from petl_bench.training.checkpoint import load_adapter
from petl_bench.training.evaluate import Scored, score
from petl_bench.training.held_out import split_pairs_for_validation
from petl_bench.training.retrieval import Positives, retrieval_result, validation
from petl_bench.training.run_trial import run_trial
from petl_bench.training.video import EncodedBatch

#: A large epsilon keeps Adam from blowing rounding up into whole steps where a gradient is next to nothing.
STEADY = ("training.adam_epsilon=1e-3", "training.learning_rate=1e-2", "training.warmup_epochs=0")
FIXED = "training.train_views=fixed"
NAME = "made_retrieval"


def spec_of(plugin: Path, method: str, *values: str, **more: Any) -> Spec:
    return Spec(
        methods=(method,),
        setting=NAME,
        datasets=("captioned_motion",),
        seeds=(0,),
        set=values,
        plugin=(str(plugin),),
        device="cpu",
        **more,
    )


def job_of(plugin: Path, method: str, *values: str, **more: Any) -> Job:
    """The only trial of a spec."""
    (job,) = plan(spec_of(plugin, method, *values, **more)).jobs
    return job


def run(job: Job, folder: Path, stop: Callable[[], str] = lambda: "") -> pb.TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(job.trial, job.places, folder, lambda progress: None, stop=stop)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_adapter(folder / "adapter.safetensors")[1]


def similarities(result: pb.TrialResult) -> np.ndarray:
    (evaluation,) = result.evaluations.values()
    assert isinstance(evaluation, pb.RetrievalResult)
    found: np.ndarray = evaluation.similarities
    return found


def agree(one: tuple[pb.TrialResult, Path], other: tuple[pb.TrialResult, Path]) -> None:
    """The same numbers up to rounding."""
    for ours, theirs in zip(one[0].history, other[0].history, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["train_accuracy"] == pytest.approx(ours["train_accuracy"])
    adapters = [tensors_of(folder) for _, folder in (one, other)]
    for name, tensor in adapters[0].items():
        np.testing.assert_allclose(adapters[1][name].numpy(), tensor.numpy(), atol=2e-5, err_msg=name)
    np.testing.assert_allclose(similarities(other[0]), similarities(one[0]), atol=1e-2)


def test_a_run_ends_in_records_a_table_and_a_comparison(plugin: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    chosen = ["--plugin", str(plugin), "--setting", NAME, "--datasets", "captioned_motion", "--output", str(runs)]
    values = [part for value in (*STEADY, FIXED) for part in ("--set", value)]
    arguments = ["run", "--methods", "lora,zero_shot", "--seeds", "0", "--epochs", "1", *values, *chosen]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert [(each.problems, each.trial) for each in verify(runs)] == [
        ((), path.name) for path in sorted(runs.glob("trials/*"))
    ]
    records = pb.load_records(runs)
    assert set(records["metric"]) == set(pb.RETRIEVAL_METRICS)
    assert records["prompt_template"].isna().all()  # captions are read as they are
    for command in (["report", "--table", NAME], ["compare", "lora", "zero_shot"]):
        said = CliRunner().invoke(cli, [*command, "--runs", str(runs), "--plugin", str(plugin)])
        assert said.exit_code == 0 and "R@1" in said.output and "V2T" in said.output, said.output
    again = CliRunner().invoke(cli, arguments)
    assert "2 trials" in again.output and "2 done" in again.output, again.output


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[pb.TrialResult, Path, Job]:
    """A trial of LoRA in one process, one batch at a time."""
    from tests.retrieval.conftest import PLUGIN

    pb.load_plugin_file(PLUGIN)
    folder = tmp_path_factory.mktemp("whole")
    job = job_of(PLUGIN, "lora", *STEADY, FIXED, "lora.dropout=0", epochs=2)
    return run(job, folder), folder, job


def changed(job: Job, **training: Any) -> Job:
    return replace(job, trial=replace(job.trial, training={**job.trial.training, **training}))


def test_training_brings_clips_and_their_texts_together(whole: tuple[pb.TrialResult, Path, Job]) -> None:
    result, folder, job = whole
    first, last = result.history[0], result.history[-1]
    assert last["loss"] < first["loss"]
    assert result.train_clips == {"expected": 48, "missing": 0, "unreadable": 0, "used": 48}
    rows = [line.split("\t") for line in result.train_list.splitlines()]
    assert len(rows) == 84 and all(len(row) == 2 for row in rows)
    header = load_adapter(folder / "adapter.safetensors")[0]
    assert header["task"]["kind"] == "retrieval" and header["train_classes"] == []
    assert job.trial.descriptions_sha256 == ""


def test_micro_batches_give_the_loss_of_the_whole_batch(
    plugin: Path, whole: tuple[pb.TrialResult, Path, Job], tmp_path: Path
) -> None:
    result, folder, job = whole
    parts = run(changed(job, micro_batch_size=5), tmp_path / "parts")
    agree((result, folder), (parts, tmp_path / "parts"))


def test_two_processes_give_the_loss_of_the_whole_batch(
    plugin: Path, whole: tuple[pb.TrialResult, Path, Job], tmp_path: Path
) -> None:
    result, folder, job = whole
    shared = run(changed(job, processes=2), tmp_path / "shared")
    agree((result, folder), (shared, tmp_path / "shared"))
    assert list(shared.metrics) == list(result.metrics)


def test_a_trial_that_is_stopped_again_and_again_ends_with_the_same_bits(
    plugin: Path, whole: tuple[pb.TrialResult, Path, Job], tmp_path: Path
) -> None:
    result, folder, job = whole
    attempts = 0
    while True:
        asked = iter([""])
        try:
            again = run(job, tmp_path / "stopped", lambda asked=asked: next(asked, "stop"))
        except TrialStopped:
            attempts += 1
        else:
            break
    assert attempts > 2
    assert again.metrics == result.metrics and similarities(again).tobytes() == similarities(result).tobytes()
    assert all(
        torch.equal(tensor, tensors_of(folder)[name]) for name, tensor in tensors_of(tmp_path / "stopped").items()
    )


def test_an_epoch_is_selected_on_clips_that_are_held_out_with_all_their_texts(plugin: Path, tmp_path: Path) -> None:
    job = job_of(plugin, "text_adapter", *STEADY, FIXED, "text_adapter.consistency_weight=0", epochs=2, select="val")
    result = run(job, tmp_path / "val")
    assert all(0 <= row["selection_accuracy"] <= 100 for row in result.history)
    assert any("pairs of a training clip and a text were held out" in note for note in result.notes)
    pairs, texts = retrieval_pairs({"a": ["x", "y"], "b": ["x"], "c": ["z"], "d": ["u", "v"]})
    options = TrainingOptions(select="val", val_fraction=0.5)
    clips = [pair.clip for pair in pairs]
    train, held = split_pairs_for_validation(pairs, clips, options, 0)
    assert sorted([*train, *held]) == sorted(pairs)
    assert len({pair.clip for pair in held}) == 2 and not {pair.clip for pair in train} & {pair.clip for pair in held}
    evaluation = validation(pb.RetrievalTask(train=pairs, train_texts=texts, evaluations=(), source=""), held)
    assert sorted(evaluation.texts) == sorted(texts[pair.label] for pair in held)
    assert split_pairs_for_validation(pairs[:2], clips[:2], options, 0)[1] == []  # pairs of one clip
    films = ["film 1" if clip in "ab" else "film 2" for clip in clips]
    sides = split_pairs_for_validation(pairs, films, options, 0)
    assert sorted(sorted({pair.clip for pair in side}) for side in sides) == [["a", "b"], ["c", "d"]]


def test_texts_of_a_clip_are_positive_in_every_row_of_it() -> None:
    """Rows 0 and 1 are one clip with two texts; row 2 is another clip with an equal caption."""
    pairs, texts = retrieval_pairs({"a": ["moving left", "a red star"], "b": ["moving left"]})
    positive = Positives(pairs)(torch.tensor([0, 1, 2]), torch.tensor([0, 1]))
    assert texts == ("moving left", "a red star")
    assert positive.tolist() == [[True, True], [True, True], [True, False]]
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    step = pb.Step(None, torch.zeros(3, 1), torch.zeros(2, 1), positive=positive)  # type: ignore[arg-type]
    step.logits = logits
    rows = -logits.log_softmax(1)
    columns = -logits.log_softmax(0)
    expected = (
        (rows[0].mean() + rows[1].mean() + rows[2, 0]) / 3 + (columns[:, 0].mean() + columns[:2, 1].mean()) / 2
    ) / 2
    assert symmetric_cross_entropy(step).item() == pytest.approx(expected.item())


def test_a_clip_that_could_not_be_scored_takes_its_texts_with_it() -> None:
    evaluation = retrieval_evaluation("test", {"a": ["1", "2"], "gone": ["3"], "b": ["4"]})
    scores = np.array([[9, 0, 9, 1], [0, 2, 9, 3]], dtype=np.float32)
    result = retrieval_result(evaluation, Scored([0, 1], ["a", "b"], [0, 2], scores), [], [], {"gone": "truncated"})
    assert (result.texts, result.owners, result.expected, result.expected_texts) == (["1", "2", "4"], [0, 0, 1], 3, 4)
    assert result.similarities.tolist() == [[9, 0, 1], [0, 2, 3]]
    assert result.accuracies["t2v_r1"] == pytest.approx(200 / 3)


# What methods see


SEEN: dict[str, Any] = {}


@pytest.fixture
def spy() -> str:
    """A method that notes what its hooks were given."""
    SEEN.clear()

    @pb.register_method("spy")
    class Spy(METHODS.get("text_adapter")):  # type: ignore[misc]
        """Notes what it is given."""

        recipes = ()

        def prepare(self, support: Any) -> None:
            SEEN["support"] = list(support.encode())

        def scores(self, step: pb.Step) -> torch.Tensor:
            SEEN.setdefault("training" if step.training else "evaluation", step)
            return step.cosine_logits()

        def loss(self, step: pb.Step) -> torch.Tensor:
            SEEN.setdefault("frozen", (step.frozen.text_features, step.frozen.logits))
            return (step.frozen.logits - step.logits).square().mean()

    return "spy"


def test_what_hooks_are_given_in_retrieval(plugin: Path, spy: str, tmp_path: Path) -> None:
    job = job_of(plugin, spy, *STEADY, FIXED, "spy.consistency_weight=0", epochs=1, batch_size=16)
    run(job, tmp_path / "spied")
    steps = SEEN["support"]
    assert sum(len(step.rows) for step in steps) == 84
    assert all(step.positive.any(dim=1).all() and step.positive.any(dim=0).all() for step in steps)
    assert all(step.text_features.shape[0] == step.positive.shape[1] for step in steps)
    training, evaluation = SEEN["training"], SEEN["evaluation"]
    assert training.positive.shape == (16, len(training.text_features)) and training.trained_class is None
    texts, logits = SEEN["frozen"]  # of the first step, in which the adapter changes next to nothing
    assert torch.allclose(texts, training.text_features, atol=0.1)
    assert torch.allclose(logits, training.logits, atol=1.0)
    assert (evaluation.labels, evaluation.positive, evaluation.rows) == (None, None, None)
    assert (evaluation.classes, evaluation.trained_class) == ((), None)
    assert len(evaluation.text_features) == 72


# Large evaluations


def outputs(model: pb.DualEncoder, clips: int) -> list[EncodedBatch]:
    features = torch.randn(clips, model.config.embed_dim, generator=torch.Generator().manual_seed(0))
    return [
        EncodedBatch(list(range(clips)), [f"clip {n}" for n in range(clips)], list(range(clips)), VideoOutput(features))
    ]


def scored(model: pb.DualEncoder, method: pb.Method, clips: int = 3) -> np.ndarray:
    evaluation = retrieval_evaluation(
        "test", {f"clip {n}": [f"moving left {n}", f"a red star {n}"] for n in range(clips)}
    )
    (found,) = score(
        model,
        evaluation,
        outputs(model, clips),
        method=method,
        prompts=Prompts(("{}",)),
        precision="fp32",
        device=torch.device("cpu"),
    )
    return found.scores


@pytest.fixture
def model() -> pb.DualEncoder:
    return pb.create_model("viclip-tiny", weights="random").eval()


def test_texts_are_encoded_in_chunks(model: pb.DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    method = pb.create_method("lora")
    method.bind(pb.MethodTask("retrieval"))
    method.attach(model)
    at_once = scored(model, method)
    sizes = []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda tokens: sizes.append(len(tokens)) or encode(tokens))
    monkeypatch.setattr(text, "TEXTS_PER_PASS", 4)
    np.testing.assert_allclose(scored(model, method), at_once, atol=1e-5)
    assert sizes == [4, 2]


def test_text_that_depends_on_the_clip_is_scored_in_chunks_of_bounded_size(
    model: pb.DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    @pb.register_method("per_video")
    class PerVideo(METHODS.get("zero_shot")):  # type: ignore[misc]
        """Text features that depend on the clip."""

        text_varies = "video"

    method = PerVideo()
    method.bind(pb.MethodTask("retrieval"))
    method.attach(model)
    encode, pairs = model.encode_text, []

    def of_clips(tokens: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        pairs.append(len(tokens) * len(video))
        return encode(tokens) + 0.5 * video[:, None]

    monkeypatch.setattr(model, "encode_text", of_clips)
    at_once = scored(model, method)
    assert at_once.shape == (3, 6) and pairs == [18]
    pairs.clear()
    monkeypatch.setattr(evaluate, "TEXTS_PER_PASS", 7)
    np.testing.assert_allclose(scored(model, method), at_once, atol=1e-4)
    assert pairs == [6, 6, 6]


def test_text_that_depends_on_the_clip_trains_in_micro_batches_as_in_one_pass(plugin: Path, tmp_path: Path) -> None:
    @pb.register_method("per_video")
    class PerVideo(METHODS.get("lora")):  # type: ignore[misc]
        """Text features that depend on the clip; both towers train."""

        recipes = ()
        text_varies = "video"

        def attach(self, model: pb.DualEncoder) -> None:
            super().attach(model)
            encode = model.encode_text

            def of_clips(tokens: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
                return encode(tokens) + 0.5 * video[:, None]

            vars(model)["encode_text"] = of_clips

    found = []
    for size in (None, 6):
        job = job_of(plugin, "per_video", *STEADY, FIXED, "per_video.dropout=0", epochs=1, batch_size=16)
        job = changed(job, micro_batch_size=size)
        result = run(job, tmp_path / str(size))
        assert result.history[0]["loss"] > 0
        found.append((result, tmp_path / str(size)))
    agree(*found)


# What is refused, in one line


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"tasks": ("classification",)}, "is for classification, (and|not)"),
        ({"novel": "none"}, "scores the classes that it was trained on"),
    ],
)
def test_a_method_that_wants_classes_is_refused(plugin: Path, declared: dict[str, Any], says: str) -> None:
    pb.register_method("wants_classes")(
        type("WantsClasses", (METHODS.get("lora"),), {"__doc__": "Of classes.", **declared})
    )
    with pytest.raises(UsageError, match=says):
        plan(spec_of(plugin, "wants_classes"))


def test_a_method_that_reads_descriptions_is_refused_unless_it_is_set_to_read_none(plugin: Path) -> None:
    with pytest.raises(UsageError, match="msta reads descriptions of classes"):
        plan(spec_of(plugin, "msta", "msta.bottleneck_dim=16"))
    assert job_of(plugin, "msta", "msta.bottleneck_dim=16", "msta.consistency_weight=0").trial.descriptions_sha256 == ""


def test_one_training_clip_cannot_be_held_out(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = SETTINGS.get(NAME)
    task = setting.task
    monkeypatch.setattr(
        setting, "task", lambda self, *given: replace(task(self, *given), train=task(self, *given).train[:1])
    )
    with pytest.raises(UsageError, match="at least two training clips; use --select last"):
        plan(spec_of(plugin, "lora", select="val"))


def test_a_task_of_the_other_kind_is_refused(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SETTINGS.get(NAME), "kind", "classification")
    with pytest.raises(PluginError, match=r"returned pb\.RetrievalTask; its kind is 'classification'"):
        plan(spec_of(plugin, "lora"))


@pytest.mark.parametrize(
    ("samples", "texts", "owners", "says"),
    [
        ((Sample("a", 0), Sample("a", 1)), ("x", "y"), (0, 1), "a clip stands twice"),
        ((Sample("a", 1),), ("x",), (0,), "must be its place"),
        ((Sample("a", 0),), ("x", "y"), (0,), "owners must name one of its 1 clips for each of 2 texts"),
        ((Sample("a", 0),), ("x",), (1,), "owners must name"),
        ((Sample("a", 0), Sample("b", 1)), ("x",), (0,), "b has no text"),
    ],
)
def test_an_evaluation_that_cannot_be_scored_is_refused(samples: Any, texts: Any, owners: Any, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        pb.RetrievalEvaluation(name="test", samples=samples, texts=texts, owners=owners)
