"""Linear probe: a linear classifier on the frozen video features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import petl_bench as pb
from petl_bench.benchmarks.papers import CLIP_PAPER
from petl_bench.methods._recipes import at_the_rates_of_msta, not_tuned_elsewhere, tuned_on_motion

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder


#: In zero_shot_transfer no evaluated class was trained on.
SETTINGS = ("base2novel", "few_shot", "fully_supervised")


@pb.register_method("linear_probe")
class LinearProbe(pb.Method):
    """A linear classifier over the training classes on the frozen video feature (Radford et al., ICML 2021).

    p(c | x) = softmax_c( w_c . f + b_c )        f, w_c: [D], f = f_v(x) / |f_v(x)|, or f_v(x) itself

    With `start=prompts`, w_c = s t_c and b_c = 0, where t_c is the unit text feature of the class's prompt and s the
    backbone's scale of logits (over the mean |f| of the training clips, if f is not normalised): the first
    step classifies as the frozen model does. With `start=zero`, w and b are zero. A class that was not trained on has
    no score, and no number is reported for it. CLIP's protocol fits a logistic regression by L-BFGS, its strength of
    regularisation chosen on held-out clips; here AdamW trains it with the batches of every other method. Parameters:
    C * D + C; the 51 classes of HMDB-51 on ViCLIP-B/16 (D = 512): 26,163.
    """

    display = "Linear probe"
    paper = CLIP_PAPER
    needs_graph = False
    identity_at_start = False
    settings = SETTINGS
    tasks = ("classification",)
    novel = "none"
    recipes = tuple(
        recipe
        for recipe in (
            *at_the_rates_of_msta({}, "CLIP names no learning rate (its probe is fitted by L-BFGS)"),
            tuned_on_motion(1e-1, "1e-2, 3e-2, 1e-1, 3e-1"),
            *not_tuned_elsewhere(1e-1),
        )
        if recipe.setting in SETTINGS
    )

    features: Literal["unit", "raw"] = pb.hyper("unit", "f: the video feature, normalised or as it comes")
    start: Literal["prompts", "zero"] = pb.hyper("prompts", "w before training: from the class prompts, or zero")

    def attach(self, model: DualEncoder) -> None:
        """The classifier, zero so far."""
        from torch import nn

        classifier = nn.Linear(model.config.embed_dim, len(self.task.classes))
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        model.heads[self.name] = classifier

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """w: C * D, b: C."""
        return len(self.task.classes) * (config.embed_dim + 1)

    def prepare(self, support: pb.Support) -> None:
        """w_c = s t_c over the mean length of f."""
        import torch
        from torch.nn import functional

        if self.start == "zero":
            return
        lengths = []
        for step in support.encode():
            lengths.append(self._feature(step).norm(dim=-1))
        text = step.text_features.float()
        directions = text if step.several_prompts else functional.normalize(text, dim=-1)
        classifier = step.model.heads[self.name]
        weight = step.model.logit_scale * directions / torch.cat(lengths).mean()
        classifier.weight.data.copy_(weight)  # type: ignore[operator]

    def scores(self, step: pb.Step) -> Tensor:
        """w f + b for each class of the step, [B, C]; every one of them was trained on."""
        logits: Tensor = step.model.heads[self.name](self._feature(step))
        return logits[:, step.trained_class]

    def _feature(self, step: pb.Step) -> Tensor:
        """f: [B, D]."""
        from torch.nn import functional

        feature = step.video_features.float()
        return functional.normalize(feature, dim=-1) if self.features == "unit" else feature
