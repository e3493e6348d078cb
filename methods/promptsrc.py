"""PromptSRC: learned tokens in both towers, held near to the frozen model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.api.prompts import Prompts, resolved, split_templates
from petl_bench.methods._deep_prompts import DeepPrompts
from petl_bench.methods._recipes import not_tuned_elsewhere, tuned_on_draws
from petl_bench.methods.coop import SGD, WARM_UP

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder

_KINDS = (
    "a video",
    "a short video",
    "a long video",
    "a good video",
    "a bad video",
    "a dark video",
    "a bright video",
    "a home video",
    "a clip",
    "a recording",
    "a movie scene",
    "a close shot",
)
_SHOWING = (
    "{} of {{}}.",
    "{} of the action {{}}.",
    "{} of a person {{}}.",
    "{} of people {{}}.",
    "{} that shows {{}}.",
)
#: 60 prompts of a class, for videos.
TEMPLATES = tuple(showing.format(kind) for kind in _KINDS for showing in _SHOWING)
_AUTHORS = {**SGD, "learning_rate": 2.5e-3, "batch_size": 4}


@pb.register_method("promptsrc")
class PromptSRC(DeepPrompts):
    """Deep prompts of both towers, held near to the frozen model, averaged over epochs (Khattak et al., ICCV 2023).

    text:    [s_i, _, e_i] = Block_i([s_{i-1}, P_i, e_{i-1}])                             i = 1..J    P_i: [n, W_t]
    video:   [c_i, x_i, _] = Block_i([c_{i-1}, x_{i-1}, Q_i])                             i = 1..J    Q_i: [m, W_v]
    L = CE + 25 mean |w - w~| + 10 mean |f - f~| + KL(p~ || p) / C           w, w~: [C, D], f, f~: [B, D], p, p~: [B, C]
    evaluated: sum_t a_t (P, Q)_t / sum_t a_t,   a_t = exp(-(t - mu)^2 / (2 sigma^2))              t = 1..T, the epochs

    s: start of text, e: the other words, c: class token, x: patches. P and Q are independent of each other. w and f are
    unit features of classes and clips, p the softmax of logits; with ~ those of the frozen model. w~ is the mean of the
    frozen features of a class in 60 prompts. The loss asks for one more pass of every clip through the frozen video
    tower, without gradients; evaluation costs nothing more. mu = 15 and sigma = 1 of T = 20 epochs; here they are parts
    of T, so that the average fits any number of epochs.

    The means, and KL divided by C, are those of the released code, to which the weights 25, 10 and 1 belong; read as
    sums over channels and classes, the same weights are `text_weight` = 25 D, `video_weight` = 10 D, `logits_weight` =
    C. P_1 starts as the embeddings of the first n words of `words` (the authors' are "a photo of a", for images); the
    other tokens as N(0, 0.02). Q_1 goes through CLIP's first norm, as in the released code. The authors take 60 of
    CLIP's prompts for images; `templates` are others, for videos.

    The natural opponent of MSTA's L_CC: the same idea, that text features stay near to those of the frozen tower, with
    another distance (L1 for the cosine), other sentences (prompts for descriptions), and the video side as well. For
    classification: captions have no templates. B/16, n = m = 4, J = 9: 46,080 parameters.
    """

    display = "PromptSRC"
    paper = pb.Paper(
        title="Self-regulating Prompts: Foundational Model Adaptation without Forgetting",
        venue="ICCV 2023",
        url="https://arxiv.org/abs/2307.06948",
        bibtex="""@inproceedings{khattak2023promptsrc,
  title     = {Self-regulating Prompts: Foundational Model Adaptation without Forgetting},
  author    = {Khattak, Muhammad Uzair and Wasim, Syed Talal and Naseer, Muzammal and Khan, Salman and
               Yang, Ming-Hsuan and Khan, Fahad Shahbaz},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  pages     = {15190--15200},
  year      = {2023}
}""",
        licence="MIT",
    )
    recipes = (
        pb.Recipe(
            "base2novel",
            training={**_AUTHORS, "epochs": 20},
            source=f"the authors' configuration for base-to-novel on images{WARM_UP}",
            tuned=False,
        ),
        pb.Recipe(
            "few_shot",
            training={**_AUTHORS, "epochs": 50},
            hyper={"average_mean": 0.6, "average_deviation": 0.6},
            source="the authors' configuration for few shots of frames of UCF-101: mu = sigma = 30 of 50 epochs"
            f"{WARM_UP}",
            tuned=False,
        ),
        pb.Recipe(
            "zero_shot_transfer",
            training={**_AUTHORS, "epochs": 20},
            hyper={"depth": 3, "average_mean": 0.3, "average_deviation": 0.5},
            source="the authors' configuration for transfer from ImageNet to other images: mu = 6, sigma = 10 of 20 "
            f"epochs{WARM_UP}",
            tuned=False,
        ),
        pb.Recipe(
            "fully_supervised",
            training={**SGD, "learning_rate": 2.5e-3},
            source=f"the authors' optimiser and learning rate for base-to-novel{WARM_UP}",
            tuned=False,
        ),
        tuned_on_draws(0.1, "0.0025, 0.01, 0.03, 0.1, 0.3"),
        *not_tuned_elsewhere(0.1),
    )

    video_tokens: int = pb.hyper(4, "m: learned tokens of a video", minimum=1)
    text_weight: float = pb.hyper(25.0, "weight of the distance between features of classes", minimum=0.0)
    video_weight: float = pb.hyper(10.0, "weight of the distance between features of clips", minimum=0.0)
    logits_weight: float = pb.hyper(1.0, "weight of the divergence between logits, per class", minimum=0.0)
    average_mean: float = pb.hyper(
        0.75, "mu / T: where the weights of epochs are largest, as a part of all epochs", minimum=0.0, maximum=1.0
    )
    average_deviation: float = pb.hyper(
        0.05, "sigma / T: standard deviation of these weights, as a part of all epochs", minimum=1e-3
    )
    templates: str | None = pb.hyper(
        None,
        "prompts of the frozen features of classes, each with {} for the name: several with | between them, or @FILE "
        "with one per line; none: 60 prompts for videos",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.templates is not None:
            self.templates = resolved(self.templates, f"{self.name}.templates")

    def attach(self, model: DualEncoder) -> None:
        """P_i in the text tower, Q_i in the video tower."""
        import torch

        from petl_bench.methods._vectors import Vectors

        self._frozen_classes: Tensor | None = None
        size = (self.video_tokens, model.config.vision_width)
        self.prompt_video(model, [Vectors(0.02 * torch.randn(size)) for _ in self.prompt_text(model)])

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block n * W_t, m * W_v."""
        per_block = self.context * config.text_width + self.video_tokens * config.vision_width
        count: int = self.blocks(config) * per_block
        return count

    def loss(self, step: pb.Step) -> Tensor | None:
        """25 mean |w - w~| + 10 mean |f - f~| + KL(p~ || p) / C."""
        from torch.nn import functional

        frozen = replace(step, video_features=step.frozen.video_features, text_features=self._frozen_text(step))
        text, frozen_text = unit(step.text_features), unit(frozen.text_features)
        video, frozen_video = unit(step.video_features), unit(frozen.video_features)
        log_p, frozen_log_p = step.logits.log_softmax(1), frozen.cosine_logits().log_softmax(1)
        divergence = frozen_log_p.exp() * (frozen_log_p - log_p)
        return (
            self.text_weight * functional.l1_loss(text, frozen_text)
            + self.video_weight * functional.l1_loss(video, frozen_video)
            + self.logits_weight * divergence.mean()
        )

    def averaging(self, epoch: int, epochs: int) -> float:
        """a_t, with 1 for the epoch next to mu."""
        mean, deviation = self.average_mean * epochs, self.average_deviation * epochs
        nearest = min(abs(t - mean) for t in range(1, epochs + 1))
        return math.exp((nearest**2 - (epoch + 1 - mean) ** 2) / (2 * deviation**2))

    def _frozen_text(self, step: pb.Step) -> Tensor:
        """The mean feature of each training class's prompts by the frozen model, [C, D]; computed once."""
        if self._frozen_classes is None:
            prompts = Prompts(TEMPLATES if self.templates is None else split_templates(self.templates))
            features = step.model.frozen_text([text for name in step.classes for text in prompts.of(name)])
            self._frozen_classes = features.unflatten(0, (len(step.classes), -1)).mean(1)
        return self._frozen_classes


def unit(features: Tensor) -> Tensor:
    """Features [..., D] in fp32, of length 1."""
    from torch.nn import functional

    return functional.normalize(features.float(), dim=-1)
