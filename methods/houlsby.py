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
from petl_bench.methods.ln_tuning import norm_channels, train_norms

if TYPE_CHECKING:
    from torch import nn

    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"bottleneck_dim": 32}
#: Adapt_seq in MV-Adapter's tables, without the biases.
ADAPT_SEQ = {
    "bottleneck_dim": 128,
    "places": "feedforward",
    "activation": "relu",
    "scale": 0.1,
    "norm": True,
    "start_std": 0.0,
    "layer_norms": False,
}


@pb.register_method("houlsby")
class Houlsby(WithBiases):
    """A bottleneck in sequence with the branches of every block, and the layer norms (Houlsby et al., ICML 2019).

    x' = x + A(Attention(LN x)),  x'' = x' + A'(FFN(LN x')),  A(y) = y + s * Up(act(Down(y)))   x, y: [B, N, width]

    The backbone's layer norms train too, and Down and Up start as N(0, 1e-2^2), truncated at two standard deviations,
    with zero biases: near the identity, not at it. The paper names no act; its code has GELU in the approximation with
    tanh, and starts with 1e-3 (`start_std=0.001`). The authors also train a classifier, for which the text stands here.
    `start_std=0` starts at the identity (Down Kaiming uniform, Up zero), `layer_norms=false` leaves the norms frozen,
    `places=feedforward` leaves A out (Pfeiffer et al., EACL 2021). Per adapter 2 width d + d + width, per norm 2 width;
    ViCLIP-B/16, d = 64: 4,031,488 parameters, 3,965,952 of them in adapters.

    Adapt_seq in the tables of MV-Adapter (CVPR 2024): `places=feedforward`, `activation=relu`, s = 0.1, both towers,
    `start_std=0`, `layer_norms=false`. Its 2.78 % of CLIP-B/16 (149,620,737) is d = 128 with a layer norm before Down
    (`norm`) and the biases of CLIP: 4,152,320 parameters. Without the layer norm that is 2.75 %.
    """

    display = "Houlsby adapters"
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
    version = 2
    identity_at_start = False
    recipes = (
        *at_the_rates_of_msta({"bottleneck_dim": 64}, "the default of the authors' code"),
        as_in_mv_adapter(ADAPT_SEQ, "2.78"),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_elsewhere(1e-2, TINY),
        tuned_for_retrieval(3e-3, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(3e-3, TINY, backbones=["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(64, "d: channels of the bottleneck", minimum=1)
    places: Literal["both", "feedforward"] = pb.hyper(
        "both", "an adapter behind attention and one behind the feed-forward, or the latter alone"
    )
    activation: Literal["gelu_tanh", "gelu", "relu"] = pb.hyper(
        "gelu_tanh", "act in the equation; gelu_tanh: GELU in the authors' approximation"
    )
    scale: float = pb.hyper(1.0, "s in the equation")
    dropout: float = pb.hyper(0.0, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    norm: bool = pb.hyper(False, "a layer norm before Down")
    start_std: float = pb.hyper(
        1e-2, "standard deviation with which Down and Up start; 0: the identity, Down Kaiming uniform", minimum=0.0
    )
    layer_norms: bool = pb.hyper(True, "the backbone's layer norms train too")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """One bottleneck on the output of each chosen branch; the layer norms."""
        for block in model.blocks(self.towers):
            branches = [block.feedforward] if self.places == "feedforward" else [block.attention, block.feedforward]
            for branch in branches:
                adapter = bottleneck(
                    block.width, self.bottleneck_dim, activation=self.activation, dropout=self.dropout, norm=self.norm
                )
                if self.start_std:
                    _start_near_identity(adapter, self.start_std)
                branch.add_after(adapter, scale=self.scale)
        if self.layer_norms:
            train_norms(model, self.towers)
        self.train_biases(model)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per adapter Down width*d + d, Up d*width + width, its norm 2*width; the backbone's norms, and biases."""
        widths = config.block_widths(self.towers) * (1 if self.places == "feedforward" else 2)
        adapters = sum(bottleneck_parameters(width, self.bottleneck_dim, self.norm) for width in widths)
        own = 1 if self.biases else 2  # of each channel of a norm: those of its biases are counted with all biases
        norms = self.layer_norms * own * norm_channels(config, self.towers)
        count: int = adapters + norms + self.bias_parameters(config)
        return count


def _start_near_identity(adapter: nn.Module, std: float) -> None:
    """Draw Down and Up from a normal distribution that is truncated at two standard deviations."""
    from torch import nn

    for linear in adapter.modules():
        if isinstance(linear, nn.Linear):
            nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
