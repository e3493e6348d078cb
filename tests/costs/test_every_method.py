"""The FLOPs of every registered method, by a counter that shares nothing with petl-bench's, and after merging."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.costs import recording
from petl_bench.costs.inference import random_frames
from petl_bench.costs.subject import Item, MeasuredMethod, ModelSizes, Workload
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.values import Overrides, planned_method
from petl_bench.training.hooks import overrides

pytestmark = pytest.mark.slow

CLASSES = 3
#: Of the larger count.
TOLERANCE = 1e-3


def backbone_of(method: str) -> str:
    """The small backbone that hosts a method."""
    return next(name for name in ("viclip-tiny", "clip-tiny") if not METHODS.get(method).hosted_by(BACKBONES.get(name)))


def measured(name: str, backbone: str, merged: bool = False) -> MeasuredMethod:
    """A method as `petl-bench cost` measures it, with its recipe's values."""
    spec = Spec(methods=(name,), backbone=backbone, setting="base2novel")
    method = planned_method(spec, name, Overrides(spec)).method
    trial = recording.trial_of(
        method, plugin_version(METHODS.get(name)), setting_version="1", references={}, backbone=backbone,
        weights="random", weights_sha256="random", device="cpu", threads=1, precision="fp32", batch=1, classes=CLASSES,
        merged=merged,
    )  # fmt: skip
    workload = Workload(backbone, None, torch.device("cpu"), CLASSES)
    subject = MeasuredMethod(Item(method, "1", merged), trial, workload)
    subject.build()
    return subject


@cache
def frozen_sizes(backbone: str) -> ModelSizes:
    """What the frozen backbone costs; its count agrees with the closed form."""
    return measured("zero_shot", backbone).sizes


class MultiplyAdds(TorchDispatchMode):
    """Adds up the elements of `addcmul`, with which a convolution may be written, and which torch does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func._overloadpacket in (torch.ops.aten.addcmul, torch.ops.aten.addcmul_):
            self.count += output.numel()
        return output


def by_torch(subject: MeasuredMethod) -> int:
    """Multiply-accumulates of one real pass from frames to scores, with attention as the products that it consists of.

    torch's own counter, without any handle.
    """
    inference = subject.inference()
    frames = random_frames(subject.model, 1, torch.device("cpu"))
    subject.model.requires_grad_(False)  # torch's counter follows modules by gradient functions, if there are any
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        inference.scores(frames)  # texts by the frozen model are computed once, for all videos
        with MultiplyAdds() as others, FlopCounterMode(display=False) as counter:
            inference.scores(frames)
    return int(counter.get_total_flops()) // 2 + others.count


@pytest.mark.parametrize("name", METHODS.names())
def test_flops_of_a_video_to_its_scores_are_those_of_the_pass(name: str) -> None:
    subject = measured(name, backbone_of(name))
    count = subject.sizes.video
    assert count.macs is not None, count.reason
    # The cosine of a video with each class is not counted if the method leaves `scores` alone.
    cosines = 0 if overrides(subject.method, "scores") else CLASSES * subject.model.config.embed_dim
    assert count.macs + cosines == pytest.approx(by_torch(subject), rel=TOLERANCE)
    assert subject.sizes.text.macs is not None, subject.sizes.text.reason


@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.get(name).mergeable])
def test_a_merged_method_computes_what_the_frozen_backbone_computes(name: str) -> None:
    sizes, frozen = measured(name, backbone_of(name), merged=True).sizes, frozen_sizes(backbone_of(name))
    assert (sizes.video.macs, sizes.video.reason) == (frozen.video.macs, "")
    assert (sizes.text.macs, sizes.text.reason) == (frozen.text.macs, "")
    assert sizes.total_params == frozen.total_params == sizes.backbone_params
