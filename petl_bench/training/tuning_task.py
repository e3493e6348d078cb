"""The training clips of a task taken apart, to tune on them: some train, the others evaluate; no test clip is read.

Without torch: a plan makes the same tasks as the trials.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from petl_bench.api.dataset import Sample
from petl_bench.api.retrieval import RetrievalTask, retrieval_evaluation
from petl_bench.api.setting import Evaluation, Task
from petl_bench.api.splits import relabel
from petl_bench.api.tuning import split_partition
from petl_bench.errors import UsageError

#: The evaluation of held-out clips, and those of the halves of the training classes.
HELD_OUT, BASE, NOVEL = "val", "val_base", "val_novel"
#: Two classes in each half, so that there is something to tell apart.
FEWEST_CLASSES = 4


def tuning_task(task: Task, tuning: str, seed: int, groups: Sequence[str], fraction: float) -> Task:
    """The task of a trial on a partition of the training clips of another task.

    Clips of one group, such as those cut from one recording, are never on both sides of a class, unless all clips of
    that class are of one group.

    Args:
        task: Whose training clips are taken apart; its evaluations are dropped.
        tuning: The partition and its draw, e.g. "pseudo-halves/0". `held-out`: a part of every class is held out, in
            retrieval of the groups. `pseudo-halves`: the classes are drawn into a pseudo-base half (the larger one)
            and a pseudo-novel half; the clips of the former train, save a part of every class that is held out, and
            those of the latter are only evaluated.
        seed: Of the trial; the draw depends on it.
        groups: The group of each training sample's clip (`Dataset.group_of`).
        fraction: The part that is held out.

    Raises:
        UsageError: The task has too few training clips or classes for it.
    """
    partition, draw = split_partition(tuning)
    key = f"tuning/{partition}/{draw}/{seed}"
    pairs = list(zip(task.train, groups, strict=True))
    if isinstance(task, RetrievalTask):
        if partition != "held-out":
            raise UsageError("retrieval has no classes that could be pseudo-novel: --objective held-out")
        return _retrieval(task, pairs, key, fraction)
    if partition == "held-out":
        train, held = _held_out(pairs, key, fraction)
        evaluation = Evaluation(HELD_OUT, task.train_classes, tuple(held))
        return Task(task.train_classes, tuple(train), (evaluation,), f"{task.source}; {len(held)} of them held out")
    return _halves(task, pairs, key, fraction)


def _halves(task: Task, pairs: Sequence[tuple[Sample, str]], key: str, fraction: float) -> Task:
    count = len(task.train_classes)
    if count < FEWEST_CLASSES:
        raise UsageError(
            f"{count} training classes are too few for a pseudo-base and a pseudo-novel half of at least two each: "
            "--objective held-out"
        )
    drawn = random.Random(key).sample(range(count), count)
    base, novel = sorted(drawn[count // 2 :]), sorted(drawn[: count // 2])
    train, held = _held_out([pair for pair in pairs if pair[0].label in base], key, fraction)
    unseen = [sample for sample, _ in pairs if sample.label in novel]
    base_names = tuple(task.train_classes[label] for label in base)
    novel_names = tuple(task.train_classes[label] for label in novel)
    return Task(
        train_classes=base_names,
        train=relabel(train, base),
        evaluations=(
            Evaluation(BASE, base_names, relabel(held, base)),
            Evaluation(NOVEL, novel_names, relabel(unseen, novel)),
        ),
        source=f"{task.source}; of {len(base)} of the {count} training classes, {len(held)} of these clips held out",
    )


def _retrieval(task: RetrievalTask, pairs: Sequence[tuple[Sample, str]], key: str, fraction: float) -> Task:
    distinct = sorted({group for _, group in pairs})
    if len(distinct) < 2:
        raise UsageError("nothing can be held out: all training clips are of one source video")
    held = set(random.Random(key).sample(distinct, _part(len(distinct), fraction)))
    captions: dict[str, list[str]] = defaultdict(list)
    for sample, group in pairs:
        if group in held:
            captions[sample.clip].append(task.train_texts[sample.label])
    return RetrievalTask(
        train=tuple(sample for sample, group in pairs if group not in held),
        train_texts=task.train_texts,
        evaluations=(retrieval_evaluation(HELD_OUT, captions),),
        source=f"{task.source}; {len(captions)} of these clips held out",
    )


def _held_out(pairs: Sequence[tuple[Sample, str]], key: str, fraction: float) -> tuple[list[Sample], list[Sample]]:
    """What trains, and a part of every class that is held out: whole groups, or clips of a class of one group."""
    by_class: dict[int, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample, group in pairs:
        by_class[sample.label][group].append(sample)
    train: list[Sample] = []
    held: list[Sample] = []
    for label, by_group in sorted(by_class.items()):
        units = list(by_group.values())
        if len(units) == 1:
            units = [[sample] for sample in units[0]]
        clips = sum(map(len, units))
        wanted = _part(clips, fraction) if len(units) > 1 else 0
        for unit in random.Random(f"{key}/{label}").sample(units, len(units)):
            (held if wanted > 0 and clips > len(unit) else train).extend(unit)
            wanted, clips = wanted - len(unit), clips - len(unit)
    if not held:
        raise UsageError("nothing can be held out: every training class has a single clip")
    return train, held


def _part(count: int, fraction: float) -> int:
    return min(count - 1, max(1, round(fraction * count)))
