"""Fields of a record that are there only if there is something to say: absences, hooks, variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.setting import summarised
from petl_bench.api.trial import EvaluationResult, TrialResult, variant_evaluation
from petl_bench.errors import PluginError, StoreError
from petl_bench.records.layout import predictions_name, trial_folder
from petl_bench.records.optional import absences_of, of_variant, variants_of
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.read import read_predictions, read_record
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import write_record
from tests.reports.synthetic_records import make_evaluation, make_trial, result_of

REASON = "it has no score for classes without training clips"


def _base2novel(base: float, novel: float) -> dict[str, float]:
    return {"base_top1": base, "novel_top1": novel, "harmonic_mean": harmonic_mean(base, novel)}


def _written(runs: Path, result: TrialResult, method: str = "linear_probe") -> Path:
    trial = make_trial(method)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    return write_record(folder, trial, result, created="2026-01-02T03:04:05+00:00")


def _without_novel() -> TrialResult:
    result = result_of({"base_top1": 75.0}, {"base": make_evaluation(75.0)}, trainable=1000)
    result.absent = {"novel": REASON}
    return result


def _with_variants() -> TrialResult:
    evaluations: dict[str, EvaluationResult] = {}
    for variant, base, novel in (("", 75.0, 50.0), ("a=0.3", 62.5, 25.0), ("a=0.7", 50.0, 37.5)):
        evaluations[variant_evaluation("base", variant)] = make_evaluation(base)
        evaluations[variant_evaluation("novel", variant)] = make_evaluation(novel)
    result = result_of(_base2novel(75.0, 50.0), evaluations, trainable=1000)
    result.variants = {"a=0.3": _base2novel(62.5, 25.0), "a=0.7": _base2novel(50.0, 37.5)}
    return result


def test_a_record_without_them_has_none_of_the_fields(runs: Path) -> None:
    metrics, evaluations = _base2novel(75.0, 50.0), {"base": make_evaluation(75.0), "novel": make_evaluation(50.0)}
    record = read_record(_written(runs, result_of(metrics, evaluations, trainable=1000)))
    assert not {"absent", "variants", "method_hooks"} & record.keys()
    assert absences_of(record) == {} and variants_of(record) == {}
    assert of_variant(record["coverage"], record) == record["coverage"]
    assert set(pb.load_records(runs)["absent"]) == {"{}"}


# Absent evaluations


def test_an_absent_evaluation_is_recorded_with_its_reason(runs: Path) -> None:
    path = _written(runs, _without_novel())
    assert absences_of(read_record(path)) == {"novel": REASON}
    assert verify_trial(path.parent).problems == ()
    assert StoredOutcomes([runs]).problem(path.parent.name) is None
    records = pb.load_records(runs)
    assert list(records["metric"]) == ["base_top1"]
    assert json.loads(records["absent"][0]) == {"novel": REASON}


def test_a_record_of_which_everything_is_absent_is_read(runs: Path) -> None:
    result = result_of({}, {}, trainable=1000)
    result.absent = {"base": REASON, "novel": REASON}
    path = _written(runs, result)
    assert verify_trial(path.parent).problems == ()
    assert pb.load_records(runs).empty


def test_an_evaluation_that_is_absent_and_has_predictions_is_refused(runs: Path) -> None:
    result = _without_novel()
    result.absent["base"] = REASON
    with pytest.raises(StoreError, match="base is absent, and has predictions"):
        _written(runs, result)


def test_a_metric_of_an_absent_evaluation_is_noticed(runs: Path) -> None:
    path = _written(runs, _without_novel())
    record = json.loads(path.read_text())
    record["metrics"]["novel_top1"] = 50.0
    path.write_text(json.dumps(record))
    (problem,) = verify_trial(path.parent).problems
    assert problem.reason == "its evaluations do not fit the setting base2novel: they give no novel_top1"


@pytest.mark.parametrize("absent", ["nothing", {"novel": 1}, {"a/b": "reason"}, ["novel"]])
def test_absences_of_another_form_are_damage(runs: Path, absent: Any) -> None:
    path = _written(runs, _without_novel())
    path.write_text(json.dumps({**json.loads(path.read_text()), "absent": absent}))
    with pytest.raises(StoreError, match="damaged: absent"):
        read_record(path)


@pytest.mark.parametrize("absent", [(), ("base",), ("novel",), ("base", "novel")])
def test_base2novel_gives_the_metrics_of_what_was_scored(absent: tuple[str, ...]) -> None:
    whole = {"base": {"top1": 80.0, "top5": 99.0, "mean_class_top1": 70.0}, "novel": {"top1": 60.0, "top5": 90.0}}
    setting = _setting("base2novel")
    metrics = setting.summarise({name: found for name, found in whole.items() if name not in absent})
    everything = setting.summarise(whole)
    for name in absent:
        everything = {key: value for key, value in everything.items() if "harmonic" not in key and name not in key}
    if absent == ("base",):  # the novel classes are all of one size: their mean-class accuracy is their top-1
        everything.pop("novel_mean_class_top1")
    assert metrics == everything


@pytest.mark.parametrize("name", ["few_shot", "fully_supervised", "zero_shot_transfer"])
def test_other_settings_have_no_metric_then(name: str) -> None:
    assert _setting(name).summarise({}) == {}


def _setting(name: str) -> Any:
    from petl_bench.api.registry import SETTINGS

    return SETTINGS.get(name)()


class _Careless(pb.Setting):
    name = "careless"

    def summarise(self, accuracies: Any) -> dict[str, float]:
        return {"novel_top1": accuracies["novel"]["top1"], "other": accuracies["base"]["top0"]}


def test_a_setting_that_needs_what_is_absent_is_named() -> None:
    with pytest.raises(
        PluginError, match=f"the setting careless has no metrics without the evaluation 'novel'.*{REASON}"
    ):
        summarised(_Careless(), {"base": {"top1": 1.0}}, {"novel": REASON})
    with pytest.raises(PluginError, match="KeyError: 'top0'"):
        summarised(_Careless(), {"base": {"top1": 1.0}, "novel": {"top1": 1.0}}, {})


# Hooks and variants


def test_hooks_are_recorded(runs: Path) -> None:
    result = _without_novel()
    result.hooks = ["prepare", "scores"]
    assert read_record(_written(runs, result))["method_hooks"] == ["prepare", "scores"]


def test_variants_are_recorded_apart_from_the_trials_own_numbers(runs: Path) -> None:
    path = _written(runs, _with_variants())
    record = read_record(path)
    assert variants_of(record) == {"a=0.3": _base2novel(62.5, 25.0), "a=0.7": _base2novel(50.0, 37.5)}
    assert record["metrics"] == _base2novel(75.0, 50.0)
    assert of_variant(record["coverage"], record).keys() == {"base", "novel"}
    assert of_variant(record["coverage"], record, "a=0.3") == of_variant(record["coverage"], record)
    assert len(read_predictions(path.parent, "novel@a=0.3")["clips"]) == 8
    assert verify_trial(path.parent).problems == ()
    records = pb.load_records(runs)
    assert dict(zip(records["metric"], records["value"], strict=True)) == record["metrics"]
    for column in ("coverage", "test_classes"):
        assert json.loads(records[column][0]).keys() == {"base", "novel"}


def test_a_variant_of_a_trial_without_an_evaluation_lacks_it_too(runs: Path) -> None:
    result = _without_novel()
    result.evaluations["base@a=0.3"] = make_evaluation(50.0)
    result.variants = {"a=0.3": {"base_top1": 50.0}}
    path = _written(runs, result)
    assert verify_trial(path.parent).problems == ()


def test_changed_predictions_of_a_variant_are_noticed(runs: Path) -> None:
    path = _written(runs, _with_variants())
    file = path.parent / predictions_name("novel@a=0.3")
    with np.load(file) as arrays:
        np.savez_compressed(file, **{**arrays, "ranks": np.ones_like(arrays["ranks"])})
    assert file in [problem.path for problem in verify_trial(path.parent).problems]
    assert StoredOutcomes([runs]).problem(path.parent.name) is not None


def test_changed_metrics_of_a_variant_are_noticed(runs: Path) -> None:
    path = _written(runs, _with_variants())
    record = json.loads(path.read_text())
    record["variants"]["a=0.7"]["novel_top1"] = 99.0
    path.write_text(json.dumps(record))
    (problem,) = verify_trial(path.parent).problems
    assert problem.reason == "variant a=0.7: novel_top1 is recorded as 99, and the predictions give 37.5"
    assert StoredOutcomes([runs]).problem(path.parent.name) == problem


def test_variants_and_predictions_must_belong_together(runs: Path) -> None:
    path = _written(runs, _with_variants())
    record = json.loads(path.read_text())
    for variants, reason in (
        ({}, r"the evaluation base@a=0\.3 is of a variant that has no metrics"),
        ({**record["variants"], "b": {"base_top1": 1.0}}, "the variant b has no predictions"),
        ({"a@0.3": {}}, "variants has the name a@0.3: expected the name of a variant"),
    ):
        path.write_text(json.dumps({**record, "variants": variants}))
        with pytest.raises(StoreError, match=reason):
            read_record(path)


def test_an_evaluation_of_a_setting_may_have_the_sign_in_its_name() -> None:
    record = {"coverage": {"top@1": 1, "top@5": 2}, "variants": {}}
    assert of_variant(record["coverage"], record) == {"top@1": 1, "top@5": 2}
