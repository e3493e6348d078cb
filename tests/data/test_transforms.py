"""Augmentation draws once per clip and from its own generator alone; views are the published crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from petl_bench.api.dataset import Augmentation
from petl_bench.data.loading import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NOTHING = Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)


def clip(frames: int = 4, height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def train(frames: np.ndarray, augmentation: Augmentation, seed: int = 0, size: int = 32) -> torch.Tensor:
    return transforms.train_transform(frames, augmentation, size, MEAN, STD, torch.Generator().manual_seed(seed))


def pixels(video: torch.Tensor) -> torch.Tensor:
    """Back from normalised to 0 .. 255."""
    return (video * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255


def test_without_augmentation_only_the_numbers_change() -> None:
    frames = clip(height=32, width=32)
    video = train(frames, NOTHING)
    assert video.dtype == torch.float32
    assert video.is_contiguous()
    torch.testing.assert_close(pixels(video).permute(0, 2, 3, 1), torch.from_numpy(frames).float(), atol=1e-3, rtol=0)


def test_every_frame_of_a_clip_gets_the_same_draw() -> None:
    still = np.repeat(clip(1), 6, axis=0)
    for seed in range(20):
        video = train(still, Augmentation(), seed)
        assert torch.equal(video, video[:1].expand_as(video))


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    assert torch.equal(train(clip(), Augmentation(), 3), train(clip(), Augmentation(), 3))
    assert not torch.equal(train(clip(), Augmentation(), 3), train(clip(), Augmentation(), 4))


def test_global_random_numbers_are_neither_used_nor_moved() -> None:
    torch.manual_seed(1)
    first = train(clip(), Augmentation(), 5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, train(clip(), Augmentation(), 5))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_the_number_of_threads_changes_nothing() -> None:
    frames, threads = clip(8, 120, 160), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append([train(frames, Augmentation(jitter=1.0), seed, 112) for seed in range(3)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_a_certain_flip_mirrors_and_a_certain_grey_has_equal_channels() -> None:
    frames = clip(height=32, width=32)
    plain = train(frames, NOTHING)
    mirrored = train(frames, Augmentation((1.0, 1.0), (1.0, 1.0), flip=1.0, jitter=0.0, grey=0.0))
    grey = pixels(train(frames, Augmentation((1.0, 1.0), (1.0, 1.0), flip=0.0, jitter=0.0, grey=1.0)))
    assert torch.equal(mirrored, plain.flip(-1))
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-3, rtol=0)


def test_chances_are_as_declared() -> None:
    frames = clip(1, 32, 32)
    plain = train(frames, NOTHING)
    flips = Augmentation((1.0, 1.0), (1.0, 1.0), flip=0.3, jitter=0.0, grey=0.0)
    changed = sum(not torch.equal(train(frames, flips, seed), plain) for seed in range(500))
    assert 110 <= changed <= 190


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 2**31))
def test_frames_of_any_size_become_the_model_s_size(height: int, width: int, seed: int) -> None:
    video = train(clip(2, height, width), Augmentation(), seed, size=16)
    assert video.shape == (2, 3, 16, 16)
    assert torch.isfinite(video).all()


def test_crops_cover_the_declared_part_of_the_frame() -> None:
    gradient = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    gradient[..., 0] = np.arange(64) * 4
    crops = Augmentation(crop_scale=(0.25, 0.25), crop_ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)
    red = [pixels(train(gradient, crops, seed))[0, 0] for seed in range(50)]
    spans = [float(image.max() - image.min()) / 4 for image in red]
    assert all(30 <= span <= 33 for span in spans)
    starts = [float(image.min()) / 4 for image in red]
    assert min(starts) < 6
    assert max(starts) > 26


def test_one_view_is_the_centre_of_the_resized_frame() -> None:
    frames = np.zeros((2, 256, 400, 3), dtype=np.uint8)
    frames[:, 16:240, 88:312] = 255
    views = transforms.test_views(frames, 224, 1)
    assert views.dtype == torch.uint8
    assert torch.equal(views, torch.full((1, 2, 3, 224, 224), 255, dtype=torch.uint8))


@pytest.mark.parametrize("upright", [False, True])
def test_three_views_are_the_two_ends_and_then_the_middle(upright: bool) -> None:
    frames = np.zeros((2, 32, 72, 3), dtype=np.uint8)
    frames[:, :, :32], frames[:, :, 40:] = 50, 150
    frames = np.ascontiguousarray(frames.transpose(0, 2, 1, 3)) if upright else frames
    views = transforms.test_views(frames, 32, 3).float()
    assert views.shape == (3, 2, 3, 32, 32)
    assert views[0].mean().item() == pytest.approx(50, abs=0.01)
    assert views[1].mean().item() == pytest.approx(150, abs=0.01)
    assert views[2].mean().item() == pytest.approx((50 * 12 + 150 * 12) / 32, abs=0.01)


def test_frames_of_the_model_s_size_are_left_as_they_are() -> None:
    frames = clip(height=32, width=32)
    assert np.array_equal(transforms.test_views(frames, 32, 1)[0].permute(0, 2, 3, 1), frames)


def test_evaluation_is_normalised_as_training_is_bit_for_bit() -> None:
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    views = transforms.test_views(frames, 16, 1)
    assert torch.equal(transforms.to_input(views, MEAN, STD)[0], train(frames, NOTHING, size=16))
    assert views.dtype == torch.uint8 and int(views.max()) == 255  # and the views are left as they were


def test_shrinking_never_enlarges_and_leaves_evaluation_as_it_is() -> None:
    small, large = clip(height=30, width=50), clip(height=128, width=100)
    assert transforms.shrink(small, 37) is small
    assert transforms.shrink(large, 37).shape == (4, 47, 37, 3)
    direct = transforms.test_views(large, 32, 1)
    assert torch.equal(transforms.test_views(transforms.shrink(large, 37), 32, 1), direct)


@given(shift=st.floats(-0.5, 0.5), seed=st.integers(0, 100), levels=st.sampled_from([2, 5, 256]))
@settings(deadline=None)
def test_hues_turn_as_torchvision_turns_them(shift: float, seed: int, levels: int) -> None:
    """With few levels many pixels are grey, or have two channels alike."""
    generator = torch.Generator().manual_seed(seed)
    video = torch.randint(0, levels, (2, 3, 16, 20), generator=generator) / (levels - 1)
    expected = F.adjust_hue(video, shift)
    turned = transforms._shift_hue(video, shift)
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    assert turned.min() >= 0 and turned.max() <= 1 + 1e-6
