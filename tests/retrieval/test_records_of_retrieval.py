"""Records of retrieval: written, read back, verified, tabulated, and compared on the same queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.analysis.chance import _recorded
from petl_bench.cli import cli
from petl_bench.errors import StoreError
from petl_bench.page.details import StoredDetails
from petl_bench.page.queries import searched
from petl_bench.page.trials import cases_of
from petl_bench.records.files import described
from petl_bench.records.layout import RECORD, predictions_name, trial_folder
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.read import read_predictions, read_record
from petl_bench.records.retrieval import ranked_queries, retrieval_metrics
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import write_record
from tests.reports.synthetic_records import make_trial, result_of
from tests.reports.tables import table_of

CLIPS, SEEDS = 60, 3
#: Of each clip, one to three texts.
OWNERS = [clip for clip in range(CLIPS) for _ in range(1 + clip % 3)]
#: How much more similar a clip is to its own texts.
SKILL = {"zero_shot": 0.4, "lora": 1.6}


def drawn(skill: float, seed: int) -> pb.RetrievalResult:
    random = np.random.default_rng([seed, round(10 * skill)])
    similarities = random.random((CLIPS, len(OWNERS))).astype(np.float32)
    similarities[OWNERS, np.arange(len(OWNERS))] += skill * random.random(len(OWNERS)).astype(np.float32)
    ranks = {direction: each.ranks for direction, each in ranked_queries(similarities, OWNERS).items()}
    return pb.RetrievalResult(
        clips=[f"clip_{clip}.mp4" for clip in range(CLIPS)],
        texts=[f"text {place}" for place in range(len(OWNERS))],
        owners=OWNERS,
        similarities=similarities,
        accuracies=retrieval_metrics(ranks),
        expected=CLIPS + 1,
        expected_texts=len(OWNERS) + 2,
        groups=[f"film {clip // 2}" for clip in range(CLIPS)],
        unreadable={"gone.mp4": "truncated"},
    )


def store(runs: Path, method: str, seed: int, *, captions_sha256: str = "", **changes: Any) -> Path:
    """Write a record, and return its folder."""
    evaluation = drawn(SKILL[method], seed)
    for name, value in changes.items():
        setattr(evaluation, name, value)
    values = {"setting": "made_retrieval", "dataset": "captioned_motion", "shots": None}
    values["captions_sha256"] = captions_sha256
    trial = make_trial(method, seed, hyper_parameters={}, **values)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    write_record(folder, trial, result_of(evaluation.accuracies, {"test": evaluation}, trainable=1000))
    return folder


@pytest.fixture
def folder(plugin: Path, tmp_path: Path) -> Path:
    """The folder of one trial."""
    return store(tmp_path / "runs", "lora", 0)


def test_a_record_says_what_was_scored_and_its_predictions_are_read_back(folder: Path) -> None:
    record = read_record(folder)
    texts = len(OWNERS)
    assert record["coverage"]["test"] == {
        "expected": CLIPS + 1,
        "found": CLIPS + 1,
        "unreadable": 1,
        "used": CLIPS,
        "texts": texts,
        "expected_texts": texts + 2,
    }
    assert record["test_classes"] == {}
    assert set(record["metrics"]) == set(pb.RETRIEVAL_METRICS)
    arrays = read_predictions(folder, "test")
    assert arrays["similarities"].shape == (CLIPS, texts) and arrays["texts"][3] == "text 3"
    assert arrays["owners"].tolist() == OWNERS
    assert record["metrics"]["t2v_r1"] == pytest.approx(100 * (arrays["text_ranks"] == 1).mean())
    assert record["metrics"]["v2t_mean_rank"] == pytest.approx(arrays["clip_ranks"].mean())


def test_verify_finds_nothing_wrong_and_no_metric_is_taken_on_trust(folder: Path) -> None:
    found = verify_trial(folder)
    assert (found.problems, found.unknown) == ((), "")


def tampered(folder: Path, **changed: Any) -> None:
    """Other arrays in the file of predictions, with a record that names its new content."""
    path = folder / predictions_name("test")
    arrays = dict(np.load(path))
    np.savez_compressed(path, **{**arrays, **changed})
    record = json.loads((folder / RECORD).read_text())
    record["files"][path.name] = described(path.read_bytes())
    (folder / RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda arrays: {"text_ranks": np.ones_like(arrays["text_ranks"])}, "do not follow from its similarities"),
        (lambda arrays: {"clip_ranks": np.ones_like(arrays["clip_ranks"])}, "the v2t_r1 of test is 100 by the"),
        (lambda arrays: {"clip_ranks": arrays["clip_ranks"] + 100}, "its clip_ranks are from 1"),
        (lambda arrays: {"found_by_text": arrays["found_by_text"] - 100}, "its found_by_text are from -"),
        (lambda arrays: {"owners": arrays["owners"] + 1}, "its owners are not the 60 clips"),
        (lambda arrays: {"similarities": arrays["similarities"][:, :5]}, "of 5 texts, not of 119|of 5 texts"),
    ],
)
def test_changed_predictions_are_found(folder: Path, changed: Any, says: str) -> None:
    tampered(folder, **changed(dict(np.load(folder / predictions_name("test")))))
    told = " ".join(str(problem) for problem in verify_trial(folder).problems)
    assert re.search(says, told), told


def test_a_changed_metric_is_found(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    record["metrics"]["t2v_median_rank"] = 7.0
    (folder / RECORD).write_text(json.dumps(record))
    assert "t2v_median_rank is recorded as 7" in str(verify_trial(folder).problems)


def test_outcomes_are_of_one_direction(folder: Path) -> None:
    outcomes, trial = StoredOutcomes([folder.parent.parent]), folder.name
    texts, clips = outcomes.of(trial, "test/t2v"), outcomes.of(trial, "test/v2t")
    assert texts is not None and clips is not None
    assert (len(texts.clips), len(clips.clips)) == (len(OWNERS), CLIPS)
    assert texts.groups is not None and len(set(texts.groups)) == CLIPS / 2
    assert outcomes.of(trial, "test") is None
    assert "one of retrieval has t2v and v2t" in outcomes.fault(trial, "test")
    assert outcomes.problem(trial) is None


def test_guessing_finds_a_clip_among_the_clips(folder: Path) -> None:
    coverage = json.dumps(read_record(folder)["coverage"])
    assert _recorded(coverage, "test/t2v") == (CLIPS, CLIPS), "texts of one clip are not independent"
    assert _recorded(coverage, "test/v2t") == (CLIPS, CLIPS)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"similarities": np.full((CLIPS, len(OWNERS)), np.nan, dtype=np.float32)}, "clip_0.mp4 are not finite"),
        ({"similarities": np.zeros((CLIPS, 3), dtype=np.float32)}, "do not fit"),
        ({"owners": [0] * len(OWNERS)}, "do not fit"),
    ],
)
def test_what_cannot_be_ranked_is_not_recorded(plugin: Path, tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        store(tmp_path / "runs", "lora", 0, **changes)


@pytest.fixture
def runs(plugin: Path, tmp_path: Path) -> Path:
    """Two methods under three seeds."""
    for method in SKILL:
        for seed in range(SEEDS):
            store(tmp_path / "runs", method, seed)
    return tmp_path / "runs"


def command(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_means_over_queries_have_intervals_in_the_table_and_medians_have_none(plugin: Path, runs: Path) -> None:
    arguments = ["--runs", str(runs), "--plugin", str(plugin), "--table", "made_retrieval", "--format", "json"]
    table = json.loads(command("report", *arguments))
    labels = [f"{column['group'].removeprefix('captioned_motion ')} {column['label']}" for column in table["columns"]]
    assert labels[2:8] == ["T2V R@1", "T2V R@5", "T2V R@10", "T2V Sum", "T2V MdR", "T2V MnR"]
    groups = table["groups"]
    rows = {row["label"]: dict(zip(labels, row["cells"], strict=True)) for group in groups for row in group["rows"]}
    records = pb.load_records(runs)
    own = records[(records["method"] == "lora") & (records["metric"] == "t2v_r1")]["value"]
    better = rows["lora"]
    assert better["T2V R@1"]["value"] == pytest.approx(own.mean())
    for label in ("R@1", "Sum", "MnR"):
        low, high = better[f"T2V {label}"]["interval"]
        assert low < better[f"T2V {label}"]["value"] < high
    assert better["T2V MnR"]["interval"][0] > 1 and better["T2V Sum"]["interval"][1] < 300
    assert better["T2V MdR"]["interval"] is None
    assert better["T2V MnR"]["value"] < rows["zero_shot"]["T2V MnR"]["value"]
    lower = [label for label, column in zip(labels, table["columns"], strict=True) if column.get("lower_is_better")]
    assert lower == ["T2V MdR", "T2V MnR", "V2T MdR", "V2T MnR"]


def test_ties_are_counted_in_the_record_and_told_under_the_table(plugin: Path, tmp_path: Path) -> None:
    similarities = np.round(2 * drawn(SKILL["lora"], 0).similarities)
    ranked = ranked_queries(similarities, OWNERS)
    metrics = retrieval_metrics({direction: each.ranks for direction, each in ranked.items()})
    folder = store(tmp_path / "runs", "lora", 0, similarities=similarities, accuracies=metrics)
    assert not verify_trial(folder).problems
    counts, tied = read_record(folder)["coverage"]["test"], {direction: each.tied for direction, each in ranked.items()}
    assert (
        all(tied.values())
        and {f"{direction}_tied": count for direction, count in tied.items()}.items() <= counts.items()
    )
    said = command(
        "report",
        "--runs",
        str(tmp_path / "runs"),
        "--plugin",
        str(plugin),
        "--table",
        "made_retrieval",
        "--format",
        "markdown",
    )
    for direction in ("T2V", "V2T"):
        assert re.search(rf"Queries with a tied target, .*, {direction}: LoRA {tied[direction.lower()]}\.", said), said


def test_other_captions_of_the_same_clips_are_another_case(plugin: Path, tmp_path: Path) -> None:
    for letter in "ab":
        store(tmp_path / "runs", "lora", 0, captions_sha256=letter * 64)
    table = table_of(tmp_path / "runs", "made_retrieval")
    headers = {column.group for column in table.columns if column.label == "R@1"}
    assert headers == {
        f"captioned_motion (captions={letter * 8}) {direction}" for letter in "ab" for direction in ("T2V", "V2T")
    }
    assert [case.label for case in cases_of(pb.load_records(tmp_path / "runs"))] == [
        f"made_retrieval · captioned_motion (captions {letter * 8})" for letter in "ab"
    ]


def test_compare_pairs_methods_on_the_same_queries(plugin: Path, runs: Path) -> None:
    said = command("compare", "lora", "zero_shot", "--runs", str(runs), "--plugin", str(plugin))
    assert "T2V R@1" in said and "V2T R@10" in said and "MdR" not in said
    assert re.search(r"T2V MnR: -[\d.]+ ranks \(.*a real difference", said)
    assert re.search(r"T2V Sum: \+[\d.]+ points \(.*a real difference", said)
    (answer,) = re.findall(r"^LoRA is better than Zero-shot on: (.*)\.$", said, re.MULTILINE)
    assert "T2V MnR" in answer and "T2V Sum" in answer and "is worse" not in said
    assert "for 10 tests" in said
    assert "test clips" not in said


@pytest.mark.parametrize("format_", ["terminal", "markdown", "latex", "csv", "html"])
def test_every_format_prints_the_table(plugin: Path, runs: Path, format_: str) -> None:
    said = command(
        "report", "--runs", str(runs), "--plugin", str(plugin), "--table", "made_retrieval", "--format", format_
    )
    assert "MnR" in said


def test_the_page_shows_retrieval_too(plugin: Path, runs: Path, tmp_path: Path) -> None:
    command("report", "--runs", str(runs), "--plugin", str(plugin), "--output", f"{tmp_path}/page/")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "Made retrieval" in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert data["classes"] == []
    ranks = data["plots"]["ranks"]
    assert [facet["values"] for facet in ranks["facets"]] == [
        ["made_retrieval · captioned_motion"],
        ["test, text to video", "test, video to text"],
    ]
    curve = {series["label"]: series for series in ranks["plots"]["0,0"]["series"]}["LoRA"]
    records = pb.load_records(runs)
    own = records[(records["method"] == "lora") & (records["metric"] == "t2v_r10")]["value"]
    assert dict(zip(curve["x"], curve["y"], strict=True))[10] == pytest.approx(own.mean(), abs=0.01)
    assert (curve["x"][-1], curve["y"][-1]) == (CLIPS, 100.0)


def test_the_page_lists_queries_that_no_run_finds_the_hardest_first(plugin: Path, runs: Path) -> None:
    records, outcomes = pb.load_records(runs), StoredOutcomes([runs])
    records = records[records["method"] == "zero_shot"]
    texts, clips = searched(cases_of(records), records, outcomes, StoredDetails([runs]))
    keys = records["trial"].unique()
    ranks = np.stack([found.ranks for key in keys if (found := outcomes.of(key, "test/t2v")) is not None])
    missed = texts.missed_clips
    assert (missed.runs, missed.clips, missed.total) == (len(keys), len(OWNERS), int((ranks.min(axis=0) > 1).sum()))
    best, first = ranks.min(axis=0), missed.missed[0]
    query = int(first.label.removeprefix("text "))
    assert first.best_rank == best[query] == best.max()
    assert (first.clip, first.runs) == (f"clip_{OWNERS[query]}.mp4", len(keys))
    assert first.picture_of == first.taken_for != first.clip
    first = clips.missed_clips.missed[0]
    assert first.picture_of == first.clip and first.label.startswith("text ") and first.taken_for.startswith("text ")
    assert [each.best_rank for each in missed.missed] == sorted((e.best_rank for e in missed.missed), reverse=True)


def test_texts_that_cannot_be_read_are_named_by_their_clips(plugin: Path, runs: Path, tmp_path: Path) -> None:
    records, outcomes = pb.load_records(runs), StoredOutcomes([runs])
    texts, _ = searched(cases_of(records), records, outcomes, StoredDetails([tmp_path]))
    assert all(re.fullmatch(r"clip_\d+\.mp4#\d", each.label) for each in texts.missed_clips.missed)


@pytest.mark.parametrize("kind", ["setting", "table"])
def test_the_made_plugins_pass_their_checks(plugin: Path, kind: str) -> None:
    found = [each for each in pb.testing.run(pb.testing.checks(f"{kind}s:made_retrieval")) if each.status == "fail"]
    assert found == []


def test_a_text_without_end_is_cut_so_that_the_record_can_be_read(plugin: Path, tmp_path: Path) -> None:
    folder = store(tmp_path / "runs", "lora", 0, texts=["x" * 20_000, *["y"] * (len(OWNERS) - 1)])
    assert len(read_predictions(folder, "test")["texts"][0]) == 2**14 and not verify_trial(folder).problems
