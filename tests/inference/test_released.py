"""Released checkpoints of ViFi-CLIP as adapters: made here, of a small CLIP under their names."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, DATASETS
from petl_bench.benchmarks.datasets.motion_render import render
from petl_bench.benchmarks.datasets.rendered import encode
from petl_bench.errors import WeightsError
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.released import FRAMES, PROMPTS
from petl_bench.inference.subject import frozen_backbone
from petl_bench.models.dual_encoder import DualEncoder
from tests.commands import petl_bench

Make = Callable[..., Path]


def renamed(published: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """CLIP's weights under the names of ViFi-CLIP, without the table of tokens."""
    visual = {name.replace("visual.", "image_encoder."): each for name, each in published.items() if "visual." in name}
    scale = {"logit_scale": published["logit_scale"]}
    text = ("positional_embedding", "text_projection", "transformer.", "ln_final.")
    rest = {f"text_encoder.{name}": each for name, each in published.items() if name.startswith(text)}
    return {f"{prefix}{name}": each for name, each in {**visual, **rest, **scale}.items()}


@pytest.fixture(scope="module")
def fine_tuned() -> DualEncoder:
    """clip-tiny with every weight changed but for the table of tokens, which is not trained."""
    model = pb.create_model("clip-tiny", num_frames=FRAMES)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "token_embedding" not in name:
                weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.eval()


@pytest.fixture
def make(tmp_path: Path, fine_tuned: DualEncoder) -> Make:
    """Writes a checkpoint as their trainer saves it, with changes."""

    def make(prefix: str = "module.", config: Any = None, **changes: Tensor | None) -> Path:
        start = fine_tuned.embed([""])[0].half().expand(4, -1, -1)
        tensors: dict[str, Any] = renamed(fine_tuned.published_state_dict(), prefix)
        tensors |= {f"{prefix}prompt_learner.complete_text_embeddings": start, **changes}
        file = tmp_path / "vifi_clip.pth"
        state = {"model": {name: each for name, each in tensors.items() if each is not None}, "max_accuracy": 71.2}
        torch.save({**state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 9, "config": config}, file)
        return file

    return make


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two clips of `motion`."""
    folder = tmp_path / "videos"
    folder.mkdir()
    dataset = DATASETS.get("motion")()
    for label in (0, 5):
        encode(render(dataset.scenes("test", label)[:1])[0], folder / f"clip_{label}.mp4")
    return folder


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_checkpoint_encodes_as_the_model_it_was_saved_from(
    make: Make, videos: Path, fine_tuned: DualEncoder, prefix: str
) -> None:
    model, paths = AdaptedModel(adapted(make(prefix)), "cpu"), {each.name: each for each in sorted(videos.iterdir())}
    frozen = AdaptedModel(replace(frozen_backbone("clip-tiny", None), backbone=BACKBONES.get("clip-tiny")(frames=32)))
    frozen.model = fine_tuned
    (found, _), (expected, _) = next(model.encoded(paths, 0)), next(frozen.encoded(paths, 0))
    assert torch.equal(found.output.features, expected.output.features)
    tokens = pb.tokenize(["a photo of a growing."], 32)
    assert torch.equal(model.model.encode_text(tokens), fine_tuned.encode_text(tokens))
    assert torch.equal(model.model.logit_scale, fine_tuned.logit_scale)
    classes = ("growing", "falling")
    (mine, _), (theirs, _) = (next(each.probabilities(paths, classes, prompts=PROMPTS)) for each in (model, frozen))
    assert (mine.scores == theirs.scores).all() and mine.scores.shape == (2, 2)


def test_it_reads_clips_and_names_of_classes_as_vifi_clip_does_and_says_what_is_not_known(make: Make) -> None:
    subject = adapted(make())
    model = AdaptedModel(subject, "cpu")
    assert (model.spec.num_frames, subject.prompts.of("archery")) == (32, ["a photo of a archery."])
    assert subject.title == "ViFi-CLIP checkpoint vifi_clip.pth" and subject.trial is None and not subject.classes
    notes = " ".join(model.notes)
    assert "not known here" in notes and "32 frames, one view" in notes and "table of tokens: from packaged" in notes


def test_its_settings_are_read_without_the_library_that_wrote_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class CfgNode(dict):  # type: ignore[type-arg]
        pass

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    settings = CfgNode(DATA=CfgNode(NUM_FRAMES=16))
    vars(settings).update(__immutable__=True, __deprecated_keys__=set())
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", module)
        file = make(config=settings)
    assert adapted(file).backbone.name == "clip-tiny"


def test_a_search_with_it(
    make: Make, fine_tuned: DualEncoder, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setenv("PETL_BENCH_CACHE", str(cache))
    arguments = ("search", "--videos", videos, "--query", "growing", "--format", "json", "--workers", "1")
    done = petl_bench(*arguments, "--adapter", make())
    assert done.returncode == 0, done.stderr
    hits = {hit["file"]: hit["similarity"] for hit in json.loads(done.stdout)["rankings"][0]["hits"]}
    turned = {"module.image_encoder.proj": -fine_tuned.published_state_dict()["visual.proj"]}
    again = petl_bench(*arguments, "--adapter", make(**turned))  # another checkpoint has an index of its own
    opposite = {hit["file"]: -hit["similarity"] for hit in json.loads(again.stdout)["rankings"][0]["hits"]}
    assert len(hits) == 2 and hits == pytest.approx(opposite, abs=1e-5)


def test_the_size_of_the_backbone_is_told_by_shapes(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = DualEncoder(BACKBONES.get("clip-b16").config, initialise=False)
    shapes = {name: torch.zeros(()).expand(each.shape) for name, each in renamed(large.published_state_dict()).items()}
    torch.save({"model": shapes}, file := tmp_path / "k400.pth")
    with pytest.raises(WeightsError, match=r"k400.pth holds no table of tokens, .*clip-b16 wants ViT-B-16-weights.pth"):
        adapted(file)


def test_two_backbones_of_the_same_shapes_are_not_told_apart(make: Make) -> None:
    pb.register_backbone("twin")(type("Twin", (BACKBONES.get("clip-tiny"),), {"__module__": "test_released"}))
    with pytest.raises(WeightsError, match="fit several backbones, clip-tiny and twin"):
        adapted(make())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"module.image_encoder.VPT": torch.zeros(10, 128)}, "1 unexpected: image_encoder.VPT"),
        ({"module.prompt_learner.ctx": torch.zeros(4, 128)}, "1 unexpected: prompt_learner.ctx"),
        ({"module.image_encoder.proj": None}, "1 missing: image_encoder.proj"),
        ({"module.logit_scale": torch.zeros(3)}, r"1 of another shape: logit_scale \[3\] instead of \[\]"),
        ({"module.\x1b[31mred": torch.zeros(3)}, r"1 unexpected: \[31mred"),
    ],
)
def test_what_does_not_map_is_one_line_that_names_it(make: Make, changes: dict[str, Any], words: str) -> None:
    file = make(**changes)
    with pytest.raises(WeightsError, match=f"neither an adapter of petl-bench nor .*for clip-tiny {words}"):
        adapted(file)
    done = petl_bench("search", "--videos", file.parent, "--query", "a", "--adapter", file)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "\x1b" not in done.stderr


def test_weights_that_cannot_be_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vifi_clip.pth: .*logit_scale"):
        AdaptedModel(adapted(make(**{"module.logit_scale": torch.tensor(float("nan"))})), "cpu")
    other = torch.ones(4, 32, 128, dtype=torch.float16)
    with pytest.raises(WeightsError, match="trained with another table of tokens"):
        AdaptedModel(adapted(make(**{"module.prompt_learner.complete_text_embeddings": other})), "cpu")
    with pytest.raises(WeightsError, match="type --weights FILE, not random"):
        adapted(make(), "random")
    with pytest.raises(WeightsError, match="holds more than weights: it wants to call pathlib"):
        adapted(make(config=tmp_path))
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(WeightsError, match=r"page.pth: not a weights file of torch"):
        adapted(tmp_path / "page.pth")
