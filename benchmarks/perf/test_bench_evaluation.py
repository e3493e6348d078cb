"""Evaluation streams: one adapter over 3,783 clips needs no more memory than over 100.

Each run is a fresh process that scores links to one short clip, 4 temporal x 3 spatial views each, with a narrow ViCLIP
and an msta adapter, through the cache that trials use. To reach: a peak of resident memory that differs by less than
5 % where the trial's process decodes, and by less than 25 % where others do (gaps in glibc's heap, which are given back
now and then; what is in use does not grow). 190 s each on one thread of a shared machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

CLIPS = (100, 3783)  #: the second is the size of UCF-101's first test list

EVALUATION = """
import json, sys
from pathlib import Path

import torch

import petl_bench as pb
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.data.loading.clip_preparation import ClipSpec
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.api.dataset import Sample
from petl_bench.api.prompts import Prompts
from petl_bench.api.setting import Evaluation
from petl_bench.training.evaluate import score
from petl_bench.training.video import encode

folder, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
classes = tuple(f"class number {i}" for i in range(101))
config = pb.ViCLIPConfig(image_size=64, num_frames=4, embed_dim=32, vision_width=64, vision_layers=1, vision_heads=2,
                         text_width=32, text_layers=1, text_heads=2)


def peak_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main():
    model = pb.create_model(config)
    pb.create_method("msta", bottleneck_dim=8).attach(model)
    samples = tuple(Sample(f"{i}.mp4", i % 101) for i in range(count))
    recipe = ClipSpec(num_frames=4, size=64, mean=(0.5,) * 3, std=(0.25,) * 3, views=4, crops=3,
                    cache=ClipCache(folder / f"cache-{count}-{workers}"))
    with ClipLoader({s.clip: folder / s.clip for s in samples}, recipe, workers=workers) as loader:
        batches = loader.test_batches(samples, 32)
        before = peak_mib()
        how = {"precision": "fp32", "device": torch.device("cpu")}
        encoded = encode(model, batches, to_input=loader.to_input, batch_size=32, **how)
        evaluation, prompts = Evaluation("all", classes, samples), Prompts(("a video of {}.",))
        scored = list(score(model, evaluation, encoded, prompts=prompts, **how))
    assert sum(len(part.clips) for part in scored) == count
    print(json.dumps({"peak_mib": peak_mib(), "before_mib": before}))


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of 40 frames of 96 x 72 pixels, under 3,783 names."""
    folder = tmp_path_factory.mktemp("clips")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for index in range(40):
            image = np.random.default_rng(index).integers(0, 256, (72, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    for index in range(max(CLIPS)):
        (folder / f"{index}.mp4").symlink_to(folder / "clip.mp4")
    (folder / "evaluation.py").write_text(EVALUATION)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux's /proc")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("workers", "growth"), [(0, 1.05), (2, 1.25)])
def test_memory_does_not_grow_with_the_clips(benchmark: Any, workers: int, growth: float, clips: Path) -> None:
    def peak(count: int) -> float:
        command = [sys.executable, str(clips / "evaluation.py"), str(clips), str(count), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["peak_mib"])

    few = peak(CLIPS[0])
    many = benchmark.pedantic(peak, args=(CLIPS[1],), rounds=1)
    benchmark.extra_info.update({f"peak MiB, {CLIPS[0]} clips": few, f"peak MiB, {CLIPS[1]} clips": many})
    print(f"\npeak resident memory: {few:.1f} MiB over {CLIPS[0]} clips, {many:.1f} MiB over {CLIPS[1]}")
    assert many < growth * few
