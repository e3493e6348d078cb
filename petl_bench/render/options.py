"""What a user may choose of a table in LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from petl_bench.errors import UsageError

#: What a fragment is made for: it decides the widths and the text sizes that a table may take.
DocumentKind = Literal["two-column", "one-column", "slides"]
_LABEL = re.compile(r"[A-Za-z0-9:._/+-]+")


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
        if self.label is not None and not _LABEL.fullmatch(self.label):
            raise UsageError(f"--label {self.label}: only letters a-z, digits and : . _ / + - are safe in \\ref")
