"""Base-to-novel generalisation: train on half of the classes with few shots, evaluate on both halves."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import petl_bench as pb
from petl_bench.dataset import Annotations, HalfSplit, Sample
from petl_bench.errors import UsageError
from petl_bench.setting import Case, Evaluation, Setting, Task
from petl_bench.statistics import harmonic_mean


@pb.register_setting("base2novel")
class BaseToNovel(Setting):
    """Base-to-novel generalisation: few-shot training on the base classes, evaluation on base and novel classes.

    Protocol (ViFi-CLIP, CVPR 2023; used by MSTA, CVPR 2025): 16 training clips of each base class; the base test clips
    are classified among the base classes, the novel test clips among the novel classes; harmonic mean of the two
    accuracies. Three published draws (s1, s2, s3) of the training clips are the three seeds 0, 1, 2; a further seed,
    another number of shots, or a data set without published draws gets a seeded draw, and the record says so.

    Classes: the published lists where the data set has them. Otherwise the published rule: classes ranked by their
    number of training clips (ties by label), the more frequent half is base (the larger half of an odd number).

    What published code did differently: a few test clips were never scored (incomplete last batches were dropped), and
    MSTA's checkpoints were selected on the test clips of the base classes. Here every clip is scored and the last epoch
    counts, unless `--select` says otherwise.
    """

    version = 1
    metrics = ("base_top1", "novel_top1", "harmonic_mean")
    paper = pb.Paper(
        title="Fine-tuned CLIP Models are Efficient Video Learners",
        venue="CVPR 2023",
        url="https://arxiv.org/abs/2212.03640",
        bibtex="""@inproceedings{rasheed2023vificlip,
  title     = {Fine-tuned {CLIP} Models are Efficient Video Learners},
  author    = {Rasheed, Hanoona and Khattak, Muhammad Uzair and Maaz, Muhammad and Khan, Salman and
               Khan, Fahad Shahbaz},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
        licence="no licence file",
    )

    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """One case per split, number of shots (16 by default) and seed."""
        known = sorted(map(str, annotations.test))
        chosen = list(splits or ["1"])
        for split in chosen:
            if split not in known:
                raise UsageError(f"--splits {split}: this data set has test splits {', '.join(known) or 'none'}")
        for count in shots or ():
            if count < 1:
                raise UsageError(f"--shots {count}: must be at least 1")
        return [Case(split, count, seed) for split in chosen for count in shots or [16] for seed in seeds]

    def task(self, annotations: Annotations, case: Case) -> Task:
        """Training clips of the base classes, and the two evaluations. Raises UsageError where there are too few
        classes."""
        halves = annotations.base_to_novel if case.split == "1" else None
        halves = halves or _by_frequency(annotations, int(case.split))
        if not halves.base or not halves.novel:
            raise UsageError("base2novel needs at least one base and one novel class")
        train, source = _draw(halves, case)
        base_names = tuple(annotations.classes[label] for label in halves.base)
        novel_names = tuple(annotations.classes[label] for label in halves.novel)
        return Task(
            train_classes=base_names,
            train=_relabel(train, halves.base),
            evaluations=(
                Evaluation("base", base_names, _relabel(halves.base_test, halves.base)),
                Evaluation("novel", novel_names, _relabel(halves.novel_test, halves.novel)),
            ),
            source=f"{source}; classes: {halves.source}",
        )

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """`base_top1`, `novel_top1` and their `harmonic_mean`, in percent."""
        base, novel = accuracies["base"]["top1"], accuracies["novel"]["top1"]
        return {"base_top1": base, "novel_top1": novel, "harmonic_mean": float(harmonic_mean(base, novel))}


def _by_frequency(annotations: Annotations, split: int) -> HalfSplit:
    """The published rule for a data set without published halves."""
    train, test = annotations.train.get(split, ()), annotations.test[split]
    if not train:
        raise UsageError(f"base2novel needs a training list of split {split}, and this data set has none")
    counts = Counter(sample.label for sample in train)
    ranked = sorted(range(len(annotations.classes)), key=lambda label: (counts[label], label))
    novel, base = tuple(ranked[: len(ranked) // 2]), tuple(ranked[len(ranked) // 2 :])
    base_set = set(base)
    return HalfSplit(
        base=base,
        novel=novel,
        base_train=tuple(sample for sample in train if sample.label in base_set),
        base_test=tuple(sample for sample in test if sample.label in base_set),
        novel_test=tuple(sample for sample in test if sample.label not in base_set),
        draws={},
        source=f"by frequency in the training list of split {split}",
    )


def _draw(halves: HalfSplit, case: Case) -> tuple[tuple[Sample, ...], str]:
    """The few-shot training samples: the published draw of this seed, or a seeded one."""
    published = halves.draws.get(case.seed, ())
    if published and set(Counter(sample.label for sample in published).values()) == {case.shots}:
        return tuple(published), f"published draw {case.seed + 1}"
    if not halves.base_train:
        raise UsageError(
            f"base2novel: no published draw of {case.shots} shots for seed {case.seed} "
            f"(published: seeds {', '.join(map(str, sorted(halves.draws))) or 'none'}), "
            "and no base training list to draw from"
        )
    return _seeded_draw(halves.base_train, case)


def _seeded_draw(pool: Sequence[Sample], case: Case) -> tuple[tuple[Sample, ...], str]:
    assert case.shots is not None
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(pool):
        by_class[sample.label].append(sample)
    chosen: list[Sample] = []
    for label, samples in sorted(by_class.items()):
        rng = random.Random(f"base2novel/{case.split}/{case.shots}/{case.seed}/{label}")
        chosen += sorted(rng.sample(samples, min(case.shots, len(samples))))
    short = sum(len(samples) < case.shots for samples in by_class.values())
    note = f" ({short} classes have fewer clips)" if short else ""
    return tuple(chosen), f"seeded draw of {case.shots} shots, seed {case.seed}{note}"


def _relabel(samples: Sequence[Sample], classes: Sequence[int]) -> tuple[Sample, ...]:
    position = {label: index for index, label in enumerate(classes)}
    return tuple(Sample(sample.clip, position[sample.label]) for sample in samples if sample.label in position)
