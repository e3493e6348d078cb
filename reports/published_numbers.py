"""Published numbers: of the MSTA paper (CVPR 2025) and of others with its protocol, and how they were obtained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.analysis.comparison import Configuration

_FOLDER = Path(__file__).with_name("published")
PUBLISHED = _FOLDER / "msta_tables.csv"
#: Base-to-novel rows as FROSTER (ICLR 2024) prints them, its own and others', on the same lists.
FROSTER, FROSTER_TABLE = _FOLDER / "froster_base2novel.csv", "FROSTER 1"
#: Methods by the names of their rows; both rows of MSTA are one method here.
_NAMES = {
    "zero_shot": "Zero-ViCLIP",
    "full_finetune": "ViCLIP",
    "adaptformer": "AdaptFormer",
    "lora": "LoRA",
}
SELECTED_ON_TEST = "By its authors' logs, MSTA's epochs were selected on the test clips."


def published_numbers(*others: Path) -> pd.DataFrame:
    """One published number of the MSTA paper per line, with the table it stands in; then those of `others`."""
    import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

    kinds = {"table": str, "group": str, "frames": str, "shots": "Int64", "std": float}
    found = [pd.read_csv(file, dtype=kinds, keep_default_na=True) for file in (PUBLISHED, *others)]
    return found[0] if not others else pd.concat(found, ignore_index=True)


def paper_name(row: Configuration) -> str:
    """The name that a configuration run here has in the MSTA paper; "" where the paper has no such row.

    The paper's own rows are of ViCLIP-B/16 with its published weights.
    """
    return "" if row.weights == "random" else name_of(row.method, row.hyper_parameters, row.backbone)


def name_of(method: str, hyper_parameters: str, backbone: str) -> str:
    """The paper's name of a method on its backbone, whatever weights; "" where it has none."""
    if backbone != "viclip-b16":
        return ""
    if method == "msta":
        weight = json.loads(hyper_parameters).get("consistency_weight", 0)
        return "MSTA + L_CC" if weight > 0 else "MSTA"
    return _NAMES.get(method, "")
