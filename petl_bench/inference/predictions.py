"""Labelling videos with an adapted model. N videos, C classes.

Probabilities equal those of the trial's own evaluation to the bit if the videos come in the same order, in batches of
the same size, with the same classes, on the same device with as many threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from petl_bench.api.prompts import Prompts, resolved, split_templates
from petl_bench.errors import UsageError
from petl_bench.inference.model import AdaptedModel, refuse_unknown_classes
from petl_bench.inference.subject import Subject
from petl_bench.inference.videos import Videos, near_misses, none_readable
from petl_bench.system.texts import shortened
from petl_bench.training.hooks import overrides
from petl_bench.training.seeding import seed_everything
from petl_bench.training.text import class_prompts, prompt_notes

#: Near misses of class names that are told one by one, and letters of a text in a note.
_NAMED, _LETTERS = 10, 80

#: What videos have: probabilities float32 [C], or the reason why they cannot be read.
Outcomes = dict[str, "np.ndarray | str"]


@dataclass
class Predictions:
    """The labelled videos, in their order, and those that cannot be read.

    Attributes:
        model: Method, backbone and trial, in words.
        trial: The key of the trial; "" if it is not known.
        classes: Names of the C classes.
        prompts: The texts of each class.
        probabilities: float32 [C] of each readable video, by its name.
        unreadable: Why the others cannot be read.
    """

    model: str
    trial: str
    classes: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, outcomes: Outcomes) -> None:
        """Take in what a batch of videos has."""
        for name, outcome in outcomes.items():
            if isinstance(outcome, str):
                self.unreadable[name] = outcome
            else:
                self.probabilities[name] = outcome

    def best(self, name: str, count: int) -> list[tuple[str, float]]:
        """The most probable classes of a video, the best one first; of equal ones the first class comes first."""
        values = self.probabilities[name]
        return [(self.classes[place], float(values[place])) for place in best_places(values, count)]

    def by_class(self) -> dict[str, list[str]]:
        """The videos whose best class it is, the most probable first; classes with most videos first."""
        found: dict[str, list[tuple[float, str]]] = {}
        for name in self.probabilities:
            ((label, probability),) = self.best(name, 1)
            found.setdefault(label, []).append((probability, name))
        groups = sorted(found.items(), key=lambda item: (-len(item[1]), self.classes.index(item[0])))
        return {label: [name for _, name in sorted(rows, key=lambda row: -row[0])] for label, rows in groups}


def best_places(probabilities: np.ndarray, count: int) -> list[int]:
    """The places of the highest probabilities [C], the highest first; of equal ones the first place comes first."""
    places: list[int] = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return places


@dataclass(frozen=True)
class Question:
    """What videos are labelled with: classes, and the templates that their names are put into."""

    classes: tuple[str, ...]
    prompts: Prompts
    notes: tuple[str, ...]


def question(subject: Subject, classes: Sequence[str] | None, template: str | None) -> Question:
    """The classes and prompts that were asked for, by default those of the subject's trial.

    Args:
        subject: Whose method has the scores.
        classes: Names of classes; None: those that its trial evaluated.
        template: A text with `{}` for the name, several with `|` between, or `@FILE`; None: those of its trial.

    Raises:
        UsageError: The method has no scores for a class, or reads no prompts; or there are no classes.
    """
    method = subject.method
    notes = []
    if classes is None:
        chosen = subject.classes if method.novel != "none" else subject.trained_classes
        if not chosen:
            raise UsageError(f"--classes: say which ones; {subject.title} was trained on texts, and has no classes")
        notes.append(f"no --classes: the {len(chosen)} classes of its trial: {shortened(', '.join(chosen), 200)}")
    else:
        chosen = tuple(classes)
        known = tuple(dict.fromkeys([*subject.classes, *subject.trained_classes]))
        refuse_unknown_classes(method, chosen)
        notes += _near_notes(near_misses(chosen, known))
    if template is not None and (overrides(method, "prompts") or method.novel == "none"):
        raise UsageError(f"--template: {method.name} does not read it; leave it out")
    given = None if template is None else split_templates(resolved(template, "--template"))
    prompts = subject.prompts if given is None else replace(subject.prompts, templates=given)
    if not subject.classes:
        notes.append(f"trained on texts of videos; the names of classes are put into prompts: {prompts}")
    return Question(chosen, prompts, tuple(notes))


def _near_notes(near: dict[str, str]) -> list[str]:
    shown = [f"{name!r} is taken as it is; the trial has a class {trained!r}" for name, trained in near.items()]
    more = [f"{len(shown) - _NAMED} more names are nearly those of a class of the trial"]
    return [f"--classes: {note}" for note in shown[:_NAMED] + more * (len(shown) > _NAMED)]


class Labeller:
    """An adapted model with classes to label videos with."""

    def __init__(self, subject: Subject, asked: Question, device: str = "auto", batch_size: int | None = None) -> None:
        """Load the model.

        Args:
            subject: What to load.
            asked: Of `question`, for the same subject.
            device: auto, cpu or cuda.
            batch_size: Views in one forward pass; None: as in its trial's evaluation.

        Raises:
            WeightsError: The weights or the adapter do not fit.
            TrialError: The device is not there.
            UsageError: The text tower has no words for a name.
        """
        if batch_size is not None:
            subject = replace(subject, options=replace(subject.options, eval_batch_size=batch_size))
        seed_everything(subject.seed)  # deterministic algorithms, as in a trial
        self.model = AdaptedModel(subject, device)
        self._asked = asked
        self.model.refuse_wordless(asked.classes)
        self._texts = class_prompts(subject.method, asked.classes, asked.prompts)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the model and of the prompts, in words."""
        notes = [*self.model.notes, *self._asked.notes]
        if self.model.subject.method.novel == "none":
            return notes  # it reads no prompts
        notes += prompt_notes(self.model.model, self._texts)
        texts = (text for of_class in self._texts for text in of_class)
        for text, read in ((text, self.model.read_of(text)) for text in texts):
            if read is not None:
                notes.append(f"the first that was cut: {shortened(text, _LETTERS)!r}; what is read: {read!r}")
                break
        return notes

    def nothing_yet(self) -> Predictions:
        """Predictions without videos."""
        subject = self.model.subject
        prompts = tuple(map(tuple, self._texts))
        return Predictions(subject.title, subject.trial.key if subject.trial else "", self._asked.classes, prompts)

    def outcomes(self, videos: Videos, workers: int) -> Iterator[Outcomes]:
        """What videos have, batch by batch, in their order: probabilities float32 [C], or why they cannot be read.

        Args:
            videos: Of `videos_of`.
            workers: Processes that decode; 0: this one.

        Raises:
            DataError: None of them can be read.
            TrialError: A score is not finite.
        """
        order = {name: place for place, name in enumerate(videos.paths)}
        first, readable = dict(videos.unreadable), False
        with _threads(self.model.subject.options.threads):
            scored = self.model.probabilities(
                videos.paths, self._asked.classes, prompts=self._asked.prompts, workers=workers
            )
            for batch, reasons in scored:
                found: Outcomes = {**dict(zip(batch.clips, batch.scores, strict=True)), **reasons}
                readable = readable or bool(batch.clips)
                first = first or reasons
                yield dict(sorted(found.items(), key=lambda item: order[item[0]]))
        if not readable:
            name, reason = next(iter(first.items()))
            count = len(videos.paths) + len(videos.unreadable)
            raise none_readable(count, name, reason)
        if videos.unreadable:
            yield dict(videos.unreadable)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch's CPU threads as the trial set them, for they can change the last bits."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
