"""Pushing a folder to a repository of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError, UsageError
from petl_bench.hub.address import Address
from petl_bench.hub.client import hub_client, in_words


@dataclass(frozen=True)
class Pushed:
    """Where a folder is on the Hub now."""

    url: str
    commit: str
    changed: bool  #: False if all files were there already


def push_folder(folder: Path, address: Address, *, private: bool, message: str) -> Pushed:
    """Push the files of a folder to a model repository, in one commit; files that are there beside them stay.

    Args:
        folder: What is pushed.
        address: The repository, which is made if it is not there; its revision is a branch, made if it is not there.
        private: Whether only its owners see the repository.
        message: Of the commit.

    Raises:
        UsageError: The repository is public, and a private one was asked for; or the client is not installed.
        StoreError: The server refused or cannot be reached.
    """
    repository, branch = address.repository, address.revision
    what = f"hf:{repository}"
    client = hub_client("push")
    with in_words(what, StoreError):
        url = str(client.create_repo(repository, private=private or None, exist_ok=True))
        if private and not client.model_info(repository).private:
            raise UsageError(f"{what}: is there already, and is public: leave --private out, or name another one")
        if branch is not None:
            client.create_branch(repository, branch=branch, exist_ok=True)
        before = client.model_info(repository, revision=branch).sha
        # Not upload_folder, which makes several commits if it likes, and tries again for minutes.
        done = client.create_commit(repository, _additions(folder), commit_message=message, revision=branch)
    return Pushed(url, done.oid, changed=done.oid != before)


def _additions(folder: Path) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in sorted(folder.iterdir())]
