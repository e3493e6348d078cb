"""From a frame of records to a comparison: which trials are one row, which one case, and which run of a seed counts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.api.training_options import WITHOUT_EFFECT
from petl_bench.api.trial import canonical_json
from petl_bench.records.retrieval_outcomes import is_retrieval

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
#: Training options that belong to a data set: its multi-view evaluation.
_OF_DATA_SET = ("views", "crops")
_ONE_VIEW = "1 x 1"
#: Marks that tell of the test clips of the trial that carries them.
_OF_OWN_TEST = {"incomplete-coverage", "shared-recordings", "demonstration"}
#: Columns of records that tell in what a trial ran, by the names that notes use.
_ENVIRONMENT = {"device": "device", "processor": "processor", "software": "software", "petl_bench": "petl-bench"}


def compare(
    records: pd.DataFrame, setting: str, metrics: Sequence[str], part: str = "", optional: Sequence[str] = ()
) -> Comparison:
    """The runs of one setting that have all of these metrics; only the cases whose part starts with `part`.

    A run whose record says which evaluations are absent has NaN for what it lacks, if it has one of the metrics.
    A run has the values of the `optional` ones too, as far as its record does.
    """
    trials = _trials(records, setting, metrics, part, optional)
    _add_sources(trials, records)
    trials["descriptions"] = trials["descriptions_sha256"].where(_has_several_descriptions(trials), "")
    rows, row_of = _distinct_rows(trials, Configuration)
    cases, case_of = _distinct_rows(trials, ComparedCase)
    trials["row"], trials["case"] = row_of, case_of
    # Of a seed that was run several ways, the run in the fewest processes and threads counts; of retrieval, one that
    # has the best epochs or post-processing beside its own numbers.
    order = ["seed", "select", "post_processed", "processes", "threads"]
    largest = ("select", "post_processed")
    trials = trials.sort_values(order, ascending=[name not in largest for name in order], kind="stable")
    again = trials.duplicated(["row", "case", "seed"])
    repeated = _repeated(trials, again, metrics)
    if again.any():
        trials = trials[~again].copy()
    trials["environment"] = _series(_environments(trials), trials)
    trials["values"] = _columns(trials, metrics)
    trials["optional"] = _columns(trials, optional) if optional else [()] * len(trials)
    trials["trial"] = trials.index
    cells: dict[tuple[Configuration, ComparedCase], list[Run]] = defaultdict(list)
    for row, case, *values in _columns(trials, ["row", "case", *_names(Run)]):
        cells[rows[row], cases[case]].append(Run(*values))
    return Comparison(
        setting=setting,
        metrics=tuple(metrics),
        optional=tuple(optional),
        runs=dict(cells),
        repeated={(rows[row], cases[case]): spread for (row, case), spread in repeated.items()},
        prompts=_distinct(trials["prompt_template"]),
        devices=_distinct(trials["device"]),
        software=_distinct(trials["software"]),
        releases=_distinct(trials["petl_bench"]),
    )


def _trials(
    records: pd.DataFrame, setting: str, metrics: Sequence[str], part: str, optional: Sequence[str]
) -> pd.DataFrame:
    """One row per trial, indexed by its key, with a column per metric, and its training options taken apart."""
    wanted = (records["setting"] == setting) & (records["tuning"] == "")  # numbers of a tuning are of training clips
    chosen = records[wanted & records["metric"].isin([*metrics, *optional])]
    if part:
        chosen = chosen[chosen["part"].str.startswith(part)]
    trials = chosen.drop_duplicates("trial").set_index("trial")
    for metric in (*metrics, *optional):
        trials[metric] = chosen[chosen["metric"] == metric].set_index("trial")["value"]
    has = trials[list(metrics)].notna()
    trials = trials[has.all(axis=1) | (has.any(axis=1) & (trials["absent"] != "{}"))].copy()
    trials["shots"] = trials["shots"].fillna(0)
    trials["views"] = trials["training"].map(_views)
    for name in ("processes", "threads"):
        trials[name] = trials["training"].map(_number_of(name))
    # Of retrieval the numbers of a trial are of its last epoch, and the best ones beside them.
    trials["select"] = trials["training"].map(_selected)
    pairs = zip(trials["select"], trials["coverage"], strict=True)
    trials["selected"] = _series(
        ["" if select and _of_retrieval(counts) else select for select, counts in pairs], trials
    )
    options = trials["setting_options"]
    trials["setting_options"] = _series([_plain_options(each) for each in options], trials)
    trials["post_processed"] = _series([_post_processing(each) for each in options], trials)
    trials["all_training"] = trials["training"]
    trials["training"] = trials["training"].map(_training_of_row)
    trials["source_sha256"] = _unusual(trials, "source_sha256", ["setting_options"], str)
    trials["other_views"] = _views_apart(trials)
    return trials


@cache
def _training_of_row(training: str) -> str:
    values = {
        name: value for name, value in json.loads(training).items() if name not in (*WITHOUT_EFFECT, *_OF_DATA_SET)
    }
    if _selected(training):
        values["select"] = "last"  # its row: the same training with an honest selection, in a column of its own
    return canonical_json(values)


@cache
def _post_processing(setting_options: str) -> str:
    return str(json.loads(setting_options).get("post_processing", ""))


@cache
def _plain_options(setting_options: str) -> str:
    """Options of a setting without the post-processing, whose numbers stand beside those of the trial itself."""
    values = json.loads(setting_options)
    return canonical_json({name: value for name, value in values.items() if name != "post_processing"})


@cache
def _selected(training: str) -> str:
    return "test" if json.loads(training).get("select") == "best-on-test" else ""


@cache
def _of_retrieval(coverage: str) -> bool:
    return any(map(is_retrieval, json.loads(coverage).values()))


@cache
def _views(training: str) -> str:
    values = json.loads(training)
    return f"{values.get('views', 1)} x {values.get('crops', 1)}"


def _size(views: str) -> int:
    clips, _, crops = views.partition(" x ")
    return int(clips) * int(crops)


@cache
def _number_of(name: str) -> Callable[[str], int]:
    return cache(lambda training: json.loads(training).get(name) or 0)


def _views_apart(trials: pd.DataFrame) -> pd.Series:
    """What sets rows apart by their views; "" for all if each data set was evaluated with the same views.

    On a data set that was evaluated with one view and with several, trials belong to "1 x 1" or to "several"; elsewhere
    a trial goes with what its row has there, or with its own kind if that is both or nothing. Several views that are
    unusual for their data set stand for themselves.
    """
    if (trials.groupby("dataset")["views"].nunique() < 2).all():
        return trials["views"].map(lambda _: "")
    single = trials["views"] == _ONE_VIEW
    unusual = _unusual(trials[~single], "views", ["dataset"], _size).reindex(trials.index, fill_value="")
    contested = single.groupby(trials["dataset"]).transform("nunique") > 1
    row = trials.groupby([name for name in _names(Configuration) if name in trials and name != "other_views"]).ngroup()
    kinds: dict[int, set[bool]] = defaultdict(set)
    for number, is_single in zip(row[contested], single[contested], strict=True):
        kinds[number].add(is_single)
    found = []
    for number, own, is_single in zip(row, unusual, single, strict=True):
        kind = kinds.get(number, set())
        as_single = next(iter(kind)) if len(kind) == 1 else is_single
        found.append(own or (_ONE_VIEW if as_single else "several") if kinds else own)
    return _series(found, trials)


def _unusual(trials: pd.DataFrame, name: str, by: list[str], size: Callable[[str], Any]) -> pd.Series:
    """The values of a column where they are not what most trials of their group have, and "" elsewhere.

    Trials without a value do not count; the smaller value wins a tie.
    """
    if not trials[name].any():
        return trials[name]
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    places = _columns(trials, [*by, name])
    for *group, value in places:
        if value:
            counts[tuple(group)][value] += 1
    usual = {
        group: min(found, key=lambda value: (-found[value], size(value), value)) for group, found in counts.items()
    }
    found = ["" if value == usual.get(tuple(group)) else value for *group, value in places]
    return _series(found, trials)


def _series(values: Sequence[Any], trials: pd.DataFrame) -> pd.Series:
    import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

    return pd.Series(values, index=trials.index, dtype=object)


def _add_sources(trials: pd.DataFrame, records: pd.DataFrame) -> None:
    """Add what the trial says whose adapter a trial starts from: its training clips, descriptions, marks and data."""
    trials["source_missing"], trials["source_fields"] = False, "{}"
    trials["source_environment"] = _series([()] * len(trials), trials)
    started = trials["start_from"] != ""
    if not started.any():
        return
    sources = records[records["trial"].isin(trials["start_from"].unique())].drop_duplicates("trial").set_index("trial")
    trials["source_missing"] = started & ~trials["start_from"].isin(sources.index)
    found = trials.index[started & ~trials["source_missing"]]
    origin = sources.loc[trials.loc[found, "start_from"]]
    for name in ("train_clips", "descriptions_sha256", "tuned_by"):
        trials.loc[found, name] = origin[name].tolist()
    pairs = zip(trials.loc[found, "marks"], origin["marks"], strict=True)
    trials.loc[found, "marks"] = [_joined_marks(own, of_source) for own, of_source in pairs]
    ran_in = _environments(origin.assign(source_environment=_series([()] * len(origin), origin)))
    trials.loc[found, "source_environment"] = _series(
        [tuple((f"adaptation's {name}", value) for name, value in each) for each in ran_in], trials.loc[found]
    )
    of_data = _columns(origin, ["dataset", "dataset_options", "locations"])
    trials.loc[found, "source_fields"] = [json.dumps(_data_fields(*each)) for each in of_data]


def _joined_marks(own: str, of_source: str) -> str:
    """Marks of both; not those for the source's own test clips, which say nothing about the target."""
    return " ".join(sorted({*own.split(), *(set(of_source.split()) - _OF_OWN_TEST)}))


def _data_fields(dataset: str, options: str, locations: str) -> dict[str, Any]:
    values = {**json.loads(options), **json.loads(locations).get(dataset, {})}
    return {f"{dataset}.{name}": value for name, value in values.items() if value is not None}


def _environments(trials: pd.DataFrame) -> list[tuple[tuple[str, str], ...]]:
    """What each trial ran in, and the adaptation that it starts from: (name, value) of what the records tell."""
    own = _columns(trials, list(_ENVIRONMENT))
    return [_environment(values) + source for values, source in zip(own, trials["source_environment"], strict=True)]


@cache
def _environment(values: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    """The values that are known, with their names; the processor only if it computed; each library by itself."""
    known = {name: value for name, value in zip(_ENVIRONMENT.values(), values, strict=True) if isinstance(value, str)}
    if known.get("device") != "cpu":
        known.pop("processor", None)
    libraries = [part.partition(" ")[::2] for part in known.pop("software", "").split(", ") if part]
    return (*known.items(), *libraries)


def _has_several_descriptions(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial's row has, on any case, runs with different descriptions; these must not be averaged.

    Descriptions belong to a data set, so a row that used one file for each data set stays one row.
    """
    if trials["descriptions_sha256"].nunique() < 2:
        return trials["descriptions_sha256"].map(lambda _: False)
    row = [name for name in _names(Configuration) if name != "descriptions"]
    counts = trials.groupby([*row, *_names(ComparedCase)], sort=False)["descriptions_sha256"].transform("nunique")
    return counts.groupby([trials[name] for name in row], sort=False).transform("max") > 1


def _repeated(trials: pd.DataFrame, again: pd.Series, metrics: Sequence[str]) -> dict[tuple[int, int], float]:
    """Row and case of seeds that were run more than once, with the largest difference between two runs of a seed."""
    if not again.any():
        return {}
    values = trials.groupby(["row", "case", "seed", "select", "post_processed"], sort=True)[list(metrics)]
    spread = (values.max() - values.min()).max(axis=1)[values.size() > 1].reset_index(name="spread")
    largest: dict[tuple[int, int], float] = {}
    for row, case, found in _columns(spread, ["row", "case", "spread"]):
        largest[row, case] = max(found, largest.get((row, case), 0.0))
    return largest


def _distinct_rows(trials: pd.DataFrame, kind: type[T]) -> tuple[list[T], pd.Series]:
    """One object for each distinct combination of the fields of `kind`, and which of them each trial has."""
    names = _names(kind)
    numbers = trials.groupby(names, sort=False).ngroup()
    first = trials[~numbers.duplicated()]
    return [kind(*values) for values in _columns(first, names)], numbers


def _names(kind: Any) -> list[str]:
    return [each.name for each in fields(kind)]


def _columns(trials: pd.DataFrame, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*[trials[name].tolist() for name in names], strict=True))


def _distinct(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(map(str, values.dropna().unique())))
