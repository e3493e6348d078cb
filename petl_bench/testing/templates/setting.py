"""Template setting: which clips train, which are tested, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import petl_bench as pb


@pb.register_setting("template_setting")
class TemplateSetting(pb.Setting):
    """Train on a few clips of every class, test on all test clips of the split among all classes.

    Say here which paper the protocol is from, and what you do differently.
    """

    display = "Template setting"  # what readers of tables and figures see
    metrics = ("top1", "top5")  # what summarise() returns
    # Training options of its own: training: ClassVar[Mapping[str, Any]] = {"epochs": 50}; see petl-bench show training

    draw: int = pb.hyper(4, "training clips per class, if --shots does not say", minimum=1)

    def cases(
        self,
        annotations: pb.Annotations,
        seeds: Sequence[int],
        splits: Sequence[str] | None,
        shots: Sequence[int] | None,
    ) -> list[pb.Case]:
        """What to run: one case for each split, number of shots and seed."""
        return [
            pb.Case(split, count, seed)
            for split in pb.chosen_splits(annotations, splits, default=["1"])
            for count in pb.chosen_shots(shots, default=[self.draw])
            for seed in seeds
        ]

    def task(self, annotations: pb.Annotations, case: pb.Case) -> pb.Task:
        """The clips that train, drawn from (split, shots, seed) alone, and the evaluations with their classes."""
        assert case.shots is not None
        pool = pb.training_list(annotations, case.split, "template_setting")
        train, note = pb.seeded_draw(pool, case.shots, f"template_setting/{case.split}/{case.shots}/{case.seed}")
        return pb.Task(
            train_classes=annotations.classes,
            train=train,
            evaluations=(pb.Evaluation("test", annotations.classes, annotations.test[int(case.split)]),),
            source=f"seeded draw of {case.shots} clips per class, seed {case.seed}{note}",
        )

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Metrics from {evaluation: {"top1": percent, "top5": percent}}; unequal classes add mean_class_top1."""
        return dict(accuracies["test"])
