"""MSTA: adapters beside whole blocks of both towers, tied by a projection that the towers share.

The convolutions over time and space are `TemporalConv` and `SpatioTemporalUp` of `petl_bench.models.adapters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import petl_bench as pb
from petl_bench.benchmarks.papers import MSTA_PAPER
from petl_bench.methods._mma import adapted_layers, shared_projection
from petl_bench.methods._recipes import (
    MSTA_RATES,
    PROPORTIONAL,
    SEARCHED_IN_RETRIEVAL,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_here,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from petl_bench.models.dual_encoder import DualEncoder
    from petl_bench.models.transformer import Block

#: The same in every row of the paper's Table 1.
TABLE_1 = {"warmup_epochs": 5.0, "weight_decay": 1e-3}
#: Sizes for the width of the small backbones, in retrieval, which has no classes and so no L_CC.
TINY_RETRIEVAL = {"bottleneck_dim": 32, "scale": 1.0, "zero_init_up": True, "consistency_weight": 0.0}


@pb.register_method("msta")
class MSTA(pb.Method):
    """Multi-modal spatio-temporal adapter with the description-guided consistency constraint (Chen et al., CVPR 2025).

    In every block j from `first_layer` to `last_layer`, beside the whole block:

        out_j = Block_j(x) + lambda * A_j(x)                                    x, out_j: [B, N, width]
        h     = relu(S_j relu(D_j LN(x)))                                       h: [B, N, d]
        text:   A_j = U_j h
        video:  A_j = U_j h + Conv3d_j(h)        on the volume [B, d, T, h, w]; kernel (3, 1, 1), one group per channel

    S_j (d x d) is one module in both towers: what ties them. D, S and U are linear maps with biases. The loss is

        L = CE + alpha * L_CC,   L_CC = mean_c [2 - cos(w_c, Ds_c) - cos(w_c, Dt_c)]              w_c, Ds_c, Dt_c: [D]

    with w_c the adapted text feature of class c's prompt, and Ds_c, Dt_c the frozen mean features of its N spatial and
    N temporal descriptions. The frozen branch is the same tower with its adapters off; its features are computed once.

    Parameters per block: video 2 w d + d + w + 4 w, text 2 w d + d + w, shared d^2 + d. ViCLIP-B/16: 8,712,192 with d =
    256 in blocks 1-12; 1,744,000 with d = 128 in blocks 8-12, as the authors' logs print.

    No code was published. What the paper leaves open is an option below, with its default. Decided elsewhere: text is
    cut at the backbone's context (ViCLIP: 32 tokens), no token is masked, no block is dropped, and description features
    are averaged as they come, before the cosine. Where towers differ in depth, block j of one is tied to block j of the
    other, and a block without a partner has an S of its own. The paper's equation 14 is read with
    section 3.3 (w_c from the adapted branch). The authors' logs (ETL4Video's history) train base-to-novel for 50 epochs
    with d = 128 in blocks 8-12, where the paper's Table 1 says 11 epochs, 256 and 1-12, and select the epoch on the
    test split.
    """

    display = "MSTA"
    latex = (("L_CC", r"$\mathcal{L}_{CC}$"),)
    paper = MSTA_PAPER
    identity_at_start = False
    recipes = (
        pb.Recipe(
            "base2novel",
            training={"batch_size": 32, "learning_rate": 1e-3, "epochs": 11, **TABLE_1},
            hyper={"bottleneck_dim": 256, "first_layer": 1, "last_layer": None, "scale": 0.005},
            source="Table 1 of the paper (layers 1-12 of ViCLIP-B/16)",
        ),
        tuned_here(
            8.85e-4,
            2e-3,
            {"bottleneck_dim": 32, "scale": 1.0, "zero_init_up": True},
            "sizes for the width of this backbone (lambda = 0.005 under-adapts it); ",
        ),
        pb.Recipe(
            "few_shot",
            training={"batch_size": 32, "learning_rate": 1e-3, "epochs": 50, **TABLE_1},
            hyper={"bottleneck_dim": 128, "first_layer": 8, "last_layer": 12, "scale": 0.005},
            source="Table 1 of the paper",
        ),
        pb.Recipe(
            "zero_shot_transfer",
            training={"batch_size": 256, "learning_rate": 8e-3, "epochs": 100, **TABLE_1},
            hyper={"bottleneck_dim": 128, "first_layer": 1, "last_layer": None, "scale": 0.001},
            source="Table 1 of the paper, trained on Kinetics-400",
        ),
        pb.Recipe(
            "fully_supervised",
            training={"batch_size": 256, "learning_rate": 8e-3, "epochs": 100, **TABLE_1},
            hyper={"bottleneck_dim": 128, "first_layer": 1, "last_layer": None, "scale": 0.001},
            source="last row of Table 1, printed there as few-shot; Table 5 counts 8.7 M, which is bottleneck_dim 256",
        ),
        *not_tuned_elsewhere(
            2e-3, {"bottleneck_dim": 32, "first_layer": 1, "last_layer": None, "scale": 1.0, "zero_init_up": True}
        ),
        pb.Recipe(
            "retrieval",
            training={"learning_rate": MSTA_RATES["retrieval"]},
            hyper={"bottleneck_dim": 256, "scale": 0.005, "consistency_weight": 0.0},
            source=f"sizes of base2novel in Table 1; without L_CC, as retrieval has no classes; {PROPORTIONAL}",
            tuned=False,
        ),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL, TINY_RETRIEVAL),
        *not_tuned_in_retrieval(1e-3, TINY_RETRIEVAL, ["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(256, "d: channels of the bottleneck; must divide the video tower's width", minimum=1)
    first_layer: int = pb.hyper(1, "first adapted block, counted from 1", minimum=1)
    last_layer: int | None = pb.hyper(
        None,
        "last adapted block, included; none: the last of each tower. A tower with fewer blocks is adapted to its end",
        minimum=1,
    )
    scale: float = pb.hyper(0.005, "lambda: the adapter's output is scaled by it", minimum=0.0)
    towers: pb.Towers = pb.hyper("both", "which towers are adapted (Table 6a: one alone; S is then its own)")
    shared: bool = pb.hyper(True, "the projection S with its activation; false: h = relu(D x) (Table 6a)")
    activation: Literal["relu", "gelu"] = pb.hyper("relu", "activation after D and after S")
    dropout: float = pb.hyper(0.1, "dropout inside the bottleneck", minimum=0.0, maximum=0.9)
    dropout_place: Literal["after_shared", "before_shared"] = pb.hyper(
        "after_shared", "where dropout stands; the paper says only: between D and U"
    )
    adapter_input: Literal["normed", "raw"] = pb.hyper(
        "normed",
        "D reads the block's first layer norm of x (as MMA, its parent), or x itself (as the equation is printed)",
    )
    class_token: Literal["mean", "zero", "replicate"] = pb.hyper(
        "mean",
        "what the class token gets from the temporal convolution: the mean over the patches' outputs; zero (then the "
        "last block's convolution never gets a gradient: only the class token is read there); or the convolution of "
        "itself, repeated in every frame",
    )
    token_layout: Literal["grid", "sequence"] = pb.hyper(
        "grid", "the volume has the tokens at their true place and time, or takes the sequence as (T, h, w) as it lies"
    )
    scaled: Literal["both", "spatial"] = pb.hyper("both", "lambda scales U and the convolution, or U alone")
    zero_init_up: bool = pb.hyper(False, "U and the convolution start at zero; false: Kaiming normal, as in the paper")
    temporal_init: Literal["kaiming", "torch"] = pb.hyper(
        "kaiming",
        "start of the convolution: Kaiming normal by fan-out as the linear maps, or torch's default for Conv3d",
    )
    gradient_scaling: bool = pb.hyper(
        True, "MMA's trick: the adapter's parameters get 1/lambda times their gradient; everything else is unchanged"
    )
    train_temperature: bool = pb.hyper(
        False, "the temperature of the logits trains too; the authors' count excludes it"
    )
    consistency_weight: float = pb.hyper(1.0, "alpha: weight of L_CC; 0 is plain MSTA", minimum=0.0)
    consistency_classes: Literal["all", "batch"] = pb.hyper(
        "all", "L_CC over every training class, or those in the batch"
    )
    description_kinds: Literal["both", "spatial", "temporal"] = pb.hyper("both", "descriptions in L_CC (Table 7)")
    descriptions: str | None = pb.hyper(
        None,
        "file or folder of descriptions (the published JSON, or keyed by class); templates: sentences made from the "
        "class names; none: the data set's, else templates",
        location=True,
    )
    descriptions_per_class: int = pb.hyper(2, "N: sentences of each kind per class", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == 0.0 and (self.gradient_scaling or self.scaled == "spatial"):
            raise pb.UsageError(
                f"{self.name}.scale=0: gradient scaling and an unscaled convolution divide by it; give more than 0"
            )

    def attach(self, model: DualEncoder) -> None:
        """One adapter beside each chosen block; S_j is the same module in both towers."""
        layers = self._layers(model.config)
        shared: dict[int, nn.Module] = {}
        for block in model.blocks(self.towers):
            if block.index not in layers[block.tower]:
                continue
            if self.shared and block.index not in shared:
                shared[block.index] = shared_projection(self.bottleneck_dim, self.activation)
            block.add_parallel(
                self._adapter(block, shared.get(block.index)),
                scale=self.scale,
                normed=self.adapter_input == "normed",
                with_grid=block.tower == "video",
            )
        model.temperature.requires_grad_(self.train_temperature)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block D w*d + d, U d*w + w, the convolution 3*w + w in the video tower; per layer S d*d + d."""
        layers, d = self._layers(config), self.bottleneck_dim
        linears = {
            tower: len(layers[tower]) * (2 * width * d + d + width)
            for tower, width in (("video", config.vision_width), ("text", config.text_width))
        }
        convolutions = len(layers["video"]) * 4 * config.vision_width
        projections = len({*layers["video"], *layers["text"]}) * (d * d + d) if self.shared else 0
        return linears["video"] + linears["text"] + convolutions + projections + self.train_temperature

    def loss(self, step: pb.Step) -> Tensor | None:
        """alpha * L_CC; None if alpha is 0, or if the text tower has no adapter."""
        if not self.description_count:
            return None
        from torch.nn.functional import cosine_similarity

        classes: Any = slice(None) if self.consistency_classes == "all" else step.labels.unique()
        adapted = step.text_features[classes].float()
        frozen = [step.descriptions[kind][classes].float() for kind in self.description_kinds_read]
        first, *others = [1 - cosine_similarity(adapted, features, dim=-1) for features in frozen]
        return self.consistency_weight * sum(others, first).mean()

    @classmethod
    def display_of(cls, values: Mapping[str, Any]) -> str:
        """With " + L_CC" if the loss has this term, as in the paper's tables; a tower adapted alone is named."""
        if not cls.display:
            return ""
        towers = values.get("towers", "both")
        name = cls.display if towers == "both" else f"{cls.display} of the {towers} tower"
        return f"{name} + L_CC" if values.get("consistency_weight") and towers != "video" else name

    @property
    def description_count(self) -> int:
        """N if L_CC is used; it is constant, and left out, if the text tower has no adapter."""
        return self.descriptions_per_class if self.consistency_weight > 0 and self.towers != "video" else 0

    @property
    def description_kinds_read(self) -> tuple[str, ...]:
        """Both kinds, or the one that L_CC is restricted to."""
        return ("spatial", "temporal") if self.description_kinds == "both" else (self.description_kinds,)

    def _layers(self, config: pb.ViCLIPConfig) -> dict[str, range]:
        """Indices of the adapted blocks per tower, and the check that the options fit the backbone."""
        layers: dict[str, range] = adapted_layers(self.name, self.first_layer, self.last_layer, config, self.towers)
        self._refuse_dimension(config)
        return layers

    def _refuse_dimension(self, config: pb.ViCLIPConfig) -> None:
        width = config.vision_width
        if self.towers != "text" and width % self.bottleneck_dim:
            legal = ", ".join(str(d) for d in range(1, width + 1) if width % d == 0)
            raise pb.UsageError(
                f"{self.name}.bottleneck_dim={self.bottleneck_dim}: the temporal convolution has one group per "
                f"channel, so it must divide the video tower's width {width}; legal: {legal}"
            )

    def _adapter(self, block: Block, projection: nn.Module | None) -> nn.Module:
        """A_j of one block: U(dropout(S(relu(D x)))), in the video tower with the convolution beside U."""
        from petl_bench.models.adapters import Bottleneck, kaiming_normal_

        adapter = Bottleneck(
            block.width,
            self.bottleneck_dim,
            activation=self.activation,
            dropout=self.dropout,
            dropout_at="up" if self.dropout_place == "after_shared" else "middle",
            middle=projection,
            up=self._spatio_temporal_up(block.width) if block.tower == "video" else None,
            gradient_scale=self.scale if self.gradient_scaling else None,
        )
        kaiming_normal_(adapter.down)
        if block.tower == "text" and not self.zero_init_up:
            kaiming_normal_(adapter.up)
        return adapter

    def _spatio_temporal_up(self, width: int) -> nn.Module:
        from petl_bench.models.adapters import SpatioTemporalUp, kaiming_normal_

        up = SpatioTemporalUp(
            self.bottleneck_dim,
            width,
            cls=self.class_token,
            layout=self.token_layout,
            temporal_scale=1.0 if self.scaled == "both" else 1 / self.scale,
        )
        if self.zero_init_up:
            up.zero_()
            return up
        kaiming_normal_(up.spatial)
        if self.temporal_init == "kaiming":
            kaiming_normal_(up.temporal)
        return up
