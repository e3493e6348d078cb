"""The text half of MSTA alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import petl_bench as pb
from petl_bench.methods._recipes import (
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_motion,
)
from petl_bench.methods.msta import MSTA


@pb.register_method("text_adapter")
class TextAdapter(MSTA):
    """MSTA in the text tower alone (the "only L-adapter" row of Table 6a, Chen et al., CVPR 2025).

    out_j = Block_j(x) + lambda * U_j h,  h = relu(S_j relu(D_j LN(x)))     x: [N, L, width], h: [N, L, d]

    S_j stays, as a map of this tower's own (`shared=false` takes it out), and so does the consistency constraint L_CC.
    Video features are the frozen backbone's; options of the temporal convolution have no effect. ViCLIP-B/16, d = 256,
    blocks 1-12: 3,944,448 parameters.
    """

    display = "Text adapter"
    recipes = (
        *(replace(recipe, tuned=False) for recipe in MSTA.recipes),  # chosen for both towers together
        tuned_on_motion(1e-2, "1e-3, 3e-3, 6e-3, 1e-2"),
        *not_tuned_elsewhere(1e-2),
        tuned_for_retrieval(3e-4, "3e-4, 1e-3, 3e-3, 1e-2"),
        *not_tuned_in_retrieval(3e-4, backbones=["clip-tiny"]),
    )

    towers: Literal["text"] = pb.hyper("text", "the adapted tower; fixed")
