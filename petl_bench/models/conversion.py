"""Published ViCLIP and CLIP weights to this model and back: key names, packed weights, tables of positions.

Published checkpoints pack q, k and v into one `in_proj`; here they are separate. Conversions follow ViCLIP's loader: a
shorter table of positions keeps the first rows, a longer one is interpolated linearly; another image resolution is
interpolated bicubically; a 2D patch embedding becomes the centre slice of a 3D one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from petl_bench.api.config import ViCLIPConfig
from petl_bench.errors import WeightsError
from petl_bench.models.finite import not_finite, not_floating
from petl_bench.models.wrapping import look_of, unwrapped

#: Entries that the released CLIP archive carries beside its weights, and the causal mask of early open_clip.
CLIP_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
#: What a merged file (`petl_bench.inference.merged`) carries beside the weights of the model.
CLASS_EMBEDDINGS = "class_embeddings"
#: open_clip puts the text tower's names behind this if it makes that tower a module of its own.
_OPEN_CLIP_TEXT = "text."
_SHOWN = 20


def published_names(config: ViCLIPConfig) -> dict[str, tuple[str, ...]]:
    """Every published key, in the published order, with the parameters it holds (three if it packs q, k and v)."""
    video, text = _prefixes(config)
    text_tables = {
        f"{text}positional_embedding": ("text.positional_embedding",),
        f"{text}text_projection": ("text.projection",),
    }
    names: dict[str, tuple[str, ...]] = {}
    if config.joint_space_time:
        names["temp"] = ("temperature",)
    else:
        names |= text_tables | {"logit_scale": ("temperature",)}
    names[f"{video}class_embedding"] = ("video.class_embedding",)
    names[f"{video}positional_embedding"] = ("video.positional_embedding",)
    if config.joint_space_time:
        names[f"{video}temporal_positional_embedding"] = ("video.temporal_embedding",)
    names[f"{video}proj"] = ("video.projection",)
    names[f"{video}conv1.weight"] = ("video.patch_weight",)
    names |= _both(f"{video}ln_pre", "video.norm_pre")
    names |= _block_names(f"{video}transformer.resblocks", "video.blocks", config.vision_layers)
    names |= _both(f"{video}ln_post", "video.norm_post")
    if config.joint_space_time:
        names |= text_tables
    names |= _block_names(f"{text}transformer.resblocks", "text.blocks", config.text_layers)
    names[f"{text}token_embedding.weight"] = ("text.token_embedding.weight",)
    names |= _both(f"{text}ln_final", "text.norm_final")
    return names


def _both(published: str, own: str) -> dict[str, tuple[str, ...]]:
    return {f"{published}.{part}": (f"{own}.{part}",) for part in ("weight", "bias")}


def _block_names(published: str, own: str, layers: int) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for layer in range(layers):
        theirs, ours = f"{published}.{layer}", f"{own}.{layer}"
        for part in ("weight", "bias"):
            names[f"{theirs}.attn.in_proj_{part}"] = tuple(f"{ours}.attention.{x}.base.{part}" for x in "qkv")
        names |= _both(f"{theirs}.attn.out_proj", f"{ours}.attention.out.base")
        names |= _both(f"{theirs}.ln_1", f"{ours}.attention.norm")
        names |= _both(f"{theirs}.mlp.c_fc", f"{ours}.feedforward.fc.base")
        names |= _both(f"{theirs}.mlp.c_proj", f"{ours}.feedforward.proj.base")
        names |= _both(f"{theirs}.ln_2", f"{ours}.feedforward.norm")
    return names


def to_published(config: ViCLIPConfig, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published names and shapes of the backbone's own parameters, as copies. The inverse of `from_published`."""
    return {
        key: torch.cat([own[name].detach() for name in names]) if len(names) > 1 else own[names[0]].detach().clone()
        for key, names in published_names(config).items()
    }


def from_published(
    config: ViCLIPConfig, own: Mapping[str, Tensor], state: Mapping[str, Any]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a published checkpoint for the backbone's own parameters.

    Args:
        config: The configuration of the model that the weights are for.
        own: The parameters of the backbone by name, for their shapes.
        state: The checkpoint, maybe within the dictionaries and behind the prefixes of a training framework.

    Returns:
        Tensors under the names of `own`, and what was converted, in words.

    Raises:
        WeightsError: It lists missing, unexpected and misshapen keys, or names a tensor that holds no finite floats.
    """
    names = published_names(config)
    wanted = {key: _published_shape([own[name] for name in parts]) for key, parts in names.items()}
    found, chosen = unwrapped(state)
    tensors, notes = converted(found, wanted, config)
    problems = differences(wanted, tensors)
    if problems:
        kind = "ViCLIP" if config.joint_space_time else "CLIP"
        look = look_of(found)
        raise WeightsError(f"the checkpoint does not fit this {kind} model: {look and look + '. '}{problems}")
    _refuse_what_is_no_number({key: tensors[key] for key in names})
    unpacked: dict[str, Tensor] = {}
    for key, parts in names.items():
        unpacked |= zip(parts, tensors[key].chunk(len(parts)) if len(parts) > 1 else [tensors[key]], strict=True)
    return unpacked, chosen + notes


def _refuse_what_is_no_number(tensors: Mapping[str, Tensor]) -> None:
    if fault := not_floating(tensors):
        raise WeightsError(f"{fault}; take the weights as they were published, not quantised or cast")
    if fault := not_finite(tensors):
        raise WeightsError(
            f"{fault}; the file is damaged, or its training diverged: fetch it again, or take an earlier checkpoint"
        )


def _published_shape(parts: Sequence[Tensor]) -> tuple[int, ...]:
    first = tuple(parts[0].shape)
    return first if len(parts) == 1 else (len(parts) * first[0], *first[1:])


def _prefixes(config: ViCLIPConfig) -> tuple[str, str]:
    """What the published names of the video and of the text tower begin with."""
    return ("vision_encoder.", "text_encoder.") if config.joint_space_time else ("visual.", "")


def converted(
    state: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], config: ViCLIPConfig
) -> tuple[dict[str, Any], list[str]]:
    """Weights under the keys, and with the tables, that `config` needs; and what was done, in words."""
    tensors, notes = dict(state), []
    tensors.pop(CLASS_EMBEDDINGS, None)
    if "visual.conv1.weight" in tensors:
        if f"{_OPEN_CLIP_TEXT}token_embedding.weight" in tensors:
            tensors = {key.removeprefix(_OPEN_CLIP_TEXT): value for key, value in tensors.items()}
        for extra in CLIP_EXTRAS:
            tensors.pop(extra, None)
        if config.joint_space_time:
            tensors = _viclip_from_clip(tensors, wanted, config)
            notes.append("a ViCLIP initialised from CLIP: temporal embedding zero, temperature 0.01")
    video, text = _prefixes(config)
    for key, what, fit in (
        (f"{video}temporal_positional_embedding", "frames", resize_temporal),
        (f"{video}positional_embedding", "image patches", resize_spatial),
        (f"{text}positional_embedding", "text positions", resize_temporal),
    ):
        have = tensors.get(key)
        if not isinstance(have, Tensor) or key not in wanted or not _only_length_differs(have, wanted[key]):
            continue
        length = wanted[key][-2]
        tensors[key] = fit(have, length)
        notes.append(f"{key}: {have.shape[-2]} -> {length} {what} ({_way(fit, have.shape[-2], length)})")
    return tensors, notes


def _only_length_differs(have: Tensor, wanted: tuple[int, ...]) -> bool:
    shape = tuple(have.shape)
    if not have.is_floating_point():
        return False  # resizing would cast it without a word
    same_but_length = len(shape) == len(wanted) and shape[:-2] == wanted[:-2] and shape[-1] == wanted[-1]
    return same_but_length and shape[-2] != wanted[-2]


def _way(fit: Any, have: int, length: int) -> str:
    if fit is resize_spatial:
        return "bicubic"
    return "the first ones" if length < have else "linear interpolation"


def resize_temporal(table: Tensor, length: int) -> Tensor:
    """A table of positions [..., T, C] for another T: the first rows, or linear interpolation over time."""
    if length <= table.shape[-2]:
        return table[..., :length, :]
    rows = F.interpolate(table.float().reshape(-1, *table.shape[-2:]).mT, size=length, mode="linear").mT
    return rows.reshape(*table.shape[:-2], length, -1)


def resize_spatial(table: Tensor, length: int) -> Tensor:
    """A table of positions [1 + side^2, C] for another resolution, bicubic; the class token's row is kept.

    A table that is not square is returned as it is, and so fails the check of shapes.
    """
    side, new_side = round((len(table) - 1) ** 0.5), round((length - 1) ** 0.5)
    if side * side + 1 != len(table) or new_side * new_side + 1 != length:
        return table
    from timm.layers import resample_abs_pos_embed  # here, because timm takes half a second to import

    resized: Tensor = resample_abs_pos_embed(table.float()[None], [new_side] * 2, [side] * 2, antialias=False)[0]
    return resized


def inflate(weight: Tensor, depth: int) -> Tensor:
    """A 2D patch embedding [D, 3, p, p] as a 3D one [D, 3, depth, p, p]: in the centre slice, zero elsewhere."""
    inflated = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
    inflated[:, :, depth // 2] = weight
    return inflated


def _viclip_from_clip(
    clip: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], config: ViCLIPConfig
) -> dict[str, Any]:
    tensors: dict[str, Any] = {"temp": torch.tensor(0.01)}
    for key, value in clip.items():
        if key.startswith("visual."):
            tensors[f"vision_encoder.{key.removeprefix('visual.')}"] = value
        elif key != "logit_scale":
            tensors[f"text_encoder.{key}"] = value
    temporal = "vision_encoder.temporal_positional_embedding"
    tensors[temporal] = torch.zeros(wanted[temporal])
    patches = clip["visual.conv1.weight"]
    if isinstance(patches, Tensor) and patches.dim() == 4:
        tensors["vision_encoder.conv1.weight"] = inflate(patches, config.tubelet_size)
    return tensors


def differences(wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, Any]) -> str:
    """Missing, unexpected and misshapen keys in words, a key of several blocks in one entry; "" if all fit."""
    missing = [key for key in wanted if key not in state]
    unexpected = [str(key) for key in state if key not in wanted]
    misshapen = [
        f"{key} {_shape(state[key])} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in state and _shape(state[key]) != list(shape)
    ]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return "; ".join(f"{len(keys)} {what}: {_listing(keys)}" for what, keys in groups.items() if keys)


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else f"({type(value).__name__})"


def _listing(keys: list[str]) -> str:
    blocks: dict[tuple[str, str], list[int]] = {}
    for key in keys:
        head, number, tail = re.fullmatch(r"(?:(.*?blocks\.)(\d+)(?=\.))?(.*)", key, re.DOTALL).groups()  # type: ignore[union-attr]
        blocks.setdefault((head or "", tail), []).extend([] if number is None else [int(number)])
    entries = [f"{head}{_ranges(numbers)}{tail}" for (head, tail), numbers in blocks.items()]
    more = f", and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> "{0-2,5}"; one number stays as it is."""
    if len(numbers) < 2:
        return "".join(map(str, numbers))
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "}"
