"""Weights files: which one is meant, and what happens with broken and hostile ones."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import petl_bench as pb
from petl_bench.api.registry import BACKBONES
from petl_bench.models import weights
from petl_bench.models.checkpoints import read_checkpoint
from petl_bench.models.weights import resolve_weights
from petl_bench.system.files import sha256_of_file
from tests.models.conftest import SMALL_VICLIP


@pytest.fixture
def backbone() -> type[pb.Backbone]:
    @pb.register_backbone("test-small")
    class Small(pb.Backbone):
        config = SMALL_VICLIP
        published = (
            pb.PublishedWeights(file="small-a.pth", where="somewhere.example/small", licence="MIT"),
            pb.PublishedWeights(file="small-b.safetensors", where="somewhere.example/small", licence="MIT"),
        )

    return Small


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("PETL_BENCH_WEIGHTS_DIR", raising=False)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# reading


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".safetensors"])
def test_every_format_gives_the_same_model(tmp_path: Path, viclip_state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(viclip_state, path)
    else:
        torch.save({"model": viclip_state, "epoch": 1}, path)
    state = pb.create_model(SMALL_VICLIP, weights=path).published_state_dict()
    assert all(torch.equal(state[key], viclip_state[key]) for key in viclip_state)


def test_torchs_old_format_is_read_too(tmp_path: Path, viclip_state: dict[str, Tensor]) -> None:
    path = tmp_path / "old.pth"
    torch.save(viclip_state, path, _use_new_zipfile_serialization=False)
    assert set(read_checkpoint(path)) == set(viclip_state)


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "pickle 2", "pickle 4"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, trace = tmp_path / "hostile.pth", tmp_path / "was-here"
    if how == "torch":
        torch.save({"model": Hostile(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Hostile(trace)}, protocol=int(how[-1])))
    with pytest.raises(pb.WeightsError, match=r"hostile\.pth: ") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    assert how == "pickle 4" or "refused, because it holds more than weights: it wants to call" in str(error.value)
    assert how == "pickle 4" or "weights_only=False)['state_dict'], 'weights.pth') (if it holds" in str(error.value)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("left", [0, 7, 500, -100])
def test_a_truncated_file_gives_one_line(
    tmp_path: Path, viclip_state: dict[str, Tensor], suffix: str, left: int
) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".safetensors":
        save_file(viclip_state, path)
    else:
        torch.save(viclip_state, path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(pb.WeightsError, match=rf"cut\{suffix}.*fetch it again") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_torchscript_archive_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-16.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("constants.pkl", "code/__torch__.py", "data.pkl"):
            archive.writestr(f"ViT-B-16/{name}", b"")
    with pytest.raises(pb.WeightsError, match=r"TorchScript.*state_dict\(\)"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x00" * 64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_files_give_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(pb.WeightsError, match="fetch it again") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_what_is_not_a_dictionary_or_not_there(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(pb.WeightsError, match="dictionary of tensors, found Tensor"):
        read_checkpoint(tmp_path / "tensor.pth")
    with pytest.raises(pb.WeightsError, match="no such weights file"):
        read_checkpoint(tmp_path / "missing.pth")
    for name in ("weights.zip", "weights.tar"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(pb.WeightsError, match="expected a weights file"):
            read_checkpoint(tmp_path / name)


def test_a_checkpoint_that_does_not_fit_names_its_file(tmp_path: Path) -> None:
    torch.save({"model": {"head": torch.zeros(1)}}, tmp_path / "head.pth")
    with pytest.raises(pb.WeightsError, match=r"head\.pth: .*unexpected: head"):
        pb.create_model(SMALL_VICLIP, weights=tmp_path / "head.pth")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_prefixes_and_dictionaries_of_a_file_are_taken_off(
    tmp_path: Path, viclip_state: dict[str, Tensor], suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    prefixed = {f"module._orig_mod.{key}": value for key, value in viclip_state.items()}
    if suffix == ".safetensors":
        save_file(prefixed, path)
    else:
        torch.save({"state_dict": prefixed, "epoch": 1, "callbacks": {"best": {"score": 0.5}}}, path)
    state = pb.create_model(SMALL_VICLIP, weights=path).published_state_dict()
    assert all(torch.equal(state[key], viclip_state[key]) for key in viclip_state)


# which file


def test_random_weights_have_no_file(backbone: type[pb.Backbone]) -> None:
    for text in (None, "random"):
        resolved = resolve_weights(backbone, text)
        assert (resolved.label, resolved.path, resolved.sha256) == ("random", None, "random")


def test_a_path_is_taken_as_it_is(backbone: type[pb.Backbone], tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"some bytes")
    resolved = resolve_weights(backbone, str(path))
    assert (resolved.label, resolved.path, resolved.sha256) == ("mine.pth", path, sha256(path))


def test_a_missing_path_says_what_is_wanted(backbone: type[pb.Backbone]) -> None:
    with pytest.raises(pb.WeightsError, match=r"missing\.pth: no such file.*small-a\.pth \(somewhere\.example/small\)"):
        resolve_weights(backbone, "missing.pth")


def test_auto_finds_a_published_file_in_the_named_and_in_the_own_directory(
    backbone: type[pb.Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "data" / "petl-bench" / "weights" / "small-a.pth"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"own")
    assert resolve_weights(backbone, "auto").path == own
    named = tmp_path / "named" / "small-b.safetensors"
    named.parent.mkdir()
    named.write_bytes(b"named")
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(named.parent))
    resolved = resolve_weights(backbone, "auto")
    assert (resolved.path, resolved.label, resolved.sha256) == (named, "small-b.safetensors", sha256(named))


def test_auto_without_a_file_says_which_where_and_what_to_type(backbone: type[pb.Backbone], tmp_path: Path) -> None:
    with pytest.raises(pb.WeightsError) as error:
        resolve_weights(backbone, "auto")
    message = str(error.value)
    for words in (
        "small-a.pth",
        "somewhere.example/small",
        "--weights FILE",
        "petl-bench show test-small",
        str(tmp_path),
    ):
        assert words in message


def test_auto_takes_the_packaged_file(backbone: type[pb.Backbone], tmp_path: Path) -> None:
    packaged = tmp_path / "packaged.safetensors"
    packaged.write_bytes(b"packaged")
    backbone.packaged_weights = classmethod(lambda cls: packaged)
    resolved = resolve_weights(backbone, "auto")
    assert (resolved.label, resolved.path, resolved.sha256) == ("packaged", packaged, sha256(packaged))


def test_a_changed_file_gets_another_sha256(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    first = sha256_of_file(path)
    path.write_bytes(b"other")
    assert (first, sha256_of_file(path)) == (hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"other").hexdigest())


class Hub:
    """Stands for the hub's client: one repository with some files."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.folder, self.files = folder, files

    def list_repo_files(self, repo: str) -> list[str]:
        return self.files

    def hf_hub_download(self, repo: str, file: str) -> str:
        if file not in self.files:
            raise FileNotFoundError(f"{repo} has no file {file}\nmore lines")
        (self.folder / Path(file).name).write_bytes(f"{repo}/{file}".encode())
        return str(self.folder / Path(file).name)


def use_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, files: list[str]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    fake = Hub(folder, files)
    monkeypatch.setattr(hub, "list_repo_files", fake.list_repo_files)
    monkeypatch.setattr(hub, "hf_hub_download", fake.hf_hub_download)


@pytest.mark.parametrize(
    ("files", "text", "chosen"),
    [
        (["a.pth", "sub/b.pth"], "hf:me/it/sub/b.pth", "me/it/sub/b.pth"),
        (["README.md", "small-b.safetensors", "other.pth"], "hf:me/it", "me/it/small-b.safetensors"),
        (["other.pth", "model.safetensors"], "hf:me/it", "me/it/model.safetensors"),
        (["README.md", "only.pth"], "hf:me/it", "me/it/only.pth"),
    ],
)
def test_weights_from_the_hub(
    backbone: type[pb.Backbone],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    text: str,
    chosen: str,
) -> None:
    use_hub(monkeypatch, tmp_path, files)
    resolved = resolve_weights(backbone, text)
    assert resolved.path is not None
    assert resolved.path.read_bytes().decode() == chosen
    assert (resolved.label, resolved.sha256) == (text, sha256(resolved.path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hf:me/it", "say which file: a.pth, b.pth"),
        ("hf:me/it/none.pth", "FileNotFoundError: me/it has no file none.pth. Or fetch"),
        ("hf:it", "expected hf:OWNER/REPO"),
        ("hf:me/it/", "expected hf:OWNER/REPO"),
    ],
)
def test_what_the_hub_cannot_give_is_one_line(
    backbone: type[pb.Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    use_hub(monkeypatch, tmp_path, ["a.pth", "b.pth"])
    with pytest.raises(pb.WeightsError, match=words):
        resolve_weights(backbone, text)


def test_without_the_hubs_client_it_says_what_to_install(
    backbone: type[pb.Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(pb.WeightsError, match=r"pip install 'petl-bench\[hub\]'"):
        resolve_weights(backbone, "hf:me/it")


def test_resolving_and_the_backbones_need_no_torch() -> None:
    code = (
        "import sys; from petl_bench.api.registry import BACKBONES\n"
        "from petl_bench.models.weights import resolve_weights\n"
        "[BACKBONES.get(name) for name in ('viclip-b16', 'viclip-l14', 'clip-b16')]\n"
        "resolve_weights(BACKBONES.get('clip-b16'), 'random'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# the public function


def test_create_model_takes_changes_of_the_configuration() -> None:
    model = pb.create_model(SMALL_VICLIP, num_frames=2, image_size=48)
    assert (model.config.num_frames, model.config.image_size) == (2, 48)
    assert model.encode_video(torch.zeros(1, 2, 3, 48, 48)).shape == (1, 32)


def test_create_model_by_name(
    backbone: type[pb.Backbone], tmp_path: Path, viclip_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_WEIGHTS_DIR", str(tmp_path))
    torch.save({"model": viclip_state}, tmp_path / "small-a.pth")
    model = pb.create_model("test-small", num_frames=8)
    assert torch.equal(model.published_state_dict()["vision_encoder.proj"], viclip_state["vision_encoder.proj"])
    torch.manual_seed(5)
    first = pb.create_model("test-small", weights=None).published_state_dict()
    torch.manual_seed(5)
    second = pb.create_model("test-small", weights="random").published_state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "viclip-b61"}, "did you mean viclip-b16"),
        ({"name": SMALL_VICLIP, "num_frame": 4}, "did you mean num_frames"),
        ({"name": SMALL_VICLIP, "num_frames": 0}, "num_frames=0: expected a whole number above 0"),
        ({"name": SMALL_VICLIP, "num_frames": 2.5}, "num_frames=2.5"),
    ],
)
def test_create_model_refuses_what_it_does_not_know(arguments: dict, words: str) -> None:
    with pytest.raises(pb.UsageError, match=words):
        pb.create_model(**arguments)


@pytest.mark.parametrize("name", ["viclip-b16", "viclip-l14", "clip-b16"])
def test_published_files_say_where_they_are(name: str) -> None:
    backbone = BACKBONES.get(name)
    assert backbone.published and backbone.paper is not None
    assert all(published.file and published.where and published.licence for published in backbone.published)
    assert backbone.paper.bibtex.startswith("@") and backbone.paper.bibtex.count("{") == backbone.paper.bibtex.count(
        "}"
    )
    assert weights.wanted(backbone).startswith(f"{name} wants {backbone.published[0].file}")
