"""From decoded frames to a model's input: one draw of augmentation parameters per clip, and the views of evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from petl_bench.api.dataset import Augmentation


def short_side(size: int, crops: int) -> int:
    """Pixels of the short side before cropping `size` x `size`: 256 for 224, and `size` itself for three crops."""
    return size if crops == 3 else round(size * 256 / 224)


def shrink(frames: np.ndarray, short: int) -> np.ndarray:
    """Frames uint8 `[T, H, W, 3]` brought to a short side of at most `short` pixels; never enlarged."""
    if min(frames.shape[1:3]) <= short:
        return frames
    video = _resize_short_side(torch.from_numpy(frames).permute(0, 3, 1, 2), short)
    return np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())


def squash(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames uint8 `[T, H, W, 3]` as `[T, size, size, 3]`, whatever their shape: nothing is cut off, shapes change.

    ViCLIP's evaluation (bicubic); here anti-aliased, as every other resizing.
    """
    if frames.shape[1:3] == (size, size):
        return frames
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    video = _resize(video, [size, size])
    return np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())


def train_transform(
    frames: np.ndarray,
    augmentation: Augmentation,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    generator: torch.Generator,
) -> torch.Tensor:
    """Augment and normalise frames uint8 `[T, H, W, 3]`: float32 `[T, 3, size, size]`.

    Random resized crop (bicubic, anti-aliased), horizontal flip, colour jitter, greyscale; every parameter is drawn
    once per clip, from `generator` alone. (X-CLIP and ViFi-CLIP draw jitter factors per frame and crop at fixed
    scales.)
    """
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    top, left, height, width = _crop_box(video.shape[-2], video.shape[-1], augmentation, generator)
    video = video[..., top : top + height, left : left + width]
    if (height, width) != (size, size):
        video = _resize(video, [size, size])
    if _happens(augmentation.flip, generator):
        video = video.flip(-1)
    pixels = video.to(torch.float32).div_(255)
    if _happens(augmentation.jitter, generator):
        pixels = _jitter(pixels, augmentation.jitter_strength, generator)
    if _happens(augmentation.grey, generator):
        pixels = F.rgb_to_grayscale(pixels, num_output_channels=3)
    return _normalise(pixels, mean, std)


def to_input(video: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Views uint8 `[..., 3, size, size]` as a model reads them: float32, normalised, on their own device.

    The same bits on every device: a GPU would multiply by 1/255 if it is told a number, but divides by a tensor.
    """
    pixels = video.to(torch.float32)
    return _normalise(pixels.div_(torch.tensor(255.0, device=pixels.device)), mean, std)


def test_views(frames: np.ndarray, size: int, crops: int) -> torch.Tensor:
    """The spatial views of one temporal view: frames uint8 `[T, H, W, 3]` -> uint8 `[crops, T, 3, size, size]`.

    One crop: short side resized to 256/224 of `size`, centre. Three: short side resized to `size`, then the left (top),
    right (bottom) and middle crop, in the published order. Frames that are `size` x `size` already are left as they
    are. Resizing rounds to whole pixel values, so nothing is lost before `to_input`.
    """
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if video.shape[-2:] != (size, size):
        video = _resize_short_side(video, short_side(size, crops))
    height, width = video.shape[-2:]
    rows, columns = height - size, width - size
    middle = (rows // 2, columns // 2)
    ends = [(0, middle[1]), (rows, middle[1])] if rows > columns else [(middle[0], 0), (middle[0], columns)]
    corners = [*ends, middle] if crops == 3 else [middle]
    return torch.stack([video[..., top : top + size, left : left + size] for top, left in corners])


def _resize_short_side(video: torch.Tensor, short: int) -> torch.Tensor:
    return video if min(video.shape[-2:]) == short else _resize(video, [short])


def _resize(video: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Bicubic, anti-aliased; `size` is height and width, or the short side."""
    resized: torch.Tensor = F.resize(video, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    return resized


def _crop_box(
    height: int, width: int, augmentation: Augmentation, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random resized crop (Szegedy et al. 2015), with torchvision's fall-back."""
    area = height * width
    low, high = augmentation.crop_ratio
    for _ in range(10):
        scale, ratio, at_y, at_x = torch.rand(4, generator=generator).tolist()
        wanted = area * (augmentation.crop_scale[0] + scale * (augmentation.crop_scale[1] - augmentation.crop_scale[0]))
        aspect = math.exp(math.log(low) + ratio * (math.log(high) - math.log(low)))
        crop_width, crop_height = round(math.sqrt(wanted * aspect)), round(math.sqrt(wanted / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top, left = int(at_y * (height - crop_height + 1)), int(at_x * (width - crop_width + 1))
            return top, left, crop_height, crop_width
    crop_width = min(width, round(height * high))
    crop_height = min(height, round(crop_width / low))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _jitter(pixels: torch.Tensor, strength: Sequence[float], generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation and hue in random order, each by one factor for the whole clip.

    Contrast pulls each frame towards its own mean grey level, as in torchvision.
    """
    steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, _shift_hue)
    order = torch.randperm(4, generator=generator).tolist()
    draws = torch.rand(4, generator=generator).mul_(2).sub_(1).tolist()
    for kind in order:
        if strength[kind] > 0:
            change = draws[kind] * strength[kind]
            pixels = steps[kind](pixels, change if kind == 3 else max(0.0, 1 + change))
    return pixels


def _shift_hue(pixels: torch.Tensor, shift: float) -> torch.Tensor:
    """Colours `[..., 3, H, W]` in 0 to 1, turned by `shift` of the hue circle; lightness and saturation stay (HSV).

    What torchvision's `adjust_hue` gives, to rounding, without its way to HSV and back, which took most of the time of
    a training clip. With V the largest and D the spread of a pixel's channels, and H its hue from 0 to 6:
    red = V - D + D clamp(|H - 3| - 1, 0, 1), green the same of (H + 4) mod 6, blue of (H + 2) mod 6.
    """
    red, green, blue = pixels.unbind(-3)
    largest = torch.maximum(torch.maximum(red, green), blue)
    spread = largest - torch.minimum(torch.minimum(red, green), blue)
    scale = spread.clamp(min=1e-12).reciprocal_()
    of_green_or_blue = torch.where(largest == green, 2 + (blue - red) * scale, 4 + (red - green) * scale)
    hue = torch.where(largest == red, (green - blue) * scale, of_green_or_blue).add_(6 * shift)
    turned = torch.empty_like(pixels)
    for channel, offset in zip(turned.unbind(-3), (0, 4, 2), strict=True):
        place = hue + offset
        place.sub_(torch.floor(place / 6).mul_(6))
        part = place.sub_(3).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(largest, part.sub_(1), spread, out=channel)
    return turned


def _happens(probability: float, generator: torch.Generator) -> bool:
    return probability > 0 and torch.rand((), generator=generator).item() < probability


def _normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(pixels - mean) / std, contiguous; overwrites `pixels` if it can."""
    centre = torch.tensor(mean, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    spread = torch.tensor(std, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
    return pixels.contiguous().sub_(centre).div_(spread)
