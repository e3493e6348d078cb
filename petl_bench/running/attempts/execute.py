"""One attempt at one trial, in this process: claim it, run it, record it. The same for every launcher."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from petl_bench.api.launcher import AttemptResult, Job, State
from petl_bench.api.plugins.identity import refuse_changed_plugins
from petl_bench.api.registry import describe, load_plugin_file
from petl_bench.api.trial import Notify, Stop, go_on
from petl_bench.errors import PetlBenchError, StoreError, TrialError, TrialStopped
from petl_bench.records.judge import adapter_fault, how_to_repeat
from petl_bench.records.layout import ADAPTER, LOG, RECORD, UNFINISHED, trial_folder
from petl_bench.records.read import read_record
from petl_bench.records.write import has_excess, let_go, write_record
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.output import probe_writing, refuse_another
from petl_bench.running.attempts.requests import cancellation_of
from petl_bench.running.attempts.tracking import Tracking

_LOST = "another process took the trial over, for this one was suspended for long"

#: What the system says when the store itself is the problem, not the trial.
_STORE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def execute(job: Job, store: Path, notify: Notify, stop: Stop = go_on) -> AttemptResult:
    """Make one attempt at the trial, unless it is done or another process works on it.

    What goes wrong in the trial is its outcome, not an error. If `stop` gives a reason, the attempt ends as interrupted
    with it, within about a step of the trial, and what it has done stays for the next attempt. A job that was cancelled
    is not begun, and stops in the same way if it runs. If another process took the trial over, because this one was
    suspended, it is left to that one.

    Args:
        job: the trial, and where its files lie.
        store: the output folder.
        notify: told of the trial's progress.
        stop: asked again and again for a reason to stop; "" to go on.

    Raises:
        StoreError: if the store cannot be written or is not the one that the job was asked for.
        KeyboardInterrupt: passes after the attempt has been closed.
    """
    folder = trial_folder(store, job.trial.key)
    refuse_another(store, job.output_id)
    if (folder / RECORD).exists():
        return recorded(job, store)
    if cancellation := cancellation_of(store, job):
        return ended(job, store, "cancelled", str(cancellation))
    claim = claims.take(folder, job.trial.title)
    if claim is None:
        return ended(job, store, "elsewhere", "another process works on it")
    if (folder / RECORD).exists():  # finished by another process between the two looks
        claim.end("done", "already recorded")
        return recorded(job, store)
    tracking = Tracking(job, store)
    outcome = _attempt(job, store, folder, claim, notify, stop, tracking)
    return replace(outcome, failed_trackers=tracking.failures) if tracking.failures else outcome


def recorded(job: Job, store: Path) -> AttemptResult:
    """The outcome of a trial that has a record, which needs nothing to go on from any more; one that is damaged counts
    as failed, and is left as it is."""
    folder = trial_folder(store, job.trial.key)
    try:
        record = read_record(folder)
    except StoreError as error:
        return ended(job, store, "failed", f"{error}. {how_to_repeat(folder)}")
    for name in UNFINISHED:  # also of an attempt that was killed right after its record was written
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    return AttemptResult(key=job.trial.key, title=job.trial.title, state="done", metrics=record["metrics"])


def ended(job: Job, store: Path, state: State, reason: str) -> AttemptResult:
    """The outcome of a trial that is not done, with the reason."""
    log = trial_folder(store, job.trial.key) / LOG
    return AttemptResult(key=job.trial.key, title=job.trial.title, state=state, reason=reason, log=log)


def ended_without_start(job: Job, store: Path, start: AttemptResult) -> AttemptResult:
    """The outcome of a trial that starts from the adapter of one that ended without it."""
    how = {"interrupted": "was stopped", "cancelled": "was cancelled"}.get(start.state, "failed")
    state: State = "failed" if how == "failed" else "interrupted"
    return ended(job, store, state, f"the trial whose adapter it starts from {how}: {start.title}: {start.reason}")


def written(jobs: Iterable[Job], store: Path) -> dict[Path, int]:
    """What shows that trials get on: their checkpoints and records, with a stamp that another writing changes."""
    files = [trial_folder(store, job.trial.key) / name for job in jobs for name in (*UNFINISHED, RECORD)]
    return {path: path.stat().st_mtime_ns for path in files if path.exists()}


def reason_of(error: BaseException) -> str:
    """One line that says why a trial failed."""
    text = str(error) if isinstance(error, PetlBenchError) else describe(error)
    return " ".join(text.split())


def _attempt(
    job: Job, store: Path, folder: Path, claim: claims.Claim, notify: Notify, stop: Stop, tracking: Tracking
) -> AttemptResult:
    for left in folder.glob(".*.tmp"):  # by an attempt that was killed while it wrote a file
        left.unlink(missing_ok=True)
    try:
        with _logging_to(folder / LOG, claim.attempt):
            _run_and_record(job, store, folder, claim, notify, stop, tracking)
    except KeyboardInterrupt:
        with contextlib.suppress(StoreError):  # without its end, the attempt reads as interrupted as well
            claim.end("interrupted", "stopped on request")
        raise
    except TrialStopped as stopped:
        lost = claim.lost()
        cancellation = None if lost else cancellation_of(store, job)
        reason = str(cancellation or reason_of(stopped))
        claim.end("interrupted", reason)
        return ended(job, store, "elsewhere" if lost else "cancelled" if cancellation else "interrupted", reason)
    except (Exception, SystemExit) as error:  # a plugin's sys.exit must not end the run as if all were done
        if claim.lost():  # and what went wrong may be its new owner's doing
            claim.end("interrupted", _LOST)
            return ended(job, store, "elsewhere", _LOST)
        _refuse_unwritable(error, folder)
        reason = reason_of(error)
        claim.end("failed", reason)
        return ended(job, store, "failed", reason)
    claim.end("done")
    if has_excess(folder, job.places.keep_adapter):
        let_go(folder)
    return recorded(job, store)


def _or_taken(job: Job, store: Path, claim: claims.Claim, stop: Stop) -> Stop:
    """`stop`, a stop if the trial was cancelled, and an end at once if it was taken over, for its files are another
    process's now. Both are looked for once in a heartbeat, since that costs file accesses."""
    looked_at = time.monotonic()
    cancelled = ""

    def reason() -> str:
        nonlocal looked_at, cancelled
        if not cancelled and time.monotonic() - looked_at >= claims.HEARTBEAT_EVERY_S:
            looked_at = time.monotonic()
            _stop_if_lost(claim)
            cancelled = str(cancellation_of(store, job) or "")
        return cancelled or stop()

    return reason


def _stop_if_lost(claim: claims.Claim) -> None:
    if claim.lost():
        raise TrialStopped(_LOST)


def _run_and_record(
    job: Job, store: Path, folder: Path, claim: claims.Claim, notify: Notify, stop: Stop, tracking: Tracking
) -> None:
    for plugin in job.places.plugins:
        load_plugin_file(plugin)
    refuse_changed_plugins(job.trial)
    # Here and not above: this is where torch is loaded, and planning, status and reports do without it.
    from petl_bench.training.run_trial import run_trial

    start_from = job.trial.start_from
    adapter = _adapter_of(trial_folder(store, start_from)) if start_from else None
    stop, mine = _or_taken(job, store, claim, stop), partial(_stop_if_lost, claim)
    with tracking.following(notify) as told:
        result = run_trial(job.trial, job.places, folder, told, adapter=adapter, stop=stop)
        write_record(folder, job.trial, result, attempts=claim.attempt.number, before_each=mine)
        tracking.finish(result.metrics)


def _adapter_of(source: Path) -> Path:
    """The adapter that a trial starts from. Raises TrialError if it is not the one that its own trial recorded."""
    if fault := adapter_fault(source):
        raise TrialError(f"the adapter that it starts from cannot be used: {fault}. {how_to_repeat(source)}")
    adapter = source / ADAPTER
    if not adapter.is_file():
        raise TrialError(f"the trial that it starts from left no adapter, for it trained nothing: {adapter}")
    return adapter


def _refuse_unwritable(error: BaseException, folder: Path) -> None:
    """Raise StoreError if nothing can be written any more: every other trial would fail too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (isinstance(error, StoreError) or cause.errno in _STORE_ERRNOS):
            raise StoreError(f"cannot write to {cause.filename or folder}: {cause.strerror}") from error
        cause = cause.__cause__ or cause.__context__
    probe_writing(folder)


@contextlib.contextmanager
def _logging_to(log: Path, attempt: claims.Attempt) -> Iterator[None]:
    """Send what the trial prints, logs or raises to its own log file, after what earlier attempts left there."""
    try:
        opened = log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise StoreError(f"cannot write {log}: {error.strerror}") from error
    with opened as file:
        when = time.strftime("%Y-%m-%d %H:%M:%S %z")
        file.write(f"--- attempt {attempt.number} on {attempt.host}, process {attempt.pid}, {when}\n")
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root, ours = logging.getLogger(), logging.getLogger("petl_bench")
        level = ours.level
        root.addHandler(handler)
        ours.setLevel(logging.INFO)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        except TrialStopped as stopped:
            with contextlib.suppress(OSError):
                file.write(f"stopped: {reason_of(stopped)}\n")
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):
                traceback.print_exception(error, file=file)
            raise
        finally:
            root.removeHandler(handler)
            ours.setLevel(level)
