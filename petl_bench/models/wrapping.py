"""Where in a checkpoint the weights lie: within dictionaries of a training framework, and under prefixes of names.

Nothing is guessed: weights lie where the first layer of a video or image tower has its published name. Whether all the
others are there, and nothing else, is checked afterwards (conversion.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from petl_bench.errors import WeightsError

#: The first layer of ViCLIP's video tower and of CLIP's image tower.
_FIRST_LAYERS = ("vision_encoder.conv1.weight", "visual.conv1.weight")
#: Dictionaries within dictionaries that are searched.
_DEPTH = 3
#: A running average of weights, kept beside them: EMA, SWA.
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|swa|averaged?)(?:[._]|$)", re.IGNORECASE)
#: What torch's AveragedModel counts beside the weights.
_COUNTERS = ("n_averaged",)
#: What names of other libraries are known by, and what to do with them.
_FOREIGN = {
    "vision_model.": "Hugging Face's names (transformers): take the weights under OpenAI's or open_clip's names",
    "patch_embed.": "timm's names of an image tower alone; a text tower is wanted too",
    "video.patch_weight": "petl-bench's own names: save model.published_state_dict() instead",
    "base_model.model.": "the names of an adapter (peft), and not of a whole model",
}


@dataclass(frozen=True)
class _Place:
    """Weights in a checkpoint: the keys of the dictionaries that lead to them, and the prefix of their names."""

    keys: tuple[str, ...]
    tensors: Mapping[str, Any]
    prefix: str

    @property
    def words(self) -> str:
        """As a user reads it: `state_dict, names that begin with module.`."""
        parts = [" > ".join(self.keys)] if self.keys else []
        return ", ".join([*parts, *([f"names that begin with {self.prefix}"] if self.prefix else [])]) or "the top"

    @property
    def is_average(self) -> bool:
        """Whether they are a running average."""
        return any(map(_AVERAGE.search, (*self.keys, self.prefix)))


def unwrapped(state: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The weights of a checkpoint under their published names, and what was chosen, in words.

    Of weights and their running average, the weights are taken. Raises WeightsError if there are several. A
    checkpoint that holds none is returned as it is, or what it has under the one usual key.
    """
    places = list(_places(state, ()))
    plain = [place for place in places if not place.is_average]
    chosen = plain or places
    if len(chosen) > 1:
        listed = "; ".join(place.words for place in chosen)
        raise WeightsError(
            f"the checkpoint holds {len(chosen)} sets of weights ({listed}): save the one that is meant into a file of "
            "its own"
        )
    if not chosen:
        return _usual(state), []
    (place,) = chosen
    others = [other for other in places if other is not place]
    listed = "; ".join(other.words for other in others)
    notes = [f"{place.words}: taken, and not the running average there is too ({listed})"] if others else []
    return _named(place, [other.prefix for other in others if other.keys == place.keys]), notes


def look_of(names: Collection[str]) -> str:
    """Which library these names look like, if they are not published ones, and what to do; "" if that is not known."""
    found = [words for sign, words in _FOREIGN.items() if any(sign in str(name) for name in names)]
    return f"these look like {found[0]}" if found else ""


def _places(state: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[_Place]:
    prefixes = {str(name).removesuffix(layer) for name in state for layer in _FIRST_LAYERS if str(name).endswith(layer)}
    for prefix in sorted(prefixes):
        if not prefix or prefix.endswith("."):
            yield _Place(keys, state, prefix)
    for key, value in state.items() if len(keys) < _DEPTH else ():
        if isinstance(value, Mapping):
            yield from _places(value, (*keys, str(key)))


def _named(place: _Place, elsewhere: list[str]) -> dict[str, Any]:
    """The weights of a place without prefix; what is under no prefix keeps its name, and so is found to be too much."""
    tensors: dict[str, Any] = {}
    for key, value in place.tensors.items():
        name = str(key)
        of_others = any(other and name.startswith(other) for other in elsewhere)
        if of_others or (place.prefix and name in _COUNTERS):
            continue
        plain = name.removeprefix(place.prefix)
        if plain in tensors:
            raise WeightsError(f"the checkpoint holds {plain} twice, with {place.prefix} before it and without")
        tensors[plain] = value
    return tensors


def _usual(state: Mapping[str, Any]) -> dict[str, Any]:
    for wrapper in ("model", "module", "state_dict", "model_state_dict"):
        inner = state.get(wrapper)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return dict(inner)
    return dict(state)
