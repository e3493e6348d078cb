"""Hooks that give back what they must not: one line that names the hook, and the other methods go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.cli import cli

CODE = '''"""Methods whose hooks give back what they must not."""

import petl_bench as pb


class Base(pb.Method):
    """A residual on video features, [D]."""

    def attach(self, model):
        import torch
        from torch import nn

        model.heads["residual"] = nn.ParameterDict({"r": nn.Parameter(torch.zeros(model.config.embed_dim))})

    def expected_trainable(self, config):
        return config.embed_dim

    def scores(self, step):
        from dataclasses import replace

        return replace(step, video_features=step.video_features + step.model.heads["residual"]["r"]).cosine_logits()


def register(name, **members):
    members["__doc__"] = "A method that is wrong in one way."
    pb.register_method(name)(type(name, (Base,), {"__module__": __name__, **members}))


def labelled(self, step):
    from torch.nn.functional import one_hot

    return Base.scores(self, step) + one_hot(step.labels, len(step.text_features))


register("bad_shape", scores=lambda self, step: Base.scores(self, step)[:, :1])
register("bad_score", scores=lambda self, step: Base.scores(self, step) / 0)
register("bad_score_later", scores=lambda self, step: Base.scores(self, step) / (1 if step.training else 0))
register("bad_objective", objective=lambda self, step: pb.Method.objective(self, step).detach())
register("bad_device", scores=lambda self, step: Base.scores(self, step).to("meta"))
register("bad_labels", scores=labelled)
register("bad_loss", loss=lambda self, step: step.logits.sum(1))
register("bad_prompts", prompts=lambda self, classes: [["a"]])
register("bad_choice", choose=lambda self, step: [0])
register("bad_groups", parameter_groups=lambda self, model: {"*": 1.0})
register("bad_average", averaging=lambda self, epoch, epochs: -1.0)
register("bad_variants", variants=lambda self, model: ["half"])
register("bad_state", extra_state=lambda self: {"x": object()})
register("bad_prepare", prepare=lambda self, support: 1 / 0)
register("bad_finish", finish=lambda self, model, support: 1 / 0)
'''

#: Method -> the line that is said of it, after its name.
SAID = {
    "bad_shape": "bad_shape.scores(step) gave float32 of shape (8, 1): expected [B, C], floating-point of shape (8, 4)",
    "bad_score": "(it is made by bad_score.scores(step))",
    "bad_score_later": "evaluation test: the scores by bad_score_later.scores(step) of clip 'red/test_0.mp4' are not",
    "bad_objective": "the loss of bad_objective does not depend on anything that trains",
    "bad_device": "bad_device.scores(step) gave a tensor on meta: expected one on cpu",
    "bad_labels": "bad_labels.scores(step): TypeError: one_hot()",
    "bad_loss": "bad_loss.loss(step) gave float32 of shape (8,): expected a scalar, or None",
    "bad_prompts": "bad_prompts.prompts(classes) gave 1 lists: expected a list of at least one text for each of",
    "bad_choice": "bad_choice.choose(step) gave list: expected int64 [M], or None",
    "bad_groups": "bad_groups.parameter_groups: '*': expected two factors from 0 on",
    "bad_average": "bad_average.averaging(0, 1) gave -1.0: expected a weight >= 0",
    "bad_variants": "bad_variants.variants(model): expected {name: context}, names of 1 to 60 characters without @",
    "bad_state": "bad_state.extra_state()['x'] (object): expected a tensor",
    "bad_prepare": "bad_prepare.prepare(support): ZeroDivisionError: division by zero (",
    "bad_finish": "bad_finish.finish(model, support): ZeroDivisionError: division by zero (",
}


@pytest.mark.slow
def test_each_is_one_line_and_the_other_methods_go_on(tmp_path: Path) -> None:
    plugin, runs = tmp_path / "bad_methods.py", tmp_path / "runs"
    plugin.write_text(CODE)
    clips = pb.testing.example_clips()
    data = ["--datasets", "folder", "--set", f"folder.path={clips}", "--set", "training.batch_size=8"]
    chosen = ["--methods", f"{','.join(SAID)},zero_shot", "--setting", "fully_supervised", "--seeds", "0", *data]
    places = ["--plugin", str(plugin), "--output", str(runs), "--device", "cpu", "--epochs", "1"]
    done = CliRunner().invoke(cli, ["run", *chosen, *places])
    assert "Traceback" not in done.output
    failed = {line.split()[1]: line for line in done.output.splitlines() if line.startswith("failed ")}
    assert failed.keys() == SAID.keys()
    for name, words in SAID.items():
        assert words in failed[name], failed[name]
    assert set(pb.load_records(runs)["method"]) == {"zero_shot"}
