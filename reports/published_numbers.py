"""The published numbers of the MSTA paper (CVPR 2025), and what is known of how they were obtained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = Path(__file__).with_name("published") / "msta_tables.csv"
SELECTED_ON_TEST = "By its authors' logs, MSTA's epochs were selected on the test clips."


def published_numbers() -> pd.DataFrame:
    """One published number per line, with the table it stands in."""
    import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

    return pd.read_csv(PUBLISHED, dtype={"table": str, "shots": "Int64"}, keep_default_na=True)
