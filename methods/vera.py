"""VeRA: two vectors per linear between frozen random projections that all linears share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_on_draws,
)
from petl_bench.methods._targets import Target, refuse_targets, shapes_of, sites_of

if TYPE_CHECKING:
    from petl_bench.methods._vera import Projections
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("vera")
class VeRA(pb.Method):
    """Vectors that scale shared random projections beside frozen linear maps (Kopiczko et al., ICLR 2024).

    y = W x + bias + b * (B (d * (A x)))         x: [..., in], A: [r, in], d: [r], B: [out, r], b: [out], y: [..., out]

    W and its bias are the backbone's, frozen and shared. A and B are frozen as well, Kaiming uniform, and one pair
    serves all linears of a shape, over both towers; d starts at 0.1, b at zero: the identity at the start. A and B are
    drawn from `projection_seed` alone, whatever the trial's seed and the device, so that the adapter file holds d and b
    alone. PEFT, with whose draws they agree if all linears have one shape, cuts smaller ones out of the pair of the
    largest instead, and writes A and B into its file by default. `merge` makes W <- W + diag(b) B diag(d) A. Per
    linear: r + out. Rank 256 on q and v of both towers of ViCLIP-B/16: 43,008 parameters, 0.18 MB as a file; with the
    655,360 numbers of A and B it would be 2.8 MB.
    """

    display = "VeRA"
    paper = pb.Paper(
        title="VeRA: Vector-based Random Matrix Adaptation",
        venue="ICLR 2024",
        url="https://arxiv.org/abs/2310.11454",
        bibtex="""@inproceedings{kopiczko2024vera,
  title     = {{VeRA}: Vector-based Random Matrix Adaptation},
  author    = {Kopiczko, Dawid J. and Blankevoort, Tijmen and Asano, Yuki M.},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
        licence="Apache-2.0 (the module in Hugging Face PEFT)",
    )
    mergeable = True
    recipes = (
        *at_the_rates_of_msta({}, "rank 256, PEFT's default"),
        tuned_on_draws(3e-2, "1e-2, 3e-2, 1e-1, 3e-1"),
        *not_tuned_elsewhere(3e-2),
        *not_tuned_in_retrieval(3e-2),
    )

    rank: int = pb.hyper(256, "r: rank of the projections", minimum=1)
    d_initial: float = pb.hyper(0.1, "d at the start")
    dropout: float = pb.hyper(0.0, "dropout on the input of A", minimum=0.0, maximum=0.9)
    projection_seed: int = pb.hyper(0, "what A and B are drawn from", minimum=0, maximum=2**63 - 1)
    targets: tuple[Target, ...] = pb.hyper(("q", "v"), "linear maps that are adapted: q, k, v, out, fc, proj")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_targets("vera.targets", self.targets)

    def attach(self, model: DualEncoder) -> None:
        """y = W x + bias + b * (B (d * (A x))) in the place of every chosen linear W x + bias."""
        from petl_bench.methods._vera import Projections, VeRALinear

        shared: dict[tuple[int, int], Projections] = {}
        for site in sites_of(model, self.towers, self.targets):
            base = site.base
            shape = (base.in_features, base.out_features)
            if shape not in shared:
                shared[shape] = Projections(self.rank, *shape, self.projection_seed).to(base.weight)
            site.replace(VeRALinear(base, shared[shape], self.d_initial, self.dropout))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per linear: d r, b out."""
        return sum(self.rank + n_out for _, n_out in shapes_of(config, self.towers, self.targets))

    def merge(self, model: DualEncoder) -> None:
        """W <- W + diag(b) B diag(d) A, once, and the backbone's own linears back in their places."""
        import torch

        with torch.no_grad():
            for site in sites_of(model, self.towers, self.targets):
                site.base.weight.add_(site.replacement.update())
                site.restore()
