"""LoRA that takes its time: `pause_s` at every step changes no number, and leaves time for things to go wrong."""

import time

import petl_bench as pb
from petl_bench.methods.lora import LoRA


@pb.register_method("slow_lora")
class SlowLoRA(LoRA):
    """LoRA with a pause at every step."""

    # Declared as a location to stay out of the key: a run without the pause makes the same trials.
    pause_s: float = pb.hyper(0.0, "seconds of sleep at every step", minimum=0.0, location=True)

    def loss(self, step):
        print("a step")
        time.sleep(self.pause_s)
        return super().loss(step)
