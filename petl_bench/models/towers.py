"""The video and the text tower: embedding, blocks, final norm and projection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.api.config import Activation, ViCLIPConfig
from petl_bench.errors import UsageError
from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch, untouched
from petl_bench.models.transformer import Block, initialise_blocks

log = logging.getLogger("petl_bench")

#: Tokens in one pass through the text tower, which bounds its memory: 256 texts of ViCLIP's whole context.
LARGEST_PASS = 8192
#: What starting one more pass costs a block, as floating-point operations that could run in that time.
PASS_FLOPS_CPU, PASS_FLOPS_GPU = 10**8, 10**10


@dataclass(frozen=True)
class VideoOutput:
    """What the video tower gives for B clips of T frames, P patches each."""

    features: Tensor | None  #: [B, D]; None if a module pools the frames' features
    frame_features: Tensor | None = None  #: [B, T, D]
    patch_tokens: Tensor | None = None  #: [B, T, P, W], the last block's, behind the final norm
    pixels: Tensor | None = None  #: [B, T, 3, H, W], the input


class VideoTower(nn.Module):
    """ViCLIP's video encoder, or CLIP's image encoder applied to every frame: [B, T, 3, H, W] -> [B, D].

    ViCLIP (joint space-time): one class token per video attends to the patches of all frames; each frame's patches get
    its temporal embedding, a single frame the mean of them. CLIP: frames are encoded one by one, features averaged.
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
        self.norm_pre = nn.LayerNorm(width)
        self.blocks = _blocks("video", width, config.vision_layers, config.vision_heads, switch, config.activation)
        self.norm_post = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.empty(width, config.embed_dim))

    def initialise(self) -> None:
        """CLIP's random initialisation; the temporal embedding starts at zero."""
        std = self.config.vision_width**-0.5
        for parameter in (self.class_embedding, self.positional_embedding, self.projection):
            nn.init.normal_(parameter, std=std)
        nn.init.kaiming_uniform_(self.patch_weight, a=5**0.5)
        initialise_blocks(self.blocks)

    def forward(self, frames: Tensor) -> Tensor:
        """Features [B, D] of frames [B, T, 3, H, W]. Raises UsageError for other shapes."""
        self._check(frames)
        x, grid = self._embed(frames)
        x = self.norm_pre(x)
        for block in self.blocks:
            x = block(x, grid)
        features: Tensor = self.norm_post(x[:, 0]) @ self.projection
        return features if grid.joint else features.unflatten(0, (-1, grid.frames)).mean(1)

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

    def _embed(self, frames: Tensor) -> tuple[Tensor, Grid]:
        patches, grid = self._patchify(frames)
        # A convolution whose stride is its kernel is a matrix product over patches, and faster as one.
        x = F.linear(patches, self.patch_weight.flatten(1))
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
    """

    known_ids: Tensor
    known_rows: Tensor

    def __init__(self, config: ViCLIPConfig, switch: AdapterSwitch) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(config.vocab_size, width), freeze=False)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.blocks = _blocks("text", width, config.text_layers, config.text_heads, switch, config.activation)
        self.norm_final = nn.LayerNorm(width)
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

    def forward(self, tokens: Tensor) -> Tensor:
        """Features [N, D] of ids int64 [N, L]. Raises UsageError for other shapes."""
        return self.finish(self._begin(tokens, 0))

    @torch.no_grad()
    def prepare(self, tokens: Tensor) -> Tensor | PreparedText:
        """What stays the same while a method trains: the states of all texts before the first block that it touches,
        or the tokens if it touches the embedding."""
        if self.positional_embedding.requires_grad or not untouched(self.token_embedding):
            return tokens
        touched = (i for i, block in enumerate(self.blocks) if not untouched(block))
        return self._begin(tokens, next(touched, len(self.blocks)))

    def finish(self, prepared: PreparedText) -> Tensor:
        """Features [N, D] of prepared texts, in the order in which their tokens were given."""
        features = torch.cat([self._finish(part, prepared.blocks) for part in prepared.parts])
        return features[torch.cat([part.rows for part in prepared.parts]).argsort()]

    def _begin(self, tokens: Tensor, blocks: int) -> PreparedText:
        self._check(tokens)
        end = tokens.argmax(dim=1)
        rows = tokens if self.config.token_ids is None else self._rows(tokens, end)
        parts = []
        for part in self._passes(end):
            # Attention is causal, so nothing after the last end-of-text token can change a feature.
            length = int(end[part].max()) + 1
            x = self.token_embedding(rows[part, :length]) + self.positional_embedding[:length]
            for block in self.blocks[:blocks]:
                x = block(x)
            parts.append(TextPart(part, x, end[part]))
        return PreparedText(parts, blocks)

    def _finish(self, part: TextPart, blocks: int) -> Tensor:
        x = part.states
        for block in self.blocks[blocks:]:
            x = block(x)
        read: Tensor = self.norm_final(x[torch.arange(len(x), device=x.device), part.end])
        return read @ self.projection

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
