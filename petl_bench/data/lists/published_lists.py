"""Action-recognition lists in their published forms (ViFi-CLIP, official, Text4Vis, ...), made into annotations.

Every form that lies under the data root is a `ListForm`; `read_annotations` takes from each what it has. Labels always
mean the content of the clips, as the lists use them; the class names are those of the label file, which may call a
label by another class's name (HMDB-51's published label csv does): file names tell, and the difference is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from petl_bench.api.dataset import Annotations, Defect, HalfSplit, Sample
from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.found.listed import named_lists, trained_and_tested
from petl_bench.data.found.tree import canonical
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList
from petl_bench.data.lists.list_forms import HalfLists, Key, ListForm
from petl_bench.errors import DataError

#: Finds the class that a clip's file name states, as written there; None if it states none.
ClassInName = Callable[[str], str | None]
#: The name of a clip whichever list names it: lists of one data set differ in folders, extensions and times.
ClipName = Callable[[str], str]


def read_annotations(
    root: Path,
    forms: Sequence[ListForm],
    class_in_name: ClassInName,
    *,
    clip_name: ClipName,
    label_names: str | None = None,
) -> Annotations:
    """What the forms say together: each list from the first form that has it; `clip_name` names the clips.

    With `label_names` ("published" or "corrected") names that contradict the clips' file names are reported, and kept
    or corrected; without it they are refused. Numbers in the lists of a form are those of its own class names, if
    it has them. Raises DataError if there is no list, if a clip trains and is tested or if two lists give it
    different classes.
    """
    present = [form for form in forms if form.splits or form.halves]
    named = next((form for form in forms if form.classes), None)
    if not present or named is None:
        raise DataError(
            f"{root}: no {'class names' if present else 'annotation lists'} found below it. Put the published lists "
            "there, or name the folder that holds them with --data-root"
        )
    reader = _Reader(named.classes, class_in_name, clip_name, label_names is not None, forms)
    train = _first(present, lambda form: form.train, reader)
    test = _first(present, lambda form: form.test, reader)
    few_shot = _first(present, lambda form: form.few_shot, reader)
    halved = next((form for form in present if form.halves), None)
    half = halved.halves if halved else None
    used = [form for form in present if form.name in reader.used or form is halved]
    files = [file for form in used for file in form.files]
    files += [form.class_file for form in (named, *used) if form.class_file]
    result = Annotations(
        classes=reader.true_names if label_names == "corrected" else named.classes,
        train=train,
        test=test,
        few_shot=few_shot,
        base_to_novel=None if half is None else reader.halves(half),
        files=formats.sha256_of(files, root),
        defects=tuple(reader.defects(test, named.class_file, label_names)),
        notes=(f"lists read: {', '.join(form.name for form in used)}",),
    )
    for _, trained, tested in trained_and_tested(result):
        formats.refuse_overlap(trained, tested)
    _refuse_disagreement(result)
    return result


class _Reader:
    """Turns lists into samples over one set of classes, and holds names against file names."""

    def __init__(
        self,
        names: tuple[str, ...],
        class_in_name: ClassInName,
        clip_name: ClipName,
        may_differ: bool,
        forms: Sequence[ListForm],
    ) -> None:
        self._names, self._class_in_name, self._may_differ = names, class_in_name, may_differ
        self._clip_name = clip_name
        self.used: set[str] = set()
        self._own = {form.name: form.classes or names for form in forms}
        numbered = {form.name: [each for each in form.splits if each.rows[0].label is not None] for form in forms}
        self._bases = {
            name: formats.label_base(lists, self._own[name]) if lists else 0 for name, lists in numbered.items()
        }
        self.true_names = self._true_names(names, self._lists(forms, names))

    def samples(self, form: ListForm, lists: Sequence[ClipList]) -> tuple[Sample, ...]:
        """The lists' rows, with labels that mean the clips' content."""
        self.used.add(form.name)
        own, base = self._own[form.name], self._bases[form.name]
        if own == self._names:
            return tuple(sample for clip_list in lists for sample in self._checked(clip_list, self.true_names, base))
        names = self._true_names(own, self._lists([form], own))
        labels = self._labels(names, form.class_file or lists[0].file)
        found = (sample for clip_list in lists for sample in self._checked(clip_list, names, base))
        return tuple(Sample(sample.clip, labels[sample.label]) for sample in found)

    def halves(self, half: HalfLists) -> HalfSplit:
        """Base-to-novel lists with labels over the full classes; base and novel in the order of their label files."""
        trained = [half.base_train] if half.base_train else []
        base_lists = [*trained, half.base_test, *half.draws.values()]
        base = self._global(half.base_names, base_lists)
        novel = self._global(half.novel_names, [half.novel_test])
        if sorted(base + novel) != list(range(len(self._names))):
            raise DataError(f"{half.base_test.file.parent}: base and novel names do not make up the classes exactly")
        return HalfSplit(
            base=base,
            novel=novel,
            base_train=self._relabelled(half.base_train, base) if half.base_train else (),
            base_test=self._relabelled(half.base_test, base),
            novel_test=self._relabelled(half.novel_test, novel),
            draws={draw: self._relabelled(clip_list, base) for draw, clip_list in half.draws.items()},
            source="published lists (ViFi-CLIP)",
        )

    def defects(
        self, test: Mapping[int, Sequence[Sample]], class_file: Path | None, label_names: str | None
    ) -> Iterator[Defect]:
        """What the difference between names and file names changes, measured on the test lists."""
        wrong = [label for label, name in enumerate(self._names) if name != self.true_names[label]]
        if not wrong:
            return
        tested = [samples for _, samples in sorted(test.items())]
        counts = [f"{sum(sample.label in wrong for sample in samples)} of {len(samples):,}" for samples in tested]
        most = counts[0] if len(set(counts)) == 1 else ", ".join(counts)
        clips = f"{most} clips of each test split" if counts else "clips"
        where = class_file.name if class_file else "the label file"
        changed = ", ".join(f"{label} = {self._names[label]!r}" for label in wrong)
        kept = "kept as published" if label_names == "published" else "corrected here, unlike published numbers"
        yield Defect(
            "swapped-names",
            f"{where} swaps {len(wrong)} of {len(self._names)} class names against its lists ({changed})",
            f"{clips} carry another class's name; {kept} (label_names={label_names})",
        )

    def _global(self, names: tuple[str, ...], lists: Sequence[ClipList]) -> tuple[int, ...]:
        true = self._true_names(names, [(clip_list, 0) for clip_list in lists])
        for clip_list in lists:
            self._checked(clip_list, true, 0)
        return self._labels(true, lists[0].file.parent)

    def _labels(self, names: Sequence[str], where: Path) -> tuple[int, ...]:
        """The labels over the full classes that these names have."""
        find = formats.class_finder(self.true_names)
        labels = {name: find(name) for name in names}
        for name, label in labels.items():
            if label is None:
                raise DataError(f"{where}: {name!r} of its label file is none of the classes")
        return tuple(label for label in labels.values() if label is not None)

    def _lists(self, forms: Sequence[ListForm], names: tuple[str, ...]) -> list[tuple[ClipList, int]]:
        """The lists whose numbers are those of `names`, each with where its labels start."""
        numbered = [form for form in forms if self._own[form.name] == names]
        return [(clip_list, self._bases[form.name]) for form in numbered for clip_list in form.splits]

    def _relabelled(self, clip_list: ClipList, labels: Sequence[int]) -> tuple[Sample, ...]:
        samples = formats.labelled(clip_list, [self._names[label] for label in labels], 0)
        return tuple(Sample(self._clip_name(sample.clip), labels[sample.label]) for sample in samples)

    def _true_names(self, names: tuple[str, ...], lists: Sequence[tuple[ClipList, int]]) -> tuple[str, ...]:
        """Names by content: if all clips of a label state one other class, that one; never but a permutation."""
        if not self._may_differ:
            return names
        stated: dict[int, set[int | None]] = {}
        find = formats.class_finder(names)
        for clip_list, base in lists:
            for row in clip_list.rows:
                name = self._class_in_name(row.clip)
                if name is not None and row.label is not None:
                    stated.setdefault(row.label - base, set()).add(find(name))
        true = list(names)
        for label, found in stated.items():
            other = found.pop() if len(found) == 1 else None
            if other is not None and 0 <= label < len(names):
                true[label] = names[other]
        return tuple(true) if sorted(true) == sorted(names) else names

    def _checked(self, clip_list: ClipList, names: Sequence[str], base: int) -> tuple[Sample, ...]:
        """Samples whose file names, if they state a class, state the class of their label."""
        samples = formats.labelled(clip_list, names, base)
        for row, sample in zip(clip_list.rows, samples, strict=True):
            stated = self._class_in_name(row.clip)
            if stated is not None and canonical(stated) != canonical(names[sample.label]):
                raise DataError(
                    f"{clip_list.file}, line {row.line}: the label says {names[sample.label]!r}, the file name "
                    f"{row.clip!r} says {stated!r}; the list and the label file do not belong together"
                )
        return tuple(Sample(self._clip_name(sample.clip), sample.label) for sample in samples)


def flat(clip: str) -> str:
    """The clip as published: its file name alone, with `.avi` if a list leaves the extension out.

    UCF-101's and HMDB-51's file names are unique and their lists disagree about folders and extensions; so the same
    clip has the same name whichever list names it.
    """
    name = clip.rpartition("/")[2]
    return name if without_video_suffix(name) != name else f"{name}.avi"


def _first(
    forms: Sequence[ListForm], lists_of: Callable[[ListForm], Mapping[Key, Sequence[ClipList]]], reader: _Reader
) -> dict[Key, tuple[Sample, ...]]:
    """Every list from the first form that has it."""
    found: dict[Key, tuple[Sample, ...]] = {}
    for form in forms:
        for key, lists in lists_of(form).items():
            if key not in found:
                found[key] = reader.samples(form, lists)
    return found


def _refuse_disagreement(result: Annotations) -> None:
    """Raise DataError if two lists give a clip different classes."""
    first: dict[str, tuple[int, str]] = {}
    for name, samples in named_lists(result):
        for sample in samples:
            label, other = first.setdefault(sample.clip, (sample.label, name))
            if label != sample.label:
                raise DataError(
                    f"{sample.clip}: the list {other} says {result.classes[label]!r}, the list {name} says "
                    f"{result.classes[sample.label]!r}; the two lists do not belong together. Keep one form of the "
                    "lists, or choose it with the data set's field `lists`"
                )
