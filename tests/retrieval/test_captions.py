"""Captions of a data set: part of its manifest, and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.registry import SETTINGS
from petl_bench.data.found.manifest import Manifest, _content
from petl_bench.testing.checks import Failed, Given, Skipped
from petl_bench.testing.datasets import DatasetSubject, captions_are_texts_of_clips, spans_are_parts_of_clips
from petl_bench.testing.settings import (
    SettingSubject,
    clips_keep_their_texts,
    labels_are_in_range,
    tasks_are_of_the_declared_kind,
)

PLAIN = Annotations(classes=("x",), train={1: (Sample("a", 0),)}, test={1: (Sample("b", 0),)})


def test_captions_have_a_hash_of_their_own_that_classification_does_not_know(plugin: Path, tmp_path: Path) -> None:
    described = {"a": ("one", "two")}
    assert _content(replace(PLAIN, captions=described), {}) == _content(PLAIN, {})
    hashes = {
        Manifest("d", tmp_path, replace(PLAIN, captions=captions), {}, (), {}, (), "").captions_sha256
        for captions in (
            described,
            {
                "a": ("one", "two "),
            },
            {"a": ("two", "one")},
            {},
        )
    }
    assert len(hashes) == 4 and "" in hashes


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        ({"c": ("one",)}, "no list names: ['c']"),
        ({"a": ()}, "captions of a: ()"),
        ({"a": "one"}, "give a tuple of texts"),
        ({"a": ("one", " ")}, "captions of a"),
    ],
)
def test_captions_that_are_none_are_found(captions: Any, says: str) -> None:
    subject = DatasetSubject("data set", pb.Dataset, Given())
    vars(subject)["annotations"] = replace(PLAIN, captions=captions)
    with pytest.raises(Failed) as found:
        captions_are_texts_of_clips(subject)
    assert says in str(found.value)


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ({"c": (0.0, 1.0)}, "no list names: ['c']"),
        ({"a": (2.0, 2.0)}, "span of a: 2.0 to 2.0 seconds"),
        ({"a": (-1.0, 2.0)}, "span of a"),
        ({"a": (0.0, float("inf"))}, "span of a"),
    ],
)
def test_spans_that_are_none_are_found(spans: Any, says: str) -> None:
    subject = DatasetSubject("data set", pb.Dataset, Given())
    vars(subject)["annotations"] = replace(PLAIN, spans=spans)
    with pytest.raises(Failed) as found:
        spans_are_parts_of_clips(subject)
    assert says in str(found.value)


def test_a_data_set_without_captions_is_skipped() -> None:
    subject = DatasetSubject("data set", pb.Dataset, Given())
    vars(subject)["annotations"] = PLAIN
    with pytest.raises(Skipped, match="no captions"):
        captions_are_texts_of_clips(subject)


def faulty(**task: Any) -> SettingSubject:
    """The made setting, with a task that is changed."""
    setting = SETTINGS.get("made_retrieval")

    def changed(self: Any, annotations: Annotations, case: pb.Case) -> pb.Task:
        return replace(setting.task(self, annotations, case), **task)

    return SettingSubject("setting", type("Faulty", (setting,), {"__doc__": "Faulty.", "task": changed}), Given())


@pytest.mark.parametrize(
    ("task", "check", "says"),
    [
        ({"train": (Sample("archery/01.mp4", 0),)}, clips_keep_their_texts, "not a clip of the data set"),
        ({"train": (Sample("archery/01.mp4", -1),)}, labels_are_in_range, "and [Sample"),
        (
            {"evaluations": (pb.Evaluation("test", ("x",), (Sample("archery/20.mp4", 0),)),)},
            tasks_are_of_the_declared_kind,
            "kind is 'retrieval', and task() gives RetrievalTask with Evaluation",
        ),
    ],
)
def test_the_checks_of_a_setting_find_what_is_wrong(plugin: Path, task: Any, check: Any, says: str) -> None:
    with pytest.raises(Failed) as found:
        check(faulty(**task))
    assert says in str(found.value)
