"""The evaluations of a prepared trial, from its clips to its results. C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import accumulate

import numpy as np
import torch

from petl_bench.api.retrieval import BEST_EPOCHS, DIRECTIONS, Direction, RetrievalEvaluation, RetrievalTask
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import EvaluationResult, Progress, RetrievalResult, variant_evaluation
from petl_bench.errors import DataError, TrialError
from petl_bench.records.layout import EVALUATED
from petl_bench.records.retrieval import Reweighting
from petl_bench.training.evaluate import Scored, evaluation_result, reads_to_score, score, top_k_accuracy
from petl_bench.training.fit import ACCURACY
from petl_bench.training.hooks import variants_of
from petl_bench.training.kept import Kept, Listed, Part, nothing, state_sha256
from petl_bench.training.post_processing import QueryBank, banks_of, dual_softmax, qb_norm
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.refusals import no_training_clips
from petl_bench.training.retrieval import RECALL, SELECTED_BY, retrieval_result, scored_owners
from petl_bench.training.state import State, load_state, state_of
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
    variants = {**variants_of(prepared.method, prepared.model), **_best_epochs(prepared)}
    in_variants = [replace(each, name=variant_evaluation(each.name, name)) for name in variants for each in evaluations]
    banks = _banks(prepared, evaluations)
    of_banks = [bank for of_evaluation in banks.values() for bank in of_evaluation.values()]
    kept = _kept(prepared, "evaluation", [*evaluations, *in_variants, *of_banks])
    if variants:
        kept.state()  # of the model outside the variants
    tells = _tells(prepared, [*evaluations, *in_variants, *of_banks])
    scores.results = _score_each(prepared, evaluations, kept, tells)
    scores.variants = _post_processed(prepared, evaluations, banks, kept, tells)
    for name, context in variants.items():
        with context:
            found = _score_each(prepared, [each for each in in_variants if each.name.endswith(f"@{name}")], kept, tells)
        scores.variants[name] = {each.rpartition("@")[0]: result for each, result in found.items()}
    scores.earlier_s = kept.earlier_s
    return scores


def _best_epochs(prepared: PreparedTrial) -> dict[str, AbstractContextManager[None]]:
    """The epochs that are best on the test clips, by the names of `BEST_EPOCHS`; none unless they are asked for."""
    best = prepared.best
    return {
        name: _as_it_was(prepared, best[recall].state)
        for name, direction in BEST_EPOCHS.items()
        if (recall := f"{direction}_{RECALL}") in best
    }


@contextmanager
def _as_it_was(prepared: PreparedTrial, state: State) -> Iterator[None]:
    """The model with another state."""
    now = state_of(prepared.model, prepared.method)
    load_state(prepared.model, prepared.method, state)
    try:
        yield
    finally:
        load_state(prepared.model, prepared.method, now)


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


def selection_percentages(
    prepared: PreparedTrial, evaluation: Evaluation, epoch: int, keep_training: Callable[[], None]
) -> dict[str, float]:
    """By what epochs are chosen after an epoch (from 1), the same in every process; see `fit.Select`.

    Top-1 accuracy; of retrieval the recall at 1 of texts that search clips, and on the test clips of both directions.
    """
    kept = _kept(prepared, f"selection of epoch {epoch}", [evaluation], keep_training)
    scored = _score(prepared, evaluation, kept, _tells(prepared, [evaluation])[evaluation.name])
    prepared.model.train()
    on_test = prepared.options.select == "best-on-test"
    return prepared.team.share(_selected_by(evaluation, scored, on_test) if prepared.team.first else {})


def _selected_by(evaluation: Evaluation, scored: Scored, on_test: bool) -> dict[str, float]:
    if not isinstance(evaluation, RetrievalEvaluation):
        return {ACCURACY: top_k_accuracy(scored.labels, scored.scores, 1)}
    found = retrieval_result(evaluation, scored, [], [], {}).accuracies
    recalls = {f"{direction}_{RECALL}": found[f"{direction}_{RECALL}"] for direction in DIRECTIONS}
    return recalls if on_test else {ACCURACY: recalls[SELECTED_BY]}


def _banks(prepared: PreparedTrial, evaluations: Sequence[Evaluation]) -> dict[str, dict[Direction, QueryBank]]:
    """What must be scored besides for `qb_norm`, by evaluation; nothing unless it is asked for."""
    task = prepared.task
    if not isinstance(task, RetrievalTask) or "qb_norm" not in task.post_processing:
        return {}
    train = prepared.found(prepared.train)
    if not train:
        raise no_training_clips(prepared.dataset, len(prepared.train), prepared.manifest.root)
    return {each.name: banks_of(each, task, train) for each in evaluations if isinstance(each, RetrievalEvaluation)}


def _post_processed(
    prepared: PreparedTrial,
    evaluations: Sequence[Evaluation],
    banks: Mapping[str, Mapping[Direction, QueryBank]],
    kept: Kept,
    tells: Mapping[str, Tell],
) -> dict[str, dict[str, Result]]:
    """The evaluations with each kind of post-processing that is asked for, in the first process: by kind and name."""
    results: dict[str, dict[str, Result]] = {}
    for kind in getattr(prepared.task, "post_processing", ()):
        for evaluation in evaluations:
            scored = _score(prepared, evaluation, kept, tells[evaluation.name])  # which it was already
            of_bank = {
                direction: _score(prepared, bank, kept, tells[bank.name]).scores
                for direction, bank in banks.get(evaluation.name, {}).items()
                if kind == "qb_norm"
            }
            if prepared.team.first and isinstance(evaluation, RetrievalEvaluation):
                texts = np.flatnonzero(scored_owners(evaluation, scored) >= 0)
                scale = float(prepared.model.logit_scale)
                changed = qb_norm(of_bank, texts, scale) if of_bank else dual_softmax(scored.scores, texts)
                results.setdefault(kind, {})[evaluation.name] = _result(prepared, evaluation, scored, changed)
    return results


def _result(
    prepared: PreparedTrial,
    evaluation: Evaluation,
    scored: Scored,
    reweightings: Mapping[Direction, Reweighting] | None = None,
) -> Result:
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
        return retrieval_result(evaluation, scored, groups, missing, unreadable, reweightings)
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
            reads=reads_to_score(prepared.method, prepared.model),
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
