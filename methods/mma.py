"""MMA: adapters beside the higher blocks of both towers, tied by a projection that the towers share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.methods._mma import adapted_layers, shared_projection
from petl_bench.methods._recipes import not_tuned_elsewhere, not_tuned_in_retrieval, tuned_on_draws
from petl_bench.methods.coop import SGD

if TYPE_CHECKING:
    from torch import nn

    from petl_bench.models.dual_encoder import DualEncoder
    from petl_bench.models.transformer import Block

#: The authors' optimiser in all of their configurations; the batch is 16 clips, and 128 on ImageNet.
PUBLISHED: dict[str, Any] = {**SGD, "learning_rate": 1.5e-3, "warmup_epochs": 0.0, "epochs": 5}

#: The last three of the small backbones' four blocks; the authors adapt the last eight of twelve.
TINY = {"first_layer": 2}
TINY_RATE = 0.05
#: The small backbones' clipping of gradients would undo their division by lambda.
TINY_SGD: dict[str, Any] = {key: SGD[key] for key in ("optimizer", "momentum", "weight_decay")} | {
    "clip_grad_norm": None
}


@pb.register_method("mma")
class MMA(pb.Method):
    """Multi-modal adapter: bottlenecks beside whole blocks, tied across the towers (Yang et al., CVPR 2024).

    In every block j from `first_layer` on, in both towers:

        out_j = Block_j(x) + lambda * U_j relu(S_j relu(D_j LN(x)))              x, out_j: [S, N, width], D: width -> d

    S_j (d x d) is one module in both towers: what ties them. LN is the block's own first layer norm, frozen, as in the
    authors' code. D, S and U are linear maps with biases, Kaiming normal by fan-out at the start, biases zero; U is no
    exception: not the identity at the start, but lambda is small. As in the authors' code, the gradient of the
    adapters' parameters is divided by lambda (`gradient_scaling`), and every other gradient is the true one; without it
    SGD would hardly move them, nor with gradients that are clipped to a norm (`training.clip_grad_norm`).

    Parameters per block: 2 width d + d + width in each tower, and d^2 + d. ViCLIP-B/16 or CLIP-B/16, d = 32, blocks
    5-12: 674,560, as the authors' code counts. Its adapter of the embeddings, which no configuration of the authors
    uses, is left out. MMA is for images: on a frame-wise backbone every frame is one, and nothing mixes frames; on
    ViCLIP the adapters act on the tokens of all frames. Where towers differ in depth, block j of one is tied to block j
    of the other, and a block without a partner has an S of its own.
    """

    display = "MMA"
    paper = pb.Paper(
        title="MMA: Multi-Modal Adapter for Vision-Language Models",
        venue="CVPR 2024",
        url="https://openaccess.thecvf.com/content/CVPR2024/html/"
        "Yang_MMA_Multi-Modal_Adapter_for_Vision-Language_Models_CVPR_2024_paper.html",
        bibtex="""@inproceedings{yang2024mma,
  title     = {{MMA}: Multi-Modal Adapter for Vision-Language Models},
  author    = {Yang, Lingxiao and Zhang, Ru-Yuan and Wang, Yanchen and Xie, Xiaohua},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {23826--23837},
  year      = {2024}
}""",
        licence="MIT",
    )
    identity_at_start = False
    recipes = (
        *(
            pb.Recipe(
                setting,
                training={**PUBLISHED, **batch},
                source=f"the authors' configuration {where}; decay and momentum are Dassl's own",
                tuned=False,
            )
            for setting, batch, where in (
                ("base2novel", {"batch_size": 16}, "for CLIP-B/16 on images, base to novel"),
                ("zero_shot_transfer", {"batch_size": 128}, "for CLIP-B/16 on ImageNet, the source of their transfer"),
                ("few_shot", {"batch_size": 16}, "for base to novel on images, not tuned for this setting"),
                ("fully_supervised", {}, "for base to novel on images, not tuned for this setting"),
                ("retrieval", {}, "for base to novel on images, not tuned for this setting"),
            )
        ),
        *(
            replace(recipe, training={**TINY_SGD, **recipe.training})
            for recipe in (
                tuned_on_draws(TINY_RATE, "1.5e-3, 1.5e-2, 0.05, 0.15, 0.6", TINY),
                *not_tuned_elsewhere(TINY_RATE, TINY),
                *not_tuned_in_retrieval(TINY_RATE, TINY),
            )
        ),
    )

    bottleneck_dim: int = pb.hyper(32, "d: channels of the bottleneck", minimum=1)
    first_layer: int = pb.hyper(5, "first adapted block, counted from 1", minimum=1)
    last_layer: int | None = pb.hyper(
        None,
        "last adapted block, included; none: the last of each tower. A tower with fewer blocks is adapted to its end",
        minimum=1,
    )
    scale: float = pb.hyper(0.001, "lambda: the adapter's output is scaled by it", minimum=0.0)
    gradient_scaling: bool = pb.hyper(
        True, "the adapter's parameters get 1/lambda times their gradient; everything else is unchanged"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == 0.0 and self.gradient_scaling:
            raise pb.UsageError(f"{self.name}.scale=0: gradient scaling divides by it; give more than 0")

    def attach(self, model: DualEncoder) -> None:
        """One adapter beside each chosen block; S_j is the same module in both towers."""
        layers = self._layers(model.config)
        shared = {
            index: shared_projection(self.bottleneck_dim) for index in sorted({*layers["video"], *layers["text"]})
        }
        for block in model.blocks():
            if block.index in layers[block.tower]:
                block.add_parallel(self._adapter(block, shared[block.index]), scale=self.scale, normed=True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block D w*d + d, U d*w + w; per layer S d*d + d."""
        layers, d = self._layers(config), self.bottleneck_dim
        widths = {"video": config.vision_width, "text": config.text_width}
        linears = sum(len(layers[tower]) * (2 * width * d + d + width) for tower, width in widths.items())
        return linears + len({*layers["video"], *layers["text"]}) * (d * d + d)

    def _layers(self, config: pb.ViCLIPConfig) -> dict[str, range]:
        found: dict[str, range] = adapted_layers(self.name, self.first_layer, self.last_layer, config)
        return found

    def _adapter(self, block: Block, projection: nn.Module) -> nn.Module:
        """U relu(S relu(D x)) of one block, with the shared S."""
        from petl_bench.models.adapters import Bottleneck, kaiming_normal_

        adapter = Bottleneck(
            block.width,
            self.bottleneck_dim,
            middle=projection,
            gradient_scale=self.scale if self.gradient_scaling else None,
        )
        kaiming_normal_(adapter.down)
        kaiming_normal_(adapter.up)
        return adapter
