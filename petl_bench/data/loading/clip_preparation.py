"""One clip, from its file to the tensor that a batch is made of: the part of loading that runs in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from petl_bench.api.dataset import Augmentation
from petl_bench.data.decoding.clips import ByTime, Choose, DecodedClip, FrameTimes, read_clip
from petl_bench.data.loading.clip_cache import CachedClip, ClipCache
from petl_bench.data.loading.sampling import (
    Span,
    candidates,
    middle_indices,
    multi_view_indices,
    spread_indices,
    train_indices,
)
from petl_bench.data.loading.transforms import short_side, shrink, squash, test_views, to_input, train_transform

#: A clip with at most this many frames is cached whole, so that every later draw of frames is served from the cache.
WHOLE_CLIP_FRAMES = 64

#: How a file is read: `read_clip`, or something with its signature.
Read = Callable[[Path, Choose | ByTime, str], DecodedClip]
#: Frames uint8 `[n, H, W, 3]` made smaller, before they are cached.
Resize = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ClipSpec:
    """How clips become tensors. T `num_frames`, S `size` pixels, V `views` x `crops` in evaluation.

    `view_sampling` says how several views are spread over time: evenly, or by the published random draw, here seeded by
    (`seed`, clip) and so the same in every evaluation. A single view is the centre of each chunk either way, as
    published; with "middle" it is the middle frame of each segment, as ViCLIP counts. With `train_views` "fixed" that
    one view, its centre crop, is what training sees in every epoch. `eval_resize` "squash" resizes whole frames to S x
    S instead of cropping.

    With `frames_per_second`, frames are taken at that rate of the file's time (`sampling.candidates`), and T of them
    evenly (`sampling.spread_indices`), the same in training and evaluation; one temporal view. A clip with fewer than T
    of them is padded with zeros, if `pads` says so, or repeats frames.
    """

    num_frames: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    views: int = 1
    crops: int = 1
    view_sampling: Literal["uniform", "random", "middle"] = "uniform"
    eval_resize: Literal["crop", "squash"] = "crop"
    train_views: Literal["augmented", "fixed"] = "augmented"
    frames_per_second: float | None = None
    pads: bool = False
    decoder: str = "auto"
    cache: ClipCache | None = None
    read: Read = read_clip


@dataclass(frozen=True)
class ClipRequest:
    """One clip to prepare. `epoch` is the training epoch of its draw, or None for evaluation; `span` its part of the
    file, None for all of it."""

    clip: str
    path: Path
    label: int
    epoch: int | None = None
    span: Span | None = None


@dataclass(frozen=True)
class PreparedClip:
    """Frames for training float32 `[T, 3, S, S]`, normalised; for evaluation uint8 `[V, T, 3, S, S]`, a quarter of the
    bytes to send between processes (see `to_input`). `remark` names any anomaly of the file. Behind the first `real`
    frames of T there is padding."""

    frames: np.ndarray
    remark: str
    real: int


def prepare(spec: ClipSpec, request: ClipRequest) -> PreparedClip:
    """Decode (or take from the cache), sample, augment and normalise or cut into views. Raises DataError."""
    if request.epoch is None:
        return _prepare_test(spec, request)
    if spec.train_views == "fixed":
        return _prepare_fixed(spec, request)
    return _prepare_train(spec, request, request.epoch)


def prepared_bytes(spec: ClipSpec, request: ClipRequest) -> int:
    """Bytes of the frames that `prepare` will give for this request."""
    view = spec.num_frames * 3 * spec.size**2
    return spec.views * spec.crops * view if request.epoch is None else 4 * view


def _prepare_train(spec: ClipSpec, request: ClipRequest, epoch: int) -> PreparedClip:
    seed = _clip_seed(spec.seed, epoch, request.clip)

    def choose(num_frames: int) -> Sequence[int]:
        return train_indices(num_frames, spec.num_frames, np.random.default_rng(seed))

    short = short_side(spec.size, 1)
    frames, remark = _frames(spec, request, choose, partial(shrink, short=short), short, "")
    generator = torch.Generator().manual_seed(seed)
    video = train_transform(frames, spec.augmentation, spec.size, spec.mean, spec.std, generator)
    return PreparedClip(_padded(video.numpy(), spec.num_frames), remark, len(frames))


def _prepare_fixed(spec: ClipSpec, request: ClipRequest) -> PreparedClip:
    seen = _prepare_test(replace(spec, views=1, crops=1), request)
    video = to_input(torch.from_numpy(seen.frames[0, : seen.real]), spec.mean, spec.std)
    return replace(seen, frames=_padded(video.numpy(), spec.num_frames))


def _prepare_test(spec: ClipSpec, request: ClipRequest) -> PreparedClip:
    drawn = spec.view_sampling == "random" and spec.views > 1
    seed = _clip_seed(spec.seed, "views", request.clip)

    def choose(num_frames: int) -> Sequence[int]:
        if spec.view_sampling == "middle":
            return middle_indices(num_frames, spec.num_frames)
        generator = np.random.default_rng(seed) if drawn else None
        return [i for view in multi_view_indices(num_frames, spec.num_frames, spec.views, generator) for i in view]

    kind = f"-drawn-{seed}" if drawn else "-middle" if spec.view_sampling == "middle" else ""
    selection = f"views-{spec.num_frames}x{spec.views}{kind}"
    if spec.eval_resize == "squash":
        resize, size = partial(squash, size=spec.size), f"squash-{spec.size}"
        frames, remark = _frames(spec, request, choose, resize, size, selection)
    else:
        short = short_side(spec.size, spec.crops)
        frames, remark = _frames(spec, request, choose, partial(shrink, short=short), short, selection)
    crops = test_views(frames, spec.size, spec.crops)
    # From [crops, views * T, ...]: every view of the first crop comes first.
    real = len(frames) // spec.views
    video = crops.reshape(spec.crops * spec.views, real, *crops.shape[2:])
    return PreparedClip(_padded(video.numpy(), spec.num_frames, axis=1), remark, real)


def _padded(frames: np.ndarray, count: int, axis: int = 0) -> np.ndarray:
    """The frames with zeros behind them, so that there are `count` of them."""
    missing = count - frames.shape[axis]
    if not missing:
        return frames
    return np.pad(frames, [(0, missing if each == axis else 0) for each in range(frames.ndim)])


def _frames(
    spec: ClipSpec, request: ClipRequest, choose: Choose, resize: Resize, size: int | str, selection: str
) -> tuple[np.ndarray, str]:
    """Chosen frames uint8 `[n, h, w, 3]` after `resize`, and a remark about the file.

    `size` names what `resize` gives, for the cache: the short side in pixels, or in words. `selection` names a choice
    that is the same every time, whose frames are worth caching; "" for a random one. Such a choice is of evaluation,
    which reads every clip once: its frames are kept on disk, not in memory.
    """
    if request.span is not None or spec.frames_per_second is not None:
        return _frames_by_time(spec, request, choose, resize, size, selection)
    path, cache, remember = request.path, spec.cache, not selection
    if cache is None:
        clip = spec.read(path, choose, spec.decoder)
        return resize(clip.frames), clip.reason
    whole_key = cache.key(path, spec.decoder, size, "whole")
    whole = cache.get(whole_key, remember=remember)
    if whole is not None:
        return whole.frames[list(choose(len(whole.frames)))], whole.remark
    chosen_key = cache.key(path, spec.decoder, size, selection)
    chosen = cache.get(chosen_key, remember=False) if selection else None
    if chosen is not None:
        return chosen.frames, chosen.remark

    def choose_or_all(num_frames: int) -> Sequence[int]:
        return range(num_frames) if num_frames <= WHOLE_CLIP_FRAMES else choose(num_frames)

    clip = spec.read(path, choose_or_all, spec.decoder)
    frames = resize(clip.frames)
    if clip.num_frames <= WHOLE_CLIP_FRAMES:
        cache.put(whole_key, CachedClip(frames, clip.reason), remember=remember)
        return frames[list(choose(clip.num_frames))], clip.reason
    if selection:
        cache.put(chosen_key, CachedClip(frames, clip.reason), remember=False)
    return frames, clip.reason


def _frames_by_time(
    spec: ClipSpec, request: ClipRequest, choose: Choose, resize: Resize, size: int | str, selection: str
) -> tuple[np.ndarray, str]:
    """As `_frames`, of a part of the file, or at a rate of its time. What is chosen at a rate is the same every time;
    the cache keeps it alone, never the whole clip, for it holds no times."""
    cache, rate, span, count = spec.cache, spec.frames_per_second, request.span, spec.num_frames
    if rate is not None:
        choose = partial(spread_indices, count=count, repeat=not spec.pads)
        selection = f"rate-{rate!r}-{count}{'' if spec.pads else '-repeated'}"

    def choose_by_time(times: FrameTimes) -> Sequence[int]:
        among = candidates(times, span, rate)
        return [among[place] for place in choose(len(among))]

    key = None if cache is None or not selection else cache.key(request.path, spec.decoder, size, f"{selection}-{span}")
    remember = request.epoch is not None  # evaluation reads every clip once
    kept = None if cache is None or key is None else cache.get(key, remember=remember)
    if kept is not None:
        return kept.frames, kept.remark
    clip = spec.read(request.path, ByTime(choose_by_time), spec.decoder)
    frames = resize(clip.frames)
    if cache is not None and key is not None:
        cache.put(key, CachedClip(frames, clip.reason), remember=remember)
    return frames, clip.reason


def _clip_seed(seed: int, draw: int | str, clip: str) -> int:
    """The same draw for the same (seed, epoch or purpose, clip), in whatever process and order clips are prepared."""
    digest = hashlib.sha256(f"{seed}/{draw}/{clip}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
