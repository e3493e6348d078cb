"""Published numbers: of the MSTA paper (CVPR 2025) and of others with its protocol, and how they were obtained."""

from __future__ import annotations

import json
from pathlib import Path

from petl_bench.analysis.configurations import Configuration
from petl_bench.tables.study_table import PublishedMeans

_FOLDER = Path(__file__).with_name("published")
MSTA_TABLES = _FOLDER / "msta_tables.csv"
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
#: The lists and shots of the paper's base-to-novel tables: split 1, 16 shots.
BASE2NOVEL_SPLIT, BASE2NOVEL_SHOTS = "1", 16
#: What the paper's Tables 6 and 7 average over.
PAPERS_MEANS = PublishedMeans("mean_of_4", ("k400", "hmdb51", "ucf101", "ssv2"), BASE2NOVEL_SPLIT, BASE2NOVEL_SHOTS)


def paper_name(row: Configuration) -> str:
    """The name that a configuration run here has in the MSTA paper; "" if the paper has no such row.

    The paper's own rows are of ViCLIP-B/16 with its published weights.
    """
    return "" if row.weights == "random" else name_of(row.method, row.hyper_parameters, row.backbone)


def name_of(method: str, hyper_parameters: str, backbone: str) -> str:
    """The paper's name of a method on its backbone, whatever weights; "" if it has none."""
    if backbone != "viclip-b16":
        return ""
    if method == "msta":
        weight = json.loads(hyper_parameters).get("consistency_weight", 0)
        return "MSTA + L_CC" if weight > 0 else "MSTA"
    return _NAMES.get(method, "")
