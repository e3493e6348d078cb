"""ViCLIP and CLIP as one dual encoder, frozen or with a method's modules attached."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar, get_args

import torch
from torch import Tensor, nn

from petl_bench.api.config import Activation, Pooling, Towers, ViCLIPConfig
from petl_bench.errors import PluginError, UsageError, WeightsError
from petl_bench.models import conversion
from petl_bench.models.finite import not_finite, of_another_kind
from petl_bench.models.frozen import LoadedModel
from petl_bench.models.sites import AdapterSwitch, Attachment, Chain
from petl_bench.models.substitution import substituted
from petl_bench.models.tokenizer import tokenize
from petl_bench.models.towers import PreparedText, TextTower, VideoOutput, VideoTower
from petl_bench.models.transformer import Block

log = logging.getLogger("petl_bench")

T = TypeVar("T")


class Attached(Protocol):
    """What a model knows of the method that is attached to it. Every `pb.Method` is one."""

    @property
    def name(self) -> str:
        """The registered name; "" if the class is not registered."""

    @property
    def reads_original(self) -> bool:
        """Whether a frozen copy of the loaded model is kept; see `DualEncoder.original`."""


class Features(nn.Module):
    """What stands behind the towers: sites on the features of videos and texts, [.., D], and the pool of frames."""

    def __init__(self, switch: AdapterSwitch) -> None:
        super().__init__()
        self._switch = switch
        self.video = Chain(switch, "features.video")
        self.text = Chain(switch, "features.text")
        self.pool: Attachment | None = None

    @property
    def pools(self) -> bool:
        """Whether a module pools the frames' features, with adapters on."""
        return self.pool is not None and self._switch.on

    def set_pool(self, module: nn.Module) -> None:
        """See `DualEncoder.set_pool`."""
        if self.pool is not None:
            raise UsageError("two modules want to pool the frames' features; only one can")
        self.pool = Attachment(module)

    def pooled(self, output: VideoOutput) -> Tensor:
        """The features [B, D] of a video's output, by the pool if there is one."""
        if self.pool is None or not self._switch.on:
            return output.features
        assert output.frame_features is not None
        features: Tensor = self.pool(output.frame_features, output.mask)
        if features.shape != output.features.shape:
            raise PluginError(
                f"pool: {type(self.pool.module).__name__} gave a tensor {list(features.shape)}; "
                f"expected {list(output.features.shape)}"
            )
        return features


class DualEncoder(nn.Module):
    """A video and a text tower with a common embedding space of D channels.

    ViCLIP (Wang et al., "InternVid", ICLR 2024) if `config.joint_space_time`, else CLIP (Radford et al., ICML 2021)
    with a video's frame features averaged (Rasheed et al., "ViFi-CLIP", CVPR 2023; see `config.pooling`). A new model
    has random weights, drawn from torch's generator in CLIP's way; without `initialise` its weights are uninitialised:
    load some next.
    """

    def __init__(self, config: ViCLIPConfig, *, initialise: bool = True) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.method: Attached | None = None  #: the attached method
        self.weights_notes: list[str] = []  #: what was converted when weights were loaded, in words
        self._switch = AdapterSwitch()
        self.video = VideoTower(config, self._switch)
        self.text = TextTower(config, self._switch)
        self.features = Features(self._switch)
        #: modules of the attached method that stand at no site, by name: what its `scores` computes with
        self.heads = nn.ModuleDict()
        # ViCLIP divides similarities by a temperature, CLIP multiplies them with an exponential.
        initial = 0.01 if config.joint_space_time else math.log(1 / 0.07)
        self.temperature = nn.Parameter(torch.tensor(initial))
        if initialise:
            self.video.initialise()
            self.text.initialise()
        self._loaded = LoadedModel(self)
        self._original: list[DualEncoder] = []  # in a list, so that it is no part of this model

    def encode_video(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features [B, D], not normalised, of normalised frames [B, T, 3, H, W]. Raises UsageError for other shapes.

        ViCLIP takes `config.num_frames` frames or one; CLIP any number. `mask` as for `video_output`.
        """
        return self.finish_video(self.video_output(frames, mask=mask))

    def video_output(self, frames: Tensor, reads: Collection[str] = (), mask: Tensor | None = None) -> VideoOutput:
        """What the video tower gives for normalised frames [B, T, 3, H, W], before features are pooled and finished.

        Args:
            frames: The clips.
            reads: Of "frames", "tokens" and "pixels" (see `Method.reads`), what the output holds beside that.
            mask: bool [B, T], which frames are real, and not padding; None: all. Modules that read the grid of patches
                find it there (`Grid.mask`); the features of frames are pooled over the real ones.

        Raises:
            UsageError: for other shapes, and for a mask if the backbone encodes all frames together (ViCLIP).
        """
        if self.features.pools:
            reads = {*reads, "frames"}
        output: VideoOutput = self.video(frames, reads, mask)
        return replace(output, pixels=frames) if "pixels" in reads else output

    def finish_video(self, output: VideoOutput) -> Tensor:
        """Features [B, D], not normalised, of what `video_output` gave: pooled, and through `features.video`."""
        features: Tensor = self.features.video(self.features.pooled(output))
        return features

    def set_pool(self, module: nn.Module) -> None:
        """Let `module(frame_features [B, T, D], mask bool [B, T] | None)` -> [B, D] take the place of the mean over
        frames.

        Raises:
            UsageError: if there is one already, or for a backbone that has no features of frames.
        """
        self.video.check_frame_wise("a module pools the frames' features")
        self.features.set_pool(module)

    def encode_text(self, tokens: Tensor | PreparedText, video: Tensor | None = None) -> Tensor:
        """Features, not normalised, of CLIP ids int64 [N, L], L at most `config.context_length`, or of prepared texts.

        Runs at the true length of the texts, with equal output.

        Args:
            tokens: The ids, or what `prepare_text` gave.
            video: Features [B, D] of clips, for a prompt that depends on them (`TextTower.set_prompt`).

        Returns:
            [N, D]; [B, N, D] if a prompt depends on `video`.
        """
        if isinstance(tokens, PreparedText):
            return self._finish_text(self.text.finish(tokens))
        return self._finish_text(self.text(tokens) if video is None else self.text(tokens, video))

    def _finish_text(self, features: Tensor) -> Tensor:
        """What comes behind the text tower, for features [N, D] or [B, N, D]."""
        behind: Tensor = self.features.text(features)
        return behind

    def prepare_text(self, tokens: Tensor) -> Tensor | PreparedText:
        """The texts behind the embedding and the first blocks, as far as the attached method leaves these alone.

        For `encode_text` in every step of a training: only what may have changed is then computed again.
        """
        return self.text.prepare(tokens, self._loaded)

    def changed_frozen_weight(self) -> str:
        """The name of a weight of the backbone that does not train and is no longer the loaded one; "" if none is."""
        return self._loaded.changed_frozen_weight()

    def untouched(self, module: nn.Module) -> bool:
        """Whether this part of the model (a tower, a block) computes what the loaded weights compute, and always will:
        nothing in it trains or was changed, attached, replaced, patched or hooked; see frozen.py."""
        return self._loaded.untouched(module)

    def is_as_built(self, module: nn.Module) -> bool:
        """Whether this part of the model has its own modules and methods alone, whatever its weights are."""
        return not any(map(self._loaded.is_patched, module.modules()))

    @property
    def text_is_untouched(self) -> bool:
        """Whether `encode_text` gives, and always will, what the loaded weights give."""
        return self.untouched(self.text) and self.untouched(self.features.text)

    @torch.no_grad()
    def embed(self, strings: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings of texts, without positions: [M, L, W] at the length of the longest, padded behind the end,
        and int64 [M], the place of each end-of-text token. Without gradients.

        For a prompt's initial words: those of the m-th text are `embeddings[m, 1 : ends[m]]`. Raises UsageError if the
        model's table of tokens is not CLIP's.
        """
        return self.text.embed(self._tokens(strings))

    @torch.no_grad()
    def frozen_text(self, strings: Sequence[str]) -> Tensor:
        """Features [M, D], not normalised, of texts by the frozen model; without gradients."""
        with self.frozen() as model:
            return model.encode_text(model._tokens(strings))

    def _tokens(self, strings: Sequence[str]) -> Tensor:
        tokens = tokenize(list(strings), self.config.context_length)
        if self.config.token_ids is None and int(tokens.max()) >= self.config.vocab_size:
            raise UsageError(f"this model's table of {self.config.vocab_size} tokens is not CLIP's: it reads no texts")
        return tokens.to(self.temperature.device)

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

    @property
    def checkpoint_blocks(self) -> bool:
        """Whether blocks keep their input alone for the backward pass and are computed again there, in both towers.

        Less memory and more time; gradients are the same, dropout included.
        """
        return self._switch.checkpoint_blocks

    @checkpoint_blocks.setter
    def checkpoint_blocks(self, wanted: bool) -> None:
        self._switch.checkpoint_blocks = wanted

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
        self._loaded.weigh()
        if method.reads_original:
            self._original = [copy.deepcopy(self).eval()]
        self.method = method

    @property
    def original(self) -> DualEncoder:
        """A frozen copy with the loaded weights, in evaluation mode, on the same device.

        It is no part of this model's parameters or state. Raises UsageError unless a method that declares
        `reads_original` is attached.
        """
        if not self._original:
            raise UsageError(
                f"model.original is not kept for the method {_label(self.method)}; declare reads_original = True"
            )
        return self._original[0]

    @contextmanager
    def frozen(self) -> Iterator[DualEncoder]:
        """Inside, a model that computes what the loaded weights compute: `original` if it is kept, else this one with
        its adapters off. Raises UsageError as `adapters_off` does."""
        if self._original:
            yield self._original[0]
            return
        with self.adapters_off():
            yield self

    @contextmanager
    def adapters_off(self) -> Iterator[None]:
        """Inside, the model computes as if nothing were attached or replaced; the same modules, nothing is copied.

        Raises UsageError if that is not the loaded model: the backbone's own weights have changed, or its modules.
        """
        difference = self._loaded.difference() if self.method is not None else ""
        if difference:
            raise UsageError(
                f"adapters_off() cannot give the frozen model: {difference}; "
                "declare reads_original = True in the method, and use model.original"
            )
        before, self._switch.on = self._switch.on, False
        try:
            yield
        finally:
            self._switch.on = before

    def with_weights(self, weights: Mapping[str, Tensor], compute: Callable[[DualEncoder], T]) -> T:
        """What `compute(model)` gives with these tensors in the place of the parameters of those names.

        Differentiable in them. The model's own parameters are back in their places afterwards, also after an error.
        Raises UsageError for a name that the model lacks, and a tensor of another shape.
        """
        substitution = partial(substituted, self, dict(weights))
        before = self._switch.substitutions
        try:
            with substitution():
                self._switch.substitutions = (*before, substitution)
                return compute(self)
        finally:
            self._switch.substitutions = before

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DualEncoder:
        """Every change of device or type reaches the kept copy as well."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for original in self._original:
            original._apply(fn, recurse)
        return self

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
        if self.method is not None:
            self._loaded.weigh()
        for original in self._original:
            original.load_published_state_dict(state)
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
    found: dict[tuple[int, ...], tuple[str, Tensor]] = {}
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            persistent = name not in module._non_persistent_buffers_set
            if persistent and buffer.untyped_storage().data_ptr() not in parameters:
                found.setdefault(_memory(buffer), (f"{path}.{name}" if path else name, buffer))
    return dict(found.values())


def _memory(tensor: Tensor) -> tuple[int, ...]:
    """Equal for tensors that are the same elements in memory."""
    if tensor.numel() == 0 or tensor.is_meta:
        return (id(tensor),)
    return tensor.data_ptr(), *tensor.shape, *tensor.stride()


def _label(method: Attached | None) -> str:
    return "(none)" if method is None else method.name or type(method).__name__


def _check(config: ViCLIPConfig) -> None:
    if config.activation not in get_args(Activation):
        raise UsageError(f"activation={config.activation}: expected one of {', '.join(get_args(Activation))}")
    if config.pooling not in get_args(Pooling):
        raise UsageError(f"pooling={config.pooling}: expected one of {', '.join(get_args(Pooling))}")
    if config.joint_space_time and config.pooling != "mean":
        raise UsageError(f"pooling={config.pooling}: ViCLIP has no features of frames")
    if config.vision_width % config.vision_heads or config.text_width % config.text_heads:
        raise UsageError("the width of a tower must be a multiple of its number of heads")
    if config.image_size < config.patch_size:
        raise UsageError(f"image_size={config.image_size} is smaller than patch_size={config.patch_size}")
    if config.num_frames < 1 or config.num_frames % config.tubelet_size:
        raise UsageError(f"num_frames={config.num_frames}: expected a multiple of tubelet_size={config.tubelet_size}")
