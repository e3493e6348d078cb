"""What every setting promises, tried on made-up annotations: six classes, two splits, no clip files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.retrieval import RETRIEVAL_METRICS, RetrievalEvaluation, RetrievalTask
from petl_bench.api.setting import Case, Setting, Task, came_with_mean_class
from petl_bench.errors import UsageError
from petl_bench.testing.checks import Skipped, Subject, documented, paper, require, training_values

CLASSES = ("archery", "bowling", "climbing", "diving", "fencing", "golf")
SEEDS = (0, 1)
_TRAIN, _TEST = 20, 4
#: What a setting summarises of one evaluation, by the kind of its tasks.
_ACCURACIES: Mapping[str, Mapping[str, float]] = {
    "classification": {"top1": 50.0, "top5": 75.0, "mean_class_top1": 40.0},
    "retrieval": dict.fromkeys(RETRIEVAL_METRICS, 50.0),
}


def made_up_annotations(dataset: str = "made_up") -> Annotations:
    """20 training and 4 test clips of every class in each of two splits, which share clips in other roles.

    Every clip has captions: one of its own, and all but some of each class one that clips of other classes have too.
    """
    clips = {name: [f"{name}/{number:02}.mp4" for number in range(_TRAIN + _TEST)] for name in CLASSES}

    def samples(which: slice) -> tuple[Sample, ...]:
        return tuple(Sample(clip, label) for label, name in enumerate(CLASSES) for clip in clips[name][which])

    train = {1: samples(slice(_TRAIN)), 2: samples(slice(_TEST, None))}
    test = {1: samples(slice(_TRAIN, None)), 2: samples(slice(_TEST))}
    captions = {
        clip: (f"take {number} of {name}", f"take {number}")[: 1 + bool(number % 3)]
        for name, own in clips.items()
        for number, clip in enumerate(own)
    }
    return Annotations(classes=CLASSES, dataset=dataset, train=train, test=test, captions=captions)


class SettingSubject(Subject):
    """A setting under check, with its cases on made-up annotations and, if it adapts elsewhere, on the source's."""

    @cached_property
    def setting(self) -> Setting:
        """The setting with its options at their defaults. Raises Skipped for one that has a command of its own."""
        if self.plugin.command:
            raise Skipped(f"it has a command of its own: {self.plugin.command}")
        found: Setting = self.create()
        return found

    @cached_property
    def cases(self) -> list[tuple[str, Case]]:
        """Every case that it makes for two seeds, with the name of its data set; then those that these start from."""
        names = dict.fromkeys(("made_up", self.setting.source_dataset or "made_up"))
        found = [(name, case) for name in names for case in self.cases_on(name)]
        starts = [(list(names)[-1], start) for _, case in found if (start := self.setting.source_case(case))]
        return list(dict.fromkeys([*found, *starts]))

    def cases_on(self, dataset: str) -> list[Case]:
        """The cases on made-up annotations of a data set of that name."""
        return self.setting.cases(made_up_annotations(dataset), SEEDS, None, None)

    @cached_property
    def tasks(self) -> dict[tuple[str, Case], Task]:
        """The task of every case."""
        return {(name, case): self.setting.task(made_up_annotations(name), case) for name, case in self.cases}

    def lists(self) -> Iterator[tuple[str, Case, tuple[str, ...], tuple[Sample, ...]]]:
        """Every list of every task: what it is, its case, the classes that its labels index, and its samples.

        In retrieval, the labels of pairs that train index texts, and those of an evaluation its clips.
        """
        for (_, case), task in self.tasks.items():
            yield "train", case, task.train_texts if isinstance(task, RetrievalTask) else task.train_classes, task.train
            for evaluation in task.evaluations:
                clips = tuple(sample.clip for sample in evaluation.samples)
                names = clips if isinstance(evaluation, RetrievalEvaluation) else evaluation.classes
                yield evaluation.name, case, names, evaluation.samples


SUBJECT = SettingSubject


def makes_cases(subject: SettingSubject) -> None:
    """cases() gives different cases, one or more for each seed, on splits that the data set has."""
    cases = subject.cases_on("made_up")
    require(
        {case.seed for case in cases} == set(SEEDS), f"for the seeds {SEEDS} it makes {len(cases)} cases: {cases[:2]}"
    )
    require(len(set(cases)) == len(cases), "some of its cases are equal")
    for case in cases:
        require(case.split in ("1", "2"), f"the data set has the splits 1 and 2, not {case.split!r} (a text)")


def cases_are_those_asked_for(subject: SettingSubject) -> None:
    """--splits and --shots limit the cases, or are refused with UsageError."""
    for splits, shots in ((["2"], None), (["1", "2"], None), (None, [3]), (["no such split"], None)):
        try:
            cases = subject.setting.cases(made_up_annotations(), SEEDS, splits, shots)
        except UsageError:
            require(splits != ["1", "2"], "it refuses the data set's own splits")
            continue
        wrong = [
            case
            for case in cases
            if case.split not in (splits or ("1", "2")) or case.shots not in (shots or (case.shots,))
        ]
        require(
            not wrong and bool(cases), f"asked for splits {splits} and shots {shots}, it makes {wrong[:2] or 'no case'}"
        )


def tasks_are_deterministic(subject: SettingSubject) -> None:
    """The task of a case is the same every time: it depends on the annotations and the case alone."""
    for (name, case), task in subject.tasks.items():
        again = subject.create().task(made_up_annotations(name), case)
        require(task == again, f"{case}: made twice, its task differs; draw with pb.seeded_draw, or a seeded generator")


def labels_are_in_range(subject: SettingSubject) -> None:
    """Labels index into the classes of their list; classes are different; evaluations have clips and a name each."""
    for name, case, classes, samples in subject.lists():
        require(len(set(classes)) == len(classes), f"{case}, {name}: a class comes twice")
        wrong = [sample for sample in samples if sample.label not in range(len(classes))]
        require(not wrong, f"{case}, {name}: {len(classes)} classes, and {wrong[:2]}")
        require(name == "train" or bool(samples), f"{case}: the evaluation {name} has no clips")
    for (_, case), task in subject.tasks.items():
        names = [evaluation.name for evaluation in task.evaluations]
        require(bool(names) and len(set(names)) == len(names), f"{case}: evaluations are named {names}")


def tasks_are_of_the_declared_kind(subject: SettingSubject) -> None:
    """task() gives pb.Task; pb.RetrievalTask, with evaluations of that kind, if kind_of(case) is retrieval."""
    for (_, case), task in subject.tasks.items():
        is_retrieval = [isinstance(task, RetrievalTask)]
        is_retrieval += [isinstance(each, RetrievalEvaluation) for each in task.evaluations]
        expected = subject.setting.kind_of(case)
        require(
            set(is_retrieval) == {expected == "retrieval"},
            f"{case}: kind is {expected!r}, and task() gives {type(task).__name__} with "
            f"{', '.join(type(each).__name__ for each in task.evaluations)}",
        )


def clips_keep_their_texts(subject: SettingSubject) -> None:
    """In retrieval, every text that a clip has in the task is a caption of it in the data set."""
    if subject.plugin.kind != "retrieval":
        raise Skipped("it is no setting of retrieval")
    own = made_up_annotations().captions
    for (_, case), task in subject.tasks.items():
        assert isinstance(task, RetrievalTask)
        pairs = [(sample.clip, task.train_texts[sample.label]) for sample in task.train]
        for evaluation in task.evaluations:
            clips = [sample.clip for sample in evaluation.samples]
            pairs += zip((clips[owner] for owner in evaluation.owners), evaluation.texts, strict=True)
        wrong = [(clip, text) for clip, text in pairs if text not in own.get(clip, ())]
        require(not wrong, f"{case}: not a clip of the data set with its caption: {wrong[:2]}")


def clips_keep_their_class(subject: SettingSubject) -> None:
    """Every clip is one of the data set's lists, and has the class there that it has in the task."""
    if subject.plugin.kind == "retrieval":
        raise Skipped("retrieval has no classes")
    own = {
        sample.clip: CLASSES[sample.label]
        for samples in (made_up_annotations().train[1], made_up_annotations().test[1])
        for sample in samples
    }
    for name, case, classes, samples in subject.lists():
        for sample in samples:
            known = own.get(sample.clip)
            require(known is not None, f"{case}, {name}: {sample.clip} is in none of the data set's lists")
            given = classes[sample.label]
            require(known == given, f"{case}, {name}: {sample.clip} is of class {known!r}, and is labelled {given!r}")


def training_and_test_clips_are_disjoint(subject: SettingSubject) -> None:
    """No clip of a task trains and is evaluated; nor one that trains the adapter that a task starts from."""
    for (name, case), task in subject.tasks.items():
        trained = {sample.clip for sample in _training(subject, name, case, task).train}
        for evaluation in task.evaluations:
            both = sorted(trained & {sample.clip for sample in evaluation.samples})
            require(not both, f"{case}, {evaluation.name}: {len(both)} of its clips train too, such as {both[:2]}")


def novel_classes_do_not_train(subject: SettingSubject) -> None:
    """Evaluations called novel, and those within a data set that start from another case's adapter, have classes that
    do not train."""
    promised = 0
    for (name, case), task in subject.tasks.items():
        training = _training(subject, name, case, task)
        for evaluation in task.evaluations:
            if evaluation.name.startswith("novel") or training is not task:
                promised += 1
                both = sorted(set(training.train_classes) & set(evaluation.classes))
                require(not both, f"{case}, {evaluation.name}: these classes train too: {both[:3]}")
    if not promised:
        raise Skipped("no evaluation promises classes that do not train")


def metrics_are_declared(subject: SettingSubject) -> None:
    """`metrics` names what summarise() returns, no more and no less (metrics of mean-class accuracies aside)."""
    declared = list(subject.plugin.metrics)
    require(bool(declared) and len(set(declared)) == len(declared), f"metrics = {declared}: name each metric once")
    found: set[str] = set()
    for (_, case), task in subject.tasks.items():
        of_each = _ACCURACIES[subject.plugin.kind]
        metrics = subject.setting.summarise({each.name: of_each for each in task.evaluations})
        require(bool(metrics), f"{case}: summarise() gives no metric")
        found |= {name for name in metrics if not came_with_mean_class(name)}
    require(found == set(declared), f"metrics = {declared}, and summarise() gives {sorted(found)}")


def _training(subject: SettingSubject, dataset: str, case: Case, task: Task) -> Task:
    """The task whose training an evaluation of this one sees: its own, or its source's on the same data set."""
    start = subject.setting.source_case(case)
    if start is None or dataset != subject.setting.source_dataset:
        return task
    return subject.setting.task(made_up_annotations(dataset), start)


#: In this order; if there are no cases, the others say nothing.
CHECKS = (
    makes_cases,
    documented,
    paper,
    training_values,
    cases_are_those_asked_for,
    tasks_are_of_the_declared_kind,
    tasks_are_deterministic,
    labels_are_in_range,
    clips_keep_their_class,
    clips_keep_their_texts,
    training_and_test_clips_are_disjoint,
    novel_classes_do_not_train,
    metrics_are_declared,
)
