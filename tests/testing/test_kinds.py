"""Every registered plugin of every kind keeps its promises, and each check catches the mistake it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest

import petl_bench as pb
from petl_bench.api.registry import KINDS
from petl_bench.cli import new

OTHERS = [f"{kind}:{name}" for kind in KINDS if kind != "methods" for name in KINDS[kind].names()]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "plugin",
    [
        pytest.param(each, marks=pytest.mark.slow) if each in ("launchers:local", "datasets:motion") else each
        for each in OTHERS
    ],
)
def test_every_registered_plugin_conforms(plugin: str) -> None:
    assert pb.testing.check_plugin(plugin)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "k400", "k600", "ssv2", "activitynet"])
def test_published_lists_conform(name: str, real_data: Path) -> None:
    known = {"clips_are_found": "the folder holds the lists alone"}
    results = pb.testing.check_plugin(f"datasets:{name}", data_root=real_data / "annotations", expected_failures=known)
    assert [result.name for result in results if result.status == "skip"] == [
        "captions are texts of clips",
        "spans are parts of clips",
        "clips are found",
    ]


@pytest.mark.parametrize("check", pb.testing.checks("settings:few_shot"))
def test_one_id_per_check(check: pb.testing.Check, request: pytest.FixtureRequest) -> None:
    check()
    assert request.node.name == f"test_one_id_per_check[few_shot-{check.function.__name__}]"


#: A table that works its cells out itself, named `mine`; `new` writes one whose cells SettingTable works out.
FROM_SCRATCH = (Path(__file__).parent / "table_from_scratch.py").read_text()

#: (kind, what `new` writes, what a mistake makes of it, the check that finds it, what that says)
MISTAKES = [
    ("dataset", "needs_root = False", "needs_root = True", "asks for its files", "needs_root is True"),
    ("dataset", "int(label))", "int(label) + 1)", "labels are in range", "has label 4; labels go from 0 to 3"),
    ("dataset", "test={1: test}", "test={1: train}", "training and test clips are disjoint", "train and are tested"),
    ("dataset", "test={1: test}", "test={2: test}", "splits are declared", "splits = (1,)"),
    ("dataset", "Sample(clip", "Sample('../' + clip", "clips stay below the root", "not a path below"),
    ("dataset", "Sample(clip", "Sample('gone_' + clip", "clips are found", "none of its clips"),
    ("dataset", ".hexdigest()", ".hexdigest()[:8]", "files are hashed", "no sha256"),
    ("dataset", "classes=classes", "classes=(classes[0],) * 4", "classes are names", "several classes have one name"),
    (
        "dataset",
        "{1: train}",
        "{1: tuple({RANDOM}.sample(train, 9))}",
        "annotations are deterministic",
        "differ: train",
    ),
    ("dataset", "{1: train}", "{1: (*train, pb.Sample(train[0].clip, 3))}", "clips are unique", "the labels 0 and 3"),
    ("dataset", "    # Clips that", "    def group_of(self, clip): return 7\n    #", "groups are texts", "gives 7"),
    ("setting", "for seed in seeds", "for seed in [0]", "makes cases", "for the seeds (0, 1)"),
    ("setting", "annotations, splits,", "annotations, None,", "cases are those asked for", "asked for splits ['2']"),
    ("setting", "{case.seed}", "{{RANDOM}.random()}", "tasks are deterministic", "its task differs"),
    ("setting", "annotations.test[", "annotations.train[", "training and test clips are disjoint", "clips train too"),
    (
        "setting",
        "classes=annotations.classes",
        "classes=annotations.classes[:2]",
        "labels are in range",
        "2 classes, and",
    ),
    (
        "setting",
        "classes=annotations.classes",
        "classes=annotations.classes[::-1]",
        "clips keep their class",
        "labelled",
    ),
    ("setting", 'Evaluation("test"', 'Evaluation("novel"', "novel classes do not train", "these classes train too"),
    (
        "setting",
        '("top1", "top5")',
        '("top1", "hits")',
        "metrics are declared",
        "and summarise() gives ['top1', 'top5']",
    ),
    ("backbone", "vision_heads=4", "vision_heads=7", "config builds", "heads"),
    ("backbone", "0.224, 0.225)", "0.224, 0.0)", "normalisation is three numbers", "std = "),
    ("backbone", 'licence="MIT"', 'licence=""', "published weights are described", "licence is empty"),
    ("backbone", "    mean =", "    training = {'epoch': 3}\n    mean =", "training values", "epoch"),
    (
        "backbone",
        "    mean =",
        "    deep: bool = pb.hyper(False, 'more')\n    mean =",
        "options change the configuration",
        "deep",
    ),
    ("backbone", "    mean =", "    packaged_weights = lambda: PATH('gone')\n    mean =", "weights resolve", "gone"),
    ("table", 'name="mine"', 'name="other"', "builds a table", "call it 'mine'"),
    ("table", "if shown.empty:", "if False:", "says if nothing fits", "rows"),
    (
        "table",
        "        records =",
        "        evidence.records['value'] += 1\n        records =",
        "is a pure function",
        "",
    ),
    ("table", "tuple(cells))", "tuple(cells)[1:])", "rows fit the columns", "cells; there are"),
    ("table", "trials=tuple(part", "trials=() and tuple(part", "cells know their origin", "no cell names its trials"),
    ("table", "std=spread", "origin='absent', std=spread", "cells know their origin", "absent: value is None"),
    ("table", "std=spread", "std=-3.0", "cells know their origin", "a standard deviation is at least 0"),
    ("table", "n=len(part)", "n=999", "cells know their origin", "n 999: the cell names"),
    ("table", "std=spread", "marks=('bogus',)", "cells know their origin", "marks ('bogus',): expected a tuple"),
    ("table", "std=spread", "origin='magic'", "cells know their origin", "origin 'magic': expected one of run"),
    ("table", "std=spread", "interval=(9.0, 1.0)", "cells know their origin", "its lower end comes first"),
    (
        "method",
        "        for block",
        "        raise SystemExit(3)\n        for block",
        "fits a small model",
        "SystemExit",
    ),
    (
        "method",
        "        for block",
        "        model.temperature.data.add_(0.1)\n        for block",
        "attaching changes no weight",
        "attach changed temperature",
    ),
    (
        "method",
        "    # Hyper-parameters:",
        "    recipes = (pb.Recipe('base2novel', training={'learning_rat': 0.1}),)\n    # Hyper-parameters:",
        "recipes can be run",
        "learning_rat",
    ),
    ("table", "group=setting)", "group=setting, format='.1q')", "renders in every format", "q"),
    ("launcher", '    """Trials in this process, one after the other."""\n', "", "documented", "no docstring"),
    ("launcher", "return results", "return results[::-1]", "gives one result per job", "for the trials"),
    ("launcher", "watch.started(job)", "pass", "tells its watcher", "watch.started(job) is not called"),
    ("launcher", "on this machine, one at a time", "", "says whether it can launch", "fitness() gives ''"),
]


@pytest.mark.parametrize(("kind", "written", "mistaken", "check", "why"), MISTAKES)
def test_a_mistake_is_found(kind: str, written: str, mistaken: str, check: str, why: str) -> None:
    text = FROM_SCRATCH if kind == "table" else new.render(kind, "mine")
    assert written in text
    mistaken = mistaken.replace("{RANDOM}", "__import__('random')").replace("PATH", "__import__('pathlib').Path")
    Path("mine.py").write_text(text.replace(written, mistaken))
    found = {
        result.name: result.why for result in pb.testing.run(pb.testing.checks("mine.py")) if result.status == "fail"
    }
    assert why in found[check], found


def test_a_table_is_checked_on_records_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match="no few_shot record"):
        pb.testing.check_plugin("tables:few_shot", runs=[tmp_path / "empty"])


def test_a_known_failure_is_a_skip_and_fails_once_it_passes() -> None:
    Path("mine.py").write_text(new.render("table", "mine"))
    known = {"documented": "no time", "figure_is_drawn": "none"}
    results = {each.name: each for each in pb.testing.run(pb.testing.checks("mine.py", expected_failures=known))}
    assert results["documented"].status == "fail"
    assert "take it out" in results["documented"].why
    assert results["figure is drawn"].status == "skip"
    with pytest.raises(pb.UsageError, match="did you mean documented"):
        pb.testing.checks("mine.py", expected_failures={"documentd": ""})


def test_a_class_needs_no_registration() -> None:
    class Mine(KINDS["settings"].get("few_shot")):
        """A setting."""

        metrics = ("top1",)

    with pytest.raises(AssertionError, match="summarise\\(\\) gives"):
        pb.testing.check_plugin(Mine)
    with pytest.raises(pb.UsageError, match="is no plugin"):
        pb.testing.checks(int)
