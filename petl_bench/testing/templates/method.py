"""Template method: one line on what it does."""

from __future__ import annotations

import petl_bench as pb


@pb.register_method("template_method")
class TemplateMethod(pb.Method):
    """A bottleneck in parallel with the attention branch of every block.

    x' = x + Attention(LN(x)) + s * Up(Dropout(ReLU(Down(LN(x)))))     x, x': [B, N, width]

    Up starts at zero, so that the adapted model equals the frozen one before training.
    """

    display = "Template method"  # what readers of tables and figures see
    paper = pb.Paper(
        title="Template method",
        venue="unpublished",
        url="https://example.org/template_method",
        bibtex="@misc{template_method, title = {Template method}, year = {2025}}",
        licence="MIT",
    )

    # Tuned by `petl-bench tune` beside the learning rate, if your paper tunes more:
    # space = {"scale": pb.Range(0.1, 10, log=True)}

    # Hyper-parameters: type, default, meaning, limits. Set them with --set template_method.FIELD=VALUE.
    bottleneck_dim: int = pb.hyper(32, "channels of the bottleneck", minimum=1)
    scale: float = pb.hyper(1.0, "s in the equation")
    dropout: float = pb.hyper(0.1, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: pb.DualEncoder) -> None:
        """Put modules at the model's sites; everything else is frozen already.

        Sites: a block, its `attention` and its `feedforward` (add_parallel, add_before, add_after); linears in them
        (attention.q, k, v, out, feedforward.fc, proj: replace); model.video.add_tokens, model.text.set_prompt,
        model.features.video.then; model.heads for what `scores` computes with. All of them: docs/method_reference.md.
        A module that needs time asks for `with_grid=True`, and is called as module(x, grid) with x [B, N, width].
        """
        for block in model.blocks(self.towers):
            adapter = pb.Bottleneck(block.width, self.bottleneck_dim, dropout=self.dropout)
            block.attention.add_parallel(adapter, scale=self.scale, normed=True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block: Down width*d + d, Up d*width + width. The checks compare it with the count in the model."""
        return sum((2 * width + 1) * self.bottleneck_dim + width for width in config.block_widths(self.towers))

    # Hooks, each with a default; define only what differs (docs/method_reference.md):
    # prompts(classes), prepare(support), objective(step), loss(step), finish(model, support),
    # scores(step) -> [B, C] for C classes or, in retrieval, [B, M] for M texts.
