"""Data sets of the Hub: `hf:datasets/USER/NAME[@REVISION]` as a folder of the Hub's cache."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from petl_bench.errors import DataError
from petl_bench.hub.address import DATA_PREFIX, Address, data_address
from petl_bench.hub.client import hub_client, in_words, is_unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Bytes that are fetched without asking.
LARGEST = 50 * 10**9
_SNAPSHOT = re.compile(r"/datasets--([\w.-]+?)--([\w.-]+)/snapshots/([0-9a-f]{40})(?=/|$)")

_log = logging.getLogger(__name__)


def data_folder(text: str) -> Path:
    """Fetch a data set into the Hub's cache, as far as it is not there; how much there is, is logged.

    Args:
        text: `hf:datasets/USER/NAME`, or `hf:datasets/USER/NAME@REVISION`.

    Returns:
        The folder with its files, whose name is the commit. The files are links into the cache.

    Raises:
        UsageError: The text names no data set, or the client is not installed.
        DataError: It is not there or too large, or the server refused or cannot be reached.
    """
    address, client = data_address(text), hub_client(text)
    with in_words(text, DataError):
        try:
            _ask(client, address, text)
            here = False
        except Exception as error:
            if not is_unreachable(error):
                raise
            here = True
            _log.warning("%s: the Hub cannot be reached; the data set is the one in its cache", text)
        folder = client.snapshot_download(
            address.repository, repo_type="dataset", revision=address.revision, local_files_only=here
        )
    return Path(folder)


def origin_of(folder: Path) -> str:
    """`hf:datasets/USER/NAME@COMMIT` for a folder that `data_folder` gave, or one below it; else ""."""
    found = _SNAPSHOT.search(folder.as_posix())
    return f"{DATA_PREFIX}{found[1]}/{found[2]}@{found[3]}" if found else ""


def _ask(client: HfApi, address: Address, text: str) -> None:
    """Say how much there is to fetch. Raises DataError if it is too much, or cannot be put into a folder."""
    found = client.dataset_info(address.repository, revision=address.revision, files_metadata=True)
    files = {each.rfilename: each.size or 0 for each in found.siblings or ()}
    if odd := [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
        raise DataError(f"{text}: a file has a name that leads out of the data set: {odd[0]!r}")
    total = sum(files.values())
    if total > LARGEST:
        raise DataError(
            f"{text}: {len(files):,} files of {total / 1e9:,.0f} GB; more than {LARGEST / 1e9:.0f} GB is not fetched "
            f"unasked. Type: hf download {address.repository} --repo-type dataset --local-dir DIR, and name DIR"
        )
    # A warning, so that it is shown without any logging having been set up.
    _log.warning("%s: %s files, %s MB, commit %s", text, f"{len(files):,}", f"{total / 1e6:,.1f}", found.sha)
