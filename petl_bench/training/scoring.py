"""The evaluations of a prepared trial, from its clips to its results. C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import torch

from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import EvaluationResult
from petl_bench.errors import DataError
from petl_bench.records.layout import EVALUATED
from petl_bench.training.evaluate import Scored, evaluation_result, score, top_k_accuracy
from petl_bench.training.kept import Kept, Listed, Part, nothing, state_sha256
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.state import state_of
from petl_bench.training.video import encode


def score_all(prepared: PreparedTrial) -> tuple[dict[str, EvaluationResult], float]:
    """Score every evaluation of the trial.

    Returns:
        The results by the names of the evaluations, in the first process alone; and the seconds that earlier attempts
        spent on them.

    Raises:
        DataError: No clip of an evaluation could be scored.
        TrialStopped: The trial was asked to stop, after what was scored was kept.
    """
    kept = _kept(prepared, "evaluation", prepared.task.evaluations)
    results = {}
    for evaluation in prepared.task.evaluations:
        scored = _score(prepared, evaluation, kept)
        if prepared.team.first:
            results[evaluation.name] = _result(prepared, evaluation, scored)
    return results, kept.earlier_s


def selection_accuracy(
    prepared: PreparedTrial, evaluation: Evaluation, epoch: int, keep_training: Callable[[], None]
) -> float:
    """Top-1 accuracy in percent after an epoch (from 1), the same in every process; see `fit.Select`."""
    kept = _kept(prepared, f"selection of epoch {epoch}", [evaluation], keep_training)
    scored = _score(prepared, evaluation, kept)
    prepared.model.train()
    return prepared.team.share(top_k_accuracy(scored.labels, scored.scores, 1) if prepared.team.first else 0.0)


def _result(prepared: PreparedTrial, evaluation: Evaluation, scored: Scored) -> EvaluationResult:
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
    return evaluation_result(evaluation, scored, prepared.groups(scored.clips), missing, unreadable)


def _kept(
    prepared: PreparedTrial, purpose: str, evaluations: Sequence[Evaluation], before: Callable[[], None] = nothing
) -> Kept:
    """Where scores of evaluations are kept, of the model as it is now."""
    return Kept(
        path=prepared.folder / EVALUATED,
        trial=prepared.trial.key,
        purpose=purpose,
        lists={
            each.name: Listed(prepared.found(each.samples), len(each.classes), each.classes) for each in evaluations
        },
        loader=prepared.loader,
        pace=prepared.pace,
        state=cache(lambda: state_sha256(state_of(prepared.model, prepared.method))),
        stop=prepared.stop,
        team=prepared.team,
        before=before,
    )


def _score(prepared: PreparedTrial, evaluation: Evaluation, kept: Kept) -> Scored:
    """The scores of one evaluation, put together from all processes; nothing in the others than the first one."""
    found = prepared.found(evaluation.samples)
    size, precision = prepared.options.eval_batch_size, prepared.options.precision

    def batches(start: int) -> Iterator[Part]:
        encoded = encode(
            prepared.model,
            prepared.loader.test_batches(found, size, start=start),
            to_input=prepared.loader.to_input,
            batch_size=size,
            precision=precision,
            device=prepared.device,
        )
        for batch in score(
            prepared.model,
            evaluation,
            prepared.encoded.of(evaluation.samples, encoded, start),
            prompts=prepared.dataset.prompts,
            precision=precision,
            device=prepared.device,
        ):
            yield Part(1, batch.rows, torch.from_numpy(batch.scores))

    whole = kept.go_through(evaluation.name, batches, prepared.progress("evaluating", found))
    prepared.share_findings()
    clips = [found[row] for row in whole.rows]
    scores = whole.values.reshape(len(clips), len(evaluation.classes)).numpy()
    return Scored(whole.rows, [each.clip for each in clips], [each.label for each in clips], scores)
