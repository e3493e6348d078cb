"""`petl-bench plan-power`: how many seeds and test clips a difference needs to be detected, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from petl_bench.cli.choices import OneOf
from petl_bench.cli.options import plugin_option, tell
from petl_bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from petl_bench.analysis.power import Variances
    from petl_bench.api.dataset import Dataset
    from petl_bench.tables.power_table import Plan

_FORMATS = ("terminal", "markdown", "json", "csv")
_MOST_SEEDS, _MOST_CLIPS, _MOST_COMPARISONS = 1000, 10**7, 10**4
_MOST_ROWS = 100
#: Clips and their groups of each side of a measure: one accuracy, or the two of a harmonic mean.
_Sizes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class _Assumed:
    """What is assumed of methods if nothing is recorded or stated; parts of 1. Measured on `motion`, see `source`.

    `luck`: standard deviation of a run's luck in all; `disagreement` and `rerun_disagreement` at that `accuracy`;
    `group_correlation`: of lasting differences on two clips of one source video.
    """

    accuracy: float = 0.75
    disagreement: float = 0.12
    rerun_disagreement: float = 0.105
    luck: float = 0.012
    group_correlation: float = 0.1
    source: str = (
        "about what LoRA and MSTA show with six seeds in the demonstration (motion, base2novel, 16 shots, "
        "viclip-tiny, accuracy 75 %)"
    )


_ASSUMED = _Assumed()


@click.command(name="plan-power")
@click.option("--difference", type=float, required=True, metavar="D", help="The difference to be detected, in points.")
@click.option("--dataset", default="motion", show_default=True, metavar="D|NAME=DIR", help="The data set of the tests.")
@click.option("--setting", metavar="S", help="Protocol.  [base2novel, or that of --metric]")
@click.option("--metric", metavar="M", help="top1, base_top1, novel_top1, harmonic_mean, t2v_r1 or v2t_r1.")
@click.option("--seeds", default="2-20", show_default=True, metavar="S,...", help="Numbers of seeds to show.")
@click.option("--power", type=float, default=0.8, show_default=True, metavar="P", help="The chance to detect it.")
@click.option("--comparisons", type=int, default=1, show_default=True, metavar="K",
              help="Pairs that the table will test, corrected by Holm.")  # fmt: skip
@click.option("--clips", type=int, metavar="N", help="So many test clips; of a harmonic mean on each side.")
@click.option(
    "--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Count the test clips in lists there."
)
@click.option("--runs", "folders", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Take variances from records there. Repeatable.")  # fmt: skip
@click.option("--methods", metavar="A,B", help="Of --runs these methods alone.")
@click.option("--seed-sd", type=float, metavar="POINTS", help="Standard deviation over seeds, as ± in tables.")
@click.option("--disagreement", type=float, metavar="%",
              help="Clips on which one method is right and the other wrong, one run each.")  # fmt: skip
@click.option("--rerun-disagreement", type=float, metavar="%", help="The same for two runs of one method.")
@click.option(
    "--accuracy", type=float, metavar="%", help="About how accurate methods are; scales assumed disagreement."
)
@click.option("--simulate", is_flag=True, help="Also run the test itself on drawn clips (some seconds).")
@click.option("--format", "output_format", type=OneOf(_FORMATS), default="terminal", show_default=True)
@plugin_option
def command(**values: Any) -> None:
    """Say how many seeds and test clips it takes to detect a difference between two methods, before running.

    By the paired test of `report` and `compare`, level 5 %. How methods vary is recorded (--runs), stated (--seed-sd,
    --disagreement), or else assumed, and the answer says which.

    \b
    petl-bench plan-power --difference 1.0 --dataset ucf101
    petl-bench plan-power --difference 1.0 --runs runs --comparisons 10
    """  # fmt: skip
    from petl_bench.render import render
    from petl_bench.tables.power_table import power_table

    output_format = values["output_format"]
    table = power_table(_plan(values))
    if output_format == "terminal":
        from rich.console import Console

        from petl_bench.render.terminal import show

        show(table, Console(highlight=False))
    else:
        click.echo(render(table, output_format), nl=False)


def _plan(values: dict[str, Any]) -> Plan:
    """What was asked. Raises UsageError for what cannot be meant."""
    from petl_bench.api.registry import DATASETS
    from petl_bench.api.values.named_folders import name_of
    from petl_bench.tables.power_table import Plan

    _check(values)
    setting, metric = _setting_and_metric(values["setting"], values["metric"])
    seeds = _seeds(values["seeds"])
    name = name_of(values["dataset"])
    variances, sources = (
        _recorded(values, setting, name, metric) if values["folders"] else _stated(values, setting, metric)
    )
    shown = DATASETS.display(name) if name in DATASETS.names() else name
    return Plan(
        subject=f"{metric} on {shown}, {setting}",
        value=values["difference"],
        power=values["power"],
        seeds=seeds,
        comparisons=values["comparisons"],
        variances=variances,
        sources=sources,
        simulated=values["simulate"],
    )


# Options


def _check(values: dict[str, Any]) -> None:
    _between("--difference", values["difference"], 0, 100, "points above 0 and up to 100")
    if not 0.05 < values["power"] < 1:
        raise UsageError(f"--power {values['power']:g}: expected a chance above 0.05 and below 1, such as 0.8")
    for flag, most in (("comparisons", _MOST_COMPARISONS), ("clips", _MOST_CLIPS)):
        least = 1 if flag == "comparisons" else 2
        if values[flag] is not None and not least <= values[flag] <= most:
            raise UsageError(f"--{flag} {values[flag]}: expected a whole number from {least} to {most:,}")
    for flag, most in (("disagreement", 100), ("rerun_disagreement", 50)):  # runs of one method are alike by chance
        if values[flag] is not None:
            _between(_flag(flag), values[flag], 0, most, f"percent of the clips, above 0 and up to {most}")
    if values["accuracy"] is not None and not 0 < values["accuracy"] < 100:
        raise UsageError(f"--accuracy {values['accuracy']:g}: expected percent above 0 and below 100")
    if values["seed_sd"] is not None and not 0 <= values["seed_sd"] <= 50:
        raise UsageError(f"--seed-sd {values['seed_sd']:g}: expected points from 0 to 50")
    stated = [
        _flag(name)
        for name in ("seed_sd", "disagreement", "rerun_disagreement", "accuracy")
        if values[name] is not None
    ]
    if values["folders"] and stated:
        raise UsageError(f"--runs and {stated[0]}: variances are recorded or stated; leave one out")
    if values["methods"] is not None and not values["folders"]:
        raise UsageError("--methods: says whose records to take; name their folder with --runs DIR")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _between(flag: str, value: float, low: float, high: float, words: str) -> None:
    if not low < value <= high:
        raise UsageError(f"{flag} {value:g}: expected {words}")


def _seeds(text: str) -> tuple[int, ...]:
    from petl_bench.api.values.flag_lists import split_list, whole_numbers

    found = tuple(sorted(set(whole_numbers(split_list(text, "--seeds"), "--seeds"))))
    if not found or found[0] < 2:
        raise UsageError(f"--seeds {text}: numbers of seeds from 2 on; one seed tells no methods apart")
    if found[-1] > _MOST_SEEDS or len(found) > _MOST_ROWS:
        raise UsageError(f"--seeds {text}: expected at most {_MOST_ROWS} numbers up to {_MOST_SEEDS}")
    return found


def _setting_and_metric(setting: str | None, metric: str | None) -> tuple[str, str]:
    from petl_bench.tables.power_table import METRICS, METRICS_OF

    if metric is not None and metric not in METRICS:
        raise unknown("metric", metric, METRICS, "petl-bench plan-power --help")
    if setting is None:
        setting = next(each for each, metrics in METRICS_OF.items() if metric is None or metric in metrics)
    if setting not in METRICS_OF:
        raise unknown("setting", setting, METRICS_OF, "petl-bench plan-power --help")
    metric = metric or METRICS_OF[setting][0]
    if metric not in METRICS_OF[setting]:
        raise UsageError(f"--metric {metric}: {setting} has {', '.join(METRICS_OF[setting])}")
    return setting, metric


# Variances


def _recorded(values: dict[str, Any], setting: str, dataset: str, metric: str) -> tuple[Variances, list[str]]:
    """From records, the mean over pairs of methods."""
    from petl_bench.analysis.power import mean_of
    from petl_bench.api.values.flag_lists import split_list
    from petl_bench.cli.gather import gather
    from petl_bench.tables.power_table import pairs_in_words, recorded_pairs, variances_in_words

    methods = split_list(values["methods"] or "", "--methods")
    pairs = recorded_pairs(gather(values["folders"], statistics=True), setting, dataset, metric, methods)
    found = mean_of([pair.variances for pair in pairs])
    if values["clips"] is not None:
        sides = 2 if metric == "harmonic_mean" else 1
        found = found.at(sides * values["clips"] / found.clips)
    pairs_of = f"{len(pairs)} pairs" if len(pairs) > 1 else "one pair"
    few = " With few seeds they are rough." if min(pair.seeds for pair in pairs) < 5 else ""
    return found, [
        f"Variances: recorded, of {pairs_of}: {variances_in_words(found)}.{few}",
        *pairs_in_words(pairs),
    ]


def _stated(values: dict[str, Any], setting: str, metric: str) -> tuple[Variances, list[str]]:
    """From what was stated, and what is assumed for the rest."""
    from petl_bench.analysis.power import harmonic_mean, stated, with_seed_deviation
    from petl_bench.tables.power_table import variances_in_words

    disagreement, rerun = _disagreements(values)
    sizes, source = _sizes(values, setting, metric)
    value, luck = values["difference"] / 100, _ASSUMED.luck**2
    sides = [
        stated(clips, units, disagreement, rerun, luck, value, _ASSUMED.group_correlation) for clips, units in sizes
    ]
    found = sides[0] if len(sides) == 1 else replace(harmonic_mean(*sides), luck=(luck, luck))
    if values["seed_sd"] is not None:
        found = with_seed_deviation(found, values["seed_sd"] / 100)
    grouped = any(clips != units for clips, units in sizes)
    return found, [source, *_origins(values, variances_in_words(found), grouped=grouped)]


def _disagreements(values: dict[str, Any]) -> tuple[float, float]:
    """Parts of the clips on which two methods, and two runs of one, differ."""
    accuracy = _ASSUMED.accuracy if values["accuracy"] is None else values["accuracy"] / 100
    scale = accuracy * (1 - accuracy) / (_ASSUMED.accuracy * (1 - _ASSUMED.accuracy))
    usual = _ASSUMED.disagreement * scale, _ASSUMED.rerun_disagreement * scale
    disagreement, value = values["disagreement"], values["difference"] / 100
    rerun = None if values["rerun_disagreement"] is None else values["rerun_disagreement"] / 100
    if disagreement is not None:
        of_two = disagreement / 100
    elif rerun is None:
        of_two = max(usual[0], value)
    else:
        of_two = max(usual[0], value, rerun + value**2, min(rerun * usual[0] / usual[1], 1 - rerun))
    if disagreement is not None and disagreement < values["difference"]:
        raise UsageError(
            f"--disagreement {disagreement:g}: methods that differ by {values['difference']:g} points differ on as "
            f"many percent of the clips at least"
        )
    most = _most_rerun(of_two, value)
    of_one = min(most, of_two * usual[1] / usual[0]) if rerun is None else rerun
    if of_one > most + 1e-9:
        raise UsageError(
            f"--rerun-disagreement {100 * of_one:g}: runs of one method differ on no more than {100 * most:.2f} % of "
            f"the clips, if two methods differ on {100 * of_two:g} % and by {values['difference']:g} points"
        )
    return of_two, of_one


def _most_rerun(of_two: float, value: float) -> float:
    """How often two runs of one method can differ. If a clip is right with chances p and q by the two methods, they
    differ on it with p + q - 2 p q, runs of one with p (1 - p) + q (1 - q): less by (p - q)², and at most the rest."""
    return max(0.0, min(of_two - value**2, 1 - of_two))


def _origins(values: dict[str, Any], words: str, *, grouped: bool) -> list[str]:
    """What was stated, and what was assumed."""
    names = ("seed_sd", "disagreement", "rerun_disagreement")
    stated = [_flag(name) for name in (*names, "accuracy") if values[name] is not None]
    assumed = [_flag(name) for name in names if values[name] is None]
    lines = [
        f"Variances: {'stated and assumed' if stated and assumed else 'stated' if stated else 'assumed'}: {words}."
    ]
    if stated:
        lines.append(f"Stated: {', '.join(stated)}.")
    if assumed:
        lines.append(
            f"Assumed: {', '.join(assumed)}: {_ASSUMED.source}. Other methods, backbones and data sets vary otherwise: "
            "--runs takes them from records."
        )
    if grouped:
        lines.append(
            f"Assumed: a correlation of {_ASSUMED.group_correlation:g} between lasting differences on clips of one "
            "source video."
        )
    return lines


# Test clips


def _sizes(values: dict[str, Any], setting: str, metric: str) -> tuple[_Sizes, str]:
    """Test clips and groups for each evaluation of the metric, and where they are from."""
    from petl_bench.api.values.named_folders import name_of
    from petl_bench.cli.data.options import chosen_dataset
    from petl_bench.tables.power_table import METRICS

    name = name_of(values["dataset"])
    dataset = chosen_dataset(values["dataset"], (), ())
    evaluations = METRICS[metric]
    if values["clips"] is not None:
        return [(values["clips"], values["clips"])] * len(evaluations), "Test clips: stated, taken as independent."
    if dataset.published_tests and values["data_root"] is None:
        known = {part: (clips, units) for part, clips, units in dataset.published_tests}
        source = "Test clips: published lists, split 1."
    else:
        known = _listed(dataset, name, values["data_root"], only_captioned=setting == "retrieval")
        source = "Test clips: lists on this machine, the first split."
    parts = [evaluation.partition("/")[0] for evaluation in evaluations]
    if missing := [part for part in parts if not known.get(part, (0, 0))[0]]:
        raise UsageError(
            f"{name} has no {' and '.join(missing)} clips for {metric} here; say --clips N, or another --setting, "
            "or --data-root DIR with its lists"
        )
    return [known[part] for part in parts], source


def _listed(dataset: Dataset, name: str, data_root: Path | None, *, only_captioned: bool) -> dict[str, tuple[int, int]]:
    """What the lists of a data set on this machine hold."""
    from petl_bench.running.planning.hub_data import local_root

    if dataset.needs_root and data_root is None and name == type(dataset).name:
        raise UsageError(f"{name}: its published sizes are not known here; say --data-root DIR or --clips N")
    if not dataset.needs_root and name == type(dataset).name:
        tell(f"reading the lists of {name}; a first use makes its files")
    found = dataset.annotations(dataset.root(local_root(data_root)))
    tests = {"test": next(iter(found.test.values()), ())}
    if only_captioned:
        tests["test"] = tuple(sample for sample in tests["test"] if sample.clip in found.captions)
    if found.base_to_novel is not None:
        tests |= {"base": found.base_to_novel.base_test, "novel": found.base_to_novel.novel_test}
    return {
        part: (len(samples), len({found.groups.get(each.clip) or dataset.group_of(each.clip) for each in samples}))
        for part, samples in tests.items()
    }
