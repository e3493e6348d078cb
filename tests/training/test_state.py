"""Buffers and a method's extra state go wherever the trained parameters go, and equal trials leave equal files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.api.method import Method
from petl_bench.api.registry import METHODS
from petl_bench.api.trial import Places, Trial, TrialResult, canonical_json, key_of
from petl_bench.errors import PluginError, StoreError, TrialStopped
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.testing.checks import Given
from petl_bench.testing.method_subject import MethodSubject, features, random_model, train_steps
from petl_bench.training.checkpoint import adapter_content, load_adapter, load_checkpoint
from petl_bench.training.run_trial import run_trial
from petl_bench.training.state import extra_state_of, load_state, state_of

MakeTrial = Callable[..., Trial]
WritePlugin = Callable[..., Path]

#: A method with everything that can be lost: running statistics, a count that the loss uses, a memory of features.
KEEPER = '''
import torch
from torch import nn
import petl_bench as pb


class Normed(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.up = nn.Linear(width, width)

    def forward(self, x):
        return self.up(self.norm(x.transpose(1, 2)).transpose(1, 2))


@pb.register_method("keeper")
class Keeper(pb.Method):
    """Batch norm beside the blocks, and a loss that changes with the number of its calls and with what came before."""

    __module__ = "petl_bench.testing"  # as if it came with petl-bench: it is written twice, and means the same trials

    def attach(self, model):
        self.calls, self.memory = 0, None
        for block in model.blocks():
            block.add_parallel(Normed(block.width), scale=0.1)

    def expected_trainable(self, config):
        return sum(width * width + 3 * width for width in config.block_widths())

    def loss(self, step):
        self.calls += 1
        mean = step.video_features.detach().mean(0)
        before, self.memory = self.memory, mean
        if before is None:
            return None
        return self.calls * 0.1 * (1 - torch.cosine_similarity(step.video_features, before, dim=-1)).mean()

    def extra_state(self):
        return {"calls": self.calls} | ({} if self.memory is None else {"memory": self.memory})

    def load_extra_state(self, state):
        self.calls, self.memory = state["calls"], state.get("memory")
'''


@pytest.fixture
def keeper(small_plugin: WritePlugin, places: Places) -> Places:
    """Places whose plugin file holds the method `keeper`, which is registered."""
    file = small_plugin(KEEPER)
    if "keeper" not in METHODS.names():
        scope: dict[str, Any] = {"__name__": "tests.keeper"}
        exec(KEEPER, scope)
    return replace(places, plugins=(file,))


def run(trial: Trial, places: Places, folder: Path, stop: Callable[[], str] | None = None, **more: Any) -> TrialResult:
    folder.mkdir(exist_ok=True, parents=True)
    return run_trial(trial, places, folder, lambda progress: None, **({"stop": stop} if stop else {}), **more)


def stopping(number: int) -> Callable[[], str]:
    """Gives a reason the `number`-th time that it is asked."""
    asked = 0

    def stop() -> str:
        nonlocal asked
        asked += 1
        return "enough" if asked == number else ""

    return stop


def same_scores(one: TrialResult, other: TrialResult) -> bool:
    return all(np.array_equal(one.evaluations[n].scores, other.evaluations[n].scores) for n in one.evaluations)


@pytest.mark.parametrize("select", ["last", "best-on-test"])
def test_a_stop_anywhere_loses_neither_buffers_nor_extra_state(
    select: str, keeper: Places, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = make_trial("keeper", select=select, eval_every=1, learning_rate=1e-2)
    whole = run(trial, keeper, tmp_path / "whole")
    content = (tmp_path / "whole" / "adapter.safetensors").read_bytes()
    for number in range(1, 9):  # six steps and the batches of the evaluations
        folder = tmp_path / f"stopped {number}"
        with pytest.raises(TrialStopped, match="enough"):
            run(trial, keeper, folder, stopping(number))
        again = run(trial, keeper, folder)
        assert same_scores(whole, again), f"stopped the {number}-th time"
        assert (folder / "adapter.safetensors").read_bytes() == content


def test_the_selected_epoch_has_the_buffers_and_the_extra_state_of_its_own_time(
    keeper: Places, make_trial: MakeTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([50.0, 90.0, 40.0])
    monkeypatch.setattr(
        "petl_bench.training.run_trial._selection",
        lambda job, held_out: lambda epoch, keep: {"accuracy": next(accuracies)},
    )
    run(make_trial("keeper", epochs=3, select="best-on-test", eval_every=1), keeper, tmp_path / "three")
    three = load_adapter(tmp_path / "three" / "adapter.safetensors")
    counts = [int(tensor) for name, tensor in three[1].items() if name.endswith("num_batches_tracked")]
    assert three[0]["extra_state"]["calls"] == 6  # two epochs of three steps
    assert set(counts) == {6}
    state = load_checkpoint(tmp_path / "three" / "checkpoint.pt")
    assert state is not None and state["state"]["extra"]["calls"] == 9


def test_a_trial_that_starts_from_the_adapter_has_its_buffers_and_extra_state(
    keeper: Places, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = make_trial("keeper", learning_rate=1e-2)
    source = run(trial, keeper, tmp_path / "source")
    target = replace(trial, start_from=trial.key)
    adapter = tmp_path / "source" / "adapter.safetensors"
    assert same_scores(source, run(target, keeper, tmp_path / "target", adapter=adapter))


@pytest.mark.drill
@pytest.mark.ci
def test_processes_that_share_a_trial_have_the_same_buffers_and_extra_state(
    keeper: Places, make_trial: MakeTrial, tmp_path: Path
) -> None:
    trial = make_trial("keeper", learning_rate=1e-2, batch_size=5)
    trial = replace(trial, training={**trial.training, "processes": 2})
    together = run(trial, keeper, tmp_path / "together")
    with pytest.raises(TrialStopped):
        run(trial, keeper, tmp_path / "stopped", stopping(4))
    assert same_scores(together, run(trial, keeper, tmp_path / "stopped"))
    # Every process scored its clips with what the first one saved: one process alone gives the same.
    alone = replace(make_trial("keeper"), start_from=trial.key)
    again = run(alone, keeper, tmp_path / "again", adapter=tmp_path / "together" / "adapter.safetensors")
    for name, evaluation in together.evaluations.items():
        np.testing.assert_allclose(again.evaluations[name].scores, evaluation.scores, atol=1e-6)


# ---------------------------------------------------------------- what a method may keep


class Keeping(Method):
    """Keeps what it is given."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def extra_state(self) -> Any:
        return self.state


def test_extra_state_is_copied_and_plain() -> None:
    tensor = torch.zeros(3, 2).T
    state = extra_state_of(Keeping({"t": tensor, "n": 3, "x": 0.5, "none": None, "deep": {"a": [1, "b", True]}}))
    tensor += 1
    assert not state["t"].any() and state["t"].is_contiguous()
    assert {name: state[name] for name in ("n", "x", "none", "deep")} == {
        "n": 3, "x": 0.5, "none": None, "deep": {"a": [1, "b", True]},
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "whole number as a key"}, {1, 2}, object(), float("nan"), float("inf"), [torch.zeros(1)], b"bytes",
     np.zeros(2), np.int64(3), torch.eye(2).to_sparse()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_anything_else_is_refused_with_method_and_key(value: Any) -> None:
    with pytest.raises(PluginError, match=r"^Keeping\.extra_state\(\)\['odd'\].*: expected a"):
        extra_state_of(Keeping({"fine": 1, "odd": value}))


@pytest.mark.parametrize("state", [[1], None, 3])
def test_an_extra_state_that_is_no_dictionary_is_refused(state: Any) -> None:
    with pytest.raises(PluginError, match=r"Keeping\.extra_state\(\) gave \w+, not a dictionary"):
        extra_state_of(Keeping(state))


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(PluginError, match=r"has the key 3: expected a text"):
        extra_state_of(Keeping({3: 1}))


def test_what_is_kept_but_not_taken_back_is_told(keeper: Places, make_trial: MakeTrial, tmp_path: Path) -> None:
    method = METHODS.get("keeper")
    trial = make_trial("keeper")
    with pytest.raises(TrialStopped):
        run(trial, keeper, tmp_path, stopping(2))
    whole = method.load_extra_state
    try:
        method.load_extra_state = Method.load_extra_state  # type: ignore[method-assign]
        with pytest.raises(
            PluginError, match=r"keeper keeps calls, memory \(extra_state\), but has no load_extra_state"
        ):
            run(trial, keeper, tmp_path)
        method.load_extra_state = lambda self, state: state["absent"]  # type: ignore[method-assign,assignment]
        with pytest.raises(PluginError, match=r"keeper\.load_extra_state failed: KeyError: 'absent' \(.*, line \d+\)"):
            run(trial, keeper, tmp_path)
    finally:
        method.load_extra_state = whole  # type: ignore[method-assign]


# ---------------------------------------------------------------- files


def test_extra_state_goes_through_the_adapter_file(tmp_path: Path) -> None:
    extra = {"calls": 3, "names": ["a", "ä"], "memory": torch.arange(3.0), "steps": torch.tensor(7)}
    tensors = {"video.one": torch.ones(2, 2)}
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(adapter_content({"method": "m"}, {"tensors": tensors, "extra": extra}))
    header, back = load_adapter(path)
    assert set(back) == {"video.one"} and torch.equal(back["video.one"], tensors["video.one"])
    assert header["extra_state"]["calls"] == 3 and header["extra_state"]["names"] == ["a", "ä"]
    assert torch.equal(header["extra_state"]["memory"], extra["memory"])
    assert header["extra_state"]["steps"].dtype == torch.int64


@pytest.mark.parametrize("name", sorted(set(METHODS.names()) - {"zero_shot"}))
def test_the_methods_here_save_their_trained_parameters_and_persistent_buffers_and_nothing_else(name: str) -> None:
    subject = MethodSubject("method", METHODS.get(name), Given())
    model, method = subject.attached()
    own = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = dict(model.named_buffers()).keys() - dict(random_model(subject.config).named_buffers()).keys()
    own |= buffers & model.state_dict().keys()
    state = state_of(model, method)
    assert set(state["tensors"]) == own and state["extra"] == {}


def test_two_runs_of_a_trial_leave_equal_files(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("msta", {"bottleneck_dim": 8})
    contents: list[dict[str, bytes]] = []
    for name in ("one", "other"):
        folder = trial_folder(tmp_path / name, trial.key)
        write_record(folder, trial, run(trial, places, folder))
        contents.append({p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix != ".pt"})
    final = {"adapter.safetensors", "predictions-base.npz", "predictions-novel.npz", "train_list.txt", "trial.json"}
    assert final <= set(contents[0])
    for name in final:
        assert contents[0][name] == contents[1][name], name


def test_the_metadata_is_one_entry_of_canonical_json(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("lora", {"rank": 2})
    run(trial, places, tmp_path)
    with safe_open(tmp_path / "adapter.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == ["petl-bench"]
    header = json.loads(metadata["petl-bench"])
    assert metadata["petl-bench"] == canonical_json(header)
    use = header.pop("use")
    assert key_of(use["trial"]) == trial.key and "locations" not in use["trial"]
    assert use["prompts"] == {"templates": ["a video of {}."], "cleaned": False}
    assert {name: len(classes) for name, classes in use["evaluations"].items()} == {"base": 2, "novel": 2}
    assert (use["clips"]["num_frames"], use["clips"]["views"]) == (4, 1)
    assert str(tmp_path) not in metadata["petl-bench"]
    assert header == {
        "format": "petl-bench adapter 2",
        "trial": trial.key,
        "method": "lora",
        "hyper_parameters": trial.hyper_parameters,
        "backbone": "small",
        "weights_sha256": "random",
        "train_classes": ["red square", "green square"],
        "extra_state": {},
    }


def test_adapters_of_the_first_format_are_read(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("lora", {"rank": 2})
    source = run(trial, places, tmp_path / "source")
    header, tensors = load_adapter(tmp_path / "source" / "adapter.safetensors")
    del header["use"]
    old = tmp_path / "old.safetensors"
    entries = {name: value if isinstance(value, str) else canonical_json(value) for name, value in header.items()}
    del entries["extra_state"]
    save_file(tensors, old, {**entries, "format": "petl-bench adapter 1"})
    read, again = load_adapter(old)
    assert read == {**header, "format": "petl-bench adapter 1"}
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())
    assert same_scores(source, run(replace(trial, start_from=trial.key), places, tmp_path / "target", adapter=old))


def test_an_adapter_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    for entry in ('{"format": "petl-bench adapter 3"}', "[]", "no JSON", "[" * 100_000):
        save_file({"one": torch.ones(1)}, path, {"petl-bench": entry})
        with pytest.raises(StoreError, match=r"cannot read adapter .*adapter\.safetensors"):
            load_adapter(path)


# ---------------------------------------------------------------- a module at two sites


class Shared(Method):
    """One batch norm beside the first two video blocks."""

    def attach(self, model: DualEncoder) -> None:
        module = _Normed(model.config.vision_width)
        for block in model.blocks("video")[:2]:
            block.add_parallel(module)


class _Normed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def test_a_shared_module_is_saved_once_and_comes_back_to_both_sites(tmp_path: Path) -> None:
    subject = MethodSubject("method", Shared, Given())
    model, method = subject.attached()
    train_steps(model, method, 3)
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(adapter_content({}, state_of(model, method)))
    header, tensors = load_adapter(path)
    assert len(tensors) == 5 and all(name.startswith("video.blocks.0.") for name in tensors)
    other, of_other = subject.attached()
    load_state(other, of_other, {"tensors": tensors, "extra": header["extra_state"]})
    assert torch.equal(features(other), features(model.eval()))
    sites = [block.parallel[0].module for block in other.blocks("video")[:2]]
    assert sites[0] is sites[1]
    assert pb.trainable_parameters(other) == 2 * 64
