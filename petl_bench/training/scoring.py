"""The evaluations of a prepared trial, from its clips to its results. C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import accumulate

import torch

from petl_bench.api.retrieval import RetrievalEvaluation
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import EvaluationResult, Progress, RetrievalResult, variant_evaluation
from petl_bench.errors import DataError, TrialError
from petl_bench.records.layout import EVALUATED
from petl_bench.training.evaluate import Scored, evaluation_result, score, top_k_accuracy
from petl_bench.training.hooks import variants_of
from petl_bench.training.kept import Kept, Listed, Part, nothing, state_sha256
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.retrieval import SELECTED_BY, retrieval_result
from petl_bench.training.state import state_of
from petl_bench.training.video import Remembered, encode

#: What one evaluation comes to.
Result = EvaluationResult | RetrievalResult
#: Is given how many clips of an evaluation are done.
Tell = Callable[[int], None]


@dataclass
class Scores:
    """What the evaluations of a trial gave, in the first process alone."""

    results: dict[str, Result] = field(default_factory=dict)  #: by evaluation
    variants: dict[str, dict[str, Result]] = field(default_factory=dict)  #: by variant and evaluation
    absent: dict[str, str] = field(default_factory=dict)  #: evaluation that the method cannot score -> the reason
    earlier_s: float = 0.0  #: seconds that earlier attempts spent on them


def score_all(prepared: PreparedTrial) -> Scores:
    """Score every evaluation of the trial, and again in each of the method's variants.

    Raises:
        DataError: No clip of an evaluation could be scored.
        TrialError: The method has scores for none of them.
        TrialStopped: The trial was asked to stop, after what was scored was kept.
    """
    scores = Scores(absent=_absent(prepared))
    evaluations = [each for each in prepared.task.evaluations if each.name not in scores.absent]
    if not evaluations:
        raise TrialError(f"{prepared.trial.title}: {next(iter(scores.absent.values()))}; nothing can be evaluated")
    variants = variants_of(prepared.method, prepared.model)
    in_variants = [replace(each, name=variant_evaluation(each.name, name)) for name in variants for each in evaluations]
    kept = _kept(prepared, "evaluation", [*evaluations, *in_variants])
    if variants:
        kept.state()  # of the model outside the variants
    tells = _tells(prepared, [*evaluations, *in_variants])
    scores.results = _score_each(prepared, evaluations, kept, tells)
    for name, context in variants.items():
        with context:
            found = _score_each(prepared, [each for each in in_variants if each.name.endswith(f"@{name}")], kept, tells)
        scores.variants[name] = {each.rpartition("@")[0]: result for each, result in found.items()}
    scores.earlier_s = kept.earlier_s
    return scores


def _absent(prepared: PreparedTrial) -> dict[str, str]:
    """The evaluations with classes that the method cannot score, each with the reason."""
    if prepared.method.novel != "none":
        return {}
    trained = set(prepared.method.task.classes)
    label = prepared.trial.method
    return {
        each.name: f"{label} has scores for the classes it was trained on alone"
        for each in prepared.task.evaluations
        if not trained.issuperset(each.classes)
    }


def _tells(prepared: PreparedTrial, evaluations: Sequence[Evaluation]) -> dict[str, Tell]:
    """For each evaluation a function that tells how many of the clips of all of them are done."""
    counts = [len(prepared.found(each.samples)) for each in evaluations]
    before = [0, *accumulate(counts)]
    return {
        each.name: partial(_tell, prepared, start, count, before[-1])
        for each, start, count in zip(evaluations, before, counts, strict=False)
    }


def _tell(prepared: PreparedTrial, before: int, count: int, steps: int, done: int) -> None:
    prepared.notify(Progress(stage="evaluating", step=before + min(done, count), steps=steps))


def _score_each(
    prepared: PreparedTrial, evaluations: Sequence[Evaluation], kept: Kept, tells: Mapping[str, Tell]
) -> dict[str, Result]:
    results = {}
    for evaluation in evaluations:
        scored = _score(prepared, evaluation, kept, tells[evaluation.name])
        if prepared.team.first:
            results[evaluation.name] = _result(prepared, evaluation, scored)
    return results


def selection_accuracy(
    prepared: PreparedTrial, evaluation: Evaluation, epoch: int, keep_training: Callable[[], None]
) -> float:
    """Top-1 accuracy in percent after an epoch (from 1), of retrieval the recall at 1 of texts that search clips; the
    same in every process; see `fit.Select`."""
    kept = _kept(prepared, f"selection of epoch {epoch}", [evaluation], keep_training)
    scored = _score(prepared, evaluation, kept, _tells(prepared, [evaluation])[evaluation.name])
    prepared.model.train()
    return prepared.team.share(_selected_by(evaluation, scored) if prepared.team.first else 0.0)


def _selected_by(evaluation: Evaluation, scored: Scored) -> float:
    if isinstance(evaluation, RetrievalEvaluation):
        return retrieval_result(evaluation, scored, [], [], {}).accuracies[SELECTED_BY]
    return top_k_accuracy(scored.labels, scored.scores, 1)


def reads_in_evaluation(prepared: PreparedTrial) -> tuple[str, ...]:
    """What is kept of a test clip's views beside features: what the method reads, and the clips themselves if the
    frozen model scores some classes and another video tower the others."""
    reads = prepared.method.reads
    again = prepared.method.novel == "frozen" and not prepared.model.untouched(prepared.model.video)
    return (*reads, "pixels") if again else reads


def _result(prepared: PreparedTrial, evaluation: Evaluation, scored: Scored) -> Result:
    missing = prepared.missing(evaluation.samples)
    # A clip that was scored is not unreadable, though it may have become so since.
    done = set(scored.rows)
    left = [sample.clip for row, sample in enumerate(prepared.found(evaluation.samples)) if row not in done]
    unreadable = prepared.unreadable(left)
    if not scored.clips:
        raise DataError(
            f"evaluation {evaluation.name!r} of {prepared.trial.dataset}: none of its {len(evaluation.samples)} clips "
            f"could be scored ({len(missing)} missing, {len(unreadable)} unreadable)"
        )
    groups = prepared.groups(scored.clips)
    if isinstance(evaluation, RetrievalEvaluation):
        return retrieval_result(evaluation, scored, groups, missing, unreadable)
    return evaluation_result(evaluation, scored, groups, missing, unreadable)


def _kept(
    prepared: PreparedTrial, purpose: str, evaluations: Sequence[Evaluation], before: Callable[[], None] = nothing
) -> Kept:
    """Where scores of evaluations are kept, of the model as it is now."""
    return Kept(
        path=prepared.folder / EVALUATED,
        trial=prepared.trial.key,
        purpose=purpose,
        lists={
            each.name: Listed(prepared.found(each.samples), len(each.candidates), each.candidates)
            for each in evaluations
        },
        loader=prepared.loader,
        pace=prepared.pace,
        state=cache(lambda: state_sha256(state_of(prepared.model, prepared.method))),
        stop=prepared.stop,
        team=prepared.team,
        before=before,
    )


def _score(prepared: PreparedTrial, evaluation: Evaluation, kept: Kept, tell: Tell) -> Scored:
    """The scores of one evaluation, put together from all processes; nothing in the others than the first one."""
    found = prepared.found(evaluation.samples)
    size, precision = prepared.options.eval_batch_size, prepared.options.precision
    # Asked anew: a variant, or what a method finishes with, may have touched the video tower.
    memory = prepared.encoded if prepared.keeps_video else Remembered(keep=False)

    def batches(start: int) -> Iterator[Part]:
        encoded = encode(
            prepared.model,
            prepared.loader.test_batches(found, size, start=start),
            to_input=prepared.loader.to_input,
            batch_size=size,
            precision=precision,
            device=prepared.device,
            reads=reads_in_evaluation(prepared),
        )
        for batch in score(
            prepared.model,
            evaluation,
            memory.of(evaluation.samples, encoded, start),
            method=prepared.method,
            prompts=prepared.dataset.prompts,
            precision=precision,
            device=prepared.device,
            train_classes=prepared.method.task.classes,
            seed=prepared.trial.seed,
        ):
            yield Part(1, batch.rows, torch.from_numpy(batch.scores))

    whole = kept.go_through(evaluation.name, batches, tell)
    prepared.share_findings()
    clips = [found[row] for row in whole.rows]
    scores = whole.values.reshape(len(clips), len(evaluation.candidates)).numpy()
    return Scored(whole.rows, [each.clip for each in clips], [each.label for each in clips], scores)
