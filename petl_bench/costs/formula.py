"""Multiply-accumulates of a backbone in closed form, from its configuration alone; without torch.

Counted: matrix products, convolutions and attention (its two products, in full: a causal mask halves nothing). Not
counted: norms, activations, softmax, additions, look-ups. One multiply-accumulate is two FLOPs.
"""

from __future__ import annotations

from petl_bench.api.config import ViCLIPConfig


def block_macs(tokens: int, width: int) -> int:
    """One transformer block over one sequence: 12 N w^2 for q, k, v, out, fc and proj, and 2 N^2 w for attention."""
    return 12 * tokens * width**2 + 2 * tokens**2 * width


def video_macs(config: ViCLIPConfig) -> int:
    """One video of `config.num_frames` frames through the frozen video tower.

    ViCLIP: one sequence of 1 + T h w tokens. CLIP: T sequences of 1 + h w tokens. ViCLIP-B/16, 8 frames: 179.6 G.
    """
    places = (config.image_size // config.patch_size) ** 2
    depth = config.tubelet_size if config.joint_space_time else 1
    frames = config.num_frames // depth
    sequences, patches = (1, frames * places) if config.joint_space_time else (frames, places)
    embedding = patches * 3 * depth * config.patch_size**2 * config.vision_width
    blocks = config.vision_layers * block_macs(1 + patches, config.vision_width)
    return sequences * (embedding + blocks + config.vision_width * config.embed_dim)


def text_macs(config: ViCLIPConfig, texts: int, length: int) -> int:
    """`texts` texts through the frozen text tower, each at `length` tokens, start and end included."""
    blocks = config.text_layers * block_macs(length, config.text_width)
    return texts * (blocks + config.text_width * config.embed_dim)
