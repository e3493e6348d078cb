"""The published numbers of the MSTA paper (CVPR 2025), and what is known of how they were obtained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.comparison import Configuration

PUBLISHED = Path(__file__).with_name("published") / "msta_tables.csv"
#: Methods by the names of their rows; both rows of MSTA are one method here.
_NAMES = {
    "zero_shot": "Zero-ViCLIP",
    "full_finetune": "ViCLIP",
    "adaptformer": "AdaptFormer",
    "lora": "LoRA",
}
SELECTED_ON_TEST = "By its authors' logs, MSTA's epochs were selected on the test clips."


def published_numbers() -> pd.DataFrame:
    """One published number per line, with the table it stands in."""
    import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

    return pd.read_csv(PUBLISHED, dtype={"table": str, "shots": "Int64"}, keep_default_na=True)


def paper_name(row: Configuration) -> str:
    """The name that a configuration run here has in the MSTA paper; "" where the paper has no such row.

    The paper's own rows are of ViCLIP-B/16 with its published weights.
    """
    if row.backbone != "viclip-b16" or row.weights == "random":
        return ""
    if row.method == "msta":
        weight = json.loads(row.hyper_parameters).get("consistency_weight", 0)
        return "MSTA + L_CC" if weight > 0 else "MSTA"
    return _NAMES.get(row.method, "")
