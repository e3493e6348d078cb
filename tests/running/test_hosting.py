"""Which method runs on which backbone, and which are refused or left out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.cli import main
from petl_bench.errors import PluginError, UsageError
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.running.planning.spec import Spec

PLUGIN = '''
import petl_bench as pb


class Idle(pb.Method):
    def attach(self, model):
        pass

    def expected_trainable(self, config):
        return 0


@pb.register_method("frame_head")
class FrameHead(Idle):
    """Reads the features of single frames."""

    reads = ("frames",)
    rank: int = pb.hyper(4, "nothing in particular")


@pb.register_method("for_large")
class ForLarge(Idle):
    """Made for one backbone."""

    backbones = ("viclip-l14",)


@pb.register_method("for_classes")
class ForClasses(Idle):
    """Knows no retrieval."""

    tasks = ("classification",)
'''

RETRIEVAL = '''
from petl_bench.benchmarks.settings.few_shot import FewShot
import petl_bench as pb


@pb.register_setting("pairs")
class Pairs(FewShot):
    """Few-shot classification, passed off as retrieval: each class is a text."""

    kind = "retrieval"
    metrics = ()

    def task(self, annotations, case):
        task = super().task(annotations, case)
        clips = {sample.label: sample.clip for sample in task.evaluations[0].samples}
        samples = tuple(pb.Sample(clip, place) for place, clip in enumerate(clips.values()))
        test = pb.RetrievalEvaluation(
            name="test", samples=samples, texts=task.train_classes, owners=tuple(range(len(samples)))
        )
        return pb.RetrievalTask(
            train=task.train, train_texts=task.train_classes, evaluations=(test,), source=task.source
        )

    def summarise(self, accuracies):
        return {}
'''


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """A plugin file with methods that not every backbone hosts."""
    file = tmp_path / "hosted.py"
    file.write_text(PLUGIN)
    return str(file)


def plan_of(plugin: str, *methods: str, **given: Any) -> Plan:
    return plan(Spec(methods=methods, plugin=(plugin,), seeds=(0,), output="none", **given))


def placed(planned: Plan) -> list[tuple[str, str]]:
    return [(job.trial.method, job.trial.backbone) for job in planned.jobs]


def test_a_method_that_reads_frames_is_planned_on_clip_tiny_with_its_own_zero_shot(plugin: str) -> None:
    planned = plan_of(plugin, "lora", "frame_head", "zero_shot", set=("frame_head.rank=2", "lora.rank=2"))
    assert placed(planned) == [
        ("lora", "viclip-tiny"),
        ("zero_shot", "viclip-tiny"),
        ("zero_shot", "clip-tiny"),
        ("frame_head", "clip-tiny"),
    ]
    assert [note for note in planned.notes if "clip-tiny" in note] == [
        "clip-tiny, with its own zero_shot, is planned for the methods that viclip-tiny does not host: frame_head",
        "not on viclip-tiny: frame_head: it reads features of single frames, and this backbone encodes all frames of a "
        "clip together",
    ]
    assert planned.warnings == (), "a value for a method on either backbone has an effect"
    assert {job.trial.case for job in planned.jobs[:2]} == {job.trial.case for job in planned.jobs[2:]}
    lora, *_ = plan_of(plugin, "lora").jobs
    assert planned.jobs[0].trial.training == lora.trial.training


def test_a_plan_on_two_backbones_tells_them_apart(plugin: str) -> None:
    headings, *rows = list(plan_lines(plan_of(plugin, "zero_shot", "frame_head")))[:4]
    assert headings.split()[:3] == ["key", "method", "backbone"]
    assert [row.split()[1:3] for row in rows] == [
        ["zero_shot", "viclip-tiny"],
        ["zero_shot", "clip-tiny"],
        ["frame_head", "clip-tiny"],
    ]
    assert "backbone" not in next(plan_lines(plan_of(plugin, "frame_head"))), "all on one: as ever"


def test_with_a_backbone_everything_runs_there(plugin: str) -> None:
    planned = plan_of(plugin, "lora", "frame_head", backbone="clip-tiny")
    assert placed(planned) == [("lora", "clip-tiny"), ("frame_head", "clip-tiny")]
    assert not any("frame_head" in note for note in planned.notes)


@pytest.mark.parametrize(
    ("methods", "given", "says"),
    [
        (
            "frame_head,lora",
            {"backbone": "viclip-tiny"},
            "frame_head does not work with the backbone 'viclip-tiny' (it reads features of single frames, and this "
            "backbone encodes all frames of a clip together): leave it out of --methods, or choose another backbone "
            "(clip-b16, clip-tiny). See: petl-bench show frame_head",
        ),
        ("for_large", {}, "the backbone 'viclip-tiny' (it supports viclip-l14): leave it out of --methods, or choose"),
        ("for_large", {"backbone": "clip-tiny"}, "or choose another backbone (viclip-l14). See:"),
        ("all,for_large", {}, "for_large does not work with the backbone 'viclip-tiny'"),
        ("frame_haed", {}, "did you mean frame_head"),
    ],
)
def test_a_named_method_that_the_backbone_does_not_host_is_refused(
    plugin: str, methods: str, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(plugin, *methods.split(","), **given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_from_a_file_are_of_one_backbone(plugin: str, tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    with pytest.raises(UsageError, match="does not work with the backbone 'viclip-tiny'"):
        plan_of(plugin, "frame_head", weights=str(tmp_path / "mine.pth"))
    assert ("frame_head", "clip-tiny") in placed(plan_of(plugin, "frame_head", weights="random"))


def not_on_viclip_tiny(*others: str) -> list[str]:
    """The registered methods that it does not host, in order, without the others."""
    backbone = BACKBONES.get("viclip-tiny")
    return [name for name in METHODS.names() if METHODS.get(name).hosted_by(backbone) and name not in others]


def test_all_means_every_method_that_fits(plugin: str) -> None:
    planned = plan_of(plugin, "all", setting="few_shot", shots=(2,))
    frame_wise = not_on_viclip_tiny("for_large")
    assert {"frame_head", "seq_transf", "side4video"} <= set(frame_wise)
    assert placed(planned) == [
        *((name, "viclip-tiny") for name in METHODS.names() if name not in (*frame_wise, "for_large")),
        ("zero_shot", "clip-tiny"),
        *((name, "clip-tiny") for name in frame_wise),
    ]
    assert "for_large is left out: it does not work with the backbone 'viclip-tiny' (it supports viclip-l14)" in (
        planned.notes
    )
    assert planned.spec.methods == ("all",), "what is typed again means the same"
    reason = "it does not work with the backbone 'viclip-tiny' (it supports viclip-l14)"
    assert planned.left_out == {"for_large": reason}


def test_all_with_a_backbone_leaves_out_what_it_does_not_host(plugin: str) -> None:
    planned = plan_of(plugin, "all", backbone="viclip-tiny")
    assert {backbone for _, backbone in placed(planned)} == {"viclip-tiny"}
    assert [note.partition(" ")[0] for note in planned.notes if "left out" in note] == not_on_viclip_tiny()


def test_all_leaves_out_a_plugin_that_cannot_be_loaded(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get = METHODS.get

    def failing(name: str) -> Any:
        if name == "lora":
            raise PluginError("lora cannot be imported: no module named 'x'")
        return get(name)

    monkeypatch.setattr(METHODS, "get", failing)
    planned = plan_of(plugin, "all")
    assert "lora" not in dict(placed(planned))
    assert "lora is left out: lora cannot be imported: no module named 'x'" in planned.notes
    with pytest.raises(PluginError, match="cannot be imported"):
        plan_of(plugin, "all", "lora")


def test_a_method_that_is_not_for_the_settings_kind_of_task(plugin: str, tmp_path: Path) -> None:
    setting = tmp_path / "pairs.py"
    setting.write_text(RETRIEVAL)
    given: dict[str, Any] = {"setting": "pairs", "seeds": (0,), "shots": (2,), "plugin": (plugin, str(setting))}
    with pytest.raises(UsageError, match=r"'pairs' \(it is for classification, not for retrieval\)"):
        plan(Spec(methods=("for_classes",), **given))
    planned = plan(Spec(methods=("all",), backbone="clip-tiny", **given))
    assert "for_classes" not in dict(placed(planned))
    assert any(note.startswith("for_classes is left out: it does not work with the setting") for note in planned.notes)
    assert any(
        note.startswith("vision_adapter is left out: vision_adapter.bottleneck_dim=256: ") for note in planned.notes
    ), "no recipe"


def test_the_command_line_refuses_in_one_line_and_tells_the_second_backbone(
    plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = ["petl-bench", "run", "--plugin", plugin, "--methods", "frame_head", "--seeds", "0", "--dry-run"]

    def status(*more: str) -> Any:
        monkeypatch.setattr(sys, "argv", [*usual, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    assert status("--backbone", "viclip-tiny") == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "frame_head does not work with the backbone 'viclip-tiny'" in refused.err.splitlines()[-1]
    assert status() == 0
    told = capsys.readouterr()
    assert len([line for line in told.err.splitlines() if line.startswith("clip-tiny, ")]) == 1
    assert len([line for line in told.err.splitlines() if line.startswith("not on viclip-tiny: frame_head: ")]) == 1
    assert "2 trials, 0 done, 2 to run" in told.out


SPLIT = [
    (
        "training.processes=2",
        "side4video trains with statistics of the clips that it sees at once (batch norm), and training.processes=2 "
        "would change its numbers: set training.processes=1",
    ),
    (
        "training.micro_batch_size=8",
        "side4video trains with statistics of the clips that it sees at once (batch norm), and "
        "training.micro_batch_size=8 beside training.batch_size=32 would change its numbers: set "
        "training.micro_batch_size=none, or training.batch_size=8",
    ),
]


@pytest.mark.parametrize("setting", ["base2novel", "retrieval"])
@pytest.mark.parametrize(("value", "says"), SPLIT)
def test_a_method_with_batch_statistics_trains_with_whole_batches_alone(
    plugin: str, setting: str, value: str, says: str
) -> None:
    given: dict[str, Any] = {"setting": setting, "batch_size": 32}
    for name in ("side4video", "text_adapter+side4video"):
        with pytest.raises(UsageError) as caught:
            plan_of(plugin, name, backbone="clip-tiny", set=(value,), **given)
        refusal = says.replace("side4video", name, 1)
        assert str(caught.value) == f"{refusal}, or leave {name} out of --methods"
    planned = plan_of(plugin, "all", set=(value,), **given)
    assert f"side4video is left out: {says}" in planned.notes
    assert "side4video" not in dict(placed(planned)) and "lora" in dict(placed(planned))
    whole = plan_of(plugin, "side4video", set=("training.micro_batch_size=32",), **given)
    assert ("side4video", "clip-tiny") in placed(whole)
