"""The linear maps of a dual encoder's blocks, and their names for Hugging Face PEFT.

For CLIP these are the names in `transformers.CLIPModel`; for a ViCLIP, which transformers does not have, those in the
`DualEncoder` itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from petl_bench.api.config import Towers, ViCLIPConfig

#: target -> its place in a block of a DualEncoder, and in a layer of transformers.CLIPModel
_PLACES = {
    "q": ("attention.q", "self_attn.q_proj"),
    "k": ("attention.k", "self_attn.k_proj"),
    "v": ("attention.v", "self_attn.v_proj"),
    "out": ("attention.out", "self_attn.out_proj"),
    "fc": ("feedforward.fc", "mlp.fc1"),
    "proj": ("feedforward.proj", "mlp.fc2"),
}
#: tower -> its name in transformers.CLIPModel
_CLIP_TOWERS = {"video": "vision_model", "text": "text_model"}


@dataclass(frozen=True)
class NamedLinear:
    """One linear map: its tower and its target, the name of its site, and its name for PEFT."""

    tower: str
    target: str
    site: str
    peft: str


def named_linears(
    config: ViCLIPConfig, towers: Towers = "both", targets: Collection[str] = tuple(_PLACES)
) -> list[NamedLinear]:
    """The linear maps with these targets in every block of the chosen towers, video first."""
    layers = {"video": config.vision_layers, "text": config.text_layers}
    return [
        NamedLinear(tower, target, f"{tower}.blocks.{layer}.{own}", _peft_name(config, tower, target, str(layer)))
        for tower, count in layers.items()
        if towers in (tower, "both")
        for layer in range(count)
        for target, (own, _) in _PLACES.items()
        if target in targets
    ]


def target_pattern(config: ViCLIPConfig, towers: Towers, targets: Collection[str]) -> str:
    """The regular expression that fits PEFT's names of these linear maps and nothing else (`target_modules`)."""
    chosen = [tower for tower in _CLIP_TOWERS if towers in (tower, "both")]
    names = [
        _peft_name(config, tower, target, "#").replace(".", r"\.").replace("#", r"\d+")
        for tower in chosen
        for target in _PLACES
        if target in targets
    ]
    return "|".join(names)


def _peft_name(config: ViCLIPConfig, tower: str, target: str, layer: str) -> str:
    own, of_clip = _PLACES[target]
    if config.joint_space_time:
        return f"{tower}.blocks.{layer}.{own}.base"
    return f"{_CLIP_TOWERS[tower]}.encoder.layers.{layer}.{of_clip}"
