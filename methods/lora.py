"""LoRA: a low-rank update beside frozen linear maps, which can be merged into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_here,
)
from petl_bench.methods._targets import Target, refuse_targets, shapes_of, sites_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"rank": 8, "alpha": 16.0, "towers": "both"}


@pb.register_method("lora")
class LoRA(pb.Method):
    """Low-rank updates of linear maps inside every block (Hu et al., ICLR 2022), with loralib's own layer.

    y = W x + b + s * B A Dropout(x),  s = alpha / r     x: [..., in], A: [r, in], B: [out, r], y: [..., out]

    W and b are the backbone's, frozen and shared, not copied. A starts Kaiming uniform, B zero: the identity at the
    start. loralib would rewrite W in eval() and back in train(), which drifts in low precision and counts the adapter
    twice in a state saved in between; that is off (`merge_weights=False`), and `merge` folds the update in once,
    explicitly. Rank 256 on q and v of the video tower of ViCLIP-B/16: 9,437,184 parameters.

    Two changes that others have published, off by default. `rslora`: s = alpha / sqrt(r), with which the size of the
    update's output does not depend on the rank (rsLoRA; Kalajdzievski, arXiv:2312.03732). `plus` = lambda: B trains at
    lambda times the learning rate of A (LoRA+; Hayou et al., ICML 2024, arXiv:2402.12354, with lambda = 16 for language
    models).
    """

    display = "LoRA"
    paper = pb.Paper(
        title="LoRA: Low-Rank Adaptation of Large Language Models",
        venue="ICLR 2022",
        url="https://arxiv.org/abs/2106.09685",
        bibtex="""@inproceedings{hu2022lora,
  title     = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author    = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean
               and Wang, Lu and Chen, Weizhu},
  booktitle = {International Conference on Learning Representations},
  year      = {2022}
}""",
        licence="MIT",
    )
    mergeable = True
    peft_format = pb.PeftFormat(
        "LORA",
        fields={"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout", "use_rslora": "rslora"},
        tensors={"lora_A.weight": "lora_A", "lora_B.weight": "lora_B"},
        constants={"use_dora": False},
        training_only=("plus",),
    )
    recipes = (
        *at_the_rates_of_msta(
            {"rank": 256, "alpha": 256.0, "towers": "video"},
            "MSTA, CVPR 2025, Table 5: 9.4 M parameters, which is rank 256 on q and v of the video tower (other ranks "
            "and targets give the same count); alpha is not named, alpha = rank scales by 1",
        ),
        tuned_here(2e-3, 3e-3, TINY),
        *not_tuned_elsewhere(3e-3, TINY),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(1e-3, TINY, ["clip-tiny"]),
    )

    rank: int = pb.hyper(8, "r: rank of the update", minimum=1)
    alpha: float = pb.hyper(16.0, "the update is scaled by alpha / r, or alpha / sqrt(r) with rslora", minimum=0.0)
    dropout: float = pb.hyper(0.0, "dropout on the input of A", minimum=0.0, maximum=0.9)
    targets: tuple[Target, ...] = pb.hyper(("q", "v"), "linear maps that get an update: q, k, v, out, fc, proj")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")
    rslora: bool = pb.hyper(False, "rsLoRA: the update is scaled by alpha / sqrt(r)", later=True, rate=True)
    plus: float = pb.hyper(
        1.0,
        "LoRA+: learning rate of B, as a factor of that of A (the trial's); 1: plain LoRA",
        minimum=1.0,
        later=True,
        rate=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_targets("lora.targets", self.targets)

    def attach(self, model: DualEncoder) -> None:
        """y = W x + b + scaling * lora_B lora_A dropout(x) in the place of every chosen linear W x + b."""
        from loralib import Linear

        for site in sites_of(model, self.towers, self.targets):
            base = site.base
            layer = Linear(
                base.in_features,
                base.out_features,
                r=self.rank,
                lora_alpha=self.alpha,
                lora_dropout=self.dropout,
                merge_weights=False,
                device=base.weight.device,
                dtype=base.weight.dtype,
            )
            layer.scaling = self.alpha / (self.rank**0.5 if self.rslora else self.rank)
            layer.weight, layer.bias = base.weight, base.bias  # W and b: the backbone's own
            site.replace(layer)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per linear: A r*in, B out*r."""
        return sum(self.rank * (n_in + n_out) for n_in, n_out in shapes_of(config, self.towers, self.targets))

    def parameter_groups(self, model: DualEncoder) -> Mapping[str, tuple[float, float]]:
        """LoRA+: the rate of B."""
        return {} if self.plus == 1 else {"*.lora_B": (self.plus, 1.0)}

    def merge(self, model: DualEncoder) -> None:
        """W <- W + s * B A, once, and the backbone's own linears back in their places."""
        import torch

        with torch.no_grad():
            for site in sites_of(model, self.towers, self.targets):
                layer = site.replacement
                site.base.weight.add_(layer.lora_B @ layer.lora_A, alpha=layer.scaling)
                site.restore()
