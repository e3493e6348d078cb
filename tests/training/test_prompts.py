"""Prompts in training and evaluation: one template gives what it always gave, an ensemble the mean of its cosines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import petl_bench as pb
from petl_bench.api.prompts import Prompts
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial, TrialResult
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.data.loading.clip_preparation import ClipRequest, ClipSpec, prepare
from petl_bench.data.loading.sampling import middle_indices
from petl_bench.errors import TrialError, TrialStopped, UsageError
from petl_bench.training.distributed import Seat
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.run_trial import run_trial
from petl_bench.training.text import TextFeatures, class_directions, class_tokens, prompt_notes

MakeTrial = Callable[..., Trial]
CPU = torch.device("cpu")
NAMES = ("pour water", "jump", "open box")
PAIR = Prompts(("a photo of {}.", "{}, which somebody filmed"))
CONFIG = pb.ViCLIPConfig(
    image_size=32, num_frames=4, embed_dim=32, vision_width=64, vision_layers=2, vision_heads=2, text_width=32,
    text_layers=2, text_heads=2,
)  # fmt: skip


@pytest.fixture
def model() -> pb.DualEncoder:
    torch.manual_seed(0)
    return pb.create_model(CONFIG).eval()


def run(trial: Trial, places: Places, folder: Path) -> TrialResult:
    folder.mkdir(parents=True, exist_ok=True)
    return run_trial(trial, places, folder, lambda progress: None)


def by_hand(model: pb.DualEncoder, texts: list[str]) -> torch.Tensor:
    """Unit features of texts, one at a time."""
    return torch.cat([functional.normalize(model.encode_text(pb.tokenize(text)), dim=-1) for text in texts])


def test_one_template_gives_the_features_of_its_prompts_bit_for_bit(model: pb.DualEncoder) -> None:
    tokens = class_tokens(model, NAMES, Prompts(("a video of {}.",)), CPU)
    assert torch.equal(tokens, pb.tokenize([f"a video of {name}." for name in NAMES]))
    features = TextFeatures(model, tokens)()
    assert torch.equal(features, model.encode_text(model.prepare_text(tokens)))
    assert torch.equal(class_directions(features, tokens), functional.normalize(features, dim=-1))


def test_the_cosine_with_a_class_is_the_mean_of_those_with_its_prompts(model: pb.DualEncoder) -> None:
    tokens = class_tokens(model, NAMES, PAIR, CPU)
    assert tokens.shape == (3, 2, CONFIG.context_length)
    video = functional.normalize(torch.randn(5, CONFIG.embed_dim), dim=-1)
    found = video @ class_directions(TextFeatures(model, tokens)(), tokens).T
    each = [video @ by_hand(model, [template.format(name) for name in NAMES]).T for template in PAIR.templates]
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)
    renormalised = functional.normalize(TextFeatures(model, tokens)(), dim=-1)
    assert not torch.allclose(found, video @ renormalised.T, atol=1e-4), "the mean is not normalised again"


@pytest.mark.parametrize("name", ["msta", "text_adapter", "lora", "full_finetune"])
def test_the_gradient_of_an_ensemble_is_the_mean_over_its_prompts(name: str) -> None:
    torch.manual_seed(1)
    values = {"lora": {"rank": 2, "towers": "both"}, "full_finetune": {}}.get(name, {"bottleneck_dim": 8})
    model = pb.create_model(CONFIG)
    pb.create_method(name, **values).attach(model)
    model.eval()  # no dropout
    for parameter in model.parameters():
        if parameter.requires_grad:  # way up and B start at zero, which would hide the rest
            torch.nn.init.normal_(parameter, std=0.05)
    weights = torch.randn(3, CONFIG.embed_dim)
    trained = {key: each for key, each in model.named_parameters() if each.requires_grad and key.startswith("text.")}

    def gradients(features: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
        model.zero_grad(set_to_none=True)
        (features() * weights).sum().backward()
        return {key: each.grad.clone() for key, each in trained.items() if each.grad is not None}

    both = gradients(TextFeatures(model, class_tokens(model, NAMES, PAIR, CPU)))
    alone = [
        gradients(lambda template=template: by_hand(model, [template.format(each) for each in NAMES]))
        for template in PAIR.templates
    ]
    assert both and both.keys() == alone[0].keys()
    for key, gradient in both.items():
        torch.testing.assert_close(gradient, (alone[0][key] + alone[1][key]) / 2, atol=1e-5, rtol=1e-3)
    assert any(not torch.allclose(alone[0][key], alone[1][key], atol=1e-4) for key in both), "both prompts count"


def test_the_scores_of_a_trial_are_of_the_ensemble(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("zero_shot", dataset={"template": "|".join(PAIR.templates)})
    assert trial.key != make_trial("zero_shot").key
    result = run(trial, places, tmp_path)
    assert result.environment["prompt_template"] == str(PAIR)
    job = PreparedTrial(trial, places, tmp_path, lambda progress: None, seat=Seat())
    evaluation, expected = job.task.evaluations[0], []
    with job.loader, torch.no_grad():
        model = job.model.eval()
        text = sum(
            by_hand(model, [template.format(name) for name in evaluation.classes]) for template in PAIR.templates
        )
        for batch in job.loader.test_batches(evaluation.samples, 1):
            video = functional.normalize(model.encode_video(job.loader.to_input(batch.frames[0])), dim=-1)
            expected.append((model.logit_scale * video @ (text / 2).T).softmax(-1).numpy())
    np.testing.assert_allclose(result.evaluations["base"].scores, np.concatenate(expected), atol=1e-5)


def test_an_ensemble_trains_and_goes_on_after_a_stop(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("msta", {"bottleneck_dim": 8}, dataset={"template": "|".join(PAIR.templates)})
    whole = run(trial, places, tmp_path / "whole")
    asked = iter([""] * 3 + ["enough"] * 1000)
    with pytest.raises(TrialStopped, match="enough"):
        (tmp_path / "cut").mkdir()
        run_trial(trial, places, tmp_path / "cut", lambda progress: None, stop=lambda: next(asked))
    again = run(trial, places, tmp_path / "cut")
    for name, evaluation in whole.evaluations.items():
        assert np.array_equal(evaluation.scores, again.evaluations[name].scores)
    other = run(make_trial("msta", {"bottleneck_dim": 8}), places, tmp_path / "other")
    assert [row["loss"] for row in other.history] != [row["loss"] for row in whole.history]


def test_a_prompt_without_room_for_the_class_ends_the_trial(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("zero_shot", dataset={"template": "word " * 2000 + "{}."})
    with pytest.raises(TrialError, match="no room for a class's name: the text tower reads 32 tokens"):
        run(trial, places, tmp_path)


def test_what_is_cut_of_prompts_is_said(model: pb.DualEncoder) -> None:
    long = "very " * 28 + "{} and more"
    assert prompt_notes(model, _prompts(NAMES, "a video of {}.")) == []
    assert prompt_notes(model, _prompts(NAMES, long, "{}")) == [
        "3 of 6 prompts are longer than the text context of 32 tokens and were cut"
    ]
    assert prompt_notes(model, _prompts(("long " * 40 + "jump", "long " * 40 + "run", "sit"), "{}")) == [
        "2 of 3 prompts are longer than the text context of 32 tokens and were cut",
        "1 of 3 classes have the same prompts as another one and cannot be told from it",
    ]
    assert prompt_notes(model, [["jump", "leap"], ["jump"], ["jump", "leap"]]) == [
        "1 of 3 classes have the same prompts as another one and cannot be told from it"
    ]


def _prompts(classes: Sequence[str], *templates: str) -> list[list[str]]:
    return [Prompts(templates).of(name) for name in classes]


# The rest of ViCLIP's protocol


def _wide(count: int) -> np.ndarray:
    """Frames [count, 48, 96, 3]: a red left and a blue right edge, which a centre crop does not see."""
    frames = np.zeros((count, 48, 96, 3), np.uint8)
    frames[:, :, :16, 0], frames[:, :, -16:, 2] = 255, 255
    frames[:, :, 40:56, 1] = np.arange(count, dtype=np.uint8)[:, None, None]
    return frames


class _Decoded:
    def __init__(self, frames: np.ndarray, num_frames: int) -> None:
        self.frames, self.num_frames, self.reason = frames, num_frames, ""


@pytest.mark.parametrize("count", [10, 200])
def test_squashed_frames_hold_the_whole_picture_and_their_own_place_in_the_cache(count: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"clip")
    reads = []

    def read(path: Path, choose: Callable[[int], list[int]], decoder: str) -> _Decoded:
        reads.append(path)
        return _Decoded(_wide(count)[list(choose(count))], count)

    shared = {"num_frames": 4, "size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "read": read}
    cropped = ClipSpec(**shared, cache=ClipCache(tmp_path / "cache"))  # type: ignore[arg-type]
    squashed = ClipSpec(**shared, cache=ClipCache(tmp_path / "cache"), eval_resize="squash")  # type: ignore[arg-type]
    request = ClipRequest("clip.mp4", path, 0)
    first = prepare(cropped, request).frames
    whole = prepare(squashed, request).frames
    assert whole.shape == first.shape == (1, 4, 3, 32, 32)
    assert first[..., 0, :, :].max() < 100, "the centre only"
    assert whole[..., 0, :, :3].min() > 200 and whole[..., 2, :, -3:].min() > 200, "both edges"
    assert np.array_equal(prepare(squashed, request).frames, whole) and len(reads) == 2, "from the cache"
    assert np.array_equal(prepare(cropped, request).frames, first) and len(reads) == 2


def test_middle_frames_are_those_of_viclip_and_no_other_choice_gets_them_from_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"clip")

    def read(path: Path, choose: Callable[[int], list[int]], decoder: str) -> _Decoded:
        return _Decoded(_wide(80)[list(choose(80))], 80)

    shared = {"num_frames": 8, "size": 48, "mean": (0.5,) * 3, "std": (0.25,) * 3, "read": read}
    request = ClipRequest("clip.mp4", path, 0)
    seen = {}
    for sampling in ("uniform", "middle", "uniform"):
        recipe = ClipSpec(**shared, cache=ClipCache(tmp_path / "cache"), view_sampling=sampling)  # type: ignore[arg-type]
        seen[sampling] = prepare(recipe, request).frames[0, :, 1, 24, 24].tolist()
    assert seen["middle"] == middle_indices(80, 8) == [4, 14, 24, 34, 44, 54, 64, 74]
    assert seen["uniform"] == [5, 15, 25, 35, 45, 55, 65, 75]


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(UsageError, match=r"eval_resize=squash shows whole frames: set training\.crops=1"):
        TrainingOptions(eval_resize="squash", crops=3)
    with pytest.raises(UsageError, match=r"view_sampling=middle is one temporal clip: set training\.views=1"):
        TrainingOptions(view_sampling="middle", views=4)


def test_the_new_training_options_are_in_the_key_only_if_they_are_set() -> None:
    assert "eval_resize" not in TrainingOptions().values()
    assert TrainingOptions(eval_resize="squash").values()["eval_resize"] == "squash"
