"""Prompts, replaced tokens and side networks of the text tower."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models import towers
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import PreparedText

CLOSE = {"atol": 1e-6, "rtol": 1e-6}
NAMES = ("pour", "jump over sand", "green square", "dance")


class Context(nn.Module):
    """Vectors [n, W] behind the start-of-text token (CoOp); plus a multiple of the clip's feature (CoCoOp)."""

    def __init__(self, vectors: Tensor, from_video: int = 0) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors.detach().clone())
        self.meta = nn.Linear(from_video, vectors.shape[1]) if from_video else None
        self.seen: list[tuple[tuple[int, ...], int]] = []

    def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
        vectors = self.vectors
        if self.meta is not None and video is not None:
            vectors = vectors + self.meta(video)[:, None, None]  # [B, 1, n, W]
            embeddings = embeddings.expand(len(video), -1, -1, -1)
        shape = embeddings.shape
        self.seen.append((tuple(shape), len(self.vectors)))
        context = vectors.expand(*shape[:-2], -1, -1)
        return torch.cat([embeddings[..., :1, :], context, embeddings[..., 1:, :]], dim=-2), ends + len(self.vectors)


class Doing(pb.Method):
    """A method whose prompt is given."""

    def __init__(self, prompt: nn.Module) -> None:
        self._prompt = prompt

    def attach(self, model: DualEncoder) -> None:
        model.text.set_prompt(self._prompt)


@pytest.fixture
def tiny() -> DualEncoder:
    """The embedded ViCLIP, with a table of real words."""
    return pb.create_model("viclip-tiny").eval()


@pytest.fixture
def video() -> Tensor:
    return torch.randn(5, 128, generator=torch.Generator().manual_seed(3))


def context_of(model: DualEncoder, words: str) -> Tensor:
    """The embeddings of some words, without start and end."""
    embeddings, ends = model.embed([words])
    return embeddings[0, 1 : int(ends[0])]


def test_embed_gives_token_embeddings_without_positions_and_the_ends(tiny: DualEncoder) -> None:
    embeddings, ends = tiny.embed(["a video", "a video of a jump."])
    table = tiny.text.token_embedding.weight
    assert ends.tolist() == [3, 7] and embeddings.shape == (2, 8, 128) and not embeddings.requires_grad
    ids = pb.tokenize("a video of a jump.")[0, :8].tolist()
    assert torch.equal(embeddings[1], table[[tiny.config.token_ids.index(i) for i in ids]])
    assert torch.equal(embeddings[0, :3], embeddings[1, :3])


def test_a_model_without_clips_vocabulary_reads_no_texts(viclip: DualEncoder) -> None:
    for read in (viclip.embed, viclip.frozen_text):
        with pytest.raises(pb.UsageError, match="table of 512 tokens is not CLIP's"):
            read(["a video"])


def test_a_prompt_that_begins_as_words_equals_the_template_of_these_words(tiny: DualEncoder) -> None:
    wanted = tiny.encode_text(pb.tokenize([f"a photo of a {name}" for name in NAMES]))
    tiny.text.set_prompt(Context(context_of(tiny, "a photo of a")))
    tokens = pb.tokenize(NAMES)
    assert_close(tiny.encode_text(tokens), wanted, **CLOSE)
    assert_close(torch.cat([tiny.encode_text(row[None]) for row in tokens]), wanted, **CLOSE)


def test_a_prompt_gets_embeddings_of_the_length_of_their_pass(tiny: DualEncoder) -> None:
    prompt = Context(torch.zeros(4, 128))
    tiny.text.set_prompt(prompt)
    lengths: list[tuple[int, ...]] = []
    tiny.text.blocks[0].register_forward_hook(lambda module, args, output: lengths.append(tuple(output.shape)))
    tiny.encode_text(pb.tokenize(NAMES))
    assert prompt.seen == [((4, 5, 128), 4)] and lengths == [(4, 9, 128)]


@pytest.mark.parametrize("from_video", [0, 128])
@pytest.mark.parametrize("most", [64, 160, 8192])
def test_passes_of_bounded_size_equal_one_by_one_with_gradients(
    tiny: DualEncoder, video: Tensor, from_video: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    prompt = Context(0.02 * torch.randn(4, 128), from_video)
    Doing(prompt).attach(tiny)
    tokens, parameters = pb.tokenize(NAMES), list(prompt.parameters())
    rows = [torch.cat([tiny.encode_text(text[None], clip[None]).reshape(1, 128) for text in tokens]) for clip in video]
    wanted = torch.stack(rows) if from_video else rows[0]
    gradients = torch.autograd.grad(wanted.square().sum(), parameters)
    monkeypatch.setattr(towers, "LARGEST_PASS", most)
    passes: list[int] = []
    tiny.text.blocks[0].register_forward_hook(lambda module, args, output: passes.append(output[..., 0].numel()))
    found = tiny.encode_text(tokens, video)
    assert max(passes) <= most and found.shape == ((5, 4, 128) if from_video else (4, 128))
    forward = len(passes)
    assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert_close(torch.autograd.grad(found.square().sum(), parameters), gradients, atol=1e-4, rtol=1e-4)
    if from_video:
        assert len(passes) == (2 * forward if forward > 1 else 1), "computed again on the way back if there are several"
    with torch.no_grad():
        assert_close(tiny.encode_text(tokens, video), found, atol=1e-6, rtol=1e-6)


def test_a_prompt_is_off_with_the_adapters_and_nothing_is_prepared(tiny: DualEncoder, video: Tensor) -> None:
    tokens = pb.tokenize(NAMES)
    frozen = tiny.encode_text(tokens)
    Doing(Context(torch.randn(4, 128), 128)).attach(tiny)
    assert tiny.prepare_text(tokens) is tokens and not tiny.untouched(tiny.text)
    with tiny.adapters_off():
        assert torch.equal(tiny.encode_text(tokens, video), frozen)
    assert torch.equal(tiny.frozen_text(list(NAMES)), frozen)
    assert [name for name in tiny.adapter_state() if "prompt" not in name] == []
    with pytest.raises(pb.UsageError, match="already has a prompt"):
        tiny.text.set_prompt(nn.Identity())


def test_a_text_that_the_prompt_makes_too_long_is_named_with_what_to_change(tiny: DualEncoder) -> None:
    tiny.text.set_prompt(Context(torch.zeros(25, 128)))
    tiny.encode_text(pb.tokenize(["a green square"]))
    with pytest.raises(pb.UsageError) as error:
        tiny.encode_text(pb.tokenize(["jump", "a photo of a green square", "pour"]))
    assert str(error.value) == (
        "the prompt makes the text 'a photo of a green square' of 8 tokens 33 long, but the text tower reads 32: "
        "use at least 1 fewer context tokens, or a shorter template"
    )


@pytest.mark.parametrize(
    ("returns", "why"),
    [
        (lambda x, ends: x, r"returned \[2, 4, 128\]; expected embeddings \[M, L, W\]"),
        (lambda x, ends: (x[..., :5], ends), r"returned \(\[2, 4, 5\], \[2\]\)"),
        (lambda x, ends: (x[0], ends), r"returned \(\[4, 128\], \[2\]\)"),
        (lambda x, ends: (x, ends[:1]), r"returned \(\[2, 4, 128\], \[1\]\)"),
        (lambda x, ends: (x.expand(3, -1, -1, -1), ends), "no video features are given"),
        (lambda x, ends: (x, ends + 2), "texts of 4 tokens, but an end of text at place 5; move the ends"),
        (lambda x, ends: (None, ends), "NoneType"),
    ],
)
def test_what_a_prompt_must_not_return_is_said_in_one_line(tiny: DualEncoder, returns, why: str) -> None:
    class Wrong(nn.Module):
        def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> object:
            return returns(embeddings, ends)

    tiny.text.set_prompt(Wrong())
    with pytest.raises(pb.PluginError, match=why):
        tiny.encode_text(pb.tokenize(["a jump", "pour"]))


class Vectors(nn.Module):
    """Learned tokens [n, W]."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(*shape))

    def forward(self) -> Tensor:
        return self.vectors


def test_tokens_are_replaced_before_their_block_and_texts_are_prepared_up_to_there(
    viclip: DualEncoder, tokens: Tensor
) -> None:
    module = Vectors(2, 48)
    inputs: list[Tensor] = []
    viclip.text.blocks[1].register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    frozen = viclip.encode_text(tokens)
    viclip.text.replace_tokens(module, block=2, start=1, count=2)
    changed = viclip.encode_text(tokens)
    before, after = inputs
    assert torch.equal(after[:, 1:3], module.vectors.expand(3, -1, -1))
    assert torch.equal(after[:, 3:], before[:, 3:]) and torch.equal(after[:, :1], before[:, :1])
    assert not torch.allclose(changed, frozen)
    changed.square().sum().backward()
    assert module.vectors.grad is not None and module.vectors.grad.abs().min() > 0
    viclip.requires_grad_(False)
    for hooked in viclip.text.blocks:
        hooked._forward_hooks.clear()
    prepared = viclip.prepare_text(tokens)
    assert isinstance(prepared, PreparedText) and prepared.blocks == 1
    assert_close(viclip.encode_text(prepared), changed)
    with viclip.adapters_off():
        assert torch.equal(viclip.encode_text(tokens), frozen)


def test_tokens_that_cannot_be_replaced_are_refused(viclip: DualEncoder, tokens: Tensor) -> None:
    text = viclip.text
    text.replace_tokens(Vectors(2, 48), block=2, start=1, count=2)
    text.replace_tokens(Vectors(2, 48), block=1, start=1, count=2)
    for changes, why in (
        ({"block": 4}, "block=4: expected 1 to 3"),
        ({"block": 0}, "block=0: expected 1 to 3"),
        ({"block": 1, "start": 31, "count": 2}, "start=31, count=2: expected places below 32"),
        ({"block": 2, "start": 2}, "tokens 2 to 2 of block 2 are replaced already"),
    ):
        with pytest.raises(pb.UsageError, match=why):
            text.replace_tokens(Vectors(1, 48), **changes)
    text.replace_tokens(Vectors(3, 48), block=3, start=1, count=3)
    with pytest.raises(pb.UsageError, match="tokens 1 to 3 are replaced, but the shortest text has 4 with its end"):
        viclip.encode_text(tokens)
    text.replaced_tokens = nn.ModuleList()
    text.replace_tokens(Vectors(3, 48), block=3, start=1, count=2)
    with pytest.raises(pb.PluginError, match=r"returned \[3, 48\]; expected \[2, 48\]"):
        viclip.encode_text(tokens)


def test_the_stream_before_the_first_block_is_a_site(tiny: DualEncoder) -> None:
    tokens, shift = pb.tokenize(NAMES), torch.nn.Linear(128, 128)
    with torch.no_grad():
        frozen = tiny.encode_text(tokens)
    tiny.requires_grad_(False).text.embedding.add_after(shift)
    tiny.encode_text(tokens).sum().backward()
    assert shift.weight.grad is not None and shift.weight.grad.any() and tiny.prepare_text(tokens) is tokens
    with torch.no_grad(), tiny.adapters_off():
        assert torch.equal(tiny.encode_text(tokens), frozen)


def test_features_of_texts_are_a_site_behind_the_tower(tiny: DualEncoder, video: Tensor) -> None:
    tokens = pb.tokenize(NAMES)
    tiny.requires_grad_(False)
    before = tiny.encode_text(tokens)
    assert tiny.text_is_untouched
    tiny.features.text.then(torch.nn.Dropout(0.5))
    tiny.text.set_prompt(Context(torch.zeros(2, 128), 128))
    assert tiny.encode_text(tokens, video).shape == (5, 4, 128)
    assert not tiny.text_is_untouched
    with tiny.adapters_off():
        assert torch.equal(tiny.encode_text(tokens), before)


class Side(nn.Module):
    """A linear map of the last token's stream before the blocks and behind each."""

    def __init__(self, width: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width * (blocks + 1), channels)
        self.seen: list[tuple[Tensor, list[Tensor], Tensor]] = []

    def forward(self, x: Tensor, outputs: list[Tensor], ends: Tensor) -> Tensor:
        self.seen.append((x, outputs, ends))
        streams = torch.cat([x, *outputs], dim=-1)
        features: Tensor = self.linear(streams[torch.arange(len(x)), ends])
        return features


def test_a_side_network_reads_every_block_and_no_graph_is_kept_through_them(
    viclip: DualEncoder, tokens: Tensor
) -> None:
    frozen, side = viclip.requires_grad_(False).encode_text(tokens), Side(48, 3, 32)

    class Attaching(pb.Method):
        def attach(self, model: DualEncoder) -> None:
            model.text.set_side(side)

    Attaching().attach(viclip)
    features = viclip.encode_text(tokens)
    x, outputs, ends = side.seen[0]
    assert len(outputs) == 3 and not any(output.requires_grad for output in (x, *outputs))
    assert features.shape == (3, 32) and viclip.prepare_text(tokens) is tokens
    read = viclip.text.norm_final(outputs[-1][torch.arange(3), ends]) @ viclip.text.projection
    assert_close(read, frozen[tokens.argmax(dim=1).argsort(stable=True)])
    features.sum().backward()
    assert side.linear.weight.grad is not None
    with viclip.adapters_off():
        assert torch.equal(viclip.encode_text(tokens), frozen)
    with pytest.raises(pb.UsageError, match="already has a side network"):
        viclip.text.set_side(side)
    with pytest.raises(pb.UsageError, match="would never learn"):
        viclip.text.replace_tokens(Vectors(1, 48), block=1)
    viclip.text.blocks[0].requires_grad_(True)
    with pytest.raises(pb.UsageError, match="its blocks cannot train"):
        viclip.encode_text(tokens)


def test_a_side_network_gives_one_feature_per_text(viclip: DualEncoder, tokens: Tensor) -> None:
    viclip.requires_grad_(False)
    viclip.text.set_side(Side(48, 3, 5))
    with pytest.raises(pb.PluginError, match=r"returned \[3, 5\]; expected \[3, 32\]"):
        viclip.encode_text(tokens)


class Before(nn.Module):
    """Puts `count` tokens behind the start of every text, and says that the ends moved by `told`."""

    def __init__(self, count: int, told: int) -> None:
        super().__init__()
        self.count, self.told = count, told

    def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
        context = embeddings.new_full((len(embeddings), self.count, embeddings.shape[2]), 0.25)
        return torch.cat([embeddings[:, :1], context, embeddings[:, 1:]], dim=1), ends + self.told


@pytest.mark.parametrize("told", [0, 1, 3])
def test_ends_that_were_not_moved_with_the_text_are_refused(told: int) -> None:
    model = pb.create_model("viclip-tiny")
    model.text.set_prompt(Before(2, told))
    with pytest.raises(pb.PluginError, match="move the ends by as many tokens as are put in before"):
        model.encode_text(pb.tokenize(["a video of a jump", "a video of someone who jumps"], context_length=32))


def test_ends_that_were_moved_with_the_text_are_taken() -> None:
    model = pb.create_model("viclip-tiny")
    model.text.set_prompt(Before(2, 2))
    assert model.encode_text(pb.tokenize(["a jump", "someone who jumps"], context_length=32)).shape[0] == 2


def test_a_prompt_that_reads_clips_without_saying_so_is_told_what_to_declare() -> None:
    class Reads(nn.Module):
        def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
            return embeddings + video.mean(), ends  # type: ignore[union-attr]

    model = pb.create_model("viclip-tiny")
    model.text.set_prompt(Reads())
    with pytest.raises(pb.PluginError, match="declares text_varies = 'video'"):
        model.encode_text(pb.tokenize(["a jump"], context_length=32))
