"""`pb.load_adapter`: what it computes is what the evaluation of its trial computed; what cannot be is one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import petl_bench as pb
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.decoding.clips import read_clip
from petl_bench.inference.loading import LoadedAdapter
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import frozen_backbone
from petl_bench.training.checkpoint import load_adapter as read_adapter
from tests.searching.made_trials import Trained


@pytest.fixture
def model(trained: Trained) -> LoadedAdapter:
    return pb.load_adapter(trained.folder("few_shot", "lora"), device="cpu")


def clips_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mp4"))


def alone(trained: Trained, method: str, folder: Path) -> Path:
    """The adapter file of a trial, away from it."""
    return Path(shutil.copy(trained.folder("few_shot", method) / "adapter.safetensors", folder / "mine.safetensors"))


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize("method", ["zero_shot", "lora", "cocoop", "linear_probe"])
def test_predictions_of_the_test_clips_are_the_stored_scores_to_the_bit(
    trained: Trained, tmp_path: Path, method: str
) -> None:
    folder = trained.folder("few_shot", method)
    with np.load(folder / "predictions-test.npz", allow_pickle=False) as stored:
        clips, classes, scores = stored["clips"].tolist(), stored["classes"].tolist(), stored["scores"]
    videos = [next(trained.clips.glob(f"{clip}*")) for clip in clips]
    found = pb.load_adapter(folder, device="cpu").predict(videos)
    assert pb.load_adapter(folder).classes == tuple(classes)
    assert found.dtype == torch.float32 and np.array_equal(found.numpy(), scores)
    if method != "zero_shot":
        assert torch.equal(pb.load_adapter(alone(trained, method, tmp_path)).predict(videos, classes, workers=2), found)


def test_preprocessed_frames_are_those_that_the_model_is_given(
    model: LoadedAdapter, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, seen = clips_in(videos)[0], []
    whole = model.model.video_output
    monkeypatch.setattr(
        model.model,
        "video_output",
        lambda frames, *more, **named: (seen.append(frames), whole(frames, *more, **named))[1],
    )
    frames = model.preprocess(clip)
    features = model.encode_videos([clip])
    assert frames.shape == (model.spec.num_frames, 3, model.spec.size, model.spec.size)
    assert frames.dtype == torch.float32 and torch.equal(seen[0][0], frames)
    with torch.no_grad():
        own = torch.nn.functional.normalize(model.model.encode_video(frames[None]), dim=-1)
    torch.testing.assert_close(own, features)


def test_similarities_of_features_are_those_that_lead_to_the_probabilities(model: LoadedAdapter, videos: Path) -> None:
    clips, classes = clips_in(videos), ["growing", "falling", "a thing of its own"]
    texts = [text for name in classes for text in model.subject.prompts.of(name)]
    cosine = model.encode_videos(clips) @ model.encode_texts(texts).T
    expected = (cosine * float(model.model.logit_scale)).softmax(dim=1)
    torch.testing.assert_close(model.predict(clips, classes), expected, rtol=1e-4, atol=1e-5)


def test_several_views_have_a_dimension_of_their_own_and_are_averaged(videos: Path) -> None:
    subject = replace(frozen_backbone("clip-tiny", None), options=TrainingOptions(views=2, crops=3))
    model, clip = LoadedAdapter(subject, "cpu"), clips_in(videos)[0]
    views = model.preprocess(clip)
    assert views.shape[:2] == (6, model.spec.num_frames)
    with torch.no_grad():
        units = torch.nn.functional.normalize(model.model.encode_video(views), dim=-1)
    torch.testing.assert_close(model.encode_videos([clip])[0], units.mean(dim=0))


def test_videos_may_come_from_any_iterable(model: LoadedAdapter, videos: Path) -> None:
    clips = clips_in(videos)[:2]
    assert torch.equal(model.predict(clip for clip in clips), model.predict(clips))


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["growing"], "classes: only 'growing'; name two or more, for probabilities add up to 1"),
        (["growing", "falling", "growing"], "classes: 'growing' twice; every class once"),
    ],
)
def test_classes_that_cannot_be_meant_are_refused(
    model: LoadedAdapter, videos: Path, classes: list[str], says: str
) -> None:
    with pytest.raises(pb.UsageError, match=re.escape(says)):
        model.predict(clips_in(videos)[:1], classes)


@pytest.mark.parametrize("name", ["???", "日本"])
def test_classes_that_the_text_tower_has_no_words_for_are_refused(
    model: LoadedAdapter, videos: Path, name: str
) -> None:
    with pytest.raises(pb.UsageError, match=f"the class {re.escape(repr(name))}: the text tower of viclip-tiny has no"):
        model.predict(clips_in(videos), ["growing", name])


@pytest.mark.parametrize("rate", [None, 2.0])
def test_frames_in_memory_and_folders_of_frames_are_read_as_files_are(videos: Path, rate: float | None) -> None:
    subject = frozen_backbone("clip-tiny", None)
    model = LoadedAdapter(replace(subject, options=TrainingOptions(frames_per_second=rate)), "cpu")
    clip = clips_in(videos)[0]
    frames = read_clip(clip, range).frames
    if rate is not None:
        assert not model.preprocess(frames[:1])[1:].any()  # padding, as the model is given it
        frames = frames[:: len(frames) // 2]
    expected = model.preprocess(clip)
    assert torch.equal(model.preprocess(frames), expected) and torch.equal(
        model.preprocess(torch.from_numpy(frames)), expected
    )
    mixed = model.predict([clip, frames, clip], ["growing", "falling"], workers=2)
    torch.testing.assert_close(mixed[0], mixed[1])
    assert torch.equal(mixed[0], mixed[2])
    torch.testing.assert_close(model.encode_videos([frames]), model.encode_videos([clip]))
    assert model.spec.read is read_clip


def test_a_folder_of_frames_is_a_video(model: LoadedAdapter, videos: Path, tmp_path: Path) -> None:
    from PIL import Image

    frames = read_clip(clips_in(videos)[0], range).frames
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"img_{number:05}.png")
    assert torch.equal(model.preprocess(tmp_path / "frames"), model.preprocess(frames))


def test_what_it_was_trained_on_is_said(trained: Trained, model: LoadedAdapter) -> None:
    said = model.trained_on
    assert said["trial"] == trained.keys["few_shot", "lora"]
    assert (said["method"], said["backbone"], said["dataset"], said["setting"]) == (
        "lora", "viclip-tiny", "motion", "few_shot",
    )  # fmt: skip
    assert (said["shots"], said["seed"], said["revision"]) == (2, 0, None)
    assert said["hyper_parameters"]["rank"] > 0 and "growing" in said["classes"] == list(model.classes)
    json.dumps(said)
    assert type(model.model) is pb.DualEncoder and model.model.method is model.subject.method
    shown = repr(model).splitlines()
    assert shown[0].startswith("LoadedAdapter: lora motion split 1 2-shot") and "8 frames" in repr(model)
    assert len(shown) == 6 and all(len(line) < 230 for line in shown)


def test_an_adapter_of_retrieval_has_no_classes_of_its_own(trained: Trained, videos: Path) -> None:
    model = pb.load_adapter(trained.folder("retrieval", "lora"))
    assert model.classes == () and "trained on captions" in repr(model)
    with pytest.raises(pb.UsageError, match=r"has no classes of its own: name some, classes=\[...\]"):
        model.predict(clips_in(videos))
    assert model.predict(clips_in(videos)[:1], ["growing", "falling"]).shape == (1, 2)


def test_an_earlier_file_says_what_is_not_known(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header, tensors = read_adapter(alone(trained, "lora", tmp_path))
    early = tmp_path / "early.safetensors"
    save_file(tensors, early, {"petl-bench": json.dumps({name: header[name] for name in header if name != "use"})})
    model = pb.load_adapter(early)
    assert "is not beside it; clips are read as by default" in caplog.text
    assert (model.trained_on["method"], model.trained_on["dataset"]) == ("lora", None)


def test_a_folder_with_an_adapter_file_is_that_file(trained: Trained, tmp_path: Path, videos: Path) -> None:
    (tmp_path / "fetched").mkdir()
    shutil.copy(trained.folder("few_shot", "lora") / "adapter.safetensors", tmp_path / "fetched")
    one, two = pb.load_adapter(tmp_path / "fetched"), pb.load_adapter(trained.folder("few_shot", "lora"))
    assert torch.equal(one.predict(clips_in(videos)), two.predict(clips_in(videos)))


def test_importing_petl_bench_stays_light() -> None:
    code = "import sys, petl_bench; dir(petl_bench); sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("videos_given", "says"),
    [
        ("clip.mp4", r'videos: expected a list of one or more, such as \["clip\.mp4"\]'),
        ([], "videos: expected a list of one or more"),
        ([3], "int: expected a video file, a folder of frames, or frames in memory"),
        ([np.zeros((4, 8, 8, 3), np.float32)], r"frames float32 \[4, 8, 8, 3\]: expected .* uint8 \[T, H, W, 3\]"),
        ([torch.zeros(4, 3, 8, 8, dtype=torch.uint8)], r"frames\.permute\(0, 2, 3, 1\) gives it"),
        ([np.zeros((0, 8, 8, 3), np.uint8)], r"frames uint8 \[0, 8, 8, 3\]"),
    ],
)
def test_videos_that_are_none_are_refused(model: LoadedAdapter, videos_given: Any, says: str) -> None:
    for call in (model.predict, model.encode_videos):
        with pytest.raises(pb.UsageError, match=says):
            call(videos_given)


def test_a_video_that_cannot_be_read_is_named(model: LoadedAdapter, videos: Path) -> None:
    bad = videos / "page.mp4"
    bad.write_text("<html>not found</html>")
    for call in (model.predict, model.encode_videos):
        with pytest.raises(pb.DataError, match=r"^cannot read \S+page\.mp4: the file is a web page"):
            call([*clips_in(videos)[:1], bad])
    with pytest.raises(pb.DataError, match=r"^cannot read none\.mp4: No such file"):
        model.preprocess("none.mp4")
    for place in ("x" * 5000, "a\0b.mp4", "~nobody_here/x.mp4"):
        with pytest.raises(pb.DataError, match="no such file or folder"):
            model.predict([place])


@pytest.mark.parametrize(
    ("texts", "says"),
    [("archery", "expected a list of texts"), ([], "one text or more"), (["a", " "], "none of them empty"), ([3], "")],
)
def test_texts_that_are_none_are_refused(model: LoadedAdapter, videos: Path, texts: Any, says: str) -> None:
    with pytest.raises(pb.UsageError, match=f"^texts: .*{says}"):
        model.encode_texts(texts)
    with pytest.raises(pb.UsageError, match=f"^classes: .*{says}"):
        model.predict(clips_in(videos)[:1], texts)


def test_methods_whose_texts_have_no_features_say_so(
    trained: Trained, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = pb.load_adapter(trained.folder("few_shot", "cocoop"))
    with pytest.raises(pb.UsageError, match="cocoop computes texts anew for every video: there are no features"):
        model.encode_texts(["growing"])
    probe = pb.load_adapter(trained.folder("few_shot", "linear_probe"))
    with pytest.raises(pb.UsageError, match="linear_probe scores the classes it was trained on alone"):
        probe.encode_texts(["growing"])
    with pytest.raises(pb.UsageError, match="'archery' is none of them"):
        probe.predict(clips_in(videos)[:1], ["growing", "archery"])
    assert probe.encode_videos(clips_in(videos)[:2]).shape[0] == 2
    pb.load_adapter(trained.folder("few_shot", "lora")).encode_texts(["a red square that is growing " * 20])
    assert "1 of 1 texts are longer than the text context" in caplog.text


@pytest.mark.parametrize(
    ("place", "arguments", "error", "says"),
    [
        ("none", {}, pb.UsageError, "no such file or folder; expected the folder of a trial"),
        ("x" * 5000, {}, pb.UsageError, "no such file or folder"),
        ("~nobody_here/x", {}, pb.UsageError, "no such file or folder"),
        ("", {"device": "tpu"}, pb.UsageError, "expected auto, cpu, cuda or cuda:N"),
        (".", {}, pb.StoreError, "neither the folder of a trial nor one with an adapter.safetensors"),
        (".", {"plugin": "none.py"}, pb.UsageError, "--plugin .*none.py: no such file"),
        (".", {"revision": "main"}, pb.UsageError, "only adapters on the hub have one"),
        (__file__, {}, pb.StoreError, "cannot read adapter"),
        (sys.executable, {}, pb.StoreError, "cannot read adapter"),
        ("/dev/zero", {}, pb.UsageError, "no such file or folder"),
    ],
)
def test_places_that_are_no_adapter_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, arguments: dict[str, Any], error: Any, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says) as raised:
        pb.load_adapter(place, **arguments)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


PLUGIN = '''
import torch
import petl_bench as pb

@pb.register_method("scaled_alone")
class ScaledAlone(pb.Method):
    """One number behind the video tower."""

    def attach(self, model):
        model.features.video.add("scaled_alone", One())

    def expected_trainable(self, config):
        return 1

class One(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, features):
        return features * self.one
'''


def test_a_method_that_is_not_installed_is_named_with_what_to_type(trained: Trained, tmp_path: Path) -> None:
    header, tensors = read_adapter(alone(trained, "lora", tmp_path))
    early = {name: header[name] for name in header if name != "use"}
    file = tmp_path / "theirs.safetensors"
    save_file(tensors, file, {"petl-bench": json.dumps({**early, "method": "loraa"})})
    with pytest.raises(
        pb.PluginError, match=r"the method 'loraa' of the adapter is not installed here .*lora.*plugin="
    ):
        pb.load_adapter(file)
    save_file(tensors, file, {"petl-bench": json.dumps({**early, "backbone": "viclip-huge"})})
    with pytest.raises(pb.PluginError, match="the backbone 'viclip-huge' of the adapter is not installed here"):
        pb.load_adapter(file)


def test_a_method_of_a_plugin_file_is_loaded_with_it_and_no_other_way(trained: Trained, tmp_path: Path) -> None:
    header, _ = read_adapter(alone(trained, "lora", tmp_path))
    early = {name: header[name] for name in header if name != "use"}
    file, plugin = tmp_path / "theirs.safetensors", tmp_path / "scaled_alone.py"
    names = {"method": "scaled_alone", "hyper_parameters": {}}
    save_file({"one": torch.ones(())}, file, {"petl-bench": json.dumps({**early, **names})})
    plugin.write_text(PLUGIN)
    with pytest.raises(pb.PluginError, match="'scaled_alone' of the adapter is not installed"):
        pb.load_adapter(file)
    with pytest.raises(pb.PetlBenchError) as raised:  # it is found now; its tensor has another name
        pb.load_adapter(file, plugin=plugin)
    assert "not installed" not in str(raised.value) and "\n" not in str(raised.value)


def test_an_adapter_that_does_not_fit_is_one_line(trained: Trained, tmp_path: Path) -> None:
    header, tensors = read_adapter(alone(trained, "lora", tmp_path))
    early = {name: header[name] for name in header if name != "use"}
    file = tmp_path / "theirs.safetensors"
    clip = adapted(trained.folder("few_shot", "zero_shot")).weights.sha256
    assert clip == header["weights_sha256"]
    for change, says in (
        ({"hyper_parameters": {**header["hyper_parameters"], "rank": 10**9}}, "the adapter does not fit: lora"),
        ({"hyper_parameters": {"rankk": 3}}, "unknown field of lora 'rankk'; did you mean"),
        ({"hyper_parameters": {**header["hyper_parameters"], "rank": "x"}}, "lora.rank=x: expected a whole number"),
        ({"backbone": "clip-tiny"}, "the weights that adapter .* are not here"),
        ({"weights_sha256": "random"}, "was trained on random weights"),
    ):
        save_file(tensors, file, {"petl-bench": json.dumps({**early, **change})})
        with pytest.raises(pb.PetlBenchError, match=says) as raised:
            pb.load_adapter(file)
        assert "\n" not in str(raised.value)
    renamed = {f"other.{name}": tensor for name, tensor in tensors.items()}
    save_file(renamed, file, {"petl-bench": json.dumps(early)})
    with pytest.raises(pb.WeightsError, match="the adapter does not fit the attached method lora: "):
        pb.load_adapter(file)
