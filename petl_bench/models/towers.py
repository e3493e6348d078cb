"""The video and the text tower: embedding, blocks, final norm and projection."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.api.config import Activation, Pooling, ViCLIPConfig
from petl_bench.errors import PluginError, UsageError
from petl_bench.models.frozen import LoadedModel
from petl_bench.models.grid import Grid, patches_by_place
from petl_bench.models.sites import AdapterSwitch, Attachment, Chain, Norm, Stream, with_one_more
from petl_bench.models.substitution import recomputed
from petl_bench.models.text_sites import ReplacedTokens, checked_prompt
from petl_bench.models.tokens import ExtraTokens, Place, Scope, extend, extra_tokens
from petl_bench.models.transformer import Block, initialise_blocks

log = logging.getLogger("petl_bench")

#: Tokens in one pass through the text tower, which bounds its memory: 256 texts of ViCLIP's whole context.
LARGEST_PASS = 8192
#: What starting one more pass costs a block, as floating-point operations that could run in that time.
PASS_FLOPS_CPU, PASS_FLOPS_GPU = 10**8, 10**10
_SIDE_ALONE = "the blocks beside a side network run without a graph: tokens that are replaced in them would never learn"


@dataclass(frozen=True)
class VideoOutput:
    """What the video tower gives for B clips of T frames, P patches each."""

    features: Tensor  #: [B, D]; of a frame-wise backbone the mean of the frames' features
    frame_features: Tensor | None = None  #: [B, T, D]
    patch_tokens: Tensor | None = None  #: [B, T, P, W], the last block's, behind the final norm
    pixels: Tensor | None = None  #: [B, T, 3, H, W], the input
    mask: Tensor | None = None  #: bool [B, T], which of the frames are real, and not padding; None: all


def pooled_frames(frame_features: Tensor, mask: Tensor | None, pooling: Pooling) -> Tensor:
    """The feature [B, D] of videos from those of their frames [B, T, D], over the frames that are real."""
    features = F.normalize(frame_features.float(), dim=-1) if pooling == "unit_mean" else frame_features
    if mask is None:
        return features.mean(1)
    real = mask.unsqueeze(-1).to(features.dtype)
    return (features * real).sum(1) / real.sum(1)


class Side(Attachment):
    """A module that makes the features [B, D] beside the video tower; with `with_pixels` it reads the frames, too."""

    def __init__(self, module: nn.Module, with_pixels: bool) -> None:
        super().__init__(module)
        self.with_pixels = with_pixels

    def forward(self, stream: Tensor, outputs: list[Tensor], grid: Grid, pixels: Tensor) -> Any:
        """What the module gives; see `VideoTower.set_side`."""
        return self.module(stream, outputs, grid, *([pixels] if self.with_pixels else []))


class VideoTower(nn.Module):
    """ViCLIP's video encoder, or CLIP's image encoder applied to every frame: [B, T, 3, H, W] -> [B, D].

    ViCLIP (joint space-time): one class token per video attends to the patches of all frames; each frame's patches get
    its temporal embedding, a single frame the mean of them. CLIP: frames are encoded one by one, features pooled
    (`config.pooling`) over the frames that are real.

    Sites beside those of the blocks: `pixels` (frames [B, T, 3, H, W]), `patches` ([S, patches, width], embedded,
    without positions), `embedding` (the stream [S, N, width] before the first norm), and the norms.
    """

    def __init__(self, config: ViCLIPConfig, switch: AdapterSwitch) -> None:
        super().__init__()
        self.config = config
        width, patch = config.vision_width, config.patch_size
        side = config.image_size // patch
        kernel = (config.tubelet_size, patch, patch) if config.joint_space_time else (patch, patch)
        self.patch_weight = nn.Parameter(torch.empty(width, 3, *kernel))
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(side * side + 1, width))
        temporal = torch.zeros(1, config.num_frames // config.tubelet_size, width)
        self.temporal_embedding = nn.Parameter(temporal) if config.joint_space_time else None
        self.pixels = Chain(switch, "the video tower, pixels")
        self.patches = Chain(switch, "the video tower, patches")
        self.embedding = Stream(switch, "the video tower, embedding")
        self.norm_pre = Norm(width, switch, "the video tower, norm_pre")
        self.blocks = _blocks("video", width, config.vision_layers, config.vision_heads, switch, config.activation)
        self.norm_post = Norm(width, switch, "the video tower, norm_post")
        self.projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.tokens: nn.ModuleList | None = None  #: of ExtraTokens, which are put in before the first norm
        self.side: Side | None = None
        self._switch = switch

    def initialise(self) -> None:
        """CLIP's random initialisation; the temporal embedding starts at zero."""
        std = self.config.vision_width**-0.5
        for parameter in (self.class_embedding, self.positional_embedding, self.projection):
            nn.init.normal_(parameter, std=std)
        nn.init.kaiming_uniform_(self.patch_weight, a=5**0.5)
        initialise_blocks(self.blocks)

    def add_tokens(
        self,
        module: nn.Module,
        *,
        block: int,
        place: Place = "start",
        scope: Scope = "rest",
        replace: bool = False,
        with_grid: bool = False,
    ) -> None:
        """Put extra tokens into the sequences before a block.

        The tower's output changes through attention alone: what reads the grid never gets extra tokens. Modules at
        sites that read no grid (LoRA, AdaptFormer) act on them as on any token.

        Args:
            module: makes the tokens, `module()` -> [n, width] (the same for all) or [S, n, width].
            block: before which block, counted from 1; 0: before `norm_pre`, which they go through (MaPLe).
            place: "start": between the class token and the patches; "end": behind the patches.
            scope: "rest": to the end of the tower; "block": dropped behind this block; "attention": keys and values of
                this block's attention alone, behind its norm (X-CLIP's message token).
            replace: they take the place of all that were put there for the rest of the tower (VPT-deep).
            with_grid: the module is called as `module(x, grid)`, with the class token and the patches [S, N, width].

        Raises:
            UsageError: for a block, place or scope that there is not, or if tokens of another scope are to replace.
        """
        if not 0 <= block <= len(self.blocks):
            raise UsageError(f"tokens before block {block}: the video tower has blocks 1 to {len(self.blocks)}")
        for name, value, known in (("place", place, get_args(Place)), ("scope", scope, get_args(Scope))):
            if value not in known:
                raise UsageError(f"tokens before block {block}: {name}={value!r}; expected one of {', '.join(known)}")
        if scope != "rest" and (replace or block == 0):
            wanted = "replace=True" if replace else "block=0, before the first norm,"
            raise UsageError(f"tokens before block {block}: {wanted} needs scope='rest', not {scope!r}")
        tokens = ExtraTokens(module, block, place, scope, replace, with_grid)
        if block == 0:
            self.tokens = with_one_more(self.tokens, tokens)
        else:
            self._in_order()[block - 1].add_tokens(tokens)

    def set_side(self, module: nn.Module, *, with_pixels: bool = False) -> None:
        """Let a side network make the features; the tower runs without gradients, and keeps no graph.

        Args:
            module: `module(stream, outputs, grid)` -> [B, D], in the place of the tower's output. `stream` is what the
                first block reads, [S, N, width], `outputs` what each block gives.
            with_pixels: It is called as `module(stream, outputs, grid, pixels)`, with the frames [B, T, 3, H, W] that
                the patches are cut from.

        Raises:
            UsageError: if there is one already. In a training step: if anything else in the tower would train.
        """
        if self.side is not None:
            raise UsageError("the video tower has a side network already; only one can make its features")
        self.side = Side(module, with_pixels)

    def forward(self, frames: Tensor, reads: Collection[str] = (), mask: Tensor | None = None) -> VideoOutput:
        """What the tower gives for frames [B, T, 3, H, W]; `reads`: of "frames" and "tokens", what it holds as well.

        `mask`: bool [B, T], which frames are real; None: all. Raises UsageError for other shapes, if there is nothing
        of what is read, and for a mask if frames are not encoded one by one.
        """
        self._check(frames)
        if "frames" in reads:
            self.check_frame_wise("features of frames are read")
        if self.side is not None and self._switch.on:
            features, x, grid = self._by_side(self.side, frames, mask)
            tokens = self._patch_tokens(x, grid) if "tokens" in reads else None
            return VideoOutput(features, patch_tokens=tokens, mask=mask)
        x, grid = self._enter(self.pixels(frames), mask)
        for block in self._in_order():
            x, grid = block.advance(x, grid)
        features = self.norm_post(x[:, 0]) @ self.projection
        tokens = self._patch_tokens(x, grid) if "tokens" in reads else None
        if grid.joint:
            return VideoOutput(features, patch_tokens=tokens)
        by_frame = features.unflatten(0, (-1, grid.frames))
        pooled = pooled_frames(by_frame, grid.mask, self.config.pooling)
        return VideoOutput(pooled, by_frame if "frames" in reads else None, tokens, mask=grid.mask)

    def check_frame_wise(self, what: str) -> None:
        """Raise UsageError, for the reason `what`, if this tower has no features of frames."""
        if self.config.joint_space_time:
            raise UsageError(
                f"{what}, but ViCLIP has one feature per video and none per frame; take a frame-wise backbone: "
                "--backbone clip-tiny or --backbone clip-b16"
            )
        if self.side is not None:
            raise UsageError(f"{what}, but a side network makes the video's feature, and none per frame")

    def _in_order(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]

    def _enter(self, pixels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Grid]:
        """The stream [S, N, width] that the first block reads, and its grid."""
        x, grid = self._embed(pixels)
        if mask is not None:
            self._check_mask(mask, pixels)
            grid = dataclasses.replace(grid, mask=mask)
        x = self.embedding(x, grid)
        if self.tokens is not None and self._switch.on:
            x, grid = extend(x, grid, extra_tokens(self.tokens))
        return self.norm_pre(x), grid

    @torch.no_grad()
    def _through_blocks(self, frames: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor], Grid, Tensor]:
        """The stream before the first block and behind each, without gradients and without extra tokens; its grid, and
        the frames that the patches are cut from."""
        pixels = self.pixels(frames)
        x, grid = self._enter(pixels, mask)
        stream, outputs = grid.own(x), []
        for block in self._in_order():
            x, grid = block.advance(x, grid)
            outputs.append(grid.own(x))
        return stream, outputs, grid.without_extra, pixels

    def _by_side(self, side: Side, frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Grid]:
        """The side network's features [B, D], the last block's tokens, and their grid."""
        if torch.is_grad_enabled() and (names := self.trained_beside_side()):
            raise UsageError(f"the video tower has a side network and runs without gradients: {names[0]} cannot train")
        stream, outputs, grid, pixels = self._through_blocks(frames, mask)
        features = side(stream, outputs, grid, pixels)
        expected = (len(frames), self.config.embed_dim)
        if features.shape != expected:
            name = type(side.module).__name__
            raise PluginError(f"side network {name} gave a tensor {list(features.shape)}; expected {list(expected)}")
        return features, outputs[-1], grid

    def trained_beside_side(self) -> list[str]:
        """The names of parameters that should train, and cannot, since a side network makes the features."""
        beside = {id(parameter) for parameter in self.side.parameters()} if self.side is not None else None
        return [
            name
            for name, parameter in self.named_parameters()
            if beside is not None and parameter.requires_grad and id(parameter) not in beside
        ]

    def _patch_tokens(self, x: Tensor, grid: Grid) -> Tensor:
        """The patch tokens behind the final norm, [B, T, patches of a frame, width]."""
        complete = grid.complete("reads = tokens")
        return patches_by_place(self.norm_post(grid.own(x)), complete).transpose(1, 2)

    def _check(self, frames: Tensor) -> None:
        """Raise UsageError for frames that the tower cannot take."""
        config, shape = self.config, tuple(map(int, frames.shape))  # whole numbers while the model is traced, too
        size = config.image_size
        if frames.dim() != 5 or shape[2:] != (3, size, size):
            raise UsageError(f"frames of shape {shape}: expected [B, T, 3, {size}, {size}]")
        allowed = {config.num_frames, 1} if config.tubelet_size == 1 else {config.num_frames}
        if config.joint_space_time and shape[1] not in allowed:
            raise UsageError(
                f"{shape[1]} frames per clip, but this backbone was made for {config.num_frames}; give that many, "
                f"or make the model with num_frames={shape[1]}"
            )

    def _check_mask(self, mask: Tensor, frames: Tensor) -> None:
        """Raise UsageError for a mask that the tower cannot take."""
        if self.config.joint_space_time:
            raise UsageError("a mask of frames, but ViCLIP attends to all frames: repeat those of short clips")
        if mask.dtype != torch.bool or mask.shape != frames.shape[:2]:
            raise UsageError(f"a mask {mask.dtype} {list(mask.shape)}: expected bool {list(frames.shape[:2])}")

    def _embed(self, frames: Tensor) -> tuple[Tensor, Grid]:
        patches, grid = self._patchify(frames)
        # A convolution whose stride is its kernel is a matrix product over patches, and faster as one.
        x = self.patches(F.linear(patches, self.patch_weight.flatten(1)))
        cls = (self.class_embedding + self.positional_embedding[0]).expand(len(x), 1, -1)
        position = self.positional_embedding[1:]
        if self.temporal_embedding is not None:
            temporal: Tensor = self.temporal_embedding
            if grid.frames != temporal.shape[1]:
                temporal = temporal.mean(1, keepdim=True)
            position = (position.unsqueeze(1) + temporal).flatten(0, 1)
        return torch.cat([cls, x + position], dim=1), grid

    def _patchify(self, frames: Tensor) -> tuple[Tensor, Grid]:
        """Patches in token order, [sequences, patches, values of a patch]."""
        config = self.config
        patch, joint = config.patch_size, config.joint_space_time
        depth = config.tubelet_size if joint else 1
        side = config.image_size // patch
        grid = Grid(frames.shape[1] // depth, side, side, joint)
        x = frames[..., : side * patch, : side * patch].unflatten(4, (side, patch)).unflatten(3, (side, patch))
        x = x.unflatten(1, (grid.frames, depth))  # [B, T, depth, 3, h, p, w, p]
        if joint:
            return x.permute(0, 4, 6, 1, 3, 2, 5, 7).flatten(4).flatten(1, 3), grid
        return x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(2, 3).flatten(0, 1), grid


@dataclass(frozen=True)
class TextPart:
    """Texts of like length: their rows among all, states [n, L, width], and where each one ends."""

    rows: Tensor
    states: Tensor
    end: Tensor


@dataclass(frozen=True)
class PreparedText:
    """Texts whose states went through the first `blocks` blocks."""

    parts: list[TextPart]
    blocks: int


class TextTower(nn.Module):
    """CLIP's text encoder: int64 [N, L] -> [N, D], read at the end-of-text token (the largest id of each row).

    Texts go through it in passes of like length, with equal output.

    With a reduced table (`config.token_ids`) ids are mapped to its rows; a word outside becomes row 0, with a warning.

    A method may change the token embeddings (`set_prompt`), replace tokens before any block (`replace_tokens`), or read
    the blocks' outputs instead of going through them (`set_side`). Its other sites are `embedding`, the stream
    [S, L, width] before the first block, and `norm_final`.
    """

    known_ids: Tensor
    known_rows: Tensor

    def __init__(self, config: ViCLIPConfig, switch: AdapterSwitch) -> None:
        super().__init__()
        self.config = config
        self._switch = switch
        width = config.text_width
        self.prompt: nn.Module | None = None
        self.side: nn.Module | None = None
        self.replaced_tokens = nn.ModuleList()
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(config.vocab_size, width), freeze=False)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.embedding = Stream(switch, "the text tower, embedding")
        self.blocks = _blocks("text", width, config.text_layers, config.text_heads, switch, config.activation)
        self.norm_final = Norm(width, switch, "the text tower, norm_final")
        self.projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self._warned: set[int] = set()
        if config.token_ids is not None:
            _check_token_ids(config)
            rows = sorted(range(1, config.vocab_size), key=config.token_ids.__getitem__)
            ids = [config.token_ids[row] for row in rows]
            self.register_buffer("known_ids", torch.tensor(ids, device="cpu"), persistent=False)
            self.register_buffer("known_rows", torch.tensor(rows, device="cpu"), persistent=False)

    def initialise(self) -> None:
        """CLIP's random initialisation."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.projection, std=self.config.text_width**-0.5)
        initialise_blocks(self.blocks)

    def set_prompt(self, module: nn.Module) -> None:
        """Let `module` change token embeddings before positions are added to them.

        It is called as `module(embeddings, ends, video)` with embeddings [M, L, W] of M texts, int64 [M], the place of
        each end-of-text token, and features [B, D] of clips or None. It returns embeddings [M, L', W], or [B, M, L', W]
        for each clip its own, and the new ends [M]. M texts and B clips may be parts of all. Raises UsageError if there
        is a prompt already.
        """
        if self.prompt is not None:
            raise UsageError("the text tower already has a prompt; only one module can be its prompt")
        self.prompt = module

    def replace_tokens(self, module: nn.Module, block: int, start: int = 1, count: int = 1) -> None:
        """Let the output of `module()`, [count, W], take the place of the tokens from `start` on, before that block.

        Args:
            module: Called without arguments in every pass.
            block: The block's index, from 1.
            start: The first place; 0 is the start-of-text token.
            count: How many tokens.

        Raises:
            UsageError: There is no such block or place, or some of these tokens are replaced already.
        """
        if self.side is not None:
            raise UsageError(_SIDE_ALONE)
        if not 1 <= block <= len(self.blocks):
            raise UsageError(f"replace_tokens: block={block}: expected 1 to {len(self.blocks)}")
        if start < 0 or count < 1 or start + count > self.config.context_length:
            raise UsageError(
                f"replace_tokens: start={start}, count={count}: expected places below {self.config.context_length}"
            )
        added = ReplacedTokens(module, block, start, count)
        if any(added.overlaps(other) for other in self._replaced_tokens()):
            raise UsageError(
                f"replace_tokens: tokens {start} to {start + count - 1} of block {block} are replaced already"
            )
        self.replaced_tokens.append(added)

    def set_side(self, module: nn.Module) -> None:
        """Let `module` make the features, beside blocks that run without a graph.

        It is called as `module(x, outputs, ends)` with x [S, L, W] before the first block, the list of all blocks'
        outputs [S, L, W], and int64 [S], the place of each end-of-text token. It returns [S, D]. Raises UsageError if
        there is one already.
        """
        if self.side is not None:
            raise UsageError("the text tower already has a side network; only one module can be its side network")
        if self.replaced_tokens:
            raise UsageError(_SIDE_ALONE)
        self.side = module

    def forward(self, tokens: Tensor, video: Tensor | None = None) -> Tensor:
        """Features [N, D] of ids int64 [N, L]; [B, N, D] if a prompt depends on `video` [B, D].

        Raises UsageError for ids of another shape, and for texts that the prompt makes too long.
        """
        if self.prompt is None or not self._switch.on:
            return self.finish(self._begin(tokens, 0))
        return self._with_prompt(tokens, video)

    def embed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [M, L, W] of ids int64 [M, L], without positions, up to the last end of text; and the ends [M]."""
        self._check(tokens)
        ends = tokens.argmax(dim=1)
        return self.token_embedding(self._rows(tokens, ends)[:, : int(ends.max()) + 1]), ends

    @torch.no_grad()
    def prepare(self, tokens: Tensor, loaded: LoadedModel) -> Tensor | PreparedText:
        """What stays the same while a method trains: the states of all texts before the first block that it touches,
        or the tokens if it touches what stands before. `loaded`: of the model, to compare with."""
        if (
            self.prompt is not None
            or self.side is not None
            or self.positional_embedding.requires_grad
            or loaded.is_patched(self)
            or not (loaded.untouched(self.token_embedding) and loaded.untouched(self.embedding))
        ):
            return tokens
        replaced = {replaced.block - 1 for replaced in self._replaced_tokens()}
        touched = (i for i, block in enumerate(self.blocks) if i in replaced or not loaded.untouched(block))
        return self._begin(tokens, next(touched, len(self.blocks)))

    def finish(self, prepared: PreparedText) -> Tensor:
        """Features [N, D] of prepared texts, in the order in which their tokens were given."""
        features = torch.cat([self._features(part.states, part.end, prepared.blocks) for part in prepared.parts])
        return features[torch.cat([part.rows for part in prepared.parts]).argsort()]

    def _begin(self, tokens: Tensor, blocks: int) -> PreparedText:
        self._check(tokens)
        end = tokens.argmax(dim=1)
        rows = self._rows(tokens, end)
        parts = []
        for part in self._passes(end):
            # Attention is causal, so nothing after the last end-of-text token can change a feature.
            length = int(end[part].max()) + 1
            x = self._positioned(self.token_embedding(rows[part, :length]))
            for block in self.blocks[:blocks]:
                x = block(x)
            parts.append(TextPart(part, x, end[part]))
        return PreparedText(parts, blocks)

    def _with_prompt(self, tokens: Tensor, video: Tensor | None) -> Tensor:
        """Features [N, D] or [B, N, D] in passes of at most LARGEST_PASS tokens; if there are several, their
        activations are not kept, but computed again on the way back."""
        self._check(tokens)
        end = tokens.argmax(dim=1)
        rows = self._rows(tokens, end)
        most = max(1, LARGEST_PASS // self.config.context_length)  # whatever the prompt adds
        parts = [part for like in self._passes(end) for part in like.split(most)]
        clips = [[None] if video is None else video.split(max(1, most // len(part))) for part in parts]
        encode = self._prompted
        if torch.is_grad_enabled() and sum(map(len, clips)) > 1:
            encode = partial(recomputed, self._switch, self, self._prompted)
        features = []
        for part, groups in zip(parts, clips, strict=True):
            of_part = [encode(tokens[part], rows[part], groups[0])]
            if of_part[0].ndim == 3:  # the prompt depends on the clips
                of_part += [encode(tokens[part], rows[part], group) for group in groups[1:]]
            features.append(torch.cat(of_part))
        return torch.cat(features, dim=-2)[..., torch.cat(parts).argsort(), :]

    def _prompted(self, tokens: Tensor, rows: Tensor, video: Tensor | None) -> Tensor:
        """Features [M, D] or [B, M, D] of one pass of texts through the prompt and the tower."""
        assert self.prompt is not None
        ends = tokens.argmax(dim=1)
        embeddings = self.token_embedding(rows[:, : int(ends.max()) + 1])
        try:
            returned = self.prompt(embeddings, ends, video)
        except (AttributeError, TypeError) as error:
            if video is not None or "None" not in str(error):
                raise
            hint = "video is None; a prompt that reads it declares text_varies = 'video'"
            raise PluginError(f"set_prompt: {type(self.prompt).__name__}: {error}: {hint}") from error
        x, ends = checked_prompt(returned, embeddings, tokens, video, self.config)
        clips = x.shape[:-3]
        x = self._positioned(x.flatten(0, -3))
        features = self._features(x, ends.repeat(*clips) if clips else ends, 0)
        return features.unflatten(0, (*clips, -1)) if clips else features

    def _positioned(self, embeddings: Tensor) -> Tensor:
        """The stream [S, L, W] that the first block reads."""
        stream: Tensor = self.embedding(embeddings + self.positional_embedding[: embeddings.shape[1]])
        return stream

    def _features(self, x: Tensor, ends: Tensor, first: int) -> Tensor:
        """[S, D] of states [S, L, W] that went through the first blocks, read at `ends` [S]."""
        if self.side is not None and self._switch.on:
            return self._beside(x, ends)
        x = self._through(x, ends, first)
        read: Tensor = self.norm_final(x[torch.arange(len(x), device=x.device), ends])
        return read @ self.projection

    def _through(self, x: Tensor, ends: Tensor, first: int) -> Tensor:
        replaced = self._replaced_tokens() if self._switch.on else []
        for index, block in enumerate(self.blocks[first:], first + 1):
            for tokens in replaced:
                if tokens.block == index:
                    x = tokens(x, ends)
            x = block(x)
        return x

    def trained_beside_side(self) -> list[str]:
        """The names of parameters that should train, and cannot, since a side network reads the blocks' outputs."""
        if self.side is None:
            return []
        return [f"blocks.{name}" for name, parameter in self.blocks.named_parameters() if parameter.requires_grad]

    def _beside(self, x: Tensor, ends: Tensor) -> Tensor:
        assert self.side is not None
        if torch.is_grad_enabled() and self.trained_beside_side():
            raise UsageError("the text tower has a side network and runs without gradients: its blocks cannot train")
        outputs = []
        with torch.no_grad():
            states = x
            for block in self.blocks:
                states = block(states)
                outputs.append(states)
        features: Tensor = self.side(x, outputs, ends)
        if features.shape != (len(x), self.config.embed_dim):
            raise PluginError(
                f"set_side: the module returned {list(features.shape)}; expected [{len(x)}, {self.config.embed_dim}]"
            )
        return features

    def _replaced_tokens(self) -> list[ReplacedTokens]:
        return [each for each in self.replaced_tokens if isinstance(each, ReplacedTokens)]

    def pass_sizes(self, tokens: Tensor) -> list[tuple[int, int]]:
        """The passes that ids int64 [N, L] go through the tower in: how many texts, and at how many tokens."""
        end = tokens.argmax(dim=1)
        return [(len(rows), int(end[rows].max()) + 1) for rows in self._passes(end)]

    def _passes(self, end: Tensor) -> list[Tensor]:
        """The rows of every pass through the tower: texts of like length, so that little is computed for padding."""
        per_token = 24 * self.config.text_width**2
        pass_tokens = (PASS_FLOPS_CPU if end.device.type == "cpu" else PASS_FLOPS_GPU) // per_token
        order = end.argsort(stable=True)
        lengths = (end[order] + 1).tolist()
        return [order[first:last] for first, last in like_lengths(lengths, pass_tokens)]

    def _check(self, tokens: Tensor) -> None:
        longest = self.config.context_length
        if tokens.dim() != 2 or not 0 < tokens.shape[1] <= longest:
            raise UsageError(f"tokens of shape {tuple(tokens.shape)}: expected [N, L] with L from 1 to {longest}")

    def _rows(self, tokens: Tensor, end: Tensor) -> Tensor:
        """The rows of the table of token embeddings for these ids."""
        if self.config.token_ids is None:
            return tokens
        at = torch.searchsorted(self.known_ids, tokens.contiguous()).clamp(max=len(self.known_ids) - 1)
        known = self.known_ids[at] == tokens
        inside = torch.arange(tokens.shape[1], device=tokens.device) <= end[:, None]
        self._warn_unknown(tokens[inside & ~known])
        return torch.where(known, self.known_rows[at], 0)

    def _warn_unknown(self, ids: Tensor) -> None:
        new = sorted(set(ids.tolist()) - self._warned)
        if new:
            from petl_bench.models.tokenizer import words_of

            self._warned.update(new)
            log.warning("not in this backbone's reduced vocabulary, read as unknown: %s", ", ".join(words_of(new)))


def like_lengths(lengths: Sequence[int], pass_tokens: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into ranges (first, last), so that padding every range to its longest costs least.

    A range costs `pass_tokens` tokens beyond its own; none has more than LARGEST_PASS.
    """
    ends = [i for i in range(1, len(lengths) + 1) if i == len(lengths) or lengths[i] > lengths[i - 1]]
    cheapest: dict[int, tuple[int, int]] = {0: (0, 0)}  # end of a range -> cost up to there, where the range begins
    for last in ends:
        cheapest[last] = min(
            (cost + pass_tokens + (last - first) * lengths[last - 1], first) for first, (cost, _) in cheapest.items()
        )
    ranges: list[tuple[int, int]] = []
    last = len(lengths)
    while last:
        first, most = cheapest[last][1], max(1, LARGEST_PASS // lengths[last - 1])
        ranges = [(start, min(start + most, last)) for start in range(first, last, most)] + ranges
        last = first
    return ranges


def _blocks(
    tower: str, width: int, layers: int, heads: int, switch: AdapterSwitch, activation: Activation
) -> nn.ModuleList:
    return nn.ModuleList(Block(tower, index, width, heads, switch, activation) for index in range(1, layers + 1))


def _check_token_ids(config: ViCLIPConfig) -> None:
    ids = config.token_ids or ()
    if len(ids) != config.vocab_size or len(set(ids[1:])) != len(ids) - 1:
        raise UsageError(f"token_ids: expected {config.vocab_size} ids (vocab_size), each once after the first")
