"""Tip-Adapter: the features of the training clips as a cache that votes beside the class prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import petl_bench as pb

if TYPE_CHECKING:
    from torch import Tensor, nn

    from petl_bench.models.dual_encoder import DualEncoder

#: What the released code searches: from 0.1 up to, but without, the number, in so many steps.
ALPHAS, BETAS = (3.0, 20), (7.0, 200)


@pb.register_method("tip_adapter")
class TipAdapter(pb.Method):
    """A cache of the training clips' features, which needs no training (Zhang et al., ECCV 2022).

    logits = s f t^T + alpha * exp(-beta (1 - f K^T)) V       f: [B, D], t: [C, D], K: [N, D], V: [N, C], f and t unit

    K holds a unit feature for each of the N training clips, the mean over `augment_passes` augmented views of it; V has
    a one in each row, at the clip's class; s is the backbone's scale of logits. A training clip that cannot be read has
    a row of zeros in both. A class without training clips has no keys, and keeps its s f t^T, so that among novel
    classes alone this is the frozen model.

    alpha and beta are chosen on training clips alone: each clip, in the view in which test clips are seen, is
    classified with the cache of all others (leave-one-out), for every pair of the released code's grid. The pair with
    the most right answers counts, of several the one with the smallest cross-entropy. The released code chooses them on
    validation clips, or on the test clips. No parameter trains; K has N * D numbers (ViCLIP-B/16, 16 clips of each of
    51 classes: 417,792).
    """

    display = "Tip-Adapter"
    paper = pb.Paper(
        title="Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification",
        venue="ECCV 2022",
        url="https://arxiv.org/abs/2207.09519",
        bibtex="""@inproceedings{zhang2022tip,
  title     = {{Tip-Adapter}: Training-free Adaption of {CLIP} for Few-shot Classification},
  author    = {Zhang, Renrui and Zhang, Wei and Fang, Rongyao and Gao, Peng and Li, Kunchang and Dai, Jifeng and
               Qiao, Yu and Li, Hongsheng},
  booktitle = {European Conference on Computer Vision},
  pages     = {493--510},
  year      = {2022}
}""",
        licence="none stated",
    )
    needs_graph = False
    identity_at_start = False
    tasks = ("classification",)
    training_free = True
    #: the released code's grid, on held-out clips as there; the recipe's own are chosen by leave-one-out
    space: ClassVar = {"alpha": pb.Range(0.1, ALPHAS[0]), "beta": pb.Range(0.1, BETAS[0])}
    recipes = tuple(
        pb.Recipe(
            setting, training={"epochs": 0}, hyper={"augment_passes": 10}, source="the released code; no training"
        )
        for setting in ("base2novel", "few_shot", "zero_shot_transfer", "fully_supervised")
    )

    augment_passes: int = pb.hyper(
        10, "augmented views of a clip, whose mean is its key; 0: the centre view alone", minimum=0
    )
    alpha: float | None = pb.hyper(None, "weight of the cache; none: chosen on training clips", minimum=0.0)
    beta: float | None = pb.hyper(None, "sharpness of the cache; none: chosen on training clips", minimum=0.0)

    def attach(self, model: DualEncoder) -> None:
        """An empty cache: K, the classes that V is made of (-1: none), alpha and beta."""
        import torch
        from torch import nn

        cache = nn.Module()
        self._add_keys(cache, torch.zeros(self.task.support_clips, model.config.embed_dim))
        cache.register_buffer("labels", torch.full((self.task.support_clips,), -1))
        cache.register_buffer("alpha", torch.tensor(0.0 if self.alpha is None else self.alpha))
        cache.register_buffer("beta", torch.tensor(0.0 if self.beta is None else self.beta))
        model.heads[self.name] = cache

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """None at all."""
        return 0

    def prepare(self, support: pb.Support) -> None:
        """Fill the cache, and choose alpha and beta."""
        import torch
        from torch.nn import functional

        views = support.encode(self.augment_passes, augment=True) if self.augment_passes else support.encode()
        with torch.no_grad():
            for step in views:
                cache, rows = self._cache(step), _rows(step)
                cache.keys.index_add_(0, rows, step.video_features.float())
                cache.labels[rows] = step.labels
            cache.keys.copy_(functional.normalize(cache.keys, dim=-1))
            if self.alpha is None or self.beta is None:
                self._choose(cache, support)

    def scores(self, step: pb.Step) -> Tensor:
        """s f t^T + alpha * exp(-beta (1 - f K^T)) V: [B, C]."""
        from torch.nn import functional

        cache = self._cache(step)
        votes = self._votes(cache, self._affinity(cache, step), cache.beta)
        # One more column, of zeros, for -1: classes without keys.
        logits: Tensor = step.cosine_logits() + cache.alpha * functional.pad(votes, (0, 1))[:, step.trained_class]
        return logits

    def _add_keys(self, cache: nn.Module, keys: Tensor) -> None:
        """K as part of the cache."""
        cache.register_buffer("keys", keys)

    def _cache(self, step: pb.Step) -> Any:
        return step.model.heads[self.name]

    def _affinity(self, cache: Any, step: pb.Step) -> Tensor:
        """f K^T: [B, N]."""
        from torch.nn import functional

        affinity: Tensor = functional.normalize(step.video_features.float(), dim=-1) @ cache.keys.T
        return affinity

    def _votes(self, cache: Any, affinity: Tensor, beta: Tensor, without: Tensor | None = None) -> Tensor:
        """exp(-beta (1 - f K^T)) V: [B, C] of the training classes; `without`: int64 [B], a key that is left out."""
        from torch.nn import functional

        weights = (-beta * (1 - affinity)).exp()
        if without is not None:
            weights = weights.scatter(1, without[:, None], 0.0)
        values = functional.one_hot(cache.labels + 1, len(self.task.classes) + 1)[:, 1:]
        return weights @ values.to(weights.dtype)

    def _choose(self, cache: Any, support: pb.Support) -> None:
        """Put those alpha and beta into the cache that classify the training clips best, each by the other ones."""
        import torch
        from torch.nn import functional

        alphas, betas = _grid(ALPHAS, self.alpha).to(cache.keys), _grid(BETAS, self.beta).to(cache.keys)
        right = torch.zeros(len(betas), len(alphas), device=alphas.device)
        loss = torch.zeros_like(right)
        for step in support.encode():
            frozen, affinity, rows = step.cosine_logits(), self._affinity(cache, step), _rows(step)
            for place, beta in enumerate(betas):
                votes = self._votes(cache, affinity, beta, without=rows)
                logits = frozen + alphas[:, None, None] * votes
                right[place] += (logits.argmax(dim=-1) == step.labels).sum(dim=-1)
                each = functional.cross_entropy(
                    logits.transpose(1, 2), step.labels.expand(len(alphas), -1), reduction="none"
                )
                loss[place] += each.sum(dim=-1)
        best = int(loss.masked_fill(right < right.max(), torch.inf).argmin())
        cache.beta.copy_(betas[best // len(alphas)])
        cache.alpha.copy_(alphas[best % len(alphas)])


def _rows(step: pb.Step) -> Tensor:
    """The places of the step's clips among the training clips, on their device."""
    assert step.rows is not None
    return step.rows.to(step.video_features.device)


def _grid(searched: tuple[float, int], given: float | None) -> Tensor:
    """The values to choose from: those searched, or the one that was given."""
    import torch

    if given is not None:
        return torch.tensor([given])
    end, steps = searched
    return 0.1 + (end - 0.1) / steps * torch.arange(steps)
