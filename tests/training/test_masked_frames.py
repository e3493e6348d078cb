"""Padding of short clips reaches nothing: not features, steps, caches, or the loss of a whole batch."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.api.registry import BACKBONES
from petl_bench.api.trial import Places, Trial
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.grid import Grid
from petl_bench.models.towers import VideoOutput
from petl_bench.testing.harness import (
    CONFIGS,
    Taken,
    bound,
    clip_batch,
    in_processes,
    learner_for,
    random_model,
    take_step,
)
from petl_bench.training.distributed import Seat, Team
from petl_bench.training.run_trial import run_trial
from petl_bench.training.video import joined_masks, packed, unpacked
from tests.training.conftest import CLASSES, MakeTrial, write_video

CLIP = CONFIGS["CLIP, 4 frames"]
#: Of 4 frames, those that are real.
REAL = [1, 4, 3, 2]
SEEN: list[tuple[str, int]] = []
LOCK = threading.Lock()


def mask_of(real: list[int], count: int = 4) -> Tensor:
    return torch.arange(count) < torch.tensor(real)[:, None]


class Sees(nn.Module):
    """Leaves tokens as they are, and remembers their grids."""

    def __init__(self) -> None:
        super().__init__()
        self.grids: list[Grid] = []

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        self.grids.append(grid)
        return torch.zeros_like(x)


@pytest.mark.parametrize("pooling", ["mean", "unit_mean"])
def test_a_padded_clip_has_the_feature_that_it_has_alone(pooling: str) -> None:
    model = random_model(CLIP.with_(pooling=pooling))
    frames, mask = torch.randn(4, 4, 3, 32, 32), mask_of(REAL)
    with torch.no_grad():
        mixed = model.encode_video(frames, mask)
        other = model.encode_video(torch.where(mask[..., None, None, None], frames, torch.randn(())), mask)
        for row, real in enumerate(REAL):
            assert_close(model.encode_video(frames[row : row + 1, :real])[0], mixed[row], rtol=1e-4, atol=1e-5)
            assert_close(model.encode_video(frames[row : row + 1], mask[row : row + 1])[0], mixed[row])
    assert_close(other, mixed)


def test_unit_mean_is_clip4clips_pooling() -> None:
    model, frames = random_model(CLIP.with_(pooling="unit_mean")), torch.randn(2, 4, 3, 32, 32)
    output = model.video_output(frames, ["frames"])
    assert output.frame_features is not None
    assert_close(output.features, F.normalize(output.frame_features, dim=-1).mean(1))
    for config, words in ((CONFIGS["ViCLIP, 4 frames"], "ViCLIP has no features of frames"), (CLIP, "expected one of")):
        with pytest.raises(pb.UsageError, match=words):
            random_model(config.with_(pooling="unit_mean" if config.joint_space_time else "max"))


def test_modules_see_the_mask_in_their_grid_and_pools_get_it() -> None:
    model, sees, pooled = random_model(CLIP), Sees(), []
    for block in model.blocks("video"):
        block.feedforward.add_parallel(sees, with_grid=True)
    plain, mask = torch.randn(4, 4, 3, 32, 32), mask_of(REAL)
    model.encode_video(plain)
    model.encode_video(plain, mask)
    layers = len(model.blocks("video"))
    assert [grid.mask for grid in sees.grids[:layers]] == [None] * layers
    assert all(grid.mask is mask for grid in sees.grids[layers:])

    class Pool(nn.Module):
        def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
            pooled.append(mask)
            return features[:, 0]

    model.set_pool(Pool())
    model.encode_video(plain, mask)
    assert pooled == [mask]


def test_a_mask_that_does_not_fit_is_refused() -> None:
    frames = torch.randn(2, 4, 3, 32, 32)
    with pytest.raises(pb.UsageError, match="ViCLIP attends to all frames"):
        random_model(CONFIGS["ViCLIP, 4 frames"]).encode_video(frames, mask_of([4, 2]))
    for mask in (mask_of([4, 2, 1]), mask_of([4, 2]).float()):
        with pytest.raises(pb.UsageError, match=r"expected bool \[2, 4\]"):
            random_model(CLIP).encode_video(frames, mask)
    model = random_model(CLIP)

    class Merge(nn.Module):
        def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
            return x.unflatten(0, (-1, 2)).mean(1), replace(grid, frames=grid.frames // 2)

    model.blocks("video")[0].reduce(Merge())
    model.encode_video(frames)
    with pytest.raises(pb.PluginError, match="merged 4 frames into 2, and left a mask of 4"):
        model.encode_video(frames, mask_of([4, 2]))


def test_what_is_kept_of_padded_clips_comes_back() -> None:
    config, mask = CLIP.with_(pooling="unit_mean"), mask_of(REAL)
    model = random_model(config)
    for reads in ([], ["frames"]):
        output = model.video_output(torch.randn(4, 4, 3, 32, 32), reads, mask)
        again = unpacked(packed(output, 4), config, bool(reads), 4)
        assert again.mask is not None and torch.equal(again.mask, mask)
        assert_close(again.features, output.features)
        whole = unpacked(packed(replace(output, mask=None), 4), config, bool(reads), 4)
        assert whole.mask is not None and whole.mask.all()
    assert torch.equal(packed(VideoOutput(torch.ones(2, 3))), torch.ones(2, 3))
    assert joined_masks([None, None], [1, 2]) is None
    joined = joined_masks([None, mask], [2, 4])
    assert joined is not None and torch.equal(joined, torch.cat([torch.ones(2, 4, dtype=torch.bool), mask]))


class Watches(pb.Method):
    """Checks every step that it sees: features are pooled over the frames that the step's mask calls real."""

    __module__ = "petl_bench.testing"
    reads = ("frames",)

    def attach(self, model: pb.DualEncoder) -> None:
        model.heads["watches"] = nn.ParameterList([nn.Parameter(torch.ones(()))])

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        return 1

    def prepare(self, support: pb.Support) -> None:
        for step in support.encode():
            self._look(step, "prepare")

    def scores(self, step: pb.Step) -> Tensor:
        self._look(step, "training" if step.training else "evaluation")
        scale: Tensor = step.model.heads["watches"][0]  # type: ignore[index]
        return scale * step.cosine_logits()

    def _look(self, step: pb.Step, where: str) -> None:
        assert step.frame_features is not None
        real = torch.ones(step.frame_features.shape[:2]) if step.mask is None else step.mask.float()
        mean = (step.frame_features * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        assert_close(step.video_features, mean)
        SEEN.extend((where, int(count)) for count in real.sum(1).tolist())


def step_on(batch: ClipBatch, method: pb.Method, kind: Any, team: Team | None = None, **training: Any) -> Taken:
    """One step of a method, whose parameters are drawn anew, on a batch; a team's process takes its clips of it."""
    with LOCK:  # random weights are drawn from torch's own generator
        model = random_model(CLIP)
        bound(method, kind).attach(model)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    seat = Seat() if team is None else team.seat
    rows = batch.rows[seat.rank :: seat.count]
    mask = None if batch.mask is None or batch.mask[rows].all() else batch.mask[rows]
    clips = [batch.clips[row] for row in rows]
    own = replace(batch, frames=batch.frames[rows], labels=batch.labels[rows], clips=clips, rows=rows, mask=mask)
    return take_step(learner_for(model, method, team=team, **training), own)


def agree(one: Taken, other: Taken) -> None:
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    for name, gradient in other.gradients.items():
        assert_close(one.gradients[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["classification", "retrieval"])
def test_a_step_on_padded_and_whole_clips_is_the_same_in_parts_and_processes(kind: str) -> None:
    batch = clip_batch(CLIP)
    real = [4 if row % 2 == 0 else REAL[row // 2 % 4] for row in batch.rows]  # of two processes, one has no mask
    padded = replace(batch, mask=mask_of(real))
    whole = step_on(padded, pb.create_method("lora", rank=2), kind)
    agree(step_on(padded, pb.create_method("lora", rank=2), kind, micro_batch_size=1), whole)
    agree(in_processes(2, lambda team: step_on(padded, pb.create_method("lora", rank=2), kind, team)), whole)
    assert step_on(batch, pb.create_method("lora", rank=2), kind).loss != pytest.approx(whole.loss, rel=1e-5)
    SEEN.clear()
    in_processes(2, lambda team: step_on(padded, Watches(), kind, team))
    assert {count for _, count in SEEN} == set(real)


@pytest.fixture
def watches() -> str:
    """The name of the method that checks every step."""
    SEEN.clear()
    pb.register_method("watches")(Watches)
    return "watches"


@pytest.fixture
def short_and_long(tmp_path: Path) -> Path:
    """A folder data set: 6 and 12 frames at 8 per second."""
    root, lists = tmp_path / "data", {"train": [], "test": []}  # type: ignore[var-annotated]
    for label, (name, colour) in enumerate(CLASSES.items()):
        for index in range(9):
            part, frames = "train" if index < 6 else "test", 6 + 6 * (index % 2)
            clip = f"{name.replace(' ', '_')}/{part}_{index}.mp4"
            write_video(root / clip, colour, seed=100 * label + index, frames=frames)
            lists[part].append(f"{clip} {label}")
    for part, rows in lists.items():
        (root / f"{part}.txt").write_text("\n".join(rows) + "\n")
    (root / "labels.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    return root


def trial_of(make_trial: MakeTrial, method: str, root: Path, **training: object) -> Trial:
    trial = make_trial(method, dataset={"path": str(root)}, frames_per_second=4.0, **training)
    options = {"frames": 4, "context_length": 16}
    return replace(trial, backbone="clip-tiny", backbone_options=options)


@pytest.mark.parametrize("views", ["fixed", "augmented"])
def test_trials_see_the_masks_of_short_clips_everywhere(
    views: str, watches: str, make_trial: MakeTrial, short_and_long: Path, places: Places, tmp_path: Path
) -> None:
    trial = trial_of(make_trial, watches, short_and_long, train_views=views, select="val", eval_every=1)
    (tmp_path / "trial").mkdir()
    result = run_trial(trial, places, tmp_path / "trial", lambda progress: None)
    assert set(SEEN) == {(where, real) for where in ("prepare", "training", "evaluation") for real in (3, 4)}
    assert any(
        note.startswith("frames: 4 per second of the file's time, and 4 of them evenly") for note in result.notes
    )
    config = BACKBONES.get("clip-tiny")(**trial.backbone_options).model_config
    assert (config.num_frames, config.context_length) == (4, 16)


def test_a_backbone_that_reads_no_masks_repeats_frames_and_says_so(
    make_trial: MakeTrial, short_and_long: Path, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("zero_shot", dataset={"path": str(short_and_long)}, frames_per_second=4.0, epochs=0)
    (tmp_path / "trial").mkdir()
    result = run_trial(trial, places, tmp_path / "trial", lambda progress: None)
    words = "small encodes all frames together and reads no mask: shorter clips repeat frames"
    assert any(words in note for note in result.notes)
