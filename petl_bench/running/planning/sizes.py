"""Numbers of bytes for people."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def human(size: float) -> str:
    """A number of bytes for people, e.g. `412 MB`."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            break
    return f"{size:.{0 if size >= 99.5 else 1}f} {unit}"
