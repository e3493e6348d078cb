"""What a user may choose of a table in LaTeX."""

from __future__ import annotations

from dataclasses import dataclass

from petl_bench.api.table import DocumentKind
from petl_bench.errors import UsageError
from petl_bench.system.texts import is_reference


@dataclass(frozen=True)
class LatexOptions:
    r"""How a table is set in LaTeX.

    Raises UsageError for a label that `\ref` could not name.

    Args:
        standalone: a whole document, in place of a fragment for `\input`.
        caption: plain text, in place of the table's title.
        label: in place of "tab:" and the table's name.
        spread: whether numbers have their spread beside them.
        document: what a fragment is made for; a document of its own has a page of its own.
    """

    standalone: bool = False
    caption: str | None = None
    label: str | None = None
    spread: bool = True
    document: DocumentKind = "two-column"

    def __post_init__(self) -> None:
        if self.label is not None and not is_reference(self.label):
            raise UsageError(f"--label {self.label}: only letters a-z, digits and : . _ / + - are safe in \\ref")
