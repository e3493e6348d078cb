"""Plain text for people: bytes, lengths of time, numbers of things, and rows in columns."""

from __future__ import annotations

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
