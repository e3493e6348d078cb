"""Pretrain `viclip-tiny` or `clip-tiny` on rendered clips and captions, and write its weights and their record.

    python -m petl_bench.benchmarks.backbones.pretrain_tiny --backbone viclip-tiny --output FOLDER

Two stages of contrastive learning on clips that are rendered while training: clean ones first, then a broad range
of domains, so that fine-tuning has something to forget. The range ends before the domain of the `motion` data set,
no clip of which is ever seen. Seeded and single-threaded by default: one machine gives the same bits every time;
other machines and versions of torch give slightly different weights, so the packaged file's sha256 is the record of
one run, which viclip_tiny.json and clip_tiny.json describe.

Loss: contrastive in both directions, where a clip is a positive for every caption that is true of it; and, on heads
that are dropped afterwards, the classification of action, shape and colour from the clip's feature, and the
regression of the main object's track from every frame's patch tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from petl_bench.api.config import CLIPConfig, ViCLIPConfig
from petl_bench.benchmarks.backbones.tiny_captions import CLASS_PROMPT, Caption, caption_of, positives, token_ids
from petl_bench.benchmarks.datasets.motion_actions import CLASSES, FRAMES
from petl_bench.benchmarks.datasets.motion_render import (
    CLEAN,
    COLOURS,
    MAIN_SLOT,
    SHAPES,
    SIDE,
    Domain,
    Scene,
    draw_scene,
    generator,
    render,
    shifted,
)
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import tokenize

CONFIGS: dict[str, type[ViCLIPConfig]] = {"viclip-tiny": ViCLIPConfig, "clip-tiny": CLIPConfig}
MEAN, STD = 0.2, 0.2  #: of every channel, after scaling to [0, 1]
POOL, BLOCK, PASSES = 2048, 512, 2  #: clips rendered at once, clips that share a domain, uses of every clip
REPORT_EVERY = 200


@dataclass(frozen=True)
class Stage:
    """One stage: optimiser steps, peak learning rate, part of clean clips, and how far the others are shifted."""

    name: str
    steps: int
    learning_rate: float
    clean: float
    shift: tuple[float, float]


@dataclass
class Batch:
    """Clips with what is true of them; `track` [B, FRAMES, 9]: x, y, size, sin and cos of the angle, opacity, RGB."""

    frames: Tensor
    scenes: list[Scene]
    track: Tensor


class Heads(nn.Module):
    """The auxiliary predictors of pretraining; they are not saved."""

    def __init__(self, embed_dim: int, width: int) -> None:
        super().__init__()
        self.attributes = nn.ModuleList(nn.Linear(embed_dim, n) for n in (len(CLASSES), len(SHAPES), len(COLOURS)))
        self.track = nn.Linear(width, 9)


def tiny_config(backbone: str = "viclip-tiny") -> ViCLIPConfig:
    """The shape of a tiny backbone, with its reduced vocabulary."""
    ids = token_ids()
    return CONFIGS[backbone](
        image_size=SIDE,
        patch_size=16,
        num_frames=FRAMES,
        embed_dim=128,
        vision_width=128,
        vision_layers=4,
        vision_heads=4,
        context_length=32,
        vocab_size=len(ids),
        text_width=128,
        text_layers=4,
        text_heads=4,
        token_ids=ids,
    )


def create(config: ViCLIPConfig) -> DualEncoder:
    """A model to pretrain: position embeddings of the same size as patch embeddings, else they are drowned."""
    model = DualEncoder(config)
    with torch.no_grad():
        model.video.positional_embedding.normal_(std=0.4)
        if model.video.temporal_embedding is not None:
            model.video.temporal_embedding.normal_(std=0.4)
            model.temperature.fill_(0.07)  # that of a frame-wise CLIP starts there
    return model


def normalise(clips: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, T, H, W, 3] -> float [N, T, 3, H, W], as the data path does for this backbone."""
    return (torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255 - MEAN) / STD


def draw_pool(stage: Stage, number: int) -> list[Scene]:
    """The scenes of one pool, every block of them in its own domain, all actions equally often."""
    rng = generator("pretraining", int(stage.clean < 1), number)
    scenes = []
    for _ in range(POOL // BLOCK):
        domain = CLEAN if rng.random() < stage.clean else shifted(rng.uniform(*stage.shift))
        scenes += [draw_scene(rng, index % len(CLASSES), domain) for index in range(BLOCK)]
    return scenes


def track_of(scene: Scene) -> NDArray[np.float32]:
    """What the track head has to say about the main object in every frame, roughly of unit scale: [FRAMES, 9]."""
    main = scene.objects[MAIN_SLOT]
    assert main is not None
    track = main.track
    place = [
        (track.x + scene.camera[:, 0] - 0.5) * 4,
        (track.y + scene.camera[:, 1] - 0.5) * 4,
        (track.size - 0.16) * 10,
    ]
    turn = [np.sin(track.angle), np.cos(track.angle), track.alpha]
    return np.concatenate([np.stack(place + turn, axis=1), (main.colours - 128) / 80], axis=1).astype(np.float32)


def batches(stage: Stage, batch_size: int) -> Iterator[Batch]:
    """Endless batches; every pool is rendered once and used PASSES times."""
    number = 0
    while True:
        scenes = draw_pool(stage, number)
        frames, tracks = render(scenes), np.stack([track_of(scene) for scene in scenes])
        rng = generator("pretraining", 2 + int(stage.clean < 1), number)
        for order in (rng.permutation(POOL) for _ in range(PASSES)):
            for first in range(0, POOL, batch_size):
                chosen = order[first : first + batch_size]
                yield Batch(normalise(frames[chosen]), [scenes[i] for i in chosen], torch.from_numpy(tracks[chosen]))
        number += 1


def contrastive(similarity: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy in both directions with several positives per row and column; [B, B] each."""
    rows = positive / positive.sum(1, keepdim=True)
    columns = positive / positive.sum(0, keepdim=True)
    over_captions, over_clips = F.log_softmax(similarity, 1), F.log_softmax(similarity, 0)
    return -((rows * over_captions).sum(1).mean() + (columns * over_clips).sum(0).mean()) / 2


def mean_patches(config: ViCLIPConfig, tokens: Tensor) -> Tensor:
    """The mean patch token of every frame [B, FRAMES, W], of the last block's tokens."""
    patches, joint = tokens[:, 1:], config.joint_space_time
    # ViCLIP's token order: index 1 + n * T + t. CLIP has a sequence of n per frame.
    means: Tensor = patches.unflatten(1, (-1, FRAMES)).mean(1) if joint else patches.mean(1).unflatten(0, (-1, FRAMES))
    return means


def loss_of(model: DualEncoder, heads: Heads, batch: Batch, captions: list[Caption]) -> Tensor:
    """Contrastive + 0.5 * attributes + 1.5 * track."""
    last: list[Tensor] = []
    hook = model.blocks("video")[-1].register_forward_hook(lambda block, inputs, output: last.append(output))
    video = model.encode_video(batch.frames)
    hook.remove()
    text = model.encode_text(tokenize([caption.text for caption in captions], model.config.context_length))
    positive = torch.from_numpy(positives(captions, batch.scenes)).float()
    similarity = F.normalize(video.float(), dim=1) @ F.normalize(text.float(), dim=1).T * model.logit_scale
    labels = [torch.tensor([getattr(s, name) for s in batch.scenes]) for name in ("action", "shape", "colour")]
    attributes = sum(F.cross_entropy(head(video).float(), y) for head, y in zip(heads.attributes, labels, strict=True))
    track = F.smooth_l1_loss(heads.track(mean_patches(model.config, last[0])).float(), batch.track)
    return contrastive(similarity, positive) + 0.5 * attributes + 1.5 * track


def optimiser_of(model: DualEncoder, heads: Heads, learning_rate: float) -> torch.optim.AdamW:
    """AdamW with weight decay on the matrices of the blocks and projections; the small temperature moves slowly."""
    named = {**dict(model.named_parameters()), **{f"heads.{name}": p for name, p in heads.named_parameters()}}
    temperature = named.pop("temperature")
    decayed = [p for name, p in named.items() if p.dim() >= 2 and "embedding" not in name]
    others = [p for name, p in named.items() if p.dim() < 2 or "embedding" in name]
    groups = [
        {"params": decayed, "lr": learning_rate, "weight_decay": 0.05},
        {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        {"params": [temperature], "lr": 0.1 * learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _schedule(done: float) -> float:
    """Linear warm-up over 4 % of the steps, then cosine to zero."""
    return min(done / 0.04, 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0)))


def run_stage(model: DualEncoder, heads: Heads, stage: Stage, batch_size: int) -> list[dict[str, float]]:
    """Train one stage; returns a row per report: step, mean loss, seconds."""
    optimiser = optimiser_of(model, heads, stage.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _schedule(step / stage.steps))
    rng = generator("captions", int(stage.clean < 1))
    parameters = [p for module in (model, heads) for p in module.parameters()]
    history, losses, started = [], [], time.perf_counter()
    for step, batch in zip(range(1, stage.steps + 1), batches(stage, batch_size)):  # noqa: B905 (batches never end)
        # bf16 matrix products are twice as fast; PyTorch's fused attention is slow in bf16 at this size.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss = loss_of(model, heads, batch, [caption_of(rng, scene) for scene in batch.scenes])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % REPORT_EVERY == 0 or step == stage.steps:
            row = {"step": step, "loss": float(np.mean(losses)), "seconds": time.perf_counter() - started}
            row |= zero_shot(model, clips_per_class=5)
            history.append({name: round(value, 3) for name, value in row.items()})
            losses = []
            print(stage.name, history[-1], flush=True)
    return history


def validation_clips(domain: Domain, clips_per_class: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Clips of the validation stream, which neither pretraining nor the data set draws from; with their actions."""
    rng = generator("validation", number)
    scenes = [draw_scene(rng, action, domain) for action in range(len(CLASSES)) for _ in range(clips_per_class)]
    return render(scenes), np.array([scene.action for scene in scenes])


@torch.no_grad()
def zero_shot(model: DualEncoder, clips_per_class: int) -> dict[str, float]:
    """Accuracy in percent among all 32 class prompts, on validation clips of four domains."""
    text = F.normalize(model.encode_text(tokenize([CLASS_PROMPT.format(name) for name in CLASSES], 32)), dim=1)
    domains = {
        "clean": CLEAN,
        "shift_0.4": shifted(0.4),
        "shift_0.7": shifted(0.7),
        "shift_0.7_context": shifted(0.7, 0.9),
    }
    accuracy = {}
    for number, (name, domain) in enumerate(domains.items()):
        clips, labels = validation_clips(domain, clips_per_class, number)
        parts = [model.encode_video(normalise(clips[i : i + 128])) for i in range(0, len(clips), 128)]
        guesses = (F.normalize(torch.cat(parts), dim=1) @ text.T).argmax(1).numpy()
        accuracy[name] = float((guesses == labels).mean() * 100)
    return accuracy


def save_result(model: DualEncoder, path: Path, record: dict[str, Any]) -> None:
    """Write the weights (fp16, published keys) as `path` with the ending .safetensors, and the record as .json."""
    state = {name: value.half().contiguous() for name, value in model.published_state_dict().items()}
    content = save(state, metadata={"format": "pt"})
    config = asdict(model.config)
    record = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "mean": MEAN,
        "std": STD,
        "config": {name: value for name, value in config.items() if name != "token_ids"},
        "pretraining": record,
        "token_ids": list(config["token_ids"]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".safetensors").write_bytes(content)
    path.with_suffix(".json").write_text(_readable(record), encoding="utf-8")


def _readable(record: dict[str, Any]) -> str:
    """Indented JSON with the long list of token ids on one line."""
    *head, (last, ids) = record.items()
    return json.dumps(dict(head), indent=1)[:-2] + f",\n {json.dumps(last)}: {json.dumps(ids)}\n}}\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m petl_bench.benchmarks.backbones.pretrain_tiny", description=__doc__
    )
    parser.add_argument("--backbone", choices=CONFIGS, default="viclip-tiny", help="which one to pretrain")
    parser.add_argument("--output", type=Path, required=True, help="folder for its weights and their record")
    parser.add_argument("--clean-steps", type=int, default=1400, help="optimiser steps on clean clips")
    parser.add_argument("--broad-steps", type=int, default=2200, help="optimiser steps on clean and shifted clips")
    parser.add_argument("--batch-size", type=int, default=64, help="clips per step")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    parser.add_argument("--validation-clips", type=int, default=40, help="clips per class of the final report")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(options.seed)
    started = time.perf_counter()
    model = create(tiny_config(options.backbone))
    heads = Heads(model.config.embed_dim, model.config.vision_width)
    stages = [
        Stage("clean", options.clean_steps, 1e-3, clean=1.0, shift=(0, 0)),
        Stage("broad", options.broad_steps, 8e-4, clean=0.25, shift=(0, 0.55)),
    ]
    history = {stage.name: run_stage(model, heads, stage, options.batch_size) for stage in stages}
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()  # what is measured is what is shipped
    record = {
        "made_on": datetime.now(UTC).date().isoformat(),
        "options": {"batch_size": options.batch_size, "seed": options.seed, "threads": options.threads},
        "stages": [asdict(stage) for stage in stages],
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {options.threads} CPU thread(s)",
        "zero_shot_percent": zero_shot(model, options.validation_clips),
        "history": history,
    }
    save_result(model, options.output / options.backbone.replace("-", "_"), record)


if __name__ == "__main__":
    main()
