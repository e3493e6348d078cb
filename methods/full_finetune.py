"""Full fine-tuning: every weight of the chosen towers trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.benchmarks.papers import VIFI_CLIP_PAPER
from petl_bench.methods._mv_adapter_baselines import CLIP4CLIP
from petl_bench.methods._recipes import (
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_here,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


#: The same in all of ViFi-CLIP's configurations.
VIFI_CLIP = {"weight_decay": 1e-3, "warmup_epochs": 5.0}
LEFT_OUT = "without its mixup, cutmix and label smoothing"


@pb.register_method("full_finetune")
class FullFinetune(pb.Method):
    """Every weight of both towers and the temperature train; the token embedding stays frozen (ViFi-CLIP, CVPR 2023).

    theta <- theta - lr * AdamW(grad L),  L = cross-entropy of cos(f_v(x), f_t(prompt_c)) / temp     f_v(x): [B, D]

    The token embedding is frozen because ViFi-CLIP and MSTA embed the class prompts once, into a buffer. ViCLIP-B/16:
    86,198,784 (video) + 63,405,056 (text) - 25,296,896 (token embedding) + 1 (temperature) = 124,306,945 parameters.
    """

    display = "Full fine-tuning"
    paper = VIFI_CLIP_PAPER
    in_place = True
    recipes = (
        pb.Recipe(
            "base2novel",
            training={"epochs": 11, "batch_size": 64, "learning_rate": 2e-6, **VIFI_CLIP},
            source=f"ViFi-CLIP's base-to-novel configuration ({LEFT_OUT})",
        ),
        pb.Recipe(
            "few_shot",
            training={"epochs": 50, "batch_size": 64, "learning_rate": 2e-6, **VIFI_CLIP},
            source=f"ViFi-CLIP's few-shot configuration ({LEFT_OUT})",
        ),
        pb.Recipe(
            "zero_shot_transfer",
            training={"epochs": 10, "batch_size": 256, "learning_rate": 8e-6, **VIFI_CLIP},
            source=f"ViFi-CLIP's zero-shot configuration, trained on Kinetics-400 ({LEFT_OUT})",
        ),
        pb.Recipe(
            "fully_supervised",
            training={"epochs": 30, "batch_size": 512, "learning_rate": 2.2e-5, **VIFI_CLIP},
            source=f"ViFi-CLIP's fully-supervised configuration ({LEFT_OUT})",
        ),
        pb.Recipe(
            "retrieval",
            "clip-b16",
            {**CLIP4CLIP, "learning_rate": 1e-7},
            {"token_embedding": True},
            "CLIP4Clip's code for MSR-VTT (meanP): 1e-7 for CLIP; its 1e-4 is for heads, of which meanP has none",
        ),
        tuned_here(1e-4, 1e-4),
        *not_tuned_elsewhere(1e-4),
        tuned_for_retrieval(1e-4, "3e-5, 1e-4, 3e-4"),
        *not_tuned_in_retrieval(1e-4, backbones=["clip-tiny"]),
    )

    towers: pb.Towers = pb.hyper("both", "which towers train")
    token_embedding: bool = pb.hyper(False, "the text tower's token embedding trains too")
    temperature: bool = pb.hyper(True, "the temperature of the logits trains too")

    def attach(self, model: DualEncoder) -> None:
        """Unfreeze the chosen towers and the temperature; the token embedding only if it is asked for."""
        for tower in (model.video, model.text):
            if self.towers == "both" or tower is getattr(model, self.towers):
                tower.requires_grad_(True)
        model.token_embedding_parameter.requires_grad_(self.token_embedding and self.towers != "video")
        model.temperature.requires_grad_(self.temperature)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Video tower, text tower without its token table (unless it trains), temperature."""
        video = _video_parameters(config) if self.towers != "text" else 0
        text = _text_parameters(config) if self.towers != "video" else 0
        table = config.vocab_size * config.text_width if self.token_embedding and self.towers != "video" else 0
        return video + text + table + self.temperature


def _blocks(width: int, layers: int) -> int:
    """Four attention maps, two feed-forward maps, two layer norms per block: 12 w^2 + 13 w."""
    return layers * (12 * width**2 + 13 * width)


def _video_parameters(config: pb.ViCLIPConfig) -> int:
    width, patch = config.vision_width, config.patch_size
    depth = config.tubelet_size if config.joint_space_time else 1
    times = config.num_frames // config.tubelet_size if config.joint_space_time else 0
    places = (config.image_size // patch) ** 2
    embedding = width * 3 * depth * patch**2 + width + (places + 1) * width + times * width
    return embedding + _blocks(width, config.vision_layers) + 4 * width + width * config.embed_dim


def _text_parameters(config: pb.ViCLIPConfig) -> int:
    """Without the token embedding."""
    width = config.text_width
    return config.context_length * width + _blocks(width, config.text_layers) + 2 * width + width * config.embed_dim
