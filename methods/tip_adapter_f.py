"""Tip-Adapter-F: Tip-Adapter whose keys train."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import petl_bench as pb
from petl_bench.methods._recipes import not_tuned_elsewhere, tuned_on_motion
from petl_bench.methods.tip_adapter import TipAdapter

if TYPE_CHECKING:
    from torch import Tensor, nn


@pb.register_method("tip_adapter_f")
class TipAdapterF(TipAdapter):
    """Tip-Adapter's cache as a start, from which its keys train (Zhang et al., ECCV 2022).

    logits = s f t^T + alpha * exp(-beta (1 - f K^T)) V       f: [B, D], t: [C, D], K: [N, D], V: [N, C], f and t unit

    K begins as in `tip_adapter` and trains, without being normalised again; V, alpha and beta stay. alpha and beta are
    chosen as there, before K trains: after that, no training clip is left that K has not seen. The released code trains
    with alpha and beta from a file, searches them again on validation clips, and takes the epoch that is best on the
    test clips. Parameters: N * D; ViCLIP-B/16 (D = 512), 16 clips of each of 51 classes: 417,792.
    """

    display = "Tip-Adapter-F"
    training_free = False
    space: ClassVar[dict[str, pb.Range]] = {}  # alpha and beta are chosen before K trains
    recipes = (
        *(
            pb.Recipe(
                setting,
                training={"learning_rate": 1e-3, "adam_epsilon": 1e-4, "warmup_epochs": 0.0},
                hyper={"augment_passes": 10},
                source="the released code (images; 20 epochs of batches of 256); epochs and batch of the setting here",
                tuned=False,
            )
            for setting in ("base2novel", "few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        tuned_on_motion(3e-3, "1e-3, 3e-3, 1e-2, 3e-2"),
        *not_tuned_elsewhere(3e-3),
    )

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """K: N * D."""
        keys: int = self.task.support_clips * config.embed_dim
        return keys

    def _add_keys(self, cache: nn.Module, keys: Tensor) -> None:
        from torch import nn

        cache.register_parameter("keys", nn.Parameter(keys))
