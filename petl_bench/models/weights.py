"""Which weights file `--weights` means, and its sha256; without torch, because plans are made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from petl_bench.api.backbone import Backbone, found_weights, weights_directories
from petl_bench.errors import WeightsError
from petl_bench.hub.client import words_of
from petl_bench.system.files import sha256_of_file

#: How the names of weights files end.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")


@dataclass(frozen=True)
class ResolvedWeights:
    """A weights file, or random weights (`path` None)."""

    label: str  #: "packaged", "random", the file's name, or hf:REPO/FILE
    path: Path | None
    sha256: str  #: of the file; "random" if there is none
    note: str = ""  #: where it comes from, in words


def resolve_weights(
    backbone: type[Backbone], text: str | os.PathLike[str] | None, *, fetch: bool = True
) -> ResolvedWeights:
    """What `text` means for a backbone: "auto", "random" (or None), a path, or `hf:REPO[/FILE]`.

    "auto" is the packaged file, else a published file in the weights directory. Nothing is downloaded except for `hf:`,
    and with `fetch` false nothing at all: then only the cache of the Hugging Face hub is looked into.
    Raises WeightsError that says which file is wanted, where it is published, and what to type.
    """
    if text is None or text == "random":
        return ResolvedWeights("random", None, "random", "random weights: for trying things out only")
    text = os.fspath(text)
    if text == "auto":
        return _automatic(backbone)
    if text.startswith("hf:"):
        path = download(text.removeprefix("hf:"), [published.file for published in backbone.published], fetch)
        return ResolvedWeights(text, path, sha256_of_file(path), "from the Hugging Face hub")
    path = Path(text).expanduser()
    if not path.is_file():
        raise WeightsError(f"--weights {text}: no such file. {wanted(backbone)}")
    return ResolvedWeights(path.name, path, sha256_of_file(path))


def wanted(backbone: type[Backbone]) -> str:
    """Which file a backbone wants, where it is published, and what to type."""
    if not backbone.published:
        return f"{backbone.name} names no published weights: type --weights FILE, or --weights random to try it."
    first = backbone.published[0]
    return (
        f"{backbone.name} wants {first.file} ({first.where}). Put it into {weights_directories()[0]}, or type "
        f"--weights FILE, or --weights random to try things out. See: petl-bench show {backbone.name}"
    )


def _automatic(backbone: type[Backbone]) -> ResolvedWeights:
    packaged = backbone.packaged_weights()
    if packaged is not None:
        return ResolvedWeights("packaged", packaged, sha256_of_file(packaged), "ships with petl-bench")
    path = found_weights(backbone)
    if path is None:
        raise WeightsError(f"no weights found: {wanted(backbone)}")
    return ResolvedWeights(path.name, path, sha256_of_file(path), f"found in {path.parent}")


def download(text: str, preferred: list[str], fetch: bool = True) -> Path:
    """The local path of `REPO[/FILE]` on the Hugging Face hub; fetched only if the hub's cache has not got it.

    Without FILE: the first of `preferred` that the repository holds, else its only weights file. Without `fetch`: the
    cache alone.
    """
    try:
        import huggingface_hub as hub
    except ImportError:
        raise WeightsError("--weights hf:... needs huggingface_hub: pip install 'petl-bench[hub]'") from None
    parts = text.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise WeightsError(f"--weights hf:{text}: expected hf:OWNER/REPO or hf:OWNER/REPO/FILE")
    repo, file = "/".join(parts[:2]), parts[2] if len(parts) == 3 else ""
    try:
        if not fetch:
            return _cached(repo, file, preferred)
        return Path(hub.hf_hub_download(repo, file or _choose(repo, hub.list_repo_files(repo), preferred)))
    except WeightsError:
        raise
    except Exception as error:  # the hub raises errors of its HTTP library, which change between its versions
        raise WeightsError(
            f"--weights hf:{text}: {words_of(error)}. Or fetch the file by hand and type --weights FILE."
        ) from error


def _cached(repo: str, file: str, preferred: list[str]) -> Path:
    """A file in the hub's cache, which is not made to ask the hub for anything."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(repo, local_files_only=True))
    held = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if file and file not in held:
        raise WeightsError(f"--weights hf:{repo}/{file}: not in the hub's cache")
    return folder / (file or _choose(repo, held, preferred))


def _choose(repo: str, files: list[str], preferred: list[str]) -> str:
    found = [file for file in [*preferred, "model.safetensors", "pytorch_model.bin"] if file in files]
    weights = [file for file in files if file.endswith(SUFFIXES)]
    if found or len(weights) == 1:
        return (found or weights)[0]
    raise WeightsError(f"--weights hf:{repo}: say which file: {', '.join(weights) or 'it holds no weights file'}")
