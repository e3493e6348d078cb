"""DoRA: the length and the direction of every row of a weight, adapted separately."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import at_the_authors_rate, not_tuned_elsewhere, not_tuned_in_retrieval, tuned_on_draws
from petl_bench.methods._targets import Target, refuse_targets, shapes_of, sites_of

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("dora")
class DoRA(pb.Method):
    """LoRA on the directions of a weight's rows, and their lengths trained beside (Liu et al., ICML 2024).

    y = m * V x / |V| + b,    V = W + (alpha / r) * B A

    x: [..., in], y: [..., out]; A: [r, in], B: [out, r]; m: [out]; |V|: [out], the norm of each row of V, which belongs
    to one output. W and b are the backbone's, frozen and shared. A starts Kaiming uniform, B zero, and m as |W|: the
    identity at the start. No gradient flows through |V| (the paper's section 4.3). By its notation the paper has a norm
    per column of a weight [d, k]; its authors' code and Hugging Face PEFT have one per output, as here. Dropout is
    where that code has it: y = W x + b + (m / |V| - 1) W x' + m / |V| (alpha / r) B A x' with x' = Dropout(x). `merge`
    makes W <- m V / |V|. Per linear: r in + (r + 1) out. On q and v of both towers of ViCLIP-B/16: 522,240 with rank 8,
    1,013,760 with rank 16.
    """

    display = "DoRA"
    paper = pb.Paper(
        title="DoRA: Weight-Decomposed Low-Rank Adaptation",
        venue="ICML 2024",
        url="https://arxiv.org/abs/2402.09353",
        bibtex="""@inproceedings{liu2024dora,
  title     = {{DoRA}: Weight-Decomposed Low-Rank Adaptation},
  author    = {Liu, Shih-Yang and Wang, Chien-Yi and Yin, Hongxu and Molchanov, Pavlo and Wang, Yu-Chiang Frank and
               Cheng, Kwang-Ting and Chen, Min-Hung},
  booktitle = {Proceedings of the 41st International Conference on Machine Learning},
  year      = {2024}
}""",
        licence="NVIDIA Source Code License-NC",
    )
    mergeable = True
    peft_format = pb.PeftFormat(
        "LORA",
        fields={"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"},
        tensors={"lora_A.weight": "lora_A", "lora_B.weight": "lora_B", "lora_magnitude_vector": "magnitude"},
        constants={"use_dora": True},
    )
    recipes = (
        *at_the_authors_rate(
            2.4e-4, {}, "learning rate of the authors' script for video and text (VL-BART, rank 128, batch 40, AdamW)"
        ),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2, 3e-2"),
        *not_tuned_elsewhere(1e-2),
        *not_tuned_in_retrieval(1e-2),
    )

    rank: int = pb.hyper(8, "r: rank of the update", minimum=1)
    alpha: float = pb.hyper(16.0, "the update is scaled by alpha / r", minimum=0.0)
    dropout: float = pb.hyper(0.0, "dropout on the input of what is added", minimum=0.0, maximum=0.9)
    targets: tuple[Target, ...] = pb.hyper(("q", "v"), "linear maps that are adapted: q, k, v, out, fc, proj")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_targets("dora.targets", self.targets)

    def attach(self, model: DualEncoder) -> None:
        """y = m * V x / |V| + b in the place of every chosen linear W x + b."""
        from petl_bench.methods._dora import DoRALinear

        for site in sites_of(model, self.towers, self.targets):
            site.replace(DoRALinear(site.base, self.rank, self.alpha / self.rank, self.dropout))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per linear: A r*in, B out*r, m out."""
        return sum(self.rank * (n_in + n_out) + n_out for n_in, n_out in shapes_of(config, self.towers, self.targets))

    def merge(self, model: DualEncoder) -> None:
        """W <- m V / |V|, once, and the backbone's own linears back in their places."""
        import torch

        with torch.no_grad():
            for site in sites_of(model, self.towers, self.targets):
                site.base.weight.copy_(site.replacement.merged_weight())
                site.restore()
