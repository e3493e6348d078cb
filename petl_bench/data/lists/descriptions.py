"""Descriptions of classes for the consistency constraint of MSTA: spatial and temporal sentences, N of each per class.

They come from files (description_files.py), from the data set itself, or, so that the method always runs, from
templates that only rephrase the class name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from petl_bench.api.dataset import Annotations, Dataset
from petl_bench.api.method import Method
from petl_bench.api.setting import Task
from petl_bench.api.trial import canonical_json
from petl_bench.data.lists.description_checks import irregularities, readable
from petl_bench.data.lists.description_files import KINDS, read_description_files
from petl_bench.errors import DataError

#: Instead of a path: sentences from the class names, also for a data set that has its own.
TEMPLATES = "templates"
#: Rephrasings of a class name, `{}`; they say nothing that the name does not say.
_TEMPLATES = {
    "spatial": (
        "a video showing the people and objects of {}.",
        "a video showing the place of {}.",
        "a video with what {} looks like.",
        "a video showing the body and hands during {}.",
        "a video with the objects used in {}.",
        "a video showing the scene around {}.",
        "a still picture taken from {}.",
        "a close view of {}.",
    ),
    "temporal": (
        "a video of how {} begins and how it ends.",
        "a video of the movement in {}.",
        "a video of the steps of {} one after another.",
        "a video of {} from the first moment to the last.",
        "a video of what changes over time in {}.",
        "a video of the speed and direction of {}.",
        "a video of what happens before and after {}.",
        "a video of {} going on.",
    ),
}


@dataclass(frozen=True)
class Descriptions:
    """Sentences by kind and class, of the kinds asked for. `notes`: irregularities; `files`: name to sha256.

    `from_templates`: they were made from the class names alone.
    """

    sentences: Mapping[str, Mapping[str, list[str]]]
    source: str
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    from_templates: bool = False

    @property
    def spatial(self) -> Mapping[str, list[str]]:
        """Spatial sentences by class; nothing if they were not asked for."""
        return self.sentences.get("spatial", {})

    @property
    def temporal(self) -> Mapping[str, list[str]]:
        """Temporal sentences by class; nothing if they were not asked for."""
        return self.sentences.get("temporal", {})

    @property
    def sha256(self) -> str:
        """Hash of every sentence, by kind and class; part of the key of a trial that reads them."""
        return hashlib.sha256(canonical_json(self.sentences).encode()).hexdigest()


def described(method: Method, dataset: Dataset, task: Task, annotations: Annotations) -> Descriptions | None:
    """The descriptions of the training classes that a method's loss reads; None if it reads none."""
    if method.description_count == 0 or not task.train_classes:
        return None
    path = getattr(method, "descriptions", None)
    kinds, count = method.description_kinds_read, method.description_count
    return descriptions_for(dataset, task.train_classes, count, path, annotations.classes, kinds)


def descriptions_for(
    dataset: Dataset,
    classes: Sequence[str],
    count: int,
    path: str | Path | None = None,
    all_classes: Sequence[str] | None = None,
    kinds: Sequence[str] = KINDS,
) -> Descriptions:
    """The first `count` sentences of every kind and class: from `path`, else the data set's own, else templates.

    `path` is a file keyed by class (`{"Archery": {"spatial": [...], "temporal": [...]}}`); a pair of files of one kind
    each, with `{kind}` if their names differ (`2_{kind}_description_ucf_101_base.json`; s and t, or spatio and
    temporal); or a folder of published files, of which those for this data set, these classes and this count are
    taken. Files keyed by index must have as many entries as `classes`, in their order, or as `all_classes`. Only the
    files of `kinds` are needed; if that is one kind, `path` may also be its file. The word `templates` instead of a
    path passes over the data set's own.

    Raises DataError, naming file and class, if the files do not fit, or if no class has `count` sentences.
    """
    if path is not None and str(path) != TEMPLATES:
        sentences, hashes = read_description_files(path, classes, count, kinds, dataset, all_classes)
        source = ", ".join(f"{name} (sha256 {digest[:12]})" for name, digest in hashes.items())
        return _picked(sentences, count, source, hashes)
    own = None if path is not None else dataset.descriptions(classes)
    if own is None:
        return Descriptions(
            {kind: template_descriptions(classes, kind, count) for kind in kinds},
            source="templates: sentences made from the class names alone, which add no knowledge of the classes",
            from_templates=True,
        )
    sentences = {kind: {name: list(own[name][kind]) for name in classes} for kind in kinds}
    return _picked(sentences, count, f"the descriptions of {dataset.name}", {})


def template_descriptions(classes: Sequence[str], kind: str, count: int) -> dict[str, list[str]]:
    """`count` sentences per class made from its name alone: an offline stand-in that adds no knowledge of the class."""
    templates = _TEMPLATES[kind]
    if not 1 <= count <= len(templates):
        raise DataError(f"templates give 1 to {len(templates)} {kind} sentences per class, not {count}; name a file")
    return {name: [template.format(readable(name)) for template in templates[:count]] for name in classes}


def _picked(
    sentences: Mapping[str, Mapping[str, list[str]]], count: int, source: str, hashes: Mapping[str, str]
) -> Descriptions:
    for kind, by_class in sentences.items():
        most = max(map(len, by_class.values()), default=count)
        if most < count:
            raise DataError(
                f"{source}: at most {most} {kind} sentences per class, {count} asked for; "
                f"take {most}, name a file with more, or write msta.descriptions={TEMPLATES}"
            )
    notes = [note for kind, by_class in sentences.items() for note in irregularities(by_class, count, kind)]
    picked = {kind: {name: found[:count] for name, found in texts.items()} for kind, texts in sentences.items()}
    return Descriptions(picked, source, tuple(notes), hashes)
