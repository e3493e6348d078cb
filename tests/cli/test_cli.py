"""The light commands: what they print, how they fail, and that they never import torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from petl_bench.api.registry import KINDS
from tests.commands import petl_bench

NO_TORCH = """
import sys
sys.argv = ["petl-bench", *{arguments!r}]
from petl_bench.cli import main
try:
    main()
except SystemExit:
    pass
heavy = sorted({{"torch", "torchvision", "pandas", "decord", "open_clip"}} & set(sys.modules))
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["runs", "--help"],
        *(["list", kind] for kind in KINDS),
        ["show", "msta"],
        ["show", "viclip-b16"],
        ["run", "--help"],
        ["plan-power", "--difference", "1", "--dataset", "ucf101"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH.format(arguments=arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_every_name_with_a_meaning(kind: str) -> None:
    done = petl_bench("list", kind)
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    families = [f"{name}:{KINDS[kind].family(name).member}" for name in KINDS[kind].families()]
    assert sorted(lines) == sorted([*KINDS[kind].names(), *families])
    assert all(len(meaning) > 10 and not meaning.startswith("BROKEN") for meaning in lines.values())
    displays = {name: KINDS[kind].display(name) for name in KINDS[kind].names()}
    assert all(lines[name].startswith(display) for name, display in displays.items() if display != name)


def test_list_alone_says_how_many_there_are_of_each_kind_and_what_to_type() -> None:
    done = petl_bench("list")
    counts = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert {kind: counts[kind] for kind in KINDS} == {kind: len(KINDS[kind].names()) for kind in KINDS}
    assert counts["profiles"] > 0
    assert "petl-bench list settings" in done.stdout


@pytest.mark.parametrize("name", KINDS["methods"].names())
def test_show_explains_a_method(name: str) -> None:
    text = petl_bench("show", name).stdout
    assert "Paper:" in text and "@" in text
    assert text.splitlines()[1] == f"In tables and figures: {KINDS['methods'].display(name)}"
    for field in dataclasses.fields(KINDS["methods"].get(name)):
        assert f"  {field.name} = " in text


def test_show_says_what_is_tuned() -> None:
    said = {name: petl_bench("show", name).stdout for name in ("convpass", "tip_adapter", "zero_shot")}
    heading = "Tuned by petl-bench tune (--space changes it):\n"
    rate = "  training.learning_rate: 0.1 to 10 times that of its recipe, on a logarithmic scale\n"
    assert f"{heading}{rate}  scale: 0.01 to 100, on a logarithmic scale\n" in said["convpass"]
    assert f"{heading}  alpha: 0.1 to 3\n  beta: 0.1 to 7\n" in said["tip_adapter"]
    assert "Tuned by" not in said["zero_shot"]


def test_show_explains_a_table() -> None:
    done = petl_bench("show", "tables:reproduction")
    assert done.returncode == 0
    assert "Published against run here" in done.stdout


def test_show_prints_where_published_weights_are() -> None:
    text = petl_bench("show", "viclip-b16").stdout
    assert "ViCLIP-B_InternVid-FLT-10M.pth" in text and "58.5" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runn"], "Did you mean run"),
        (["show", "mstaa"], "did you mean msta"),
        (["list", "method"], "did you mean methods?"),
        (["show", "--plugin", "nothing.py", "msta"], "no such file"),
        (["report", "--table", "base2nov"], "did you mean base2novel?"),
        (["report", "--table", "base2novel", "--format", "latx"], "did you mean latex?"),
        (["run", "--methods", "lora", "--select", "lst"], "did you mean last?"),
        (["run", "--methods", "lora", "--keep-adapters", "smal"], "did you mean small or all?"),
        (["run", "--methods", "lora", "--set", "lora.rnk=1"], "did you mean rank?"),
        (["runs", "lst"], "did you mean list?"),
        (["data", "stats"], "did you mean status"),
    ],
)
def test_wrong_use_is_one_clear_line_and_status_2(arguments: list[str], says: str) -> None:
    done = petl_bench(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_doctor_finds_this_machine_fit() -> None:
    done = petl_bench("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fit: petl-bench run" in done.stdout


def test_show_says_what_a_method_declares(tmp_path: Path) -> None:
    plugin = tmp_path / "cached.py"
    plugin.write_text(
        '''import petl_bench as pb


@pb.register_method("cached")
class Cached(pb.Method):
    """A cache."""

    tasks = ("classification",)
    novel = "frozen"
    text_varies = "video"
    reads = ("frames", "tokens")
    whole_batch = True

    @property
    def reads_original(self):
        return True

    training_free = True
    ema_decay = 0.999
    identity_at_start = False
    mergeable = True

    def attach(self, model):
        pass

    def expected_trainable(self, config):
        return 0

    def prepare(self, support):
        pass

    def scores(self, step):
        return step.cosine_logits()
'''
    )
    text = petl_bench("show", "--plugin", str(plugin), "cached").stdout
    declared = text[text.index("Declares:") :]
    assert declared.splitlines() == [
        "Declares:",
        "  kinds of task: classification",
        "  classes without training clips: scored by the frozen model",
        "  text features of a class depend on the clip",
        "  reads, besides features of clips and classes: frames, tokens",
        "  its objective compares the clips of a batch with each other",
        "  reads_original by the values of its fields",
        "  nothing is trained; what it needs is made from the training clips",
        "  trains without gradients through the blocks of the backbone, which keep no graph",
        "  an average of the weights over steps is evaluated (decay 0.999)",
        "  differs from the frozen model before training",
        "  can be merged into the backbone's weights",
        "",
        "Hooks that it defines: prepare, scores",
    ]
    assert "Declares:" not in petl_bench("show", "adaptformer").stdout
