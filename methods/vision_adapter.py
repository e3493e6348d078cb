"""The video half of MSTA alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import petl_bench as pb
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_motion,
)
from petl_bench.methods.msta import MSTA


@pb.register_method("vision_adapter")
class VisionAdapter(MSTA):
    """MSTA in the video tower alone (the "only V-adapter" row of Table 6a, Chen et al., CVPR 2025).

    out_j = Block_j(x) + lambda * (U_j h + Conv3d_j(h)),  h = relu(S_j relu(D_j LN(x)))   x: [B, N, width], h: [B, N, d]

    S_j stays, as a map of this tower's own (`shared=false` takes it out). The text tower is frozen, so that L_CC would
    be constant: there is none. Every other option is MSTA's. ViCLIP-B/16, d = 256, blocks 1-12: 5,557,248 parameters.
    """

    display = "Vision adapter"
    recipes = (
        *(replace(recipe, tuned=False) for recipe in MSTA.recipes),  # chosen for both towers together
        tuned_on_motion(1e-3, "2.5e-4, 5e-4, 1e-3, 2e-3"),
        *not_tuned_elsewhere(1e-3),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL),
        *not_tuned_in_retrieval(1e-3, backbones=["clip-tiny"]),
    )

    towers: Literal["video"] = pb.hyper("video", "the adapted tower; fixed")
    consistency_weight: float = pb.hyper(
        0.0, "always 0: L_CC is constant if the text tower is frozen", minimum=0.0, maximum=0.0
    )
