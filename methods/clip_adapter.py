"""CLIP-Adapter: a bottleneck behind the projection of the video tower, mixed with what comes out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import petl_bench as pb
from petl_bench.methods._recipes import (
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_on_motion,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

PUBLISHED = "the released code: reduction 4, ratio 0.2; its learning rate is not among what was released"


@pb.register_method("clip_adapter")
class CLIPAdapter(pb.Method):
    """A bottleneck on the projected video feature, mixed with the feature itself (Gao et al., IJCV 2024).

    f' = a * ReLU(W2 ReLU(W1 f)) + (1 - a) * f        f, f': [B, D], W1: [D / r, D], W2: [D, D / r], no biases

    f is the feature of the whole clip as it comes from the backbone, not normalised; f' is normalised before the
    cosine. W1 and W2 start as torch's linear layers do, so that the first step is not the frozen model. The adapter
    of the text side that the paper also tries is not part of the released code, nor of this. ViCLIP-B/16, D = 512,
    r = 4: 2 * 512 * 128 = 131,072 parameters.
    """

    display = "CLIP-Adapter"
    paper = pb.Paper(
        title="CLIP-Adapter: Better Vision-Language Models with Feature Adapters",
        venue="IJCV 2024",
        url="https://arxiv.org/abs/2110.04544",
        bibtex="""@article{gao2024clip,
  title   = {{CLIP-Adapter}: Better Vision-Language Models with Feature Adapters},
  author  = {Gao, Peng and Geng, Shijie and Zhang, Renrui and Ma, Teli and Fang, Rongyao and Zhang, Yongfeng and
             Li, Hongsheng and Qiao, Yu},
  journal = {International Journal of Computer Vision},
  volume  = {132},
  number  = {2},
  pages   = {581--595},
  year    = {2024}
}""",
        licence="none stated",
    )
    needs_graph = False
    identity_at_start = False
    #: the paper ablates it from 0, which trains nothing, to 1 and chooses it by data set
    space: ClassVar = {"ratio": pb.Range(0.2, 1.0)}
    recipes = (
        *at_the_rates_of_msta({"ratio": 0.2, "reduction": 4}, PUBLISHED),
        tuned_on_motion(3e-2, "1e-3, 3e-3, 1e-2, 3e-2, 1e-1"),
        *not_tuned_elsewhere(3e-2),
        *not_tuned_in_retrieval(3e-2),
    )

    ratio: float = pb.hyper(0.2, "a: the adapter's part in the mixed feature", minimum=0.0, maximum=1.0)
    reduction: int = pb.hyper(4, "r: the bottleneck has D / r channels", minimum=1)

    def attach(self, model: DualEncoder) -> None:
        """The mixture behind the video tower's projection."""
        from torch import Tensor, nn

        ratio = self.ratio

        class Mixed(nn.Sequential):
            """a * ReLU(W2 ReLU(W1 f)) + (1 - a) * f."""

            def forward(self, feature: Tensor) -> Tensor:
                adapted: Tensor = super().forward(feature)  # type: ignore[no-untyped-call]
                return ratio * adapted + (1 - ratio) * feature

        channels, narrow = model.config.embed_dim, self._narrow(model.config)
        down, up = nn.Linear(channels, narrow, bias=False), nn.Linear(narrow, channels, bias=False)
        model.features.video.then(Mixed(down, nn.ReLU(), up, nn.ReLU()))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """W1 D * D/r, W2 D/r * D."""
        return 2 * config.embed_dim * self._narrow(config)

    def _narrow(self, config: pb.ViCLIPConfig) -> int:
        """Channels of the bottleneck. Raises UsageError if there would be none."""
        if self.reduction > config.embed_dim:
            raise pb.UsageError(
                f"{self.name}.reduction={self.reduction}: at most {config.embed_dim}, the feature's size"
            )
        return config.embed_dim // self.reduction
