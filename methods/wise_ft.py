"""WiSE-FT: the weights between the zero-shot and the fine-tuned model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import petl_bench as pb
from petl_bench.methods.full_finetune import FullFinetune

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("wise_ft")
class WiSEFT(FullFinetune):
    """Full fine-tuning, then a mean of the weights before and after it (Wortsman et al., CVPR 2022).

    theta(a) = (1 - a) theta_0 + a theta_1,      theta_0: loaded weights, theta_1: fine-tuned ones, a = 0.5

    Training, options and count are those of full_finetune; the temperature is averaged like every weight that trains.
    A trial's metrics are those of `alpha`, which is chosen beforehand. The whole curve a = 0, 0.1, ..., 1 is recorded
    as further evaluations, for the plot of the paper: a point that is picked from it was picked on test clips. The
    adapter holds theta(alpha), from which the curve follows: theta(a) = theta_0 + a / alpha (theta(alpha) - theta_0).
    ViCLIP-B/16: 124,306,945 parameters.
    """

    display = "WiSE-FT"
    paper = pb.Paper(
        title="Robust fine-tuning of zero-shot models",
        venue="CVPR 2022",
        url="https://arxiv.org/abs/2109.01903",
        bibtex="""@inproceedings{wortsman2022wiseft,
  title     = {Robust fine-tuning of zero-shot models},
  author    = {Wortsman, Mitchell and Ilharco, Gabriel and Kim, Jong Wook and Li, Mike and Kornblith, Simon and
               Roelofs, Rebecca and Lopes, Raphael Gontijo and Hajishirzi, Hannaneh and Farhadi, Ali and
               Namkoong, Hongseok and Schmidt, Ludwig},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {7959--7971},
  year      = {2022}
}""",
        licence="MIT",
    )
    reads_original = True
    #: the paper's curve, without the frozen model at its start
    space: ClassVar = {"alpha": pb.Range(0.1, 1.0)}
    recipes = tuple(
        replace(recipe, source=f"as full_finetune: {recipe.source}", tuned=False) for recipe in FullFinetune.recipes
    )

    alpha: float = pb.hyper(0.5, "a: part of the fine-tuned weights in the mean", minimum=0.1, maximum=1.0)

    def finish(self, model: DualEncoder, support: pb.Support) -> None:
        """theta(alpha) in the place of theta_1."""
        _interpolate(model, self.alpha)

    def variants(self, model: DualEncoder) -> Mapping[str, AbstractContextManager[None]]:
        """The curve: theta(a) for a = 0, 0.1, ..., 1."""
        points = [point / 10 for point in range(11)]
        return {f"alpha={point}": _at(model, point / self.alpha) for point in points}


@contextmanager
def _at(model: DualEncoder, weight: float) -> Iterator[None]:
    """Inside, the trained weights are theta_0 + weight (theta - theta_0)."""
    before = model.adapter_state()
    _interpolate(model, weight)
    try:
        yield
    finally:
        model.load_adapter_state(before)


def _interpolate(model: DualEncoder, weight: float) -> None:
    import torch

    original = dict(model.original.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name in original:  # in a composition other parts train too
                parameter.copy_(torch.lerp(original[name], parameter, weight))
