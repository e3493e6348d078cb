"""Kinetics-600: 600 actions; above all the three sets of 160 classes on which zero-shot transfer is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from petl_bench.api.dataset import Annotations, Defect
from petl_bench.api.options import hyper
from petl_bench.api.paper import Paper
from petl_bench.api.registry import register_dataset
from petl_bench.data.found.tree import Tree, find_annotation, walk
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists import kinetics_lists as kinetics
from petl_bench.data.lists.kinetics_lists import Kinetics
from petl_bench.data.lists.list_forms import FormReader, ListForm
from petl_bench.errors import DataError

#: Forms of the three sets: list and label file per set.
_SETS = {
    "vificlip": ("ZS_split{split}_K600_eval.txt", ("ZS_split{split}_K600.csv", "k160_labels_split{split}.csv")),
    "ost": ("ZS_split{split}_K600_eval_filtered.txt", ("ZS_split{split}_K600.csv", "k160_labels_split{split}.csv")),
    "text4vis": ("k600/test_split{split}_exist.txt", ("k160_labels_split{split}.csv", "ZS_split{split}_K600.csv")),
}


@dataclass(frozen=True)
class _Sets:
    """One form of the zero-shot sets: its lists, with classes named, and the label file of each set."""

    form: ListForm
    label_files: dict[int, Path]


def _sets(tree: Tree, name: str) -> _Sets:
    list_pattern, label_patterns = _SETS[name]
    sets = _Sets(ListForm(name), {})
    for split in (1, 2, 3):
        file = find_annotation(tree, list_pattern.format(split=split))
        if file is None:
            continue
        patterns = [pattern.format(split=split) for pattern in label_patterns]
        labels = find_annotation(tree, *patterns)
        if labels is None:
            raise DataError(
                f"{file}: its labels count within the classes of {patterns[0]}, and this file is not there; it stands "
                "in the labels/ folder of the repository that the list comes from"
            )
        sets.form.test[split] = [kinetics.named(kinetics.read_list(file), formats.read_class_csv(labels))]
        sets.form.files.extend([file, labels])
        sets.label_files[split] = labels
    return sets


def _union(sets: _Sets) -> tuple[str, ...]:
    """The classes that the sets name together, by letter."""
    names = {name for file in sets.label_files.values() for name in formats.read_class_csv(file)}
    return tuple(sorted(names, key=str.casefold))


def _label_file(tree: Tree) -> Path | None:
    return find_annotation(tree, "kinetics_600_labels.csv", "kinetics/label_map_k600.txt", "label_map_k600.txt")


def _labels(label_file: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """The labels of a set's classes, in the order of its label file."""
    find = formats.class_finder(classes)
    labels = {name: find(name) for name in formats.read_class_csv(label_file)}
    unknown = [name for name, label in labels.items() if label is None]
    if unknown:
        raise DataError(
            f"{label_file}: {unknown[0]!r} is none of the {len(classes)} classes of Kinetics-600's label file; the two "
            "files do not belong together"
        )
    return tuple(label for label in labels.values() if label is not None)


@register_dataset("k600")
class K600(Kinetics):
    """Kinetics-600 (Carreira et al., 2018). Lists: the zero-shot sets of ViFi-CLIP, OST, Text4Vis; official; mmaction2.

    Test splits 1, 2 and 3 are the published sets of 160 classes that Kinetics-400 does not have, and only the 160
    classes of its set compete in a split. Nothing trains: most clips of the sets are official training clips.

    With `lists=auto` the sets are read if they are there, from the first form that has them (ViFi-CLIP, OST,
    Text4Vis), and nothing else is. Without them, or with `lists=official` or `lists=mmaction2`, this is Kinetics-600
    as a whole: its training list, and its validation list as test split 1 over all 600 classes.

    The classes are the 600 of the label file (`kinetics_600_labels.csv`, or mmaction2's `label_map_k600.txt`). If
    none is there, they are those that the sets name together (217 in the published ones), by letter.
    One view, as in the zero-shot protocol.
    """

    display = "K-600"
    paper = Paper(
        title="A Short Note about Kinetics-600",
        venue="arXiv:1808.01340, 2018",
        url="https://arxiv.org/abs/1808.01340",
        bibtex="""@article{carreira2018kinetics600,
  title   = {A Short Note about {Kinetics-600}},
  author  = {Carreira, Jo{\\~a}o and Noland, Eric and Banki-Horvath, Andras and Hillier, Chloe and Zisserman, Andrew},
  journal = {arXiv preprint arXiv:1808.01340},
  year    = {2018}
}""",
        licence="CC BY 4.0",
    )
    splits = (1, 2, 3)
    defects = (
        Defect(
            "k600-217-classes",
            "the three zero-shot sets name 217 classes together, where the protocol speaks of 220",
            "the sets are published as lists only, so they are used as they are",
        ),
        Defect(
            "k600-parts-mixed",
            "the zero-shot sets mix official training, validation and test clips (set 1 of ViFi-CLIP: 11,930, 211 and "
            "1,943), where the papers speak of the test set",
            "no number over them is one over the official test set, and a model trained on Kinetics-600 has seen most "
            "of these clips",
        ),
        Defect(
            "k600-sets-differ",
            "the sets of ViFi-CLIP and OST have 14,084, 13,978 and 14,136 clips, those of Text4Vis 14,119, 14,067 and "
            "14,161",
            "accuracies published over different lists are not over the same clips",
        ),
        Defect(
            "k600-evaluation-list-as-training-list",
            "ViFi-CLIP's configurations of the zero-shot sets name the evaluation list as the training list",
            "nothing trains on it here",
        ),
    )

    published_tests = (("test", 14084, 14084),)
    holds = "the clips and ViFi-CLIP's datasets_splits/ and labels/"
    forms: ClassVar[Mapping[str, FormReader]] = {
        "official": partial(kinetics.official, number=600),
        "mmaction2": partial(kinetics.mmaction2, number=600),
    }

    lists: Literal["auto", "vificlip", "ost", "text4vis", "official", "mmaction2"] = hyper(
        "auto", "which published lists to read; auto: the zero-shot sets if they are there, else the full lists"
    )

    def annotations(self, root: Path) -> Annotations:
        """The zero-shot sets with the labels that compete in each; else the full lists."""
        tree = walk(root)
        names = [name for name in _SETS if self.lists in ("auto", name)]
        sets = next((sets for name in names if (sets := _sets(tree, name)).label_files), None)
        return self.read(tree, self.list_forms(tree)) if sets is None else self._zero_shot(tree, sets)

    def list_forms(self, tree: Tree) -> list[ListForm]:
        """Class names, and the full lists."""
        names = ListForm("class names")
        names.add_classes(_label_file(tree), formats.read_classes)
        return [names, *(self.read_form(name, tree) for name in self.forms if self.lists in ("auto", name))]

    def _zero_shot(self, tree: Tree, sets: _Sets) -> Annotations:
        form = sets.form
        form.add_classes(_label_file(tree), formats.read_classes)
        form.classes = form.classes or _union(sets)
        candidates = {split: _labels(file, form.classes) for split, file in sets.label_files.items()}
        found = self.read(tree, [form])
        source = form.class_file.name if form.class_file else "those that the sets name together, no label file"
        note = f"{len(form.classes)} classes ({source}); in a test split only those of its set compete"
        return replace(found, candidates=candidates, defects=self.defects, notes=(*found.notes, note))
