"""Released checkpoints of ViFi-CLIP as a model to use: a fine-tuned CLIP, applied to every frame.

Names of tensors, as trainers/vificlip.py in github.com/muzairkhattak/ViFi-CLIP makes them and utils/tools.py there
saves them, in a dictionary under "model", with `module.` in front if several processes trained:

- `image_encoder.*`: CLIP's image tower (`visual.*` in the published CLIP);
- `text_encoder.transformer.*`, `text_encoder.positional_embedding`, `text_encoder.ln_final.*`,
  `text_encoder.text_projection`: CLIP's text tower, without its table of tokens;
- `logit_scale`;
- `prompt_learner.complete_text_embeddings`: the tokens of the prompts of the classes that it was trained on, embedded
  [classes, 77, width], in half precision; `prompt_learner.token_prefix` and `token_suffix` in its variant with learned
  prompts, whose other tensors (`prompt_learner.ctx`, `VPT`) have no place in a plain CLIP.

The table of tokens is never trained and not in the file: it comes from the published CLIP weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.backbone import Backbone
from petl_bench.api.prompts import Prompts
from petl_bench.api.registry import BACKBONES
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.errors import WeightsError
from petl_bench.inference.subject import FrozenBackbone, Subject
from petl_bench.models.checkpoints import read_checkpoint
from petl_bench.models.conversion import differences, published_names
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.weights import ResolvedWeights, resolve_weights
from petl_bench.models.wrapping import unwrapped
from petl_bench.system.files import sha256_of_file
from petl_bench.system.texts import clean, shortened

#: Frames of a clip in the published evaluation of ViFi-CLIP, and its prompt.
FRAMES = 32
_OPTIONS: dict[str, Any] = {"frames": FRAMES}
PROMPTS = Prompts(("a photo of a {}.",))

_TOKEN_TABLE = "token_embedding.weight"
#: The embedded prompts of the classes of its training, whose first token is that of every text.
_EMBEDDED = ("prompt_learner.complete_text_embeddings", "prompt_learner.token_prefix")
_OF_CLASSES = (*_EMBEDDED, "prompt_learner.token_suffix")
#: Letters of the list of names in an error.
_LONGEST = 600


class ReleasedCheckpoint(FrozenBackbone):
    """Nothing is attached: the weights of a released checkpoint take the place of the backbone's own."""

    name = "ViFi-CLIP checkpoint"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def attach(self, model: DualEncoder) -> None:
        """Load the weights; the table of tokens stays. Raises WeightsError if that is another one than it was trained
        with."""
        tensors = _tensors_of(self._file)
        embedded = next((tensors[name] for name in _EMBEDDED if name in tensors), None)
        if embedded is not None and not _starts_with(embedded, model):
            raise WeightsError(
                f"{self._file}: it was trained with another table of tokens than that of the weights here; type "
                "--weights FILE with the CLIP weights that it was trained from (OpenAI's)"
            )
        names = published_names(model.config).keys() - {_TOKEN_TABLE}
        weights = {name: tensors[_released_name(name)] for name in names}
        try:
            model.load_published_state_dict({**weights, _TOKEN_TABLE: model.text.token_embedding.weight})
        except WeightsError as error:
            raise WeightsError(f"{self._file}: {error}") from error


def released(file: Path, weights: str | None) -> Subject:
    """The model of a released checkpoint of ViFi-CLIP. It is of no trial: nothing computed with it is in a table.

    Args:
        file: The checkpoint.
        weights: The published CLIP weights, for the table of tokens; None: those that are found.

    Raises:
        WeightsError: The file is no checkpoint of ViFi-CLIP, or of no backbone here; or CLIP's weights are not here.
    """
    backbone = _backbone_of(file, _tensors_of(file))
    resolved = _clip_weights(file, backbone, weights or "auto")
    method = ReleasedCheckpoint(file)
    method.bind(MethodTask("retrieval"))
    return Subject(
        title=f"ViFi-CLIP checkpoint {file.name}",
        method=method,
        backbone=backbone(**_OPTIONS),
        weights=resolved,
        options=TrainingOptions(**backbone.training),
        adapter_sha256=sha256_of_file(file),
        prompts=PROMPTS,
        notes=(
            f"{file.name}: a released checkpoint; what data and by which protocol it was trained on is not known here",
            f"{file.name}: clips are read as in the published evaluation of ViFi-CLIP: {FRAMES} frames, one view; "
            f"prompts: {PROMPTS}; table of tokens: from {resolved.label}",
        ),
    )


def _clip_weights(file: Path, backbone: type[Backbone], asked: str) -> ResolvedWeights:
    needed = f"{file.name} holds no table of tokens, which CLIP's own weights have"
    try:
        resolved = resolve_weights(backbone, asked)
    except WeightsError as error:
        raise WeightsError(f"{needed}: {error}") from error
    if resolved.path is None:
        raise WeightsError(f"{needed}: type --weights FILE, not {asked}")
    return resolved


def _tensors_of(file: Path) -> dict[str, Any]:
    """The tensors of a checkpoint without what several processes put before their names."""
    state, _ = unwrapped(read_checkpoint(file))
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _backbone_of(file: Path, tensors: Mapping[str, Any]) -> type[Backbone]:
    """The backbone whose weights have the shapes of these. Raises WeightsError if there is none, or more than one."""
    found = {name: value for name, value in tensors.items() if name not in _OF_CLASSES}
    problems = {plugin: differences(_wanted(plugin), found) for plugin in _frame_wise()}
    fitting = [plugin for plugin, problem in problems.items() if not problem]
    if len(fitting) > 1:
        names = " and ".join(plugin.name for plugin in fitting)
        raise WeightsError(f"{file}: its weights fit several backbones, {names}; which one is meant cannot be told")
    if not fitting:
        nearest = min(problems, key=lambda plugin: len(problems[plugin]))
        problem = shortened(clean(problems[nearest]), _LONGEST)
        raise WeightsError(
            f"{file}: neither an adapter of petl-bench nor a checkpoint of ViFi-CLIP; for {nearest.name} {problem}"
        )
    return fitting[0]


def _frame_wise() -> list[type[Backbone]]:
    """The backbones that encode frames one by one, and as many as asked for."""
    plugins = [BACKBONES.get(name) for name in BACKBONES.names()]
    return [plugin for plugin in plugins if not plugin.config.joint_space_time and "frames" in plugin().all_values()]


def _wanted(plugin: type[Backbone]) -> dict[str, tuple[int, ...]]:
    """The shapes of a checkpoint's tensors for a backbone, by their names in the checkpoint."""
    with torch.device("meta"):
        published = DualEncoder(plugin.config, initialise=False).published_state_dict()
    return {_released_name(name): tuple(each.shape) for name, each in published.items() if name != _TOKEN_TABLE}


def _released_name(published: str) -> str:
    """The name in a checkpoint of ViFi-CLIP of a published name of CLIP."""
    if published == "logit_scale":
        return published
    if published.startswith("visual."):
        return f"image_encoder.{published.removeprefix('visual.')}"
    return f"text_encoder.{published}"


def _starts_with(embedded: Any, model: DualEncoder) -> bool:
    """Whether embedded prompts [C, L, W] begin with this model's embedding of the start of a text, but for rounding to
    half precision."""
    start: Tensor = model.embed([""])[0][0, 0]
    if not isinstance(embedded, Tensor) or embedded.ndim != 3 or not len(embedded) or embedded.shape[-1] != len(start):
        return False
    return torch.equal(embedded[0, 0].half(), start.half())
