"""`petl-bench plan-power`: the power of the tables' test before a run, near what simulations say; in plain words."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from synthetic_records import drawn_evaluation, make_trial, result_of

import petl_bench as pb
from petl_bench.analysis.power import (
    PairedTest,
    Variances,
    _drawn_rows,
    _term,
    clips_needed,
    mean_of,
    recorded,
    seeds_needed,
    simulated_power,
    stated,
    with_seed_deviation,
)
from petl_bench.analysis.significance import difference, seed_variance
from petl_bench.api.dataset import Annotations
from petl_bench.api.registry import DATASETS
from petl_bench.cli.plan_power import command
from petl_bench.errors import PetlBenchError
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record

SIMULATION = Path(__file__).parents[2] / "benchmarks" / "statistics" / "simulate.py"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    """benchmarks/statistics/simulate.py."""
    spec = importlib.util.spec_from_file_location("simulate", SIMULATION)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawn(tmp_path: Path) -> Any:
    """Write base2novel records of these methods and seeds, 200 drawn clips on each side."""

    def write(methods: dict[str, float], seeds: int, **other: Any) -> Path:
        runs = tmp_path / "runs"
        for method, chance in methods.items():
            for seed in range(seeds):
                random = np.random.default_rng([seed, len(method)])
                evaluations = {name: drawn_evaluation(random, 200, chance) for name in ("base", "novel")}
                metrics = {f"{name}_top1": each.top1 for name, each in evaluations.items()}
                metrics["harmonic_mean"] = pb.harmonic_mean(*metrics.values())
                trial = make_trial(method, seed, as_planned=True, **other)
                folder = trial_folder(runs, trial.key)
                folder.mkdir(parents=True)
                write_record(folder, trial, result_of(metrics, evaluations, trainable=1000))
        return runs

    return write


def plan(*words: str) -> Result:
    return CliRunner().invoke(command, ["--difference", "1", *words])


def refused(*words: str) -> str:
    """The one line for a wrong use."""
    with pytest.raises(PetlBenchError) as caught:
        CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(result: Result) -> dict[str, dict[str, Any]]:
    """The rows of `--format json`: number of seeds -> column -> value."""
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    columns = [f"{column['group']} {column['label']}".strip() for column in table["columns"]]
    return {
        row["label"]: dict(zip(columns, [cell["value"] for cell in row["cells"]], strict=True))
        for row in table["groups"][0]["rows"]
    }


# Formula and simulation


@pytest.mark.parametrize(
    ("variances", "value", "seeds", "comparisons"),
    [
        (stated(400, 400, 0.2, 0.1, 0.01**2, 0.05), 0.05, 3, 1),
        (stated(400, 400, 0.2, 0.02, 0.0, 0.05), 0.05, 5, 1),
        (stated(640, 640, 0.12, 0.10, 0.007**2, 0.03), 0.03, 5, 10),
        (Variances(400, 400, 0.0002, (0.0, 0.0001), (0.0, 0.0001)), 0.05, 3, 1),
    ],
    ids=["clips and seeds", "clips alone", "a table of five methods", "a method without seeds"],
)
def test_the_formula_is_near_what_the_test_itself_does(
    variances: Variances, value: float, seeds: int, comparisons: int
) -> None:
    test = PairedTest(variances, seeds, comparisons)
    assert test.power(value) == pytest.approx(simulated_power(test, value, 600), abs=0.06)


@pytest.mark.parametrize(
    ("world", "seeds", "tried"),
    [("method by clip", 3, 82), ("seeds and clips", 3, 45), ("seeds only", 5, 47), ("groups of 5", 3, 60)],
)
def test_it_foretells_the_powers_of_the_published_simulation(
    simulate: ModuleType, world: str, seeds: int, tried: int
) -> None:
    """`tried`: docs/statistics.md, an accuracy of 400 clips. The variances are measured on pairs with many seeds."""
    drawn_from = next(each for each in simulate.WORLDS if each.name == world)
    random, shift = np.random.default_rng(1), simulate.SHIFTS[400]
    found = []
    for _ in range(25):
        terms = simulate.draw(drawn_from, 2, 40, 400, shift, random)[:1]
        own = [seed_variance(simulate.rows_of(terms, row)) for row in (0, 1)]
        found.append(recorded(difference(terms), *own))
    value = simulate.expected(drawn_from, shift) - simulate.expected(drawn_from, 0.0)
    assert 100 * PairedTest(mean_of(found), seeds).power(value) == pytest.approx(tried, abs=6)


def test_more_seeds_clips_and_larger_differences_are_seen_more_often() -> None:
    variances = stated(1000, 1000, 0.15, 0.1, 0.01**2)
    powers = [PairedTest(variances, seeds).power(0.02) for seeds in range(2, 21)]
    assert powers == sorted(powers) and powers[0] < 0.3 < powers[-1]
    test = PairedTest(variances, 5)
    assert test.power(0.02) < test.power(0.03) < PairedTest(variances.at(4), 5).power(0.03)
    assert PairedTest(variances, 5, 10, corrected=True).power(0.03) < test.power(0.03)


def test_the_smallest_difference_and_what_is_needed_have_the_power_asked_for() -> None:
    test = PairedTest(stated(1000, 1000, 0.15, 0.1, 0.01**2), 5)
    smallest = test.smallest(0.9)
    assert smallest is not None and test.power(smallest) == pytest.approx(0.9, abs=0.005)
    seeds = seeds_needed(test, smallest, 0.9)
    assert seeds == 5
    clips = clips_needed(test, smallest, 0.9)
    assert clips == pytest.approx(1000, rel=0.01)


def test_what_cannot_be_seen_has_no_number() -> None:
    few_clips = PairedTest(stated(3, 3, 0.5, 0.1, 0.0), 5)
    assert few_clips.power(0.5) == 0 and few_clips.smallest() is None
    clips_limit = PairedTest(stated(100, 100, 0.3, 0.0, 0.0), 5)
    assert seeds_needed(clips_limit, 0.02) is None
    luck_limits = PairedTest(stated(1000, 1000, 0.1, 0.1, 0.05**2), 3)
    assert clips_needed(luck_limits, 0.02) is None


def test_methods_that_never_differ_show_any_difference() -> None:
    assert PairedTest(Variances(100, 100, 0.0, (0.0, 0.0), (0.0, 0.0)), 3).power(0.01) == 1


def test_a_deviation_over_seeds_holds_the_luck_with_single_clips() -> None:
    usual = stated(1000, 1000, 0.15, 0.1, 0.0)
    more = with_seed_deviation(usual, 0.01)
    assert more.seed_deviation == pytest.approx(0.01)
    assert more.within == usual.within and more.luck[0] == pytest.approx(0.01**2 - 0.05 / 1000)
    less = with_seed_deviation(usual, 0.002)
    assert less.seed_deviation == pytest.approx(0.002) and less.luck == (0, 0)
    assert less.disagreement == pytest.approx(usual.disagreement), "clips differ by the methods instead"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_is_as_wide_as_that_of_the_test(seeds: int) -> None:
    variances = stated(400, 400, 0.2, 0.1, 0.01**2, 0.05)
    test, random = PairedTest(variances, seeds), np.random.default_rng(0)
    halves = []
    for _ in range(200):
        found = difference(_term(np.stack(_drawn_rows(test, 0.05, random))))
        halves.append((found.interval[1] - found.interval[0]) / 200)
    assert np.mean(halves) == pytest.approx(test.half_interval, rel=0.1)


def test_so_many_seeds_or_more_is_true_of_all_larger_numbers() -> None:
    test = PairedTest(stated(3783, 3783, 0.12, 0.105, 0.012**2), 2)
    two, three = (replace(test, seeds=seeds).power(0.01) for seeds in (2, 3))
    assert two > three, "two seeds alarm too often"
    needed = seeds_needed(test, 0.01, two)
    assert needed is not None and needed > 3


# The command


def test_it_answers_for_a_published_data_set_and_says_what_is_assumed() -> None:
    done = plan("--dataset", "ucf101")
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "3,783 test clips of 707 source videos" in words
    assert "Variances: assumed" in words and "Test clips: published lists, split 1." in words
    assert "is detected in 80 % of repetitions with" in words
    assert words.startswith("Power to detect a difference of 1 point: ")
    assert "recorded" not in words and "tated" not in words


def test_false_alarms_of_two_seeds_are_named() -> None:
    words = " ".join(plan("--dataset", "ucf101", "--seeds", "2,3").output.split())
    said = re.search(r"without any difference the test still finds one in about (\d+) % of repetitions", words)
    assert said is not None and 8 <= int(said[1]) <= 13, "docs/statistics.md: seeds only"
    assert "Two seeds" not in plan("--dataset", "ucf101", "--seeds", "3").output


@pytest.mark.parametrize("flags", ["--disagreement 100", "--rerun-disagreement 45", "--disagreement 60"])
def test_what_is_assumed_agrees_with_what_is_stated(flags: str) -> None:
    done = plan("--clips", "50", "--metric", "top1", "--seeds", "2", *flags.split())
    assert done.exit_code == 0
    two, one = map(float, re.findall(r"on ([\d.]+)\s%", " ".join(done.output.split())))
    assert one <= min(two, 100 - two) + 0.1


def test_rows_that_never_differ_and_rows_of_one_method_are_no_pairs_of_methods(drawn: Any) -> None:
    runs = str(drawn({"lora": 0.7, "msta": 0.7}, 2))
    drawn({"lora": 0.6}, 2, hyper_parameters={"rank": 2})
    words = " ".join(plan("--runs", runs, "--seeds", "2").output.split())
    assert "Variances: recorded, of 2 pairs" in words
    words = " ".join(plan("--runs", runs, "--methods", "lora", "--seeds", "2").output.split())
    assert "Variances: recorded, of one pair" in words


def test_stated_variances_are_called_so() -> None:
    flags = ("--metric", "top1", "--clips", "500", "--seed-sd", "0.5")
    words = " ".join(plan(*flags).output.split())
    assert "Variances: stated and assumed: seeds' standard deviation 0.50 points" in words
    assert "Stated: --seed-sd." in words and "Assumed: --disagreement, --rerun-disagreement" in words
    words = " ".join(plan(*flags, "--disagreement", "10", "--rerun-disagreement", "1").output.split())
    assert "Variances: stated: " in words and "ssumed" not in words
    assert "by no number of seeds, since the test clips limit it; with 20 seeds it takes about" in words


def test_a_correction_for_more_pairs_sees_less() -> None:
    found = rows(plan("--clips", "1000", "--seeds", "3,10", "--comparisons", "10", "--format", "json"))
    assert list(found) == ["3", "10"]
    for values in found.values():
        assert values["Holm, 10 pairs Power %"] < values["by itself Power %"]
        assert values["Holm, 10 pairs Smallest"] > values["by itself Smallest"]
    assert found["10"]["Interval ±"] < found["3"]["Interval ±"]


def test_simulation_stands_beside_the_formula() -> None:
    flags = ("--clips", "300", "--seeds", "3", "--simulate", "--format", "json")
    found = rows(CliRunner().invoke(command, ["--difference", "4", *flags]))["3"]
    assert found["Simulated %"] == pytest.approx(found["by itself Power %"], abs=8)


def test_records_say_how_methods_vary(drawn: Any) -> None:
    runs = drawn({"lora": 0.7, "msta": 0.7}, 3)
    words = " ".join(plan("--runs", str(runs), "--seeds", "3").output.split())
    assert "Variances: recorded, of one pair" in words and "With few seeds they are rough." in words
    assert "400 test clips" in words and "Recorded: standard deviation of the difference of one run each" in words
    assert "Recorded, LoRA and MSTA" in words and "3 seeds: " in words
    assert "ssumed" not in words
    at_200 = rows(plan("--runs", str(runs), "--seeds", "3", "--format", "json"))["3"]
    at_800 = rows(plan("--runs", str(runs), "--seeds", "3", "--clips", "800", "--format", "json"))["3"]
    assert at_800["Interval ±"] < at_200["Interval ±"]


def test_base_and_novel_are_asked_by_themselves(drawn: Any) -> None:
    runs = drawn({"lora": 0.7, "msta": 0.7, "adaptformer": 0.7}, 2)
    words = " ".join(plan("--runs", str(runs), "--metric", "base_top1", "--methods", "lora,msta").output.split())
    assert "base_top1 on Motion, base2novel" in words and "200 test clips" in words
    assert "of one pair" in words and "AdaptFormer" not in words


@pytest.mark.parametrize("value", ["0", "-1", "nan", "101", "inf"])
def test_a_difference_that_cannot_be_is_refused(value: str) -> None:
    assert "expected points above 0 and up to 100" in refused("--difference", value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--dataset ucf1001", "unknown data set 'ucf1001'; did you mean ucf101"),
        ("--dataset k600", "k600 has no base and novel clips for harmonic_mean here; say --clips N"),
        ("--dataset lsmdc --setting retrieval", "say --data-root DIR or --clips N"),
        ("--setting few", "unknown setting 'few'; did you mean few_shot"),
        ("--metric top2", "unknown metric 'top2'; did you mean top1"),
        ("--setting few_shot --metric t2v_r1", "--metric t2v_r1: few_shot has top1"),
        ("--seeds 1", "one seed tells no methods apart"),
        ("--seeds 1-3", "one seed tells no methods apart"),
        ("--seeds x", "expected whole numbers"),
        ("--seeds 2-500", "at most 100 numbers"),
        ("--power 1", "expected a chance above 0.05 and below 1"),
        ("--comparisons 0", "expected a whole number from 1"),
        ("--clips 1", "expected a whole number from 2"),
        ("--accuracy 100", "expected percent above 0 and below 100"),
        ("--seed-sd -1", "expected points from 0 to 50"),
        ("--disagreement 0.5", "differ on as many percent of the clips at least"),
        ("--disagreement 3 --rerun-disagreement 4", "runs of one method differ on no more than 2.99 % of the clips"),
        (
            "--disagreement 90 --rerun-disagreement 20",
            "no more than 10.00 % of the clips, if two methods differ on 90 %",
        ),
        ("--rerun-disagreement 90", "expected percent of the clips, above 0 and up to 50"),
        ("--runs nowhere --seed-sd 1", "recorded or stated; leave one out"),
        ("--clips 10000000 --simulate --seeds 3", "2 methods on 20,000,000 clips would take too long"),
        ("--methods lora", "name their folder with --runs DIR"),
        ("--runs nowhere", "nowhere: no such folder of runs"),
    ],
)
def test_a_wrong_use_is_one_line(flags: str, words: str) -> None:
    assert words in refused("--difference", "1", *flags.split())


def test_records_that_cannot_tell_are_refused(drawn: Any) -> None:
    runs = str(drawn({"lora": 0.7, "msta": 0.7}, 1))
    assert "one seed of harmonic_mean on motion" in refused("--difference", "1", "--runs", runs)
    unknown = refused("--difference", "1", "--runs", runs, "--methods", "loar")
    assert "unknown method 'loar'; did you mean lora?" in unknown
    alone = refused("--difference", "1", "--runs", runs, "--methods", "lora")
    assert "no two methods with harmonic_mean on motion, setting base2novel, of lora" in alone
    other = refused("--difference", "1", "--runs", runs, "--dataset", "ucf101")
    assert "no two methods with harmonic_mean on ucf101" in other


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if DATASETS.get(name).published_tests])
def test_published_sizes_are_those_of_the_lists(name: str, real_data: Path) -> None:
    dataset = DATASETS.get(name)()
    found: Annotations = dataset.annotations(real_data / "annotations")
    lists = {"test": found.test[1]}
    if found.base_to_novel is not None:
        lists |= {"base": found.base_to_novel.base_test, "novel": found.base_to_novel.novel_test}
    counted = [
        (part, len(samples), len({found.groups.get(each.clip) or dataset.group_of(each.clip) for each in samples}))
        for part, samples in lists.items()
    ]
    assert list(dataset.published_tests) == counted
