"""Adapters of the Hub: `hf:USER/NAME[@REVISION]` as a file of the Hub's cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.errors import StoreError
from petl_bench.hub.address import Address, model_address
from petl_bench.hub.client import hub_client, in_words, is_unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Bytes of an adapter file.
LARGEST = 2 * 2**30
_NAME, _SUFFIX, _MAIN = "adapter.safetensors", ".safetensors", "main"

_log = logging.getLogger(__name__)


def adapter_file(text: str, revision: str | None = None) -> tuple[Path, str]:
    """Fetch the adapter of a repository into the Hub's cache; nothing else of the repository is fetched.

    Without a connection: as it was fetched last, which is logged.

    Args:
        text: `hf:USER/NAME`, or `hf:USER/NAME@REVISION`.
        revision: A branch, a tag or a commit, if the text names none.

    Returns:
        The file, and the commit that it is of.

    Raises:
        UsageError: The text names no repository, or the client is not installed.
        StoreError: There is no adapter, it is too large, or the server refused or cannot be reached.
    """
    address, client = model_address(text, revision), hub_client(text)
    with in_words(text, StoreError):
        try:
            file, name = _fetched(client, address, text)
        except Exception as error:
            if not is_unreachable(error):
                raise
            file, name = _cached(client, address, text)
            _log.warning("%s: the Hub cannot be reached; the adapter is the one in its cache", text)
    _refuse_web_page(file, text)
    return file, file.parents[name.count("/")].name


def _fetched(client: HfApi, address: Address, text: str) -> tuple[Path, str]:
    revision = address.revision or _MAIN
    found = client.model_info(address.repository, revision=revision, files_metadata=True)
    sizes = {each.rfilename: each.size for each in found.siblings or ()}
    name = _choose(sizes, text)
    size = sizes[name]
    if size is None or size > LARGEST:
        said = "of unknown size" if size is None else f"of {size:,} bytes"
        raise StoreError(f"{text}: {name} is {said}; an adapter has {LARGEST:,} bytes at most")
    # By the name of the revision, and not by its commit, so that the cache knows it by that name without a connection.
    return Path(client.hf_hub_download(address.repository, name, revision=revision)), name


def _cached(client: HfApi, address: Address, text: str) -> tuple[Path, str]:
    folder = Path(
        client.snapshot_download(
            address.repository,
            revision=address.revision or _MAIN,
            local_files_only=True,
            allow_patterns=[_NAME],
        )
    )
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob(f"*{_SUFFIX}")}
    name = _choose(sizes, text)
    return folder / name, name


def _choose(sizes: Mapping[str, int | None], text: str) -> str:
    """The name of the adapter among the files. Raises StoreError if there is none, or if it could be one of several."""
    names = [name for name in sizes if name.endswith(_SUFFIX)]
    if _NAME in names:
        return _NAME
    if len(names) != 1:
        held = f"{len(names)} files *{_SUFFIX}" if names else f"no {_NAME}"
        raise StoreError(f"{text}: not an adapter of petl-bench, for the repository holds {held}")
    return names[0]


def _refuse_web_page(file: Path, text: str) -> None:
    """Raise StoreError if a server gave a web page in place of the file, which then leaves the cache."""
    with file.open("rb") as opened:
        begins = opened.read(64).lstrip()[:1]
    if begins == b"<":
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        raise StoreError(f"{text}: the server answered with a web page in place of the adapter; try again later")
