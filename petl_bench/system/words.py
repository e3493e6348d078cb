"""Plain text for people: bytes, lengths of time, numbers of things, and rows in columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

_UNITS = ("kB", "MB", "GB", "TB")


def human(size: float) -> str:
    """A number of bytes, e.g. `412 MB`."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            break
    return f"{size:.{0 if size >= 99.5 else 1}f} {unit}"


def duration(seconds: float) -> str:
    """A length of time, e.g. `42 s`, `3 min`, `2 h 05 min`."""
    seconds = max(0.0, seconds)
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def several(count: int, what: str = "trial") -> str:
    """A number of things, e.g. `3 trials`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def significant(number: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent, e.g. `0.0123`, `8.7`, `21,700`."""
    rounded = float(f"{number:.{digits}g}")
    text = f"{rounded:,.{max(0, digits - 1 - _magnitude(rounded))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _magnitude(number: float) -> int:
    """The power of ten of the first digit; 0 if there is none."""
    return math.floor(math.log10(abs(number))) if number and math.isfinite(number) else 0


def columns(rows: Sequence[Sequence[str]], right_from: int | None = None) -> list[str]:
    """One line for each row of cells, in columns as wide as their widest cell.

    Args:
        rows: rows of equally many cells; the first one may be a heading.
        right_from: the first column that is aligned to the right; None aligns all to the left.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    right_from = len(widths) if right_from is None else right_from
    return [
        "  ".join(
            cell.rjust(width) if column >= right_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
