"""Where a language model is asked, what it is asked, and which of its answers are taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.describing import endpoint
from petl_bench.describing.prompts import MalformedAnswerError, prompt_for, sentences_of
from petl_bench.errors import UsageError

SEA = "A video about the sea."
SKY = "A video about the sky."


def lengths(texts: Any) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps([SEA, SKY]),
        f"```json\n{json.dumps([SEA, SKY])}\n```",
        f"1. {SEA}\n2. {SKY}",
        f"\n 1) {SEA}\n\n 2)  {SKY} \n",
    ],
)
def test_forms_of_an_answer(answer: str) -> None:
    assert sentences_of(answer, 2, lengths, 32) == [SEA, SKY]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "it is neither a JSON list nor a list numbered from 1"),
        (f"Sure!\n1. {SEA}\n2. {SKY}", "it is neither a JSON list nor a list numbered from 1"),
        (f"1. {SEA}\n3. {SKY}", "it is neither a JSON list nor a list numbered from 1"),
        (json.dumps({"0": SEA}), "it is neither a JSON list nor a list numbered from 1"),
        ("[" * 100_000, "it is not a valid JSON list"),
        (json.dumps([SEA, 3]), "it is not a JSON list of sentences"),
        (json.dumps([SEA, "sea"]), "sentence 2 has fewer than three words"),
        (json.dumps([SEA, f"{SKY} It is blue."]), "sentence 2 holds several sentences"),
        (json.dumps(["The next step involves the sea.", SKY]), "sentence 1 continues another sentence"),
        (json.dumps([SEA, "A video about [the sky]."]), "sentence 2 holds brackets, mark-up or line breaks"),
        (json.dumps([SEA, "A video about the s\u0007ky."]), "sentence 2 holds control characters"),
        (json.dumps([SEA, SEA.lower()]), "two sentences are the same"),
        (
            json.dumps([SEA, "A video about the sky " + "and the sea " * 10]),
            r"sentence 2 is too long \(37 tokens, 32 fit\)",
        ),
    ],
)
def test_answers_that_are_not_taken(answer: str, problem: str) -> None:
    with pytest.raises(MalformedAnswerError, match=problem):
        sentences_of(answer, 2, lengths, 32)


@given(st.one_of(st.text(), st.recursive(st.text() | st.none(), st.lists).map(json.dumps)))
def test_any_answer_is_taken_or_turned_down(answer: str) -> None:
    try:
        assert len(sentences_of(answer, 2, lengths, 32)) == 2
    except MalformedAnswerError as error:
        assert "\n" not in str(error)


def test_prompts_name_the_class_in_words_and_the_number() -> None:
    for kind in ("spatial", "temporal"):
        prompt = prompt_for(kind, "ApplyEyeMakeup", 8, 32)
        assert '"apply eye makeup"' in prompt and "Number of sentences: 8" in prompt and "at most 22 words" in prompt


@pytest.mark.parametrize(
    "url",
    ["ftp://host/v1", "host/v1", "https://user:pass@host/v1", "https://host/v1?key=sk-1", "https://", "http://[::"],
)
def test_addresses_that_are_none_or_hold_a_key(url: str) -> None:
    with pytest.raises(UsageError, match="--endpoint: expected an address such as") as error:
        endpoint.endpoint_url(url)
    assert "pass" not in str(error.value) and "sk-1" not in str(error.value)


@pytest.mark.parametrize("url", ["https://h/v1", "https://h/v1/", "https://h/v1/chat/completions"])
def test_address_of_the_questions(url: str) -> None:
    assert str(endpoint.endpoint_url(url)) == "https://h/v1/chat/completions"
