"""`petl-bench compare`, `report --explain`, `--baseline`, `--spread`: what a number is worth, and where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from synthetic_records import drawn_evaluation, make_trial, result_of
from tables import cell_of, rows_of

import petl_bench as pb
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.significance import Difference
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Table
from petl_bench.cli.compare import command as compare
from petl_bench.cli.gather import gather
from petl_bench.cli.report import command as report
from petl_bench.errors import UsageError
from petl_bench.records.layout import trial_folder
from petl_bench.records.outcomes import StoredOutcomes, outcome_of
from petl_bench.records.ranks import predicted_of, ranks_of
from petl_bench.records.write import write_record
from petl_bench.tables.class_gains import ClassGain, EvaluationGains, class_gains, gains_figure, gains_table
from petl_bench.tables.compare_pair import Finding, findings, in_words

CLIPS = 200


@pytest.fixture
def judged(runs: Path) -> Any:
    """Write one base2novel record whose clips are right with the probabilities asked for."""

    def write(
        base: float, novel: float, method: str, seed: int, *, hard: int = 0, trainable: int = 1000, **values: Any
    ) -> Path:
        random = np.random.default_rng([hard, seed, len(method), ord(method[0])])
        evaluations = {}
        for name, chance in (("base", base), ("novel", novel)):
            evaluations[name] = drawn_evaluation(random, CLIPS, chance)
        metrics = {f"{name}_top1": each.top1 for name, each in evaluations.items()}
        metrics["harmonic_mean"] = pb.harmonic_mean(*metrics.values())
        trial = make_trial(method, seed, **values)
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        return write_record(folder, trial, result_of(metrics, evaluations, trainable=trainable))

    return write


@pytest.fixture
def three(judged: Any, runs: Path) -> Path:
    """lora is far below msta on base; adaptformer is like msta."""
    for seed in range(3):
        judged(0.9, 0.6, "msta", seed, as_planned=True)
        judged(0.89, 0.6, "adaptformer", seed, as_planned=True)
        judged(0.6, 0.59, "lora", seed, as_planned=True)
    return runs


def _table(runs: Path, name: str = "base2novel", **values: Any) -> Table:
    table: Table = TABLES.get(name)().build(Evidence(pb.load_records(runs), None, StoredOutcomes([runs]), **values))
    return table


def _compare(*arguments: str) -> Any:
    return CliRunner().invoke(compare, list(arguments), catch_exceptions=True)


def _report(*arguments: str) -> Any:
    return CliRunner().invoke(report, list(arguments))


def test_a_real_difference_is_told_from_chance(three: Path) -> None:
    done = _compare("msta", "lora", "--runs", str(three))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "MSTA + L_CC against LoRA, base2novel"
    base = next(line for line in lines if line.startswith("  Motion Base"))
    assert "a real difference" in base
    novel = next(line for line in lines if line.startswith("  Motion Novel"))
    assert "may be chance" in novel
    assert any(line.startswith("MSTA + L_CC is better than LoRA on: Motion Base") for line in lines)


def test_the_other_way_round_says_worse(three: Path) -> None:
    assert "LoRA is worse than MSTA + L_CC on: Motion Base" in _compare("lora", "msta", "--runs", str(three)).stdout


def test_like_methods_are_not_told_apart_and_it_says_what_would_settle_it(three: Path) -> None:
    done = _compare("msta", "adaptformer", "--runs", str(three))
    assert "These runs do not tell the methods MSTA + L_CC and AdaptFormer apart." in done.stdout
    assert "to settle a difference of this size" in done.stdout or "beyond what more clips" in done.stdout


def _words(p_value: float, corrected: float, shares: tuple[float, float], seeds: int = 2) -> str:
    """About a difference whose interval holds 0; `shares`: the variances of clips and of seeds."""
    found = Difference(10.9, (-6.7, 28.4), p_value, seeds, 1_280, 1_280, *shares)
    finding = Finding("base2novel", "Motion HM", ("A", "B"), 60.9, 50.0, found, corrected, 30, ())
    return "\n".join(in_words([finding]))


def test_what_is_here_already_is_not_advised() -> None:
    """With 2 seeds and variances 1 and 1, a difference of 7.6 points shows 4 times of 5: t(2) is 4.30, and 1.06."""
    of_correction = _words(0.0013, 0.06, (1.0, 1.0))
    assert "below 5 % by itself, not after correction for 30 tests: more seeds (here 2) would help" in of_correction
    enough = _words(0.08, 1.0, (1.0, 1.0))
    assert "as large as so many clips and seeds show 4 times of 5: more seeds (here 2) would settle it" in enough
    assert "1,280" not in of_correction + enough and "about" not in of_correction + enough
    both = "(4 times of 5): about 9,820 test clips (here 1,280), or about 3 seeds (here 2)\n"
    assert both in _words(0.08, 1.0, (1.0, 4.0)), "1 / ((10.9 / 5.363)^2 - 4) times the clips"
    assert "(4 times of 5): about 1,353 test clips (here 1,280)\n" in _words(0.08, 1.0, (16.0, 0.0))


def test_an_interval_wider_than_the_test_is_explained() -> None:
    of_two = "  interval wider than the test by itself: two seeds show little of how runs vary (docs/statistics.md)"
    assert of_two in _words(0.0013, 0.06, (1.0, 1.0)).splitlines()
    assert "it is as if one clip more differed (docs/statistics.md)" in _words(0.0013, 0.06, (1.0, 1.0), seeds=3)
    assert "interval wider" not in _words(0.08, 1.0, (1.0, 1.0)), "the test agrees with it"


def test_one_seed_is_about_two_runs_only(judged: Any, runs: Path) -> None:
    """However large the difference: the runs differ, and of the methods neither `compare` nor the table says a word."""
    judged(0.9, 0.6, "msta", 0)
    judged(0.65, 0.6, "lora", 0)
    done = _compare("msta", "lora", "--runs", str(runs))
    assert "these two runs differ on such clips (p = below 0.001)" in done.stdout
    assert "One seed: this is about these two runs, and says nothing of the methods" in done.stdout
    assert "real" not in done.stdout
    assert "better" not in done.stdout
    assert all(cell_of(_table(runs), method, "motion", "Base").alike for method in ("msta", "lora"))


def test_two_seeds_say_how_little_they_tell(judged: Any, runs: Path) -> None:
    for seed in range(2):
        judged(0.9, 0.6, "msta", seed)
        judged(0.6, 0.6, "lora", seed)
    assert "Two seeds tell little" in _compare("msta", "lora", "--runs", str(runs)).stdout


def test_the_table_and_compare_agree(judged: Any, runs: Path) -> None:
    """Both take their p-values from one family: every pair of rows in every column."""
    for method, base in (("msta", 0.8), ("lora", 0.74), ("adaptformer", 0.78), ("vision_adapter", 0.6)):
        for seed in range(3):
            judged(base, 0.6, method, seed)
    table = _table(runs)
    names = ("msta", "lora", "adaptformer", "vision_adapter")
    best = max(names, key=lambda name: cell_of(table, name, "motion", "Base").value)
    verdicts = {}
    for name in set(names) - {best}:
        done = _compare(best, name, "--runs", str(runs)).stdout
        base = next(line for line in done.splitlines() if line.startswith("  Motion Base"))
        verdicts[name] = "a real difference" in base
        assert "corrected (Holm) for 18 tests" in done
    assert verdicts == {name: not cell_of(table, name, "motion", "Base").alike for name in verdicts}
    assert set(verdicts.values()) == {True, False}


def test_lost_evidence_keeps_its_place_among_the_tests(three: Path) -> None:
    """Without the clips of a column its test is not found, but the others are corrected for it all the same."""

    class Lost(StoredOutcomes):
        def of(self, trial: str, evaluation: str) -> Any:
            return None if evaluation == "base" else super().of(trial, evaluation)

    table = TABLES.get("base2novel")()
    compared = table.compared(pb.load_records(three))
    measures = [column.measure for column in compared.columns]
    whole = PairwiseTests(compared.comparison, measures, StoredOutcomes([three]))
    damaged = PairwiseTests(compared.comparison, measures, Lost([three]))
    assert whole.count == damaged.count == 9
    rows = {row.method: row for row in compared.comparison.configurations}
    labels = [each.column.label for each in compared.columns]
    base, novel = labels.index("Base"), labels.index("Novel")
    pair = rows["msta"], rows["lora"]
    assert whole.are_told_apart(base, *pair)
    assert not damaged.are_told_apart(base, *pair)
    assert damaged.p_value(novel, *pair) >= whole.p_value(novel, *pair)
    lost = TABLES.get("base2novel")().build(Evidence(pb.load_records(three), None, Lost([three])))
    assert cell_of(lost, "lora", "motion", "Base").alike, "nothing is told from the best without evidence"
    for trial in cell_of(_table(three), "adaptformer", "motion", "Base").trials:
        (trial_folder(three, trial) / "predictions-base.npz").write_bytes(b"damaged")
    (finding, *_) = findings([table], gather((three,), statistics=True), "msta", "lora")
    assert finding.tests == 9, "the tests of a row of which nothing is left are counted all the same"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("mstaa", "lora"), "did you mean msta or MSTA + L_CC?"),
        (("msta", "nothing at all"), "unknown row 'nothing at all'"),
    ],
)
def test_unknown_names(three: Path, names: tuple[str, str], words: str) -> None:
    done = _compare(*names, "--runs", str(three))
    assert isinstance(done.exception, pb.UsageError)
    assert words in str(done.exception)


@pytest.mark.parametrize("names", [("MSTA + L_CC", "LoRA"), ("msta", "lora"), ("Msta", "LORA")])
def test_rows_are_named_as_registered_or_as_readers_see_them(three: Path, names: tuple[str, str]) -> None:
    done = _compare(*names, "--runs", str(three))
    assert done.stdout.startswith("MSTA + L_CC against LoRA, base2novel")


def test_a_method_in_several_ways_must_be_named_as_the_table_does(three: Path, judged: Any) -> None:
    for seed in range(3):
        judged(0.5, 0.5, "msta", seed, hyper_parameters={"bottleneck_dim": 64}, as_planned=True)
    done = _compare("msta", "lora", "--runs", str(three))
    assert "say which: 'msta (bottleneck_dim=32)', 'msta (bottleneck_dim=64)'" in str(done.exception)
    shown = "MSTA + L_CC (bottleneck dim 32) against LoRA"
    for name in ("msta (bottleneck_dim=32)", "MSTA + L_CC (bottleneck dim 32)"):
        assert _compare(name, "lora", "--runs", str(three)).stdout.startswith(shown)
    near = _compare("MSTA + L_CC (bottleneck dim 33)", "lora", "--runs", str(three))
    assert "did you mean MSTA + L_CC (bottleneck dim 32)" in str(near.exception)
    assert "MSTA was run in several ways" in str(_compare("MSTA", "lora", "--runs", str(three)).exception)


def test_seeds_that_do_not_meet_cannot_be_compared(judged: Any, runs: Path) -> None:
    judged(0.9, 0.6, "msta", 0)
    judged(0.6, 0.6, "lora", 1)
    assert "no clips and seeds in common" in str(_compare("msta", "lora", "--runs", str(runs)).exception)


def test_the_best_shares_its_sign_with_those_that_are_like_it(three: Path) -> None:
    table = _table(three)
    alike = {row: cell_of(table, row, "motion", "Base").alike for row in ("msta", "adaptformer", "lora")}
    assert alike == {"msta": True, "adaptformer": True, "lora": False}
    assert cell_of(table, "msta", "motion", "Base").rank == "best"


def test_intervals_hold_the_number_and_are_about_as_wide_as_they_must(three: Path) -> None:
    cell = cell_of(_table(three), "msta", "motion", "Base")
    assert cell.interval is not None
    assert cell.interval[0] < cell.value < cell.interval[1]
    assert 3 < cell.interval[1] - cell.interval[0] < 25


def test_without_outcomes_there_are_no_intervals_and_no_signs(three: Path) -> None:
    table = TABLES.get("base2novel")().build(Evidence(pb.load_records(three)))
    assert all(not cell.alike and cell.interval is None for row in rows_of(table).values() for cell in row.cells)


def test_differences_from_a_baseline(three: Path) -> None:
    table = _table(three, baseline="lora")
    base, msta = (cell_of(table, row, "motion", "Base") for row in ("lora", "msta"))
    assert base.delta is None
    assert msta.delta == pytest.approx(msta.value - base.value)
    done = _report("--runs", str(three), "--table", "base2novel", "--baseline", "lora", "--no-published")
    assert f"(+{msta.delta:.1f})" in done.stdout
    assert "In parentheses: the difference from LoRA." in done.stdout
    shown = _report("--runs", str(three), "--table", "base2novel", "--baseline", "LORA", "--no-published")
    assert shown.stdout == done.stdout, "its name for readers, in small letters or capitals"
    done = _report("--runs", str(three), "--table", "base2novel", "--baseline", "nobody")
    assert "--baseline nobody: no record of such a method here. There are: adaptformer, lora, msta" in str(
        done.exception
    )


def test_intervals_instead_of_standard_deviations(three: Path) -> None:
    done = _report("--runs", str(three), "--table", "base2novel", "--spread", "interval", "--format", "markdown")
    cell = cell_of(_table(three), "lora", "motion", "Base")
    assert rf"{cell.value:.1f} \[{cell.interval[0]:.1f}, {cell.interval[1]:.1f}\]" in done.stdout
    assert "95 % intervals" in done.stdout


def test_explain_names_records_files_and_command(three: Path) -> None:
    done = _report("--runs", str(three), "--explain", "base2novel", "msta", "Base")
    assert done.exit_code == 0, done.output
    trials = cell_of(_table(three), "msta", "motion", "Base").trials
    assert len(trials) == 3
    for trial in trials:
        assert f"trial {trial}" in done.stdout
        assert str(three / "trials" / trial) in done.stdout
    assert "predictions-base.npz" in done.stdout
    commands = [line for line in done.stdout.splitlines() if "command: petl-bench run --methods msta" in line]
    assert len(commands) == 1
    assert commands[0].endswith("--seeds 0,1,2")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (("base2novel", "mst", "Base"), "did you mean msta?"),
        (("base2novel", "msta", "Bass"), "unknown column 'Bass'"),
        (("base2nove", "msta", "Base"), "did you mean base2novel?"),
    ],
)
def test_explain_says_what_there_is(three: Path, place: tuple[str, str, str], words: str) -> None:
    done = _report("--runs", str(three), "--explain", *place)
    assert words in str(done.exception)


def test_explain_tells_what_is_quoted(judged: Any, runs: Path) -> None:
    judged(0.9, 0.6, "msta", 0, dataset="ucf101")
    done = _report("--runs", str(runs), "--explain", "base2novel", "MSTA + L_CC", "ucf101 HM")
    assert "quoted from MSTA (CVPR 2025), Table 2; not run here" in done.stdout


def test_explain_has_all_rows_that_readers_see_by_one_name(judged: Any, runs: Path) -> None:
    judged(0.9, 0.6, "msta", 0, dataset="ucf101")
    titles = {
        name: [
            line.partition(" / ")[0]
            for line in _report("--runs", str(runs), "--explain", "base2novel", name, "ucf101 HM").stdout.splitlines()
            if " / " in line
        ]
        for name in ("msta", "MSTA", "mSTA")
    }
    here, quoted = "Run here: ViCLIP-Tiny, packaged weights", "Quoted: MSTA (CVPR 2025), Table 2"
    assert titles == {"msta": [here], "MSTA": [here, quoted], "mSTA": [here, quoted]}


def test_a_note_names_the_row_that_differences_are_from(judged: Any, runs: Path) -> None:
    for rank in (4, 8):
        judged(0.7, 0.6, "lora", 0, hyper_parameters={"rank": rank}, trainable=rank)
    judged(0.8, 0.6, "msta", 0)
    table = _table(runs, baseline="lora")
    assert "In parentheses: the difference from LoRA (rank 4)." in table.footers
    assert cell_of(table, "lora (rank=4)", "motion", "Base").delta is None
    assert cell_of(table, "lora (rank=8)", "motion", "Base").delta is not None
    assert not any("In parentheses" in note for note in _table(runs).footers)


def test_selected_on_test_stands_beside_the_honest_number(judged: Any, runs: Path) -> None:
    for seed in range(2):
        judged(0.8, 0.6, "msta", seed)
        judged(0.9, 0.7, "msta", seed, hard=1, training={"select": "best-on-test"})
    table = _table(runs)
    assert [row.label for group in table.groups for row in group.rows] == ["msta"]
    groups = list(dict.fromkeys(column.group for column in table.columns if column.group != "Trained"))
    assert groups == ["motion", "motion (epoch=best on test)"]
    honest, inflated = (cell_of(table, "msta", group, "Base").value for group in groups)
    assert inflated > honest
    assert any(note.startswith("Selecting the epoch on the test clips changes accuracy by +") for note in table.footers)


def test_outcomes_follow_from_scores_of_records_without_them(tmp_path: Path) -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]], dtype=np.float32)
    labels = np.array([0, 1, 1])
    path = tmp_path / "predictions-test.npz"
    np.savez(path, clips=np.array(["a", "b", "c"]), labels=labels, scores=scores, classes=np.array(["x", "y", "z"]))
    outcome = outcome_of(path.read_bytes(), {})
    assert outcome.ranks.tolist() == ranks_of(labels, scores).tolist() == [1, 2, 2], "a tie counts against the label"
    assert outcome.predicted.tolist() == [0, 0, 2]
    assert predicted_of(labels, scores, outcome.ranks).tolist() == [0, 0, 2]


# Gains by class


@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_gains_by_class_are_drawn_beside_the_answer(three: Path, tmp_path: Path, suffix: str, begins: bytes) -> None:
    target = tmp_path / f"gains.{suffix}"
    done = _compare("msta", "lora", "--runs", str(three), "--output", str(target))
    assert done.exit_code == 0, done.output
    assert target.read_bytes().startswith(begins)
    assert done.stdout == _compare("msta", "lora", "--runs", str(three)).stdout
    assert "Motion, base: ViCLIP-Tiny, packaged weights: 2 classes" in done.stderr
    assert "no test was made" in done.stderr
    before = target.read_bytes()
    _compare("msta", "lora", "--runs", str(three), "--output", str(target))
    assert target.read_bytes() == before


def _gains(runs: Path, a: str, b: str, table: str = "base2novel") -> list[EvaluationGains]:
    evidence = Evidence(pb.load_records(runs), None, StoredOutcomes([runs]))
    return class_gains([TABLES.get(table)()], evidence, a, b)


def test_a_gain_is_the_difference_of_the_top_1_of_a_class_over_seeds(three: Path) -> None:
    base, novel = _gains(three, "msta", "lora")
    assert (base.title, novel.title) == tuple(
        f"Motion, {half}: ViCLIP-Tiny, packaged weights" for half in ("base", "novel")
    )
    assert (base.seeds, len(base.trials), base.a, base.b) == ((0, 1, 2), 6, "msta", "lora")
    assert base.displays == ("MSTA + L_CC", "LoRA")
    assert [each.gain for each in base.classes] == sorted((each.gain for each in base.classes), reverse=True)
    for each in base.classes:
        assert each.gain == pytest.approx(each.a - each.b)
        assert each.std is not None
    table = _table(three)
    expected = [cell_of(table, name, "motion", "Base").value for name in ("msta", "lora")]
    weights = [each.clips / CLIPS for each in base.classes]
    assert sum(weights) == 1
    for name, mean in zip(("a", "b"), expected, strict=True):
        found = sum(weight * getattr(each, name) for weight, each in zip(weights, base.classes, strict=True))
        assert found == pytest.approx(mean)


def test_of_many_classes_a_panel_names_those_at_either_end() -> None:
    classes = tuple(ClassGain(f"class {n}", 5, 50.0, 50.0 - n, float(-n), None) for n in range(101))
    found = EvaluationGains("K-400, base", "msta", "zero_shot", ("MSTA", "Zero-shot"), (0,), classes, ("key",))
    figure = gains_figure([found])
    names = [each.name for each in classes]
    assert figure.x.label == "Gain of MSTA over Zero-shot (points)"
    assert [series.key for series in figure.series] == ["msta"]
    assert figure.y.names == (*names[:10], "…", *names[-10:])
    assert [point.y for point in figure.series[0].points] == [*range(10), *range(11, 21)]
    assert "101 classes, of which 20 are drawn, 0 gain and 100 lose; 5 clips each; seeds 0." in " ".join(figure.notes)
    assert len(gains_figure([found] * 14).panels()) == 12
    assert "2 more evaluations are not drawn: --table chooses." in gains_figure([found] * 14).notes
    table = gains_table([found])
    assert len(table.groups[0].rows) == 101
    assert [(each.label, each.display) for each in table.columns[1:3]] == [("msta", "MSTA"), ("zero_shot", "Zero-shot")]


def test_gains_as_a_table_have_every_class(three: Path, tmp_path: Path) -> None:
    target = tmp_path / "gains.csv"
    done = _compare("msta", "lora", "--runs", str(three), "--output", str(target))
    assert done.exit_code == 0, done.output
    assert pd.read_csv(target)["Gain"].notna().sum() == 4


@pytest.mark.parametrize("output", ["gains.doc", "gains"])
def test_a_suffix_without_a_format_is_refused_before_anything_is_read(output: str) -> None:
    done = _compare("msta", "lora", "--runs", "nowhere", "--output", output)
    assert isinstance(done.exception, UsageError)
    assert "no format has this suffix" in str(done.exception)


def test_without_seeds_in_common_there_are_no_gains(judged: Any, runs: Path) -> None:
    judged(0.9, 0.6, "msta", 0)
    judged(0.6, 0.6, "lora", 1)
    with pytest.raises(UsageError, match="no evaluation of classes with seeds in common"):
        _gains(runs, "msta", "lora")
