"""ViCLIP and CLIP as one dual encoder, frozen or with a method's modules attached."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from petl_bench.api.config import Activation, Towers, ViCLIPConfig
from petl_bench.errors import UsageError, WeightsError
from petl_bench.models import conversion
from petl_bench.models.finite import not_finite, of_another_kind
from petl_bench.models.sites import AdapterSwitch
from petl_bench.models.towers import PreparedText, TextTower, VideoOutput, VideoTower
from petl_bench.models.transformer import Block

log = logging.getLogger("petl_bench")


class Attached(Protocol):
    """What a model knows of the method that is attached to it: a name for messages. Every `pb.Method` is one."""

    @property
    def name(self) -> str:
        """The registered name; "" if the class is not registered."""


class DualEncoder(nn.Module):
    """A video and a text tower with a common embedding space of D channels.

    ViCLIP (Wang et al., "InternVid", ICLR 2024) if `config.joint_space_time`, else CLIP (Radford et al., ICML 2021)
    with a video's frame features averaged (Rasheed et al., "ViFi-CLIP", CVPR 2023). A new model has random weights,
    drawn from torch's generator in CLIP's way; without `initialise` its weights are uninitialised: load some next.
    """

    def __init__(self, config: ViCLIPConfig, *, initialise: bool = True) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.method: Attached | None = None  #: the attached method
        self.checkpoint_blocks = False  #: whether blocks are computed again on the way back instead of kept
        self.weights_notes: list[str] = []  #: what was converted when weights were loaded, in words
        self._switch = AdapterSwitch()
        self.video = VideoTower(config, self._switch)
        self.text = TextTower(config, self._switch)
        # ViCLIP divides similarities by a temperature, CLIP multiplies them with an exponential.
        initial = 0.01 if config.joint_space_time else math.log(1 / 0.07)
        self.temperature = nn.Parameter(torch.tensor(initial))
        if initialise:
            self.video.initialise()
            self.text.initialise()

    def encode_video(self, frames: Tensor) -> Tensor:
        """Features [B, D], not normalised, of normalised frames [B, T, 3, H, W]. Raises UsageError for other shapes.

        ViCLIP takes `config.num_frames` frames or one; CLIP any number.
        """
        return self.finish_video(self.video_output(frames))

    def video_output(self, frames: Tensor, reads: Collection[str] = ()) -> VideoOutput:
        """What the video tower gives for normalised frames [B, T, 3, H, W], before features are pooled and finished.

        `reads`: of "frames", "tokens" and "pixels" (see `Method.reads`), what the output holds beside that.
        """
        return VideoOutput(self.video(frames), pixels=frames if "pixels" in reads else None)

    @property
    def original(self) -> DualEncoder:
        """The frozen model as it was loaded."""
        raise UsageError("kept only for a method that declares reads_original = True")

    @property
    def pools_frames(self) -> bool:
        """Whether a module of the method pools the features of frames."""
        return False

    def finish_video(self, output: VideoOutput) -> Tensor:
        """Features [B, D], not normalised, of what `video_output` gave: pooled, and through the sites behind it."""
        assert output.features is not None
        return output.features

    def encode_text(self, tokens: Tensor | PreparedText, video: Tensor | None = None) -> Tensor:
        """Features [N, D], not normalised, of CLIP ids int64 [N, L], L at most `config.context_length`.

        Runs at the true length of the texts, with equal output. Takes what `prepare_text` gave as well.
        """
        features: Tensor = self.text.finish(tokens) if isinstance(tokens, PreparedText) else self.text(tokens)
        return features

    def prepare_text(self, tokens: Tensor) -> Tensor | PreparedText:
        """The texts behind the embedding and the first blocks, as far as the attached method leaves these alone.

        For `encode_text` in every step of a training: only what may have changed is then computed again.
        """
        return self.text.prepare(tokens)

    @property
    def logit_scale(self) -> Tensor:
        """What cosine similarities are multiplied with, a 0-d tensor: 1 / temp for ViCLIP, exp(logit_scale) for CLIP.

        While it is trained, ViCLIP's temperature is kept at 0.01 or above, as in its pretraining.
        """
        temperature: Tensor = self.temperature
        if not self.config.joint_space_time:
            return temperature.exp()
        if temperature.requires_grad:
            temperature.data.clamp_(min=0.01)
        return 1 / temperature

    @property
    def token_embedding_parameter(self) -> Tensor:
        """The table of token embeddings [vocabulary, width], which full fine-tuning leaves frozen."""
        table: Tensor = self.text.token_embedding.weight
        return table

    def blocks(self, towers: Towers = "both") -> list[Block]:
        """The blocks of the chosen towers, video first; each has `.tower`, `.width` and `.index`, counted from 1."""
        video = list(self.video.blocks) if towers in ("video", "both") else []
        text = list(self.text.blocks) if towers in ("text", "both") else []
        return [block for block in video + text if isinstance(block, Block)]

    def begin_attach(self, method: Attached) -> None:
        """Freeze every parameter before `method` attaches; called by `Method.attach` itself.

        A second call for the same method does nothing (an `attach` that calls `super().attach`); another method raises
        UsageError.
        """
        if self.method is method:
            return
        if self.method is not None:
            raise UsageError(
                f"the model already carries the method {_label(self.method)}; make a new one with create_model"
            )
        self.requires_grad_(False)
        self.method = method

    @contextmanager
    def adapters_off(self) -> Iterator[None]:
        """Inside, the model computes as if nothing were attached or replaced; the same modules, nothing is copied.

        Where a method trains the backbone's own weights, those are the trained ones: there is no frozen model beneath.
        """
        before, self._switch.on = self._switch.on, False
        try:
            yield
        finally:
            self._switch.on = before

    def adapter_tensors(self) -> dict[str, Tensor]:
        """What belongs to the attached method, by name: trained parameters, and persistent buffers (the running
        statistics of a batch norm).

        Each tensor once, under its first name, also if sites share a module. A buffer that lies in the memory of a
        parameter is that parameter, not another tensor.
        """
        return {**dict(_trained(self)), **_own_buffers(self)}

    def adapter_state(self) -> dict[str, Tensor]:
        """Copies of `adapter_tensors` on the CPU."""
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.adapter_tensors().items()
        }

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `adapter_state` gave, after the same method was attached.

        Raises WeightsError that lists missing, unexpected and misshapen tensors, or names the first one that is of
        another type or not finite; then nothing is changed.
        """
        own = self.adapter_tensors()
        problems = conversion.differences({name: tuple(tensor.shape) for name, tensor in own.items()}, state)
        if problems:
            raise WeightsError(f"the adapter does not fit the attached method {_label(self.method)}: {problems}")
        if fault := of_another_kind(own, state) or not_finite(state):
            raise WeightsError(f"the adapter cannot be used: {fault}; train it anew")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def load_published_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Load the published ViCLIP or CLIP keys into the backbone's own weights; strict. Returns what was converted.

        Accepts the dictionaries and prefixes that training frameworks put around the keys (`{"model": ...}`,
        `{"state_dict": {"module.": ...}}`; see wrapping.py), and open_clip's names. Tables of positions of another
        length or resolution are converted as published, and CLIP weights initialise a ViCLIP; each conversion is also
        logged as a warning and kept in `weights_notes`. Raises WeightsError that lists missing, unexpected and
        misshapen keys, or several sets of weights; then nothing is changed.
        """
        own = self._backbone_parameters()
        tensors, self.weights_notes = conversion.from_published(self.config, own, state)
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)
        for note in self.weights_notes:
            log.warning("weights: %s", note)
        return self.weights_notes

    def published_state_dict(self) -> dict[str, Tensor]:
        """The backbone's own weights under the published keys and in their shapes, bit for bit, without attachments."""
        return conversion.to_published(self.config, self._backbone_parameters())

    def _backbone_parameters(self) -> dict[str, nn.Parameter]:
        """The backbone's own parameters by name, without what is attached."""
        names = conversion.published_names(self.config).values()
        return {name: self.get_parameter(name) for parts in names for name in parts}


def trainable_parameters(model: nn.Module) -> int:
    """Number of trainable parameters; one that is shared between sites counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _own_buffers(model: nn.Module) -> dict[str, Tensor]:
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, tuple[str, Tensor]] = {}
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            persistent = name not in module._non_persistent_buffers_set
            if persistent and buffer.untyped_storage().data_ptr() not in parameters:
                found.setdefault(id(buffer), (f"{path}.{name}" if path else name, buffer))
    return dict(found.values())


def _label(method: Attached | None) -> str:
    return "(none)" if method is None else method.name or type(method).__name__


def _check(config: ViCLIPConfig) -> None:
    if config.activation not in get_args(Activation):
        raise UsageError(f"activation={config.activation}: expected one of {', '.join(get_args(Activation))}")
    if config.vision_width % config.vision_heads or config.text_width % config.text_heads:
        raise UsageError("the width of a tower must be a multiple of its number of heads")
    if config.image_size < config.patch_size:
        raise UsageError(f"image_size={config.image_size} is smaller than patch_size={config.patch_size}")
    if config.num_frames < 1 or config.num_frames % config.tubelet_size:
        raise UsageError(f"num_frames={config.num_frames}: expected a multiple of tubelet_size={config.tubelet_size}")
