"""An OpenAI-compatible chat endpoint: one question, one answer, and failures that say whether to try again.

The key is read from an environment variable by the caller. It stands in the request's header and nowhere else: no
message, file or log has it, and an answer that repeats it is refused.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

import httpx

from petl_bench.describing.prompts import MalformedAnswerError
from petl_bench.errors import UsageError

#: A longer Retry-After ends the run instead (it can be started again), in seconds.
LONGEST_WAIT = 600.0
#: Bytes of a response; descriptions of a class are far shorter.
LARGEST_RESPONSE = 1 << 20

Message = Mapping[str, str]


class UnavailableError(Exception):
    """No answer this time: worth trying again, not before `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RefusedError(Exception):
    """The endpoint refuses the request. `everything`: it will refuse every other one too."""

    def __init__(self, reason: str, everything: bool) -> None:
        super().__init__(reason)
        self.everything = everything


def endpoint_url(text: str) -> httpx.URL:
    """The address that questions are sent to: `text` and `/chat/completions`.

    Raises UsageError for anything but a plain http or https address: names, passwords and keys do not belong there.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise UsageError(
            "--endpoint: expected an address such as https://api.openai.com/v1, without name, key or query; a key goes "
            "into an environment variable (--key-variable)"
        )
    path = url.path.rstrip("/")
    return url.copy_with(path=path if path.endswith("/chat/completions") else f"{path}/chat/completions")


class ChatEndpoint:
    """`async with ChatEndpoint(...) as endpoint: await endpoint.chat(messages)`."""

    def __init__(self, url: httpx.URL, model: str, key: str, timeout: float) -> None:
        self._url, self._model, self._key, self._timeout = url, model, key, timeout
        self._not_before = 0.0
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=httpx.Limits(max_connections=None))

    async def __aenter__(self) -> ChatEndpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def chat(self, messages: Sequence[Message]) -> str:
        """The model's answer. Raises UnavailableError, RefusedError or MalformedAnswerError.

        After a 429 with Retry-After, every question waits until that time, not only the one that was turned down.
        """
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        try:
            async with asyncio.timeout(self._timeout):
                status, headers, body = await self._post(messages)
        except (TimeoutError, httpx.TimeoutException):
            raise UnavailableError(f"no answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise UnavailableError(f"no connection ({type(error).__name__}: {self._scrubbed(str(error))})") from None
        if status != httpx.codes.OK:
            self._fail(status, headers, body)
        return self._content(body)

    async def _post(self, messages: Sequence[Message]) -> tuple[int, httpx.Headers, bytes]:
        question = {"model": self._model, "messages": list(messages)}
        async with self._client.stream("POST", self._url, json=question) as response:
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > LARGEST_RESPONSE:
                    raise MalformedAnswerError(f"the response is larger than {LARGEST_RESPONSE >> 20} MiB")
            return response.status_code, response.headers, body

    def _fail(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        if status in (408, 409, 425, 429) or status >= 500:
            wait = _retry_after(headers.get("retry-after", ""))
            if wait > LONGEST_WAIT:
                raise RefusedError(f"status {status}: it asks to wait {wait:.0f} s", everything=True)
            if wait:
                self._not_before = max(self._not_before, time.monotonic() + wait)
            raise UnavailableError(f"status {status}", wait)
        if status in (401, 403):
            # The body is left out: endpoints quote parts of the key there.
            raise RefusedError(f"status {status}: it does not accept the key", everything=True)
        if 300 <= status < 400:
            raise RefusedError(f"status {status}: it redirects; name the final address", everything=True)
        raise RefusedError(f"status {status}{self._reason(body)}", everything=status in (404, 405))

    def _reason(self, body: bytes) -> str:
        """The endpoint's own message, if it sends one, in one short line."""
        try:
            message = str(json.loads(body)["error"]["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        line = "".join(letter if letter.isprintable() else " " for letter in self._scrubbed(message))
        return f": {line[:200]}"

    def _content(self, body: bytes) -> str:
        try:
            choice: Any = json.loads(body)["choices"][0]
            content, ended = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise MalformedAnswerError("the response is not that of a chat endpoint") from None
        if ended == "length":
            raise MalformedAnswerError("the answer was cut for its length")
        if not isinstance(content, str):
            raise MalformedAnswerError("the answer has no text")
        if self._key and self._key in content:
            raise MalformedAnswerError("the answer repeats the key")
        return content

    def _scrubbed(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _retry_after(text: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or as a date; 0 if it says nothing."""
    try:
        return max(0.0, float(text)) if text.strip().replace(".", "", 1).isdigit() else _until(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
