"""The client of the Hub, and its errors in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.system.texts import clean, shortened

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_STATUS = {
    401: f"no valid token, or no such repository (401): {_LOG_IN}; a private one looks as if it did not exist",
    403: f"the token is not allowed to do this (403): {_LOG_IN}, with a token of an owner of the repository",
    404: "not found (404): check the name, the file and the revision",
    429: "too many requests (429): try again later",
}
#: Errors of a server that is not reached, as the HTTP libraries of the client's versions and the client call them.
_UNREACHABLE = {
    "ConnectError",
    "ConnectionError",
    "TimeoutException",
    "Timeout",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "RemoteProtocolError",
}
_WEB_PAGE = "answered with a web page or another text that is not the Hub's; is a proxy or a login page in between?"
_TOKEN = re.compile(r"hf_\w{8,}|Bearer \S+")


def hub_client(what: str) -> HfApi:
    """The client; `what` needs it. Raises UsageError if it is not installed."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UsageError(f"{what} needs huggingface_hub: pip install 'petl-bench[hub]'") from None
    return HfApi(library_name="petl-bench")


@contextmanager
def in_words(what: str, kind: type[PetlBenchError]) -> Iterator[None]:
    """Raise errors of the client as one of ours, in one line that names no token."""
    try:
        yield
    except PetlBenchError:
        raise
    except Exception as error:  # the client raises errors of its HTTP library, which change between its versions
        raise kind(f"{what}: {words_of(error)}") from error


def words_of(error: Exception) -> str:
    """An error of the client in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _STATUS:
        return _STATUS[status]
    if isinstance(status, int) and status >= 500:
        return f"the server {_endpoint()} failed ({status}): try again later"
    if isinstance(error, json.JSONDecodeError) or type(error).__name__ == "FileMetadataError":
        return f"the server {_endpoint()} {_WEB_PAGE}"
    if is_unreachable(error):
        return f"the server {_endpoint()} cannot be reached (what was fetched before is read from the Hub's cache)"
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return shortened(clean(_TOKEN.sub("***", said)), 300)


def is_unreachable(error: Exception) -> bool:
    """Whether the server was not reached at all, or is not to be asked."""
    if getattr(error, "response", None) is not None:
        return False
    return not _UNREACHABLE.isdisjoint(each.__name__ for each in type(error).__mro__)


def _endpoint() -> str:
    """The server's address, without a name and password in it."""
    from huggingface_hub import constants

    return re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)
