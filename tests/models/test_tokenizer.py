"""CLIP's tokenizer, and a backbone that knows only some of its words."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import petl_bench as pb
from petl_bench.models import tokenizer
from petl_bench.models.dual_encoder import DualEncoder
from tests.models.conftest import SMALL_VICLIP, golden_json

CASES = golden_json("viclip_tokenizer.json")["cases"]
LONG = "archery " * 50


@pytest.fixture(autouse=True)
def _fresh_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tokenizer, "_truncated", 0)
    yield


@pytest.mark.parametrize("case", CASES, ids=[str(number) for number in range(len(CASES))])
def test_ids_equal_the_published_tokenizers(case: dict) -> None:
    assert pb.tokenize([case["text"]]).tolist() == [case["ctx32"]]
    assert tokenizer.token_lengths([case["text"]]) == [len(case["bpe"]) + 2]
    wide = pb.tokenize([case["text"]], context_length=77)[0]
    assert wide.count_nonzero() == min(case["ctx77_len"], 77)


def test_shape_and_type() -> None:
    tokens = pb.tokenize(["a", "a video of archery."], context_length=12)
    assert (tokens.shape, tokens.dtype) == ((2, 12), torch.int64)
    assert pb.tokenize("one text").shape == (1, 32)
    assert pb.tokenize([]).shape == (0, 32)


def test_an_empty_text_is_start_and_end() -> None:
    assert pb.tokenize([""], context_length=4).tolist() == [[49406, 49407, 0, 0]]


def test_truncation_ends_with_the_end_of_text_warns_once_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="petl_bench"):
        tokens = pb.tokenize([LONG, "short", LONG])
        pb.tokenize([LONG])
    assert tokens[:, -1].tolist() == [49407, 0, 49407]
    assert tokens[0, :-1].tolist() == [49406] + [tokens[0, 1].item()] * 30
    assert tokenizer.truncation_count() == 3
    assert len(caplog.records) == 1 and "52 tokens cut to 32" in caplog.text


def test_overflow_is_known_without_tokenizing() -> None:
    assert tokenizer.overflow_count([LONG, "short"]) == 1
    assert tokenizer.overflow_count([LONG, "short"], context_length=77) == 0
    assert tokenizer.truncation_count() == 0


def test_a_text_of_exactly_the_context_is_not_cut() -> None:
    text = "archery " * 30
    assert tokenizer.token_lengths([text]) == [32]
    pb.tokenize([text])
    assert tokenizer.truncation_count() == 0


def test_the_tokenizer_does_not_import_the_whole_of_open_clip() -> None:
    code = "import sys, petl_bench as pb; pb.tokenize(['a']); sys.exit('open_clip.model' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# a reduced vocabulary


def reduced() -> tuple[DualEncoder, list[int]]:
    known = pb.tokenize("a video of archery . diving").unique().tolist()
    ids = [known[number] for number in (0, 5, 3, 1, 2, 4, *range(6, len(known)))]  # unsorted, row 0 unknown
    torch.manual_seed(0)
    model = DualEncoder(SMALL_VICLIP.with_(token_ids=tuple(ids), vocab_size=len(ids)))
    return model, ids


def test_ids_are_mapped_to_the_rows_of_a_reduced_table() -> None:
    small, ids = reduced()
    full = DualEncoder(SMALL_VICLIP.with_(vocab_size=49408))
    state = small.published_state_dict()
    table = torch.zeros(49408, 48)
    table[ids] = state["text_encoder.token_embedding.weight"]
    full.load_published_state_dict(state | {"text_encoder.token_embedding.weight": table})
    tokens = pb.tokenize(["a video of archery.", "diving", ""])
    torch.testing.assert_close(small.encode_text(tokens), full.encode_text(tokens))


def test_a_word_outside_is_row_0_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model, _ = reduced()
    with caplog.at_level(logging.WARNING, logger="petl_bench"):
        strange = model.encode_text(pb.tokenize(["a video of tennis"]))
        other = model.encode_text(pb.tokenize(["a video of pianos"]))
        model.encode_text(pb.tokenize(["a video of tennis"]))
    assert torch.equal(strange, other)
    assert [record.getMessage().rsplit(": ")[-1] for record in caplog.records] == ["tennis", "pianos"]


def test_known_words_and_padding_do_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    model, _ = reduced()
    with caplog.at_level(logging.WARNING, logger="petl_bench"):
        model.encode_text(pb.tokenize(["a video of archery.", "diving"]))
    assert not caplog.records


def test_the_table_of_ids_is_no_weight_and_moves_with_the_model() -> None:
    model, _ = reduced()
    assert not [name for name in model.state_dict() if "known" in name]
    assert model.to("meta").text.known_ids.is_meta
