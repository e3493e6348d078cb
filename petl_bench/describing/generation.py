"""Asking for the descriptions of every class, keeping each answer as it comes, and the file at the end.

Until every class has its sentences there is `FILE.partial` alone. It holds the request too: answers to another prompt,
by another model or of another number never go into the same file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tenacity

from petl_bench.describing.endpoint import ChatEndpoint, RefusedError, UnavailableError
from petl_bench.describing.prompts import (
    CORRECTION,
    PROMPTS,
    MalformedAnswerError,
    TokenLengths,
    mentions,
    prompt_for,
    sentences_of,
)
from petl_bench.errors import DataError, UsageError
from petl_bench.system.files import write_atomically

#: First and longest wait between two attempts, in seconds; each is drawn between 0 and twice the one before.
BACKOFF = (1.0, 60.0)
#: Characters of an unusable answer that the model gets to see again.
_QUOTED = 4000


@dataclass(frozen=True)
class DescriptionRequest:
    """Everything that decides what is asked. `classes`: in the order of the file's indices; `host`: of the endpoint."""

    dataset: str
    kind: str
    count: int
    classes: tuple[str, ...]
    model: str
    host: str
    context_length: int

    def content(self) -> dict[str, Any]:
        """As it stands beside the answers: with the prompts, and the classes by their hash."""
        classes = hashlib.sha256("\n".join(self.classes).encode()).hexdigest()
        prompts = {"prompt": PROMPTS[self.kind], "correction": CORRECTION}
        return {**asdict(self), "classes": len(self.classes), "classes_sha256": classes, **prompts}


@dataclass
class Work:
    """A description file in the making: `answers` maps a class to its sentences and how they came."""

    request: DescriptionRequest
    file: Path
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Classes without a usable answer, and why.
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def partial(self) -> Path:
        """Where answers are kept until all are there."""
        return self.file.with_name(self.file.name + ".partial")

    @property
    def provenance(self) -> Path:
        """What the finished file was made from."""
        return self.file.with_suffix(".provenance.json")

    @property
    def missing(self) -> list[str]:
        """Classes still to be asked for, in the order of the file."""
        return [name for name in self.request.classes if name not in self.answers]


def resume(request: DescriptionRequest, file: Path) -> Work:
    """The work on a file as it lies on disk: new, begun, or finished.

    Raises UsageError if the file, finished or begun, is of another request, and DataError if it is damaged.
    """
    work = Work(request, file)
    if file.exists():
        found = _load(work.provenance) if work.provenance.is_file() else {"request": {}}
        _refuse_other(work, found, file)
        if found.get("file_sha256") != hashlib.sha256(file.read_bytes()).hexdigest():
            raise UsageError(f"{file} was changed after it was made; move it away, or use another --output")
        work.answers = {name: {} for name in request.classes}
    elif work.partial.exists():
        found = _load(work.partial)
        _refuse_other(work, found, work.partial)
        work.answers = {name: found["answers"][name] for name in request.classes if name in found["answers"]}
        if not all(_is_answer(answer, request.count) for answer in work.answers.values()):
            raise DataError(f"{work.partial}: an answer in it is damaged; move the file away")
    return work


async def ask_for_missing(
    work: Work,
    endpoint: ChatEndpoint,
    token_lengths: TokenLengths,
    attempts: int,
    concurrency: int,
    told: Callable[[], None],
) -> None:
    """Ask for every missing class, at most `concurrency` at once; each answer is on disk before the next is counted.

    A class whose answers stay unusable is left out, with the reason in `work.failed`. Raises DataError if the
    endpoint gives no answer at all, for this class or any other, in all attempts; what is there is kept.
    """
    gate = asyncio.Semaphore(concurrency)

    async def one(name: str) -> None:
        async with gate:
            before = len(work.answers)
            try:
                work.answers[name] = await _ask(work.request, name, endpoint, token_lengths, attempts)
            except MalformedAnswerError as error:
                work.failed[name] = f"the answer cannot be used: {error}"
            except (UnavailableError, RefusedError) as error:
                if getattr(error, "everything", False) or len(work.answers) == before:
                    raise DataError(_gave_up(work, error, attempts)) from None
                work.failed[name] = str(error)
            else:
                _write(work.partial, {"request": work.request.content(), "answers": work.answers})
            told()

    tasks = [asyncio.create_task(one(name)) for name in work.missing]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def finish(work: Work) -> None:
    """Write the file and its provenance, and remove the partial one. Every class must have its sentences."""
    if work.file.exists():
        return
    sentences = {str(index): work.answers[name]["sentences"] for index, name in enumerate(work.request.classes)}
    content = (json.dumps(sentences, indent=4, ensure_ascii=False) + "\n").encode()
    libraries = {name: version(name) for name in ("petl-bench", "httpx", "tenacity")}
    provenance = {
        "request": work.request.content(),
        "file": work.file.name,
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "finished": _now(),
        "versions": {**libraries, "python": platform.python_version()},
        "answers": {
            name: {key: value for key, value in work.answers[name].items() if key != "sentences"}
            for name in work.request.classes
        },
    }
    # The file comes last: if it exists, so does its provenance.
    _write(work.provenance, provenance)
    write_atomically(work.file, content)
    work.partial.unlink(missing_ok=True)


async def _ask(
    request: DescriptionRequest, name: str, endpoint: ChatEndpoint, token_lengths: TokenLengths, attempts: int
) -> dict[str, Any]:
    """Sentences of one class, with the number of attempts and what was wrong with the unusable answers."""
    question = {"role": "user", "content": prompt_for(request.kind, name, request.count, request.context_length)}
    messages, rejected = [question], []
    async for attempt in _retrying(attempts):
        with attempt:
            answer = ""
            try:
                answer = await endpoint.chat(messages)
                found = sentences_of(answer, request.count, token_lengths, request.context_length)
            except MalformedAnswerError as error:
                rejected.append(str(error))
                correction = {"role": "user", "content": CORRECTION.format(problem=error)}
                if answer:
                    messages = [question, {"role": "assistant", "content": answer[:_QUOTED]}, correction]
                raise
            return {
                "sentences": found,
                "attempts": attempt.retry_state.attempt_number,
                "rejected": rejected,
                "tokens": list(token_lengths(found)),
                "class_mentioned": mentions(name, found),
                "date": _now(),
            }
    raise AssertionError("tenacity raises what the last attempt raised")


def _retrying(attempts: int) -> tenacity.AsyncRetrying:
    backoff = tenacity.wait_random_exponential(multiplier=BACKOFF[0], max=BACKOFF[1])

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(backoff(state), getattr(error, "retry_after", 0.0))

    return tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=wait,
        retry=tenacity.retry_if_exception_type((UnavailableError, MalformedAnswerError)),
        reraise=True,
    )


def _gave_up(work: Work, error: Exception, attempts: int) -> str:
    what = f"no answer in {attempts} attempts, at last: {error}" if isinstance(error, UnavailableError) else str(error)
    kept = f"{len(work.answers)} of {len(work.request.classes)} classes are kept"
    return f"{work.request.host}: {what}. {kept}; the same command asks for the others"


def _refuse_other(work: Work, found: Mapping[str, Any], file: Path) -> None:
    ours, theirs = work.request.content(), found["request"]
    different = [key for key in ours if theirs.get(key) != ours[key]]
    if different:
        key = different[0]
        values = "" if key in ("prompt", "correction") else f" ({theirs.get(key, 'unknown')!r}, now {ours[key]!r})"
        raise UsageError(
            f"{file} holds descriptions of another request: {key} differs{values}; "
            "move it away, or use another --output"
        )


def _load(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found["request"], dict) and isinstance(found["answers"], dict):
            return dict(found)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise DataError(f"{file}: cannot be read, or is not what petl-bench describe writes; move it away")


def _is_answer(answer: Any, count: int) -> bool:
    texts = answer.get("sentences") if isinstance(answer, dict) else None
    return isinstance(texts, list) and len(texts) == count and all(isinstance(text, str) for text in texts)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    write_atomically(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
