"""What methods cost: the setting of `petl-bench cost`, which reads no data."""

from __future__ import annotations

import petl_bench as pb
from petl_bench.api.setting import Setting
from petl_bench.costs import PROTOCOL_VERSION


@pb.register_setting("cost")
class Cost(Setting):
    """What a method costs: parameters, FLOPs, time of a training step and of inference, memory, file size, energy.

    It is measured with `petl-bench cost --methods a,b` and not with `petl-bench run`: no data set is read, and no
    number says anything about accuracy. All methods of a comparison are measured in one process, in rounds that go over
    all of them, together with the frozen backbone and full fine-tuning, so that every ratio comes from the same minutes
    of the same machine. There is one record per method, backbone, device, precision and batch size.
    docs/cost_protocol.md says how each number is obtained; the version of that protocol is in every record.
    """

    display = "Cost"
    version = PROTOCOL_VERSION
    command = "petl-bench cost --methods a,b"
    metrics = (
        "trainable_params",
        "trainable_percent",
        "total_params",
        "adapter_mb",
        "macs_g",
        "flops_g",
        "text_macs_g",
        "train_step_ms",
        "throughput_videos_per_s",
        "latency_ms",
        "text_ms",
        "peak_memory_mib",
        "inference_memory_mib",
        "train_step_energy_j",
        "inference_energy_j_per_video",
        "throughput_vs_frozen",
        "train_step_vs_full",
        "batch_size",
        "rounds",
    )

    hyper_of: str = pb.hyper("base2novel", "setting whose recipes give the methods their hyper-parameters")
    frozen: str = pb.hyper("zero_shot", "method that is the frozen backbone; always measured beside the others")
    full: str = pb.hyper("full_finetune", "method that is full fine-tuning; always measured beside the others")
