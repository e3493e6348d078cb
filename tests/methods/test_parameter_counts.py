"""Parameter counts on ViCLIP-B/16, in the model (built without memory) and by the formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import petl_bench as pb

B16 = pb.ViCLIPConfig()
PUBLISHED = [
    ("zero_shot", {}, 0),
    ("full_finetune", {}, 124_306_945),
    ("full_finetune", {"token_embedding": True}, 149_603_841),
    ("full_finetune", {"towers": "video", "temperature": False}, 86_198_784),
    ("adaptformer", {"bottleneck_dim": 256}, 7_885_824),
    ("lora", {"rank": 256, "targets": ("q", "v"), "towers": "video"}, 9_437_184),
    ("msta", {"bottleneck_dim": 256, "first_layer": 1, "last_layer": 12}, 8_712_192),
    ("msta", {"bottleneck_dim": 128, "first_layer": 8, "last_layer": 12}, 1_744_000),
    ("msta", {"bottleneck_dim": 128}, 4_185_600),
    ("msta", {"bottleneck_dim": 64}, 2_069_760),
    ("msta", {"shared": False}, 8_712_192 - 12 * (256 * 256 + 256)),
    ("vision_adapter", {}, 5_557_248),
    ("text_adapter", {}, 3_944_448),
    ("clip_adapter", {}, 131_072),
    ("linear_probe", {}, 26_163),
    ("taskres", {}, 26_112),
    ("tip_adapter", {}, 0),
    ("tip_adapter_f", {}, 417_792),
    ("houlsby", {}, 4_031_488),
    ("houlsby", {"layer_norms": False}, 3_965_952),
    ("houlsby", {"layer_norms": False, "places": "feedforward"}, 1_982_976),
    ("houlsby", {"biases": True}, 3_965_952 + 171_008 + 32_768),
    ("ln_tuning", {}, 65_536),
    ("ln_tuning", {"towers": "video"}, 39_936),
    ("ln_tuning", {"towers": "text"}, 25_600),
    ("ia3", {}, 92_160),
    ("ia3", {"towers": "video"}, 55_296),
    ("ia3", {"towers": "text"}, 36_864),
    ("parallel_adapter", {}, 1_982_976),
    ("convpass", {}, 327_552),
    ("convpass", {"places": "attention"}, 163_776),
    ("st_adapter", {}, 7_110_144),
    ("st_adapter", {"places": "both"}, 14_220_288),
    ("dora", {}, 522_240),
    ("dora", {"rank": 16}, 1_013_760),
    ("vera", {}, 43_008),
    ("mma", {}, 674_560),
    ("maple", {"words": None}, 3_555_072),
    ("promptsrc", {"words": None}, 46_080),
]
CLIP = pb.CLIPConfig()
#: Of methods for frame-wise backbones, on CLIP-B/16. AIM's published 10,651,392 are its adapters alone; positions of
#: 8 frames and the last norm train as well.
PUBLISHED_ON_FRAMES = [
    ("aim", {}, 10_651_392 + 8 * 768 + 2 * 768),
    ("aim", {"time_adapters": 2}, 14_201_856 + 8 * 768 + 2 * 768),
    ("side4video", {}, 21_302_912),
    ("zero_i2v", {}, 14_209_536),
]
#: The percentages in the tables of MV-Adapter (CVPR 2024), of CLIP-B/16's parameters.
OF_MV_ADAPTER = [
    ("houlsby", 4_152_320, "2.78"),
    ("parallel_adapter", 4_152_320, "2.78"),
    ("convpass", 4_195_328, "2.80"),
    ("st_adapter", 8_873_984, "5.93"),
    ("seq_transf", 12_648_960, "8.45"),
    ("full_finetune", 149_620_737, "100.00"),
]
#: HMDB-51 with 16 clips of each class.
TASK = pb.MethodTask("classification", tuple(f"class {number}" for number in range(51)), 16 * 51)


@pytest.mark.parametrize(
    ("name", "values", "count", "config"),
    [*((*row, B16) for row in PUBLISHED), *((*row, CLIP) for row in PUBLISHED_ON_FRAMES)],
)
def test_count_in_the_model_and_by_the_formula(
    name: str, values: dict[str, Any], count: int, config: pb.ViCLIPConfig
) -> None:
    method = pb.create_method(name, **values)
    method.bind(TASK)
    with torch.device("meta"):
        model = pb.DualEncoder(config)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(config) == count


@pytest.mark.parametrize(("name", "count", "percent"), OF_MV_ADAPTER)
def test_recipe_has_the_percentage_that_mv_adapter_prints(name: str, count: int, percent: str) -> None:
    """The options are those of the recipe for retrieval on CLIP-B/16."""
    plugin = type(pb.create_method(name))
    (recipe,) = [each for each in plugin.recipes if (each.setting, each.backbone) == ("retrieval", "clip-b16")]
    method = plugin(**recipe.hyper)
    with torch.device("meta"):
        model = pb.DualEncoder(CLIP)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(CLIP) == count
    assert f"{100 * count / 149_620_737:.2f}" == percent


@pytest.mark.parametrize("name", ["dim128_layers8-12", "dim256_layers1-12"])
def test_msta_has_the_shapes_of_the_derived_listing(name: str) -> None:
    listing = json.loads((Path(__file__).parents[1] / "goldens" / "msta_derived_listing.json").read_text())[name]
    dim, layers = name.removeprefix("dim").split("_layers")
    first, last = layers.split("-")
    method = pb.create_method("msta", bottleneck_dim=int(dim), first_layer=int(first), last_layer=int(last))
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    shapes = sorted(list(parameter.shape) for parameter in model.parameters() if parameter.requires_grad)
    assert shapes == sorted(listing["keys"].values())
    assert pb.trainable_parameters(model) == listing["trainable"]


@pytest.mark.parametrize("name", sorted({name for name, _, count in PUBLISHED + PUBLISHED_ON_FRAMES if count}))
def test_every_recipe_fits_its_backbone(name: str) -> None:
    method = type(pb.create_method(name))
    recipes = [recipe for recipe in method.recipes if recipe.backbone in (None, "viclip-b16")]
    assert recipes
    for recipe in recipes:
        made = method(**recipe.hyper)
        made.bind(TASK)
        assert made.expected_trainable(B16) > 0
        assert recipe.source
