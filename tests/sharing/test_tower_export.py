"""`petl-bench export --format torch-export|onnx`: the video tower as a file, and what docs/serving.md makes of it."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from torch import nn

import petl_bench as pb
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.api.registry import BACKBONES
from petl_bench.data.loading.clip_preparation import ClipRequest, prepare
from petl_bench.data.loading.transforms import to_input
from petl_bench.errors import TrialError, UsageError
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import Subject, frozen_backbone
from petl_bench.models.weights import resolve_weights
from petl_bench.records.layout import ADAPTER
from petl_bench.records.read import read_predictions
from petl_bench.sharing import tower_export
from petl_bench.sharing.tower_export import DESCRIPTION, write_tower
from petl_bench.training.checkpoint import adapter_content
from petl_bench.training.state import state_of
from tests.commands import petl_bench
from tests.docs.pages import fences

onnxruntime = pytest.importorskip("onnxruntime")

SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}


class Exported:
    """A trial of `lora`, its test clips with their stored probabilities, and its tower in both formats."""

    def __init__(self, folder: Path, runs: Path, trial: Path, clips: Path) -> None:
        self.folder, self.runs, self.trial, self.clips = folder, runs, trial, clips
        stored = read_predictions(trial, "test")
        self.classes, self.names = list(map(str, stored["classes"])), list(map(str, stored["clips"]))
        self.scores: np.ndarray = stored["scores"]
        self.said: dict[str, str] = {}

    def tower(self, output_format: str) -> Path:
        return self.folder / f"tower{SUFFIXES[output_format]}"

    def clip(self, name: str) -> Path:
        (found,) = self.clips.glob(f"{name}*")
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    folder, cache = tmp_path_factory.mktemp("towers"), tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    runs = folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        done = petl_bench(
            "run", "--setting", "few_shot", "--shots", "2", "--methods", "lora", "--seeds", "0", "--epochs", "1",
            "--workers", "1", "--output", runs,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = Exported(folder, runs, next((runs / "trials").iterdir()), next(cache.glob("motion-*")))
        clip = found.clip(found.names[0])
        for output_format in SUFFIXES:
            tower = found.tower(output_format)
            done = petl_bench("export", "--adapter", "lora motion", "--runs", runs, "--format", output_format,
                              "--output", tower, "--check-on", clip)  # fmt: skip
            assert done.returncode == 0 and done.stdout == "", done.stderr
            found.said[output_format] = done.stderr
        yield found


def run(tower: Path, frames: torch.Tensor) -> tuple[dict[str, np.ndarray], dict]:
    """Outputs and the description of a file, as a program without petl-bench reads it."""
    if tower.suffix == ".pt2":
        described = {DESCRIPTION: ""}
        module = torch.export.load(str(tower), extra_files=described).module()
        return {name: value.detach().numpy() for name, value in module(frames).items()}, json.loads(
            described[DESCRIPTION]
        )
    session = onnxruntime.InferenceSession(str(tower), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"frames": frames.numpy()}), strict=True))
    return outputs, json.loads(session.get_modelmeta().custom_metadata_map[DESCRIPTION])


@pytest.mark.parametrize("output_format", SUFFIXES)
def test_a_tower_gives_the_stored_probabilities_of_its_trial(exported: Exported, output_format: str) -> None:
    model = AdaptedModel(adapted(exported.trial), "cpu")
    requests = [ClipRequest(name, exported.clip(name), 0) for name in exported.names]
    frames = torch.cat([torch.from_numpy(prepare(model.spec, request).frames) for request in requests])
    frames = to_input(frames, model.spec.mean, model.spec.std)
    for count in (1, len(frames)):
        outputs, about = run(exported.tower(output_format), frames[:count])
        assert about["classes"] == exported.classes
        assert np.abs(outputs["probabilities"] - exported.scores[:count]).max() < 1e-4
        with torch.no_grad():
            features = nn.functional.normalize(model.model.encode_video(frames[:count]), dim=-1).numpy()
        assert np.abs(outputs["features"] - features).max() < 1e-5


@pytest.mark.parametrize("output_format", SUFFIXES)
def test_a_tower_describes_itself_and_names_no_place(exported: Exported, output_format: str) -> None:
    tower = exported.tower(output_format)
    _, about = run(tower, torch.zeros(1, 8, 3, 32, 32))
    assert (about["trial"], about["method"], about["merged"]) == (exported.trial.name, "lora", True)
    assert about["input"] == {"name": "frames", "type": "float32", "shape": ["batch", 8, 3, 32, 32]}
    assert [each["name"] for each in about["outputs"]] == ["features", "probabilities"]
    assert about["compared"]["videos"] == 1 and 0 < about["compared"]["largest_difference"]["features"] < 1e-4
    assert "frame int((i + 1/2) N / 8)" in about["preprocessing"]["frames"]
    assert about["clips"]["mean"] == [0.2] * 3 and about["prompts"]["templates"]
    content = tower.read_bytes()
    for place in (str(exported.folder), str(Path.home()), str(Path(pb.__file__).parent), sys.prefix, "site-packages"):
        assert place.encode() not in content, place
    said = exported.said[output_format]
    assert "lora is merged into the weights" in said and "largest difference from the model: features" in said


def test_equal_towers_are_equal_files(exported: Exported, tmp_path: Path) -> None:
    again = tmp_path / "again.pt2"
    write_tower(adapted(exported.trial), again, "torch-export", videos=[exported.clip(exported.names[0])])
    assert again.read_bytes() == exported.tower("torch-export").read_bytes()


def adapter_file(path: Path, method: str, backbone: str, **values: object) -> Path:
    """An adapter whose weights are drawn, as files of earlier versions are."""
    torch.manual_seed(0)
    model, made = pb.create_model(backbone), pb.create_method(method, **values)
    made.bind(pb.MethodTask(classes=("growing", "falling"), support_clips=4))
    made.attach(model)
    with torch.no_grad():
        for tensor in model.adapter_tensors().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.02)
    header = {
        "method": method,
        "hyper_parameters": made.values(),
        "backbone": backbone,
        "weights_sha256": resolve_weights(BACKBONES.get(backbone), "auto").sha256,
        "train_classes": ["growing", "falling"],
        "task": {"kind": "classification", "support_clips": 4},
    }
    path.write_bytes(adapter_content(header, state_of(model, made)))
    return path


@pytest.mark.parametrize(
    ("method", "backbone", "values"),
    [
        ("msta", "viclip-tiny", {"bottleneck_dim": 32, "first_layer": 1, "last_layer": 4}),
        ("seq_transf", "clip-tiny", {}),
    ],
)
def test_modules_of_every_kind_are_exported(
    method: str, backbone: str, values: dict[str, object], tmp_path: Path
) -> None:
    subject = adapted(adapter_file(tmp_path / "adapter.safetensors", method, backbone, **values))
    written = write_tower(subject, tmp_path / "tower.pt2", "torch-export")
    assert set(written.differences) == {"features", "probabilities"}
    assert all(difference < 1e-5 for difference in written.differences.values())


def test_methods_with_other_scores_give_features_alone(tmp_path: Path) -> None:
    subject = adapted(adapter_file(tmp_path / "cocoop.safetensors", "cocoop", "viclip-tiny"))
    with pytest.raises(UsageError, match="of cocoop depend on the video; leave --classes away"):
        write_tower(subject, tmp_path / "tower.pt2", "torch-export", classes=("growing",))
    subject = adapted(adapter_file(tmp_path / "probe.safetensors", "linear_probe", "viclip-tiny"))
    written = write_tower(subject, tmp_path / "tower.pt2", "torch-export")
    assert list(written.differences) == ["features"] and "has scores of its own" in written.notes[-1]
    outputs, about = run(tmp_path / "tower.pt2", torch.zeros(1, 8, 3, 32, 32))
    assert list(outputs) == ["features"] and about["classes"] == [] and not about["merged"]


def test_a_tower_that_differs_is_not_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tower_export.BOUNDS, "features", 0.0)
    with pytest.raises(TrialError, match="features of the written tower differ from the model's by"):
        write_tower(adapted(exported.trial), tmp_path / "tower.pt2", "torch-export")
    assert not list(tmp_path.iterdir())


class Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_method_that_cannot_be_traced_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject: Subject = frozen_backbone("viclip-tiny", None)
    monkeypatch.setattr(type(subject.method), "name", "by_sign")
    monkeypatch.setattr(type(subject.method), "attach", lambda self, model: model.features.video.then(Untraceable()))
    with pytest.raises(
        UsageError, match=r"by_sign cannot be exported: torch.export cannot represent its forward pass: "
    ) as caught:
        write_tower(subject, tmp_path / "tower.pt2", "torch-export")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--format", "torch-export", "--output", "tower.onnx"), "ends in .pt2"),
        (("--format", "onnx", "--output", "tower.pt2"), "ends in .onnx"),
        (("--format", "onnx", "--output", "there.onnx"), "is there already, and is not replaced"),
        (("--format", "onnx", "--output", "absent/tower.onnx"), "there is no folder absent"),
        (("--format", "onnx", "--output", "tower.onnx", "--classes", ","), "no class in it"),
        (("--format", "onnx", "--output", "tower.onnx", "--classes", "a,b,a"), "the class 'a', twice"),
        (("--format", "onnx", "--output", "tower.onnx", "--check-on", "absent.mp4"), "absent.mp4"),
        (("--format", "onnx", "--output", "tower.onnx", "--weights", "absent.pt"), "absent.pt"),
        (("--format", "peft", "--output", "peft", "--classes", "a"), "--classes is for --format torch-export or onnx"),
    ],
)
def test_wrong_use_is_one_line(exported: Exported, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "there.onnx").write_bytes(b"kept")
    done = petl_bench("export", "--runs", exported.runs, "--adapter", exported.trial.name[:8], *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_bytes() == b"kept"


def test_a_missing_package_is_named(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"pip install 'petl-bench\[onnx\]'"):
        write_tower(adapted(exported.trial), tmp_path / "tower.onnx", "onnx")


def test_classes_come_from_a_list_or_a_file_and_an_adapter_file_does(exported: Exported, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a ball, falling\n\ngrowing\n")
    done = petl_bench("export", "--adapter", exported.trial / ADAPTER, "--format", "torch-export",
                      "--output", tmp_path / "tower.pt2", "--classes", names)  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs, about = run(tmp_path / "tower.pt2", torch.zeros(2, 8, 3, 32, 32))
    assert about["classes"] == ["a ball, falling", "growing"] and outputs["probabilities"].shape == (2, 2)


@pytest.fixture
def app(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server of docs/serving.md on a loopback port."""
    uvicorn, _ = pytest.importorskip("uvicorn"), pytest.importorskip("fastapi")
    for fence in fences("docs/serving.md"):
        if fence.title in ("app.py", "video.py"):
            (exported.folder / fence.title).write_text(fence.text)
    monkeypatch.chdir(exported.folder)
    monkeypatch.syspath_prepend(str(exported.folder))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config("app:app", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        for name in ("app", "video"):
            sys.modules.pop(name, None)


def test_the_server_of_the_page_labels_as_the_evaluation_does(exported: Exported, app: str) -> None:
    for row, name in list(enumerate(exported.names))[:5]:
        answer = httpx.post(f"{app}/label?top=2", content=exported.clip(name).read_bytes(), trust_env=False)
        labels = answer.json()
        best = int(exported.scores[row].argmax())
        assert len(labels) == 2 and labels[0]["class"] == exported.classes[best]
        assert labels[0]["probability"] == pytest.approx(exported.scores[row][best], abs=1e-3)
    refused = httpx.post(f"{app}/label", content=io.BytesIO(b"no video").read(), trust_env=False)
    assert refused.status_code == 422 and "no video" in refused.json()["detail"]
