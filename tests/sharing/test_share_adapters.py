"""`petl-bench export` and `import` of adapters: what comes back computes the same, and claims nothing as run here."""

from __future__ import annotations

import json
import os
import platform
import runpy
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import petl_bench as pb
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.api.trial import canonical_json, key_of
from petl_bench.cli.adapters import place_of
from petl_bench.errors import UsageError
from petl_bench.inference.merging import merged_model
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.opening import adapted
from petl_bench.inference.subject import frozen_backbone
from petl_bench.records.files import described_file
from petl_bench.records.layout import RECORD
from petl_bench.sharing.claimed import shareable_notes
from petl_bench.system.stored_json import LARGE, read_json
from petl_bench.testing.method_subject import perturb
from petl_bench.training.checkpoint import load_adapter
from tests.commands import petl_bench
from tests.docs.pages import fences

FEW = ("--setting", "few_shot", "--shots", "2")
#: A trial of every kind that an adapter file has to carry, by name.
ASKED: Mapping[str, tuple[str, ...]] = {
    "few": (*FEW, "--methods", "zero_shot,lora,msta,cocoop,linear_probe,tip_adapter,bitfit"),
    "retrieval": ("--setting", "retrieval", "--methods", "mv_adapter"),
    "transfer": ("--setting", "zero_shot_transfer", "--methods", "lora", "--datasets", "motion"),
}
METHODS = ["zero_shot", "lora", "msta", "cocoop", "linear_probe", "tip_adapter", "bitfit", "mv_adapter"]
#: Features may differ by rounding: this part of the largest one.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Shared:
    """A folder of runs, the keys of its trials by method, and clips of `motion` by name."""

    runs: Path
    keys: dict[str, str]
    clips: dict[str, Path]

    def folder(self, method: str) -> Path:
        return self.runs / "trials" / self.keys[method]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """One epoch of few clips."""
    runs, cache = tmp_path_factory.mktemp("share") / "runs", tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        for asked in ASKED.values():
            done = petl_bench("run", *asked, "--seeds", "0", "--epochs", "1", "--workers", "1", "--output", runs)
            assert done.returncode == 0, done.stderr
    keys = {}
    for record in (runs / "trials").glob(f"*/{RECORD}"):
        trial = read_json(record, LARGE)["trial"]
        keys[trial["method"] if trial["setting"] in ("few_shot", "retrieval") else trial["part"]] = record.parent.name
    clips = next(cache.glob("motion-*"))
    return Shared(runs, keys, {path.stem + label: path for label in ("growing", "falling")
                               for path in sorted((clips / label).glob("test_*.mp4"))})  # fmt: skip


@pytest.fixture
def exported(shared: Shared, tmp_path: Path) -> Callable[..., Path]:
    """The exported file of a method's trial."""

    def export(method: str, *arguments: str) -> Path:
        output = tmp_path / f"{method}{'-merged' if arguments else ''}.safetensors"
        done = run(shared.keys[method], shared.runs, output, *arguments)
        assert done.returncode == 0, done.stderr
        return output

    return export


def run(adapter: str | Path, runs: Path, output: Path, *arguments: str) -> CompletedProcess[str]:
    return petl_bench("export", "--adapter", adapter, "--runs", runs, "--output", output, *arguments)


def bring(file: Path, runs: Path) -> CompletedProcess[str]:
    return petl_bench("import", file, "--runs", runs)


def refused(done: CompletedProcess[str]) -> str:
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def probabilities(place: Path, clips: Mapping[str, Path]) -> np.ndarray:
    subject = adapted(place)
    classes = subject.classes or ("growing", "falling")
    found = [scored.scores for scored, _ in AdaptedModel(subject, "cpu").probabilities(clips, classes)]
    return np.concatenate(found)


def header_of(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        values: dict[str, Any] = json.loads(opened.metadata()["petl-bench"])
    return values


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("method", METHODS)
def test_what_is_exported_and_imported_predicts_the_same_to_the_bit(
    shared: Shared, exported: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    file, runs = exported(method), tmp_path / "other_runs"
    expected = probabilities(shared.folder(method), shared.clips)
    assert np.array_equal(probabilities(file, shared.clips), expected)
    done = bring(file, runs)
    assert done.returncode == 0 and f"--adapter {shared.keys[method][:8]}" in done.stderr, done.stderr
    for text in (shared.keys[method][:8], f"{method} motion"):
        assert np.array_equal(probabilities(place_of(text, runs), shared.clips), expected)
    again = tmp_path / "again.safetensors"
    assert run(shared.keys[method], runs, again).returncode == 0
    assert again.read_bytes() == file.read_bytes()


def test_a_trial_that_starts_from_another_exports_that_adapter_and_its_own_use(shared: Shared, tmp_path: Path) -> None:
    output = tmp_path / "transferred.safetensors"
    done = run(shared.keys["target-novel"], shared.runs, output)
    source = shared.keys["source-base"]
    assert done.returncode == 0 and f"its adapter is that of trial {source[:8]}" in done.stderr
    assert header_of(output)["trial"] == shared.keys["target-novel"]
    own, theirs = load_adapter(output)[1], load_adapter(shared.runs / "trials" / source / "adapter.safetensors")[1]
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
    expected = probabilities(shared.folder("target-novel"), shared.clips)
    assert np.array_equal(probabilities(output, shared.clips), expected)
    assert "has the same tensors" in bring(output, shared.runs).stderr


def test_the_record_comes_along_and_nothing_private(shared: Shared, exported: Callable[..., Path]) -> None:
    file = exported("lora")
    header, record = header_of(file), read_json(shared.folder("lora") / RECORD, LARGE)
    claimed = header["record"]
    assert claimed["metrics"] == record["metrics"] and claimed["marks"] == record["marks"]
    assert claimed["adapter_sha256"] == record["files"]["adapter.safetensors"]["sha256"]
    assert claimed["licences"]["data set"].startswith("MIT") and claimed["petl_bench"] == record["petl_bench"]
    with safe_open(file, framework="pt") as opened:
        content = opened.metadata()["petl-bench"]
    with np.load(shared.folder("lora") / "predictions-test.npz", allow_pickle=False) as stored:
        names = stored["clips"].tolist()
    for private in (str(shared.runs), str(Path.home()), platform.node(), *names):
        assert private not in content


def test_notes_with_paths_or_clips_stay_here() -> None:
    notes = ["plain", "read /data/x", r"read C:\x", f"on {platform.node()}", "clip v_1 is short", "3; the first: g2"]
    assert shareable_notes(notes, ["v_1"]) == ["plain"]


# ---------------------------------------------------------------- merged


@pytest.mark.parametrize("method", ["lora", "bitfit", "zero_shot"])
def test_a_merged_file_predicts_the_same_within_rounding(
    shared: Shared, exported: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    file = exported(method, "--merge")
    expected = probabilities(shared.folder(method), shared.clips)
    np.testing.assert_allclose(probabilities(file, shared.clips), expected, atol=1e-4, rtol=1e-3)
    model = pb.create_model("viclip-tiny", weights=file)
    assert model.published_state_dict().keys() == load_file(file).keys() - {"class_embeddings"}
    assert bring(file, tmp_path / "runs").returncode == 0
    imported = place_of(shared.keys[method], tmp_path / "runs")
    assert np.array_equal(probabilities(imported, shared.clips), probabilities(file, shared.clips))
    assert "merged already" in refused(run(file, shared.runs, tmp_path / "again.safetensors"))


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("lora", {"targets": ("q", "fc", "proj")}),
        ("dora", {}),
        ("vera", {}),
        ("ia3", {}),
        ("ssf", {}),
        ("full_finetune", {}),
        ("wise_ft", {}),
        ("bitfit", {}),
        ("ln_tuning", {}),
        ("peft:IA3", {}),
    ],
)
@pytest.mark.parametrize("backbone", ["viclip-tiny", "clip-tiny"])
def test_methods_that_can_be_merged_are_within_rounding(backbone: str, method: str, values: dict[str, Any]) -> None:
    _, difference = merged_model(untrained(backbone, method, **values))
    assert difference <= ROUNDING


@pytest.mark.parametrize(
    ("backbone", "method", "says"),
    [
        ("viclip-tiny", "msta", "its modules in the text tower and in the video tower stay"),
        ("viclip-tiny", "text_adapter", "its modules in the text tower stay"),
        ("viclip-tiny", "coop", "its own prompts"),
        ("viclip-tiny", "cocoop", "its own prompts|its texts are not"),
        ("viclip-tiny", "linear_probe", "the way it scores classes"),
        ("clip-tiny", "zero_i2v", "what it does in the video tower is not a matter of weights alone"),
        ("viclip-tiny", "lora+text_adapter", "its modules in the text tower and"),
    ],
)
def test_other_methods_are_refused_with_the_part_that_stays(backbone: str, method: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"{method.replace('+', '.')} cannot be merged: ({says})"):
        merged_model(untrained(backbone, method, **({"bottleneck_dim": 8} if method == "msta" else {})))


def untrained(backbone: str, method: str, **values: Any) -> AdaptedModel:
    """A model with a method's modules away from their start."""
    made = pb.create_method(method, **values)
    made.bind(pb.MethodTask(classes=("growing", "falling"), support_clips=4))
    model = AdaptedModel(replace(frozen_backbone(backbone, None), method=made), "cpu")
    perturb(model.model)
    return model


def test_the_example_in_plain_torch_gives_the_probabilities_of_petl_bench(
    shared: Shared, exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported("lora", "--merge").rename(tmp_path / "merged.safetensors")
    monkeypatch.chdir(tmp_path)
    (text,) = (fence.text for fence in fences("docs/share_adapters.md") if fence.title == "label_video.py")
    assert "petl_bench" not in text.replace("petl-bench", "")
    Path("label_video.py").write_text(text)
    example = runpy.run_path("label_video.py")
    found = torch.cat([example["probabilities"](example["read"](path)) for path in shared.clips.values()])
    np.testing.assert_allclose(found, probabilities(Path("merged.safetensors"), shared.clips), atol=1e-5, rtol=1e-3)
    np.testing.assert_allclose(found, probabilities(shared.folder("lora"), shared.clips), atol=1e-4, rtol=1e-3)


# ---------------------------------------------------------------- files that are there


def test_a_file_that_is_there_is_not_replaced(shared: Shared, exported: Callable[..., Path], tmp_path: Path) -> None:
    file = exported("lora")
    content = file.read_bytes()
    again = run(shared.keys["lora"], shared.runs, file)
    assert again.returncode == 0 and "is there already with the same content" in again.stderr
    assert "is there already, and is not replaced" in refused(run(shared.keys["msta"], shared.runs, file))
    assert file.read_bytes() == content
    for output, says in (
        (tmp_path / "no_ending", "its ending says no format; type --format"),
        (tmp_path / "absent" / "x.safetensors", "cannot write"),
    ):
        assert says in refused(run(shared.keys["lora"], shared.runs, output))
    wrong = run(shared.keys["lora"], shared.runs, tmp_path / "x.bin", "--format", "safetensors")
    assert "call it FILE.safetensors" in refused(wrong)
    assert "--merge is for --format safetensors" in refused(
        run(shared.keys["lora"], shared.runs, tmp_path / "x", "--format", "peft", "--merge")
    )
    assert "msta cannot be merged" in refused(
        run(shared.keys["msta"], shared.runs, tmp_path / "m.safetensors", "--merge")
    )


# ---------------------------------------------------------------- imported, and not run here


def test_reports_do_not_see_what_was_imported(shared: Shared, exported: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(shared.folder("msta"), runs / "trials" / shared.keys["msta"])
    before = seen(runs)
    assert bring(exported("lora"), runs).returncode == 0
    assert seen(runs) == before
    listed = petl_bench("runs", "list", "--runs", runs).stdout
    assert f"imported, not run here: {shared.keys['lora'][:8]} lora motion" in listed
    (imported,) = json.loads(petl_bench("runs", "list", "--runs", runs, "--format", "json").stdout)["imported"]
    assert imported["file"] == "lora.safetensors" and "claimed" in imported
    provenance = (runs / "imported" / shared.keys["lora"] / "import.json").read_text()
    assert "not measured here: top1" in provenance and str(tmp_path) not in provenance


def seen(runs: Path) -> list[str]:
    asked = (
        ("report", "--table", "few_shot", "--format", "json"),
        ("report", "--table", "few_shot", "--format", "markdown"),
        ("status",),
    )
    return [petl_bench(*each, "--runs", runs).stdout for each in asked]


def test_a_trial_that_is_here_is_compared(shared: Shared, exported: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(shared.folder("lora"), runs / "trials" / shared.keys["lora"])
    assert "so nothing is imported; its adapter has the same tensors" in bring(exported("lora"), runs).stderr
    assert "was not compared" in bring(exported("lora", "--merge"), runs).stderr
    other = changed(exported("lora"), tmp_path / "other.safetensors")
    assert "and its adapter has other tensors" in refused(bring(other, runs))
    assert not (runs / "imported").exists()
    (runs / "trials" / shared.keys["lora"] / "adapter.safetensors").unlink()
    assert bring(exported("lora"), runs).returncode == 0
    assert place_of(shared.keys["lora"], runs) == runs / "imported" / shared.keys["lora"] / "adapter.safetensors"


def test_importing_again(shared: Shared, exported: Callable[..., Path], tmp_path: Path) -> None:
    runs, file = tmp_path / "runs", exported("lora")
    assert bring(file, runs).returncode == 0
    before = contents(runs)
    assert "is this file already" in bring(file, runs).stderr
    assert "has the same tensors, and stays" in bring(shared.folder("lora") / "adapter.safetensors", runs).stderr
    other = changed(file, tmp_path / "other.safetensors")
    said = refused(bring(other, runs))
    assert "other.safetensors" in said and "imported from lora.safetensors" in said and "other tensors" in said
    assert contents(runs) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(file: Path, output: Path) -> Path:
    """The same header with another tensor."""
    tensors = load_file(file)
    first = sorted(tensors)[0]
    save_file({**tensors, first: tensors[first] + 1}, output, {"petl-bench": canonical_json(header_of(file))})
    return output


def test_an_adapter_of_an_earlier_version_is_kept_under_its_hash(
    shared: Shared, exported: Callable[..., Path], tmp_path: Path
) -> None:
    file, runs, early = exported("lora"), tmp_path / "runs", tmp_path / "early.safetensors"
    header = {name: value for name, value in header_of(file).items() if name not in ("use", "record")}
    save_file(load_file(file), early, {"petl-bench": canonical_json(header)})
    assert "says too little to stand alone" in refused(run(early, runs, tmp_path / "x.safetensors"))
    done = bring(early, runs)
    assert done.returncode == 0 and "does not say how it was trained" in done.stderr
    (folder,) = (runs / "imported").iterdir()
    assert folder.name != shared.keys["lora"]
    assert probabilities(place_of(folder.name[:8], runs), shared.clips).shape[0] == len(shared.clips)


def test_a_folder_of_peft_comes_back(shared: Shared, tmp_path: Path) -> None:
    folder, runs = tmp_path / "for_peft", tmp_path / "runs"
    assert run(shared.keys["lora"], shared.runs, folder, "--format", "peft").returncode == 0
    for _ in range(2):
        done = bring(folder, runs)
        assert done.returncode == 0, done.stderr
    assert "(imported from for_peft) is this file already" in done.stderr
    place = place_of("lora on viclip-tiny", runs)
    own, theirs = load_adapter(place)[1], load_adapter(shared.folder("lora") / "adapter.safetensors")[1]
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
    tensors = folder / "adapter_model.safetensors"
    save_file(load_file(tensors), tensors)
    assert "does not say which backbone it is for" in refused(bring(folder, runs))


def test_the_trial_of_an_earlier_version_says_in_the_export_how_it_is_used(shared: Shared, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "trials" / shared.keys["lora"]
    shutil.copytree(shared.folder("lora"), folder)
    adapter = folder / "adapter.safetensors"
    header = header_of(adapter)
    use = header.pop("use")
    save_file(load_file(adapter), adapter, {"petl-bench": canonical_json(header)})
    record = json.loads((folder / RECORD).read_text())
    record["files"]["adapter.safetensors"] = described_file(adapter)
    (folder / RECORD).write_text(json.dumps(record))
    assert run(shared.keys["lora"], tmp_path / "runs", tmp_path / "x.safetensors").returncode == 0
    assert header_of(tmp_path / "x.safetensors")["use"] == use


def test_other_code_and_missing_weights_are_said(exported: Callable[..., Path], tmp_path: Path) -> None:
    file = exported("lora")
    header = header_of(file)
    trial = {**header["use"]["trial"], "method_version": "0", "weights_sha256": "f" * 64, "weights": "gone.pth"}
    other = tmp_path / "other.safetensors"
    values = {**header, "use": {**header["use"], "trial": trial}, "trial": key_of(trial)}
    save_file(load_file(file), other, {"petl-bench": canonical_json(values)})
    done = bring(other, tmp_path / "runs")
    assert "the code of the method lora is another one here (version 1; it was trained with 0)" in done.stderr
    assert "the weights that it was trained on are not found by themselves: gone.pth, ffffffffffff" in done.stderr


# ---------------------------------------------------------------- damaged, foreign and hostile files


def hostile(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Headers that claim what cannot be, each with a key that fits its trial."""

    def with_trial(**values: Any) -> dict[str, Any]:
        trial = {**header["use"]["trial"], **values}
        return {**header, "use": {**header["use"], "trial": trial}, "trial": key_of(trial)}

    def with_use(**values: Any) -> dict[str, Any]:
        return {**header, "use": {**header["use"], **values}}

    return {
        "another key": {**header, "trial": "0" * 64},
        "a key that is a path": {**header, "trial": "../../x"},
        "use is a list": {**header, "use": []},
        "method is a list": with_trial(method=["lora"]),
        "training has strange options": with_trial(training={"views": 1, "code": "x"}),
        "training of another type": with_trial(training={"views": "many"}),
        "training out of range": with_trial(training={"views": -1}),
        "paths of files": with_trial(locations={"lora": {"file": "/etc/passwd"}}),
        "prompts reach into objects": with_use(prompts={"templates": ["{0.__class__}"], "cleaned": False}),
        "no prompts": with_use(prompts={"templates": [], "cleaned": False}),
        "classes are numbers": with_use(evaluations={"test": [1, 2]}),
        "train_classes is a text": {**header, "train_classes": "growing"},
        "a task with strange fields": {**header, "task": {"kind": "classification"}},
        "a task of another kind": {**header, "task": {"kind": "x", "support_clips": 0}},
        "hyper_parameters is a list": {name: value for name, value in header.items() if name != "use"}
        | {"hyper_parameters": [1]},
        "a record of another type": {**header, "record": {"metrics": "99"}},
        "extra state is a list": {**header, "extra_state": []},
        "another format": {**header, "format": "petl-bench adapter 99"},
    }


def test_hostile_headers_are_one_line(exported: Callable[..., Path], tmp_path: Path) -> None:
    for kind, arguments in (("adapter", ()), ("merged", ("--merge",))):
        file = exported("lora", *arguments)
        tensors, bad = load_file(file), tmp_path / "bad.safetensors"
        for name, header in hostile(header_of(file)).items():
            if kind == "merged" and name in ("extra state is a list", "another format", "hyper_parameters is a list"):
                continue
            save_file(tensors, bad, {"petl-bench": canonical_json(header)})
            assert "bad.safetensors" in refused(bring(bad, tmp_path / "runs")), name
    assert not (tmp_path / "runs").exists()


def test_damaged_and_foreign_files_are_one_line(exported: Callable[..., Path], tmp_path: Path) -> None:
    file, bad, runs = exported("lora"), tmp_path / "bad.safetensors", tmp_path / "runs"
    content = file.read_bytes()
    for wrong in (b"", b"text", content[: len(content) // 2], b"\xff" * 64, content[:8] + b"[" * 5000):
        bad.write_bytes(wrong)
        assert "cannot read adapter" in refused(bring(bad, runs))
    not_finite = {name: tensor * float("nan") for name, tensor in load_file(file).items()}
    save_file(not_finite, bad, {"petl-bench": canonical_json(header_of(file))})
    assert "not finite" in refused(bring(bad, runs))
    save_file({"x": torch.zeros(1)}, bad)
    assert "not an adapter of petl-bench" in refused(bring(bad, runs))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for other in (tmp_path / "absent", pipe):
        assert "no such file" in refused(bring(other, runs))
    assert "cannot be read" in refused(bring(tmp_path, runs))
    (tmp_path / "a_file").write_text("")
    assert "cannot be written" in refused(bring(file, tmp_path / "a_file"))
    assert not runs.exists()


def test_text_of_a_file_is_cleaned_before_it_is_shown(exported: Callable[..., Path], tmp_path: Path) -> None:
    file = exported("lora")
    header = header_of(file)
    trial = {**header["use"]["trial"], "dataset": "mo\x1b[2Jtion\nfake line", "split": "\u202e1"}
    values = {**header, "use": {**header["use"], "trial": trial}, "trial": key_of(trial)}
    odd = tmp_path / "odd.safetensors"
    save_file(load_file(file), odd, {"petl-bench": canonical_json(values)})
    done = bring(odd, tmp_path / "runs")
    listed = petl_bench("runs", "list", "--runs", tmp_path / "runs").stdout
    for text in (done.stderr, listed):
        assert "\x1b" not in text and "\u202e" not in text and "\nfake line" not in text


def test_an_import_that_was_damaged_is_left_out_and_told(
    shared: Shared, exported: Callable[..., Path], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert bring(exported("lora"), runs).returncode == 0
    (runs / "imported" / shared.keys["lora"] / "import.json").write_text("[")
    listed = petl_bench("runs", "list", "--runs", runs)
    assert listed.returncode == 0 and "not used: " in listed.stderr and "imported" not in listed.stdout
