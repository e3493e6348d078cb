"""Base of data sets whose published lists come in several forms: what a data set's file says is what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from petl_bench.api.dataset import Annotations, Dataset
from petl_bench.api.options import hyper
from petl_bench.data.found.tree import Tree, given_root, walk
from petl_bench.data.lists.list_forms import FormReader, ListForm
from petl_bench.data.lists.published_lists import ClassInName, read_annotations
from petl_bench.errors import unknown


class PublishedDataset(Dataset):
    """A data set whose published lists lie anywhere under the data root.

    `forms` maps the name of each form to its reader: with `lists=auto` every list is taken from the first that has it.
    `separate_forms` are those of them that are read only if `lists` names them. `holds` says in a message what the data
    root should hold. A subclass declares `lists` again with the names of its forms.
    """

    forms: ClassVar[Mapping[str, FormReader]] = {}
    separate_forms: ClassVar[Sequence[str]] = ()
    holds: ClassVar[str] = "the clips and their lists"

    lists: str = hyper("auto", "which published lists to read; auto: every list from the first form that has it")

    def root(self, data_root: Path | None) -> Path:
        """The data root itself, or the folder in it that has the data set's name; lists and clips lie below it."""
        return given_root(type(self).name, data_root, self.holds)

    def annotations(self, root: Path) -> Annotations:
        """The lists found below `root`, with the known defects that apply to them.

        Raises:
            DataError: No list is there, or lists contradict file names or each other.
        """
        tree = walk(root)
        forms = self.list_forms(tree)
        return self.with_remarks(self.read(tree, forms), forms)

    def list_forms(self, tree: Tree) -> list[ListForm]:
        """The forms to read, the preferred one first. Raises UsageError if `lists` names none of them."""
        if self.lists not in ("auto", *self.forms):
            raise unknown("lists", self.lists, ["auto", *self.forms], f"petl-bench show {type(self).name}")
        chosen = (
            [name for name in self.forms if name not in self.separate_forms] if self.lists == "auto" else [self.lists]
        )
        return [self.read_form(name, tree) for name in chosen]

    def read_form(self, name: str, tree: Tree) -> ListForm:
        """One of the forms, as far as its files are there."""
        return self.forms[name](tree)

    def read(self, tree: Tree, forms: Sequence[ListForm]) -> Annotations:
        """The forms as annotations (see `read_annotations`)."""
        classes = next((form.classes for form in forms if form.classes), ())
        return read_annotations(
            tree.root,
            forms,
            self.class_in_name(classes),
            clip_name=self.clip_name,
            label_names=getattr(self, "label_names", None),
        )

    def class_in_name(self, classes: Sequence[str]) -> ClassInName:
        """A function that finds the class that a listed clip's name states, for checks; default: none is stated."""
        return lambda clip: None

    def clip_name(self, clip: str) -> str:
        """The name of a clip, whichever list names it: forms may differ in folders, extensions and times.

        Default: as the list names it.
        """
        return clip

    def with_remarks(self, found: Annotations, forms: Sequence[ListForm]) -> Annotations:
        """The annotations with the known defects that apply to the forms that were read; default: all of them."""
        return replace(found, defects=tuple(self.defects))
