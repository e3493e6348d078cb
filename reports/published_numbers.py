"""Published numbers: of the MSTA paper (CVPR 2025) and of others with its protocol, and of the MV-Adapter paper (CVPR
2024); how they were obtained, and the papers' names of methods."""

from __future__ import annotations

import json
from pathlib import Path

from petl_bench.analysis.configurations import Configuration
from petl_bench.tables.columns import PublishedKey
from petl_bench.tables.study_table import PublishedMeans

_FOLDER = Path(__file__).with_name("published")
MSTA_TABLES = _FOLDER / "msta_tables.csv"
#: Base-to-novel rows as FROSTER (ICLR 2024) prints them, its own and others', on the same lists.
FROSTER, FROSTER_TABLE = _FOLDER / "froster_base2novel.csv", "FROSTER 1"
MV_ADAPTER_TABLES = _FOLDER / "mv_adapter_tables.csv"
#: The MV-Adapter paper's tables of methods, by data set.
MV_ADAPTER_BY_DATA = {
    "msrvtt": "MV-Adapter 1",
    "msvd": "MV-Adapter 2",
    "lsmdc": "MV-Adapter 3",
    "didemo": "MV-Adapter 4",
    "activitynet_captions": "MV-Adapter 5",
}
#: Of options of these data sets, the values that the MV-Adapter paper has.
MV_ADAPTER_DATA = {"protocol": ("1k-A-9k",), "captions": ("paragraph",), "test": ("auto", "val_1")}
#: Of parameters of the whole backbone, trained ones in percent: one number for each row of a table, whatever data set.
TUNABLE_PERCENT: PublishedKey = ("", 0, "tunable_percent")
MV_ADAPTER_BACKBONE = 149_620_737  #: parameters of CLIP ViT-B/16, which its percentages are of
MV_ADAPTER_NOTE = (
    "MV-Adapter's tables: CLIP ViT-B/16; ± over three seeds, full fine-tuning and seqTransf one run. By the released "
    "code, epochs were selected on the test clips, separately for T2V and V2T, so that a row may mix epochs."
)
MV_ADAPTER_DETAILS = (
    "MV-Adapter's tables: median and mean ranks are not printed. CM and Hunyuan were run again by the paper's authors. "
    "Table 1: the text says 45.7 for full fine-tuning's T2V R@1, the table 45.0. Table 5: MV-Adapter's row equals that "
    "without tying in the paper's Table 10, while its percentage counts tying; CLIP4Clip's T2V R@10 is printed 8.01, "
    "which by its sum is 81.0."
)
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


#: The MV-Adapter paper's rows that can be run here: method, and the fields that make it the paper's, if it has others.
_MV_ADAPTER_ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "Full Fine-tuning": ("full_finetune", {}),
    "Adapt_par": ("parallel_adapter", {"towers": "both"}),
    "Adapt_seq": ("houlsby", {"places": "feedforward", "layer_norms": False}),
    "Convpass": ("convpass", {"text": "sequential"}),
    "ST": ("st_adapter", {"text": "sequential"}),
    "CLIP4Clip seqTransf (frozen CLIP)": ("seq_transf", {}),
    "MV-Adapter": ("mv_adapter", {"towers": "both", "transformer": True, "calibrate": "class", "tie": "down in"}),
}


def mv_adapter_name(row: Configuration) -> str:
    """The name that a configuration run here has in the tables of methods of the MV-Adapter paper; "" if it has none.

    The paper's rows are of CLIP ViT-B/16 with OpenAI's weights.
    """
    if row.weights == "random" or row.backbone != "clip-b16":
        return ""
    hyper = json.loads(row.hyper_parameters)
    for name, (method, fields) in _MV_ADAPTER_ROWS.items():
        if row.method == method and all(hyper.get(field, value) == value for field, value in fields.items()):
            return name
    return ""
