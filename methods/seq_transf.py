"""seqTransf: CLIP4Clip's Transformer over the features of frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import petl_bench as pb
from petl_bench.benchmarks.papers import CLIP4CLIP_PAPER
from petl_bench.methods._mv_adapter_baselines import CLIP4CLIP
from petl_bench.methods._recipes import at_the_authors_rate, tuned_on_draws

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"start": "random"}


@pb.register_method("seq_transf")
class SeqTransf(pb.Method):
    """A Transformer over the frames' features, on frozen CLIP (Luo et al., CLIP4Clip's seqTransf, Neurocomputing 2022).

    g = f + Transformer(f + P),   feature of the video = mean_t g_t / |g_t|                 f, g: [B, T, D], P: [77, D]

    P: positions of frames. The Transformer has CLIP's pre-norm blocks without the causal mask, and starts from the text
    tower's first 4 blocks and positions, as the authors' does: not the identity at the start. Frames that are padding
    are neither attended to nor averaged. Only for backbones that encode frame by frame.

    CLIP4Clip trains all of CLIP beside the head; MV-Adapter's tables (CVPR 2024) have it on frozen CLIP, as here. Per
    block 12 D^2 + 13 D. CLIP-B/16: 4 * 3,152,384 + 77 * 512 = 12,648,960 parameters, the printed 8.45 % of 149,620,737.
    """

    display = "Seq. Transf."
    paper = CLIP4CLIP_PAPER
    reads = ("frames",)
    needs_graph = False
    identity_at_start = False
    recipes = (
        *at_the_authors_rate(1e-4, {}, "learning rate of the authors' code for the head in retrieval"),
        pb.Recipe(
            "retrieval",
            "clip-b16",
            {**CLIP4CLIP, "learning_rate": 1e-4},
            source="CLIP4Clip's code for MSR-VTT, in which CLIP trains too (at 1e-7)",
            tuned=False,
        ),
        replace(tuned_on_draws(3e-3, "3e-4, 1e-3, 3e-3", TINY), backbone="clip-tiny"),
        *(
            pb.Recipe(name, "clip-tiny", {"learning_rate": 3e-3}, TINY, "as in base2novel, not tuned here", tuned=False)
            for name in ("few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        pb.Recipe(
            "retrieval",
            "clip-tiny",
            {"learning_rate": 3e-4, "epochs": 5},
            TINY,
            "learning rate of 1e-4, 3e-4, 1e-3 with the best T2V R@1 on held-out training clips after the last epoch, "
            "one draw of motion (seed 3)",
        ),
    )

    layers: int = pb.hyper(4, "blocks of the Transformer", minimum=1)
    positions: int = pb.hyper(77, "rows of P: the most frames that a clip can have", minimum=1)
    start: Literal["text", "random"] = pb.hyper(
        "text", "blocks and P start from the text tower's, or are drawn as CLIP's are"
    )

    def attach(self, model: DualEncoder) -> None:
        """The Transformer pools the frames' features."""
        from petl_bench.methods._frames import FrameTransformer

        self._refuse_start(model.config)
        pool = FrameTransformer(model.config.embed_dim, model.text, self.layers, self.positions)
        if self.start == "text":
            pool.copy_text(model.text)
        model.set_pool(pool)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block 12 D^2 + 13 D; P positions*D."""
        channels = config.embed_dim
        return self.layers * (12 * channels**2 + 13 * channels) + self.positions * channels

    def _refuse_start(self, config: pb.ViCLIPConfig) -> None:
        """Raise UsageError if there are no blocks of the text tower to start from."""
        if self.start == "random":
            return
        if config.text_width != config.embed_dim:
            raise pb.UsageError(
                f"seq_transf.start=text: the text tower is {config.text_width} wide, but features have "
                f"{config.embed_dim} channels; set seq_transf.start=random"
            )
        if config.text_layers < self.layers:
            raise pb.UsageError(
                f"seq_transf.layers={self.layers}: the text tower has {config.text_layers} blocks to start from; take "
                "fewer, or set seq_transf.start=random"
            )
