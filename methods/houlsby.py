"""Adapters in sequence: a bottleneck with a skip connection behind attention and behind the feed-forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import petl_bench as pb
from petl_bench.methods._mv_adapter_baselines import (
    WithBiases,
    as_in_mv_adapter,
    bottleneck,
    bottleneck_parameters,
)
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"bottleneck_dim": 32}


@pb.register_method("houlsby")
class Houlsby(WithBiases):
    """A bottleneck in sequence with the branches of every block (Houlsby et al., ICML 2019).

    x' = x + A(Attention(LN x)),  x'' = x' + A'(FFN(LN x')),  A(y) = y + s * Up(act(Down(y)))   x, y: [B, N, width]

    `places=feedforward` leaves A out (Pfeiffer et al., EACL 2021). Up and both biases start at zero: the identity at
    the start; the authors draw Down and Up from N(0, 1e-3^2). They also train the layer norms, which stay frozen here.
    Per adapter 2 width d + d + width; ViCLIP-B/16, d = 64, both places: 3,965,952 parameters.

    Adapt_seq in the tables of MV-Adapter (CVPR 2024): `places=feedforward`, `activation=relu`, s = 0.1, both towers.
    Its 2.78 % of CLIP-B/16 (149,620,737) is d = 128 with a layer norm before Down (`norm`) and the biases
    of CLIP: 4,152,320 parameters. Without the layer norm that is 2.75 %.
    """

    paper = pb.Paper(
        title="Parameter-Efficient Transfer Learning for NLP",
        venue="ICML 2019",
        url="https://arxiv.org/abs/1902.00751",
        bibtex="""@inproceedings{houlsby2019adapters,
  title     = {Parameter-Efficient Transfer Learning for {NLP}},
  author    = {Houlsby, Neil and Giurgiu, Andrei and Jastrzebski, Stanislaw and Morrone, Bruna and
               de Laroussilhe, Quentin and Gesmundo, Andrea and Attariyan, Mona and Gelly, Sylvain},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  pages     = {2790--2799},
  year      = {2019}
}""",
        licence="Apache-2.0",
    )
    recipes = (
        *at_the_rates_of_msta({"bottleneck_dim": 64}, "the default of the authors' code"),
        as_in_mv_adapter(
            {"bottleneck_dim": 128, "places": "feedforward", "activation": "relu", "scale": 0.1, "norm": True}, "2.78"
        ),
        tuned_on_draws(3e-3, "1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_elsewhere(3e-3, TINY),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(1e-3, TINY, backbones=["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(64, "d: channels of the bottleneck", minimum=1)
    places: Literal["both", "feedforward"] = pb.hyper(
        "both", "an adapter behind attention and one behind the feed-forward, or the latter alone"
    )
    activation: Literal["gelu", "relu"] = pb.hyper("gelu", "act in the equation")
    scale: float = pb.hyper(1.0, "s in the equation")
    dropout: float = pb.hyper(0.0, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    norm: bool = pb.hyper(False, "a layer norm before Down")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """One bottleneck on the output of each chosen branch."""
        for block in model.blocks(self.towers):
            branches = [block.feedforward] if self.places == "feedforward" else [block.attention, block.feedforward]
            for branch in branches:
                adapter = bottleneck(
                    block.width, self.bottleneck_dim, activation=self.activation, dropout=self.dropout, norm=self.norm
                )
                branch.add_after(adapter, scale=self.scale)
        self.train_biases(model)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per adapter Down width*d + d, Up d*width + width, the layer norm 2*width; the biases."""
        widths = config.block_widths(self.towers) * (1 if self.places == "feedforward" else 2)
        adapters = sum(bottleneck_parameters(width, self.bottleneck_dim, self.norm) for width in widths)
        count: int = adapters + self.bias_parameters(config)
        return count
