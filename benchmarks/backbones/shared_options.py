"""Options that several backbones have."""

from __future__ import annotations

from typing import Any

import petl_bench as pb


def frames_option(default: int) -> Any:
    """`frames`, of a backbone with so many by default."""
    return pb.hyper(None, f"frames of a clip; none: {default}", minimum=1, later=True)


def context_option(default: int) -> Any:
    """`context_length`, of a backbone whose weights have so many positions."""
    return pb.hyper(
        None,
        f"tokens of a text, start and end included; none: {default}. With fewer, the last positions of the weights are "
        "left out, and longer texts are cut",
        minimum=3,
        maximum=default,
        later=True,
    )


def pooling_option() -> Any:
    """`pooling`, of a backbone that encodes frames one by one."""
    return pb.hyper(
        "mean",
        "a video's feature: the mean of its frames' features as they are (ViFi-CLIP), or unit_mean, of their unit "
        "vectors (CLIP4Clip)",
        later=True,
    )


def given(**changes: Any) -> dict[str, Any]:
    """Those fields of the configuration that have a value."""
    return {name: value for name, value in changes.items() if value is not None}
