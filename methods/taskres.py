"""TaskRes: a trained residual on the text feature of every training class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import petl_bench as pb
from petl_bench.methods._recipes import not_tuned_elsewhere, tuned_on_motion

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("taskres")
class TaskRes(pb.Method):
    """One residual vector per training class, added to its text feature (Yu et al., CVPR 2023).

    t'_c = t_c + a * r_c        t_c, r_c: [D], r_c = 0 at the start;    p(c | x) = softmax_c( cos(f, t'_c) / temp )

    t_c is the text feature as the backbone gives it, not normalised; of several prompts the mean of their unit vectors,
    on which r_c then acts more strongly. Neither tower trains. A class that was not trained on has no residual and
    keeps t_c, so that among novel classes alone this is the frozen model. Base "regular" of the paper; the enhanced
    base, which fine-tunes the text projection first, is not part of this. Parameters: C * D; the 51 classes of HMDB-51
    on ViCLIP-B/16 (D = 512): 26,112.
    """

    display = "TaskRes"
    paper = pb.Paper(
        title="Task Residual for Tuning Vision-Language Models",
        venue="CVPR 2023",
        url="https://arxiv.org/abs/2211.10277",
        bibtex="""@inproceedings{yu2023task,
  title     = {Task Residual for Tuning Vision-Language Models},
  author    = {Yu, Tao and Lu, Zhihe and Jin, Xin and Chen, Zhibo and Wang, Xinchao},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {10899--10909},
  year      = {2023}
}""",
        licence="none stated",
    )
    tasks = ("classification",)
    needs_graph = False
    #: what the paper chooses it from, by data set
    space: ClassVar = {"scale": pb.Range(0.3, 1.0)}
    recipes = (
        *(
            pb.Recipe(
                setting,
                training={"learning_rate": 2e-3, "warmup_epochs": 1.0},
                hyper={"scale": 0.5},
                source="the released few-shot configuration (images; Adam, 100 epochs of batches of 256); AdamW, "
                "epochs and batch of the setting here",
                tuned=False,
            )
            for setting in ("base2novel", "few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        tuned_on_motion(3e-1, "1e-2, 3e-2, 1e-1, 3e-1, 6e-1, 1"),
        *not_tuned_elsewhere(3e-1),
    )

    scale: float = pb.hyper(0.5, "a in the equation; 0.3 to 1 in the paper, by data set", minimum=0.0)

    def attach(self, model: DualEncoder) -> None:
        """The residuals r, [C, D]: zero."""
        import torch
        from torch import nn

        residuals = torch.zeros(len(self.task.classes), model.config.embed_dim)
        model.heads[self.name] = nn.ParameterDict({"residuals": nn.Parameter(residuals)})

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """r: C * D."""
        return len(self.task.classes) * config.embed_dim

    def scores(self, step: pb.Step) -> Tensor:
        """Cosine logits [B, C] with t + a r in the place of t."""
        from torch.nn import functional

        residuals = step.model.heads[self.name]["residuals"]  # type: ignore[index]
        # One more row, of zeros, for -1: classes that were not trained on.
        of_classes = functional.pad(residuals, (0, 0, 0, 1))[step.trained_class]
        return replace(step, text_features=step.text_features + self.scale * of_classes).cosine_logits()
