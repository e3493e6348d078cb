"""Where rendered data, fingerprints and decoded clips are kept; losing it costs time alone."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "PETL_BENCH_CACHE"


def cache_folder() -> Path:
    """$PETL_BENCH_CACHE, or the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("petl-bench")
