"""Evaluations beside the plain one: epochs that are best on the test clips, by direction, and post-processing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.registry import METHODS
from petl_bench.api.retrieval import retrieval_evaluation, retrieval_pairs
from petl_bench.cli import cli
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.records.layout import RECORD
from petl_bench.records.retrieval import ranked_queries
from petl_bench.records.verify import verify
from petl_bench.training.evaluate import first_of_equal
from petl_bench.training.post_processing import banks_of, dual_softmax, qb_norm
from tests.retrieval.conftest import PLUGIN
from tests.retrieval.test_trials_of_retrieval import FIXED, STEADY, job_of, run

VALUES = (*STEADY, FIXED, "text_adapter.consistency_weight=0", "training.eval_every=1", "training.learning_rate=0.03")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trial of three epochs with everything that can stand beside its numbers, and one with nothing of it."""
    folder = tmp_path_factory.mktemp("further") / "runs"
    pb.load_plugin_file(PLUGIN)
    common = ["--setting", "retrieval", "--datasets", "captioned_motion", "--plugin", str(PLUGIN), "--seeds", "0"]
    values = [part for value in VALUES for part in ("--set", value)]
    every = ["--select", "best-on-test", "--set", "retrieval.post_processing=all"]
    for more in (every, ["--select", "best-on-test"], []):
        arguments = [
            "run",
            "--methods",
            "text_adapter",
            "--epochs",
            "3",
            "--output",
            str(folder),
            *common,
            *values,
            *more,
        ]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    return folder


def records_of(runs: Path) -> list[dict[str, Any]]:
    """The records, that with most evaluations first."""
    found = [json.loads(path.read_text()) for path in runs.glob(f"trials/*/{RECORD}")]
    return sorted(found, key=lambda record: -len(record["coverage"]))


def test_the_numbers_of_a_trial_are_those_of_its_last_epoch_and_the_best_stand_beside(runs: Path) -> None:
    full, best, plain = records_of(runs)
    assert full["metrics"] == best["metrics"] == plain["metrics"]
    assert "best-on-test" not in full["marks"] and "variants" not in plain and "best_epochs" not in plain
    assert set(best["variants"]) == {"best_t2v", "best_v2t"} and best["best_epochs"] == full["best_epochs"]
    history = json.loads((runs / "trials" / best["key"] / "details.json").read_text())["history"]
    for direction in ("t2v", "v2t"):
        recalls = [row[f"selection_{direction}_r1"] for row in history]
        assert recalls[-1] == pytest.approx(best["metrics"][f"{direction}_r1"])
        epoch = best["best_epochs"][f"best_{direction}"]
        assert epoch == recalls.index(max(recalls)) + 1
        assert best["variants"][f"best_{direction}"][f"{direction}_r1"] == pytest.approx(max(recalls))
    assert len({row["selection_t2v_r1"] for row in history}) > 1


def test_everything_that_is_recorded_is_verified(runs: Path) -> None:
    assert [found.problems for found in verify(runs)] == [(), (), ()]
    full = records_of(runs)[0]
    assert set(full["variants"]) == {"best_t2v", "best_v2t", "dual_softmax", "qb_norm"}
    arrays = np.load(runs / "trials" / full["key"] / "predictions-test@dual_softmax.npz")
    assert "similarities" not in arrays
    folder = runs / "trials" / full["key"]
    record = json.loads((folder / RECORD).read_text())
    record["variants"]["qb_norm"]["t2v_r1"] += 1
    text = (folder / RECORD).read_text()
    try:
        (folder / RECORD).write_text(json.dumps(record))
        assert "variant qb_norm: t2v_r1 is recorded as" in " ".join(str(each.problems) for each in verify(runs))
    finally:
        (folder / RECORD).write_text(text)


def test_the_table_has_columns_of_their_own_for_them(runs: Path) -> None:
    said = CliRunner().invoke(
        cli, ["report", "--runs", str(runs), "--table", "retrieval", "--format", "json", "--plugin", str(PLUGIN)]
    )
    assert said.exit_code == 0, said.output
    table = json.loads(said.stdout)
    (row,) = [row for group in table["groups"] for row in group["rows"]]
    cells = dict(zip([(each["group"], each["label"]) for each in table["columns"]], row["cells"], strict=True))
    full, _, _ = records_of(runs)
    (case,) = [group.removesuffix(" T2V") for group, label in cells if label == "R@1" and group.endswith(" T2V")]
    assert cells[f"{case} T2V", "R@1"]["value"] == pytest.approx(full["metrics"]["t2v_r1"])
    assert "best-on-test" not in cells[f"{case} T2V", "R@1"]["marks"]
    found = cells[f"{case} V2T best epoch", "R@1"]
    assert found["value"] == pytest.approx(full["variants"]["best_v2t"]["v2t_r1"])
    assert "best-on-test" in found["marks"]
    assert cells[f"{case} V2T best epoch", "Epoch"]["value"] == full["best_epochs"]["best_v2t"]
    assert cells[f"{case} T2V QB-norm", "MdR"]["value"] == full["variants"]["qb_norm"]["t2v_median_rank"]
    said = CliRunner().invoke(
        cli,
        [
            *("report", "--runs", str(runs), "--table", "retrieval", "--plugin", str(PLUGIN)),
            *("--explain", "retrieval", "text_adapter", f"{case} T2V QB-norm MdR"),
        ],
    )
    value = full["variants"]["qb_norm"]["t2v_median_rank"]
    assert f"t2v_median_rank {value:.6g}" in said.output.split("metrics of qb_norm:")[1], said.output
    notes = " ".join(table["footers"])
    assert ("Best epoch:" in notes and "dual softmax and QB-norm" in notes) or "dual softmax, QB-norm" in notes
    assert "other processes, threads" not in notes  # the same seed with both selections is no repetition


def test_the_frame_has_them_as_metrics_of_their_own(runs: Path) -> None:
    frame = pb.load_records(runs)
    full = records_of(runs)[0]
    own = frame[frame["trial"] == full["key"]].set_index("metric")["value"]
    assert own["t2v_r1@dual_softmax"] == full["variants"]["dual_softmax"]["t2v_r1"]
    assert own["epoch@best_t2v"] == full["best_epochs"]["best_t2v"]


def test_best_epochs_outlast_every_stop(plugin: Path, tmp_path: Path) -> None:
    job = job_of(plugin, "text_adapter", *VALUES, epochs=3, select="best-on-test")
    whole = run(job, tmp_path / "whole")
    while True:
        asked = iter([""] * 2)
        try:
            again = run(job, tmp_path / "stopped", lambda asked=asked: next(asked, "stop"))
        except TrialStopped:
            continue
        break
    assert (again.metrics, again.variants, again.best_epochs) == (whole.metrics, whole.variants, whole.best_epochs)


def test_a_method_that_finishes_the_last_epoch_is_refused(plugin: Path, tmp_path: Path) -> None:
    pb.register_method("finishes")(
        type(
            "Finishes",
            (METHODS.get("bitfit"),),
            {"__doc__": "Finishes.", "recipes": (), "finish": lambda self, model, support: None},
        )
    )
    job = job_of(plugin, "finishes", FIXED, epochs=1, select="best-on-test")
    with pytest.raises(TrialError, match=r"finishes the last epoch by a step of its own.*use --select last"):
        run(job, tmp_path / "finishes")


# Formulas


@st.composite
def scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Similarities [N, M] without ties, owners, and those with a bank of texts [N, K] and of clips [K, M]."""
    counts = draw(st.lists(st.integers(1, 3), min_size=2, max_size=6))
    owners = np.repeat(np.arange(len(counts)), counts)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bank = draw(st.integers(1, 5))
    shapes = ((len(counts), len(owners)), (len(counts), bank), (bank, len(owners)))
    similarities, texts, clips = (30 * random.standard_normal(shape).astype(np.float32) for shape in shapes)
    return similarities, owners, texts, clips


@given(scores())
def test_dual_softmax_is_the_published_formula(drawn: tuple[np.ndarray, ...]) -> None:
    similarities, owners, _, _ = drawn
    every = np.arange(len(owners))
    found = ranked_queries(similarities, owners, dual_softmax(similarities, every))
    exact = similarities.astype(np.float64)
    over_texts = exact * np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    over_clips = exact * np.exp(exact) / np.exp(exact).sum(axis=0, keepdims=True)
    assert found["t2v"].ranks.tolist() == ranked_queries(over_texts, owners)["t2v"].ranks.tolist()
    assert found["v2t"].ranks.tolist() == ranked_queries(over_clips, owners)["v2t"].ranks.tolist()


@given(scores())
def test_qb_norm_is_the_published_formula(drawn: tuple[np.ndarray, ...]) -> None:
    """Dynamic inverted softmax (Bogolin et al., 2022), a query at a time; similarities are 100 x cosine."""
    similarities, owners, texts, clips = drawn
    every = np.arange(len(owners))
    found = ranked_queries(similarities, owners, qb_norm({"t2v": texts, "v2t": clips}, every, 100.0))
    expected = {}
    for direction, queries, bank in (("t2v", similarities.T, texts.T), ("v2t", similarities, clips)):
        activated = set(bank.argmax(axis=1).tolist())
        sums = np.exp(20 * bank.astype(np.float64) / 100).sum(axis=0)
        rows = [np.exp(20 * q.astype(np.float64) / 100) / sums if int(q.argmax()) in activated else q for q in queries]
        expected[direction] = np.array(rows)
    assert found["t2v"].ranks.tolist() == ranked_queries(expected["t2v"].T, owners)["t2v"].ranks.tolist()
    assert found["v2t"].ranks.tolist() == ranked_queries(expected["v2t"], owners)["v2t"].ranks.tolist()


def test_a_bank_has_the_first_caption_of_every_training_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = retrieval_evaluation("test", {"a": ["1"], "b": ["2", "3"]})
    pairs, texts = retrieval_pairs({"x": ["one", "two"], "y": ["two"], "z": ["three", "one"]})
    task = pb.RetrievalTask(train=pairs, train_texts=texts, evaluations=(evaluation,), source="")
    banks = banks_of(evaluation, task, pairs)
    assert banks["t2v"].texts == ("one", "two", "three") and banks["t2v"].samples == evaluation.samples
    assert [each.clip for each in banks["v2t"].samples] == ["x", "y", "z"] and banks["v2t"].texts == evaluation.texts
    monkeypatch.setattr("petl_bench.training.post_processing.BANK_SIZE", 2)
    assert banks_of(evaluation, task, pairs)["t2v"].texts == ("one", "two")


def test_equal_texts_have_the_similarities_of_the_first_of_them() -> None:
    assert first_of_equal(("a", "b", "c")) is None
    assert first_of_equal(("a", "b", "a", "b", "c")).tolist() == [0, 1, 0, 1, 4]  # type: ignore[union-attr]
